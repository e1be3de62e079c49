//! Capabilities (RFC 5492): what a speaker says in its OPEN that it can do.

use super::cursor::{Reader, Writer};
use super::family::Family;
use model::Asn;

/// One thing that a speaker can do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Routes of a family (RFC 4760 §8).
    Multiprotocol(Family),
    /// Sends its routes again when asked (RFC 2918).
    RouteRefresh,
    /// Messages of up to 65 535 octets (RFC 8654).
    ExtendedMessage,
    /// AS numbers of four octets, and the speaker's own (RFC 6793).
    FourOctetAs(Asn),
    /// RFC 4724.
    GracefulRestart(GracefulRestart),
    /// Anything else.
    Unknown {
        /// As IANA numbers it.
        code: u8,
        /// At most 255 octets.
        value: Vec<u8>,
    },
}

/// What a speaker promises about its restarts (RFC 4724 §3, RFC 8538 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GracefulRestart {
    /// It has just restarted and waits for no End-of-RIB from others.
    pub restarting: bool,
    /// Routes stay through a NOTIFICATION too, unless it is a hard reset.
    pub notification: bool,
    /// Seconds until it is back, at most 4095. Greater ones are written as 4095.
    pub time: u16,
    /// Families that are kept, and whether their forwarding went on through the restart. At most 63.
    pub families: Vec<(Family, bool)>,
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;

const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const MAX_RESTART_TIME: u16 = 0x0fff;
const FORWARDING: u8 = 0x80;

impl Capability {
    /// The next capability; `None` if it is cut off or its length is wrong for its code.
    pub(super) fn decode(r: &mut Reader<'_>) -> Option<Capability> {
        let code = r.u8()?;
        let mut value = r.sub_u8()?;
        let capability = match code {
            MULTIPROTOCOL => {
                let (afi, _reserved, safi) = (value.u16()?, value.u8()?, value.u8()?);
                Capability::Multiprotocol(Family { afi, safi })
            }
            ROUTE_REFRESH => Capability::RouteRefresh,
            EXTENDED_MESSAGE => Capability::ExtendedMessage,
            FOUR_OCTET_AS => Capability::FourOctetAs(Asn(value.u32()?)),
            GRACEFUL_RESTART => Capability::GracefulRestart(GracefulRestart::decode(&mut value)?),
            _ => {
                let rest = value.take(value.len())?;
                Capability::Unknown { code, value: rest.to_vec() }
            }
        };
        value.is_empty().then_some(capability)
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Capability::Multiprotocol(family) => {
                w.u8(MULTIPROTOCOL);
                w.sized_u8(|w| {
                    w.u16(family.afi);
                    w.u8(0);
                    w.u8(family.safi);
                });
            }
            Capability::RouteRefresh => w.bytes(&[ROUTE_REFRESH, 0]),
            Capability::ExtendedMessage => w.bytes(&[EXTENDED_MESSAGE, 0]),
            Capability::FourOctetAs(asn) => {
                w.u8(FOUR_OCTET_AS);
                w.sized_u8(|w| w.u32(asn.0));
            }
            Capability::GracefulRestart(restart) => {
                w.u8(GRACEFUL_RESTART);
                w.sized_u8(|w| restart.encode(w));
            }
            Capability::Unknown { code, value } => {
                w.u8(*code);
                w.sized_u8(|w| w.bytes(value));
            }
        }
    }
}

impl GracefulRestart {
    fn decode(value: &mut Reader<'_>) -> Option<GracefulRestart> {
        let flags = value.u16()?;
        let mut families = Vec::new();
        while !value.is_empty() {
            let (afi, safi, flags) = (value.u16()?, value.u8()?, value.u8()?);
            families.push((Family { afi, safi }, flags & FORWARDING != 0));
        }
        Some(GracefulRestart {
            restarting: flags & RESTARTING != 0,
            notification: flags & NOTIFICATION != 0,
            time: flags & MAX_RESTART_TIME,
            families,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        let restarting = if self.restarting { RESTARTING } else { 0 };
        let notification = if self.notification { NOTIFICATION } else { 0 };
        w.u16(restarting | notification | self.time.min(MAX_RESTART_TIME));
        for (family, forwarding) in &self.families {
            w.u16(family.afi);
            w.u8(family.safi);
            w.u8(if *forwarding { FORWARDING } else { 0 });
        }
    }
}
