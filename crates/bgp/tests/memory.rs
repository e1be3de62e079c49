//! What a route costs: a speaker that hands routes from one peer to another, measured from outside.

#![expect(clippy::disallowed_methods, reason = "the kernel says how much memory the process ever had")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use bgp::wire::{
    AsPath, Attributes, Capability, Ctx, Family, HoldTime, Message, NextHop, Open, Origin, RouterId, pack,
};
use bgp::{ConnId, Input, Output, Speaker};
use model::{Asn, Cidr, Instant};
use net::{addr, config, id, peer};
use std::net::Ipv4Addr;

const NOW: Instant = Instant::from_micros(1);
const ROUTES: u32 = 200_000;

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Peer `n` dials and is established.
fn establish(speaker: &mut Speaker, n: u8) -> ConnId {
    let (conn, asn) = (ConnId::Accepted(n.into()), Asn(65000 + u32::from(n)));
    let (local, remote) = ((addr(0), 179).into(), (addr(n.into()), 40000).into());
    speaker.handle(NOW, Input::Accepted { conn, local, remote });
    let capabilities = vec![Capability::Multiprotocol(Family::IPV4), Capability::FourOctetAs(asn)];
    let router_id = RouterId([9, 9, 9, n].into());
    let open = Open { asn, hold_time: HoldTime::new(90).unwrap(), router_id, capabilities };
    let mut octets = Vec::new();
    for message in [Message::Open(open), Message::Keepalive] {
        message.encode(&Ctx::default(), &mut octets).unwrap();
    }
    speaker.handle(NOW, Input::Bytes { conn, bytes: &octets });
    octets.clear();
    speaker.poll_transmit(conn, 4096, &mut octets);
    conn
}

#[test]
fn a_route_costs_less_than_ninety_bytes_even_while_nobody_takes_it() {
    let mut all = config(0, 65000);
    for n in [1, 2] {
        let passive = bgp::PeerConfig { passive: true, ..peer(n, 65000 + u32::try_from(n).unwrap()) };
        all.peers.insert(id(n), passive);
    }
    let mut speaker = Speaker::new(1);
    speaker.handle(NOW, Input::Configure(all));
    let (giver, taker) = (establish(&mut speaker, 1), establish(&mut speaker, 2));
    while speaker.poll().is_some() {}
    let families = [Family::IPV4].into();
    let ctx = Ctx { ebgp: true, four_octet_as: true, extended_message: false, families };
    let attrs = Attributes::new(Origin::Igp, AsPath::sequence([Asn(65001)]));
    let before = peak();
    let mut best = 0;
    let dst = |n: u32| Cidr::containing(Ipv4Addr::from(0x0a00_0000 + n * 64).into(), 26).unwrap();
    for first in (0..ROUTES).step_by(500) {
        let mut dsts = (first..first + 500).map(dst).peekable();
        let mut octets = Vec::new();
        pack::announce(&attrs, NextHop::V4([192, 168, 50, 2].into()), &mut dsts, &ctx, &mut octets).unwrap();
        speaker.handle(NOW, Input::Bytes { conn: giver, bytes: &octets });
        while let Some(output) = speaker.poll() {
            best += u32::from(matches!(output, Output::Best { .. }));
        }
    }
    assert_eq!(best, ROUTES);
    let mut octets = Vec::new();
    while {
        octets.clear();
        speaker.poll_transmit(taker, 65536, &mut octets);
        !octets.is_empty()
    } {}
    let each = (peak() - before) / ROUTES as usize;
    assert_eq!(speaker.status()[1].advertised, ROUTES as usize);
    assert!(each < 90, "{each} bytes a route");
}
