//! The lab's own access to its API server, from inside the fabric's namespace.

use crate::layout::Layout;
use crate::topology::Topology;
use anyhow::ensure;
use datastore::Client;
use netlink::netns::Netns;
use std::net::SocketAddr;
use std::path::Path;

/// Where the API server of a lab listens: on the first subnet's router.
pub fn address(topology: &Topology) -> SocketAddr {
    SocketAddr::new(topology.subnets()[0].gateway.addr(), 6443)
}

/// Runs what `f` makes of a client, as the administrator.
pub fn run<T, F>(layout: &Layout, f: impl FnOnce(Client) -> F + Send) -> anyhow::Result<T>
where
    T: Send,
    F: Future<Output = anyhow::Result<T>>,
{
    Netns::open_any(&layout.fabric())?
        .run(|| runtime()?.block_on(async { f(connect(&layout.kubeconfig()).await?).await }))?
}

/// A runtime of the calling thread alone: its sockets are in the thread's namespace.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    Ok(Client::from_kubeconfig(kubeconfig).await?)
}

/// Whether the API server answers the administrator and has written every node's kubeconfig.
pub fn answers(layout: &Layout) -> anyhow::Result<()> {
    let topology = Topology::read(&layout.topology())?;
    for node in topology.node_names() {
        let kubeconfig = layout.node(&node).kubeconfig();
        ensure!(kubeconfig.exists(), "{} is not there yet", kubeconfig.display());
    }
    run(layout, async |client| Ok(client.groups().await.map(drop)?))
}

/// The end of a log, for error messages.
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
    format!("the end of {} is\n  {last}", log.display())
}
