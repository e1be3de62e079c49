//! The path attributes of one UPDATE, read one by one: what they say, and what is wrong with them (RFC 7606).

use super::super::cursor::Reader;
use super::super::family::Family;
use super::super::message::Ctx;
use super::super::misbehaved::{Class, Misbehaved};
use super::super::nexthop::NextHop;
use super::super::nlri;
use super::super::notification::{Error, Notification};
use super::super::open::{AS_TRANS, RouterId};
use super::super::update::Announced;
use super::code::{self, *};
use super::{Aggregator, AsPath, Attributes, Community, ExtCommunity, LargeCommunity, Origin, UnknownAttr};
use model::{Asn, Cidr};
use std::net::Ipv4Addr;

/// What the attributes of an UPDATE say. Only what is well-formed is in it.
pub(crate) struct Found<'a> {
    ctx: &'a Ctx,
    /// What is said of all destinations. Without ORIGIN and AS_PATH it is worth nothing; see `expect`.
    pub attrs: Attributes,
    /// NEXT_HOP, for destinations outside MP_REACH_NLRI.
    pub next_hop: Option<Ipv4Addr>,
    /// MP_REACH_NLRI, unless it has no destinations.
    pub reach: Option<Announced>,
    /// There are destinations in MP_REACH_NLRI, maybe of a family that was not agreed on.
    pub reaches: bool,
    /// The destinations of MP_UNREACH_NLRI.
    pub unreach: Vec<Cidr>,
    /// The family of an MP_UNREACH_NLRI that has no destinations and is the only attribute.
    pub emptied: Option<Family>,
    /// All crimes, in the order in which they were met.
    pub misbehaved: Vec<Misbehaved>,
    /// The first of the strongest, with the octets of its attribute.
    worst: Option<(Misbehaved, &'a [u8])>,
    seen: Seen,
    /// Codes that stood there more than once.
    doubled: Seen,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

/// One attribute as it stands in the message.
#[derive(Clone, Copy)]
struct Raw<'a> {
    flags: u8,
    code: u8,
    value: Reader<'a>,
    /// All of it, for the data of a NOTIFICATION.
    octets: &'a [u8],
}

/// A set of codes, a bit each.
#[derive(Clone, Copy, Default)]
struct Seen([u128; 2]);

impl Seen {
    /// The half and the bit of a code.
    fn place(code: u8) -> (bool, u128) {
        (code >= 128, 1 << (code % 128))
    }

    fn contains(self, code: u8) -> bool {
        let ([low, high], (is_high, bit)) = (self.0, Seen::place(code));
        if is_high { high & bit != 0 } else { low & bit != 0 }
    }

    /// Whether the code is new.
    fn insert(&mut self, code: u8) -> bool {
        let (is_high, bit) = Seen::place(code);
        let [low, high] = &mut self.0;
        let half = if is_high { high } else { low };
        let is_new = *half & bit == 0;
        *half |= bit;
        is_new
    }

    fn len(self) -> u32 {
        let [low, high] = self.0;
        low.count_ones().saturating_add(high.count_ones())
    }
}

impl<'a> Found<'a> {
    /// Reads all attributes. The error ends the session.
    pub(crate) fn read(mut r: Reader<'a>, ctx: &'a Ctx) -> Result<Found<'a>, Notification> {
        let mut found = Found {
            ctx,
            attrs: Attributes::new(Origin::Incomplete, AsPath::default()),
            next_hop: None,
            reach: None,
            reaches: false,
            unreach: Vec::new(),
            emptied: None,
            misbehaved: Vec::new(),
            worst: None,
            seen: Seen::default(),
            doubled: Seen::default(),
            as4_path: None,
            as4_aggregator: None,
        };
        while !r.is_empty() {
            let octets = r.rest();
            match Raw::next(&mut r) {
                Ok(raw) => {
                    if let Err(crime) = found.attribute(raw) {
                        found.note(crime, raw.octets)?;
                    }
                }
                // RFC 7606 §4: nothing after it can be found; the destinations outside still can.
                Err(crime) => {
                    found.note(crime, octets)?;
                    break;
                }
            }
        }
        found.merge_as4();
        found.attrs.unknown.sort_unstable_by_key(|attr| attr.code);
        found.emptied = found.emptied.filter(|_| found.seen.len() == 1 && found.misbehaved.is_empty());
        Ok(found)
    }

    /// Notes a crime that is not an attribute's, and does not end the session.
    pub(crate) fn crime(&mut self, crime: Misbehaved) {
        assert!(crime.class() < Class::SessionReset, "{crime}");
        self.misbehaved.push(crime);
        if self.class() < Some(crime.class()) {
            self.worst = Some((crime, &[]));
        }
    }

    fn note(&mut self, crime: Misbehaved, octets: &'a [u8]) -> Result<(), Notification> {
        if crime.class() == Class::SessionReset {
            return Err(notification(crime, octets));
        }
        let before = self.class();
        self.crime(crime);
        if before < Some(crime.class()) {
            self.worst = Some((crime, octets));
        }
        Ok(())
    }

    /// The strongest class of what was met.
    pub(crate) fn class(&self) -> Option<Class> {
        self.worst.map(|(crime, _)| crime.class())
    }

    /// Ends the session if something is to be treated as a withdrawal.
    pub(crate) fn must_not_withdraw(&self) -> Result<(), Notification> {
        match self.worst {
            Some((crime, octets)) if crime.class() == Class::TreatAsWithdraw => {
                Err(notification(crime, octets))
            }
            _ => Ok(()),
        }
    }

    /// Notes which of the mandatory attributes `codes` are not there.
    pub(crate) fn expect(&mut self, codes: &[u8]) {
        for &code in codes {
            let crime = Misbehaved::Missing { code };
            if !self.seen.contains(code) && !self.misbehaved.contains(&crime) {
                self.crime(crime);
            }
        }
    }

    /// Leaves out destinations that are none for unicast (RFC 4271 §6.3).
    pub(crate) fn only_unicast(&mut self, announced: &mut Vec<Announced>) {
        let mut first = None;
        for Announced { dsts, .. } in announced.iter_mut() {
            if let Some(dst) = dsts.iter().find(|dst| !nlri::is_unicast(**dst)) {
                first = first.or(Some(*dst));
                dsts.retain(|dst| nlri::is_unicast(*dst));
            }
        }
        if let Some(dst) = first {
            announced.retain(|announced| !announced.dsts.is_empty());
            self.crime(Misbehaved::NotUnicast { dst });
        }
    }

    /// Reads one attribute, as far as its code, flags and sender allow it.
    fn attribute(&mut self, raw: Raw<'a>) -> Result<(), Misbehaved> {
        let Raw { flags, code, value, .. } = raw;
        if !self.seen.insert(code) {
            // Said once: a message has room for thousands.
            let is_news = self.doubled.insert(code);
            return if is_news { Err(Misbehaved::Duplicate { code }) } else { Ok(()) };
        }
        match code {
            LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST if self.ctx.ebgp => {
                return Err(Misbehaved::FromExternal { code });
            }
            AS4_PATH | AS4_AGGREGATOR if self.ctx.four_octet_as => {
                return Err(Misbehaved::FromFourOctet { code });
            }
            _ => (),
        }
        match code::flags(code) {
            Some(expected) if flags & (OPTIONAL | TRANSITIVE) != expected => {
                Err(Misbehaved::Flags { code, flags })
            }
            Some(_) => {
                self.known(raw)?;
                if flags & PARTIAL != 0 && CAN_BE_PARTIAL.contains(&code) {
                    self.attrs.partial.insert(code);
                }
                Ok(())
            }
            None if flags & OPTIONAL == 0 => Err(Misbehaved::UnrecognizedWellKnown { code }),
            None if flags & TRANSITIVE == 0 => Ok(()),
            None => {
                let flags = OPTIONAL | TRANSITIVE | PARTIAL;
                self.attrs.unknown.push(UnknownAttr { code, flags, value: value.rest().to_vec() });
                Ok(())
            }
        }
    }

    fn known(&mut self, raw: Raw<'a>) -> Result<(), Misbehaved> {
        let four_octet = self.ctx.four_octet_as;
        let attrs = &mut self.attrs;
        match raw.code {
            ORIGIN => attrs.origin = origin(raw)?,
            AS_PATH => attrs.as_path = AsPath::decode(raw.value, four_octet)?,
            NEXT_HOP => self.next_hop = Some(raw.exactly(Reader::ipv4)?),
            MED => attrs.med = Some(raw.exactly(Reader::u32)?),
            LOCAL_PREF => attrs.local_pref = Some(raw.exactly(Reader::u32)?),
            ATOMIC_AGGREGATE => attrs.atomic_aggregate = raw.exactly(|_| Some(true))?,
            AGGREGATOR => attrs.aggregator = Some(aggregator(raw, four_octet)?),
            COMMUNITIES => attrs.communities = raw.members(|r| r.u32().map(Community))?,
            ORIGINATOR_ID => attrs.originator_id = Some(RouterId(raw.exactly(Reader::ipv4)?)),
            CLUSTER_LIST => attrs.cluster_list = raw.members(Reader::ipv4)?,
            MP_REACH => self.mp_reach(raw)?,
            MP_UNREACH => self.mp_unreach(raw)?,
            EXT_COMMUNITIES => attrs.ext_communities = raw.members(|r| r.u64().map(ExtCommunity))?,
            AS4_PATH => self.as4_path = Some(self.read_as4_path(raw)?),
            AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(raw, true)?),
            LARGE_COMMUNITIES => attrs.large_communities = raw.members(large_community)?,
            code => unreachable!("{code} is not known"),
        }
        Ok(())
    }

    /// RFC 4760 §3. Its length is known before anything of it counts: what follows a wrong next hop cannot be found.
    fn mp_reach(&mut self, raw: Raw<'a>) -> Result<(), Misbehaved> {
        let mut r = raw.value;
        let too_short = raw.bad_length();
        if r.len() < 5 {
            return Err(too_short);
        }
        let family = Family { afi: r.u16().ok_or(too_short)?, safi: r.u8().ok_or(too_short)? };
        if !self.readable(family) {
            self.reaches = true;
            return Err(Misbehaved::NotNegotiated { family });
        }
        let len = r.rest().first().copied().ok_or(too_short)?;
        let nexthop =
            r.sub_u8().and_then(|r| next_hop(r, family)).ok_or(Misbehaved::NextHopLength { len })?;
        let _reserved = r.u8().ok_or(too_short)?;
        let mut dsts = Vec::new();
        nlri::decode(r, family, &mut dsts).ok_or(Misbehaved::Prefix { code: MP_REACH })?;
        if !dsts.is_empty() {
            self.reaches = true;
            self.reach = Some(Announced { nexthop, dsts });
        }
        Ok(())
    }

    /// RFC 4760 §4.
    fn mp_unreach(&mut self, raw: Raw<'a>) -> Result<(), Misbehaved> {
        let mut r = raw.value;
        let (Some(afi), Some(safi)) = (r.u16(), r.u8()) else {
            return Err(raw.bad_length());
        };
        let family = Family { afi, safi };
        if !self.readable(family) {
            return Err(Misbehaved::NotNegotiated { family });
        }
        self.emptied = r.is_empty().then_some(family);
        nlri::decode(r, family, &mut self.unreach).ok_or(Misbehaved::Prefix { code: MP_UNREACH })
    }

    /// Whether destinations of a family are agreed on and can be read.
    fn readable(&self, family: Family) -> bool {
        [Family::IPV4, Family::IPV6].contains(&family) && self.ctx.families.contains(&family)
    }

    fn read_as4_path(&mut self, raw: Raw<'a>) -> Result<AsPath, Misbehaved> {
        // RFC 6793 §6: room for at least one AS.
        if raw.value.len() < 6 {
            return Err(raw.bad_length());
        }
        let (path, left_out) = AsPath::decode_as4(raw.value)?;
        if let Some(kind) = left_out {
            self.crime(Misbehaved::SegmentType { code: AS4_PATH, kind });
        }
        Ok(path)
    }

    /// Puts AS numbers of four octets where a speaker that knows two only wrote AS_TRANS (RFC 6793 §4.2.3).
    fn merge_as4(&mut self) {
        let (path, by) = (self.as4_path.take(), self.as4_aggregator.take());
        if let (Some(aggregator), Some(by)) = (&mut self.attrs.aggregator, by) {
            // Who aggregated it last knows two octets only: what others said before is of another route.
            if aggregator.asn != Asn(AS_TRANS.into()) {
                return;
            }
            *aggregator = by;
        }
        if let Some(as4) = path {
            self.attrs.as_path = std::mem::take(&mut self.attrs.as_path).restored(as4);
        }
    }
}

/// What a NOTIFICATION about a crime says (RFC 4271 §6.3).
fn notification(crime: Misbehaved, octets: &[u8]) -> Notification {
    match crime.error() {
        error @ (Error::MalformedAttributeList | Error::MalformedAsPath) => error.into(),
        error => Notification::with(error, octets),
    }
}

impl<'a> Raw<'a> {
    /// The next attribute of the list.
    fn next(r: &mut Reader<'a>) -> Result<Raw<'a>, Misbehaved> {
        let start = r.rest();
        let (flags, code) = (r.u8().ok_or(Misbehaved::Leftover)?, r.u8().ok_or(Misbehaved::Leftover)?);
        let len = if flags & EXTENDED_LENGTH != 0 { r.u16() } else { r.u8().map(u16::from) };
        let len = len.ok_or(Misbehaved::Leftover)?;
        let value = r.take(len.into()).ok_or(Misbehaved::Overrun { code })?;
        let octets = start.get(..start.len().saturating_sub(r.len())).unwrap_or(start);
        Ok(Raw { flags, code, value: Reader::new(value), octets })
    }

    fn bad_length(&self) -> Misbehaved {
        Misbehaved::Length { code: self.code, len: u16::try_from(self.value.len()).unwrap_or(u16::MAX) }
    }

    /// A value of one size.
    fn exactly<T>(mut self, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Result<T, Misbehaved> {
        let crime = self.bad_length();
        read(&mut self.value).filter(|_| self.value.is_empty()).ok_or(crime)
    }

    /// A value of one or more members. What `read` cannot read whole, it does not take.
    fn members<T, C: FromIterator<T>>(
        mut self,
        read: impl Fn(&mut Reader<'a>) -> Option<T>,
    ) -> Result<C, Misbehaved> {
        let crime = self.bad_length();
        if self.value.is_empty() {
            return Err(crime);
        }
        let members = std::iter::from_fn(|| read(&mut self.value)).collect();
        if self.value.is_empty() { Ok(members) } else { Err(crime) }
    }
}

/// Optional attributes that pass through speakers that do not know them.
const CAN_BE_PARTIAL: [u8; 4] = [AGGREGATOR, COMMUNITIES, EXT_COMMUNITIES, LARGE_COMMUNITIES];

fn origin(raw: Raw<'_>) -> Result<Origin, Misbehaved> {
    match raw.exactly(Reader::u8)? {
        0 => Ok(Origin::Igp),
        1 => Ok(Origin::Egp),
        2 => Ok(Origin::Incomplete),
        value => Err(Misbehaved::OriginValue { value }),
    }
}

fn aggregator(raw: Raw<'_>, four_octet: bool) -> Result<Aggregator, Misbehaved> {
    let by = raw.exactly(|r| {
        let asn = if four_octet { r.u32()? } else { r.u16()?.into() };
        Some(Aggregator { asn: Asn(asn), addr: r.ipv4()? })
    })?;
    if by.asn == Asn(0) { Err(Misbehaved::AsZero { code: raw.code }) } else { Ok(by) }
}

fn large_community(r: &mut Reader<'_>) -> Option<LargeCommunity> {
    let mut r = Reader::new(r.take(12)?);
    Some(LargeCommunity { global: r.u32()?, local1: r.u32()?, local2: r.u32()? })
}

/// The next hop of MP_REACH_NLRI, if its length fits the family (RFC 4760 §3, RFC 2545 §3).
fn next_hop(mut r: Reader<'_>, family: Family) -> Option<NextHop> {
    let nexthop = match family {
        Family::IPV4 => NextHop::V4(r.ipv4()?),
        _ => NextHop::V6 { global: r.ipv6()?, link_local: if r.is_empty() { None } else { Some(r.ipv6()?) } },
    };
    r.is_empty().then_some(nexthop)
}
