//! Pods in `kubectl get`: the summary of a pod's state in one word, as `printPod` makes it.

use super::{AGE, Head, NAME, age, column, name, or_none, since, wide};
use crate::json::text;
use serde_json::{Value, json};

pub const HEADS: &[Head] = &[
    NAME,
    column("Ready"),
    column("Status"),
    column("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// A pod's row.
pub fn cells(pod: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let status = &pod["status"];
    let containers = list(&pod["spec"]["containers"]);
    let statuses = list(&status["containerStatuses"]);
    let ready = statuses.iter().filter(|s| s["ready"] == true && s["state"].get("running").is_some()).count();
    let ip = match list(&status["podIPs"]).first() {
        Some(first) => text(first, &["ip"]),
        None => text(status, &["podIP"]),
    };
    vec![
        name(pod),
        json!(format!("{ready}/{}", containers.len())),
        json!(summary(pod)),
        json!(restarts(statuses, now)),
        age(pod, now),
        or_none(ip),
        or_none(text(pod, &["spec", "nodeName"])),
        or_none(text(status, &["nominatedNodeName"])),
        json!(gates(pod)),
    ]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The phase, or what says more: why the pod waits, how its init containers fare, that it is terminating.
fn summary(pod: &Value) -> String {
    let status = &pod["status"];
    let reason = text(status, &["reason"]);
    let mut summary = if reason.is_empty() { text(status, &["phase"]) } else { reason }.to_owned();
    match init(pod) {
        Some(state) => summary = state,
        None => {
            let mut running = false;
            for container in list(&status["containerStatuses"]).iter().rev() {
                match state(container) {
                    Some(why) => summary = why,
                    None => {
                        running |= container["ready"] == true && container["state"].get("running").is_some()
                    }
                }
            }
            if summary == "Completed" && running {
                let ready =
                    list(&status["conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
                summary = if ready { "Running" } else { "NotReady" }.to_owned();
            }
        }
    }
    if pod["metadata"].get("deletionTimestamp").is_some_and(|time| !time.is_null()) {
        summary = match reason {
            "NodeLost" => "Unknown",
            _ if matches!(text(status, &["phase"]), "Succeeded" | "Failed") => return summary,
            _ => "Terminating",
        }
        .to_owned();
    }
    summary
}

/// Why a container does not run.
fn state(container: &Value) -> Option<String> {
    let waiting = text(container, &["state", "waiting", "reason"]);
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    ended(&container["state"]["terminated"], "")
}

fn ended(terminated: &Value, prefix: &str) -> Option<String> {
    if terminated.is_null() {
        return None;
    }
    let reason = text(terminated, &["reason"]);
    Some(match (reason, terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("{prefix}ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    })
}

/// The first init container that has not done its work.
fn init(pod: &Value) -> Option<String> {
    let all = list(&pod["spec"]["initContainers"]).len();
    for (at, container) in list(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        let terminated = &container["state"]["terminated"];
        if terminated["exitCode"] == 0 {
            continue;
        }
        if let Some(why) = ended(terminated, "Init:") {
            return Some(why);
        }
        let waiting = text(container, &["state", "waiting", "reason"]);
        return Some(match waiting {
            "" | "PodInitializing" => format!("Init:{at}/{all}"),
            reason => format!("Init:{reason}"),
        });
    }
    None
}

/// How often containers were started again, and when last.
fn restarts(statuses: &[Value], now: jiff::Timestamp) -> String {
    let count: u64 = statuses.iter().filter_map(|s| s["restartCount"].as_u64()).sum();
    let last = statuses
        .iter()
        .map(|s| text(s, &["lastState", "terminated", "finishedAt"]))
        .max()
        .unwrap_or_default();
    if count == 0 || last.is_empty() {
        count.to_string()
    } else {
        format!("{count} ({} ago)", since(last, now))
    }
}

fn gates(pod: &Value) -> String {
    let gates = list(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = |gate: &&Value| {
        list(&pod["status"]["conditions"])
            .iter()
            .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_state_is_summed_up_in_a_word() {
        let waiting = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let running = json!({"ready": true, "state": {"running": {}}});
        let done = json!({"state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let killed = json!({"state": {"terminated": {"signal": 9, "exitCode": 137}}});
        for (pod, expected) in [
            (json!({"status": {"phase": "Pending"}}), "Pending"),
            (json!({"status": {"phase": "Pending", "containerStatuses": [waiting]}}), "ContainerCreating"),
            (json!({"status": {"phase": "Running", "containerStatuses": [running]}}), "Running"),
            (json!({"status": {"phase": "Failed", "reason": "Evicted"}}), "Evicted"),
            (json!({"status": {"phase": "Succeeded", "containerStatuses": [done]}}), "Completed"),
            (json!({"status": {"phase": "Running", "containerStatuses": [killed]}}), "Signal:9"),
            (json!({"status": {"phase": "Running", "containerStatuses": [done, running]}}), "NotReady"),
            (json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}}), "Terminating"),
            (
                json!({"spec": {"initContainers": [{}, {}]}, "status": {"phase": "Pending", "initContainerStatuses":
                    [done, {"state": {"running": {}}}]}}),
                "Init:1/2",
            ),
        ] {
            assert_eq!(summary(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn a_pods_row_is_the_articles() {
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let pod = json!({"metadata": {"name": "ping-test-a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "master1", "containers": [{}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "6.2.137.66"}],
                "containerStatuses": [{"ready": true, "restartCount": 0, "state": {"running": {}}}]}});
        let expected =
            ["ping-test-a", "1/1", "Running", "0", "60m", "6.2.137.66", "master1", "<none>", "<none>"];
        assert_eq!(cells(&pod, now), expected);
    }
}
