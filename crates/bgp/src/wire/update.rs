//! UPDATE (RFC 4271 §4.3): routes that came, routes that went, and what is said about those that came.
//!
//! Reading has three steps, so that nothing half-valid leaves: the three fields are cut apart, each is read and every
//! crime noted, then the strongest class decides (RFC 7606 §3) whether the announced destinations come out announced,
//! withdrawn, or not at all.

use super::attrs::{Attributes, Found, code};
use super::cursor::Reader;
use super::family::Family;
use super::message::Ctx;
use super::misbehaved::{Class, Misbehaved};
use super::nexthop::NextHop;
use super::nlri;
use super::notification::{Error, Notification};
use super::pack::{self, TooLarge};
use model::Cidr;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Routes that came and went. To be applied in the order of the fields: a destination in both is announced (RFC 4271 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Destinations without a route from this peer any more, of both families.
    pub withdrawn: Vec<Cidr>,
    /// Destinations with a route, by next hop. None is without destinations.
    pub announced: Vec<Announced>,
    /// What is said of all announced destinations; there exactly if something is announced.
    pub attrs: Option<Arc<Attributes>>,
    /// All routes of a family have been sent (RFC 4724 §2). Alone in its message.
    pub end_of_rib: Option<Family>,
}

/// Destinations of one family that are reached through one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Where packets go.
    pub nexthop: NextHop,
    /// Where they want to go.
    pub dsts: Vec<Cidr>,
}

impl Update {
    /// Withdraws what is announced: what RFC 7606 asks for where a route cannot be believed.
    pub fn treat_as_withdraw(&mut self) {
        let announced = self.announced.drain(..).flat_map(|announced| announced.dsts);
        self.withdrawn.extend(announced);
        self.attrs = None;
    }

    pub(super) fn decode(mut r: Reader<'_>, ctx: &Ctx) -> Result<(Update, Vec<Misbehaved>), Notification> {
        let malformed = || Notification::from(Error::MalformedAttributeList);
        let withdrawn = r.sub_u16().ok_or_else(malformed)?;
        let attributes = r.sub_u16().ok_or_else(malformed)?;
        let mut found = Found::read(attributes, ctx)?;
        let mut update =
            Update { end_of_rib: end_of_rib(withdrawn, attributes, r, &found, ctx), ..Update::default() };

        let mut announced = Vec::new();
        for (field, dsts) in [(withdrawn, &mut update.withdrawn), (r, &mut announced)] {
            nlri::decode(field, Family::IPV4, dsts)
                .ok_or_else(|| Notification::from(Error::InvalidNetworkField))?;
            if !dsts.is_empty() && !ctx.families.contains(&Family::IPV4) {
                found.crime(Misbehaved::NotNegotiated { family: Family::IPV4 });
                dsts.clear();
            }
        }
        // RFC 7606 §5.2: without a destination in sight, nobody knows which ones a broken attribute hid.
        if !found.reaches && r.is_empty() {
            found.must_not_withdraw()?;
        }
        update.withdrawn.append(&mut found.unreach);
        if !announced.is_empty() {
            found.expect(&[code::ORIGIN, code::AS_PATH, code::NEXT_HOP]);
            // Without one the route is withdrawn, whatever stands here.
            let nexthop = NextHop::V4(found.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED));
            update.announced.push(Announced { nexthop, dsts: announced });
        }
        if let Some(reach) = found.reach.take() {
            found.expect(&[code::ORIGIN, code::AS_PATH]);
            update.announced.push(reach);
        }
        found.only_unicast(&mut update.announced);

        if found.class() == Some(Class::TreatAsWithdraw) {
            update.treat_as_withdraw();
        } else if !update.announced.is_empty() {
            update.attrs = Some(Arc::new(found.attrs));
        }
        Ok((update, found.misbehaved))
    }

    pub(super) fn encode(&self, ctx: &Ctx, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let start = out.len();
        if let Some(family) = self.end_of_rib {
            pack::end_of_rib(family, out);
        }
        for family in [Family::IPV4, Family::IPV6] {
            let mut dsts = self.withdrawn.iter().copied().filter(|dst| Family::of(*dst) == family).peekable();
            while pack::withdraw(family, &mut dsts, ctx, out) > 0 {}
        }
        for Announced { nexthop, dsts } in &self.announced {
            let attrs = self.attrs.as_ref().expect("what is announced has attributes");
            let mut dsts = dsts.iter().copied().peekable();
            while dsts.peek().is_some() {
                pack::announce(attrs, *nexthop, &mut dsts, ctx, out).inspect_err(|_| out.truncate(start))?;
            }
        }
        Ok(())
    }
}

/// The family whose end a message marks that says nothing else (RFC 4724 §2).
fn end_of_rib(
    withdrawn: Reader<'_>,
    attributes: Reader<'_>,
    announced: Reader<'_>,
    found: &Found<'_>,
    ctx: &Ctx,
) -> Option<Family> {
    if !withdrawn.is_empty() || !announced.is_empty() {
        return None;
    }
    let family = if attributes.is_empty() { Family::IPV4 } else { found.emptied? };
    ctx.families.contains(&family).then_some(family)
}
