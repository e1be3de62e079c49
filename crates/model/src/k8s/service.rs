//! Service and EndpointSlice: the addresses of a service, and on which nodes somebody answers behind them.

use crate::Metadata;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::IpAddr;

/// A Kubernetes Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: ServiceSpec,
    #[serde(default)]
    pub status: ServiceStatus,
}

/// What is asked for. Addresses are texts: `None` stands where a service has none on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "clusterIP", skip_serializing_if = "String::is_empty")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<String>,
    /// `Local`: what comes from outside stays on the node that it came to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_traffic_policy: String,
}

/// What it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancerStatus,
}

/// What a load balancer gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Ingress>,
}

/// One place where a load balancer takes packets: an address or a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingress {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
}

impl Service {
    /// The addresses inside the cluster; none of a headless service.
    pub fn cluster_addrs(&self) -> impl Iterator<Item = IpAddr> {
        let first = Some(&self.spec.cluster_ip).filter(|_| self.spec.cluster_ips.is_empty());
        addrs(self.spec.cluster_ips.iter().chain(first))
    }

    /// The addresses that somebody else leads to the nodes.
    pub fn external_addrs(&self) -> impl Iterator<Item = IpAddr> {
        addrs(self.spec.external_ips.iter())
    }

    /// The addresses that a load balancer gave.
    pub fn load_balancer_addrs(&self) -> impl Iterator<Item = IpAddr> {
        addrs(self.status.load_balancer.ingress.iter().map(|ingress| &ingress.ip))
    }

    /// Whether packets from outside must come to a node with an endpoint.
    pub fn is_local(&self) -> bool {
        self.spec.external_traffic_policy == "Local"
    }
}

fn addrs<'a>(texts: impl Iterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.filter_map(|text| text.parse().ok())
}

/// Some of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointSlice {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub endpoints: Vec<SliceEndpoint>,
}

/// An endpoint: where it runs, and whether it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    pub conditions: EndpointConditions,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Absent: unknown, to be taken for ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
}

impl EndpointSlice {
    /// The name of the service, which is in the same namespace.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.get("kubernetes.io/service-name").map(String::as_str)
    }

    /// The nodes of the endpoints that answer; `None` for one that does not say where it runs.
    pub fn ready_on(&self) -> impl Iterator<Item = Option<&str>> {
        let ready = self.endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false));
        ready.map(|endpoint| endpoint.node_name.as_deref())
    }
}

/// The Go server writes `null` for an empty list.
fn null_is_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<SliceEndpoint>, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).expect("a service")
    }

    #[test]
    fn a_headless_service_has_no_address() {
        let none: [IpAddr; 0] = [];
        for spec in
            [json!({"clusterIP": "None", "clusterIPs": ["None"]}), json!({"clusterIP": ""}), json!({})]
        {
            assert!(service(spec).cluster_addrs().eq(none));
        }
    }

    #[test]
    fn a_service_of_both_families_has_an_address_of_each() {
        let both = service(json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}));
        assert_eq!(both.cluster_addrs().count(), 2);
        assert_eq!(service(json!({"clusterIP": "10.96.0.1"})).cluster_addrs().count(), 1);
    }

    #[test]
    fn endpoints_that_do_not_answer_are_nowhere() {
        let slice = |endpoints: Value| -> EndpointSlice {
            serde_json::from_value(json!({"metadata": {"name": "s-1"}, "endpoints": endpoints}))
                .expect("a slice")
        };
        assert_eq!(slice(Value::Null).ready_on().count(), 0);
        let slice = slice(json!([
            {"nodeName": "n1", "conditions": {"ready": true}}, {"nodeName": "n2", "conditions": {"ready": false}},
            {"nodeName": "n3"}, {"conditions": {"ready": true}}
        ]));
        assert!(slice.ready_on().eq([Some("n1"), Some("n3"), None]));
    }
}
