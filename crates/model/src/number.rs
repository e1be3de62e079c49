//! Integers with a meaning.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// An autonomous system number (RFC 6793).
    Asn(u32)
);
/// The text is no AS number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid AS Number format ({0})")]
pub struct AsnError(String);

/// Plain (`65546`) or in two parts of 16 bits (`1.10`, RFC 5396).
impl FromStr for Asn {
    type Err = AsnError;
    fn from_str(text: &str) -> Result<Asn, AsnError> {
        let asn = match text.split_once('.') {
            Some((high, low)) => {
                let parts = high.parse::<u16>().ok().zip(low.parse::<u16>().ok());
                parts.map(|(high, low)| u32::from(high) << 16 | u32::from(low))
            }
            None => text.parse().ok(),
        };
        asn.map(Asn).ok_or_else(|| AsnError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Asn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Asn, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }
        match Written::deserialize(d)? {
            Written::Number(n) => Ok(Asn(n)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

number!(
    /// A VXLAN network identifier, 24 bits (RFC 7348 §5).
    #[derive(Deserialize)]
    Vni(u32)
);
number!(
    /// The largest IP packet that a link or route carries, in bytes.
    #[derive(Deserialize)]
    Mtu(u32)
);

/// Ports of TCP or UDP, the last included. Written as one number, or as two with a colon: `1024:65535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// The text is no range of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no range of ports: write one port, or the first and the last with a colon, as in 1024:65535"
)]
pub struct PortRangeError(String);

impl FromStr for PortRange {
    type Err = PortRangeError;
    fn from_str(text: &str) -> Result<PortRange, PortRangeError> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let ends = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last);
        ends.map(|(first, last)| PortRange { first, last }).ok_or_else(|| PortRangeError(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}:{}", self.first, self.last) }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last { self.first.serialize(s) } else { s.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<PortRange, D::Error> {
        let text = match serde_json::Value::deserialize(d)? {
            serde_json::Value::String(text) => text,
            number => number.to_string(),
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_a_number_or_two_in_their_order() {
        let range = |json: &str| serde_json::from_str::<PortRange>(json).map_err(|error| error.to_string());
        assert_eq!(range("\"1024:65535\""), Ok(PortRange { first: 1024, last: 65535 }));
        for one in ["179", "\"179\""] {
            assert_eq!(range(one), Ok(PortRange { first: 179, last: 179 }));
        }
        for bad in ["\"\"", "\"2:1\"", "\"1:65536\"", "\"http\"", "-1", "[1]", "\"1:2:3\""] {
            assert!(range(bad).is_err_and(|why| why.contains("is no range of ports")), "{bad}");
        }
        let written = serde_json::to_string(&PortRange { first: 7, last: 9 });
        assert_eq!(written.ok().as_deref(), Some("\"7:9\""));
    }

    #[test]
    fn an_as_number_is_plain_or_in_two_parts() {
        assert_eq!("64512".parse(), Ok(Asn(64512)));
        assert_eq!("1.10".parse(), Ok(Asn(65546)));
        assert_eq!("65535.65535".parse(), Ok(Asn(u32::MAX)));
        for bad in ["", "abc", "65536.0", "4294967296", "1.2.3", "-1"] {
            assert!(bad.parse::<Asn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_as_number_may_be_a_text_in_json() {
        assert_eq!(serde_json::from_str::<Asn>("64512").ok(), Some(Asn(64512)));
        assert_eq!(serde_json::from_str::<Asn>("\"1.10\"").ok(), Some(Asn(65546)));
    }
}
