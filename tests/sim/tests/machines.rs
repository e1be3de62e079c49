//! Whole nodes on fake kernels: single stories, then every pair of modes.

use derive::IpipDriver::{Kernel, StandIn};
use model::Duration;
use testkit::sim::Machines;
use testkit::sim::faults::Moment;
use testkit::sim::machines::{Admin, Mode};

/// Two nodes of a subnet and one behind a router, with a pod each.
fn three(mode: Mode) -> Machines {
    let mut cluster = Machines::cluster(2, 1, &[Kernel, StandIn]).pool("pool", "10.0.0.0/24", 29, mode);
    for node in 0..3 {
        cluster.admin(Duration::from_millis(20), Admin::AddPod(node as u32, node));
    }
    cluster
}

#[test]
fn a_healthy_cluster_delivers_in_every_mode() {
    for mode in Mode::ALL {
        let mut cluster = three(mode);
        if let Err(broken) = cluster.come_to_rest() {
            panic!("{mode:?}: {broken}");
        }
    }
}

/// Every ordered pair of modes.
fn changes() -> impl Iterator<Item = (Mode, Mode)> {
    let pairs = Mode::ALL.into_iter().flat_map(|from| Mode::ALL.map(|to| (from, to)));
    pairs.filter(|(from, to)| from != to)
}

#[test]
fn no_change_of_mode_loses_a_packet() {
    for with_bgp in [false, true] {
        for (from, to) in changes() {
            let mut cluster = if with_bgp { three(from).bgp() } else { three(from) };
            cluster.admin(Duration::from_secs(3), Admin::SetMode(to));
            if let Err(broken) = cluster.come_to_rest() {
                panic!("{from:?} to {to:?}, BGP {with_bgp}: {broken}");
            }
        }
    }
}

/// When the mode changes, and for how long effects are of the change.
const CHANGE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));

/// A change of mode, with a crash at one of its effects.
fn change(from: Mode, to: Mode, crash: Option<(u64, Moment)>) -> (u64, u64) {
    let told = |broken| panic!("{from:?} to {to:?}, {crash:?}: {broken}");
    // Without a router that knows the way nothing changes to direct across it.
    let is_direct = [from, to].contains(&Mode::Direct);
    let mut cluster = if is_direct { three(from).bgp() } else { three(from) };
    cluster.faults.crash_at = crash;
    cluster.admin(CHANGE.0, Admin::SetMode(to));
    cluster.run_for(CHANGE.0).unwrap_or_else(told);
    let first = cluster.effects();
    cluster.run_for(CHANGE.1).unwrap_or_else(told);
    let last = cluster.effects();
    if crash.is_some() {
        cluster.settle().unwrap_or_else(told);
    }
    (first, last)
}

#[test]
fn a_crash_at_any_effect_of_a_change_of_mode_loses_no_packet() {
    let sweep = |pairs: Vec<(u64, (Mode, Mode))>| {
        for (n, (from, to)) in pairs {
            let (first, last) = change(from, to, None);
            assert!(
                last > first + 5,
                "{from:?} to {to:?}: {first} to {last} are too few effects to prove anything"
            );
            // In the middle of a plan and after it, in turn: over all pairs each comes to each sort of effect.
            for at in first + 1..=last {
                let moment = if (at + n) % 2 == 0 { Moment::Within(1) } else { Moment::After };
                change(from, to, Some((at, moment)));
            }
        }
    };
    // Each run is one thread; two of them halve the wait.
    let (one, other): (Vec<_>, Vec<_>) = (0..).zip(changes()).partition(|(n, _)| n % 2 == 0);
    let half = std::thread::spawn(move || sweep(one));
    sweep(other);
    half.join().expect("a run that panics fails the test");
}
