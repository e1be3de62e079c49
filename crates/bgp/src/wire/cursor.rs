//! Reading and writing octets in network order. A reader never leaves its part; a length is written by a closure, so that
//! it can be neither forgotten nor nested wrongly.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What is left to read. Every read that wants more than there is gives `None` and takes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader(octets)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left, without taking it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn ipv4(&mut self) -> Option<Ipv4Addr> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    pub(crate) fn ipv6(&mut self) -> Option<Ipv6Addr> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    /// The part whose length stands before it in one octet.
    pub(crate) fn sub_u8(&mut self) -> Option<Reader<'a>> {
        let len = self.u8()?;
        self.take(len.into()).map(Reader)
    }

    /// The part whose length stands before it in two octets.
    pub(crate) fn sub_u16(&mut self) -> Option<Reader<'a>> {
        let len = self.u16()?;
        self.take(len.into()).map(Reader)
    }
}

/// Appends to a buffer that may hold other messages already.
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer(out)
    }

    /// Octets in the buffer, those of earlier messages among them.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// What `part` writes, with its length before it in one octet. Longer parts are the caller's mistake.
    pub(crate) fn sized_u8<T>(&mut self, part: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        let at = self.len();
        self.u8(0);
        let given = part(self);
        let len = u8::try_from(self.since(at.saturating_add(1))).expect("a part of at most 255 octets");
        self.patch(at, &[len]);
        given
    }

    /// What `part` writes, with its length before it in two octets. A part that is longer gets the greatest length: no
    /// message holds it, so whoever checks the message's length throws it away.
    pub(crate) fn sized_u16<T>(&mut self, part: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        let at = self.len();
        self.u16(0);
        let given = part(self);
        let len = u16::try_from(self.since(at.saturating_add(2))).unwrap_or(u16::MAX);
        self.patch(at, &len.to_be_bytes());
        given
    }

    /// Octets written after the buffer was `at` long.
    pub(crate) fn since(&self, at: usize) -> usize {
        self.len().saturating_sub(at)
    }

    /// Writes over what stands at `at`.
    pub(crate) fn patch(&mut self, at: usize, octets: &[u8]) {
        let old = self.0.get_mut(at..).and_then(|tail| tail.get_mut(..octets.len()));
        old.expect("only what was written is patched").copy_from_slice(octets);
    }

    /// Makes room for one octet at `at`.
    pub(crate) fn insert(&mut self, at: usize, octet: u8) {
        self.0.insert(at, octet);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}
