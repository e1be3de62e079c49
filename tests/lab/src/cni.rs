//! Calls of the CNI plugin as a runtime makes them, with all that a runtime may get wrong.

use crate::Lab;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Answer {
    pub good: bool,
    /// The result, or the error with `code`, `msg` and `details`.
    pub body: Value,
    pub took: Duration,
}

impl Answer {
    /// # Panics
    /// If the call failed.
    pub fn expect(self, what: &str) -> Value {
        assert!(self.good, "{what}: {}", self.body);
        self.body
    }

    /// The error's code.
    ///
    /// # Panics
    /// If the call did not fail.
    pub fn code(&self) -> u64 {
        assert!(!self.good, "the call should have failed: {}", self.body);
        self.body["code"].as_u64().unwrap_or_else(|| panic!("an error has a code: {}", self.body))
    }

    /// The first address of an ADD's result.
    pub fn address(&self) -> String {
        let cidr = self.body["ips"][0]["address"].as_str().unwrap_or_default();
        cidr.split('/').next().unwrap_or_default().to_owned()
    }
}

impl Lab {
    /// Calls the plugin on a node, for no pod in particular.
    pub fn cni(&self, node: &str, verb: &str, container: &str, netns: &Path) -> Answer {
        self.cni_with(node, verb, container, netns, &[])
    }

    /// Calls the plugin with more keys in its configuration.
    ///
    /// # Panics
    /// If it cannot be called.
    pub fn cni_with(
        &self,
        node: &str,
        verb: &str,
        container: &str,
        netns: &Path,
        more: &[(&str, Value)],
    ) -> Answer {
        self.call_plugin(node, verb, container, netns, more, None)
    }

    /// Calls the plugin, which dies at a place.
    pub fn cni_dying(&self, node: &str, verb: &str, container: &str, netns: &Path, place: &str) -> Answer {
        self.call_plugin(node, verb, container, netns, &[], Some(place))
    }

    fn call_plugin(
        &self,
        node: &str,
        verb: &str,
        container: &str,
        netns: &Path,
        more: &[(&str, Value)],
        dies_at: Option<&str>,
    ) -> Answer {
        let list = std::fs::read(self.node_file(node, "net.d/10-calico.conflist")).expect("the lab wrote it");
        let list: Value = serde_json::from_slice(&list).expect("the lab wrote it");
        let mut config = list["plugins"][0].clone();
        config["name"] = list["name"].clone();
        config["cniVersion"] = json!("1.1.0");
        for (key, value) in more {
            config[*key] = value.clone();
        }
        let bin = self.root().join("bin");
        let mut command = testkit::netns::command(&self.netns(node), bin.join("calico"));
        if let Some(place) = dies_at {
            command.env(failpoint::VARIABLE, place);
        }
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", &bin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if !matches!(verb, "STATUS" | "GC" | "VERSION") {
            command.env("CNI_CONTAINERID", container).env("CNI_NETNS", netns).env("CNI_IFNAME", "eth0");
        }
        let start = Instant::now();
        let mut child = command.spawn().expect("the plugin runs");
        let _ = child.stdin.take().expect("piped").write_all(config.to_string().as_bytes());
        let output = child.wait_with_output().expect("the plugin ends");
        Answer {
            good: output.status.success(),
            body: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            took: start.elapsed(),
        }
    }
}
