//! Start and end: what must be there before the core may run, and who runs beside it.

use crate::address::Family;
use crate::api::Api;
use crate::args::{Args, Backend};
use crate::clock::Clock;
use crate::core::{Core, Parts, Speech};
use crate::health::{self, Site};
use crate::inbox::{INBOX, Message};
use crate::own_address::Finder;
use crate::queued::Queued;
use crate::{files, inquiry, ipip, node_name, renumbered, server, speaker, writer};
use anyhow::Context;
use cni::{durable, queue};
use datastore::Client;
use netlink::Monitor;
use node::{Config, Input, Node};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::mpsc as thread;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Receive buffer for the kernel's notifications: what 10 000 changed routes need.
const NOTIFICATIONS: usize = 8 << 20;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // Before anything else, so that an early end is a clean one.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let beside = beside(&args.socket);
    let ended = tokio::select! {
        ended = serve(args) => ended,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    };
    speaker::forget(&beside);
    ended
}

/// The folder of the agent's socket, for what need not outlive the machine.
fn beside(socket: &Path) -> PathBuf {
    socket.parent().unwrap_or(Path::new("/")).to_owned()
}

async fn serve(args: Args) -> anyhow::Result<()> {
    // A core file would hold the token and the passwords of sessions. Root may look on.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    raise_descriptor_limit();
    let name = node_name::find(args.node_name.as_deref(), &args.state_dir)?;
    durable::create_directory(&args.state_dir)
        .with_context(|| format!("cannot make {}", args.state_dir.display()))?;
    let client = match &args.kubeconfig {
        Some(path) => Client::from_kubeconfig(path).await?,
        None => Client::infer().await?,
    };
    let choice = args.ipip_driver;
    let driver = tokio::task::spawn_blocking(move || ipip::driver(choice));
    tracing::info!(node = name, api = client.url(), version = env!("CARGO_PKG_VERSION"), "starting");
    let (sender, inbox) = mpsc::channel(INBOX);
    for (site, listen) in [(Site::Health, args.health), (Site::Metrics, args.metrics)] {
        if let Some(addr) = listen.0 {
            tokio::spawn(health::serve(site, addr, sender.clone()));
        }
    }
    let finders = [Family::V4, Family::V6].map(|family| Finder::new(family, &args, &client, &name));
    let [address, address6] = [finders[0].first().await?, finders[1].first().await?];

    let attachments = files::directory(&args.state_dir);
    let queue = queue::directory(&args.state_dir);
    let found = files::load(&attachments)
        .with_context(|| format!("cannot read the attachments in {}", attachments.display()))?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
    let listener = server::bind(&args.socket)?;
    if let Some(old) = node_name::keep(&args.state_dir, &name)? {
        tracing::warn!(
            "this node was {old} and is {name} now: addresses of {old} stay assigned until \
             `calicoctl ipam release` frees them"
        );
    }

    // The monitor first: whoever reads the kernel after this misses nothing.
    let mut monitor = Monitor::open(NOTIFICATIONS)?;
    let (writer, ports) = start_writer(sender.clone()).await?;
    monitor.leave_out(ports).context("cannot filter kernel notifications")?;
    let files = start_files(attachments, queue.clone(), sender.clone())?;
    let clock = Clock::start();
    let config = Config {
        node: name.clone(),
        address,
        address6,
        bgp: args.backend == Backend::Bird,
        router_id: args.router_id.unwrap_or_default(),
        ipip: driver.await?,
        epoch_micros: Clock::wall_micros(),
    };
    let speech = start_speaker(&args, clock, client.clone())?;
    let api = Api::new(client.clone(), name.clone(), sender.clone());
    api.watch_all();
    let (addresses, moved) = watch::channel(());
    for (finder, own) in finders.into_iter().zip([address, address6]).filter(|(finder, _)| finder.follows()) {
        tokio::spawn(renumbered::follow(finder, own, moved.clone(), sender.clone()));
    }
    let core = Core::new(Parts {
        node: Node::new(config),
        clock,
        inbox,
        monitor,
        writer,
        files,
        api,
        queue: Queued::new(queue),
        speech,
        addresses,
    })?;
    tokio::spawn(inquiry::serve(client, name.clone(), sender.clone()));
    tokio::spawn(server::serve(listener, sender));
    let started = Input::Started { attachments: found, boot_id: boot_id.trim().to_owned() };
    core.run(started).await.map_err(Into::into)
}

/// The thread that writes attachments' files.
fn start_files(
    attachments: PathBuf,
    queue: PathBuf,
    outcomes: mpsc::Sender<Message>,
) -> anyhow::Result<thread::Sender<files::Job>> {
    let (files, jobs) = thread::channel();
    std::thread::Builder::new()
        .name("files".into())
        .spawn(move || files::run(&attachments, &queue, &jobs, &outcomes))?;
    Ok(files)
}

/// The BGP speaker, and who reads the passwords of its sessions.
fn start_speaker(args: &Args, clock: Clock, client: Client) -> anyhow::Result<Speech> {
    let (best_sender, best) = mpsc::channel(1);
    let slot = speaker::Slot::open(&beside(&args.socket), clock);
    let voice = speaker::start_at(clock, seed(), best_sender, slot)?;
    let (wanted, unlocked) = watch::channel(None);
    tokio::spawn(speaker::unlock(client, args.namespace.clone(), unlocked, voice.jobs.clone()));
    Ok(Speech { wanted, voice, best })
}

/// What spreads the retries of nodes that start at the same time, and what no peer can guess.
fn seed() -> u64 {
    RandomState::new().hash_one(())
}

/// Each client that waits costs up to four descriptors; the usual soft limit of 1024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// The writer, and the ports that mark its changes.
async fn start_writer(
    outcomes: mpsc::Sender<Message>,
) -> anyhow::Result<(thread::Sender<writer::Job>, netlink::Ports)> {
    let (writer, jobs) = thread::channel();
    let (opened, result) = oneshot::channel();
    std::thread::Builder::new().name("writer".into()).spawn(move || writer::run(opened, &jobs, &outcomes))?;
    let ports = result.await?.context("cannot open a netlink socket: the agent needs CAP_NET_ADMIN")?;
    Ok((writer, ports))
}
