//! Whole nodes on fake kernels: single stories, then every pair of modes.

use derive::IpipDriver::{Kernel, StandIn};
use model::Duration;
use testkit::sim::Machines;
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

#[test]
fn a_mode_that_one_node_cannot_have_loses_no_packet_and_is_a_condition_until_it_is_set_back() {
    use Mode::{Direct, Ipip, IpipCrossSubnet, Vxlan, VxlanCrossSubnet};
    for (from, to) in
        [Vxlan, VxlanCrossSubnet, Direct].iter().flat_map(|from| [(*from, Ipip), (*from, IpipCrossSubnet)])
    {
        let at =
            |result: Result<(), _>| result.unwrap_or_else(|broken| panic!("{from:?} to {to:?}: {broken}"));
        let mut cluster = three(from).bgp().without_ipip(1);
        cluster.admin(Duration::from_secs(3), Admin::SetMode(to));
        // The agent that comes back knows no other way, and a pod more needs one.
        cluster.admin(Duration::from_secs(5), Admin::Crash(1));
        cluster.admin(Duration::from_secs(8), Admin::AddPod(3, 1));
        at(cluster.settle());
        let said = |cluster: &Machines| (0..3).map(|node| cluster.pool_modes(node)).collect::<Vec<_>>();
        assert_eq!(said(&cluster), [None, Some("True".to_owned()), None], "{from:?} to {to:?}");
        cluster.admin(Duration::from_millis(1), Admin::SetMode(from));
        at(cluster.come_to_rest());
        assert_eq!(said(&cluster), [None, Some("False".to_owned()), None], "{from:?} to {to:?}");
    }
}
