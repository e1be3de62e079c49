//! WorkloadEndpoint: a pod's interface. Never stored: made from the Pod (`crate::k8s::pod`).

use crate::Cidr;
use crate::meta::Resource;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A pod's interface.
pub type WorkloadEndpoint = Resource<WorkloadEndpointSpec>;

/// Fields of a WorkloadEndpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEndpointSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_networks: Vec<Cidr>,
    #[serde(rename = "ipNATs", skip_serializing_if = "Vec::is_empty")]
    pub ip_nats: Vec<IpNat>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv4_gateway: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv6_gateway: String,
    pub profiles: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<Cidr>,
}

/// A floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpNat {
    #[serde(rename = "internalIP")]
    pub internal_ip: IpAddr,
    #[serde(rename = "externalIP")]
    pub external_ip: IpAddr,
}

/// A port of a pod that has a name or a host port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub port: u16,
    /// 0: none.
    pub host_port: u16,
    #[serde(rename = "hostIP")]
    pub host_ip: String,
}
