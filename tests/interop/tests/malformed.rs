//! Every row of the table of malformed UPDATEs (RFC 7606) through our speaker, from external and internal peers, while a
//! third router watches what it is told.
//!
//! ```text
//!   a peer for each sort ──── rows that the session survives, one behind the other ─┐
//!   a peer for each row ───── a row that ends the session ───────────────────────── ours ─── BIRD watches
//! ```
//!
//! Each row has a prefix of its own, which is announced well, and then with the row's error. A prefix that goes by mistake
//! never comes back, so that what the watcher has in the end is what was right after every row.

#[path = "../../../crates/bgp/tests/malformed/mod.rs"]
mod malformed;

use bgp::PeerConfig;
use bgp::wire::{Capability, Ctx, Family, HoldTime, Message, Open, RouterId};
use interop_tests::ours::{originating, with};
use interop_tests::raw::{KEEPALIVE, Raw, message};
use interop_tests::{Daemon, Host, Kind, Ours, Peering, Segment, Setup, job, peer, until};
use malformed::{Change, ROWS, Verdict};
use model::Asn;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long the watcher may take to be told.
const PATIENCE: Duration = Duration::from_secs(10);

/// The watcher's system, which is in no path of the table.
const WATCHER: u32 = 65100;

/// What kind of session a row is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    external: bool,
    /// AS numbers of two octets.
    old: bool,
}

impl Sort {
    const ALL: [Sort; 4] = [
        Sort { external: true, old: false },
        Sort { external: true, old: true },
        Sort { external: false, old: false },
        Sort { external: false, old: true },
    ];

    fn asn(self) -> u32 {
        if self.external { 65001 } else { 64512 }
    }
}

/// A row on a session of a sort, with a prefix of its own.
#[derive(Clone, Copy, Debug)]
struct Case {
    sort: Sort,
    what: &'static str,
    change: Change,
    verdict: Verdict,
    /// What tells its prefix from all others.
    number: [u8; 2],
}

/// Every row from an external and an internal peer.
fn cases() -> Vec<Case> {
    let all = (0u8..).zip(Sort::ALL).flat_map(|(nth, sort)| {
        let rows = ROWS.iter().filter(move |(_, _, change, ..)| change.is_old() == sort.old);
        (0u8..).zip(rows).map(move |(row, (_, what, change, external, internal))| {
            let verdict = if sort.external { *external } else { *internal };
            Case { sort, what, change: *change, verdict, number: [nth, row] }
        })
    });
    all.collect()
}

impl Case {
    fn is_v6(&self) -> bool {
        self.change.dst().addr().is_ipv6()
    }

    fn prefix(&self) -> String {
        let [sort, row] = self.number;
        if self.is_v6() {
            format!("2a01:{:x}::/32", 0x1000 + u16::from(sort) * 256 + u16::from(row))
        } else {
            format!("10.{}.{row}.0/24", 64 + sort)
        }
    }

    /// A message of the table, with the prefix in place of the table's.
    fn message(&self, change: Change) -> Vec<u8> {
        let [sort, row] = self.number;
        let (theirs, ours): (&[u8], [u8; 5]) = if self.is_v6() {
            (&[0x20, 0x20, 0x01, 0x0d, 0xb8], [0x20, 0x2a, 0x01, 0x10 + sort, row])
        } else {
            (&[0x18, 198, 51, 100], [0x18, 10, 64 + sort, row, 0])
        };
        let mut octets = change.message();
        let places: Vec<usize> = (0..octets.len()).filter(|at| octets[*at..].starts_with(theirs)).collect();
        for at in places {
            octets[at..at + theirs.len()].copy_from_slice(&ours[..theirs.len()]);
        }
        octets
    }

    /// The prefix, announced as it should be.
    fn good(&self) -> Vec<u8> {
        self.message(match (self.is_v6(), self.sort.old) {
            (true, _) => Change::Six(""),
            (false, true) => Change::Old(""),
            (false, false) => Change::With(""),
        })
    }

    fn bad(&self) -> Vec<u8> {
        self.message(self.change)
    }

    fn said(&self) -> String {
        format!("{}, {:?}", self.what, self.sort)
    }

    fn ends_the_session(&self) -> bool {
        matches!(self.verdict, Verdict::Reset(_))
    }
}

/// An address of the injector's.
fn addr(nth: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 100)) + u32::try_from(nth).expect("few"))
}

fn open(sort: Sort, router_id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = [Family::IPV4, Family::IPV6].map(Capability::Multiprotocol).to_vec();
    if !sort.old {
        capabilities.push(Capability::FourOctetAs(Asn(sort.asn())));
    }
    let hold_time = HoldTime::new(90).expect("allowed");
    let open = Open { asn: Asn(sort.asn()), hold_time, router_id: RouterId(router_id), capabilities };
    let mut octets = Vec::new();
    Message::Open(open).encode(&Ctx::default(), &mut octets).expect("an OPEN fits");
    octets
}

/// A session from one of the injector's addresses.
fn establish(injector: &Host, from: Ipv4Addr, sort: Sort, to: Ipv4Addr) -> Raw {
    injector.netns.run(&format!("ip route replace {to}/32 dev e0 src {from}"));
    until("a raw session", || {
        let mut raw = Raw::dial(injector, to);
        raw.send(&open(sort, from));
        raw.send(&message(KEEPALIVE, &[]));
        raw.read_until(KEEPALIVE).map(|_| raw)
    })
}

/// The watcher's prefixes that are some row's.
fn seen(watcher: &Daemon<'_>) -> BTreeSet<String> {
    let text = watcher.ask("show route");
    let first = text.lines().filter_map(|line| line.split_whitespace().next());
    let rows = first.filter(|word| {
        ["10.64.", "10.65.", "10.66.", "10.67.", "2a01:1"].iter().any(|start| word.starts_with(start))
    });
    rows.filter(|word| word.ends_with("/24") || word.ends_with("/32")).map(str::to_owned).collect()
}

#[test]
fn f56_a_malformed_update_costs_what_rfc_7606_says_and_nobody_else_notices() {
    let segment = Segment::new();
    let [here, there, injector] = [1, 2, 3].map(|number| segment.host(number));
    let cases = cases();
    let (ending, lasting): (Vec<Case>, Vec<Case>) = cases.iter().partition(|case| case.ends_the_session());
    let sorts = Sort::ALL.into_iter().chain(ending.iter().map(|case| case.sort));
    let peers: Vec<(Ipv4Addr, Sort)> = sorts.enumerate().map(|(nth, sort)| (addr(nth), sort)).collect();
    let mut wanted = with(
        with(originating(job(64512, here.v4), &["10.1.0.0/26"]), peer(there.v4, WATCHER)),
        peer(there.v6, WATCHER),
    );
    for (addr, sort) in &peers {
        injector.netns.run(&format!("ip addr add {addr}/24 dev e0"));
        let families = [Family::IPV4, Family::IPV6].into();
        wanted = with(wanted, PeerConfig { passive: true, families, ..peer(*addr, sort.asn()) });
    }
    wanted.bgp.nexthop_v6 = Some(here.v6);
    let ours = Ours::start(&here, wanted);
    let peerings = [Peering::new(here.v4, 64512), Peering::new(here.v6, 64512)];
    let watcher = Daemon::start(Kind::Bird, &there, Setup::new(WATCHER, peerings));
    let since = [ours.established(there.v4).since, ours.established(there.v6).since];

    let mut sessions: Vec<Raw> =
        peers.iter().map(|(from, sort)| establish(&injector, *from, *sort, here.v4)).collect();
    let (batches, endings) = sessions.split_at_mut(Sort::ALL.len());
    let mut batches: BTreeMap<Sort, &mut Raw> = Sort::ALL.into_iter().zip(batches).collect();

    // All prefixes are there first.
    for case in &lasting {
        batches.get_mut(&case.sort).expect("every sort").send(&case.good());
    }
    for (case, raw) in ending.iter().zip(endings.iter_mut()) {
        raw.send(&case.good());
    }
    let all: BTreeSet<String> = cases.iter().map(Case::prefix).collect();
    assert_eq!(all.len(), cases.len(), "each row has a prefix of its own");
    until("the watcher has every prefix", || (seen(&watcher) == all).then_some(()));

    for case in &lasting {
        batches.get_mut(&case.sort).expect("every sort").send(&case.bad());
    }
    for (case, raw) in ending.iter().zip(endings.iter_mut()) {
        raw.send(&case.bad());
        let Verdict::Reset(error) = case.verdict else { panic!("{} does not end the session", case.said()) };
        assert_eq!(raw.notification(), Some(error.numbers()), "{}", case.said());
    }
    let left = lasting.iter().filter(|case| case.verdict != Verdict::Gone).map(Case::prefix).collect();
    let named = |prefixes: &BTreeSet<String>| {
        let of = |prefix: &String| cases.iter().find(|case| case.prefix() == *prefix);
        prefixes.iter().filter_map(of).map(|case| case.said() + "\n").collect::<String>()
    };
    let mut last = BTreeSet::new();
    let start = Instant::now();
    while last != left && start.elapsed() < PATIENCE {
        last = seen(&watcher);
    }
    let (extra, missing): (BTreeSet<String>, BTreeSet<String>) = (&last - &left, &left - &last);
    assert_eq!(last, left, "left by mistake:\n{}gone by mistake:\n{}", named(&extra), named(&missing));

    // Nobody else noticed, and each session that should live does.
    assert_eq!([ours.session(there.v4).since, ours.session(there.v6).since], since);
    for (addr, sort) in &peers[..Sort::ALL.len()] {
        assert_eq!(ours.session(*addr).state, "Established", "{sort:?}");
    }
    for case in lasting.iter().filter(|case| case.verdict == Verdict::Less && !case.is_v6()) {
        let path = watcher.sees(&case.prefix()).expect("seen above");
        assert!(
            path.communities.is_empty() && path.large.is_empty() && path.med.is_none(),
            "{}: {path:?}",
            case.said()
        );
    }
}
