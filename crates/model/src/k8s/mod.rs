//! The parts of Kubernetes' own objects that we use, and Calico's resources made from them.

mod namespace;
mod node;
mod pod;
mod secret;
mod service;

pub use namespace::Namespace;
pub use node::{Condition, Node, NodeAddressStatus, NodeSpec, NodeStatus, annotation};
pub use pod::{
    AnnotationError, Container, ContainerPort, Pod, PodIp, PodSpec, PodStatus, pod_annotation,
    refuse_unsupported, requested_pools,
};
pub use secret::Secret;
pub use service::{
    EndpointConditions, EndpointSlice, Ingress, LoadBalancerStatus, Service, ServiceSpec, ServiceStatus,
    SliceEndpoint,
};
