//! The network configuration on stdin: the keys that decide something here. Keys that Calico's plugin reads and this one
//! does not need (`datastore_type`, `kubernetes`, `policy`, `log_level`, `nodename`, …) are accepted and passed over.

use crate::environment::is_identifier;
use crate::error::Error;
use crate::version::Version;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No network configuration is as long as this; GC's list of attachments may be.
const MAX_BYTES: usize = 4 << 20;
const MAX_NAME: usize = 80;
/// `sizeof(sun_path) - 1` (linux/un.h).
const MAX_SOCKET_PATH: usize = 107;

/// A plugin's configuration.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct NetConf {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub mtu: u32,
    #[serde(deserialize_with = "null_is_default")]
    pub ipam: Ipam,
    #[serde(deserialize_with = "null_is_default")]
    pub container_settings: ContainerSettings,
    device_type: String,
    #[serde(rename = "prevResult")]
    pub previous: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<ValidAttachment>>,
    /// The node agent's socket.
    pub agent_socket: PathBuf,
    /// Where DELs wait while the agent is away.
    state_dir: PathBuf,
}

/// `ipam` of the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ipam {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "switch")]
    assign_ipv4: Option<bool>,
    #[serde(deserialize_with = "switch")]
    assign_ipv6: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    pub ipv4_pools: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerSettings {
    pub allow_ip_forwarding: bool,
}

/// One entry of `cni.dev/valid-attachments`.
#[derive(Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    #[serde(rename = "ifname")]
    pub interface: String,
}

impl Default for NetConf {
    fn default() -> NetConf {
        NetConf {
            cni_version: String::new(),
            name: String::new(),
            mtu: 0,
            ipam: Ipam::default(),
            container_settings: ContainerSettings::default(),
            device_type: String::new(),
            previous: None,
            valid_attachments: None,
            agent_socket: "/var/run/calico/agent.sock".into(),
            state_dir: "/var/lib/calico".into(),
        }
    }
}

impl NetConf {
    pub fn read(stdin: &mut dyn Read) -> Result<NetConf, Error> {
        let mut text = Vec::new();
        stdin.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(Error::ReadStdin)?;
        if text.len() > MAX_BYTES {
            return Err(Error::ConfigTooLong(MAX_BYTES));
        }
        serde_json::from_slice(&text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Error::Config(error),
            _ => Error::Json(error),
        })
    }

    pub fn version(&self) -> Result<Version, Error> {
        Version::parse(&self.cni_version)
    }

    /// Refuses what cannot be done as written.
    pub fn validate(&self) -> Result<(), Error> {
        if !is_identifier(&self.name) || self.name.len() > MAX_NAME {
            return Err(Error::NetworkName(self.name.clone()));
        }
        let unsupported =
            |key, value: &str, instead| Err(Error::Unsupported { key, value: value.to_owned(), instead });
        if !matches!(self.ipam.kind.as_str(), "" | "calico-ipam") {
            return unsupported(
                "ipam.type",
                &self.ipam.kind,
                "addresses come from Calico's pools: use calico-ipam",
            );
        }
        if self.ipam.assign_ipv4 == Some(false) {
            return unsupported("ipam.assign_ipv4", "false", "pods get IPv4 addresses: leave the key out");
        }
        if self.ipam.assign_ipv6 == Some(true) {
            return unsupported("ipam.assign_ipv6", "true", "pods get IPv4 addresses: leave the key out");
        }
        // Calico's plugin takes veth where the kernel lacks netkit, so that asking for it is no demand.
        if !matches!(self.device_type.as_str(), "" | "veth" | "netkit") {
            return unsupported("device_type", &self.device_type, "use veth or leave the key out");
        }
        usable("agent_socket", &self.agent_socket, MAX_SOCKET_PATH)?;
        usable("state_dir", &self.state_dir, usize::MAX)
    }

    /// The directory of queued DELs.
    pub fn del_queue(&self) -> PathBuf {
        crate::queue::directory(&self.state_dir)
    }
}

fn usable(key: &'static str, path: &Path, limit: usize) -> Result<(), Error> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if path.is_absolute() && bytes.len() <= limit && !bytes.contains(&0) {
        return Ok(());
    }
    Err(Error::Path { key, value: path.display().to_string() })
}

/// Go's encoder writes `null` for an empty list or map.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Calico writes these booleans as texts.
fn switch<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Switch {
        Bool(bool),
        Text(String),
    }
    match Option::deserialize(d)? {
        None => Ok(None),
        Some(Switch::Bool(on)) => Ok(Some(on)),
        Some(Switch::Text(text)) => match text.as_str() {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(serde::de::Error::custom(format_args!("`{text}` is neither \"true\" nor \"false\""))),
        },
    }
}
