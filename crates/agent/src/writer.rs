//! The one writer to the kernel, on a thread of its own: plans, reads, and pods' namespaces, in the order of asking.

use crate::inbox::Message;
use failpoint::failpoint;
use kernel::{FilterKey, Netns, PodNs, Step};
use node::{EffectId, Input};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

/// How long until the node's own namespace is read again if the kernel refuses.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is asked to do. At most one plan and one read of the node's namespace wait for the one that is
/// being carried out, and a few for each client.
#[derive(Debug)]
pub(crate) enum Job {
    Apply {
        id: EffectId,
        steps: Vec<Step>,
    },
    Dump {
        id: EffectId,
        netns: Netns,
        sysctls: Vec<String>,
    },
    /// Which of these addresses do sockets of the node use?
    Sockets {
        id: EffectId,
        addrs: BTreeSet<IpAddr>,
    },
    /// Who sent what this filter did not judge honest?
    Impostors(FilterKey),
    Open(PodNs, netlink::Netns),
    Close(PodNs),
}

/// Carries jobs out until their sender is gone. `opened` hears whether there is a writer at all, and the ports that
/// mark its changes.
pub(crate) fn run(
    opened: tokio::sync::oneshot::Sender<io::Result<netlink::Ports>>,
    jobs: &mpsc::Receiver<Job>,
    outcomes: &tokio::sync::mpsc::Sender<Message>,
) {
    let open = || {
        let writer = netlink::Writer::open()?;
        let ports = writer.ports()?;
        Ok((writer, ports))
    };
    let (mut writer, result) = match open() {
        Ok((writer, ports)) => (writer, Ok(ports)),
        Err(e) => {
            // Whoever started us waits for exactly this.
            let _ = opened.send(Err(e));
            return;
        }
    };
    if opened.send(result).is_err() {
        return;
    }
    let mut sockets = None;
    while let Ok(job) = jobs.recv() {
        let Some(message) = carry_out(&mut writer, &mut sockets, job) else { continue };
        if outcomes.blocking_send(message).is_err() {
            return;
        }
    }
}

/// `sockets`: why the last look at sockets failed, said once.
fn carry_out(writer: &mut netlink::Writer, sockets: &mut Option<String>, job: Job) -> Option<Message> {
    let input = match job {
        Job::Apply { id, steps } => {
            failpoint!("plan: to be carried out");
            let outcomes = writer.apply(&steps);
            failpoint!("plan: carried out");
            Input::Wrote { id, outcomes }
        }
        Job::Dump { id, netns, sysctls } => {
            let objects = dump(writer, netns, &sysctls);
            failpoint!("kernel: read");
            Input::Dumped { id, netns, objects }
        }
        Job::Sockets { id, addrs } => {
            let (used, problem) = match netlink::sockets::using(&addrs) {
                Ok(used) => (used, None),
                Err(error) => (addrs, Some(error.to_string())),
            };
            if let (Some(error), true) = (&problem, problem != *sockets) {
                tracing::warn!("cannot see which processes use {used:?}: {error}; a tunnel stays for them");
            }
            *sockets = problem;
            Input::Sockets { id, used }
        }
        Job::Impostors(filter) => return Some(Message::Impostors(writer.impostors(&filter))),
        Job::Open(id, netns) => {
            if let Err(error) = writer.open_pod(id, netns) {
                // The plan that needs it fails and is answered; this is why.
                tracing::warn!("{error}");
            }
            return None;
        }
        Job::Close(id) => {
            writer.close_pod(id);
            return None;
        }
    };
    Some(Message::Input(input))
}

/// Reads a namespace. The node's own is read until that succeeds: a read that failed must never look like an empty kernel.
fn dump(writer: &mut netlink::Writer, netns: Netns, sysctls: &[String]) -> Option<kernel::Objects> {
    let mut said = false;
    loop {
        match writer.dump(netns, sysctls)? {
            Ok(objects) => return Some(objects),
            Err(error) if netns != Netns::Host => {
                tracing::warn!("cannot read a pod's namespace: {error}");
                return None;
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!("cannot read this node's network: {error}; trying again every second");
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}
