//! Pod: what Kubernetes says of a workload, and the WorkloadEndpoint made from it.

use crate::mac::MacError;
use crate::{Cidr, IfAddr, Mac, Metadata, names, v3};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The annotations by which a pod asks for its network, and in which its addresses are written.
pub mod pod_annotation {
    pub const IP_ADDRS: &str = "cni.projectcalico.org/ipAddrs";
    pub const IP_ADDRS_NO_IPAM: &str = "cni.projectcalico.org/ipAddrsNoIpam";
    /// Of a pod, or of its namespace.
    pub const IPV4_POOLS: &str = "cni.projectcalico.org/ipv4pools";
    /// Of a pod, or of its namespace.
    pub const IP_FAMILIES: &str = "cni.projectcalico.org/ipFamilies";
    pub const FLOATING_IPS: &str = "cni.projectcalico.org/floatingIPs";
    pub const POD_IP: &str = "cni.projectcalico.org/podIP";
    pub const POD_IPS: &str = "cni.projectcalico.org/podIPs";
    pub const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";
    pub const HW_ADDR: &str = "cni.projectcalico.org/hwAddr";
}

/// A Kubernetes Pod, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// Fields of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
}

/// A container, of which only the ports matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub protocol: String,
    pub container_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// Status of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
}

/// One address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    pub ip: String,
}

impl Pod {
    /// Whether the pod has lost its addresses for good, though the object is still there: it ran to its end, or it is being
    /// deleted and its network is gone (DEL empties the annotation).
    pub fn is_finished(&self) -> bool {
        let released = self.metadata.annotations.get(pod_annotation::POD_IP).is_some_and(String::is_empty);
        matches!(self.status.phase.as_str(), "Failed" | "Succeeded" | "Completed")
            || self.metadata.deletion_timestamp.is_some() && released
    }

    /// The pod's addresses: as kubelet says them, else as the CNI plugin wrote them. What does not parse is left out.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let annotation = |key| self.metadata.annotations.get(key).map_or("", String::as_str);
        let status: Vec<&str> = self.status.pod_ips.iter().map(|ip| ip.ip.as_str()).collect();
        let sources = [
            status,
            vec![self.status.pod_ip.as_str()],
            annotation(pod_annotation::POD_IPS).split(',').collect(),
            vec![annotation(pod_annotation::POD_IP)],
        ];
        let told = sources.into_iter().find(|texts| texts.iter().any(|text| !text.is_empty()));
        let parse = |text: &str| text.trim().parse().ok().map(IfAddr::addr);
        told.unwrap_or_default().into_iter().filter_map(parse).collect()
    }

    /// Whether anybody says that the pod has this address: kubelet, or the CNI plugin, which may be ahead of it.
    pub fn shows(&self, addr: IpAddr) -> bool {
        let annotations = [pod_annotation::POD_IPS, pod_annotation::POD_IP];
        let annotated = annotations.iter().filter_map(|key| self.metadata.annotations.get(*key));
        let mut told =
            annotated.flat_map(|text| text.split(',')).filter_map(|text| text.trim().parse::<IfAddr>().ok());
        self.addresses().contains(&addr) || told.any(|told| told.addr() == addr)
    }

    /// The pod's interface as Calico shows it; `None` for a pod of the host's network or without a node.
    pub fn endpoint(&self) -> Option<v3::WorkloadEndpoint> {
        let node = self.spec.node_name.as_deref().filter(|node| !node.is_empty())?;
        if self.spec.host_network {
            return None;
        }
        let pod = self.metadata.name.as_str();
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let account = self.spec.service_account_name.clone().unwrap_or_default();
        let addresses = if self.is_finished() { Vec::new() } else { self.addresses() };
        let ip_nats = self.floating(&addresses);
        let spec = v3::WorkloadEndpointSpec {
            orchestrator: "k8s".to_owned(),
            node: node.to_owned(),
            container_id: self
                .metadata
                .annotations
                .get(pod_annotation::CONTAINER_ID)
                .cloned()
                .unwrap_or_default(),
            pod: pod.to_owned(),
            endpoint: "eth0".to_owned(),
            ip_networks: addresses.into_iter().map(Cidr::host).collect(),
            ip_nats,
            profiles: profiles(namespace, &account),
            interface_name: names::host_interface(namespace, pod).to_string(),
            ports: self.spec.containers.iter().chain(&self.spec.init_containers).flat_map(ports).collect(),
            service_account_name: account,
            ..v3::WorkloadEndpointSpec::default()
        };
        Some(v3::WorkloadEndpoint { metadata: self.endpoint_metadata(node), spec })
    }

    /// The floating addresses that the pod asks for, each with the pod's own of its family. What does not parse is left out.
    fn floating(&self, own: &[IpAddr]) -> Vec<v3::IpNat> {
        let asked = list(&self.metadata, pod_annotation::FLOATING_IPS).ok().flatten().unwrap_or_default();
        let asked = asked.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let pair = |external_ip: IpAddr| {
            let internal_ip = *own.iter().find(|addr| addr.is_ipv4() == external_ip.is_ipv4())?;
            Some(v3::IpNat { internal_ip, external_ip })
        };
        asked.filter_map(pair).collect()
    }

    /// The labels by which selectors know the pod's WorkloadEndpoint.
    pub fn endpoint_labels(&self) -> BTreeMap<String, String> {
        let pod = &self.metadata;
        let namespace = pod.namespace.clone().unwrap_or_default();
        let mut labels = pod.labels.clone();
        // Policies see labels of namespaces and service accounts under these prefixes: no pod may fake them.
        labels.retain(|key, _| !key.starts_with("pcns.") && !key.starts_with("pcsa."));
        labels.insert("projectcalico.org/namespace".to_owned(), namespace);
        labels.insert("projectcalico.org/orchestrator".to_owned(), "k8s".to_owned());
        // A longer name is no valid label value.
        if let Some(account) = &self.spec.service_account_name
            && (1..63).contains(&account.len())
        {
            labels.insert("projectcalico.org/serviceaccount".to_owned(), account.clone());
        }
        labels
    }

    fn endpoint_metadata(&self, node: &str) -> Metadata {
        let pod = &self.metadata;
        let kept = |key: &str| pod.rest.get(key).map(|value| (key.to_owned(), value.clone()));
        Metadata {
            name: names::EndpointName::of_pod(node, &pod.name).to_string(),
            namespace: pod.namespace.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            creation_timestamp: pod.creation_timestamp.clone(),
            labels: self.endpoint_labels(),
            rest: kept("generateName").into_iter().collect(),
            ..Metadata::default()
        }
    }

    /// The addresses that the annotation `key` asks for (`ipAddrs` or `ipAddrsNoIpam`: a JSON array of at most one address
    /// a family); none if it is absent.
    pub fn requested_addresses(&self, key: &str) -> Result<Vec<IpAddr>, AnnotationError> {
        let Some(texts) = list(&self.metadata, key)? else { return Ok(Vec::new()) };
        if texts.is_empty() {
            return Err(AnnotationError::Empty { key: key.to_owned() });
        }
        let parse = |text: String| text.parse().map_err(|_| AnnotationError::Address(text));
        let addresses = texts.into_iter().map(parse).collect::<Result<Vec<IpAddr>, _>>()?;
        for (family, is_family) in
            [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)]
        {
            if addresses.iter().filter(|addr| is_family(addr)).count() > 1 {
                return Err(AnnotationError::TooMany { family, key: key.to_owned() });
            }
        }
        Ok(addresses)
    }

    /// The MAC that the pod asks for on its `eth0`.
    pub fn requested_mac(&self) -> Result<Option<Mac>, AnnotationError> {
        let text = self.metadata.annotations.get(pod_annotation::HW_ADDR);
        text.map(|text| text.parse()).transpose().map_err(AnnotationError::Mac)
    }
}

/// The pools that a pod or a namespace asks for (`ipv4pools`: a JSON array of CIDRs or names); none if it does not ask.
pub fn requested_pools(metadata: &Metadata) -> Result<Vec<String>, AnnotationError> {
    list(metadata, pod_annotation::IPV4_POOLS).map(Option::unwrap_or_default)
}

/// Refuses what a pod or its namespace asks for and cannot have here: a family other than IPv4, floating addresses, an
/// address that no pool stands for. Calico refuses the latter two where its configuration does not switch them on.
pub fn refuse_unsupported(metadata: &Metadata) -> Result<(), AnnotationError> {
    let has = |key| metadata.annotations.contains_key(key);
    if has(pod_annotation::IP_ADDRS) && has(pod_annotation::IP_ADDRS_NO_IPAM) {
        return Err(AnnotationError::Both);
    }
    for (key, feature) in [
        (pod_annotation::IP_ADDRS_NO_IPAM, "ip_addrs_no_ipam"),
        (pod_annotation::FLOATING_IPS, "floating_ips"),
    ] {
        if has(key) {
            return Err(AnnotationError::Disabled { feature, key });
        }
    }
    let families = list(metadata, pod_annotation::IP_FAMILIES)?.unwrap_or_default();
    match families.into_iter().find(|family| family != "IPv4") {
        Some(family) => Err(AnnotationError::Family(family)),
        None => Ok(()),
    }
}

fn list(metadata: &Metadata, key: &str) -> Result<Option<Vec<String>>, AnnotationError> {
    let Some(text) = metadata.annotations.get(key) else { return Ok(None) };
    let failed = |e: serde_json::Error| AnnotationError::Json { text: text.clone(), error: e.to_string() };
    serde_json::from_str(text).map(Some).map_err(failed)
}

/// An annotation of a pod does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    #[error("failed to parse '{text}' as JSON: {error}")]
    Json { text: String, error: String },
    #[error("annotation \"{key}\" specified but empty")]
    Empty { key: String },
    #[error("invalid IP format: {0}")]
    Address(String),
    #[error("cannot have more than one {family} address for \"{key}\" annotation")]
    TooMany { family: &'static str, key: String },
    #[error("annotation \"{key}\": {0}", key = pod_annotation::HW_ADDR)]
    Mac(MacError),
    #[error("can't have both annotations: 'ipAddrs' and 'ipAddrsNoIpam' in use at the same time")]
    Both,
    #[error("requested feature is not enabled: {feature}; take the annotation \"{key}\" off")]
    Disabled { feature: &'static str, key: &'static str },
    #[error("annotation \"{key}\" asks for {0}: pods get IPv4 addresses", key = pod_annotation::IP_FAMILIES)]
    Family(String),
}

/// Namespaces and service accounts are profiles in Calico.
fn profiles(namespace: &str, account: &str) -> Vec<String> {
    let mut profiles = vec![format!("kns.{namespace}")];
    if !account.is_empty() {
        profiles.push(format!("ksa.{namespace}.{account}"));
    }
    profiles
}

/// The ports that policies or the host can refer to.
fn ports(container: &Container) -> impl Iterator<Item = v3::EndpointPort> {
    container.ports.iter().filter_map(|port| {
        let host_port = port.host_port.unwrap_or_default();
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let known = matches!(protocol, "TCP" | "UDP" | "SCTP");
        let referred = !port.name.is_empty() || host_port != 0;
        (known && referred && port.container_port != 0).then(|| v3::EndpointPort {
            name: port.name.clone(),
            protocol: protocol.to_owned(),
            port: port.container_port,
            host_port,
            host_ip: port.host_ip.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let mut metadata = Metadata::named("hw-pod");
        metadata.namespace = Some("default".to_owned());
        let spec = PodSpec {
            node_name: Some("node1".to_owned()),
            service_account_name: Some("default".to_owned()),
            ..PodSpec::default()
        };
        Pod { metadata, spec, status: PodStatus::default() }
    }

    fn annotate(mut pod: Pod, key: &str, value: &str) -> Pod {
        pod.metadata.annotations.insert(key.to_owned(), value.to_owned());
        pod
    }

    fn networks(pod: &Pod) -> Vec<String> {
        pod.endpoint().expect("an endpoint").spec.ip_networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn kubelets_word_on_addresses_goes_before_the_plugins() {
        let mut pod = annotate(pod(), pod_annotation::POD_IP, "10.0.0.1/32");
        assert_eq!(networks(&pod), ["10.0.0.1/32"]);
        pod = annotate(pod, pod_annotation::POD_IPS, "10.0.0.2/32,fd00::2/128");
        assert_eq!(networks(&pod), ["10.0.0.2/32", "fd00::2/128"]);
        pod.status.pod_ip = "10.0.0.3".to_owned();
        assert_eq!(networks(&pod), ["10.0.0.3/32"]);
        pod.status.pod_ips = vec![PodIp { ip: "10.0.0.4".to_owned() }, PodIp { ip: "fd00::4".to_owned() }];
        assert_eq!(networks(&pod), ["10.0.0.4/32", "fd00::4/128"]);
    }

    #[test]
    fn a_finished_pod_has_an_endpoint_without_addresses() {
        let mut done = pod();
        done.status.pod_ip = "10.0.0.3".to_owned();
        let mut deleted = annotate(done.clone(), pod_annotation::POD_IP, "");
        assert!(!deleted.is_finished());
        deleted.metadata.deletion_timestamp = Some("2026-11-25T00:00:00Z".to_owned());
        done.status.phase = "Succeeded".to_owned();
        assert!(networks(&done).is_empty());
        assert!(networks(&deleted).is_empty());
    }

    #[test]
    fn a_pod_without_a_node_or_on_the_hosts_network_has_no_endpoint() {
        let mut host = pod();
        host.spec.host_network = true;
        let mut pending = pod();
        pending.spec.node_name = None;
        assert_eq!((host.endpoint(), pending.endpoint()), (None, None));
    }

    #[test]
    fn a_pod_cannot_fake_the_labels_of_its_namespace() {
        let mut pod = pod();
        for key in ["pcns.env", "pcsa.role", "projectcalico.org/namespace", "app"] {
            pod.metadata.labels.insert(key.to_owned(), "mine".to_owned());
        }
        let labels = pod.endpoint().expect("an endpoint").metadata.labels;
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            labels,
            [
                "app=mine",
                "projectcalico.org/namespace=default",
                "projectcalico.org/orchestrator=k8s",
                "projectcalico.org/serviceaccount=default"
            ]
        );
    }

    #[test]
    fn requested_addresses_are_at_most_one_of_a_family() {
        let key = pod_annotation::IP_ADDRS;
        let ask = |value: &str| {
            annotate(pod(), key, value).requested_addresses(key).map_err(|error| error.to_string())
        };
        assert_eq!(pod().requested_addresses(key), Ok(vec![]));
        assert_eq!(ask(r#"["10.0.0.1","fd00::1"]"#).map(|a| a.len()), Ok(2));
        for (value, error) in [
            (
                r#"["10.0.0.1","10.0.0.2"]"#,
                "cannot have more than one IPv4 address for \"cni.projectcalico.org/ipAddrs\" annotation",
            ),
            ("[]", "annotation \"cni.projectcalico.org/ipAddrs\" specified but empty"),
            (r#"["10.0.0"]"#, "invalid IP format: 10.0.0"),
        ] {
            assert_eq!(ask(value), Err(error.to_owned()));
        }
        assert!(ask("10.0.0.1").is_err());
    }

    #[test]
    fn pools_are_asked_for_by_cidr_or_name() {
        let ask = |value: &str| requested_pools(&annotate(pod(), pod_annotation::IPV4_POOLS, value).metadata);
        assert_eq!(ask(r#"["a","10.0.0.0/24"]"#), Ok(vec!["a".to_owned(), "10.0.0.0/24".to_owned()]));
        assert_eq!(requested_pools(&pod().metadata), Ok(vec![]));
        assert!(ask("a").is_err_and(|error| error.to_string().starts_with("failed to parse 'a' as JSON")));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_annotation() {
        let refused = |key: &str, value: &str| {
            refuse_unsupported(&annotate(pod(), key, value).metadata).map_err(|error| error.to_string())
        };
        assert_eq!(refused(pod_annotation::IP_FAMILIES, r#"["IPv4"]"#), Ok(()));
        for (key, value, error) in [
            (pod_annotation::IP_FAMILIES, r#"["IPv4","IPv6"]"#, "asks for IPv6: pods get IPv4 addresses"),
            (
                pod_annotation::FLOATING_IPS,
                r#"["10.0.0.1"]"#,
                "requested feature is not enabled: floating_ips",
            ),
            (pod_annotation::IP_ADDRS_NO_IPAM, "[]", "requested feature is not enabled: ip_addrs_no_ipam"),
        ] {
            assert!(refused(key, value).is_err_and(|text| text.contains(error)), "{key}");
        }
    }
}
