//! The five messages, and the header before each of them (RFC 4271 §4.1).

use super::cursor::{Reader, Writer};
use super::family::Family;
use super::misbehaved::Misbehaved;
use super::notification::{Error, Notification};
use super::open::Open;
use super::pack::TooLarge;
use super::refresh::RouteRefresh;
use super::update::Update;
use std::collections::BTreeSet;

/// The longest message in octets, header included (RFC 4271 §4.1).
pub const MAX: usize = 4096;
/// The longest message where both sides know RFC 8654.
pub const MAX_EXTENDED: usize = 65535;

const MARKER: [u8; 16] = [0xff; 16];
pub(super) const HEADER: usize = 19;

const OPEN: u8 = 1;
pub(super) const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// What the two OPENs agreed on, as far as it changes how messages read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ctx {
    /// The peer is in another AS.
    pub ebgp: bool,
    /// AS numbers have four octets on this session (RFC 6793).
    pub four_octet_as: bool,
    /// Messages may have `MAX_EXTENDED` octets (RFC 8654).
    pub extended_message: bool,
    /// Families that both sides named. Only IPv4 and IPv6 unicast can be read.
    pub families: BTreeSet<Family>,
}

impl Ctx {
    /// The longest message in octets.
    pub fn max(&self) -> usize {
        if self.extended_message { MAX_EXTENDED } else { MAX }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is speaking.
    Open(Open),
    /// Routes that came or went.
    Update(Update),
    /// The end of the session.
    Notification(Notification),
    /// Still here.
    Keepalive,
    /// Please say all again.
    RouteRefresh(RouteRefresh),
}

/// A message, and what was wrong with it and is mended already. Only an UPDATE survives errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What counts.
    pub message: Message,
    /// To be logged, and counted against the peer.
    pub misbehaved: Vec<Misbehaved>,
}

/// The length of the first message in `octets` if all of it is there (RFC 4271 §6.1). `max` is `Ctx::max`, or `MAX` before
/// both OPENs were seen.
pub fn frame(octets: &[u8], max: usize) -> Result<Option<usize>, Notification> {
    let mut r = Reader::new(octets);
    let (Some(marker), Some(len), Some(kind)) = (r.take(MARKER.len()), r.u16(), r.u8()) else {
        return Ok(None);
    };
    if marker != MARKER {
        return Err(Error::NotSynchronized.into());
    }
    // RFC 8654 §4: an OPEN and a KEEPALIVE are never longer than before.
    let fits = match (kind, usize::from(len)) {
        (OPEN, len) => (29..=MAX.min(max)).contains(&len),
        (UPDATE, len) => (23..=max).contains(&len),
        (NOTIFICATION, len) => (21..=max).contains(&len),
        (KEEPALIVE, len) => len == HEADER,
        (ROUTE_REFRESH, len) => len == 23,
        (_, len) => (HEADER..=max).contains(&len),
    };
    if !fits {
        return Err(Notification::with(Error::BadMessageLength, len.to_be_bytes()));
    }
    if !(OPEN..=ROUTE_REFRESH).contains(&kind) {
        return Err(Notification::with(Error::BadMessageType, [kind]));
    }
    Ok((octets.len() >= usize::from(len)).then_some(len.into()))
}

/// Whether the first message in `octets` is a NOTIFICATION, however broken: the one message whose errors are not answered
/// (RFC 4271 §6.4).
pub fn is_notification(octets: &[u8]) -> bool {
    let mut r = Reader::new(octets);
    r.take(MARKER.len()) == Some(&MARKER) && r.u16().is_some() && r.u8() == Some(NOTIFICATION)
}

/// Reads one message, header included. The error is the NOTIFICATION that ends the session, unless `is_notification`.
pub fn decode(message: &[u8], ctx: &Ctx) -> Result<Decoded, Notification> {
    let unfit = || Notification::from(Error::BadMessageLength);
    if frame(message, ctx.max())? != Some(message.len()) {
        return Err(unfit());
    }
    let mut r = Reader::new(message);
    r.take(MARKER.len());
    r.u16();
    let kind = r.u8();
    let mut misbehaved = Vec::new();
    let message = match kind {
        Some(OPEN) => Message::Open(Open::decode(r)?),
        Some(UPDATE) => {
            let (update, crimes) = Update::decode(r, ctx)?;
            misbehaved = crimes;
            Message::Update(update)
        }
        Some(NOTIFICATION) => Message::Notification(Notification::decode(r).ok_or_else(unfit)?),
        Some(ROUTE_REFRESH) => Message::RouteRefresh(RouteRefresh::decode(r).ok_or_else(unfit)?),
        _ => Message::Keepalive,
    };
    Ok(Decoded { message, misbehaved })
}

impl Message {
    /// Appends the message to `out`. An UPDATE is written as as many messages as it takes (RFC 7606 §5.1), none if it says
    /// nothing; after an error `out` is as it was.
    pub fn encode(&self, ctx: &Ctx, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let room = ctx.max().saturating_sub(HEADER);
        match self {
            Message::Open(open) => framed(OPEN, MAX, out, |w| open.encode(w)),
            Message::Update(update) => update.encode(ctx, out),
            Message::Notification(told) => framed(NOTIFICATION, ctx.max(), out, |w| told.encode(w, room)),
            Message::Keepalive => framed(KEEPALIVE, MAX, out, |_| ()),
            Message::RouteRefresh(refresh) => framed(ROUTE_REFRESH, MAX, out, |w| refresh.encode(w)),
        }
    }
}

/// Appends one message whose body `body` writes, and gives what `body` gave, unless it is longer than `max`.
pub(super) fn framed<T>(
    kind: u8,
    max: usize,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Writer<'_>) -> T,
) -> Result<T, TooLarge> {
    let start = out.len();
    let mut w = Writer::new(out);
    w.bytes(&MARKER);
    let at = w.len();
    w.u16(0);
    w.u8(kind);
    let given = body(&mut w);
    let octets = w.since(start);
    match u16::try_from(octets) {
        Ok(len) if octets <= max => {
            w.patch(at, &len.to_be_bytes());
            Ok(given)
        }
        _ => {
            w.truncate(start);
            Err(TooLarge { octets, max })
        }
    }
}
