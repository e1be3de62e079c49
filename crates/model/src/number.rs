//! Integers with a meaning.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
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

#[cfg(test)]
mod tests {
    use super::*;

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
