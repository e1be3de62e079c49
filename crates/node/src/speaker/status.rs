//! What `node status` shows of the speaker: the sessions of its plan, and what was found of each.

use super::SpeakerConfig;
use super::config::{BGP_PORT, peer_id};
use crate::bgp_status::{BgpStatus, RefusedRoute, SessionDetail, SessionState, SessionStatus, SpeakerTimes};
use bgp::wire::HoldTime;
use bgp::{PeerId, PeerStatus};
use derive::bgp::{PeerKey, PeerPlan};
use model::Instant;
use std::collections::BTreeMap;

/// What `node status` shows. `epoch_micros`: the wall clock at `Instant::ZERO`. `told_at`: when the speaker was told this.
pub fn status(
    told: &SpeakerConfig,
    told_at: Instant,
    sessions: &[PeerStatus],
    epoch_micros: i64,
) -> BgpStatus {
    let plan = &told.plan;
    let by_id: BTreeMap<&PeerId, &PeerStatus> =
        sessions.iter().map(|session| (&session.id, session)).collect();
    let shown = |v4: bool| {
        let peers = plan.peers.iter().filter(|(key, _)| key.addr.is_ipv4() == v4);
        peers
            .map(|(key, peer)| session(*key, peer, by_id.get(&peer_id(*key, peer)).copied(), epoch_micros))
            .collect()
    };
    BgpStatus {
        asn: plan.asn,
        router_id: plan.router_id,
        v4: told.bgp.nexthop_v4.map(|_| shown(true)),
        v6: told.bgp.nexthop_v6.map(|_| shown(false)),
        times: SpeakerTimes {
            started: seconds_of(Instant::ZERO, epoch_micros),
            configured: seconds_of(told_at, epoch_micros),
        },
        complaints: plan.complaints.iter().map(ToString::to_string).chain(refused(sessions)).collect(),
    }
}

/// Seconds since 1970.
fn seconds_of(at: Instant, epoch_micros: i64) -> u64 {
    epoch_micros.saturating_add_unsigned(at.micros()).max(0).cast_unsigned() / 1_000_000
}

/// What peers say that cannot be, in words.
fn refused(sessions: &[PeerStatus]) -> impl Iterator<Item = String> {
    let all = sessions.iter().flat_map(|peer| peer.refused.iter().map(move |refused| (peer, refused)));
    all.map(|(peer, (dst, nexthop, why))| {
        let nexthop = nexthop.addr();
        format!(
            "RouteRejected: BGP peer {} says that {dst} is behind {nexthop}, but {why}; the path is ignored",
            peer.id
        )
    })
}

fn session(key: PeerKey, peer: &PeerPlan, found: Option<&PeerStatus>, epoch_micros: i64) -> SessionStatus {
    let (state, info) = match found {
        Some(session) if session.state == "Established" => (SessionState::Up, session.state.to_owned()),
        Some(session) => {
            let why = session.last_error.as_ref().map(|why| format!(" {why}")).unwrap_or_default();
            let passive =
                if peer.passive && session.local_addr.is_none() { "Passive" } else { session.state };
            (SessionState::Start, format!("{passive}{why}"))
        }
        None => (SessionState::Down, "waits for its password".to_owned()),
    };
    SessionStatus {
        address: key.addr,
        port: (key.port != BGP_PORT).then_some(key.port),
        sort: peer.sort,
        state,
        since: seconds_of(found.map_or(Instant::ZERO, |session| session.since), epoch_micros),
        info,
        detail: found.map(|session| detail(session, epoch_micros)),
    }
}

fn detail(session: &PeerStatus, epoch_micros: i64) -> SessionDetail {
    let refused = session.refused.iter().map(|(dst, nexthop, why)| RefusedRoute {
        destination: dst.to_string(),
        next_hop: nexthop.addr(),
        why: why.to_string(),
    });
    SessionDetail {
        name: session.id.to_string(),
        peer_asn: session.asn,
        peer_router_id: session.router_id.map(|id| id.0),
        local_address: session.local_addr,
        hold_time_seconds: session.hold_time.map(HoldTime::secs),
        families: session.families.iter().map(ToString::to_string).collect(),
        received: session.received,
        advertised: session.advertised,
        pending: session.pending,
        retry_at: session.retry_at.map(|at| seconds_of(at, epoch_micros)),
        stale_until: session.stale_until.map(|at| seconds_of(at, epoch_micros)),
        last_error: session.last_error.clone(),
        refused: refused.collect(),
    }
}
