//! The law of the RIBs: whatever happened, what one end of a session told is what the other holds, and then it is quiet.

mod net;

use bgp::config::{NexthopMode, Origination};
use bgp::filter::{Action, AnyCommunity, Filter, MatchOperator, Matcher, Operation, Rule};
use bgp::wire::Community;
use model::Duration;
use net::*;
use proptest::prelude::*;

const NODES: usize = 4;
/// 0 and 1 are of one AS, 1 reflects to 0.
const ASNS: [u32; NODES] = [64512, 64512, 64513, 64514];

#[derive(Clone, Debug)]
enum Act {
    Originate { node: usize, dst: u8, pref: u32, no_export: bool },
    Withdraw { node: usize, dst: u8 },
    Export { node: usize, peer: usize, which: u8 },
    Import { node: usize, peer: usize, which: u8 },
    Nexthop { node: usize, peer: usize, keep: bool },
    AllPaths { node: usize, on: bool },
    Reset { node: usize, peer: usize },
    Break { node: usize, peer: usize },
    Restart { node: usize, graceful: bool },
    Remove { node: usize, peer: usize },
    Wait { millis: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0..NODES;
    let pair = (0..NODES, 1..NODES).prop_map(|(node, step)| (node, (node + step) % NODES));
    prop_oneof![
        4 => (node.clone(), 0u8..6, 100u32..103, any::<bool>())
            .prop_map(|(node, dst, pref, no_export)| Act::Originate { node, dst, pref, no_export }),
        3 => (node.clone(), 0u8..6).prop_map(|(node, dst)| Act::Withdraw { node, dst }),
        1 => (pair.clone(), 0u8..4).prop_map(|((node, peer), which)| Act::Export { node, peer, which }),
        1 => (pair.clone(), 0u8..4).prop_map(|((node, peer), which)| Act::Import { node, peer, which }),
        1 => (pair.clone(), any::<bool>()).prop_map(|((node, peer), keep)| Act::Nexthop { node, peer, keep }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Act::AllPaths { node, on }),
        1 => pair.clone().prop_map(|(node, peer)| Act::Reset { node, peer }),
        1 => pair.clone().prop_map(|(node, peer)| Act::Break { node, peer }),
        1 => (node, any::<bool>()).prop_map(|(node, graceful)| Act::Restart { node, graceful }),
        1 => pair.prop_map(|(node, peer)| Act::Remove { node, peer }),
        3 => (0u64..3000).prop_map(|millis| Act::Wait { millis }),
    ]
}

fn filter(which: u8) -> Filter {
    let some = Matcher { cidr: Some((MatchOperator::In, cidr("10.200.0.0/22"))), ..Matcher::default() };
    let rule = |action, operations| Filter {
        rules: vec![Rule { matcher: some.clone(), action, operations }],
        default: Action::Accept,
    };
    match which {
        0 => Filter::accept(),
        1 => Filter::reject(),
        2 => rule(Action::Reject, Vec::new()),
        // No priority, and no LOCAL_PREF below the usual one: systems that each prefer the way through another may never
        // agree, whichever speakers they run.
        _ => {
            rule(Action::Accept, vec![Operation::AddCommunity(AnyCommunity::Standard(Community::new(1, 2)))])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_told_is_what_is_held(seed in any::<u64>(), acts in proptest::collection::vec(act(), 1..40)) {
        let mut configs = mesh(&ASNS);
        configs[1].cluster_id = Some([1, 1, 1, 1].into());
        configs[1].peers.get_mut(&id(0)).unwrap().rr_client = true;
        let mut net = Net::new(seed, &configs);
        for act in acts {
            let touched = match act {
                Act::Originate { node, dst, pref, no_export } => {
                    let mut origination = Origination { local_pref: Some(pref), ..Origination::default() };
                    origination.communities.extend(no_export.then_some(Community::NO_EXPORT));
                    configs[node].originate.insert(cidr(&format!("10.200.{dst}.0/24")), origination);
                    node
                }
                Act::Withdraw { node, dst } => {
                    configs[node].originate.remove(&cidr(&format!("10.200.{dst}.0/24")));
                    node
                }
                Act::Export { node, peer, which } => {
                    configs[node].peers.entry(id(peer)).and_modify(|p| p.export = filter(which));
                    node
                }
                Act::Import { node, peer, which } => {
                    configs[node].peers.entry(id(peer)).and_modify(|p| p.import = filter(which));
                    node
                }
                Act::Nexthop { node, peer, keep } => {
                    let mode = if keep { NexthopMode::Keep } else { NexthopMode::SelfAlways };
                    configs[node].peers.entry(id(peer)).and_modify(|p| p.nexthop = mode);
                    node
                }
                Act::AllPaths { node, on } => {
                    configs[node].all_paths = on;
                    node
                }
                Act::Reset { node, peer } => {
                    let key = configs[node].peers.get(&id(peer)).and_then(|p| p.password_key.clone());
                    let key = key.map_or("1".to_owned(), |key| key + "1");
                    configs[node].peers.entry(id(peer)).and_modify(|p| p.password_key = Some(key));
                    node
                }
                Act::Break { node, peer } => {
                    net.break_connections(node, peer);
                    node
                }
                Act::Restart { node, graceful } => {
                    let restarting = bgp::Config { restarting: graceful, ..configs[node].clone() };
                    net.restart(node, restarting);
                    node
                }
                Act::Remove { node, peer } => {
                    if configs[node].peers.remove(&id(peer)).is_none() {
                        configs[node].peers.insert(id(peer), bgp::PeerConfig::new(addr(peer), model::Asn(ASNS[peer])));
                    }
                    node
                }
                Act::Wait { millis } => {
                    net.run(Duration::from_millis(millis));
                    continue;
                }
            };
            net.configure(touched, configs[touched].clone());
        }
        // Idle holds and restart times are over after this.
        net.run(secs(600));
        net.assert_agreement();
        for node in 0..NODES {
            for peer in (0..NODES).filter(|peer| configs[node].peers.contains_key(&id(*peer))) {
                if configs[peer].peers.contains_key(&id(node)) {
                    let log = (net.log(node), net.log(peer));
                    prop_assert_eq!(net.state(node, peer), "Established", "{} {} {:#?}", node, peer, log);
                }
                let held = net.speaker(node).adj_rib_in(&id(peer));
                prop_assert!(held.iter().all(|path| !path.stale), "{node} holds stale paths of {peer}");
            }
        }
    }
}
