//! Pod sandboxes: a network namespace each, and a file that says whose it is.

use crate::layout::NodeLayout;
use crate::network;
use anyhow::Context;
use model::k8s;
use netlink::netns::{self, Netns};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

impl PodName {
    pub fn of(pod: &k8s::Pod) -> PodName {
        PodName {
            namespace: pod.metadata.namespace.clone().unwrap_or_else(|| "default".into()),
            name: pod.metadata.name.clone(),
        }
    }
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    pub pod: PodName,
    pub uid: String,
    /// The container id: 64 hexadecimal digits.
    pub id: String,
    pub netns: PathBuf,
    /// What ADD answered; `None` until it has.
    pub result: Option<Value>,
}

impl Sandbox {
    /// Makes the namespace of a new sandbox, with its file.
    pub async fn create(files: &NodeLayout, pod: PodName, uid: &str) -> anyhow::Result<Sandbox> {
        let id = container_id()?;
        let netns = files.pods().join(format!("{}.netns", &id[..12]));
        let sandbox = Sandbox { pod, uid: uid.into(), id, netns: netns.clone(), result: None };
        sandbox.save(files)?;
        tokio::task::spawn_blocking(move || network::ip(&Netns::create(&netns)?, "link set lo up\n"))
            .await??;
        Ok(sandbox)
    }

    /// Writes the file anew.
    pub fn save(&self, files: &NodeLayout) -> anyhow::Result<()> {
        let path = path(files, &self.pod);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the namespace, then the file.
    pub fn remove(&self, files: &NodeLayout) -> anyhow::Result<()> {
        match netns::delete(&self.netns) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e)?,
            _ => {}
        }
        fs::remove_file(path(files, &self.pod))
            .with_context(|| format!("cannot remove the sandbox of pod {}", self.pod.name))
    }

    /// The sandbox of a pod, if it has one.
    pub fn load(files: &NodeLayout, pod: &PodName) -> anyhow::Result<Option<Sandbox>> {
        read(&path(files, pod))
    }

    /// Every sandbox of a node.
    pub fn all(files: &NodeLayout) -> anyhow::Result<Vec<Sandbox>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(files.pods())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(read(&path)?);
            }
        }
        Ok(all)
    }

    /// The addresses that ADD gave, without prefix lengths.
    pub fn addresses(&self) -> Vec<String> {
        let ips = self.result.as_ref().and_then(|result| result["ips"].as_array()).into_iter().flatten();
        ips.filter_map(|ip| Some(ip["address"].as_str()?.split('/').next()?.to_owned())).collect()
    }
}

/// The namespace of a pod of the namespace `default`.
pub fn netns_of(files: &NodeLayout, pod: &str) -> Option<PathBuf> {
    let pod = PodName { namespace: "default".into(), name: pod.into() };
    let sandbox = Sandbox::load(files, &pod).ok().flatten()?;
    sandbox.netns.exists().then_some(sandbox.netns)
}

/// Files on which namespaces of this node's sandboxes are or were mounted.
pub fn namespaces(files: &NodeLayout) -> Vec<PathBuf> {
    let entries = fs::read_dir(files.pods()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "netns")).collect()
}

fn path(files: &NodeLayout, pod: &PodName) -> PathBuf {
    files.pods().join(format!("{}.{}.json", pod.namespace, pod.name))
}

fn read(path: &Path) -> anyhow::Result<Option<Sandbox>> {
    match fs::read(path) {
        Ok(text) => {
            let sandbox = serde_json::from_slice(&text);
            sandbox.map(Some).with_context(|| format!("{} is no sandbox", path.display()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn container_id() -> anyhow::Result<String> {
    let mut id = String::new();
    for _ in 0..2 {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("no random numbers")?;
        id.push_str(&uuid.trim().replace('-', ""));
    }
    Ok(id)
}
