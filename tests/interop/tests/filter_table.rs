//! BGPFilter by tables: each matcher alone decides which of some routes pass, each operation alone how one looks, on import and
//! on export, over IPv4 and IPv6 at once. Others give the routes, and others hear them.
//!
//! ```text
//!   edge, AS 64999 ── a BIRD, AS 65001 ──┐
//!                                        ├── n1 ── a BIRD, AS 65004, that hears
//!          a BIRD, AS 64512, on e1 ──────┘
//! ```

use interop_tests::{Cluster, Daemon, Host, Kind, Ours, Over, Peering, Segment, Setup, throughout, until};
use model::Cidr;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const MOST: u32 = i32::MAX as u32;

/// A letter for each route, and its destination over IPv4 and IPv6.
const ROUTES: [(char, [&str; 2]); 11] = [
    // The router's: a network and parts of it, and another with communities 64512:7 and 64512:1:2.
    ('a', ["10.20.1.0/24", "fd20:1::/64"]),
    ('b', ["10.20.1.0/26", "fd20:1::/80"]),
    ('c', ["10.20.1.64/28", "fd20:1:0:0:1::/96"]),
    ('d', ["10.20.2.0/24", "fd20:2::/64"]),
    // Behind the router.
    ('e', ["10.20.9.0/24", "fd20:9::/64"]),
    // Of a router inside our AS: with the communities and a LOCAL_PREF of 250, and without.
    ('f', ["10.20.3.0/24", "fd20:3::/64"]),
    ('g', ["10.20.4.0/24", "fd20:4::/64"]),
    // The node's own: its block, and the subnets that it is on with its loopback, e0 and e1.
    ('o', ["10.1.0.0/26", "fd01::/122"]),
    ('l', ["192.0.2.0/24", "fd92::/64"]),
    ('s', ["10.9.0.0/24", "fd09::/64"]),
    ('t', ["10.9.0.3/32", "fd09::3/128"]),
];
const LEARNT: &str = "abcdefg";
const OWN: &str = "olst";

fn dst(letter: char, over: Over) -> &'static str {
    let (_, dsts) = ROUTES.iter().find(|(of, _)| *of == letter).expect("a route");
    dsts[usize::from(over == Over::V6)]
}

fn dsts(letters: &str) -> Vec<&'static str> {
    Over::BOTH.into_iter().flat_map(|over| letters.chars().map(move |letter| dst(letter, over))).collect()
}

/// The letters among some destinations, and whatever else is among them.
fn letters(over: Over, found: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let letter = |text: String| {
        ROUTES.iter().find(|(of, _)| dst(*of, over) == text).map_or(text, |(of, _)| of.to_string())
    };
    found.into_iter().map(letter).collect()
}

/// Where a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Import,
    Export,
}

/// A matcher in words of each family, and the routes for which it holds.
struct Row {
    matcher: [Value; 2],
    learnt: &'static str,
    own: &'static str,
    /// On export, if other learnt routes than on import: what is said of the peer is said of who hears.
    told: Option<&'static str>,
}

fn row(matcher: Value, learnt: &'static str, own: &'static str) -> Row {
    Row { matcher: [matcher.clone(), matcher], learnt, own, told: None }
}

/// Compared with network `a`, and with the lengths of some range in either family.
fn cidr(operator: &str, lengths: Option<[Value; 2]>, learnt: &'static str, own: &'static str) -> Row {
    let matcher = Over::BOTH.map(|over| {
        let mut matcher = json!({"cidr": dst('a', over), "matchOperator": operator});
        if let Some(lengths) = &lengths {
            matcher["prefixLength"] = lengths[usize::from(over == Over::V6)].clone();
        }
        matcher
    });
    Row { matcher, ..row(json!({}), learnt, own) }
}

fn matchers() -> Vec<Row> {
    let lengths = |v4: Value, v6: Value| Some([v4, v6]);
    let community = |value: &str| json!({"communities": {"values": [value]}});
    vec![
        row(json!({}), LEARNT, OWN),
        cidr("Equal", None, "a", ""),
        cidr("NotEqual", None, "bcdefg", OWN),
        cidr("In", None, "abc", ""),
        cidr("NotIn", None, "defg", OWN),
        cidr("In", lengths(json!({"min": 26}), json!({"min": 80})), "bc", ""),
        cidr("In", lengths(json!({"max": 26}), json!({"max": 80})), "ab", ""),
        cidr("In", lengths(json!({"min": 25, "max": 27}), json!({"min": 65, "max": 95})), "b", ""),
        cidr("NotIn", lengths(json!({"min": 26}), json!({"min": 80})), "adefg", OWN),
        row(json!({"source": "RemotePeers"}), LEARNT, ""),
        row(json!({"interface": "e0"}), "abcde", "s"),
        row(json!({"interface": "e1"}), "fg", "t"),
        row(json!({"interface": "e*"}), LEARNT, "st"),
        row(json!({"interface": "*o"}), "", "l"),
        row(community("64512:7"), "df", ""),
        row(community("64512:8"), "", ""),
        row(community("64512:1:2"), "df", ""),
        row(community("64512:1:3"), "", ""),
        row(json!({"asPathPrefix": [65001]}), "abcde", ""),
        row(json!({"asPathPrefix": [65001, 64999]}), "e", ""),
        row(json!({"asPathPrefix": [64999]}), "", ""),
        row(json!({"priority": MOST - 250}), "f", ""),
        row(json!({"priority": MOST - 100}), "abcdeg", ""),
        row(json!({"priority": 1024}), "", OWN),
        Row { told: Some(LEARNT), ..row(json!({"peerType": "eBGP"}), "abcde", OWN) },
        Row { told: Some(""), ..row(json!({"peerType": "iBGP"}), "fg", "") },
        row(
            json!({"asPathPrefix": [65001], "communities": {"values": ["64512:7"]}, "source": "RemotePeers"}),
            "d",
            "",
        ),
    ]
}

impl Row {
    /// What passes a filter that accepts what matches and nothing else, or everything else.
    fn passing(&self, way: Way, accept: bool) -> BTreeSet<String> {
        let (all, matching) = match way {
            Way::Import => (LEARNT.to_owned(), self.learnt.to_owned()),
            Way::Export => ([LEARNT, OWN].concat(), [self.told.unwrap_or(self.learnt), self.own].concat()),
        };
        all.chars().filter(|of| matching.contains(*of) == accept).map(String::from).collect()
    }

    fn rules(&self, over: Over, accept: bool) -> Value {
        let [action, other] = if accept { ["Accept", "Reject"] } else { ["Reject", "Accept"] };
        let mut rule = self.matcher[usize::from(over == Over::V6)].clone();
        rule["action"] = action.into();
        json!([rule, {"action": other}])
    }
}

/// A filter of one way.
fn filter(way: Way, rules: impl Fn(Over) -> Value) -> Value {
    let [four, six] = Over::BOTH.map(rules);
    match way {
        Way::Import => json!({"importV4": four, "importV6": six}),
        Way::Export => json!({"exportV4": four, "exportV6": six}),
    }
}

struct Routers {
    here: Host,
    router: Host,
    inside: Host,
    edge: Host,
    hears: Host,
}

impl Routers {
    fn new(segment: &Segment) -> Routers {
        let [here, router, inside, edge, hears] = [1, 2, 3, 4, 5].map(|number| segment.host(number));
        Routers { here, router, inside, edge, hears }
    }

    /// Filter `in` is for who gives, filter `out` for who hears, and for the router inside our AS, which does both.
    fn cluster(&self) -> Cluster {
        let all = Cluster::new()
            .node("n1", &self.here, json!({}), json!({}), dst('o', Over::V4))
            .with("IPPool", "six", json!({"cidr": "fd01::/48"}))
            .block("n1", dst('o', Over::V6))
            .with("BGPConfiguration", "default", json!({"nodeToNodeMeshEnabled": false}));
        let all = Over::BOTH.into_iter().fold(all, |all, over| {
            // The router inside our AS is on a part of e0's subnet.
            all.connected(dst('l', over), "lo").connected(dst('t', over), "e1")
        });
        [
            ("router", &self.router, 65001, ["in"].as_slice()),
            ("inside", &self.inside, 64512, &["in", "out"]),
            ("hears", &self.hears, 65004, &["out"]),
        ]
        .into_iter()
        .fold(all, |all, (name, host, asn, filters)| {
            Over::BOTH.into_iter().fold(all, |all, over| {
                let spec = json!({"peerIP": host.end(over).to_string(), "asNumber": asn, "filters": filters});
                all.with("BGPPeer", &format!("{name}-{over:?}"), spec)
            })
        })
    }

    fn start(&self) -> [Daemon<'_>; 4] {
        let to_us = Peering::both(&self.here, 64512);
        let to_all = [to_us.clone(), Peering::both(&self.edge, 64999)].concat();
        let router = Setup::new(65001, to_all).announcing(&dsts("abc")).decorating(&dsts("d"));
        let inside = Setup::new(64512, to_us.clone()).announcing(&dsts("g")).decorating(&dsts("f"));
        let edge = Setup::new(64999, Peering::both(&self.router, 65001)).announcing(&dsts("e"));
        [
            Daemon::start(Kind::Bird, &self.router, router),
            Daemon::start(Kind::Bird, &self.inside, inside),
            Daemon::start(Kind::Bird, &self.edge, edge),
            Daemon::start(Kind::Bird, &self.hears, Setup::new(65004, to_us)),
        ]
    }
}

/// What peers gave that passed, by letters.
fn let_in(ours: &mut Ours, over: Over) -> BTreeSet<String> {
    let given = ours.paths().iter().filter(|(_, paths)| paths.iter().any(|path| path.peer.is_some()));
    let given = given.map(|(dst, _)| *dst).filter(|dst| dst.is_ipv4() == (over == Over::V4));
    letters(over, given.map(|dst| dst.to_string()).collect::<Vec<_>>())
}

/// What BIRD heard from us, by letters.
fn heard(bird: &Daemon<'_>, over: Over) -> BTreeSet<String> {
    let table = bird.ask(&format!("show route protocol p{}", u8::from(over == Over::V6)));
    let first = table.lines().filter_map(|line| line.split_whitespace().next());
    letters(over, first.filter(|word| word.parse::<Cidr>().is_ok()).map(str::to_owned))
}

/// Waits until exactly these letters are seen over both families, and prints what is seen meanwhile. They must stay: a filter is
/// applied to one peer after the other, and what is right half-way may be wrong in the end.
fn await_letters(what: &str, expected: &BTreeSet<String>, mut seen: impl FnMut(Over) -> BTreeSet<String>) {
    for over in Over::BOTH {
        let mut last = None;
        until(&format!("{what}: {expected:?} over {over:?}"), || {
            let now = seen(over);
            if last.as_ref() != Some(&now) {
                eprintln!("{what} over {over:?}: {now:?}");
                last = Some(now.clone());
            }
            (now == *expected).then_some(())
        });
    }
    throughout(Duration::from_millis(100), what, || {
        Over::BOTH.into_iter().all(|over| seen(over) == *expected)
    });
}

fn with_filters(cluster: &Cluster, import: Value, export: Value) -> Cluster {
    cluster.clone().with("BGPFilter", "in", import).with("BGPFilter", "out", export)
}

#[test]
fn each_matcher_of_a_bgpfilter_decides_alone_both_ways() {
    let segment = Segment::new();
    let routers = Routers::new(&segment);
    let cluster = routers.cluster();
    let all = |way| filter(way, |_| json!([{"action": "Accept"}]));
    let open = with_filters(&cluster, all(Way::Import), all(Way::Export)).job("n1");
    let mut ours = Ours::start(&routers.here, open.clone());
    let [_router, _inside, _edge, bird] = routers.start();
    await_letters("everything comes in", &matchers()[0].passing(Way::Import, true), |over| {
        let_in(&mut ours, over)
    });
    for over in Over::BOTH {
        ours.established(routers.hears.end(over));
    }
    let since = ours.since();
    for way in [Way::Import, Way::Export] {
        ours.configure(open.clone());
        let mut last = matchers()[0].passing(way, true);
        await_letters("nothing is filtered", &last, |over| match way {
            Way::Import => let_in(&mut ours, over),
            Way::Export => heard(&bird, over),
        });
        for row in matchers() {
            // Never twice the same: else what is left of before would be taken for what comes.
            let first = row.passing(way, true) != last;
            for accept in [first, !first] {
                let rules = filter(way, |over| row.rules(over, accept));
                let (import, export) = match way {
                    Way::Import => (rules.clone(), all(Way::Export)),
                    Way::Export => (all(Way::Import), rules.clone()),
                };
                ours.configure(with_filters(&cluster, import, export).job("n1"));
                last = row.passing(way, accept);
                await_letters(&rules.to_string(), &last, |over| match way {
                    Way::Import => let_in(&mut ours, over),
                    Way::Export => heard(&bird, over),
                });
            }
        }
    }
    assert_eq!(ours.since(), since, "no filter ended a session");
}

/// How a route looks behind an operation, to a router inside our AS.
struct Looks {
    operations: Value,
    as_path: &'static str,
    community: Option<&'static str>,
    large: Option<&'static str>,
    local_pref: u32,
}

fn operations() -> Vec<Looks> {
    let add = |value: &str| json!({"addCommunity": {"value": value}});
    let prepend = |asns: &[u32]| json!({"prependASPath": {"prefix": asns}});
    let set = |priority: u32| json!({"setPriority": {"value": priority}});
    let plain = |operations: Value| Looks {
        operations,
        as_path: "65001",
        community: None,
        large: None,
        local_pref: 100,
    };
    vec![
        Looks { community: Some("64512:9"), ..plain(json!([add("64512:9")])) },
        Looks { large: Some("4200000000:9:4294967295"), ..plain(json!([add("4200000000:9:4294967295")])) },
        Looks { as_path: "65010 4200000000 65001", ..plain(json!([prepend(&[65010, 4_200_000_000])])) },
        // One after the other: the second stands in front.
        Looks { as_path: "65011 65010 65001", ..plain(json!([prepend(&[65010]), prepend(&[65011])])) },
        Looks { local_pref: MOST - 7, ..plain(json!([set(7)])) },
        Looks { local_pref: 1, ..plain(json!([set(1), set(MOST - 1)])) },
        Looks {
            operations: json!([add("64512:9"), set(9), prepend(&[65010]), add("64512:9:9")]),
            as_path: "65010 65001",
            community: Some("64512:9"),
            large: Some("64512:9:9"),
            local_pref: MOST - 9,
        },
    ]
}

#[test]
fn each_operation_of_a_bgpfilter_changes_the_route_alone_both_ways() {
    let segment = Segment::new();
    let routers = Routers::new(&segment);
    let cluster = routers.cluster();
    let all = |way| filter(way, |_| json!([{"action": "Accept"}]));
    let open = with_filters(&cluster, all(Way::Import), all(Way::Export)).job("n1");
    let ours = Ours::start(&routers.here, open);
    let [_router, inside, _edge, _hears] = routers.start();
    let looks = |letter: char, over: Over| {
        let seen = inside.learns(dst(letter, over));
        (seen.as_path, seen.communities, seen.large, seen.local_pref)
    };
    let one = |value: Option<&str>| value.map(str::to_owned).into_iter().collect::<BTreeSet<_>>();
    for row in operations() {
        for way in [Way::Import, Way::Export] {
            let rules = filter(way, |over| {
                json!([
                    {"action": "Accept", "cidr": dst('a', over), "matchOperator": "Equal", "operations": row.operations},
                    {"action": "Accept"},
                ])
            });
            let (import, export) = match way {
                Way::Import => (rules.clone(), all(Way::Export)),
                Way::Export => (all(Way::Import), rules.clone()),
            };
            let expected = (row.as_path.to_owned(), one(row.community), one(row.large), Some(row.local_pref));
            let plain = ("65001".to_owned(), BTreeSet::new(), BTreeSet::new(), Some(100));
            // Undone between: else what is left of before would be taken for what comes.
            for (filters, expected) in
                [((all(Way::Import), all(Way::Export)), &plain), ((import, export), &expected)]
            {
                ours.configure(with_filters(&cluster, filters.0, filters.1).job("n1"));
                for over in Over::BOTH {
                    let mut last = None;
                    until(&format!("{rules} makes it {expected:?} over {over:?}"), || {
                        let now = looks('a', over);
                        if last.as_ref() != Some(&now) {
                            eprintln!("{rules} over {over:?}: {now:?}");
                            last = Some(now.clone());
                        }
                        (now == *expected).then_some(())
                    });
                    assert_eq!(looks('b', over), plain, "{rules} is for another");
                }
            }
        }
    }
}
