//! Names of network interfaces.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

/// The longest name (`IFNAMSIZ`, less the byte that ends it).
const LONGEST: usize = 15;

/// The name of a network interface: 1 to 15 bytes, no `/`, no white space, not `.` or `..`
/// (`dev_valid_name` in the kernel's `net/core/dev.c`). In order: as text.
///
/// It is held in place: every route has one, and there may be very many routes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName {
    /// Padded with zeros, which no name contains: their order is that of the texts.
    bytes: [u8; LONGEST],
    len: NonZeroU8,
}

/// The text cannot name a network interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a network interface: use 1 to 15 characters without `/`, `:` and spaces")]
pub struct IfNameError(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.len.get())];
        std::str::from_utf8(bytes).expect("it was made from text")
    }

    /// A name that the program itself makes.
    ///
    /// # Panics
    /// If it is not valid.
    pub fn fixed(name: &str) -> IfName {
        name.parse().expect("a fixed interface name is valid")
    }
}

impl FromStr for IfName {
    type Err = IfNameError;
    fn from_str(text: &str) -> Result<IfName, IfNameError> {
        let bad = |b: u8| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0;
        let wrong = || IfNameError(text.to_owned());
        if text.len() > LONGEST || text == "." || text == ".." || text.bytes().any(bad) {
            return Err(wrong());
        }
        let mut bytes = [0; LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).ok().and_then(NonZeroU8::new).ok_or_else(wrong)?;
        Ok(IfName { bytes, len })
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for IfName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for IfName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<IfName, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// Whether an interface's name has the form of `pattern`, in which `*` stands for anything.
pub fn glob(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| glob(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for text in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-bytes-xx", "a\0"] {
            assert!(text.parse::<IfName>().is_err(), "{text:?}");
        }
        assert!("fifteen-bytes-x".parse::<IfName>().is_ok());
    }

    proptest! {
        #[test]
        fn an_interface_name_is_read_back(text in ".{1,15}") {
            if let Ok(name) = text.parse::<IfName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn interface_names_are_in_the_order_of_their_texts(one in "[a-c]{1,15}", two in "[a-cé]{1,7}") {
            let name = |text: &str| text.parse::<IfName>().unwrap();
            prop_assert_eq!(name(&one).cmp(&name(&two)), one.cmp(&two));
        }
    }
}
