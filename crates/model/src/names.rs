//! Names that Calico derives from other names: of interfaces, blocks, affinities, handles and endpoints.

use crate::{Cidr, IfName, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use sha3::Sha3_256;
use std::collections::BTreeMap;

/// The host side of a pod's veth pair: `cali` and 11 hexadecimal digits of SHA-1 of `namespace.pod`.
pub fn host_interface(namespace: &str, pod: &str) -> IfName {
    let digest = data_encoding::HEXLOWER.encode(&Sha1::digest(format!("{namespace}.{pod}")));
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
    let v4 = format!("{}/{len}", addr.replace('-', "."));
    v4.parse().or_else(|_| format!("{}/{len}", addr.replace('-', ":")).parse()).ok()
}

/// The object name of a node's affinity to a block: node and block name, the node's part cut and followed by 11
/// hexadecimal digits of SHA-256 of the two where the name would reach 253 characters.
pub fn block_affinity(node: &str, cidr: Cidr) -> String {
    let block = block(cidr);
    let whole = format!("{node}-{block}");
    if whole.len() < 253 {
        return whole;
    }
    let hash = &data_encoding::HEXLOWER.encode(&Sha256::digest(format!("{node}+{block}")))[..11];
    let room = 252 - block.len() - hash.len() - 2;
    format!("{}-{hash}-{block}", &node[..node.floor_char_boundary(room)])
}

/// The labels by which a host's affinities are listed.
pub fn block_affinity_labels(node: &str, cidr: Cidr) -> BTreeMap<String, String> {
    let hash = data_encoding::BASE32_NOPAD.encode(&Sha3_256::digest(node));
    let version = if cidr.is_ipv4() { "4" } else { "6" };
    [("hostname-hash", hash.as_str()), ("affinity-type", "host"), ("ip-version", version)]
        .map(|(label, value)| (format!("projectcalico.org/{label}"), value.to_owned()))
        .into()
}

/// The object name of a handle: its id in lower case.
pub fn handle(id: &str) -> String {
    id.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_interfaces_are_calicos() {
        assert_eq!(host_interface("default", "podA").as_str(), "cali7f94ce7c295");
        assert_eq!(host_interface("default", "nginx").as_str(), "calic440f455693");
    }

    #[test]
    fn vtep_macs_are_calicos() {
        assert_eq!(vtep_mac("node1").to_string(), "66:f9:37:c3:7e:94");
    }

    #[test]
    fn a_block_is_named_after_its_cidr() {
        assert_eq!(block("10.244.1.0/26".parse().expect("a CIDR")), "10-244-1-0-26");
    }

    #[test]
    fn a_blocks_name_gives_its_cidr_back() {
        for text in ["10.244.1.0/26", "fd00:10::/122", "fd4f:7744:113d::40/122", "::/116"] {
            let cidr: Cidr = text.parse().expect("a CIDR");
            assert_eq!(block_cidr(&block(cidr)), Some(cidr), "{text}");
        }
        assert_eq!(block_cidr("node1"), None);
    }

    #[test]
    fn an_affinity_is_named_after_node_and_block() {
        let cidr = "10.77.0.8/29".parse().expect("a CIDR");
        assert_eq!(block_affinity("load-balancer", cidr), "load-balancer-10-77-0-8-29");
        let long = block_affinity(&"n".repeat(250), cidr);
        assert!(long.len() < 253 && long.ends_with("-10-77-0-8-29"), "{long}");
    }

    #[test]
    fn hostname_hashes_are_calicos() {
        let labels = block_affinity_labels("node-a", "10.0.0.0/26".parse().expect("a CIDR"));
        let hash = "PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA";
        assert_eq!(labels["projectcalico.org/hostname-hash"], hash);
        assert_eq!(labels["projectcalico.org/ip-version"], "4");
    }
}
