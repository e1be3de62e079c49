//! Start and end: what must be there before the core may run, and who runs beside it.

use crate::address;
use crate::api::Api;
use crate::args::{Args, Backend, OwnAddress};
use crate::clock::Clock;
use crate::core::{Core, INBOX, Message, Parts, Speech};
use crate::health::{self, Site};
use crate::queued::Queued;
use crate::{files, inquiry, ipip, node_name, renumbered, server, speaker, writer};
use anyhow::Context;
use cni::{durable, queue};
use datastore::Client;
use kernel::{Netns, Objects};
use model::store::{self, Key, Kind, Object, Request};
use model::{IfAddr, IfName, v3};
use netlink::{Monitor, Protocol, Socket};
use node::{Config, Input, Node};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as thread};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Receive buffer for the kernel's notifications: what 10 000 changed routes need.
const NOTIFICATIONS: usize = 8 << 20;
/// How long until an API server that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

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
    let address = own_address(&args, &client, &name).await?;

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
    let (files, jobs) = thread::channel();
    let outcomes = sender.clone();
    let queue_directory = queue.clone();
    std::thread::Builder::new()
        .name("files".into())
        .spawn(move || files::run(&attachments, &queue_directory, &jobs, &outcomes))?;
    let clock = Clock::start();
    let config = Config {
        node: name.clone(),
        address,
        bgp: args.backend == Backend::Bird,
        ipip: driver.await?,
        epoch_micros: Clock::wall_micros(),
    };
    let (best_sender, best) = mpsc::channel(1);
    let slot = speaker::Slot::open(&beside(&args.socket), clock);
    let voice = speaker::start_at(clock, seed(), best_sender, slot)?;
    let (wanted, unlocked) = watch::channel(None);
    tokio::spawn(speaker::unlock(client.clone(), args.namespace.clone(), unlocked, voice.jobs.clone()));
    let api = Api::new(client.clone(), name.clone(), sender.clone());
    api.watch_all();
    let addresses = Arc::new(Notify::new());
    if let (OwnAddress::Autodetect, Some(own)) = (args.ip, address) {
        let method = args.ip_autodetection_method.clone();
        tokio::spawn(renumbered::follow(method, own, addresses.clone(), sender.clone()));
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
        speech: Speech { wanted, voice, best },
        addresses,
    })?;
    tokio::spawn(inquiry::serve(client, name.clone(), sender.clone()));
    tokio::spawn(server::serve(listener, sender));
    let started = Input::Started { attachments: found, boot_id: boot_id.trim().to_owned() };
    core.run(started).await.map_err(Into::into)
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

/// The address that the Node is to say. `None`: whatever it says, which `Node` remembers for when it is registered anew.
async fn own_address(args: &Args, client: &Client, name: &str) -> anyhow::Result<Option<IfAddr>> {
    match args.ip {
        OwnAddress::None => return Ok(None),
        OwnAddress::Stored => {
            if stored_address(client, name).await.is_some() {
                return Ok(None);
            }
        }
        OwnAddress::Autodetect | OwnAddress::Given(..) => {}
    }
    let interfaces = interfaces().context("cannot read this node's interfaces")?;
    let chosen = address::choose(args.ip, &args.ip_autodetection_method, &interfaces, order()?)?;
    if let Some(addr) = chosen {
        tracing::info!("this node's address is {addr}");
    }
    Ok(chosen)
}

/// The address that our Node says already. Waits for an API server that does not answer.
async fn stored_address(client: &Client, name: &str) -> Option<IfAddr> {
    let mut said = false;
    loop {
        match client.request(Request::Get(Key::cluster(Kind::Node, name))).await {
            Ok(Some(Object::Node(node))) => {
                return v3::Node::from(&node).resource.spec.bgp?.ipv4_address;
            }
            Ok(_) | Err(store::Error::NotFound) => return None,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("cannot read node {name}: {error}; trying again every second");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// An interface's index; newer ones have larger ones.
pub(crate) fn order() -> anyhow::Result<impl Fn(&IfName) -> u32> {
    let probe = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    Ok(move |device: &IfName| {
        rustix::net::netdevice::name_to_index(&probe, device.as_str()).unwrap_or_default()
    })
}

/// This node's links and addresses, and what else its namespace holds.
pub(crate) fn interfaces() -> anyhow::Result<Objects> {
    let mut socket = Socket::open(Protocol::Route)?;
    Ok(netlink::dump::objects(&mut socket, Netns::Host)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use tempfile::TempDir;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// A client of a server that answers one request with `node`.
    async fn client(dir: &TempDir, node: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines();
            head.map(Result::unwrap).take_while(|line| !line.is_empty()).for_each(drop);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{node}", node.len()).unwrap();
        });
        let path = dir.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"http://{server}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        );
        fs::write(&path, text).unwrap();
        Client::from_kubeconfig(&path).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_that_the_node_says_stays_the_nodes() {
        let dir = TempDir::new().unwrap();
        let node =
            r#"{"metadata":{"name":"n","annotations":{"projectcalico.org/IPv4Address":"10.0.0.7/24"}}}"#;
        let client = client(&dir, node).await;
        let Cli { args } = Cli::parse_from(["node", "--ip="]);
        assert_eq!(own_address(&args, &client, "n").await.unwrap(), None);
    }
}
