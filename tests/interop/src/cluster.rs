//! A cluster as the API has it, and what follows from it for a node's speaker: the same way that the agent goes, from
//! resources over `derive::bgp` and `node::speaker` to a [`Job`].

use crate::Host;
use agent::speaker::Job;
use derive::World;
use model::store::Object;
use model::{Cidr, IfAddr, IfName, k8s, v3};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Resources, and the secrets that they speak of.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: Vec<Object>,
    /// By name and key.
    secrets: BTreeMap<(String, String), String>,
    /// Subnets that hosts are on besides the segment.
    connected: BTreeMap<Cidr, IfName>,
}

impl Cluster {
    /// One pool, 10.1.0.0/16, without encapsulation.
    pub fn new() -> Cluster {
        Cluster::default().with("IPPool", "pool", json!({"cidr": "10.1.0.0/16"}))
    }

    /// A host as a node, with more annotations of Calico and with labels, and a block of the pool.
    ///
    /// # Panics
    /// If that is no Node.
    pub fn node(self, name: &str, host: &Host, annotations: Value, labels: Value, block: &str) -> Cluster {
        let mut all = json!({
            "projectcalico.org/IPv4Address": format!("{}/24", host.v4),
            "projectcalico.org/IPv6Address": format!("{}/64", host.v6),
        });
        let more = annotations.as_object().expect("annotations").clone();
        all.as_object_mut()
            .expect("annotations")
            .extend(more.into_iter().map(|(key, value)| (format!("projectcalico.org/{key}"), value)));
        let metadata = json!({"name": name, "annotations": all, "labels": labels});
        let node: k8s::Node = read(json!({"metadata": metadata}));
        self.put(node.into()).block(name, block)
    }

    /// With a block of a node.
    ///
    /// # Panics
    /// If it is none.
    pub fn block(self, node: &str, block: &str) -> Cluster {
        let spec = json!({"cidr": block, "affinity": format!("host:{node}"), "allocations": [], "unallocated": [],
            "attributes": []});
        self.with("IPAMBlock", &model::names::block(block.parse().expect("a block")), spec)
    }

    /// With a resource of Calico's, in place of the one of its name.
    ///
    /// # Panics
    /// If it is none.
    pub fn with(self, kind: &str, name: &str, spec: Value) -> Cluster {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.put(match kind {
            "BGPConfiguration" => read::<v3::BgpConfiguration>(object).into(),
            "BGPFilter" => read::<v3::BgpFilter>(object).into(),
            "BGPPeer" => read::<v3::BgpPeer>(object).into(),
            "IPAMBlock" => read::<v3::IpamBlock>(object).into(),
            "IPPool" => read::<v3::IpPool>(object).into(),
            _ => panic!("no resource of these tests: {kind}"),
        })
    }

    /// With a Service of namespace `d` and where it has an endpoint that answers.
    ///
    /// # Panics
    /// If it is none.
    pub fn service(self, name: &str, spec: Value, balanced: Value, on: &str) -> Cluster {
        let service: k8s::Service = read(json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": balanced}}}));
        let slice: k8s::EndpointSlice =
            read(json!({"metadata": {"name": format!("{name}-x"), "namespace": "d",
            "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"nodeName": on, "conditions": {"ready": true}}]}));
        self.put(service.into()).put(slice.into())
    }

    /// With another subnet that the hosts are on, and its interface.
    ///
    /// # Panics
    /// If it is none.
    pub fn connected(mut self, subnet: &str, interface: &str) -> Cluster {
        let interface = interface.parse().expect("a name");
        self.connected.insert(subnet.parse().expect("a subnet"), interface);
        self
    }

    /// With a password.
    pub fn secret(mut self, name: &str, key: &str, password: &str) -> Cluster {
        self.secrets.insert((name.to_owned(), key.to_owned()), password.to_owned());
        self
    }

    fn put(mut self, object: Object) -> Cluster {
        self.objects.retain(|known| known.key() != object.key());
        self.objects.push(object);
        self
    }

    /// The World of a node on a host whose interface `e0` is on the segment.
    pub fn world(&self, node: &str) -> World {
        let mut world = node::seen_from(node, &self.objects);
        let own = world.bgp.nodes.get(node).cloned().unwrap_or_default();
        let device = || "e0".parse().expect("a name");
        let own = [own.v4, own.v6].into_iter().flatten().map(|addr: IfAddr| (addr.subnet(), device()));
        world.connected = own.chain(self.connected.clone()).collect();
        world.uplink = Some(derive::Uplink { device: device(), mtu: model::Mtu(1500) });
        world
    }

    /// What a node's speaker should do.
    ///
    /// # Panics
    /// If it should not speak, or a password is missing.
    pub fn job(&self, node: &str) -> Job {
        job(node::speaker::configuration(&self.world(node), false).expect("it speaks"), &self.secrets)
    }

    /// What is said to be wrong with the resources, as a node sees it.
    ///
    /// # Panics
    /// If it does not speak at all.
    pub fn complaints(&self, node: &str) -> Vec<String> {
        let plan = derive::bgp::plan(&self.world(node)).expect("it speaks");
        plan.complaints.iter().map(ToString::to_string).collect()
    }
}

fn job(config: node::SpeakerConfig, secrets: &BTreeMap<(String, String), String>) -> Job {
    let mut bgp = config.bgp;
    // Of a session that fails, nobody here has the patience for the usual pause.
    bgp.peers.values_mut().for_each(|peer| peer.connect_retry = model::Duration::from_secs(1));
    let mut keys = BTreeMap::new();
    for (id, reference) in config.passwords {
        let password = &secrets[&(reference.name, reference.key)];
        let peer = bgp.peers.get_mut(&id).expect("a password is a session's");
        peer.password_key = Some(password.clone());
        keys.insert(id, password.clone().into_bytes());
    }
    let listen: Vec<IpAddr> = config.listen;
    Job { bgp, listen, keys }
}

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}
