//! Objects between the wire and `model`: typed by kind, without what nobody reads.

use crate::Resource;
use model::store::{Kind, Object};
use model::{k8s, v3};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads an object of `kind`.
pub(crate) fn object(kind: Kind, json: &str) -> Result<Object, serde_json::Error> {
    fn read<T: DeserializeOwned + Into<Object>>(json: &str) -> Result<Object, serde_json::Error> {
        serde_json::from_str::<T>(json).map(Into::into)
    }
    let mut object = match kind {
        Kind::BgpConfiguration => read::<v3::BgpConfiguration>(json),
        Kind::BgpFilter => read::<v3::BgpFilter>(json),
        Kind::BgpPeer => read::<v3::BgpPeer>(json),
        Kind::BlockAffinity => read::<v3::BlockAffinity>(json),
        Kind::CalicoNodeStatus => read::<v3::CalicoNodeStatus>(json),
        Kind::ClusterInformation => read::<v3::ClusterInformation>(json),
        Kind::EndpointSlice => read::<k8s::EndpointSlice>(json),
        Kind::FelixConfiguration => read::<v3::FelixConfiguration>(json),
        Kind::IpPool => read::<v3::IpPool>(json),
        Kind::IpReservation => read::<v3::IpReservation>(json),
        Kind::IpamBlock => block(json),
        Kind::IpamConfiguration => read::<v3::IpamConfiguration>(json),
        Kind::IpamHandle => read::<v3::IpamHandle>(json),
        Kind::Namespace => read::<k8s::Namespace>(json),
        Kind::Node => read::<k8s::Node>(json),
        Kind::Pod => read::<k8s::Pod>(json),
        Kind::Secret => read::<k8s::Secret>(json),
        Kind::Service => read::<k8s::Service>(json),
    }?;
    slim(&mut object);
    Ok(object)
}

/// Reads a block. One under another range's name would be looked for in vain and written over by whoever owns that name.
fn block(json: &str) -> Result<Object, serde_json::Error> {
    let block: v3::IpamBlock = serde_json::from_str(json)?;
    if !block.is_named_for_its_range() {
        let why = format!("it holds {}, and its name is not that of it", block.spec.cidr);
        return Err(serde::de::Error::custom(why));
    }
    Ok(block.into())
}

/// Drops field ownership, which no client sends back, and of Kubernetes' own kinds, which are never written whole, every
/// part of the metadata that has no meaning here.
fn slim(object: &mut Object) {
    let kubernetes =
        [Kind::EndpointSlice, Kind::Namespace, Kind::Node, Kind::Pod, Kind::Secret, Kind::Service];
    let whole = !kubernetes.contains(&object.kind());
    let metadata = object.metadata_mut();
    metadata.rest.remove("managedFields");
    if !whole {
        metadata.rest.clear();
        metadata.annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The document of an object, with `apiVersion` and `kind`, as bytes for the wire.
pub(crate) fn document(object: &Object) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'o, T> {
        api_version: String,
        kind: &'static str,
        #[serde(flatten)]
        object: &'o T,
    }
    let resource = Resource::of(object.kind());
    fn write<T: Serialize>(resource: &Resource, object: &T) -> Vec<u8> {
        let document = Document { api_version: resource.api_version(), kind: resource.kind, object };
        serde_json::to_vec(&document).expect("resources have text keys only")
    }
    match object {
        Object::BgpConfiguration(o) => write(resource, o),
        Object::BgpFilter(o) => write(resource, o),
        Object::BgpPeer(o) => write(resource, o),
        Object::BlockAffinity(o) => write(resource, o),
        Object::CalicoNodeStatus(o) => write(resource, o),
        Object::ClusterInformation(o) => write(resource, o),
        Object::EndpointSlice(o) => write(resource, o),
        Object::FelixConfiguration(o) => write(resource, o),
        Object::IpPool(o) => write(resource, o),
        Object::IpReservation(o) => write(resource, o),
        Object::IpamBlock(o) => write(resource, o),
        Object::IpamConfiguration(o) => write(resource, o),
        Object::IpamHandle(o) => write(resource, o),
        Object::Namespace(o) => write(resource, o),
        Object::Node(o) => write(resource, o),
        Object::Pod(o) => write(resource, o),
        Object::Secret(o) => write(resource, o),
        Object::Service(o) => write(resource, o),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_metadata_keeps_only_what_is_read() {
        let pod = object(
            Kind::Pod,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","uid":"u","managedFields":[{}],
                "ownerReferences":[{}],"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","k":"v"}}}"#,
        )
        .expect("a pod");
        assert!(pod.metadata().rest.is_empty());
        assert_eq!(pod.metadata().annotations.len(), 1);
    }

    #[test]
    fn a_block_keeps_its_finalizers_through_a_read_and_a_write() {
        let text = r#"{"metadata":{"name":"10-0-0-0-26","finalizers":["x"],"managedFields":[]},"spec":
            {"cidr":"10.0.0.0/26","allocations":[],"unallocated":[],"attributes":[]}}"#;
        let document = document(&object(Kind::IpamBlock, text).expect("a block"));
        let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
        assert_eq!(document["metadata"]["finalizers"][0], "x");
        assert_eq!(document["metadata"].get("managedFields"), None);
        assert_eq!(
            (document["apiVersion"].as_str(), document["kind"].as_str()),
            (Some("projectcalico.org/v3"), Some("IPAMBlock"))
        );
    }

    #[test]
    fn a_block_under_another_ranges_name_is_none() {
        let text = r#"{"metadata":{"name":"10-0-0-64-26"},"spec":
            {"cidr":"10.0.0.0/26","allocations":[],"unallocated":[],"attributes":[]}}"#;
        let error = object(Kind::IpamBlock, text).expect_err("another's name");
        assert_eq!(error.to_string(), "it holds 10.0.0.0/26, and its name is not that of it");
        object(Kind::IpamBlock, &text.replace("10-0-0-64-26", "10-0-0-0-26")).expect("its own name");
    }
}
