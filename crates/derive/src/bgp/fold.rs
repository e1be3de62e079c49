//! What a watch says, folded into what BGP is made from.

use super::{BgpNode, BgpWorld};
use model::store::{Key, Kind, Object};
use model::v3::Node;
use std::collections::BTreeMap;

impl BgpWorld {
    /// The kinds that matter here.
    pub const KINDS: [Kind; 4] = [Kind::Node, Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter];

    /// Takes an object in; whether that changes anything. Other kinds change nothing.
    pub fn put(&mut self, object: &Object) -> bool {
        let name = &object.metadata().name;
        match object {
            Object::Node(node) => set(&mut self.nodes, name, BgpNode::from(&Node::from(node))),
            Object::BgpConfiguration(o) => set(&mut self.configurations, name, o.spec.clone()),
            Object::BgpPeer(o) => set(&mut self.peers, name, o.spec.clone()),
            Object::BgpFilter(o) => set(&mut self.filters, name, o.spec.clone()),
            _ => false,
        }
    }

    /// Forgets an object; whether that changes anything.
    pub fn gone(&mut self, key: &Key) -> bool {
        match key.kind {
            Kind::Node => self.nodes.remove(&key.name).is_some(),
            Kind::BgpConfiguration => self.configurations.remove(&key.name).is_some(),
            Kind::BgpPeer => self.peers.remove(&key.name).is_some(),
            Kind::BgpFilter => self.filters.remove(&key.name).is_some(),
            _ => false,
        }
    }

    /// Takes a list in: what is not in it does not exist. Whether that changes anything.
    pub fn listed(&mut self, kind: Kind, objects: &[Object]) -> bool {
        let listed = |name: &String| objects.iter().any(|object| object.metadata().name == *name);
        let known: Vec<String> = match kind {
            Kind::Node => self.nodes.keys().cloned().collect(),
            Kind::BgpConfiguration => self.configurations.keys().cloned().collect(),
            Kind::BgpPeer => self.peers.keys().cloned().collect(),
            Kind::BgpFilter => self.filters.keys().cloned().collect(),
            _ => return false,
        };
        let mut changed = false;
        for name in known.into_iter().filter(|name| !listed(name)) {
            changed |= self.gone(&Key::cluster(kind, name));
        }
        for object in objects {
            changed |= self.put(object);
        }
        changed
    }
}

fn set<T: PartialEq>(known: &mut BTreeMap<String, T>, name: &str, new: T) -> bool {
    if known.get(name) == Some(&new) {
        return false;
    }
    known.insert(name.to_owned(), new);
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
        assert!(world.put(&node("n1", "10.0.0.1/24")));
        assert_eq!(world.nodes["n1"].cluster_id.map(|id| id.to_string()).as_deref(), Some("224.0.0.1"));
        assert!(!world.put(&node("n1", "10.0.0.1/24")), "the same again");
        assert!(world.put(&node("n1", "10.0.0.2/24")));
        assert!(world.gone(&Key::cluster(Kind::Node, "n1")));
        assert!(!world.gone(&Key::cluster(Kind::IpPool, "n1")));
    }

    #[test]
    fn what_is_not_in_a_list_does_not_exist() {
        let mut world = BgpWorld::default();
        assert!(world.listed(Kind::BgpFilter, &[filter("a"), filter("b")]));
        assert!(!world.listed(Kind::BgpFilter, &[filter("a"), filter("b")]));
        assert!(world.listed(Kind::BgpFilter, &[filter("b")]));
        assert_eq!(world.filters.keys().collect::<Vec<_>>(), ["b"]);
    }
}
