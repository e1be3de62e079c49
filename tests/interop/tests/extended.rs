//! What later standards made longer: extended communities, which everybody carries on, and messages of more than 4096 octets,
//! which only those are sent that said that they take them.

use bgp::Origination;
use bgp::wire::{ExtCommunity, LargeCommunity};
use interop_tests::ours::{originating, with_each};
use interop_tests::{
    Daemon, Host, Kind, Ours, Over, Peering, Segment, Setup, job, peers, sessions, throughout, until,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Each is of an AS of its own, so that what one gives is passed on to the others.
#[test]
fn a_route_target_arrives_and_is_carried_on() {
    let segment = Segment::new();
    let (here, hosts) = (segment.host(1), [2, 3, 4].map(|number| segment.host(number)));
    let asn = |host: &Host| 65000 + u32::from(host.v4.octets()[3]);
    let neighbours = hosts.iter().flat_map(|host| peers([host], asn(host)));
    let mut ours = Ours::start(&here, with_each(job(64512, here.v4), neighbours));
    let daemons: Vec<Daemon<'_>> = Kind::ALL
        .into_iter()
        .zip(&hosts)
        .map(|(kind, host)| {
            let setup = Setup::new(asn(host), Peering::both(&here, 64512)).decorating(&host.blocks());
            Daemon::start(kind, host, setup)
        })
        .collect();
    // Type 0x0002, then AS and number (RFC 4360 §3.1, §4).
    let target = ExtCommunity(0x0002 << 48 | 64512 << 32 | 9);
    for (daemon, over) in sessions(&daemons) {
        let block = daemon.host.block(over);
        let given = ours.learns(&block).attrs;
        assert_eq!(given.ext_communities, BTreeSet::from([target]), "{:?}", daemon.kind);
        for other in daemons.iter().filter(|other| other.kind != daemon.kind) {
            let seen = other.learns(&block);
            let what = format!("{:?} has it from {:?}", other.kind, daemon.kind);
            assert_eq!(seen.extended, BTreeSet::from(["rt:64512:9".to_owned()]), "{what}");
        }
    }
}

/// How many of the communities of a loaded route BIRD has.
fn load(bird: &Daemon<'_>, prefix: &str) -> usize {
    bird.sees(prefix)
        .map_or(0, |_| bird.ask(&format!("show route {prefix} primary all")).matches("(64512, 2, ").count())
}

#[test]
fn a_message_of_more_than_4096_octets_goes_both_ways_and_to_nobody_who_does_not_take_it() {
    let segment = Segment::new();
    let [here, taking, not_taking] = [1, 2, 3].map(|number| segment.host(number));
    let neighbours = peers([&taking], 65002).into_iter().chain(peers([&not_taking], 65003));
    let short = originating(with_each(job(64512, here.v4), neighbours), &here.blocks());
    let short = originating(short, &["192.0.2.0/24", "2001:db8::/32"]);
    let mut long = short.clone();
    let large = (0..600).map(|local2| LargeCommunity { global: 64512, local1: 2, local2 });
    let loaded = Origination { large: large.collect(), ..Origination::default() };
    for block in here.blocks() {
        long.bgp.originate.insert(block.parse().expect("a prefix"), loaded.clone());
    }
    let mut ours = Ours::start(&here, short);
    let peerings = Peering::both(&here, 64512).map(|peering| Peering { extended: true, ..peering });
    let taking = Daemon::start(Kind::Bird, &taking, Setup::new(65002, peerings).loading(&taking.blocks()));
    let others = Setup::new(65003, Peering::both(&here, 64512)).announcing(&not_taking.blocks());
    let not_taking = Daemon::start(Kind::Bird, &not_taking, others);
    for over in Over::BOTH {
        assert_eq!(ours.learns(&taking.host.block(over)).attrs.large_communities.len(), 600);
        ours.learns(&not_taking.host.block(over));
        not_taking.learns(&here.block(over));
        assert_eq!(taking.learns(&here.block(over)).large.len(), 0);
    }
    let before = ours.since();
    ours.configure(long);
    for over in Over::BOTH {
        until("all communities arrive", || (load(&taking, &here.block(over)) == 600).then_some(()));
        not_taking.forgets(&here.block(over));
    }
    throughout(Duration::from_secs(1), "what is too long is not told, and what is not stays", || {
        Over::BOTH.iter().zip(["192.0.2.0/24", "2001:db8::/32"]).all(|(over, plain)| {
            let long = [here.block(*over), taking.host.block(*over)];
            long.iter().all(|prefix| not_taking.sees(prefix).is_none()) && not_taking.sees(plain).is_some()
        })
    });
    assert_eq!(ours.since(), before, "no session ended");
}
