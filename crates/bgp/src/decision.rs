//! Which paths to a destination are the best? RFC 4271 §9.1.2.2 with RFC 4456 §9, by elimination.
//!
//! Elimination, not a comparator: MED compares only paths through one neighbour AS, so "better than" is not transitive
//! and a sort may do anything. Each step keeps the candidates that are best in one respect; the order in which paths
//! came never matters.

use crate::rib::{Facts, Path, Source};
use model::Asn;
use std::net::{IpAddr, Ipv4Addr};

/// LOCAL_PREF of a path that says none (RFC 4271 §9.1.1 leaves it to us; every implementation takes 100).
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// What the decision sees of a path.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its position among the paths that were given.
    pub at: usize,
    /// Whether we originate the destination.
    pub local: bool,
    /// LOCAL_PREF.
    pub local_pref: u32,
    /// The length of the AS_PATH; a set counts one.
    pub hops: usize,
    /// IGP, EGP, incomplete, in order of preference.
    pub origin: u8,
    /// The AS that it entered through; `None` inside our own.
    pub neighbour_as: Option<Asn>,
    /// MULTI_EXIT_DISC, zero if it says none.
    pub med: u32,
    /// Whether an external peer gave it.
    pub external: bool,
    /// ORIGINATOR_ID, or else the peer's identifier.
    pub identifier: Ipv4Addr,
    /// The length of the CLUSTER_LIST.
    pub clusters: usize,
    /// The peer's address.
    pub addr: IpAddr,
    /// Tells two peers at one address apart.
    pub source: Source,
}

/// The outcome: positions among the paths that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Best {
    /// The best path.
    pub first: Option<usize>,
    /// All that are as good, but for who gave them; in the order of preference, `first` first.
    pub equal: Vec<usize>,
}

impl Candidate {
    /// What the decision needs of a path that `facts` gave.
    fn new(at: usize, path: &Path, facts: &Facts) -> Candidate {
        let attrs = &path.route.said.attrs;
        Candidate {
            at,
            local: facts.is_local(),
            local_pref: attrs.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            hops: attrs.as_path.hops(),
            origin: attrs.origin as u8,
            neighbour_as: attrs.as_path.first(),
            med: attrs.med.unwrap_or(0),
            external: facts.is_external(),
            identifier: attrs.originator_id.map_or(facts.router_id, |id| id.0),
            clusters: attrs.cluster_list.len(),
            addr: facts.addr,
            source: path.route.said.source,
        }
    }
}

/// The paths that the import filter let pass.
fn eligible(paths: &[Path], facts: &[Facts]) -> Vec<Candidate> {
    let eligible = paths.iter().enumerate().filter(|(_, path)| !path.rejected);
    eligible.map(|(at, path)| Candidate::new(at, path, &facts[path.route.said.source.at()])).collect()
}

/// The best of the paths that the import filter let pass.
pub fn best(paths: &[Path], facts: &[Facts]) -> Best {
    eliminate(eligible(paths, facts))
}

/// All of them, each with its rank: zero for the best, else that of the best if those of the ranks before were not there.
pub fn ranked(paths: &[Path], facts: &[Facts]) -> Vec<(u16, usize)> {
    let mut left = eligible(paths, facts);
    let mut ranked = Vec::with_capacity(left.len());
    for rank in 0.. {
        if left.is_empty() {
            break;
        }
        let best = eliminate(left.clone()).equal;
        left.retain(|c| !best.contains(&c.at));
        ranked.extend(best.into_iter().map(|at| (rank, at)));
    }
    ranked
}

/// RFC 4271 §9.1.2.2, a line a step.
pub fn eliminate(mut left: Vec<Candidate>) -> Best {
    keep_max(&mut left, |c| c.local);
    keep_max(&mut left, |c| c.local_pref);
    keep_min(&mut left, |c| c.hops); // a)
    keep_min(&mut left, |c| c.origin); // b)
    keep_least_med_per_neighbour(&mut left); // c)
    keep_max(&mut left, |c| c.external); // d)
    // e), the distance to the next hop: all next hops of pods' networks are one hop away.
    left.sort_by_key(|c| (c.identifier, c.clusters, c.addr, c.source)); // f), RFC 4456 §9, g)
    let twice = left.windows(2).any(|two| two[0].source == two[1].source);
    assert!(!twice, "one source, one destination, two paths: {left:?}");
    let equal: Vec<usize> = left.iter().map(|c| c.at).collect();
    Best { first: equal.first().copied(), equal }
}

fn keep_max<K: Ord>(left: &mut Vec<Candidate>, key: impl Fn(&Candidate) -> K) {
    let Some(most) = left.iter().map(&key).max() else { return };
    left.retain(|c| key(c) == most);
}

fn keep_min<K: Ord>(left: &mut Vec<Candidate>, key: impl Fn(&Candidate) -> K) {
    let Some(least) = left.iter().map(&key).min() else { return };
    left.retain(|c| key(c) == least);
}

/// A path goes if another through the same neighbour AS has a lower MED.
fn keep_least_med_per_neighbour(left: &mut Vec<Candidate>) {
    let all = left.clone();
    left.retain(|c| !all.iter().any(|other| other.neighbour_as == c.neighbour_as && other.med < c.med));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usual(at: usize) -> Candidate {
        Candidate {
            at,
            local: false,
            local_pref: 100,
            hops: 3,
            origin: 1,
            neighbour_as: Some(Asn(65001)),
            med: 10,
            external: false,
            identifier: Ipv4Addr::new(10, 0, 0, 5),
            clusters: 1,
            addr: [10, 0, 0, 5].into(),
            source: Source(u16::try_from(at).unwrap()),
        }
    }

    #[test]
    fn each_step_decides_between_paths_that_differ_in_it_alone() {
        type Change = fn(&mut Candidate);
        let steps: [(&str, Change); 9] = [
            ("our own", |c| c.local = true),
            ("higher LOCAL_PREF", |c| c.local_pref = 101),
            ("shorter AS_PATH", |c| c.hops = 2),
            ("lower origin", |c| c.origin = 0),
            ("lower MED of one neighbour", |c| c.med = 9),
            ("external", |c| c.external = true),
            ("lower identifier", |c| c.identifier = Ipv4Addr::new(10, 0, 0, 4)),
            ("shorter CLUSTER_LIST", |c| c.clusters = 0),
            ("lower address", |c| c.addr = [10, 0, 0, 4].into()),
        ];
        for (nth, (what, better)) in steps.iter().enumerate() {
            let mut winner = usual(1);
            better(&mut winner);
            let mut loser = usual(0);
            // Two paths never come from one address.
            loser.addr = if nth == 8 { loser.addr } else { [10, 0, 0, 6].into() };
            // Worse in a later step must not matter.
            assert_eq!(eliminate(vec![loser, winner]).first, Some(1), "{what}");
            let winner = Candidate { at: 0, ..winner };
            let loser = Candidate { at: 1, ..loser };
            assert_eq!(eliminate(vec![winner, loser]).first, Some(0), "{what}");
        }
    }

    #[test]
    fn med_is_not_compared_between_neighbours() {
        let low_med = Candidate { med: 1, identifier: Ipv4Addr::new(9, 9, 9, 9), ..usual(0) };
        let other_as =
            Candidate { med: 99, neighbour_as: Some(Asn(65002)), addr: [1, 1, 1, 1].into(), ..usual(1) };
        assert_eq!(eliminate(vec![low_med, other_as]).first, Some(0));
        let other_as = Candidate { identifier: Ipv4Addr::new(1, 1, 1, 1), ..other_as };
        assert_eq!(eliminate(vec![low_med, other_as]).first, Some(1));
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0u32..2, 0usize..2, 0u8..2, 0u32..3, 0u32..3, any::<bool>(), 0u8..2, 0usize..2);
        proptest::collection::vec(one, 1..=6).prop_map(|all| {
            let made = |(at, (pref, hops, origin, asn, med, external, id, clusters)): (usize, _)| Candidate {
                at,
                local: false,
                local_pref: pref,
                hops,
                origin,
                neighbour_as: (asn > 0).then_some(Asn(asn)),
                med,
                external,
                identifier: Ipv4Addr::new(10, 0, 0, id),
                clusters,
                addr: [10, 0, 0, u8::try_from(at).unwrap()].into(),
                source: Source(u16::try_from(at).unwrap()),
            };
            all.into_iter().enumerate().map(made).collect()
        })
    }

    fn permutations(items: &[Candidate]) -> Vec<Vec<Candidate>> {
        let Some((first, rest)) = items.split_first() else { return vec![Vec::new()] };
        let insert = |p: Vec<Candidate>| {
            (0..=p.len()).map(move |at| {
                let mut p = p.clone();
                p.insert(at, *first);
                p
            })
        };
        permutations(rest).into_iter().flat_map(insert).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_order_in_which_paths_came_decides_nothing(paths in candidates()) {
            let expected = eliminate(paths.clone());
            prop_assert!(expected.first.is_some());
            for permuted in permutations(&paths) {
                prop_assert_eq!(&eliminate(permuted), &expected);
            }
        }
    }
}
