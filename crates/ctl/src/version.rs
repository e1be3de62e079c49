//! `version`: which Calico this program speaks, which one the cluster says it is, and whether they fit.

use crate::cli::VersionArgs;
use crate::failure::{Failure, Fault};
use crate::kind::Kind;
use crate::session::Session;
use crate::store::Store;
use serde_json::Value;

/// The Calico whose resources and words this program speaks, and its own version behind the dash, which no comparison sees.
pub const CLIENT: &str = concat!("v3.32.1-tortie-", env!("CARGO_PKG_VERSION"));
const COMMIT: &str = match option_env!("TORTIE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Prints the versions.
pub async fn run(session: &mut Session<'_>, args: &VersionArgs) -> Result<(), Failure> {
    session.print(&format!("Client Version:    {CLIENT}\nGit commit:        {COMMIT}\n"))?;
    if args.client {
        return Ok(());
    }
    let failed = |why: String| Failure::new(format!("unable to retrieve Cluster Version or Type: {why}"));
    let store = session.store_of_any_version().await.map_err(|e| failed(e.text))?;
    let cluster = cluster(&store).await.map_err(|e| failed(e.to_string()))?;
    let field = |name: &str| match cluster["spec"][name].as_str() {
        None | Some("") => "unknown".to_owned(),
        Some(text) => text.to_owned(),
    };
    session.print(&format!(
        "Cluster Version:   {}\nCluster Type:      {}\n",
        field("calicoVersion"),
        field("clusterType")
    ))
}

/// Fails if the cluster says that it is of another version. A cluster that says nothing fits.
pub async fn check(store: &Store) -> Result<(), Failure> {
    let cluster = match cluster(store).await {
        Ok(cluster) => cluster,
        Err(Fault::Api(e @ (datastore::Error::Unreachable { .. } | datastore::Error::Timeout { .. }))) => {
            return Err(e.into());
        }
        Err(_) => return Ok(()),
    };
    let version = stripped(cluster["spec"]["calicoVersion"].as_str().unwrap_or_default());
    if version.is_empty() || version == stripped(CLIENT) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "version mismatch.\nClient Version:   {CLIENT}\nCluster Version:  {version}\nUse --allow-version-mismatch to override"
    )))
}

async fn cluster(store: &Store) -> Result<Value, Fault> {
    let kind = Kind::of_document("ClusterInformation").expect("the kind is in the table");
    store.get(kind, None, "default").await
}

/// Without `v` before and everything behind the first dash.
fn stripped(version: &str) -> &str {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split('-').next().unwrap_or_default()
}
