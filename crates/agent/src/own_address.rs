//! The address that this node's Node is to say: as the command line, the Node itself and the interfaces have it.

use crate::address::{self, OwnAddress};
use crate::args::Args;
use crate::method::Method;
use anyhow::Context;
use datastore::Client;
use kernel::{Netns, Objects};
use model::store::{self, Key, Kind, Object, Request};
use model::{IfAddr, IfName, v3};
use netlink::{Protocol, Socket};
use std::time::Duration;

/// How long until an API server that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The address that the Node is to say. `None`: whatever it says, which `Node` remembers for when it is registered anew.
pub(crate) async fn find(args: &Args, client: &Client, name: &str) -> anyhow::Result<Option<IfAddr>> {
    match args.ip {
        OwnAddress::None => return Ok(None),
        OwnAddress::Stored => {
            if stored_address(client, name).await.is_some() {
                return Ok(None);
            }
        }
        OwnAddress::Autodetect | OwnAddress::Given(..) => {}
    }
    let chosen = Finder::new(args, client, name).find(args.ip).await?;
    if let Some(addr) = chosen {
        tracing::info!("this node's address is {addr}");
    }
    Ok(chosen)
}

/// Who looks for an address: by which method, and whom it asks.
pub(crate) struct Finder {
    method: Method,
    client: Client,
    /// The name of the Node.
    node: String,
}

impl Finder {
    pub fn new(args: &Args, client: &Client, node: &str) -> Finder {
        Finder { method: args.ip_autodetection_method.clone(), client: client.clone(), node: node.to_owned() }
    }

    /// The address that is `wanted`, as the interfaces have it now.
    pub async fn find(&self, wanted: OwnAddress) -> anyhow::Result<Option<IfAddr>> {
        let named = match wanted {
            OwnAddress::Stored | OwnAddress::Autodetect => self.method.named(&self.client, &self.node).await,
            OwnAddress::None | OwnAddress::Given(..) => None,
        };
        let interfaces = interfaces().context("cannot read this node's interfaces")?;
        Ok(address::choose(wanted, &self.method, named, &interfaces, order()?)?)
    }
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
        std::fs::write(&path, text).unwrap();
        Client::from_kubeconfig(&path).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_that_the_node_says_stays_the_nodes() {
        let dir = TempDir::new().unwrap();
        let node =
            r#"{"metadata":{"name":"n","annotations":{"projectcalico.org/IPv4Address":"10.0.0.7/24"}}}"#;
        let client = client(&dir, node).await;
        let Cli { args } = Cli::parse_from(["node", "--ip="]);
        assert_eq!(find(&args, &client, "n").await.unwrap(), None);
    }
}
