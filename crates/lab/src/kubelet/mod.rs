//! The resident process that plays kubelet and container runtime on a node: it watches the node's pods, gives each a
//! sandbox (a network namespace), calls the CNI plugin on it as containerd does, and says in the pod's status how it went.
//!
//! ```text
//!   API server ──pods of this node──► serve ──what is wanted──► one task a pod ──► sandbox, CNI ADD / DEL
//!              ◄──────────────── status, last deletion ──────────────┘
//! ```
//!
//! A pod's task holds one sandbox at most; its file is written before ADD, so that a restart finds what there is to undo.

mod plugin;
mod pod;
mod sandbox;

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
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

/// Sandboxes that are made or removed at the same time.
const AT_ONCE: usize = 10;

/// What every pod's task needs.
struct Kubelet {
    node: String,
    address: IpAddr,
    files: NodeLayout,
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
            slots: Semaphore::new(AT_ONCE),
            files,
        };
        LocalSet::new().run_until(serve(Rc::new(kubelet))).await
    })
}

async fn serve(kubelet: Rc<Kubelet>) -> anyhow::Result<()> {
    let mut pods: BTreeMap<PodName, watch::Sender<Wanted>> = BTreeMap::new();
    let found = Sandbox::all(&kubelet.files)?;
    let valid: Vec<String> = found.iter().map(|sandbox| sandbox.id.clone()).collect();
    if let Err(e) = kubelet.plugin.gc(&valid).await {
        eprintln!("GC: {e:#}");
    }
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
