//! What must survive: kill -9 in the middle of writes, a full disk, a damaged file, a second server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use apiserver::{Config, Server};
use client::process::{MAPS, Process, acknowledged_by, revision, stored};
use client::{Client, Cluster, MERGE, closed_dir};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
            let mut seen = BTreeMap::new();
            while let Some(event) = events.next().await {
                let name = event["object"]["metadata"]["name"].as_str().unwrap().to_owned();
                seen.insert(name, revision(&event["object"]));
            }
            seen
        });
        let writers = server.load(round);
        writers.until(20 + 13 * round).await;
        server.kill();
        acknowledged.extend(acknowledged_by(writers).await);
        let seen = watched.await.unwrap();
        highest = acknowledged.values().chain(seen.values()).copied().max().unwrap_or(0).max(now);

        let server = Process::start(dir.path()).await;
        let stored = stored(&server.client).await;
        for (said, known) in [("was acknowledged", &acknowledged), ("was shown to a watch", &seen)] {
            for (name, revision) in known {
                let found = stored.get(name).copied().unwrap_or(0);
                assert!(found >= *revision, "round {round}: {name} is at {found}, {revision} {said}");
            }
        }
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
async fn f22_a_full_disk_refuses_writes_in_words_and_reads_and_watches_go_on() {
    let disk = SmallDisk::mount();
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![0; 500_000]).unwrap();
    let server = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), disk.0.path())).await.unwrap();
    let client = Client::new(server.addr, &server.admin_token, &server.ca);
    let watch_from = async |list: &Value| {
        client.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(list))).await
    };
    let mut watch = watch_from(&client.get(MAPS).await.ok()).await;
    let mut stored = Vec::new();
    let refusal = loop {
        let name = format!("m{}", stored.len());
        let reply =
            client.post(MAPS, &json!({"metadata": {"name": name}, "data": {"v": "x".repeat(20_000)}})).await;
        if reply.code != 201 {
            break reply;
        }
        assert_eq!(watch.told().await, ("ADDED".to_owned(), name.clone()));
        stored.push(name);
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
    let begun_meanwhile = watch_from(&list).await;
    std::fs::remove_file(filler).unwrap();
    let body = json!({"metadata": {"name": "later"}, "data": {"v": "x".repeat(20_000)}});
    assert_eq!(client.post(MAPS, &body).await.code, 201, "with space again, writing goes on");
    for mut watch in [watch, begun_meanwhile] {
        let told = watch.told().await;
        assert_eq!(
            told,
            ("ADDED".to_owned(), "later".to_owned()),
            "it goes on, and has heard of no refused write"
        );
    }
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

/// Starts a server on what is left of a file; the sentence with which it refuses.
async fn start_on(data: &Path, file: &str, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(data.join(file), bytes).unwrap();
    let start = async || {
        let server = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), data)).await;
        server.map_err(|error| format!("{error:#}"))
    };
    let mut server = start().await;
    // The last server's connections may still end.
    while server.as_ref().err().is_some_and(|said| said.contains("is held by another")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        server = start().await;
    }
    let server = server?;
    let admin = Client::new(server.addr, &server.admin_token, &server.ca);
    assert_eq!(admin.get(MAPS).await.code, 200, "{file}: what it hands out opens its door");
    let node = admin.with_token(&server.node_token("n1").unwrap());
    assert_eq!(node.get(MAPS).await.code, 200, "{file}");
    if file.starts_with("tokens") && bytes.len() < 64 {
        let cut = String::from_utf8_lossy(bytes).into_owned();
        let mut raw = admin.with_token("x").raw().await.unwrap();
        let head = format!(
            "GET {MAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {cut}\r\nconnection: close\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut raw, head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut raw, &mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 401"), "{file}: a token that was cut to {cut:?} opens nothing");
    }
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn f07_a_file_of_the_data_directory_that_is_cut_or_flipped_is_made_anew_or_named() {
    let dir = closed_dir();
    let server = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), dir.path())).await.unwrap();
    server.node_token("n1").unwrap();
    server.stop().await;
    drop(start_when_free(dir.path()).await);
    // At every length and bit at night.
    let step = if std::env::var_os("TORTIE_EVERY_CUT").is_some() { 1 } else { 37 };
    for file in ["ca.crt", "ca.key", "tokens/admin", "tokens/node-n1"] {
        let whole = std::fs::read(dir.path().join(file)).unwrap();
        let cuts = (0..whole.len()).step_by(step).map(|length| whole[..length].to_vec());
        let flips = (0..whole.len() * 8).step_by(step * 13).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips) {
            if let Err(said) = start_on(dir.path(), file, &bytes).await {
                assert!(said.contains(file) && said.contains("damaged"), "{file}: {said}");
            }
            // What was made anew is not what stands there next.
            std::fs::write(dir.path().join(file), &whole).unwrap();
        }
    }
    let whole = std::fs::read(dir.path().join("store.db")).unwrap();
    for length in (1..whole.len()).step_by(whole.len() / 9) {
        let other = closed_dir();
        if let Err(said) = start_on(other.path(), "store.db", &whole[..length]).await {
            assert!(said.contains("store.db is damaged"), "{length}: {said}");
        }
    }
}
