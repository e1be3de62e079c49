//! The messages of BGP-4 as values, from bytes and to bytes.
//!
//! ```text
//!  octets of a connection ─► frame ─► decode ─► Decoded { message, misbehaved } ─► session
//!                                        └────► Notification: the session ends with it
//!  session ─► Message::encode, pack ─► octets
//! ```
//!
//! In: octets that a peer chose, and `Ctx`, what the two OPENs agreed on. Out: values that make sense, and what was
//! wrong (RFC 7606), already acted upon: a route whose attributes are malformed comes out withdrawn, an attribute that is
//! to be discarded is not there. A peer can neither make this module panic nor make it keep more than a message's worth.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)
)]

pub mod attrs;
pub mod capability;
mod cursor;
pub mod family;
pub mod message;
pub mod misbehaved;
pub mod nexthop;
mod nlri;
pub mod notification;
pub mod open;
pub mod pack;
pub mod refresh;
pub mod text;
pub mod update;

pub use attrs::{
    Aggregator, AsPath, Attributes, Community, ExtCommunity, LargeCommunity, Origin, Segment, UnknownAttr,
};
pub use capability::{Capability, GracefulRestart};
pub use family::Family;
pub use message::{Ctx, Decoded, MAX, MAX_EXTENDED, Message, decode, frame, is_notification};
pub use misbehaved::{Class, Misbehaved};
pub use nexthop::NextHop;
pub use notification::{Error, Notification};
pub use open::{HoldTime, Open, RouterId};
pub use pack::TooLarge;
pub use refresh::RouteRefresh;
pub use text::PeerText;
pub use update::{Announced, Update};
