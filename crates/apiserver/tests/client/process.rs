//! A server as a process of its own, and writers that go on until it dies.

use super::Client;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// All maps that a server has, with their revisions.
pub async fn stored(client: &Client) -> BTreeMap<String, u64> {
    let list = client.get(MAPS).await.ok();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(|item| (name(item), revision(item))).collect()
}

/// The example `serve`, which lies beside the tests; killed when dropped.
pub struct Process {
    pub child: Child,
    pub client: Client,
}

impl Process {
    /// A server that answers.
    pub async fn start(data: &Path) -> Process {
        Process::start_with(data, &[], "").await.expect("the server comes up")
    }

    /// A server with these flags that dies at a place (`failpoint`), or at none; how it ended if it did before it answered.
    pub async fn start_with(data: &Path, flags: &[&str], place: &str) -> Result<Process, ExitStatus> {
        let tests = std::env::current_exe().unwrap();
        let program: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples/serve");
        let addr = free_port();
        let child = Command::new(program)
            .args(["--listen", &addr.to_string(), "--data"])
            .arg(data)
            .args(flags)
            .env(failpoint::VARIABLE, place)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Process { child, client: placeholder(addr) };
        for _ in 0..500 {
            if let (Ok(ca), Ok(token)) = (
                std::fs::read_to_string(data.join("ca.crt")),
                std::fs::read_to_string(data.join("tokens/admin")),
            ) {
                process.client = Client::new(addr, token.trim(), &ca);
                if process.client.connect().await.is_ok() {
                    return Ok(process);
                }
            }
            if let Some(status) = process.child.try_wait().unwrap() {
                return Err(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server did not come up in 10 s");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, which it does within 20 s.
    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..1_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server still runs after 20 s");
    }

    /// Eight writers at once, whose objects have names of this round.
    pub fn load(&self, round: usize) -> Writers {
        let acknowledged = Acknowledged::default();
        let writer =
            |n| tokio::spawn(write_until_dead(self.client.clone(), round * 8 + n, acknowledged.clone()));
        Writers { tasks: (0..8).map(writer).collect(), acknowledged }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was acknowledged, with its revision.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Tasks that write until the server is gone.
pub struct Writers {
    tasks: Vec<JoinHandle<()>>,
    acknowledged: Acknowledged,
}

impl Writers {
    /// What is acknowledged by now.
    pub fn so_far(&self) -> BTreeMap<String, u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits for so many acknowledged objects.
    pub async fn until(&self, number: usize) {
        while self.acknowledged.lock().unwrap().len() < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What was acknowledged before the server died.
pub async fn acknowledged_by(writers: Writers) -> BTreeMap<String, u64> {
    for task in writers.tasks {
        task.await.unwrap();
    }
    Arc::into_inner(writers.acknowledged).expect("all tasks have ended").into_inner().unwrap()
}

/// New objects of changing size, and every third time a change of the first.
async fn write_until_dead(client: Client, writer: usize, acknowledged: Acknowledged) {
    let Ok(mut connection) = client.connect().await else { return };
    for n in 0_usize.. {
        let name = format!("w{writer}-{}", if n % 3 == 2 { 0 } else { n });
        let data = json!({"v": "x".repeat(n * 97 % 3_000)});
        let body = json!({"metadata": {"name": name}, "data": data}).to_string();
        let (method, path) = match n % 3 {
            2 => (Method::PUT, format!("{MAPS}/{name}")),
            _ => (Method::POST, MAPS.to_owned()),
        };
        match connection.call(method, &path, &[], body.as_bytes()).await {
            Ok(reply) => acknowledged.lock().unwrap().insert(name, revision(&reply.ok())),
            Err(_) => return,
        };
    }
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client that trusts an authority of its own, until the server has made its.
fn placeholder(addr: SocketAddr) -> Client {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    Client::new(addr, "", &certificate.pem())
}
