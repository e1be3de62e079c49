//! Health and metrics of the agent: what probes and Prometheus are answered.

use crate::http::{self, OK, UNAVAILABLE};
use crate::inbox::Message;
use crate::server::status;
use node::socket::NodeStatus;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the core may take to say its status.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which paths are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// `/liveness` and `/readiness`.
    Health,
    /// `/metrics`.
    Metrics,
}

impl Site {
    fn flag(self) -> &'static str {
        match self {
            Site::Health => "--health",
            Site::Metrics => "--metrics",
        }
    }

    fn has(self, path: &str) -> bool {
        match self {
            Site::Health => matches!(path, "/liveness" | "/readiness"),
            Site::Metrics => path == "/metrics",
        }
    }
}

/// Serves one site for ever.
pub(crate) async fn serve(site: Site, addr: SocketAddr, inbox: mpsc::Sender<Message>) {
    http::serve(addr, site.flag(), move |path: String| {
        let inbox = inbox.clone();
        async move {
            if !site.has(&path) {
                return None;
            }
            let said = tokio::time::timeout(PATIENCE, status(&inbox)).await.ok().flatten();
            Some(answer(&path, said))
        }
    })
    .await;
}

fn answer(path: &str, status: Option<NodeStatus>) -> (&'static str, String) {
    match (path, status) {
        (_, None) => (UNAVAILABLE, format!("the agent's core does not answer within {PATIENCE:?}\n")),
        ("/metrics", Some(status)) => (OK, metrics(&status)),
        ("/readiness", Some(status)) if !status.ready => (UNAVAILABLE, why_not_ready(&status)),
        (_, Some(_)) => (OK, "ok\n".to_owned()),
    }
}

fn why_not_ready(status: &NodeStatus) -> String {
    let mut reasons = status.problems.clone();
    if !status.waiting_for.is_empty() {
        reasons.push(format!("waiting for {}", status.waiting_for.join(", ")));
    }
    if reasons.is_empty() {
        reasons.push("the data path was not programmed yet".to_owned());
    }
    format!("node {} is not ready: {}\n", status.node, reasons.join("; "))
}

/// Prometheus' text form. Names are Felix's where the meaning is the same.
fn metrics(status: &NodeStatus) -> String {
    let mut rows = vec![
        (
            "felix_active_local_endpoints",
            "gauge",
            "Pods of this node that have a network.",
            status.endpoints as u64,
        ),
        ("tortie_ready", "gauge", "1 once the data path was programmed.", u64::from(status.ready)),
        ("tortie_remote_blocks", "gauge", "Blocks of other nodes.", status.paths.len() as u64),
        (
            "tortie_problems",
            "gauge",
            "Objects that are wanted and not there, or in the way.",
            status.problems.len() as u64,
        ),
        (
            "tortie_repairs_total",
            "counter",
            "Objects put back after somebody else changed them.",
            status.repairs_total,
        ),
    ];
    rows.extend(
        resident_bytes()
            .map(|bytes| ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", bytes)),
    );
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("a text takes all");
    }
    text
}

/// `VmRSS` of `/proc/self/status` (proc_pid_status(5)), in bytes.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let status = NodeStatus {
            node: "n1".into(),
            waiting_for: vec!["IpPool".into()],
            problems: vec!["the kernel refuses x".into()],
            ..NodeStatus::default()
        };
        let (line, text) = answer("/readiness", Some(status.clone()));
        assert_eq!(line, "503 Service Unavailable");
        assert_eq!(text, "node n1 is not ready: the kernel refuses x; waiting for IpPool\n");
        assert_eq!(answer("/liveness", Some(status)).0, "200 OK");
        assert_eq!(answer("/liveness", None).0, "503 Service Unavailable");
    }

    #[test]
    fn metrics_are_in_prometheus_form() {
        let text = metrics(&NodeStatus { endpoints: 3, ready: true, ..NodeStatus::default() });
        assert!(
            text.contains("# TYPE felix_active_local_endpoints gauge\nfelix_active_local_endpoints 3\n"),
            "{text}"
        );
        assert!(text.contains("\ntortie_ready 1\n"), "{text}");
    }
}
