//! What the collector says of itself (`tortie controller`), by the annotation of its Lease. Where Calico's kube-controllers
//! collect there is no such Lease, and nothing is told.

use crate::store::Store;
use ::ipam::collect::{ANNOTATION, LEASE};
use datastore::Resource;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const LEASES: Resource = Resource {
    kind: "Lease",
    plural: "leases",
    group: "coordination.k8s.io",
    version: "v1",
    namespaced: true,
};

/// The collector's account in lines; none if there is no collector, or nobody may see its Lease.
pub async fn lines(store: &Store) -> Vec<String> {
    let leases = store.client.list_json(&LEASES, None).await.unwrap_or_default();
    let ours = leases["items"].as_array().into_iter().flatten();
    ours.filter(|lease| lease["metadata"]["name"] == LEASE)
        .flat_map(|lease| of_lease(lease, Timestamp::now()))
        .collect()
}

fn of_lease(lease: &Value, now: Timestamp) -> Vec<String> {
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let namespace = lease["metadata"]["namespace"].as_str().unwrap_or_default();
    let renewed = lease["spec"]["renewTime"].as_str().unwrap_or_default();
    let term = SignedDuration::from_secs(lease["spec"]["leaseDurationSeconds"].as_i64().unwrap_or(15));
    if renewed.parse::<Timestamp>().is_ok_and(|renewed| now.duration_since(renewed) > term) {
        return vec![format!(
            "No collector works: {holder} renewed the lease {namespace}/{LEASE} last at {renewed}. Start `tortie controller`."
        )];
    }
    let text = lease["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    let Ok(said) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let number = |field: &str| said[field].as_u64().unwrap_or(0);
    let list = |field: &str| {
        let texts = said[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| format!("  {text}")).collect::<Vec<_>>()
    };
    let mut lines = vec![format!(
        "The collector {holder} gave back {} addresses and removed {} handles, claims and blocks since it started.",
        number("released"),
        number("removed")
    )];
    lines.extend(list("latest"));
    let held = list("held");
    lines.push(format!("It holds back {}.", held.len() as u64 + number("more")));
    lines.extend(held);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_collector_tells_what_it_did_and_one_that_is_gone_is_missed() {
        let said =
            json!({"released": 2, "removed": 1, "latest": ["t gave back a"], "held": ["b: why"], "more": 3});
        let lease = json!({
            "metadata": {"name": LEASE, "namespace": "kube-system", "annotations": {ANNOTATION: said.to_string()}},
            "spec": {"holderIdentity": "h_1", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        let at =
            |second: &str| of_lease(&lease, format!("2026-01-01T00:00:{second}Z").parse().expect("a time"));
        assert_eq!(
            at("15"),
            [
                "The collector h_1 gave back 2 addresses and removed 1 handles, claims and blocks since it started.",
                "  t gave back a",
                "It holds back 4.",
                "  b: why",
            ]
        );
        let [gone] = &at("16")[..] else { panic!("one sentence") };
        assert!(
            gone.starts_with(
                "No collector works: h_1 renewed the lease kube-system/tortie-controller last at"
            )
        );
        assert_eq!(
            of_lease(&json!({"metadata": {"name": LEASE}}), Timestamp::UNIX_EPOCH),
            Vec::<String>::new()
        );
    }
}
