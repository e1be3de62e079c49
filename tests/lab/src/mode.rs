//! The pool's mode: changed as people change it, and waited for until no node sends the old way.

use crate::{Lab, within};
use std::time::Duration;

impl Lab {
    /// Sets the pool's `vxlanMode` and waits until every node's routes to other blocks go by `device`.
    ///
    /// # Panics
    /// If they do not.
    pub fn change_mode(&self, vxlan: &str, device: &str) {
        self.patch_mode(vxlan);
        self.await_device(device);
    }

    /// Waits until every node's routes to other blocks go by `device`.
    ///
    /// # Panics
    /// If they do not.
    pub fn await_device(&self, device: &str) {
        let nodes = self.nodes();
        for node in &nodes {
            within(Duration::from_secs(10), &format!("{node} routes by {device}"), || {
                let routes = self.exec(node, "ip -4 route show proto 80");
                routes.lines().filter(|route| route.contains(&format!("dev {device}"))).count()
                    == nodes.len() - 1
            });
        }
    }

    /// Sets the pool's `vxlanMode`.
    pub fn patch_mode(&self, vxlan: &str) {
        self.patch_pool(&format!(r#"{{"vxlanMode":"{vxlan}"}}"#));
    }

    /// Changes fields of the pool.
    pub fn patch_pool(&self, spec: &str) {
        let patch = format!(r#"{{"spec":{spec}}}"#);
        self.exec("master1", &format!("calicoctl patch ippool default-ipv4-ippool -p '{patch}'"));
    }
}
