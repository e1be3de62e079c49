//! Names that Calico derives from other names: of interfaces, blocks, affinities, handles and endpoints.

use crate::{Cidr, IfName, Mac};
use sha1::{Digest, Sha1};

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
}
