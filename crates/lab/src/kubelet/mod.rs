//! The resident process that plays kubelet and container runtime on a node: it watches the node's pods, gives each a
//! sandbox (a network namespace), calls the CNI plugin on it as containerd does, and says in the pod's status how it went.
//!
//! ```text
//!   API server ──pods of this node──► serve ──what is wanted──► one task a pod ──► sandbox, CNI ADD / DEL
//!              ◄──────────────── status, last deletion ──────────────┘
//! ```
//!
//! It also runs commands in pods: `kubectl exec` ends in [`exec`].
//!
//! A pod's task holds one sandbox at most; its file is written before ADD, so that a restart finds what there is to undo.

mod channel;
mod exec;
mod plugin;
mod pod;
mod sandbox;
mod session;

pub use sandbox::{namespaces, netns_of};

use crate::api;
use crate::layout::{Layout, NodeLayout};
use crate::seed;
use crate::topology::Topology;
use datastore::{Client, Patch, Resource, Scope};
use futures::StreamExt;
use model::k8s;
use model::store::{Event, Kind, Object};
use plugin::Plugin;
use pod::Wanted;
use sandbox::{PodName, Sandbox};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

/// Sandboxes that are made or removed at the same time.
const AT_ONCE: u32 = 10;

/// What every pod's task needs.
struct Kubelet {
    node: String,
    address: IpAddr,
    files: NodeLayout,
    /// Where this program is, under all its names.
    bin: PathBuf,
    client: Client,
    plugin: Plugin,
    slots: Semaphore,
}

/// Runs until it is killed.
pub fn run(layout: &Layout, node: &str) -> anyhow::Result<()> {
    let topology = Topology::read(&layout.topology())?;
    let files = layout.node(node);
    let address = topology.node(node)?.address.addr();
    api::runtime()?.block_on(async {
        let kubelet = Kubelet {
            node: node.to_owned(),
            address,
            client: api::connect(&files.kubeconfig()).await?,
            plugin: Plugin::read(&files.conflist(), &layout.bin())?,
            bin: layout.bin(),
            slots: Semaphore::new(AT_ONCE as usize),
            files,
        };
        LocalSet::new().run_until(serve(Rc::new(kubelet))).await
    })
}

async fn serve(kubelet: Rc<Kubelet>) -> anyhow::Result<()> {
    let mut pods: BTreeMap<PodName, watch::Sender<Wanted>> = BTreeMap::new();
    let found = Sandbox::all(&kubelet.files)?;
    tokio::task::spawn_local(exec::serve(kubelet.clone(), exec::listen(&kubelet)?));
    tokio::task::spawn_local(collect_garbage(kubelet.clone()));
    tokio::task::spawn_local(watch_network(kubelet.clone()));
    let mut events = Box::pin(kubelet.client.watch(Kind::Pod, Scope::OnNode(kubelet.node.clone())));
    while let Some(event) = events.next().await {
        match event {
            Event::Listed(_, objects) => {
                let listed: Vec<k8s::Pod> = objects.into_iter().filter_map(as_pod).collect();
                let absent = |name: &PodName| !listed.iter().any(|pod| PodName::of(pod) == *name);
                let known = found.iter().map(|sandbox| sandbox.pod.clone()).chain(pods.keys().cloned());
                for name in known.filter(|name| absent(name)).collect::<Vec<_>>() {
                    want(&kubelet, &mut pods, name, Wanted::Gone);
                }
                for pod in listed {
                    want(&kubelet, &mut pods, PodName::of(&pod), Wanted::of(pod));
                }
            }
            Event::Put(object) => {
                if let Some(pod) = as_pod(object) {
                    want(&kubelet, &mut pods, PodName::of(&pod), Wanted::of(pod));
                }
            }
            Event::Gone(key) => {
                let name = PodName { namespace: key.namespace.unwrap_or_default(), name: key.name };
                want(&kubelet, &mut pods, name, Wanted::Gone);
            }
            Event::Failed { error, .. } => eprintln!("pods are not watched: {error}"),
        }
    }
    Ok(())
}

fn as_pod(object: Object) -> Option<k8s::Pod> {
    match object {
        Object::Pod(pod) if !pod.spec.host_network => Some(pod),
        _ => None,
    }
}

/// Tells a pod's task what is wanted of it; starts one if there is none.
fn want(
    kubelet: &Rc<Kubelet>,
    pods: &mut BTreeMap<PodName, watch::Sender<Wanted>>,
    name: PodName,
    wanted: Wanted,
) {
    pods.retain(|_, task| !task.is_closed());
    if let Some(task) = pods.get(&name) {
        task.send_replace(wanted);
        return;
    }
    let (task, wishes) = watch::channel(wanted);
    tokio::task::spawn_local(pod::run(kubelet.clone(), name.clone(), wishes));
    pods.insert(name, task);
}

/// Tells the plugin once which sandboxes there are. An agent that has just started does not listen until it knows what it
/// has itself.
async fn collect_garbage(kubelet: Rc<Kubelet>) {
    let mut said = None;
    while let Err(e) = kubelet.collect_garbage().await {
        let now = format!("{e:#}");
        if said.as_ref() != Some(&now) {
            eprintln!("GC: {now}; trying again every second");
            said = Some(now);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Kubelet {
    /// All slots are held, for the call alone: a sandbox that is made meanwhile would be taken for garbage.
    async fn collect_garbage(&self) -> anyhow::Result<()> {
        let _slots = self.slots.acquire_many(AT_ONCE).await?;
        let found = Sandbox::all(&self.files)?;
        let valid: Vec<String> = found.into_iter().map(|sandbox| sandbox.id).collect();
        self.plugin.gc(&valid).await
    }
}

/// Keeps the node's `Ready` condition at what the plugin's STATUS says.
async fn watch_network(kubelet: Rc<Kubelet>) {
    let nodes = Resource::of(Kind::Node);
    let mut said = None;
    loop {
        let now = kubelet.plugin.status().await.map_err(|e| format!("{e:#}"));
        if said.as_ref() != Some(&now) {
            let condition = match &now {
                Ok(()) => seed::ready(),
                Err(why) => seed::not_ready(why),
            };
            let patch = json!({"status": {"conditions": [condition]}});
            let patched = kubelet
                .client
                .patch_json(nodes, None, &kubelet.node, Some("status"), Patch::Strategic, &patch)
                .await;
            match patched {
                Ok(_) => said = Some(now),
                Err(e) => eprintln!("cannot set the node's status: {e}"),
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LabName;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Says "try again later" to its first call, and keeps what it was given.
    const PLUGIN: &str = r#"#!/bin/sh
cd "$CNI_PATH"
[ -e first ] && exec cat > second
cat > first
echo '{"code":11,"msg":"has just started"}'
exit 1
"#;

    #[tokio::test]
    async fn garbage_is_collected_again_until_the_agent_listens() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(dir.path(), &"a".parse::<LabName>().expect("a name"));
        let files = layout.node("n");
        fs::create_dir_all(files.pods()).expect("made");
        fs::create_dir_all(files.net_d()).expect("made");
        fs::write(files.conflist(), r#"{"name":"net","cniVersion":"1.1.0","plugins":[{"type":"plugin"}]}"#)
            .expect("written");
        let plugin = dir.path().join("plugin");
        fs::write(&plugin, PLUGIN).expect("written");
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).expect("executable");
        let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
            clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\nusers: [{name: u, user: {}}]\n";
        fs::write(files.kubeconfig(), kubeconfig).expect("written");
        let kubelet = Rc::new(Kubelet {
            node: "n".into(),
            address: IpAddr::from([127, 0, 0, 1]),
            client: Client::from_kubeconfig(&files.kubeconfig()).await.expect("a client"),
            plugin: Plugin::read(&files.conflist(), dir.path()).expect("a plugin"),
            bin: dir.path().to_owned(),
            slots: Semaphore::new(AT_ONCE as usize),
            files,
        });
        let made = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _slot = kubelet.slots.try_acquire().expect("nobody waits for a GC that will be tried again");
            let pod = PodName { namespace: "default".into(), name: "a".into() };
            let netns = dir.path().join("netns");
            let sandbox = Sandbox { pod, uid: "u".into(), id: "made-since".into(), netns, result: None };
            sandbox.save(&kubelet.files).expect("saved");
        };
        tokio::join!(collect_garbage(kubelet.clone()), made);
        let second = fs::read_to_string(dir.path().join("second")).expect("a second call");
        assert!(second.contains("made-since"), "{second}");
    }
}
