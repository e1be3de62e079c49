//! The lab's wires: a bridge for each subnet in the fabric's namespace, which routes between them, and in each node one
//! interface with a default route. Said in iproute2's words, so that anybody can read what a lab is made of.

use crate::layout::Layout;
use crate::topology::Topology;
use anyhow::{Context, ensure};
use netlink::netns::Netns;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Makes the namespaces and joins them.
pub fn build(layout: &Layout, topology: &Topology) -> anyhow::Result<()> {
    let fabric_netns = Netns::create(&layout.fabric())?;
    fabric_netns.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    let mut nodes = Vec::new();
    for node in topology.present() {
        nodes.push((node, Netns::create(&layout.node_netns(&node.name))?));
    }
    ip(&fabric_netns, &fabric(layout, topology))?;
    for (node, netns) in &nodes {
        ip(netns, &uplink(topology, &node.name))?;
    }
    Ok(())
}

/// The fabric's side as an `ip -batch` script.
fn fabric(layout: &Layout, topology: &Topology) -> String {
    let mut script = String::from("link set lo up\n");
    let subnets = topology.subnets();
    for (n, subnet) in subnets.iter().enumerate() {
        let _ = write!(
            script,
            // A MAC of its own: without one a bridge takes its lowest port's, and a port that comes or goes changes it.
            "link add lan{n} address 02:00:00:00:ff:{n:02x} type bridge\naddress add {} dev lan{n}\nlink set lan{n} up\n",
            subnet.gateway
        );
    }
    for (n, node) in topology.present().enumerate() {
        let lan = subnets
            .iter()
            .position(|subnet| subnet.cidr == node.address.subnet())
            .expect("made of the nodes");
        let (mtu, uplink) = (topology.mtu, &topology.uplink);
        let netns = layout.node_netns(&node.name);
        let _ = write!(
            script,
            "link add port{n} mtu {mtu} type veth peer name {uplink} mtu {mtu} netns {}\n\
             link set port{n} master lan{lan} up\n",
            netns.display()
        );
    }
    script
}

/// A node's side.
fn uplink(topology: &Topology, name: &str) -> String {
    let uplink = &topology.uplink;
    let node = topology.node(name).expect("one of its own");
    let subnets = topology.subnets();
    let gateway =
        subnets.iter().find(|s| s.cidr == node.address.subnet()).expect("made of the nodes").gateway;
    format!(
        "link set lo up\naddress add {} dev {uplink}\nlink set {uplink} up\nroute add default via {} dev {uplink}\n",
        node.address,
        gateway.addr()
    )
}

/// Runs an `ip -batch` script inside a namespace.
pub fn ip(netns: &Netns, script: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = netns.start(&mut command)?.spawn().context("cannot run `ip` (iproute2)")?;
    child.stdin.take().expect("piped").write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip -batch` refuses: {}", error.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Mode;
    use std::path::Path;

    #[test]
    fn a_node_behind_the_router_has_a_bridge_of_its_own() {
        let layout = Layout::new(Path::new("/run/labs"), &"a".parse().unwrap());
        let script = fabric(&layout, &Topology::article(Mode::Vxlan, 1, true));
        assert_eq!(
            script,
            "link set lo up\n\
             link add lan0 address 02:00:00:00:ff:00 type bridge\naddress add 192.168.50.1/24 dev lan0\nlink set lan0 up\n\
             link add lan1 address 02:00:00:00:ff:01 type bridge\naddress add 192.168.60.1/24 dev lan1\nlink set lan1 up\n\
             link add port0 mtu 1500 type veth peer name ens192 mtu 1500 netns /run/labs/a/netns/master1\n\
             link set port0 master lan0 up\n\
             link add port1 mtu 1500 type veth peer name ens192 mtu 1500 netns /run/labs/a/netns/master2\n\
             link set port1 master lan1 up\n"
        );
    }
}
