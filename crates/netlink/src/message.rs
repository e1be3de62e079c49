//! Netlink messages: a header (`linux/netlink.h`, `struct nlmsghdr`), a fixed part, attributes. In the host's byte order;
//! everything is padded to four bytes.

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A message under construction.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message of a type (`RTM_…`) with flags (`NLM_F_…`) besides `NLM_F_REQUEST`, and its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        let mut message = Message(bytes);
        message.finish();
        message
    }

    /// Adds an attribute.
    ///
    /// # Panics
    /// If the value is longer than an attribute can be (65 531 bytes).
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Message {
        self.push(kind, value);
        self
    }

    /// Adds an attribute if there is a value.
    pub fn attr_opt(self, kind: u16, value: Option<impl AsRef<[u8]>>) -> Message {
        match value {
            Some(value) => self.attr(kind, value.as_ref()),
            None => self,
        }
    }

    /// Adds an attribute that is a text with a zero at its end.
    pub fn text(mut self, kind: u16, value: &str) -> Message {
        self.push_text(kind, value);
        self
    }

    /// Adds an attribute whose value is what `inner` adds: attributes, after an optional fixed part.
    ///
    /// # Panics
    /// As [`Message::attr`].
    pub fn nest(mut self, kind: u16, fixed: &[u8], inner: impl FnOnce(Message) -> Message) -> Message {
        let start = self.open_nest();
        self.0.extend(fixed);
        self.finish();
        let mut message = inner(self);
        message.close_nest(start, kind);
        message
    }

    /// As [`Message::attr`], in place.
    pub(crate) fn push(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute is shorter than 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.finish();
    }

    /// As [`Message::text`], in place.
    pub(crate) fn push_text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.push(kind, &bytes);
    }

    /// Adds a 32-bit number in network byte order, as nf_tables wants it.
    pub(crate) fn push_be32(&mut self, kind: u16, value: u32) {
        self.push(kind, &value.to_be_bytes());
    }

    /// As [`Message::nest`] without a fixed part, in place.
    pub(crate) fn push_nest(&mut self, kind: u16, inner: impl FnOnce(&mut Message)) {
        let start = self.open_nest();
        self.finish();
        inner(self);
        self.close_nest(start, kind);
    }

    fn open_nest(&mut self) -> usize {
        let start = self.0.len();
        self.0.extend([0; 4]);
        start
    }

    fn close_nest(&mut self, start: usize, kind: u16) {
        let length = u16::try_from(self.0.len() - start).expect("a nest is shorter than 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    }

    /// Pads, and writes the length.
    fn finish(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The whole message with its sequence number and, if `ack`, a demand for an acknowledgement.
    pub(crate) fn stamped(&mut self, sequence: u32, ack: bool) -> &[u8] {
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        if ack {
            let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | libc::NLM_F_ACK as u16;
            self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        &self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a message has a header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// The port of whoever caused it, 0 for the kernel itself.
    pub port: u32,
    /// Behind the header.
    pub body: &'a [u8],
}

/// Splits what one `recv` gave into messages. A truncated tail ends the iteration.
pub fn received(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let message = &bytes[..length];
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            port: u32_at(message, 12)?,
            body: &message[HEADER..],
        })
    })
}

/// The attributes of a message or nest: type and value. What is malformed ends the iteration.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Attributes behind a fixed part of `fixed` bytes.
    pub fn after(body: &'a [u8], fixed: usize) -> Attributes<'a> {
        Attributes(body.get(fixed.next_multiple_of(4)..).unwrap_or_default())
    }

    /// The value of the first attribute of a type.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of a type.
    pub fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    /// A 32-bit number in the host's byte order.
    pub fn number(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// A 32-bit number in network byte order.
    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A 64-bit number in network byte order.
    pub(crate) fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A text, up to its zero.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        std::str::from_utf8(&value[..end]).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A 16-bit number at an offset, in the host's byte order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A 32-bit number at an offset, in the host's byte order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut message = Message::new(16, 0x400, &[1, 2, 3, 4])
            .text(3, "eth0")
            .nest(18, &[], |m| m.attr(1, b"veth").nest(2, &[9; 4], |m| m.attr(7, &5_u32.to_ne_bytes())));
        let bytes = message.stamped(77, true).to_vec();
        let read: Vec<_> = received(&bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].kind, read[0].sequence), (16, 77));
        assert_eq!(read[0].flags, 0x400 | 1 | 4);
        let attributes = Attributes::after(read[0].body, 4);
        assert_eq!(attributes.text(3), Some("eth0"));
        let info = attributes.nested(18).expect("a nest");
        assert_eq!(info.get(1), Some(&b"veth"[..]));
        let inner = Attributes::after(info.get(2).expect("a nest"), 4);
        assert_eq!(inner.number(7), Some(5));
    }

    #[test]
    fn every_truncation_is_survived() {
        let mut message = Message::new(16, 0, &[0; 16]).text(3, "eth0").attr(4, &1500_u32.to_ne_bytes());
        let bytes = message.stamped(1, false).to_vec();
        for end in 0..bytes.len() {
            for message in received(&bytes[..end]) {
                assert!(Attributes::after(message.body, 16).count() <= 2, "{end}");
            }
            assert!(Attributes(&bytes[..end]).count() < 64, "{end}");
        }
    }
}
