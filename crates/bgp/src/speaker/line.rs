//! One connection as octets: what came and is no whole message yet, what is to be sent before any UPDATE.

use crate::rib::Source;
use crate::wire::{Ctx, Message};
use model::Instant;
use std::net::IpAddr;

/// A connection.
#[derive(Debug)]
pub struct Line {
    /// Whose.
    pub source: Source,
    /// Our end, once it is connected.
    pub local: Option<IpAddr>,
    /// The beginning of a message.
    pub inbox: Vec<u8>,
    /// Whole messages: OPEN, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH.
    pub outbox: Vec<u8>,
    /// No more is heard, and no more is said than what is in the outbox.
    pub closing: bool,
    /// Since when something is to be sent and nothing was taken.
    pub waiting_since: Option<Instant>,
}

impl Line {
    /// A connection of a peer.
    pub fn new(source: Source, local: Option<IpAddr>) -> Line {
        Line { source, local, inbox: Vec::new(), outbox: Vec::new(), closing: false, waiting_since: None }
    }

    /// Queues a message. One KEEPALIVE is enough for a peer that takes none.
    pub fn say(&mut self, message: &Message, ctx: &Ctx) {
        let before = self.outbox.len();
        message.encode(ctx, &mut self.outbox).expect("messages other than UPDATE fit");
        let (queued, said) = self.outbox.split_at(before);
        if *message == Message::Keepalive && queued.ends_with(said) {
            self.outbox.truncate(before);
        }
    }
}
