//! Secret: bytes by key.

use crate::Metadata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A Kubernetes Secret. What it holds is never printed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    #[serde(default)]
    pub metadata: Metadata,
    /// Base64 by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, String>,
}

impl Secret {
    /// The bytes of a key; `None` if it is missing or no base64.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        data_encoding::BASE64.decode(self.data.get(key)?.as_bytes()).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_gives_its_bytes_and_never_prints_them() {
        let text = r#"{"metadata": {"name": "bgp"}, "data": {"key": "aHVudGVyMg==", "bad": "?"}}"#;
        let secret: Secret = serde_json::from_str(text).expect("a secret");
        assert_eq!(secret.bytes("key").as_deref(), Some(&b"hunter2"[..]));
        assert_eq!((secret.bytes("bad"), secret.bytes("other")), (None, None));
        assert!(!format!("{secret:?}").contains("aHVu"), "{secret:?}");
    }
}
