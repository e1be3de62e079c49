//! What the suites share: namespaces and processes that end with their test, and the instruments by which a claim about
//! packets, leaks or silence is proven.

pub mod frame;
pub mod leaks;
pub mod netns;
pub mod packet;
pub mod process;
pub mod sampler;
pub mod sim;

/// How many times slower than real ones this machine is: an emulated one says so (`tests/kernel/distro/guest`).
pub fn slowness() -> u32 {
    std::env::var("TORTIE_SLOWNESS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Whether there is time for as long as the catalogue of faults and threats says: `./dev test nightly`.
pub fn at_length() -> bool {
    std::env::var_os("TORTIE_AT_LENGTH").is_some()
}

/// How much of something: less by day, `night` where there is time.
pub fn length(day: u32, night: u32) -> u32 {
    if at_length() { night } else { day }
}
