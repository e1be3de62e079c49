//! Routes of Calico's BIRD that stand on a node that was taken over: ours, as long as they stay as they were found.
//!
//! Whose they are their prefixes tell, and the time: what BIRD makes after our start is somebody's who runs it.

use kernel::{Key, Value, ours};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Inherited(BTreeMap<Key, Value>);

impl Inherited {
    pub fn put(&mut self, key: Key, value: Value) {
        self.0.insert(key, value);
    }

    /// Whether we may change or remove the object.
    pub fn or_ours(&self, key: &Key, value: &Value) -> bool {
        ours(key, value) || self.0.get(key) == Some(value)
    }

    /// Under `key` the kernel holds this from now on.
    pub fn changed(&mut self, key: &Key, value: Option<&Value>) {
        if !self.0.is_empty() && self.0.get(key) != value {
            self.0.remove(key);
        }
    }
}
