//! ROUTE-REFRESH (RFC 2918): please send all routes of a family again.

use super::cursor::{Reader, Writer};
use super::family::Family;

/// Asks for all routes of a family. Its length was checked by `frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The routes that are wanted.
    pub family: Family,
    /// 0 is a request; others (RFC 7313) mean something only where both sides said so, and are ignored elsewhere.
    pub subtype: u8,
}

impl RouteRefresh {
    /// A request for all routes of a family.
    pub fn request(family: Family) -> RouteRefresh {
        RouteRefresh { family, subtype: 0 }
    }

    pub(super) fn decode(mut r: Reader<'_>) -> Option<RouteRefresh> {
        let (afi, subtype, safi) = (r.u16()?, r.u8()?, r.u8()?);
        r.is_empty().then_some(RouteRefresh { family: Family { afi, safi }, subtype })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.family.afi);
        w.u8(self.subtype);
        w.u8(self.family.safi);
    }
}
