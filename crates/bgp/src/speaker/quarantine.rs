//! A peer that is held off, because what it sent has ended the process of a speaker before this one, perhaps more than once.
//!
//! Neither is it dialled nor is its call taken, and nobody waits for what it would say. Everybody else is served.

use super::peer::Place;
use super::{Output, Speaker};
use crate::config::PeerId;
use crate::rib::Source;
use crate::session::{ConnId, Event, State};
use model::{Duration, Instant};

/// How long a peer is held off that ended one process.
const FIRST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(3600);

/// How long a peer is held off that ended so many processes: twice as long for each, an hour at most.
pub fn quarantine_time(ends: u32) -> Duration {
    (1..ends.min(32)).fold(FIRST, |span, _| span.doubled(LONGEST))
}

/// Until when a peer is held off, and why.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    until: Instant,
    why: String,
}

impl Speaker {
    /// Holds a peer off until then. To be said before the first configuration; `why` is for people.
    pub fn quarantine(&mut self, peer: PeerId, until: Instant, why: String) {
        self.quarantines.insert(peer, Quarantine { until, why });
    }

    /// Whose a connection is.
    pub fn peer_of(&self, conn: ConnId) -> Option<&PeerId> {
        let line = self.lines.get(&conn)?;
        self.peer(line.source).map(|peer| &peer.id)
    }

    /// Lets a peer begin, at the end of its quarantine if it is in one.
    pub(super) fn start(&mut self, source: Source) {
        let Some(peer) = self.peers[source.at()].as_mut() else { return };
        let Some(held) = self.quarantines.get(&peer.id).filter(|held| held.until > self.now) else {
            return self.drive(source, Place::Main, Event::Start);
        };
        peer.main = State::Idle { until: Some(held.until) };
        peer.last_error = Some(held.why.clone());
        peer.told_why = true;
        let (peer, why) = (peer.id.clone(), Some(held.why.clone()));
        self.outputs.push_back(Output::Peer { peer, state: "Idle", why });
    }

    /// Whether a peer is in quarantine now.
    pub(super) fn is_held_off(&self, peer: &PeerId) -> bool {
        self.quarantines.get(peer).is_some_and(|held| held.until > self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PeerConfig};
    use crate::speaker::Input;
    use crate::wire::RouterId;
    use model::Asn;
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    fn addr(host: u8) -> IpAddr {
        Ipv4Addr::new(192, 168, 50, host).into()
    }

    fn config(peers: &[u8], restarting: bool) -> Config {
        let peer = |host: &u8| (id(*host), PeerConfig::new(addr(*host), Asn(64512)));
        Config {
            asn: Asn(64512),
            router_id: RouterId(Ipv4Addr::new(192, 168, 50, 1)),
            cluster_id: None,
            listen_port: 179,
            graceful_restart: Some(120),
            restarting,
            peers: peers.iter().map(peer).collect(),
            originate: BTreeMap::new(),
            all_paths: false,
            connected: BTreeMap::new(),
            addresses: BTreeSet::from([addr(1)]),
            nexthop_v4: None,
            nexthop_v6: None,
        }
    }

    fn id(host: u8) -> PeerId {
        PeerId::new(&format!("peer_{host}"))
    }

    fn dials(speaker: &mut Speaker) -> Vec<PeerId> {
        let outputs = std::iter::from_fn(|| speaker.poll());
        outputs.filter_map(|o| if let Output::Dial { peer, .. } = o { Some(peer) } else { None }).collect()
    }

    #[test]
    fn a_peer_is_held_off_longer_each_time_and_an_hour_at_most() {
        let seconds = [1, 2, 3, 8, 9, 10, u32::MAX].map(|ends| quarantine_time(ends).micros() / 1_000_000);
        assert_eq!(seconds, [15, 30, 60, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn a_peer_in_quarantine_is_neither_dialled_nor_heard_until_it_is_over_and_others_are() {
        let mut speaker = Speaker::new(1);
        let until = Instant::ZERO + quarantine_time(1);
        speaker.quarantine(id(2), until, "Quarantine".into());
        speaker.handle(Instant::from_micros(1), Input::Configure(config(&[2, 3], false)));
        assert_eq!(dials(&mut speaker), [id(3)]);
        let [status, _] = &speaker.status()[..] else { panic!("two peers") };
        assert_eq!((status.state, status.last_error.as_deref()), ("Idle", Some("Quarantine")));
        assert_eq!(status.retry_at, Some(until));

        let call = |conn| {
            let [local, remote] = [addr(1), addr(2)].map(|addr| SocketAddr::new(addr, 179));
            Input::Accepted { conn, local, remote }
        };
        let conn = ConnId::Accepted(1);
        speaker.handle(Instant::from_micros(2), call(conn));
        assert_eq!(speaker.poll(), Some(Output::Close { conn }));
        assert_eq!(speaker.peer_of(conn), None);

        speaker.handle(until, Input::Timeout);
        assert!(dials(&mut speaker).contains(&id(2)));
        let conn = ConnId::Accepted(2);
        speaker.handle(until, call(conn));
        assert_eq!(speaker.peer_of(conn), Some(&id(2)));
    }

    #[test]
    fn another_configuration_does_not_end_a_quarantine() {
        let mut speaker = Speaker::new(1);
        speaker.quarantine(id(2), Instant::ZERO + quarantine_time(1), "Quarantine".into());
        let mut other = config(&[2], false);
        speaker.handle(Instant::from_micros(1), Input::Configure(other.clone()));
        other.peers.get_mut(&id(2)).expect("it is there").password_key = Some("new".into());
        speaker.handle(Instant::from_micros(2), Input::Configure(other));
        assert_eq!(dials(&mut speaker), []);
    }

    #[test]
    fn a_restarted_speaker_does_not_wait_for_a_peer_in_quarantine() {
        let mut speaker = Speaker::new(1);
        speaker.quarantine(id(2), Instant::ZERO + quarantine_time(1), "Quarantine".into());
        speaker.handle(Instant::from_micros(1), Input::Configure(config(&[2], true)));
        assert!(std::iter::from_fn(|| speaker.poll()).any(|output| output == Output::Settled));
    }
}
