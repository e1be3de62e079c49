//! Our speaker against others, over real sockets, in network namespaces that a test makes.
//!
//! ```text
//!   ours (a thread)     BIRD, FRR or GoBGP (a process)     a raw peer (a socket)
//!    10.9.0.1 ─────────────── 10.9.0.2 ─────────────────────── 10.9.0.3 …      one segment, a namespace each
//! ```

pub mod cluster;
pub mod daemon;
pub mod ours;
pub mod raw;
pub mod segment;

use std::time::{Duration, Instant};

pub use cluster::Cluster;
pub use daemon::{Daemon, Kind, Peering, Seen, Setup, one_of_each, sessions};
pub use ours::{Ours, job, peer, peers};
pub use raw::Raw;
pub use segment::{Host, Over, Segment};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `f` gives something.
///
/// # Panics
/// If it does not in time.
pub fn until<T>(what: &str, f: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, f)
}

/// Waits until `f` gives something, for so long.
///
/// # Panics
/// If it does not in time.
pub fn within<T>(time: Duration, what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < time, "{what}: not after {time:?}");
        std::thread::sleep(LOOK);
    }
}

/// Asserts that `f` holds all the time for a while.
///
/// # Panics
/// If it does not.
pub fn throughout(time: Duration, what: &str, mut f: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(f(), "{what}: no longer after {:?}", start.elapsed());
        std::thread::sleep(LOOK);
    }
}
