//! The runtime's side of CNI (specification 1.1.0): one network, its plugins called in order with the standard environment.

use super::sandbox::Sandbox;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The newest version that this runtime speaks.
const VERSION: &str = "1.1.0";
const INTERFACE: &str = "eth0";

/// A network configuration list and where its plugins are.
#[derive(Clone, Debug)]
pub struct Plugin {
    network: String,
    version: String,
    plugins: Vec<Value>,
    path: PathBuf,
}

impl Plugin {
    pub fn read(conflist: &Path, path: &Path) -> anyhow::Result<Plugin> {
        let text = std::fs::read(conflist).with_context(|| format!("cannot read {}", conflist.display()))?;
        let list: Value =
            serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", conflist.display()))?;
        let newest =
            list["cniVersions"].as_array().is_some_and(|versions| versions.contains(&json!(VERSION)));
        let version = if newest { Some(VERSION) } else { list["cniVersion"].as_str() };
        Ok(Plugin {
            network: list["name"].as_str().context("a network configuration needs a name")?.to_owned(),
            version: version.context("a network configuration needs a cniVersion")?.to_owned(),
            plugins: list["plugins"].as_array().context("a network configuration needs plugins")?.clone(),
            path: path.to_owned(),
        })
    }

    /// Gives a sandbox its network; the result of the last plugin.
    pub async fn add(&self, sandbox: &Sandbox) -> anyhow::Result<Value> {
        let mut previous = None;
        for plugin in &self.plugins {
            let config = self.config(plugin, previous.as_ref(), &[]);
            previous = Some(self.call("ADD", plugin, &config, Some(sandbox)).await?);
        }
        previous.context("a network configuration needs plugins")
    }

    /// Takes a sandbox's network away.
    pub async fn del(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        for plugin in self.plugins.iter().rev() {
            let config = self.config(plugin, sandbox.result.as_ref(), &[]);
            self.call("DEL", plugin, &config, Some(sandbox)).await?;
        }
        Ok(())
    }

    /// Whether the network can take pods.
    pub async fn status(&self) -> anyhow::Result<()> {
        for plugin in &self.plugins {
            self.call("STATUS", plugin, &self.config(plugin, None, &[]), None).await?;
        }
        Ok(())
    }

    /// Everything that is not of these containers is to go.
    pub async fn gc(&self, containers: &[String]) -> anyhow::Result<()> {
        let valid: Vec<Value> =
            containers.iter().map(|id| json!({"containerID": id, "ifname": INTERFACE})).collect();
        for plugin in &self.plugins {
            let config = self.config(plugin, None, &[("cni.dev/valid-attachments", json!(valid))]);
            self.call("GC", plugin, &config, None).await?;
        }
        Ok(())
    }

    /// A plugin's own configuration, from the list's (specification §3 "Deriving runtime configuration").
    fn config(&self, plugin: &Value, previous: Option<&Value>, more: &[(&str, Value)]) -> Value {
        let mut config = plugin.clone();
        config["cniVersion"] = json!(self.version);
        config["name"] = json!(self.network);
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        for (key, value) in more {
            config[*key] = value.clone();
        }
        config
    }

    async fn call(
        &self,
        verb: &str,
        plugin: &Value,
        config: &Value,
        sandbox: Option<&Sandbox>,
    ) -> anyhow::Result<Value> {
        let name = plugin["type"].as_str().context("a plugin needs a type")?;
        let mut command = Command::new(self.path.join(name));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(sandbox) = sandbox {
            command
                .env("CNI_CONTAINERID", &sandbox.id)
                .env("CNI_NETNS", &sandbox.netns)
                .env("CNI_IFNAME", INTERFACE)
                .env("CNI_ARGS", args(sandbox));
        }
        let mut child = command.spawn().with_context(|| format!("cannot run the CNI plugin {name}"))?;
        // A plugin that ends without reading says why by its status.
        let _ = child.stdin.take().expect("piped").write_all(config.to_string().as_bytes()).await;
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        bail!("CNI {verb} of {name} fails: {}", failure(&output.stdout, &output.stderr))
    }
}

/// `CNI_ARGS` as containerd gives them.
fn args(sandbox: &Sandbox) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        sandbox.pod.namespace, sandbox.pod.name, sandbox.id, sandbox.uid
    )
}

/// A plugin's error in one line: the specification's object on stdout, or whatever stands on stderr.
fn failure(stdout: &[u8], stderr: &[u8]) -> String {
    let Ok(error) = serde_json::from_slice::<Value>(stdout) else {
        return String::from_utf8_lossy(stderr).trim().to_owned();
    };
    let said = [error["msg"].as_str(), error["details"].as_str()];
    let said: Vec<&str> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    format!("{} (code {})", said.join(": "), error["code"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_error_is_said_in_one_line() {
        let error =
            br#"{"cniVersion":"1.1.0","code":11,"msg":"try again later","details":"the agent is away"}"#;
        assert_eq!(failure(error, b""), "try again later: the agent is away (code 11)");
        assert_eq!(failure(b"", b"cannot open shared object\n"), "cannot open shared object");
    }

    #[test]
    fn a_plugins_configuration_is_derived_from_the_lists() {
        let plugin = Plugin {
            network: "k8s-pod-network".into(),
            version: "1.1.0".into(),
            plugins: vec![json!({"type": "calico"})],
            path: "/bin".into(),
        };
        let config = plugin.config(&plugin.plugins[0], Some(&json!({"ips": []})), &[]);
        assert_eq!(
            config,
            json!({"type": "calico", "name": "k8s-pod-network", "cniVersion": "1.1.0", "prevResult": {"ips": []}})
        );
    }
}
