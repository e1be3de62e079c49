//! Text that a peer chose. It ends up in logs and on terminals, so it is printed escaped.

use std::fmt;

/// What a peer wrote, whatever it is. `Display` gives one line without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerText(String);

impl PeerText {
    /// The text in `octets`; what is no UTF-8 becomes U+FFFD.
    pub fn new(octets: &[u8]) -> PeerText {
        PeerText(String::from_utf8_lossy(octets).into_owned())
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s26_what_a_peer_writes_cannot_steer_a_terminal() {
        for (octets, printed) in [
            (&b"maintenance"[..], "maintenance"),
            (b"a\nb\r\x1b[2J\0", "a\\nb\\r\\u{1b}[2J\\0"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("\u{9b}31m \u{202e}x".as_bytes(), "\\u{9b}31m \\u{202e}x"),
            ("grüße \"1\"".as_bytes(), "grüße \\\"1\\\""),
            (b"", ""),
        ] {
            assert_eq!(PeerText::new(octets).to_string(), printed);
        }
    }
}
