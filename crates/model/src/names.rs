//! Names that Calico derives from other names: of interfaces, blocks, affinities, handles and endpoints.

use crate::{Cidr, IfName, Mac};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use sha3::Sha3_256;
use std::net::Ipv4Addr;

/// The longest name that an object may have in Kubernetes (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

/// The host side of a pod's veth pair: `cali` and 11 hexadecimal digits of SHA-1 of `namespace.pod`.
pub fn host_interface(namespace: &str, pod: &str) -> IfName {
    let digest = HEXLOWER.encode(&Sha1::digest(format!("{namespace}.{pod}")));
    IfName::fixed(&format!("cali{}", &digest[..11]))
}

/// The MAC of a node's `vxlan.calico`: 0x66 and five bytes of SHA-1 of the node's name.
pub fn vtep_mac(node: &str) -> Mac {
    let digest = Sha1::digest(node);
    Mac([0x66, digest[0], digest[1], digest[2], digest[3], digest[4]])
}

/// The object name of a block: its CIDR with `.`, `:` and `/` as `-`.
pub fn block(cidr: Cidr) -> String {
    cidr.to_string().replace(['.', ':', '/'], "-")
}

/// The CIDR that a block's object name stands for; `None` if it is no block's name.
pub fn block_cidr(name: &str) -> Option<Cidr> {
    let (addr, len) = name.rsplit_once('-')?;
    ['.', ':'].iter().find_map(|dot| format!("{}/{len}", addr.replace('-', &dot.to_string())).parse().ok())
}

/// The object name of a node's affinity to a block: `<node>-<block>`. One that would be too long loses the end of the
/// node's name and gains 11 hexadecimal digits of SHA-256 of `<node>+<block>`.
pub fn affinity(node: &str, cidr: Cidr) -> String {
    let block = block(cidr);
    let name = format!("{node}-{block}");
    if name.len() < MAX_NAME {
        return name;
    }
    let digest = HEXLOWER.encode(&Sha256::digest(format!("{node}+{block}")));
    let kept = node.floor_char_boundary(MAX_NAME - 1 - block.len() - 13);
    format!("{}-{block}-{}", &node[..kept], &digest[..11])
}

/// The value of the label `projectcalico.org/hostname-hash` of a node's affinities: unpadded base32 of SHA3-256.
pub fn hostname_hash(node: &str) -> String {
    BASE32_NOPAD.encode(&Sha3_256::digest(node))
}

/// The handle of a pod's addresses: `<network>.<container id>`.
pub fn pod_handle(network: &str, container: &str) -> String {
    format!("{network}.{container}")
}

/// The handle of a node's IPIP tunnel address.
pub fn ipip_tunnel_handle(node: &str) -> String {
    format!("ipip-tunnel-addr-{node}")
}

/// The handle of a node's VXLAN tunnel address.
pub fn vxlan_tunnel_handle(node: &str) -> String {
    format!("vxlan-tunnel-addr-{node}")
}

/// The object name of a handle: its id in lower case.
pub fn handle(id: &str) -> String {
    id.to_lowercase()
}

/// The parts of a WorkloadEndpoint's name: `<node>-<orchestrator>-<workload>-<endpoint>`, each part's own dashes doubled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointName {
    pub node: String,
    /// `k8s`, `cni`, `libnetwork` or another.
    pub orchestrator: String,
    /// The pod's name for `k8s`, the container id for `cni`.
    pub workload: String,
    /// The interface in the pod.
    pub endpoint: String,
}

impl EndpointName {
    /// The name of a pod's `eth0`.
    pub fn of_pod(node: &str, pod: &str) -> EndpointName {
        EndpointName {
            node: node.to_owned(),
            orchestrator: "k8s".to_owned(),
            workload: pod.to_owned(),
            endpoint: "eth0".to_owned(),
        }
    }

    /// Reads a name back; `None` if it has not four parts.
    pub fn parse(name: &str) -> Option<EndpointName> {
        let mut parts = vec![String::new()];
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '-' if chars.next_if_eq(&'-').is_none() => parts.push(String::new()),
                c => parts.last_mut().expect("there is always a part").push(c),
            }
        }
        let [node, orchestrator, workload, endpoint] = <[String; 4]>::try_from(parts).ok()?;
        let name = EndpointName { node, orchestrator, workload, endpoint };
        [&name.node, &name.orchestrator, &name.workload, &name.endpoint]
            .iter()
            .all(|part| !part.is_empty())
            .then_some(name)
    }
}

impl std::fmt::Display for EndpointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |text: &str| text.replace('-', "--");
        let EndpointName { node, orchestrator, workload, endpoint } = self;
        write!(f, "{}-{}-{}-{}", part(node), part(orchestrator), part(workload), part(endpoint))
    }
}

/// The BGP router ID of a node that has no IPv4 address to take it from: the beginning of a hash of its name, kept out of
/// the multicast range.
pub fn router_id(node: &str) -> Ipv4Addr {
    let hash = Sha256::digest(node.as_bytes());
    let first = if hash[0] > 223 { hash[0] - 32 } else { hash[0] };
    Ipv4Addr::new(first, hash[1], hash[2], hash[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a CIDR")
    }

    #[test]
    fn host_interfaces_are_calicos() {
        assert_eq!(host_interface("default", "podA").as_str(), "cali7f94ce7c295");
        assert_eq!(host_interface("default", "podB").as_str(), "cali92cf1f5e9f6");
        assert_eq!(host_interface("default", "nginx").as_str(), "calic440f455693");
    }

    #[test]
    fn vtep_macs_are_calicos() {
        assert_eq!(vtep_mac("node1").to_string(), "66:f9:37:c3:7e:94");
    }

    #[test]
    fn a_block_is_named_after_its_cidr() {
        assert_eq!(block(cidr("10.244.1.0/26")), "10-244-1-0-26");
        assert_eq!(block(cidr("fd00:10::40/122")), "fd00-10--40-122");
    }

    #[test]
    fn a_blocks_name_gives_its_cidr_back() {
        for text in ["10.244.1.0/26", "fd00:10::/122", "fd4f:7744:113d::40/122", "::/116"] {
            assert_eq!(block_cidr(&block(cidr(text))), Some(cidr(text)));
        }
        assert_eq!(block_cidr("node1"), None);
    }

    #[test]
    fn an_affinity_is_named_after_node_and_block() {
        assert_eq!(affinity("load-balancer", cidr("10.77.0.8/29")), "load-balancer-10-77-0-8-29");
    }

    #[test]
    fn a_long_affinity_name_is_cut_and_told_apart_by_a_hash() {
        let block = cidr("10.244.1.0/26");
        assert_eq!(affinity(&"n".repeat(238), block).len(), 252);
        let (a, b) = (affinity(&("n".repeat(252) + "a"), block), affinity(&("n".repeat(252) + "b"), block));
        assert_ne!(a, b);
        assert_eq!(a.len(), 252);
        assert_eq!(a[..a.len() - 11], b[..b.len() - 11]);
        assert!(a.starts_with("nnnn") && a.contains("n-10-244-1-0-26-"));
    }

    #[test]
    fn hostname_hashes_are_calicos() {
        assert_eq!(hostname_hash("node-a"), "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA");
        assert_eq!(hostname_hash("load-balancer"), "TAU2RK2F2FG7MIS72DPZYC6FJ3U3BIWIDZAMUTQY7ZXMSKQZ5GSQ");
    }

    #[test]
    fn handles_are_calicos() {
        assert_eq!(handle(&pod_handle("K8s-pod-network", "0A")), "k8s-pod-network.0a");
        assert_eq!(vxlan_tunnel_handle("node1"), "vxlan-tunnel-addr-node1");
    }

    #[test]
    fn dashes_in_a_part_of_an_endpoint_name_are_doubled() {
        assert_eq!(EndpointName::of_pod("node1", "hw-pod").to_string(), "node1-k8s-hw--pod-eth0");
    }

    #[test]
    fn what_has_not_four_parts_is_no_endpoint_name() {
        for name in ["", "node1", "node1-k8s-pod", "a-b-c-d-e", "node1-k8s--eth0", "a-b-c-"] {
            assert_eq!(EndpointName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_name_is_read_back(
            node in "[a-z]([a-z.-]{0,8}[a-z])?", workload in "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
        ) {
            let name = EndpointName::of_pod(&node, &workload);
            prop_assert_eq!(EndpointName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn an_affinity_name_is_a_name(node in "[a-z]{1,253}") {
            prop_assert!(affinity(&node, cidr("10.244.1.0/26")).len() < MAX_NAME);
        }
    }
}
