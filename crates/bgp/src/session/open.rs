//! What do we say in OPEN, do we accept the peer's (RFC 4271 §6.2), and what do the two agree on?

use super::Context;
use crate::config::PeerConfig;
use crate::wire::{Capability, Ctx, Error, Family, GracefulRestart, HoldTime, Notification, Open, RouterId};
use model::{Asn, Duration};
use std::collections::BTreeSet;

/// What we say of ourselves to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our AS in this session.
    pub asn: Asn,
    /// Our identifier.
    pub router_id: RouterId,
    /// Our restart time in seconds, if we restart gracefully.
    pub restart_time: Option<u16>,
    /// Whether we have just restarted and select no route yet.
    pub restarting: bool,
    /// Whether we still forward as we did in the last session.
    pub preserved: bool,
}

/// What two OPENs agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's identifier.
    pub router_id: RouterId,
    /// The lower of both.
    pub hold_time: HoldTime,
    /// How often to say something; never, if the hold time is zero.
    pub keepalive: Option<Duration>,
    /// What both want.
    pub families: BTreeSet<Family>,
    /// Whether the peer sends its routes again when asked.
    pub refresh: bool,
    /// What the peer says of its restarts, if both restart gracefully.
    pub graceful: Option<GracefulRestart>,
    /// What the codec has to know.
    pub ctx: Ctx,
}

impl Local {
    /// Whether a peer is of our own AS.
    pub fn is_internal(&self, peer: &PeerConfig) -> bool {
        self.asn == peer.remote_asn
    }

    /// Our OPEN.
    pub fn open(&self, peer: &PeerConfig) -> Open {
        let families = peer.families.iter().copied();
        let mut capabilities: Vec<Capability> = families.clone().map(Capability::Multiprotocol).collect();
        capabilities.extend([Capability::RouteRefresh, Capability::ExtendedMessage]);
        capabilities.extend(self.restart_time.map(|time| {
            Capability::GracefulRestart(GracefulRestart {
                restarting: self.restarting,
                notification: true,
                time,
                families: families.map(|family| (family, self.preserved)).collect(),
            })
        }));
        capabilities.push(Capability::FourOctetAs(self.asn));
        Open { asn: self.asn, hold_time: peer.hold_time, router_id: self.router_id, capabilities }
    }
}

impl Negotiated {
    /// Checks the peer's OPEN against what was configured (RFC 4271 §6.2, RFC 6286 §2.2, RFC 5492 §5).
    pub fn new(cx: &Context<'_>, open: &Open) -> Result<Negotiated, Notification> {
        let (peer, local) = (cx.peer, cx.local);
        if open.asn != peer.remote_asn {
            return Err(Error::BadPeerAs.into());
        }
        if local.is_internal(peer) && open.router_id == local.router_id {
            return Err(Error::BadBgpIdentifier.into());
        }
        let families: BTreeSet<Family> = peer.families.intersection(&open.families()).copied().collect();
        if families.is_empty() {
            let wanted = peer.families.iter().flat_map(|f| {
                let [high, low] = f.afi.to_be_bytes();
                [1, 4, high, low, 0, f.safi]
            });
            return Err(Notification::with(Error::UnsupportedCapability, wanted.collect::<Vec<u8>>()));
        }
        let hold_time = peer.hold_time.min(open.hold_time);
        let graceful = local.restart_time.and_then(|_| open.graceful_restart().cloned());
        Ok(Negotiated {
            router_id: open.router_id,
            hold_time,
            keepalive: keepalive(peer, hold_time),
            refresh: open.has(&Capability::RouteRefresh),
            graceful,
            ctx: Ctx {
                ebgp: !local.is_internal(peer),
                four_octet_as: open.four_octet_as(),
                extended_message: open.has(&Capability::ExtendedMessage),
                families: families.clone(),
            },
            families,
        })
    }
}

/// A third of the hold time (RFC 4271 §10), or what was configured if that is shorter.
fn keepalive(peer: &PeerConfig, hold_time: HoldTime) -> Option<Duration> {
    let third = Duration::from_micros(hold_time.duration()?.micros() / 3);
    Some(peer.keepalive.map_or(third, |wanted| wanted.min(third)).max(Duration::from_secs(1)))
}
