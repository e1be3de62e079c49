//! What cluster a lab is: nodes and their subnets, the pool, and what the cluster holds when it starts.

use anyhow::{Context, bail, ensure};
use model::v3::EncapMode;
use model::{Cidr, IfAddr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// How packets travel between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In VXLAN tunnels, always.
    Vxlan,
    /// Plain, by routes.
    Direct,
    /// Plain inside a subnet, in VXLAN tunnels between subnets.
    VxlanCrossSubnet,
    /// In IP in IP, always.
    #[default]
    Ipip,
    /// Plain inside a subnet, in IP in IP between subnets.
    IpipCrossSubnet,
}

/// A node's tunnel device: whose address the block of a node holds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    Vxlan,
    Ipip,
}

impl Mode {
    pub fn vxlan(self) -> EncapMode {
        match self {
            Mode::Vxlan => EncapMode::Always,
            Mode::Direct | Mode::Ipip | Mode::IpipCrossSubnet => EncapMode::Never,
            Mode::VxlanCrossSubnet => EncapMode::CrossSubnet,
        }
    }

    pub fn ipip(self) -> EncapMode {
        match self {
            Mode::Ipip => EncapMode::Always,
            Mode::IpipCrossSubnet => EncapMode::CrossSubnet,
            Mode::Direct | Mode::Vxlan | Mode::VxlanCrossSubnet => EncapMode::Never,
        }
    }

    /// The tunnel that it needs.
    pub fn tunnel(self) -> Option<Tunnel> {
        match self {
            Mode::Vxlan | Mode::VxlanCrossSubnet => Some(Tunnel::Vxlan),
            Mode::Ipip | Mode::IpipCrossSubnet => Some(Tunnel::Ipip),
            Mode::Direct => None,
        }
    }
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    #[serde(default)]
    pub mode: Mode,
    #[serde(default = "article_pool")]
    pub pool: Pool,
    /// Name and MTU of the interface that joins a node to its subnet.
    #[serde(default = "ens192")]
    pub uplink: String,
    #[serde(default = "ethernet")]
    pub mtu: u16,
    /// Further flags of its `tortie controller`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controller: Vec<String>,
    pub nodes: Vec<Node>,
}

/// The pool of pod addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    pub cidr: Cidr,
    #[serde(default = "slash_26")]
    pub block_size: u8,
    #[serde(default = "yes")]
    pub nat_outgoing: bool,
}

/// A node. Nodes whose addresses are in one subnet share a bridge; the subnet's first address is its router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    pub name: String,
    pub address: IfAddr,
    /// Blocks that the node has from the start; without one it claims its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Cidr>,
    /// The address of its tunnel device, inside the first block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_address: Option<IpAddr>,
    /// `--ipip-driver` of its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipip_driver: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Pod>,
    /// It is in the API only: no namespace, no process. For clusters that are larger than the machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A pod that is started with the lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// A subnet of the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub cidr: Cidr,
    pub gateway: IfAddr,
}

fn article_pool() -> Pool {
    Pool {
        name: "default-ipv4-ippool".into(),
        cidr: Cidr::containing(Ipv4Addr::new(6, 2, 0, 0).into(), 16).expect("16 bits"),
        block_size: 26,
        nat_outgoing: true,
    }
}

fn ens192() -> String {
    "ens192".into()
}

fn ethernet() -> u16 {
    1500
}

fn slash_26() -> u8 {
    26
}

fn yes() -> bool {
    true
}

/// What one of the first nodes of every lab has from the start.
struct Given {
    block: [u8; 4],
    ipip: [u8; 4],
    vxlan: [u8; 4],
    pod: &'static str,
    address: [u8; 4],
}

const GIVEN: [Given; 3] = [
    Given {
        block: [6, 2, 137, 64],
        ipip: [6, 2, 137, 65],
        vxlan: [6, 2, 137, 65],
        pod: "ping-test-rfwx9",
        address: [6, 2, 137, 67],
    },
    Given {
        block: [6, 2, 180, 0],
        ipip: [6, 2, 180, 1],
        vxlan: [6, 2, 180, 1],
        pod: "ping-test-fljwb",
        address: [6, 2, 180, 2],
    },
    Given {
        block: [6, 2, 136, 0],
        ipip: [6, 2, 136, 2],
        vxlan: [6, 2, 136, 3],
        pod: "ping-test-mrrdv",
        address: [6, 2, 136, 4],
    },
];

impl Topology {
    /// Nodes `master1`… on 192.168.50.0/24, and on request one more behind a router, on 192.168.60.0/24.
    pub fn article(mode: Mode, nodes: u8, router: bool) -> Topology {
        let node = |subnet: u8, number: u8| Node {
            name: format!("master{number}"),
            address: IfAddr::new(Ipv4Addr::new(192, 168, subnet, 160 + number).into(), 24).expect("24 bits"),
            blocks: Vec::new(),
            tunnel_address: None,
            ipip_driver: None,
            pods: vec![Pod { name: format!("ping-test-{number}"), address: None }],
            absent: false,
        };
        let mut all: Vec<Node> = (1..=nodes).map(|number| node(50, number)).collect();
        for (node, given) in all.iter_mut().zip(GIVEN) {
            node.blocks = vec![Cidr::containing(given.block.into(), 26).expect("26 bits")];
            let ipip = mode.tunnel() == Some(Tunnel::Ipip);
            node.tunnel_address = Some(if ipip { given.ipip } else { given.vxlan }.into());
            node.pods = vec![Pod { name: given.pod.into(), address: Some(given.address.into()) }];
        }
        all.extend(router.then(|| node(60, nodes + 1)));
        let controller = Vec::new();
        Topology { mode, pool: article_pool(), uplink: ens192(), mtu: ethernet(), controller, nodes: all }
    }

    /// Reads and checks a file.
    pub fn read(path: &Path) -> anyhow::Result<Topology> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let topology: Topology =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is no topology", path.display()))?;
        topology.check().with_context(|| format!("{} cannot be a lab", path.display()))?;
        Ok(topology)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.present().next().is_some(), "it has no nodes");
        ensure!(
            self.uplink.parse::<model::IfName>().is_ok(),
            "uplink `{}` is no interface name",
            self.uplink
        );
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for node in &self.nodes {
            let name = &node.name;
            ensure!(
                !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "node `{name}`: a name has lower-case letters, digits and `-`"
            );
            ensure!(name != "fabric", "node `fabric`: the name is the lab's own");
            ensure!(names.insert(name), "node `{name}` is there twice");
            ensure!(
                addresses.insert(node.address.addr()),
                "{} is the address of two nodes",
                node.address.addr()
            );
            ensure!(node.address.addr().is_ipv4(), "node `{name}`: the uplink's address must be IPv4");
            for block in &node.blocks {
                ensure!(
                    block.len() == self.pool.block_size && self.pool.cidr.covers(*block),
                    "node `{name}`: {block} is no /{} block of the pool {}",
                    self.pool.block_size,
                    self.pool.cidr
                );
            }
            match (node.tunnel_address, node.blocks.first()) {
                (Some(tunnel), Some(block)) if !block.contains(tunnel) => {
                    bail!("node `{name}`: the tunnel address {tunnel} is outside of its block {block}")
                }
                (Some(tunnel), None) => bail!("node `{name}`: the tunnel address {tunnel} needs a block"),
                _ => {}
            }
        }
        for subnet in self.subnets() {
            let gateway = subnet.gateway.addr();
            ensure!(
                !addresses.contains(&gateway),
                "{gateway} is the router of {}, no node can have it",
                subnet.cidr
            );
        }
        Ok(())
    }

    /// The nodes that run.
    pub fn present(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.absent)
    }

    /// Names of the nodes that run.
    pub fn node_names(&self) -> Vec<String> {
        self.present().map(|node| node.name.clone()).collect()
    }

    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        self.present().find(|node| node.name == name).with_context(|| {
            format!("there is no node `{name}` in this lab: {}", self.node_names().join(", "))
        })
    }

    /// The subnets in the order of their first node.
    pub fn subnets(&self) -> Vec<Subnet> {
        let mut subnets: Vec<Subnet> = Vec::new();
        for node in self.present() {
            let cidr = node.address.subnet();
            if !subnets.iter().any(|subnet| subnet.cidr == cidr) {
                subnets.push(Subnet { cidr, gateway: first_address(cidr) });
            }
        }
        subnets
    }
}

fn first_address(cidr: Cidr) -> IfAddr {
    let addr = match cidr.addr() {
        IpAddr::V4(addr) => IpAddr::V4((u32::from(addr) + 1).into()),
        IpAddr::V6(addr) => IpAddr::V6((u128::from(addr) + 1).into()),
    };
    IfAddr::new(addr, cidr.len()).expect("the length is the subnet's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_cluster_is_the_articles() {
        let topology = Topology::article(Mode::Vxlan, 3, false);
        topology.check().unwrap();
        let master3 = topology.node("master3").unwrap();
        assert_eq!(master3.address.to_string(), "192.168.50.163/24");
        assert_eq!(master3.blocks[0].to_string(), "6.2.136.0/26");
        assert_eq!(master3.tunnel_address.unwrap().to_string(), "6.2.136.3");
        assert_eq!(topology.subnets()[0].gateway.to_string(), "192.168.50.1/24");
    }

    #[test]
    fn a_node_behind_the_router_is_on_a_subnet_of_its_own() {
        let topology = Topology::article(Mode::VxlanCrossSubnet, 3, true);
        topology.check().unwrap();
        assert_eq!(topology.node("master4").unwrap().address.to_string(), "192.168.60.164/24");
        assert_eq!(topology.subnets().len(), 2);
    }

    #[test]
    fn a_topology_survives_yaml() {
        let topology = Topology::article(Mode::Direct, 2, true);
        let text = serde_saphyr::to_string(&topology).unwrap();
        assert_eq!(serde_saphyr::from_str::<Topology>(&text).unwrap(), topology);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let broken = |change: &dyn Fn(&mut Topology), reason: &str| {
            let mut topology = Topology::article(Mode::Vxlan, 3, false);
            change(&mut topology);
            assert_eq!(topology.check().unwrap_err().to_string(), reason);
        };
        broken(&|t| t.nodes.clear(), "it has no nodes");
        broken(&|t| t.nodes[1].name = "master1".into(), "node `master1` is there twice");
        broken(
            &|t| t.nodes[0].tunnel_address = Some([6, 2, 1, 1].into()),
            "node `master1`: the tunnel address 6.2.1.1 is outside of its block 6.2.137.64/26",
        );
        broken(
            &|t| t.nodes[0].address = "192.168.50.1/24".parse().unwrap(),
            "192.168.50.1 is the router of 192.168.50.0/24, no node can have it",
        );
    }
}
