//! BGP sessions between whole nodes: peers that do not read, nodes that get nothing done.

use derive::IpipDriver::Kernel;
use model::Duration;
use testkit::sim::Machines;
use testkit::sim::machines::{Admin, Mode};

const HOUR: Duration = Duration::from_secs(3_600);

fn run(cluster: &mut Machines, span: Duration) {
    cluster.run_for(span).unwrap_or_else(|broken| panic!("{broken}"));
}

/// Three nodes with sessions, of which the first is about to tell of many blocks, and how many sessions have ended: of two
/// connections at once, one.
fn busy() -> (Machines, u64) {
    let mut cluster = Machines::cluster(3, 0, &[Kernel]).pool("pool", "10.0.0.0/26", 32, Mode::Direct).bgp();
    for node in 0..3 {
        cluster.admin(Duration::from_millis(20), Admin::AddPod(node as u32, node));
    }
    run(&mut cluster, Duration::from_secs(10));
    for pod in 3..20 {
        cluster.admin(Duration::from_millis(10 * u64::from(pod)), Admin::AddPod(pod, 0));
    }
    let lost = cluster.sessions_lost();
    (cluster, lost)
}

#[test]
fn a_peer_that_does_not_read_holds_up_no_other_session_and_is_left_in_the_end() {
    let (mut cluster, before) = busy();
    cluster.stall(0, 1, HOUR);
    run(&mut cluster, Duration::from_secs(3));
    assert!(!cluster.hears_all(0, 1), "it reads nothing: its window is full");
    for (one, other) in [(0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        assert!(cluster.hears_all(one, other), "n{} hears all of n{}", other + 1, one + 1);
    }
    assert_eq!(cluster.sessions_lost(), before);
    // BIRD's hold time, and the next try.
    run(&mut cluster, Duration::from_secs(300));
    assert!(cluster.hears_all(0, 1), "on a new connection it reads");
    assert_eq!(cluster.sessions_lost(), before + 2, "the two ends of the one session");
    cluster.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn a_peer_that_reads_again_hears_all_and_no_session_ends() {
    let (mut cluster, before) = busy();
    cluster.stall(0, 1, Duration::from_secs(60));
    run(&mut cluster, Duration::from_secs(59));
    assert!(!cluster.hears_all(0, 1), "it reads nothing: its window is full");
    run(&mut cluster, Duration::from_secs(2));
    assert!(cluster.hears_all(0, 1), "all of it has drained");
    cluster.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(cluster.sessions_lost(), before);
}

#[test]
fn a_node_that_is_paused_loses_its_sessions_only_after_the_hold_time_and_comes_back() {
    for (span, lost) in [(150, false), (300, true)] {
        let (mut cluster, before) = busy();
        cluster.admin(Duration::from_millis(400), Admin::Pause(1));
        cluster.admin(Duration::from_secs(span), Admin::Resume(1));
        run(&mut cluster, Duration::from_secs(span + 1));
        assert_eq!(cluster.sessions_lost() > before, lost, "{span} s");
        cluster.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[test]
fn clocks_that_differ_by_a_fifth_end_no_session() {
    let (mut cluster, before) = busy();
    for (node, faster) in [(0, 100), (1, -100)] {
        cluster.admin(Duration::ZERO, Admin::Drift(node, faster));
    }
    run(&mut cluster, Duration::from_secs(1_000));
    assert_eq!(cluster.sessions_lost(), before);
    cluster.come_to_rest().unwrap_or_else(|broken| panic!("{broken}"));
}
