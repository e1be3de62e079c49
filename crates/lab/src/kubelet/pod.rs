//! One pod's life on the node: sandbox and ADD until it runs, DEL until it is gone, each tried again with growing pauses.

use super::Kubelet;
use super::sandbox::{PodName, Sandbox};
use crate::seed;
use datastore::{Patch, Resource};
use model::k8s;
use model::store::Kind;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wanted of a pod.
#[derive(Clone, Debug)]
pub enum Wanted {
    Running(Box<k8s::Pod>),
    /// Deleted in the API, which waits for our last word.
    Ended {
        uid: String,
    },
    Gone,
}

impl Wanted {
    pub fn of(pod: k8s::Pod) -> Wanted {
        match pod.metadata.deletion_timestamp {
            Some(_) => Wanted::Ended { uid: pod.metadata.uid },
            None => Wanted::Running(Box::new(pod)),
        }
    }
}

/// Does what is wanted until the pod is gone.
pub async fn run(kubelet: Rc<Kubelet>, name: PodName, mut wishes: watch::Receiver<Wanted>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wanted = wishes.borrow_and_update().clone();
        let done = match &wanted {
            Wanted::Running(pod) => start(&kubelet, &name, pod).await,
            Wanted::Ended { uid } => end(&kubelet, &name, uid).await,
            Wanted::Gone => stop(&kubelet, &name).await,
        };
        match done {
            Ok(()) if matches!(wanted, Wanted::Running(_)) => {
                pause = FIRST_PAUSE;
                if wishes.changed().await.is_err() {
                    return;
                }
            }
            Ok(()) if wishes.has_changed().unwrap_or(false) => {}
            Ok(()) => return,
            Err(e) => {
                eprintln!("pod {}/{}: {e:#}", name.namespace, name.name);
                // Whatever comes first: a new wish, or the time to try again.
                let _ = tokio::time::timeout(pause, wishes.changed()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Makes a pod run, if it does not yet.
async fn start(kubelet: &Kubelet, name: &PodName, pod: &k8s::Pod) -> anyhow::Result<()> {
    match Sandbox::load(&kubelet.files, name)? {
        Some(sandbox) if sandbox.uid == pod.metadata.uid && sandbox.result.is_some() => {
            if pod.status.phase != "Running" {
                report(kubelet, pod, running(kubelet, &sandbox)).await?;
            }
            return Ok(());
        }
        Some(_) => stop(kubelet, name).await?,
        None => {}
    }
    match add(kubelet, name, pod).await {
        Ok(sandbox) => report(kubelet, pod, running(kubelet, &sandbox)).await,
        Err(e) => {
            stop(kubelet, name).await?;
            report(kubelet, pod, waiting(&format!("{e:#}"))).await?;
            Err(e)
        }
    }
}

async fn add(kubelet: &Kubelet, name: &PodName, pod: &k8s::Pod) -> anyhow::Result<Sandbox> {
    let _slot = kubelet.slots.acquire().await?;
    let mut sandbox = Sandbox::create(&kubelet.files, name.clone(), &pod.metadata.uid).await?;
    sandbox.result = Some(kubelet.plugin.add(&sandbox).await?);
    sandbox.save(&kubelet.files)?;
    Ok(sandbox)
}

/// Takes a pod's network and sandbox away.
async fn stop(kubelet: &Kubelet, name: &PodName) -> anyhow::Result<()> {
    let Some(sandbox) = Sandbox::load(&kubelet.files, name)? else { return Ok(()) };
    let _slot = kubelet.slots.acquire().await?;
    kubelet.plugin.del(&sandbox).await?;
    sandbox.remove(&kubelet.files)
}

/// Stops a pod, then lets the API forget it.
async fn end(kubelet: &Kubelet, name: &PodName, uid: &str) -> anyhow::Result<()> {
    stop(kubelet, name).await?;
    let pods = Resource::of(Kind::Pod);
    match kubelet.client.delete_now(pods, Some(&name.namespace), &name.name, uid).await {
        Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
        _ => Ok(()),
    }
}

async fn report(kubelet: &Kubelet, pod: &k8s::Pod, status: Value) -> anyhow::Result<()> {
    let name = PodName::of(pod);
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let pods = Resource::of(Kind::Pod);
    let client = &kubelet.client;
    client.patch_json(pods, Some(&name.namespace), &name.name, Some("status"), Patch::Merge, &patch).await?;
    Ok(())
}

fn running(kubelet: &Kubelet, sandbox: &Sandbox) -> Value {
    let now = seed::now();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let addresses = sandbox.addresses();
    json!({
        "phase": "Running",
        "hostIP": kubelet.address,
        "hostIPs": [{"ip": kubelet.address}],
        "podIP": addresses.first(),
        "podIPs": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [container(true, json!({"running": {"startedAt": now}}))],
    })
}

fn waiting(why: &str) -> Value {
    json!({
        "phase": "Pending",
        "containerStatuses": [container(false, json!({"waiting": {"reason": "ContainerCreating", "message": why}}))],
    })
}

fn container(ready: bool, state: Value) -> Value {
    json!({
        "name": "main",
        "image": "tortie.lab/pause",
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    })
}
