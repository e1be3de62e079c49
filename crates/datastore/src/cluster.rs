//! The cluster's own object: ClusterInformation `default`. Calico's kube-controllers and nodes make it when they start; here
//! it is made by whoever does the cluster's own work, or first needs it.

use crate::{Client, Error, Resource};
use serde_json::{Value, json};

impl Client {
    /// The ClusterInformation, which is made if there is none: the datastore is ready, and the cluster has a name that no
    /// other has.
    ///
    /// # Errors
    /// It can neither be read nor made.
    pub async fn ensure_cluster_information(&self) -> Result<Value, Error> {
        let resource = Resource::of_kind("ClusterInformation").expect("the kind is in the table");
        match self.get_json(resource, None, "default").await {
            Err(e) if e.is_not_found() => {}
            found => return found,
        }
        let new = json!({
            "apiVersion": resource.api_version(),
            "kind": resource.kind,
            "metadata": {"name": "default"},
            "spec": {
                "clusterGUID": uuid::Uuid::new_v4().simple().to_string(),
                "clusterType": "k8s,kdd",
                "datastoreReady": true,
            },
        });
        match self.create_json(resource, None, &new).await {
            // Somebody was faster.
            Err(e) if e.is_already_exists() => self.get_json(resource, None, "default").await,
            made => made,
        }
    }
}
