//! The report of `ipam check`: every allocation and every handle without addresses; and `ipam release` of what reports call
//! leaked.
//!
//! What several reports agree on is leaked with more certainty than what one says: an address may be between its assignment
//! and its use for a moment.

use super::release::{Released, release as release_address};
use crate::failure::{Failure, Fault};
use crate::lock;
use crate::session::Session;
use crate::store::Store;
use crate::version::CLIENT;
use ::ipam::block::Release;
use datastore::{Preconditions, Resource};
use failpoint::failpoint;
use model::names;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A report, in the form in which Calico writes it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    #[serde(rename = "clusterGUID")]
    pub cluster_guid: String,
    #[serde(rename = "datastoreLocked")]
    pub datastore_locked: bool,
    /// The version of the ClusterInformation that was read: locking and unlocking change it.
    #[serde(rename = "clusterInformationRevision")]
    pub cluster_information_revision: String,
    #[serde(rename = "clusterType")]
    pub cluster_type: String,
    pub allocations: BTreeMap<IpAddr, Vec<Allocation>>,
    /// Handles of which no block knows an address.
    #[serde(rename = "leakedHandles", default, deserialize_with = "list")]
    pub leaked_handles: Vec<LeakedHandle>,
}

/// An address that a block records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allocation {
    pub ip: String,
    pub handle: String,
    pub sequence_number: Option<u64>,
    pub pod: String,
    pub namespace: String,
    pub node: String,
    #[serde(rename = "type")]
    pub allocation_type: String,
    pub creation_timestamp: String,
    pub in_use: bool,
    pub borrowed: bool,
    pub owners: Option<Vec<String>>,
}

/// A handle without addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeakedHandle {
    pub id: String,
    /// The version at which it was read.
    pub revision: String,
    #[serde(default)]
    pub uid: Option<String>,
}

impl Default for Allocation {
    /// Nothing that could be released.
    fn default() -> Allocation {
        Allocation {
            ip: String::new(),
            handle: String::new(),
            sequence_number: None,
            pod: String::new(),
            namespace: String::new(),
            node: String::new(),
            allocation_type: String::new(),
            creation_timestamp: String::new(),
            in_use: true,
            borrowed: false,
            owners: None,
        }
    }
}

/// Go writes an empty list as null.
fn list<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<LeakedHandle>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Frees what all reports call leaked.
pub async fn release(session: &mut Session<'_>, paths: &[PathBuf], force: bool) -> Result<(), Failure> {
    let store = session.store().await?;
    let cluster = lock::read(&store).await?;
    let mut reports = Vec::new();
    for path in paths {
        reports.push(read(session, path, &cluster, force)?);
    }
    let revision = cluster["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if reports.iter().all(|report| report.cluster_information_revision != revision) {
        return Err(Failure::new(
            "the provided reports are all stale - at least one should be up-to-date. Please generate a new report while the data store is locked and try again",
        ));
    }
    if !lock::is_locked(&cluster) {
        if !force {
            return Err(Failure::new(
                "data store is not locked. Either lock the data store, or re-run with --force",
            ));
        }
        session.print("WARNING: Data store is not locked. Ignoring due to --force option\n")?;
    }
    let (addresses, handles) = common(&reports);
    release_addresses(session, &store, &addresses).await?;
    release_handles(session, &store, &handles).await?;
    session.print("You may now unlock the data store.\n")
}

/// Reads a report and asks whether it is about this cluster, and of this program.
fn read(session: &mut Session<'_>, path: &Path, cluster: &Value, force: bool) -> Result<Report, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(format!("open {name}: {}", crate::document::reason(&e))))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| Failure::new(format!("{name} is not a report of `ipam check -o`: {e}")))?;
    if cluster["spec"]["clusterGUID"].as_str() != Some(&report.cluster_guid) {
        return Err(Failure::new(format!(
            "cluster does not match the provided report ({name}): mismatched cluster GUID. Refusing to release"
        )));
    }
    if report.version != CLIENT {
        if !force {
            return Err(Failure::new(format!(
                "the provided report ({name}) was produced using a different version ({}) of calicoctl. Refusing to release",
                report.version
            )));
        }
        let warning = "WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option\n";
        session.print(warning)?;
    }
    Ok(report)
}

/// What every report calls leaked, and none describes otherwise than another.
fn common(reports: &[Report]) -> (Vec<Release>, Vec<LeakedHandle>) {
    let leaked = |report: &Report| -> Vec<(IpAddr, Allocation)> {
        let all = report.allocations.iter().flat_map(|(addr, all)| all.iter().map(|a| (*addr, a.clone())));
        all.filter(|(_, allocation)| !allocation.in_use).collect()
    };
    let same = |a: &(IpAddr, Allocation), b: &(IpAddr, Allocation)| {
        a.0 == b.0 && a.1.handle == b.1.handle && a.1.sequence_number == b.1.sequence_number
    };
    let [first, others @ ..] = reports else { return (Vec::new(), Vec::new()) };
    let mut addresses = leaked(first);
    let mut handles = first.leaked_handles.clone();
    for other in others {
        let leaked = leaked(other);
        addresses.retain(|a| leaked.iter().any(|b| same(a, b)));
        handles.retain(|handle| other.leaked_handles.contains(handle));
    }
    let release = |(addr, allocation): (IpAddr, Allocation)| Release {
        addr,
        handle: Some(allocation.handle).filter(|handle| !handle.is_empty()),
        sequence: allocation.sequence_number,
    };
    (addresses.into_iter().map(release).collect(), handles)
}

async fn release_addresses(
    session: &mut Session<'_>,
    store: &Store,
    addresses: &[Release],
) -> Result<(), Failure> {
    if addresses.is_empty() {
        return session.print("Report didn't contain any leaked IPs to clean up.\n");
    }
    session.print(&format!("Releasing {} old IPs...\n", addresses.len()))?;
    let (mut freed, mut gone) = (0, 0);
    for wanted in addresses {
        let released = release_address(store, wanted).await?;
        failpoint!("report: address released");
        match released {
            Released::Freed => freed += 1,
            Released::NotAssigned => gone += 1,
            Released::Reassigned => session.print(&format!(
                "{} has another owner than when the report was made, and was left alone.\n",
                wanted.addr
            ))?,
        }
    }
    session.print(&format!("Released {freed} IPs successfully\n"))?;
    if gone > 0 {
        session.print(&format!(
            "{gone} addresses marked as leaked in the report had already been cleaned up.\n"
        ))?;
    }
    Ok(())
}

async fn release_handles(
    session: &mut Session<'_>,
    store: &Store,
    handles: &[LeakedHandle],
) -> Result<(), Failure> {
    if handles.is_empty() {
        return session.print("Report didn't contain any handles to clean up.\n");
    }
    session.print(&format!(
        "Deleting {} handles...\nKey: '.' = Deleted OK; 'x' = skip, handle missing/changed.\n",
        handles.len()
    ))?;
    let resource = Resource::of_kind("IPAMHandle").expect("the kind is in the table");
    let (mut marks, mut failures) = (String::new(), String::new());
    for handle in handles {
        let only = Preconditions { uid: handle.uid.clone(), resource_version: Some(handle.revision.clone()) };
        let name = names::handle(&handle.id);
        let deleted = store.client.delete_json(resource, None, &name, &only).await;
        failpoint!("report: handle removed");
        match deleted {
            Ok(_) => marks.push('.'),
            Err(e) if e.is_not_found() || e.is_conflict() => marks.push('x'),
            Err(e) => {
                let fault = Fault::of(&format!("IPAMHandle({name})"), e);
                failures += &format!("Deleting handle {} failed: {fault}.\n", handle.id);
            }
        }
    }
    let count = |mark| marks.matches(mark).count();
    session.print(&format!(
        "{marks}\n{failures}Released {} handles; {} skipped; {} errors.\n",
        count('.'),
        count('x'),
        handles.len() - marks.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(allocations: Value, handles: Value) -> Report {
        serde_json::from_value(json!({
            "version": CLIENT, "clusterGUID": "g", "datastoreLocked": true, "clusterInformationRevision": "7",
            "clusterType": "k8s", "allocations": allocations, "leakedHandles": handles,
        }))
        .expect("a report")
    }

    #[test]
    fn only_what_all_reports_agree_on_is_leaked() {
        let of = |sequence: u64, in_use: bool| json!([{"ip": "10.0.0.1", "handle": "h", "sequenceNumber": sequence, "inUse": in_use}]);
        let leaked = |reports: &[Report]| common(reports).0.len();
        let one = || report(json!({"10.0.0.1": of(1, false)}), Value::Null);
        assert_eq!(leaked(&[one()]), 1);
        assert_eq!(leaked(&[one(), one()]), 1);
        assert_eq!(leaked(&[one(), report(json!({"10.0.0.1": of(2, false)}), json!([]))]), 0);
        assert_eq!(leaked(&[one(), report(json!({"10.0.0.1": of(1, true)}), json!([]))]), 0);
        assert_eq!(leaked(&[one(), report(json!({}), json!([]))]), 0);
    }

    #[test]
    fn a_handle_that_changed_between_reports_is_not_leaked() {
        let of = |revision: &str| report(json!({}), json!([{"id": "h", "revision": revision}]));
        assert_eq!(common(&[of("1"), of("1")]).1.len(), 1);
        assert_eq!(common(&[of("1"), of("2")]).1.len(), 0);
    }
}
