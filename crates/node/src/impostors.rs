//! "Who sends IP in IP in another's name?", as the uplink's filter has counted it: a sender and the node that he passes himself
//! off as. It stands in the status as long as it is fresh; the log has one line a minute at most, however many they are.

use crate::effect::Report;
use crate::node::Node;
use crate::socket::ImpostorStatus;
use kernel::FilterKey;
use kernel::filter::Impostor;
use model::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// How long after his last packet somebody stands in the status, and how many stand there at most.
const FRESH: Duration = Duration::from_secs(600);
const SHOWN: usize = 16;
/// Between two lines in the log.
const SILENCE: Duration = Duration::from_secs(60);

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Impostors {
    /// `None`: nobody has looked yet. What is there at the first look may be old.
    seen: Option<BTreeMap<Impostor, Seen>>,
    said_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    packets: u64,
    /// When a look found that there were more.
    rose_at: Option<Instant>,
}

impl Impostors {
    /// Those who went on since the look before.
    fn look(&mut self, now: Instant, found: BTreeMap<Impostor, u64>) -> BTreeSet<Impostor> {
        let before = self.seen.take();
        let look = |(impostor, packets): (Impostor, u64)| {
            let known = before.as_ref().map(|before| before.get(&impostor));
            let rose_at = match known {
                None => None,
                Some(Some(known)) if known.packets == packets => known.rose_at,
                Some(_) => Some(now),
            };
            (impostor, Seen { packets, rose_at })
        };
        let seen: BTreeMap<Impostor, Seen> = found.into_iter().map(look).collect();
        let rose = seen.iter().filter(|(_, seen)| seen.rose_at == Some(now)).map(|(impostor, _)| *impostor);
        let rose = rose.collect();
        self.seen = Some(seen);
        rose
    }
}

impl Node {
    /// The filter that knows, if one is wanted.
    pub fn accepting_filter(&self) -> Option<FilterKey> {
        derive::accepting_filter(&self.world)
    }

    pub(crate) fn impostors_seen(&mut self, found: BTreeMap<Impostor, u64>) {
        let rose = self.impostors.look(self.now, found);
        if rose.is_empty() || self.impostors.said_at.is_some_and(|at| self.now < at + SILENCE) {
            return;
        }
        self.impostors.said_at = Some(self.now);
        let fresh = self.fresh_impostors();
        let Some(most) = fresh.iter().find(|(impostor, _)| rose.contains(impostor)) else { return };
        let others = match rose.len() {
            1 => String::new(),
            count => format!("; {} more like it", count - 1),
        };
        let text = format!("{}{others}", self.named(most));
        self.report(Report::warn(text));
    }

    /// Who sent in another's name lately.
    pub(crate) fn impostors(&self) -> Vec<ImpostorStatus> {
        self.fresh_impostors().iter().take(SHOWN).map(|one| self.named(one)).collect()
    }

    /// With how many packets, the most first.
    fn fresh_impostors(&self) -> Vec<(Impostor, u64)> {
        let seen = self.impostors.seen.iter().flatten();
        let fresh = seen.filter(|(_, seen)| seen.rose_at.is_some_and(|at| self.now < at + FRESH));
        let mut fresh: Vec<(Impostor, u64)> = fresh.map(|(who, seen)| (*who, seen.packets)).collect();
        fresh.sort_by_key(|(impostor, packets)| (std::cmp::Reverse(*packets), *impostor));
        fresh
    }

    fn named(&self, (Impostor { sender, holder }, packets): &(Impostor, u64)) -> ImpostorStatus {
        let node_at = |addr: Ipv4Addr| {
            let mut nodes = self.world.peers.iter();
            nodes.find(|(_, peer)| peer.addr.addr() == addr).map(|(name, _)| name.clone())
        };
        ImpostorStatus {
            sender: *sender,
            sender_node: node_at(*sender),
            holder: *holder,
            holder_node: holder.and_then(node_at),
            packets: *packets,
        }
    }
}
