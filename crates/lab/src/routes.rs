//! Whether packets of every node find every pod: what the kernels of the nodes hold. A pod runs as soon as its own node is
//! done; the others hear of its block afterwards, by the API or by BGP.

use crate::layout::Layout;
use kernel::{Key, Netns, Objects, RouteKind, Value};
use netlink::socket::{Protocol, Socket};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long routes may take: a call that a peer refused is repeated after a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod that runs.
pub struct Pod {
    pub name: String,
    pub address: IpAddr,
}

/// A node that does not know the way to a pod.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    node: String,
    pod: String,
    address: IpAddr,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no route to pod `{}` ({})", self.node, self.pod, self.address)
    }
}

/// Waits until every node has a route to every pod. What is missing after a while, and why, is for `lab status` and
/// `calicoctl node status` to say: some topologies are made to show just that.
pub fn wait(layout: &Layout, nodes: &[String], pods: &[Pod]) -> anyhow::Result<Vec<Missing>> {
    let began = Instant::now();
    loop {
        let mut missing = Vec::new();
        for node in nodes {
            let objects = netlink::netns::Netns::open_any(&layout.node_netns(node))?.run(held)??;
            missing.extend(lacks(node, &objects, pods));
        }
        if missing.is_empty() || began.elapsed() > PATIENCE {
            return Ok(missing);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the kernel holds in the calling thread's namespace.
fn held() -> anyhow::Result<Objects> {
    Ok(netlink::dump::objects(&mut Socket::open(Protocol::Route)?, Netns::Host)?)
}

/// The pods to which a node has no route but its default one.
fn lacks(node: &str, objects: &Objects, pods: &[Pod]) -> Vec<Missing> {
    let leads = |address: IpAddr| {
        let routes = objects.iter().filter_map(|(key, value)| match (key, value) {
            (Key::Route(key), Value::Route(route)) if key.dst.contains(address) => {
                Some((key.dst, route.kind))
            }
            _ => None,
        });
        let longest = routes.max_by_key(|(dst, _)| dst.len());
        longest.is_some_and(|(dst, kind)| !dst.is_default() && kind == RouteKind::Unicast)
    };
    pods.iter()
        .filter(|pod| !leads(pod.address))
        .map(|pod| Missing { node: node.to_owned(), pod: pod.name.clone(), address: pod.address })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::route::{PROTO_CALICO, TABLE_MAIN};
    use kernel::{RouteKey, RouteScope, RouteValue};

    fn objects(routes: &[(&str, RouteKind)]) -> Objects {
        let route = |(dst, kind): &(&str, RouteKind)| {
            let key =
                RouteKey { netns: Netns::Host, table: TABLE_MAIN, dst: dst.parse().unwrap(), priority: 0 };
            let value = RouteValue {
                kind: *kind,
                gateway: Some([192, 168, 50, 162].into()),
                device: None,
                scope: RouteScope::Universe,
                onlink: true,
                protocol: PROTO_CALICO,
                source: None,
                mtu: None,
                also: Vec::new(),
            };
            (Key::Route(key), Value::Route(value))
        };
        routes.iter().map(route).collect()
    }

    #[test]
    fn a_default_route_leads_to_no_pod_and_neither_does_the_hole_of_a_block() {
        use RouteKind::{Blackhole, Unicast};
        let pods = [Pod { name: "b".into(), address: [6, 2, 173, 193].into() }];
        let count = |routes: &[(&str, RouteKind)]| lacks("master1", &objects(routes), &pods).len();
        assert_eq!(count(&[("0.0.0.0/0", Unicast), ("6.2.137.64/26", Unicast)]), 1);
        assert_eq!(count(&[("6.2.173.192/26", Blackhole), ("6.2.0.0/16", Unicast)]), 1);
        assert_eq!(count(&[("0.0.0.0/0", Unicast), ("6.2.173.192/26", Unicast)]), 0);
        assert_eq!(count(&[("6.2.173.192/26", Blackhole), ("6.2.173.193/32", Unicast)]), 0);
        assert_eq!(
            lacks("master1", &Objects::new(), &pods)[0].to_string(),
            "master1 has no route to pod `b` (6.2.173.193)"
        );
    }
}
