//! What a watch says, folded into what BGP is made from.

use super::services::{Addresses, Answering};
use super::{BgpNode, BgpWorld};
use model::store::{Key, Kind, Object};
use model::v3::Node;
use std::collections::{BTreeMap, BTreeSet};

impl BgpWorld {
    /// The kinds that matter here, but for services.
    pub const KINDS: [Kind; 4] = [Kind::Node, Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter];
    /// The kinds that matter where services are told of.
    pub const SERVICE_KINDS: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];

    /// Takes an object in, as the node `own` sees it; whether that changes anything. Other kinds change nothing.
    pub fn put(&mut self, own: &str, object: &Object) -> bool {
        let metadata = object.metadata();
        let name = metadata.name.clone();
        let within = || (metadata.namespace.clone().unwrap_or_default(), name.clone());
        match object {
            Object::Node(node) => set(&mut self.nodes, name, BgpNode::from(&Node::from(node))),
            Object::BgpConfiguration(o) => set(&mut self.configurations, name, o.spec.clone()),
            Object::BgpPeer(o) => set(&mut self.peers, name, o.spec.clone()),
            Object::BgpFilter(o) => set(&mut self.filters, name, o.spec.clone()),
            Object::Service(o) => set(&mut self.services.services, within(), Addresses::from(&**o)),
            Object::EndpointSlice(o) => match Answering::of(o, own) {
                Some(answering) => set(&mut self.services.slices, within(), answering),
                None => self.services.slices.remove(&within()).is_some(),
            },
            Object::Pod(o) if o.spec.node_name.as_deref() == Some(own) => {
                set(&mut self.pods, within(), o.endpoint_labels()) && self.has_workload_peers()
            }
            _ => false,
        }
    }

    /// Forgets an object; whether that changes anything.
    pub fn gone(&mut self, key: &Key) -> bool {
        let within = || (key.namespace.clone().unwrap_or_default(), key.name.clone());
        match key.kind {
            Kind::Node => self.nodes.remove(&key.name).is_some(),
            Kind::BgpConfiguration => self.configurations.remove(&key.name).is_some(),
            Kind::BgpPeer => self.peers.remove(&key.name).is_some(),
            Kind::BgpFilter => self.filters.remove(&key.name).is_some(),
            Kind::Service => self.services.services.remove(&within()).is_some(),
            Kind::EndpointSlice => self.services.slices.remove(&within()).is_some(),
            Kind::Pod => self.pods.remove(&within()).is_some() && self.has_workload_peers(),
            _ => false,
        }
    }

    /// Takes a list in: what is not in it does not exist. Whether that changes anything.
    pub fn listed(&mut self, own: &str, kind: Kind, objects: &[Object]) -> bool {
        let listed: BTreeSet<Key> = objects.iter().map(Object::key).collect();
        let mut changed = false;
        for key in self.known(kind).into_iter().filter(|key| !listed.contains(key)) {
            changed |= self.gone(&key);
        }
        for object in objects {
            changed |= self.put(own, object);
        }
        changed
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        let cluster = |name: &String| Key::cluster(kind, name);
        let within = |(namespace, name): &(String, String)| Key::namespaced(kind, namespace, name);
        match kind {
            Kind::Node => self.nodes.keys().map(cluster).collect(),
            Kind::BgpConfiguration => self.configurations.keys().map(cluster).collect(),
            Kind::BgpPeer => self.peers.keys().map(cluster).collect(),
            Kind::BgpFilter => self.filters.keys().map(cluster).collect(),
            Kind::Service => self.services.services.keys().map(within).collect(),
            Kind::EndpointSlice => self.services.slices.keys().map(within).collect(),
            Kind::Pod => self.pods.keys().map(within).collect(),
            _ => Vec::new(),
        }
    }
}

fn set<K: Ord, T: PartialEq>(known: &mut BTreeMap<K, T>, name: K, new: T) -> bool {
    if known.get(&name) == Some(&new) {
        return false;
    }
    known.insert(name, new);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::v3::{BgpFilter, BgpFilterSpec};
    use model::{Metadata, k8s};
    use serde_json::json;

    fn node(name: &str, address: &str) -> Object {
        let object = json!({"metadata": {"name": name, "labels": {"rack": "a"}, "annotations":
            {"projectcalico.org/IPv4Address": address, "projectcalico.org/RouteReflectorClusterID": "224.0.0.1"}}});
        serde_json::from_value::<k8s::Node>(object).expect("a node").into()
    }

    fn filter(name: &str) -> Object {
        BgpFilter { metadata: Metadata::named(name), spec: BgpFilterSpec::default() }.into()
    }

    #[test]
    fn only_what_matters_to_bgp_changes_it() {
        let mut world = BgpWorld::default();
        assert!(world.put("n1", &node("n1", "10.0.0.1/24")));
        assert_eq!(world.nodes["n1"].cluster_id.map(|id| id.to_string()).as_deref(), Some("224.0.0.1"));
        assert!(!world.put("n1", &node("n1", "10.0.0.1/24")), "the same again");
        assert!(world.put("n1", &node("n1", "10.0.0.2/24")));
        assert!(world.gone(&Key::cluster(Kind::Node, "n1")));
        assert!(!world.gone(&Key::cluster(Kind::IpPool, "n1")));
    }

    #[test]
    fn what_is_not_in_a_list_does_not_exist() {
        let mut world = BgpWorld::default();
        assert!(world.listed("n1", Kind::BgpFilter, &[filter("a"), filter("b")]));
        assert!(!world.listed("n1", Kind::BgpFilter, &[filter("a"), filter("b")]));
        assert!(world.listed("n1", Kind::BgpFilter, &[filter("b")]));
        assert_eq!(world.filters.keys().collect::<Vec<_>>(), ["b"]);
    }
}
