//! What must survive: kill -9 in the middle of writes, a full disk, a damaged file, a second server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use apiserver::{Config, Server};
use client::{Client, Cluster, MERGE, closed_dir};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// A server as a process of its own, killed when dropped.
struct Process {
    child: Child,
    client: Client,
}

impl Process {
    /// Starts the example `serve`, which lies beside the tests.
    async fn start(data: &Path) -> Process {
        let tests = std::env::current_exe().unwrap();
        let program: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples/serve");
        let addr: SocketAddr = free_port();
        let child = Command::new(program)
            .args(["--listen", &addr.to_string(), "--data"])
            .arg(data)
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
                    return process;
                }
            }
            assert!(process.child.try_wait().unwrap().is_none(), "the server ended at once");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server did not come up in 10 s");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// Writes one object after the other until the server is gone; gives what was acknowledged, with its revision.
async fn write_until_killed(client: Client, writer: usize, count: Arc<AtomicUsize>) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    let Ok(mut connection) = client.connect().await else { return acknowledged };
    for n in 0.. {
        let name = format!("w{writer}-{n}");
        let body = json!({"metadata": {"name": name}, "data": {"v": "x".repeat(300)}}).to_string();
        match connection.call(Method::POST, MAPS, &[], body.as_bytes()).await {
            Ok(reply) => {
                acknowledged.insert(name, revision(&reply.ok()));
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test]
async fn kill_9_in_the_middle_of_writes_loses_no_acknowledged_one() {
    let dir = closed_dir();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let mut highest = 0;
    for round in 0..5 {
        let mut server = Process::start(dir.path()).await;
        let now = revision(&server.client.get(MAPS).await.ok());
        assert!(now >= highest, "revisions never fall: {now} after {highest}");
        let mut events = server.client.watch(&format!("{MAPS}?watch=1&resourceVersion={now}")).await;
        let watched = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                seen.push(revision(&event["object"]));
            }
            seen
        });
        let count = Arc::new(AtomicUsize::new(0));
        let writer =
            |n| tokio::spawn(write_until_killed(server.client.clone(), round * 8 + n, count.clone()));
        let writers: Vec<_> = (0..8).map(writer).collect();
        while count.load(Ordering::Relaxed) < 20 + 13 * round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        let seen = watched.await.unwrap();
        highest = acknowledged.values().chain(&seen).copied().max().unwrap_or(0).max(now);

        let server = Process::start(dir.path()).await;
        let list = server.client.get(MAPS).await.ok();
        let stored: BTreeMap<String, u64> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), revision(item)))
            .collect();
        for (name, revision) in &acknowledged {
            assert_eq!(stored.get(name), Some(revision), "{name} was acknowledged in round {round}");
        }
        for revision in &seen {
            assert!(
                stored.values().any(|stored| stored == revision),
                "a watch showed {revision}, which is not there"
            );
        }
    }
}

/// The log of a server as far as it is written: behind it are the zeros that it was laid out with. Frames are of one size.
fn written(data: &Path) -> Vec<u8> {
    const FRAME: usize = 24 + 4096;
    let mut log = std::fs::read(data.join("store.db-wal")).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    log.truncate(32 + end.saturating_sub(32).div_ceil(FRAME) * FRAME);
    log
}

/// The files of a server as a power cut leaves them: all that was synced when an answer came, and of what was written
/// since as much as reached the disk, or what stood there before.
fn cut(data: &Path, synced: usize, luck: u64) -> tempfile::TempDir {
    let after = closed_dir();
    std::fs::copy(data.join("store.db"), after.path().join("store.db")).unwrap();
    let mut log = written(data);
    let lost = log.len() - synced;
    let kept = synced + lost * usize::try_from(luck % 11).unwrap() / 10;
    match luck % 3 {
        0 => log.truncate(kept),
        1 => log[kept..].fill(0),
        _ => log[synced..kept].fill(0xa5),
    }
    std::fs::write(after.path().join("store.db-wal"), log).unwrap();
    after
}

#[tokio::test]
async fn f21_a_power_cut_that_loses_unsynced_pages_loses_no_acknowledged_write() {
    let cluster = Cluster::start().await;
    let data = cluster.dir.path();
    let (mut acknowledged, mut cuts) = (BTreeMap::new(), Vec::new());
    for n in 0..60_u64 {
        let name = format!("m{}", n % 7);
        let object = json!({"metadata": {"name": name}, "data": {"v": "x".repeat(usize::try_from(n * 97 % 9_000).unwrap())}});
        let stored = match n / 7 {
            0 => cluster.admin.post(MAPS, &object).await.ok(),
            _ => cluster.admin.put(&format!("{MAPS}/{name}"), &object).await.ok(),
        };
        acknowledged.insert(name, revision(&stored));
        cuts.push((written(data).len(), acknowledged.clone(), revision(&stored)));
    }
    for (n, (synced, acknowledged, latest)) in cuts.into_iter().enumerate().step_by(3) {
        let after = cut(data, synced, u64::try_from(n).unwrap() * 7 + 1);
        let config = Config::new("127.0.0.1:0".parse().unwrap(), after.path());
        let server = Server::start(config).await.unwrap();
        let client = Client::new(server.addr, &server.admin_token, &server.ca);
        for (name, acknowledged) in acknowledged {
            let found = revision(&client.get(&format!("{MAPS}/{name}")).await.ok());
            assert!(found >= acknowledged, "cut {n}: {name} is at {found}, {acknowledged} was acknowledged");
        }
        let next = client.post(MAPS, &json!({"metadata": {"name": "next"}})).await.ok();
        assert!(revision(&next) > latest, "cut {n}: a revision that was told is not used again");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_watch_goes_on_where_it_stood_when_the_server_comes_back() {
    let dir = closed_dir();
    let mut server = Process::start(dir.path()).await;
    let from = revision(&server.client.get(MAPS).await.ok());
    for n in 0..3 {
        server.client.post(MAPS, &json!({"metadata": {"name": format!("m{n}")}})).await.ok();
    }
    server.kill();
    let server = Process::start(dir.path()).await;
    let mut events = server.client.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    for n in 0..3 {
        assert_eq!(events.told().await, ("ADDED".into(), format!("m{n}")));
    }
}

#[tokio::test]
async fn a_watch_from_before_the_history_is_gone() {
    let mut cluster = Cluster::with_history(50).await;
    let first = revision(&cluster.admin.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok());
    let mut connection = cluster.admin.connect().await.unwrap();
    for n in 0..300 {
        let body = json!({"data": {"v": n.to_string()}}).to_string();
        let patch = [("content-type", MERGE)];
        connection.call(Method::PATCH, &format!("{MAPS}/a"), &patch, body.as_bytes()).await.unwrap().ok();
    }
    // What memory still holds can be watched longer; a new process has the file alone.
    cluster.server.take().unwrap().stop().await;
    let server = start_when_free(cluster.dir.path()).await;
    let client = Client::new(server.addr, &server.admin_token, &server.ca);
    let mut events = client.watch(&format!("{MAPS}?watch=1&resourceVersion={first}")).await;
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None);
}

/// The last server's connections may still end.
async fn start_when_free(dir: &Path) -> Server {
    for _ in 0..100 {
        match Server::start(Config::new("127.0.0.1:0".parse().unwrap(), dir)).await {
            Ok(server) => return server,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the directory is still held after 5 s");
}

/// A file system of its own, of one and a half megabytes, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> SmallDisk {
        let dir = closed_dir();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1500k,mode=700", "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(status.unwrap().success(), "tests run as root and may mount");
        SmallDisk(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn f22_a_full_disk_refuses_writes_in_words_and_goes_on_reading() {
    let disk = SmallDisk::mount();
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![0; 500_000]).unwrap();
    let server = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), disk.0.path())).await.unwrap();
    let client = Client::new(server.addr, &server.admin_token, &server.ca);
    let mut stored = Vec::new();
    let refusal = loop {
        let name = format!("m{}", stored.len());
        let reply =
            client.post(MAPS, &json!({"metadata": {"name": name}, "data": {"v": "x".repeat(20_000)}})).await;
        match reply.code {
            201 => stored.push(name),
            _ => break reply,
        }
        assert!(stored.len() < 200, "the disk fills up");
    };
    assert_eq!(refusal.code, 507, "{}", refusal.body);
    assert!(refusal.failure().2.contains("the disk of the API server is full"), "{}", refusal.failure().2);
    let list = client.get(MAPS).await.ok();
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        stored.len(),
        "every acknowledged write is there, no other"
    );
    assert_eq!(client.get(&format!("{MAPS}/m0")).await.code, 200);
    std::fs::remove_file(filler).unwrap();
    let body = json!({"metadata": {"name": "later"}, "data": {"v": "x".repeat(20_000)}});
    assert_eq!(client.post(MAPS, &body).await.code, 201, "with space again, writing goes on");
}

#[tokio::test]
async fn f22_what_cannot_be_served_is_said_in_one_sentence() {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let words = |error: anyhow::Error| format!("{error:#}");

    let held = closed_dir();
    let first = Server::start(Config::new(listen, held.path())).await.unwrap();
    let error = words(Server::start(Config::new(listen, held.path())).await.err().unwrap());
    assert!(error.contains("is held by another API server"), "{error}");

    let other = closed_dir();
    let error = words(Server::start(Config::new(first.addr, other.path())).await.err().unwrap());
    assert!(error.contains("stop what uses the port, or choose another with --listen"), "{error}");

    let damaged = closed_dir();
    std::fs::write(
        damaged.path().join("store.db"),
        "this is no database, but longer than a header of one".repeat(99),
    )
    .unwrap();
    let error = words(Server::start(Config::new(listen, damaged.path())).await.err().unwrap());
    assert!(error.contains("store.db is damaged") && error.contains("move it away"), "{error}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = words(Server::start(Config::new(listen, file.path().join("x"))).await.err().unwrap());
    assert!(error.contains("cannot make the data directory"), "{error}");
}

#[tokio::test]
async fn s51_silent_clients_do_not_keep_a_good_one_waiting() {
    let cluster = Cluster::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(cluster.admin.addr).await.unwrap());
    }
    let began = std::time::Instant::now();
    cluster.admin.get(MAPS).await.ok();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    // After its handshake's deadline each is closed.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut byte = [0];
    let mut one = silent.pop().unwrap();
    let end =
        tokio::time::timeout(Duration::from_secs(1), tokio::io::AsyncReadExt::read(&mut one, &mut byte))
            .await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}
