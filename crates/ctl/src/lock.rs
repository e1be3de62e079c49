//! The datastore's lock: while ClusterInformation says that the datastore is not ready, no address is assigned, so that what
//! `ipam` finds stays so.

use crate::cli::{Datastore, Migrate};
use crate::failure::{Failure, Fault};
use crate::session::Session;
use crate::store::Store;
use datastore::Resource;
use failpoint::failpoint;
use serde_json::Value;

const OBJECT: &str = "ClusterInformation(default)";

/// `datastore migrate`.
pub async fn run(session: &mut Session<'_>, command: &Datastore) -> Result<(), Failure> {
    let Datastore::Migrate(migrate) = command;
    let (ready, said) = match migrate {
        Migrate::Lock => (false, "Datastore locked.\n"),
        Migrate::Unlock => (true, "Datastore unlocked.\n"),
        Migrate::Export(_) => {
            if !is_locked(&read(&session.store().await?).await?) {
                return Err(Failure::new(
                    "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin migration",
                ));
            }
            return Err(Failure::new(
                "invalid datastore type: kubernetes to export from for datastore migration. Datastore type must be etcdv3",
            ));
        }
        Migrate::Import(_) => {
            return Err(Failure::new(
                "resources of an etcd datastore are not imported: write what was exported with `apply`",
            ));
        }
    };
    let store = session.store().await?;
    let cluster = store.client.ensure_cluster_information().await;
    let mut cluster = cluster.map_err(|e| Fault::of(OBJECT, e))?;
    cluster["spec"]["datastoreReady"] = ready.into();
    let written = store.client.replace_json(resource(), None, "default", &cluster).await;
    failpoint!("lock: written");
    written.map_err(|e| Fault::of(OBJECT, e))?;
    session.print(said)
}

/// What the cluster says of itself.
pub async fn read(store: &Store) -> Result<Value, Fault> {
    store.client.get_json(resource(), None, "default").await.map_err(|e| Fault::of(OBJECT, e))
}

/// Whether a ClusterInformation says that the datastore is locked.
pub fn is_locked(cluster: &Value) -> bool {
    cluster["spec"]["datastoreReady"] == false
}

fn resource() -> &'static Resource {
    Resource::of_kind("ClusterInformation").expect("the kind is in the table")
}
