//! The datastore as the deciding crates see it: events that come in, requests that go out, answers.
//!
//! One home for the words that `ipam`, `node`, `datastore` and the simulator's FakeApi share.

use crate::k8s::{Condition, EndpointSlice, Namespace, Node, Pod, Secret, Service};
use crate::meta::Metadata;
use crate::v3::{
    BgpConfiguration, BgpFilter, BgpPeer, BlockAffinity, CalicoNodeStatus, ClusterInformation,
    FelixConfiguration, IpPool, IpReservation, IpamBlock, IpamConfiguration, IpamHandle,
};
use std::collections::BTreeMap;

/// The kinds that the agent reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    BgpConfiguration,
    BgpFilter,
    BgpPeer,
    BlockAffinity,
    CalicoNodeStatus,
    ClusterInformation,
    EndpointSlice,
    FelixConfiguration,
    IpPool,
    IpReservation,
    IpamBlock,
    IpamConfiguration,
    IpamHandle,
    Namespace,
    Node,
    Pod,
    /// Read by name; never watched.
    Secret,
    Service,
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    /// `None` for cluster-wide kinds.
    pub namespace: Option<String>,
    pub name: String,
}

/// One object of any of the kinds. The large ones, of which there are few, stand behind a box.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    BgpConfiguration(Box<BgpConfiguration>),
    BgpFilter(BgpFilter),
    BgpPeer(Box<BgpPeer>),
    BlockAffinity(BlockAffinity),
    CalicoNodeStatus(Box<CalicoNodeStatus>),
    ClusterInformation(ClusterInformation),
    EndpointSlice(EndpointSlice),
    FelixConfiguration(FelixConfiguration),
    IpPool(IpPool),
    IpReservation(IpReservation),
    IpamBlock(IpamBlock),
    IpamConfiguration(IpamConfiguration),
    IpamHandle(IpamHandle),
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Secret(Secret),
    Service(Box<Service>),
}

/// What a watch says.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a `Put`; a box would cost an allocation each"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The whole kind, anew: what is not in it does not exist. The first one makes the kind in sync.
    Listed(Kind, Vec<Object>),
    /// Added or changed.
    Put(Object),
    /// Deleted.
    Gone(Key),
    /// The watch fails and is being retried; what is known stays in force.
    Failed { kind: Kind, error: String },
}

/// What the agent may ask of the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A consistent read.
    Get(Key),
    /// Fails with `AlreadyExists` if it does.
    Create(Object),
    /// Compare-and-swap on `metadata.resourceVersion`, which must be set.
    Update(Object),
    /// With preconditions: fails with `Conflict` unless both are still the object's.
    Delete { key: Key, uid: String, resource_version: String },
    /// Merge patch of annotations (`None` removes one) through the `status` subresource of a Node or Pod.
    Annotate { key: Key, annotations: BTreeMap<String, Option<String>> },
    /// Compare-and-swap of the `status` of a CalicoNodeStatus, through the subresource.
    Status(Object),
    /// Sets one condition of a Node, by its type, through the `status` subresource; `turned`: its status was another before, so
    /// that `lastTransitionTime` is now.
    Condition { key: Key, condition: Condition, turned: bool },
}

/// The answer: the object as it is stored now, `None` after a deletion.
pub type Reply = Result<Option<Object>, Error>;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else wrote first: read again, decide again.
    #[error("update conflict: the object was changed meanwhile")]
    Conflict,
    #[error("resource already exists")]
    AlreadyExists,
    #[error("resource does not exist")]
    NotFound,
    /// The answer did not come: the write may or may not have happened. Read before deciding again.
    #[error("no answer from the API server: {0}")]
    Unknown(String),
    /// The server said no, and would say so again.
    #[error("the API server refused: {0}")]
    Refused(String),
}

macro_rules! objects {
    ($($kind:ident),+ $(,)?; boxed $($boxed:ident),+ $(,)?) => {
        impl Object {
            /// The object's kind.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$kind(_) => Kind::$kind,)+ $(Object::$boxed(_) => Kind::$boxed),+ }
            }

            /// The object's metadata.
            pub fn metadata(&self) -> &Metadata {
                match self { $(Object::$kind(o) => &o.metadata,)+ $(Object::$boxed(o) => &o.metadata),+ }
            }

            /// The object's metadata, to be changed.
            pub fn metadata_mut(&mut self) -> &mut Metadata {
                match self { $(Object::$kind(o) => &mut o.metadata,)+ $(Object::$boxed(o) => &mut o.metadata),+ }
            }
        }
        $(impl From<$kind> for Object {
            fn from(o: $kind) -> Object { Object::$kind(o) }
        })+
        $(impl From<$boxed> for Object {
            fn from(o: $boxed) -> Object { Object::$boxed(Box::new(o)) }
        })+
    };
}
objects!(
    BgpFilter,
    BlockAffinity,
    ClusterInformation,
    EndpointSlice,
    FelixConfiguration,
    IpPool,
    IpReservation,
    IpamBlock,
    IpamConfiguration,
    IpamHandle,
    Namespace,
    Node,
    Pod,
    Secret;
    boxed BgpConfiguration,
    BgpPeer,
    CalicoNodeStatus,
    Service,
);

impl Object {
    /// The object's key.
    pub fn key(&self) -> Key {
        let meta = self.metadata();
        Key { kind: self.kind(), namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}

impl Event {
    /// The kind that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Event::Listed(kind, _) | Event::Failed { kind, .. } => *kind,
            Event::Put(object) => object.kind(),
            Event::Gone(key) => key.kind,
        }
    }
}

impl Key {
    /// The key of a cluster-wide object.
    pub fn cluster(kind: Kind, name: impl Into<String>) -> Key {
        Key { kind, namespace: None, name: name.into() }
    }

    /// The key of an object in a namespace.
    pub fn namespaced(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key { kind, namespace: Some(namespace.into()), name: name.into() }
    }
}
