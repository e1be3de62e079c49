//! Health and metrics: the two plain GETs that probes and Prometheus make. One request a connection.

use crate::core::Message;
use crate::server::status;
use node::socket::NodeStatus;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// How many requests are answered at once.
const CONNECTIONS: usize = 16;
/// The longest request.
const MAX_REQUEST: usize = 8 << 10;
/// How long a client, and the core, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long until a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Which paths are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// `/liveness` and `/readiness`.
    Health,
    /// `/metrics`.
    Metrics,
}

/// Serves for ever. A port that is taken is said once and tried again: the network is worth more than its metrics.
pub(crate) async fn serve(site: Site, addr: SocketAddr, inbox: mpsc::Sender<Message>) {
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    let flag = if site == Site::Health { "--health" } else { "--metrics" };
                    tracing::warn!("cannot listen on {addr}: {error}; choose another address with {flag}");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let inbox = inbox.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // Who does not wait for the answer is not told.
            let _ = tokio::time::timeout(2 * PATIENCE, converse(stream, site, inbox)).await;
        });
    }
}

async fn converse(mut stream: TcpStream, site: Site, inbox: mpsc::Sender<Message>) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (status, body) = match (method, site, path) {
        ("GET" | "HEAD", Site::Health, "/liveness" | "/readiness")
        | ("GET" | "HEAD", Site::Metrics, "/metrics") => {
            let said = tokio::time::timeout(PATIENCE, status(&inbox)).await.ok().flatten();
            answer(path, said)
        }
        ("GET" | "HEAD", ..) => ("404 Not Found", "not found\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await?;
        if n == 0 || head.len() + n > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&chunk[..n]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn answer(path: &str, status: Option<NodeStatus>) -> (&'static str, String) {
    const UNAVAILABLE: &str = "503 Service Unavailable";
    match (path, status) {
        (_, None) => (UNAVAILABLE, format!("the agent's core does not answer within {PATIENCE:?}\n")),
        ("/metrics", Some(status)) => ("200 OK", metrics(&status)),
        ("/readiness", Some(status)) if !status.ready => (UNAVAILABLE, why_not_ready(&status)),
        (_, Some(_)) => ("200 OK", "ok\n".to_owned()),
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
