//! Where each kind lives in the API: group, version, plural and scope. The one home of API paths.

use model::store::Kind;

/// A kind of object and its place in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// As in the `kind` field of its documents.
    pub kind: &'static str,
    /// Lower case, as in paths.
    pub plural: &'static str,
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub namespaced: bool,
}

const fn core(kind: &'static str, plural: &'static str, namespaced: bool) -> Resource {
    Resource { kind, plural, group: "", version: "v1", namespaced }
}

const fn in_group(group: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { kind, plural, group, version: "v1", namespaced: true }
}

const fn calico(kind: &'static str, plural: &'static str) -> Resource {
    Resource { kind, plural, group: "projectcalico.org", version: "v3", namespaced: false }
}

const fn calico_namespaced(kind: &'static str, plural: &'static str) -> Resource {
    Resource { namespaced: true, ..calico(kind, plural) }
}

/// Every kind that is stored.
pub const RESOURCES: &[Resource] = &[
    core("Namespace", "namespaces", false),
    core("Node", "nodes", false),
    core("Pod", "pods", true),
    core("Secret", "secrets", true),
    core("Service", "services", true),
    core("ServiceAccount", "serviceaccounts", true),
    in_group("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    calico("BGPConfiguration", "bgpconfigurations"),
    calico("BGPFilter", "bgpfilters"),
    calico("BGPPeer", "bgppeers"),
    calico("BlockAffinity", "blockaffinities"),
    calico("CalicoNodeStatus", "caliconodestatuses"),
    calico("ClusterInformation", "clusterinformations"),
    calico("FelixConfiguration", "felixconfigurations"),
    calico("GlobalNetworkPolicy", "globalnetworkpolicies"),
    calico("GlobalNetworkSet", "globalnetworksets"),
    calico("HostEndpoint", "hostendpoints"),
    calico("IPAMBlock", "ipamblocks"),
    calico("IPAMConfiguration", "ipamconfigurations"),
    calico("IPAMHandle", "ipamhandles"),
    calico("IPPool", "ippools"),
    calico("IPReservation", "ipreservations"),
    calico("KubeControllersConfiguration", "kubecontrollersconfigurations"),
    calico_namespaced("NetworkPolicy", "networkpolicies"),
    calico_namespaced("NetworkSet", "networksets"),
    calico("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies"),
    calico_namespaced("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies"),
    calico_namespaced("StagedNetworkPolicy", "stagednetworkpolicies"),
    calico("Tier", "tiers"),
];

impl Resource {
    /// The resource of a document's `kind`.
    pub fn of_kind(kind: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|resource| resource.kind == kind)
    }

    /// The resource of a kind that the agent uses.
    pub fn of(kind: Kind) -> &'static Resource {
        let name = match kind {
            Kind::BgpConfiguration => "BGPConfiguration",
            Kind::BgpFilter => "BGPFilter",
            Kind::BgpPeer => "BGPPeer",
            Kind::BlockAffinity => "BlockAffinity",
            Kind::CalicoNodeStatus => "CalicoNodeStatus",
            Kind::ClusterInformation => "ClusterInformation",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::FelixConfiguration => "FelixConfiguration",
            Kind::IpPool => "IPPool",
            Kind::IpReservation => "IPReservation",
            Kind::IpamBlock => "IPAMBlock",
            Kind::IpamConfiguration => "IPAMConfiguration",
            Kind::IpamHandle => "IPAMHandle",
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::Secret => "Secret",
            Kind::Service => "Service",
        };
        Resource::of_kind(name).expect("the table holds every kind of the agent")
    }

    /// `apiVersion` of its documents.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path of all objects: of one namespace, or of all if it is `None` or the kind has none.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", escape(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The path of one object.
    pub fn item(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), escape(name))
    }
}

/// Percent-encodes what may not stand in a path segment or query value (RFC 3986 §2.3).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_kubernetes_conventions() {
        let pods = Resource::of(Kind::Pod);
        assert_eq!(pods.collection(None), "/api/v1/pods");
        assert_eq!(pods.item(Some("default"), "a"), "/api/v1/namespaces/default/pods/a");
        let pools = Resource::of(Kind::IpPool);
        assert_eq!(pools.item(Some("ignored"), "p"), "/apis/projectcalico.org/v3/ippools/p");
        assert_eq!(pools.api_version(), "projectcalico.org/v3");
    }

    #[test]
    fn a_name_cannot_leave_its_path_segment() {
        assert_eq!(Resource::of(Kind::Node).item(None, "../x?y"), "/api/v1/nodes/..%2Fx%3Fy");
    }
}
