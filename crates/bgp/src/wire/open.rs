//! OPEN (RFC 4271 §4.2): who a speaker is and what it can do.

use super::capability::{Capability, GracefulRestart};
use super::cursor::{Reader, Writer};
use super::family::Family;
use super::notification::{Error, Notification};
use model::{Asn, Duration};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// The BGP version spoken here.
const VERSION: u8 = 4;
/// Stands for an AS number of four octets where there is room for two (RFC 6793 §9).
pub const AS_TRANS: u16 = 23456;

/// What identifies a speaker within its AS: four octets, written like an address. In an OPEN it is never 0.0.0.0 (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds without a message after which a session ends: 0 (never), or at least 3 (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

impl HoldTime {
    /// `None` for one and two seconds.
    pub fn new(secs: u16) -> Option<HoldTime> {
        (secs == 0 || secs >= 3).then_some(HoldTime(secs))
    }

    /// Seconds.
    pub fn secs(self) -> u16 {
        self.0
    }

    /// How long silence is borne; `None` if for ever.
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(self.0.into()))
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The speaker's AS, of four octets if it has the capability.
    pub asn: Asn,
    /// What it proposes; the lower of both sides' counts.
    pub hold_time: HoldTime,
    /// Its name.
    pub router_id: RouterId,
    /// In the order in which they were given.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The families of the multiprotocol capability. A speaker without it means IPv4 unicast (RFC 4760 §8).
    pub fn families(&self) -> BTreeSet<Family> {
        let mut families: BTreeSet<Family> = self
            .capabilities
            .iter()
            .filter_map(|capability| match capability {
                Capability::Multiprotocol(family) => Some(*family),
                _ => None,
            })
            .collect();
        if families.is_empty() {
            families.insert(Family::IPV4);
        }
        families
    }

    /// Whether a capability that has no value of its own was given.
    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether the speaker uses AS numbers of four octets.
    pub fn four_octet_as(&self) -> bool {
        self.capabilities.iter().any(|capability| matches!(capability, Capability::FourOctetAs(_)))
    }

    /// What it says of its restarts. Of several the last counts (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    pub(super) fn decode(mut r: Reader<'_>) -> Result<Open, Notification> {
        let malformed = || Notification::from(Error::Open);
        if r.u8().ok_or_else(malformed)? != VERSION {
            return Err(Notification::with(Error::UnsupportedVersion, u16::from(VERSION).to_be_bytes()));
        }
        let my_as = r.u16().ok_or_else(malformed)?;
        let hold_time = r.u16().ok_or_else(malformed)?;
        let id = r.ipv4().ok_or_else(malformed)?;
        let capabilities = parameters(&mut r)?;
        let four_octet_as = capabilities.iter().rev().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        });
        let asn = four_octet_as.unwrap_or(Asn(my_as.into()));
        // RFC 7607 §2: AS 0 is nobody's.
        if asn == Asn(0) || my_as == 0 {
            return Err(Error::BadPeerAs.into());
        }
        if id.is_unspecified() {
            return Err(Error::BadBgpIdentifier.into());
        }
        let hold_time =
            HoldTime::new(hold_time).ok_or_else(|| Notification::from(Error::UnacceptableHoldTime))?;
        Ok(Open { asn, hold_time, router_id: RouterId(id), capabilities })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.u8(VERSION);
        w.u16(u16::try_from(self.asn.0).unwrap_or(AS_TRANS));
        w.u16(self.hold_time.0);
        w.bytes(&self.router_id.0.octets());
        let mut capabilities = Vec::new();
        let mut c = Writer::new(&mut capabilities);
        self.capabilities.iter().for_each(|capability| capability.encode(&mut c));
        match capabilities.len() {
            0 => w.u8(0),
            1..=MAX_SHORT => w.sized_u8(|w| {
                w.u8(CAPABILITIES);
                w.sized_u8(|w| w.bytes(&capabilities));
            }),
            _ => {
                w.bytes(&[EXTENDED, EXTENDED]);
                w.sized_u16(|w| {
                    w.u8(CAPABILITIES);
                    w.sized_u16(|w| w.bytes(&capabilities));
                });
            }
        }
    }
}

/// The optional parameter that holds capabilities (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Length and type that say: lengths of two octets follow (RFC 9072 §2).
const EXTENDED: u8 = 255;
/// Capabilities of more octets do not fit the short form: 255, less a parameter's type and length.
const MAX_SHORT: usize = 253;

/// The capabilities in all optional parameters, in the short form or in that of RFC 9072.
fn parameters(r: &mut Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let malformed = || Notification::from(Error::Open);
    let len = r.u8().ok_or_else(malformed)?;
    let extended = len != 0 && r.rest().first() == Some(&EXTENDED);
    let mut parameters = if extended {
        r.u8();
        r.sub_u16().ok_or_else(malformed)?
    } else {
        Reader::new(r.take(len.into()).ok_or_else(malformed)?)
    };
    if !r.is_empty() {
        return Err(malformed());
    }
    let mut capabilities = Vec::new();
    while !parameters.is_empty() {
        let kind = parameters.u8().ok_or_else(malformed)?;
        let value = if extended { parameters.sub_u16() } else { parameters.sub_u8() };
        let mut value = value.ok_or_else(malformed)?;
        if kind != CAPABILITIES {
            return Err(Error::UnsupportedOptionalParameter.into());
        }
        while !value.is_empty() {
            let at = value.rest();
            let capability = Capability::decode(&mut value);
            capabilities.push(capability.ok_or_else(|| Notification::with(Error::Open, at))?);
        }
    }
    Ok(capabilities)
}
