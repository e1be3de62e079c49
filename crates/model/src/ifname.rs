//! Names of network interfaces.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// The name of a network interface: 1 to 15 bytes, no `/`, no white space, not `.` or `..`
/// (`dev_valid_name` in the kernel's `net/core/dev.c`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IfName(Box<str>);

/// The text cannot name a network interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a network interface: use 1 to 15 characters without `/`, `:` and spaces")]
pub struct IfNameError(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
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
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.bytes().any(bad) {
            return Err(IfNameError(text.to_owned()));
        }
        Ok(IfName(text.into()))
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    }
}
