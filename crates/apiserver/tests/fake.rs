//! The simulator's API server is as this one: both pass the same cases, this one through the client that the agent uses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::Cluster;
use datastore::Scope;
use futures::{Stream, StreamExt};
use model::store::{Event, Kind, Object, Reply, Request};
use std::collections::BTreeMap;
use std::pin::Pin;
use testkit::sim::conformance::api::{CASES, Server};
use tokio::runtime::Runtime;

struct Real {
    runtime: Runtime,
    client: datastore::Client,
    watches: BTreeMap<Kind, Pin<Box<dyn Stream<Item = Event>>>>,
    _cluster: Cluster,
}

impl Real {
    fn start() -> Real {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = runtime.block_on(Cluster::start());
        let server = cluster.server.as_ref().unwrap();
        let path = cluster.dir.path().join("kubeconfig-of-the-test");
        let (url, token) = (format!("https://{}", server.addr), &server.admin_token);
        let authority = data_encoding::BASE64.encode(server.ca.as_bytes());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{url}\", certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let client = runtime.block_on(datastore::Client::from_kubeconfig(&path)).unwrap();
        Real { runtime, client, watches: BTreeMap::new(), _cluster: cluster }
    }
}

impl Server for Real {
    fn request(&mut self, request: Request) -> Reply {
        self.runtime.block_on(self.client.request(request))
    }

    fn list(&mut self, kind: Kind) -> Vec<Object> {
        self.watches.insert(kind, Box::pin(self.client.watch(kind, Scope::All)));
        match self.told(kind) {
            Event::Listed(_, objects) => objects,
            other => panic!("{other:?} is no list"),
        }
    }

    fn told(&mut self, kind: Kind) -> Event {
        let watch = self.watches.get_mut(&kind).unwrap();
        self.runtime.block_on(watch.next()).unwrap()
    }
}

#[test]
fn the_server_passes_every_case_of_the_simulators_fake() {
    for (name, case) in CASES {
        println!("{name}");
        case(&mut Real::start());
    }
}
