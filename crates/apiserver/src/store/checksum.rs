//! Whether a row of the file is what was written, and what was said about those that are not.
//!
//! SQLite answers for the structure of its file, when it is opened, and for the log; what a disk changes inside an
//! object it does not see. So each version carries a CRC-32 of all that is never changed in it, which differs after
//! every single flip, and is compared wherever a row is read.

use super::{Error, Revision};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

/// The checksum of a version: `key` is its kind, namespace and name.
pub fn of(revision: Revision, key: [&[u8]; 3], deleted: bool, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&revision.to_le_bytes());
    sum.update(&[u8::from(deleted)]);
    for text in key {
        sum.update(text);
        sum.update(&[0]);
    }
    sum.update(body);
    sum.finalize()
}

/// A version that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub revision: Revision,
    pub resource: String,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damaged { revision, resource, namespace, name } = self;
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        write!(f, "{resource} \"{place}{name}\" (revision {revision})")
    }
}

/// The damaged versions that were named in the log: each is, once.
#[derive(Default)]
pub struct Named(Mutex<BTreeSet<Revision>>);

impl Named {
    /// Names what a read failed on, if it is that.
    pub fn log(&self, error: &Error) {
        let Error::Unreadable(damaged) = error else { return };
        let mut named = self.0.lock().expect("no holder panics");
        for version in damaged.iter().filter(|version| named.insert(version.revision)) {
            tracing::error!(
                "the stored {version} is damaged: restore it from a copy, or delete it (\"damaged\" in docs/troubleshooting.md)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_of_a_bit_changes_the_checksum() {
        let body = br#"{"data":{"v":"1"}}"#;
        let whole = of(7, [b"configmaps", b"default", b"a"], false, body);
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(7, [b"configmaps", b"default", b"a"], false, &flipped), whole, "bit {bit}");
        }
        assert_ne!(of(6, [b"configmaps", b"default", b"a"], false, body), whole);
        assert_ne!(of(7, [b"configmaps", b"default", b"a"], true, body), whole);
        assert_ne!(of(7, [b"configmaps", b"defaul", b"ta"], false, body), whole);
    }
}
