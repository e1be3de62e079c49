//! Ethernet addresses.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// What every host side of a pod's veth pair carries, as Calico's does.
    pub const WORKLOAD_HOST: Mac = Mac([0xee; 6]);

    /// Whether the group bit is clear: the address of one station.
    pub const fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six pairs of hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: write six pairs of hexadecimal digits, as in 66:f9:37:c3:7e:94")]
pub struct MacError(String);

/// Six pairs with `:` or `-` between them, or three groups of four with `.`, in either case, as Go and Calico read them.
impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Mac, MacError> {
        let error = || MacError(text.to_owned());
        let (separator, group) = if text.contains('.') {
            ('.', 4)
        } else if text.contains('-') {
            ('-', 2)
        } else {
            (':', 2)
        };
        let groups: Vec<&str> = text.split(separator).collect();
        if groups.len() * group != 12 || groups.iter().any(|g| g.len() != group) {
            return Err(error());
        }
        let digits = groups.concat().to_ascii_lowercase();
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).map_err(|_| error())?;
        bytes.try_into().map(Mac).map_err(|_| error())
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Mac, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_common_spelling_is_read() {
        for text in ["66:cf:23:df:22:07", "66-cf-23-df-22-07", "66cf.23df.2207", "66:CF:23:DF:22:07"] {
            assert_eq!(text.parse(), Ok(Mac([0x66, 0xcf, 0x23, 0xdf, 0x22, 0x07])), "{text}");
        }
    }

    #[test]
    fn what_is_no_ethernet_address_is_refused() {
        for text in [
            "",
            "bad",
            "66:cf:23:df:22",
            "66:cf-23:df:22:07",
            "02:00:5e:10:00:00:00:01",
            "6:cf:23:df:22:07",
            "+6:cf:23:df:22:07",
            "é:cf:23:df:22:07",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_mac_is_read_back(bytes in any::<[u8; 6]>()) {
            prop_assert_eq!(Mac(bytes).to_string().parse(), Ok(Mac(bytes)));
        }

        #[test]
        fn reading_a_mac_never_panics(text in ".{0,20}") {
            let _ = text.parse::<Mac>();
        }
    }
}
