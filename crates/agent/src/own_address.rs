//! The addresses that this node's Node is to say: as the command line, the Node itself and the interfaces have it.

use crate::address::{self, Error, Family, OwnAddress};
use crate::args::Args;
use crate::method::Method;
use anyhow::Context;
use datastore::Client;
use model::store::{self, Key, Kind, Object, Request};
use model::{IfAddr, v3};
use std::time::Duration;

/// How long until an API server that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Who looks for this node's address of a family: what is wanted, by which method, and whom it asks.
pub(crate) struct Finder {
    pub family: Family,
    wanted: OwnAddress,
    method: Method,
    client: Client,
    /// The name of the Node.
    node: String,
}

impl Finder {
    pub fn new(family: Family, args: &Args, client: &Client, node: &str) -> Finder {
        let (wanted, method) = args.own_address(family);
        Finder { family, wanted, method: method.clone(), client: client.clone(), node: node.to_owned() }
    }

    /// The address that the Node is to say. `None`: whatever it says, which `Node` remembers for when it is registered anew.
    ///
    /// Differs from Calico: a node that has no IPv6 address yet starts without, as a router may announce its prefix later.
    pub async fn first(&self) -> anyhow::Result<Option<IfAddr>> {
        match self.wanted {
            OwnAddress::None => return Ok(None),
            OwnAddress::Stored => {
                if stored_address(&self.client, &self.node).await.is_some() {
                    return Ok(None);
                }
            }
            OwnAddress::Autodetect | OwnAddress::Given(..) => {}
        }
        let chosen = match self.find().await {
            Err(error) if self.family == Family::V6 && may_come(&error) => None,
            chosen => chosen?,
        };
        if let Some(addr) = chosen {
            tracing::info!("this node's {} address is {addr}", self.family);
        }
        Ok(chosen)
    }

    /// Whether the node goes by what its interfaces have for as long as it runs.
    pub fn follows(&self) -> bool {
        self.wanted == OwnAddress::Autodetect
    }

    /// The address that is wanted, as the interfaces have it now.
    pub async fn find(&self) -> anyhow::Result<Option<IfAddr>> {
        let named = match self.wanted {
            OwnAddress::Stored | OwnAddress::Autodetect => {
                self.method.named(self.family, &self.client, &self.node).await
            }
            OwnAddress::None | OwnAddress::Given(..) => None,
        };
        let found = netlink::addresses::all().context("cannot read this node's addresses")?;
        Ok(address::choose(self.family, self.wanted, &self.method, named, &found)?)
    }
}

fn may_come(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::NoneFound { .. }))
}

/// The IPv4 address that our Node says already. Waits for an API server that does not answer.
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
        for family in [Family::V4, Family::V6] {
            assert_eq!(Finder::new(family, &args, &client, "n").first().await.unwrap(), None, "{family}");
        }
    }
}
