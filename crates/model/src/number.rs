//! Integers with a meaning.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
number!(
    /// A VXLAN network identifier, 24 bits (RFC 7348 §5).
    Vni(u32)
);
number!(
    /// The largest IP packet that a link or route carries, in bytes.
    Mtu(u32)
);
