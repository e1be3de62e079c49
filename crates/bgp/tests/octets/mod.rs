//! What must hold whatever octets come: a law for the codec, one for the session, one for the speaker. Each takes octets and
//! panics if it is broken. `./dev fuzz` looks for such octets, and the tests replay what it found worth keeping.

#![allow(dead_code, reason = "each program uses its own part")]

pub mod codec;
pub mod damage;
pub mod session;
pub mod speaker;

use bgp::wire::Family;
use model::Duration;

/// Octets as a source of choices. When they are used up, every choice is the first.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, limit: u8) -> u8 {
        self.octet() % limit
    }

    pub fn flag(&mut self) -> bool {
        self.octet() & 1 == 1
    }

    /// A part whose length stands before it in one octet.
    pub fn part(&mut self) -> &'a [u8] {
        let len = usize::from(self.octet()).min(self.0.len());
        let (part, rest) = self.0.split_at(len);
        self.0 = rest;
        part
    }

    /// Up to 255 seconds, every fourth time up to an hour.
    pub fn span(&mut self) -> Duration {
        let (secs, scale) = (u64::from(self.octet()), self.octet());
        Duration::from_secs(if scale % 4 == 3 { secs * 15 } else { secs })
    }
}

/// Both families.
pub const BOTH: [Family; 2] = [Family::IPV4, Family::IPV6];

/// A body behind a header that fits it.
pub fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("a message");
    [&[0xff; 16], &len.to_be_bytes()[..], &[kind], body].concat()
}
