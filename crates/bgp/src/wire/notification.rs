//! NOTIFICATION (RFC 4271 §4.5): why a session ends, in a code, a subcode and data.

use super::cursor::{Reader, Writer};
use super::text::PeerText;
use std::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = ($code:literal, $subcode:literal) $words:literal,)*) => {
        /// The code and subcode of a NOTIFICATION. One that nobody has defined yet is kept as numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Error {
            $($(#[$doc])* $name,)*
            /// Numbers without a name here.
            Other {
                /// The error code.
                code: u8,
                /// The error subcode.
                subcode: u8,
            },
        }

        impl Error {
            /// The error of two numbers.
            pub fn new(code: u8, subcode: u8) -> Error {
                match (code, subcode) {
                    $(($code, $subcode) => Error::$name,)*
                    _ => Error::Other { code, subcode },
                }
            }

            /// The error code and subcode.
            pub fn numbers(self) -> (u8, u8) {
                match self {
                    $(Error::$name => ($code, $subcode),)*
                    Error::Other { code, subcode } => (code, subcode),
                }
            }
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Error::$name => f.write_str($words),)*
                    Error::Other { code, subcode } => write!(f, "error {code}/{subcode}"),
                }
            }
        }

        #[cfg(test)]
        const NAMED: &[Error] = &[$(Error::$name),*];
    };
}

errors! {
    /// RFC 4271 §6.1.
    Header = (1, 0) "message header error",
    /// The marker is not all ones (RFC 4271 §6.1).
    NotSynchronized = (1, 1) "connection not synchronized",
    /// The length does not fit the type; data: the length field (RFC 4271 §6.1).
    BadMessageLength = (1, 2) "bad message length",
    /// Data: the type (RFC 4271 §6.1).
    BadMessageType = (1, 3) "bad message type",
    /// The OPEN cannot be read (RFC 4271 §6.2).
    Open = (2, 0) "malformed OPEN",
    /// Data: the greatest version that is spoken here, in two octets (RFC 4271 §6.2).
    UnsupportedVersion = (2, 1) "unsupported version number",
    /// Not the AS that was expected, or AS 0 (RFC 7607).
    BadPeerAs = (2, 2) "bad peer AS",
    /// Zero, or our own towards an internal peer (RFC 6286).
    BadBgpIdentifier = (2, 3) "bad BGP identifier",
    /// An optional parameter that is not known (RFC 4271 §6.2).
    UnsupportedOptionalParameter = (2, 4) "unsupported optional parameter",
    /// One or two seconds, or less than is accepted (RFC 4271 §6.2).
    UnacceptableHoldTime = (2, 6) "unacceptable hold time",
    /// Data: the capabilities that are missing (RFC 5492 §5).
    UnsupportedCapability = (2, 7) "unsupported capability",
    /// RFC 9234 §5.
    RoleMismatch = (2, 11) "role mismatch",
    /// RFC 4271 §6.3.
    Update = (3, 0) "UPDATE message error",
    /// The lengths contradict each other, or an MP attribute comes twice (RFC 4271 §6.3, RFC 7606 §3 g).
    MalformedAttributeList = (3, 1) "malformed attribute list",
    /// Data: the attribute (RFC 4271 §6.3).
    UnrecognizedWellKnown = (3, 2) "unrecognized well-known attribute",
    /// Data: the code of the attribute (RFC 4271 §6.3).
    MissingWellKnown = (3, 3) "missing well-known attribute",
    /// Data: the attribute (RFC 4271 §6.3).
    AttributeFlags = (3, 4) "attribute flags error",
    /// Data: the attribute (RFC 4271 §6.3).
    AttributeLength = (3, 5) "attribute length error",
    /// Data: the attribute (RFC 4271 §6.3).
    InvalidOrigin = (3, 6) "invalid ORIGIN attribute",
    /// Data: the attribute (RFC 4271 §6.3).
    InvalidNextHop = (3, 8) "invalid NEXT_HOP attribute",
    /// Data: the attribute (RFC 4271 §6.3).
    OptionalAttribute = (3, 9) "optional attribute error",
    /// A prefix that is too long or cut off (RFC 4271 §6.3).
    InvalidNetworkField = (3, 10) "invalid network field",
    /// RFC 4271 §6.3.
    MalformedAsPath = (3, 11) "malformed AS_PATH",
    /// RFC 4271 §6.5.
    HoldTimerExpired = (4, 0) "hold timer expired",
    /// RFC 4271 §6.6.
    Fsm = (5, 0) "unexpected message",
    /// RFC 6608 §4.
    FsmOpenSent = (5, 1) "unexpected message in state OpenSent",
    /// RFC 6608 §4.
    FsmOpenConfirm = (5, 2) "unexpected message in state OpenConfirm",
    /// RFC 6608 §4.
    FsmEstablished = (5, 3) "unexpected message in state Established",
    /// RFC 4271 §6.7.
    Cease = (6, 0) "cease",
    /// Data: family and limit (RFC 4486 §4).
    MaxPrefixes = (6, 1) "maximum number of prefixes reached",
    /// Data: a text for people (RFC 9003).
    AdministrativeShutdown = (6, 2) "administrative shutdown",
    /// RFC 4486 §4.
    PeerDeconfigured = (6, 3) "peer de-configured",
    /// Data: a text for people (RFC 9003).
    AdministrativeReset = (6, 4) "administrative reset",
    /// RFC 4486 §4.
    ConnectionRejected = (6, 5) "connection rejected",
    /// RFC 4486 §4.
    OtherConfigurationChange = (6, 6) "other configuration change",
    /// RFC 4271 §6.8.
    CollisionResolution = (6, 7) "connection collision resolution",
    /// RFC 4486 §4.
    OutOfResources = (6, 8) "out of resources",
    /// Not to be bridged by graceful restart; data: the NOTIFICATION that it stands for (RFC 8538 §3).
    HardReset = (6, 9) "hard reset",
    /// RFC 9384 §2.
    BfdDown = (6, 10) "BFD down",
    /// RFC 7313 §5.
    RouteRefresh = (7, 0) "ROUTE-REFRESH message error",
    /// Data: the message (RFC 7313 §5).
    RouteRefreshLength = (7, 1) "invalid length of ROUTE-REFRESH",
    /// RFC 9687 §3.
    SendHoldTimerExpired = (8, 0) "send hold timer expired",
}

/// The last message of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub struct Notification {
    /// What went wrong.
    pub error: Error,
    /// What the error's definition asks for, else empty.
    pub data: Vec<u8>,
}

/// The longest text that a NOTIFICATION carries, in octets (RFC 9003 §2).
const MAX_TEXT: usize = 255;

impl Notification {
    /// A notification that says which octets were at fault.
    pub fn with(error: Error, data: impl Into<Vec<u8>>) -> Notification {
        Notification { error, data: data.into() }
    }

    /// Administrative shutdown or reset with a text for people (RFC 9003), cut at 255 octets.
    pub fn administrative(error: Error, text: &str) -> Notification {
        let end = text.floor_char_boundary(MAX_TEXT);
        let text = text.get(..end).unwrap_or_default();
        let len = u8::try_from(text.len()).expect("cut at 255 octets");
        Notification { error, data: [&[len], text.as_bytes()].concat() }
    }

    /// `self` so that the peer does not keep our routes as stale (RFC 8538 §3.1).
    pub fn hard_reset(self) -> Notification {
        let (code, subcode) = self.error.numbers();
        Notification { error: Error::HardReset, data: [&[code, subcode], &*self.data].concat() }
    }

    /// What a hard reset stands for; `None` if `self` is no hard reset or does not say.
    pub fn inner(&self) -> Option<Notification> {
        match (self.error, &*self.data) {
            (Error::HardReset, [code, subcode, data @ ..]) => {
                Some(Notification::with(Error::new(*code, *subcode), data))
            }
            _ => None,
        }
    }

    /// The text of an administrative shutdown or reset. A length that is wrong gives what is there.
    pub fn text(&self) -> Option<PeerText> {
        match (self.error, &*self.data) {
            (Error::AdministrativeShutdown | Error::AdministrativeReset, [len, text @ ..]) => {
                let text = text.get(..usize::from(*len)).unwrap_or(text);
                (!text.is_empty()).then(|| PeerText::new(text))
            }
            _ => None,
        }
    }

    pub(super) fn decode(mut r: Reader<'_>) -> Option<Notification> {
        let (code, subcode) = (r.u8()?, r.u8()?);
        Some(Notification::with(Error::new(code, subcode), r.rest()))
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>, room: usize) {
        let (code, subcode) = self.error.numbers();
        w.u8(code);
        w.u8(subcode);
        // RFC 4271 §6.3 wants the whole attribute, RFC 8654 §5 no longer message than the peer takes.
        w.bytes(self.data.get(..room.saturating_sub(2)).unwrap_or(&self.data));
    }
}

impl From<Error> for Notification {
    fn from(error: Error) -> Notification {
        Notification { error, data: Vec::new() }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(inner) = self.inner() {
            write!(f, ": {inner}")?;
        }
        if let Some(text) = self.text() {
            write!(f, ": \"{text}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_its_own_numbers() {
        for (i, error) in NAMED.iter().enumerate() {
            let (code, subcode) = error.numbers();
            assert_eq!(Error::new(code, subcode), *error);
            assert!(NAMED.iter().skip(i + 1).all(|other| other.to_string() != error.to_string()), "{error}");
        }
        assert_eq!(Error::new(6, 99).to_string(), "error 6/99");
    }

    #[test]
    fn a_shutdown_says_why() {
        let told = Notification::administrative(Error::AdministrativeShutdown, "upgrade\u{7} of n1");
        assert_eq!(told.data[0], 14);
        assert_eq!(told.to_string(), "administrative shutdown: \"upgrade\\u{7} of n1\"");
        assert_eq!(told.clone().hard_reset().inner(), Some(told.clone()));
        assert_eq!(
            told.hard_reset().to_string(),
            "hard reset: administrative shutdown: \"upgrade\\u{7} of n1\""
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let told = Notification::administrative(Error::AdministrativeReset, &"ü".repeat(200));
        assert_eq!((told.data[0], told.data.len()), (254, 255));
    }

    #[test]
    fn s26_a_text_with_a_wrong_length_is_still_shown() {
        for (data, text) in [
            (&b"\x09abc"[..], Some("abc")),
            (b"\x02abc", Some("ab")),
            (b"\x00abc", None),
            (b"\x00", None),
            (b"", None),
            (b"\x03\xffb\n", Some("\u{fffd}b\\n")),
        ] {
            let told = Notification::with(Error::AdministrativeShutdown, data);
            assert_eq!(told.text().map(|text| text.to_string()).as_deref(), text);
        }
    }

    #[test]
    fn a_hard_reset_that_does_not_say_why_is_read() {
        assert_eq!(Notification::with(Error::HardReset, [6]).inner(), None);
        assert_eq!(Notification::from(Error::HardReset).to_string(), "hard reset");
    }
}
