//! Namespace: only its metadata matters to us.

use crate::Metadata;
use serde::{Deserialize, Serialize};

/// A Kubernetes Namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    #[serde(default)]
    pub metadata: Metadata,
}
