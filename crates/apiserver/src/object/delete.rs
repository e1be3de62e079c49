//! Deletion: at once, after a pod's grace period, or when the last finalizer is gone.

use super::{Next, grow_generation, remove, timestamp};
use crate::json;
use crate::kinds::Kind;
use crate::status::Status;
use serde_json::{Value, json};

/// What a DELETE asks.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    /// What becomes of the objects that this one owns: nothing here, since nobody collects them.
    pub propagation_policy: Option<String>,
    pub preconditions: Preconditions,
    pub dry_run: Vec<String>,
    /// Delete an object that cannot be read, and only such a one: nobody is asked, not even its finalizers.
    #[serde(rename = "ignoreStoreReadErrorWithClusterBreakingPotential")]
    pub ignore_store_read_error: bool,
}

impl DeleteOptions {
    /// Whether it is a rehearsal.
    pub fn is_dry(&self) -> bool {
        self.dry_run.iter().any(|stage| stage == "All")
    }
}

/// What must still hold when the object is deleted.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What becomes of `object` when it is deleted at `now`.
pub fn delete(
    kind: &Kind,
    object: &Value,
    options: &DeleteOptions,
    now: jiff::Timestamp,
) -> Result<Next, Status> {
    check(kind, object, &options.preconditions)?;
    let grace = grace(kind, object, options.grace_period_seconds);
    let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if grace == 0 && !finalizers && kind.resource != "namespaces" {
        return Ok(Next::Remove(object.clone()));
    }
    // A second deletion may shorten the time, never lengthen it.
    if is_marked(object) && before.is_none_or(|before| before <= grace) {
        return Ok(Next::Same);
    }
    let mut marked = object.clone();
    if !is_marked(object) && kind.has_generation() {
        grow_generation(&mut marked);
    }
    let metadata = &mut marked["metadata"];
    metadata["deletionTimestamp"] = json!(timestamp(later(now, grace)));
    metadata["deletionGracePeriodSeconds"] = json!(grace);
    if kind.resource == "namespaces" {
        remove(metadata, "deletionGracePeriodSeconds");
        marked["status"]["phase"] = json!("Terminating");
    }
    Ok(Next::Put(marked))
}

/// Seconds that the object has after its deletion. Only a pod on a node needs any: its kubelet ends it.
fn grace(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    let phase = json::text(object, &["status", "phase"]);
    let unscheduled = json::text(object, &["spec", "nodeName"]).is_empty();
    if kind.resource != "pods" || unscheduled || phase == "Failed" || phase == "Succeeded" {
        return 0;
    }
    // A negative period is the shortest one that still waits, as in Kubernetes.
    match asked.or(object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// The time in `seconds`; of more than calendars know, the last that they do.
fn later(now: jiff::Timestamp, seconds: i64) -> jiff::Timestamp {
    now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MAX)
}

/// Whether the object waits for its deletion.
pub fn is_marked(object: &Value) -> bool {
    !json::text(object, &["metadata", "deletionTimestamp"]).is_empty()
}

/// Whether nothing holds a marked object any more.
pub fn may_go(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let none = metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    none && grace == Some(0)
}

fn check(kind: &Kind, object: &Value, preconditions: &Preconditions) -> Result<(), Status> {
    let text = |field| json::text(object, &["metadata", field]);
    if let Some(uid) = &preconditions.uid
        && uid != text("uid")
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            text("uid")
        );
        return Err(Status::conflict(kind, text("name"), &why));
    }
    if let Some(version) = &preconditions.resource_version
        && version != text("resourceVersion")
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            text("resourceVersion")
        );
        return Err(Status::conflict(kind, text("name"), &why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::{birth, stored};
    use crate::object::{Part, update};

    fn now() -> jiff::Timestamp {
        "2026-01-01T00:01:00Z".parse().expect("a time")
    }

    fn pods() -> &'static Kind {
        Kind::core("pods")
    }

    fn pod(node: Option<&str>) -> Value {
        let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "x"}]});
        stored(pods(), "default", json!({"metadata": {"name": "a"}, "spec": spec}))
    }

    #[test]
    fn a_pod_on_a_node_is_marked_first_and_removed_when_its_kubelet_says_so() {
        let pod = pod(Some("n1"));
        let Next::Put(marked) = delete(pods(), &pod, &DeleteOptions::default(), now()).expect("ok") else {
            panic!()
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:01:30Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(delete(pods(), &marked, &DeleteOptions::default(), now()), Ok(Next::Same));
        let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
        assert!(matches!(delete(pods(), &marked, &shorter, now()), Ok(Next::Put(_))));
        let now_ = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        assert!(matches!(delete(pods(), &marked, &now_, now()), Ok(Next::Remove(_))));
        let unscheduled = self::pod(None);
        assert!(matches!(
            delete(pods(), &unscheduled, &DeleteOptions::default(), now()),
            Ok(Next::Remove(_))
        ));
    }

    #[test]
    fn finalizers_hold_an_object_until_the_last_is_gone() {
        let object = json!({"metadata": {"name": "c", "finalizers": ["a/b"]}});
        let held = stored(Kind::core("configmaps"), "default", object);
        let configmaps = Kind::core("configmaps");
        let Next::Put(marked) = delete(configmaps, &held, &DeleteOptions::default(), now()).expect("ok")
        else {
            panic!()
        };
        assert!(is_marked(&marked));
        let mut free = marked.clone();
        free["metadata"]["finalizers"] = json!([]);
        assert!(matches!(update(configmaps, Part::Main, &marked, free), Ok(Next::Remove(_))));
    }

    #[test]
    fn preconditions_must_hold() {
        let object = stored(Kind::core("configmaps"), "default", json!({"metadata": {"name": "c"}}));
        for (uid, version, holds) in [
            (None, Some("7"), true),
            (Some(birth().uid), None, true),
            (Some("x".into()), None, false),
            (None, Some("6"), false),
        ] {
            let preconditions = Preconditions { uid, resource_version: version.map(str::to_owned) };
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            let outcome = delete(Kind::core("configmaps"), &object, &options, now());
            assert_eq!(outcome.is_ok(), holds, "{options:?}");
            if let Err(error) = outcome {
                assert_eq!(error.code, 409);
            }
        }
    }
}
