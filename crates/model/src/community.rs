//! BGP communities as Calico writes them: `64512:100` (RFC 1997) and `64512:1:2` (large, RFC 8092).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// A community of either size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two parts of 16 bits.
    Standard(u16, u16),
    /// Three parts of 32 bits.
    Large(u32, u32, u32),
}

/// The text is no community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommunityError {
    /// Neither two nor three decimal numbers.
    #[error("`{0}` is not a community: write it as 64512:100 or, if large, as 64512:1:2")]
    Malformed(String),
    /// A part of a standard community above 65535, or of a large one above 4294967295.
    #[error("a part of community `{text}` does not fit into {bits} bits")]
    TooLarge {
        /// What was given.
        text: String,
        /// 16 or 32.
        bits: u8,
    },
}

impl FromStr for Community {
    type Err = CommunityError;
    fn from_str(text: &str) -> Result<Community, CommunityError> {
        let parts: Vec<&str> = text.split(':').collect();
        let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let too_large = |bits| CommunityError::TooLarge { text: text.to_owned(), bits };
        match parts[..] {
            [a, b] if parts.iter().all(is_number) => {
                let parsed = a.parse().ok().zip(b.parse().ok());
                parsed.map(|(a, b)| Community::Standard(a, b)).ok_or(too_large(16))
            }
            [a, b, c] if parts.iter().all(is_number) => {
                let parsed = a.parse().ok().zip(b.parse().ok()).zip(c.parse().ok());
                parsed.map(|((a, b), c)| Community::Large(a, b, c)).ok_or(too_large(32))
            }
            _ => Err(CommunityError::Malformed(text.to_owned())),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Community::Standard(a, b) => write!(f, "{a}:{b}"),
            Community::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Community, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_community_has_two_small_or_three_large_parts() {
        assert_eq!("64512:100".parse(), Ok(Community::Standard(64512, 100)));
        assert_eq!("01:02".parse(), Ok(Community::Standard(1, 2)));
        assert_eq!("4294967295:1:2".parse(), Ok(Community::Large(u32::MAX, 1, 2)));
        for bad in ["", "1", "1:", ":1", "1:2:3:4", "1:2 ", "+1:2", "no-export", "a:b"] {
            assert_eq!(bad.parse::<Community>(), Err(CommunityError::Malformed(bad.to_owned())));
        }
        for (bad, bits) in [("65536:1", 16), ("1:65536", 16), ("4294967296:0:0", 32)] {
            assert_eq!(
                bad.parse::<Community>(),
                Err(CommunityError::TooLarge { text: bad.to_owned(), bits })
            );
        }
        assert_eq!(Community::Large(1, 2, 3).to_string(), "1:2:3");
    }
}
