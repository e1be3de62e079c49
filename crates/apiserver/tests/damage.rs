//! A disk that flips bits in the store: each flip is named, and hides, changes or ends nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use apiserver::{Config, Server};
use client::process::{MAPS, revision};
use client::{Client, MERGE, Reply, closed_dir};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// Of a great number of cases a day takes one in so many, a night takes more.
fn one_in(day: usize, night: usize) -> usize {
    if std::env::var_os("TORTIE_EVERY_CUT").is_some() { night } else { day }
}

async fn serve(data: &Path) -> Result<(Server, Client), String> {
    loop {
        match Server::start(Config::new("127.0.0.1:0".parse().unwrap(), data)).await {
            Ok(server) => {
                let client = Client::new(server.addr, &server.admin_token, &server.ca);
                return Ok((server, client));
            }
            // The last server's connections may still end.
            Err(error) if format!("{error:#}").contains("is held by another") => {
                tokio::task::yield_now().await
            }
            Err(error) => return Err(format!("{error:#}")),
        }
    }
}

/// A store with some objects and history, and its database file.
async fn filled() -> (TempDir, Vec<u8>) {
    let dir = closed_dir();
    let (server, client) = serve(dir.path()).await.unwrap();
    for name in ["a", "b", "c", "gone"] {
        let map = json!({"metadata": {"name": name, "labels": {"of": name}}, "data": {"v": format!("value-of-{name}")}});
        client.post(MAPS, &map).await.ok();
    }
    merge(&client, &format!("{MAPS}/c"), &json!({"data": {"v": "later-value-of-c"}})).await.ok();
    client.delete(&format!("{MAPS}/gone"), &json!({})).await.ok();
    server.stop().await;
    // Opened once more, so that all of the log is in the file.
    serve(dir.path()).await.unwrap().0.stop().await;
    let file = std::fs::read(dir.path().join("store.db")).unwrap();
    (dir, file)
}

fn write_flipped(dir: &TempDir, file: &[u8], bit: usize) {
    let mut flipped = file.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(dir.path().join("store.db"), flipped).unwrap();
    for log in ["store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(log));
    }
}

async fn merge(client: &Client, path: &str, patch: &Value) -> Reply {
    client.patch(path, MERGE, patch).await
}

/// Where in the file a text stands: also where SQLite has moved it from.
fn places(file: &[u8], text: &str) -> Vec<usize> {
    let found = file.windows(text.len()).enumerate().filter(|(_, at)| *at == text.as_bytes());
    found.map(|(at, _)| at).collect()
}

/// Changes a letter of the map `b`, which stays JSON.
fn damage_b(dir: &TempDir, file: &[u8]) {
    let mut flipped = file.to_vec();
    places(file, "value-of-b").into_iter().for_each(|at| flipped[at] ^= 1);
    std::fs::write(dir.path().join("store.db"), flipped).unwrap();
}

#[tokio::test]
async fn f07_a_bit_that_flips_in_an_object_is_an_error_of_that_object_alone() {
    let (dir, file) = filled().await;
    let end = *places(&file, "value-of-b").last().unwrap();
    let start = *places(&file[..end], "{\"apiVersion\"").last().unwrap();
    // Some of it parses as JSON afterwards, some does not.
    for bit in (start * 8..(end + 10) * 8).step_by(one_in(61, 1)) {
        write_flipped(&dir, &file, bit);
        let (server, client) = serve(dir.path()).await.unwrap();
        let now = revision(&client.get("/api/v1/nodes").await.ok());
        let mut live = client.watch(&format!("{MAPS}?watch=1&resourceVersion={now}")).await;
        let hit = client.get(&format!("{MAPS}/b")).await;
        is_named(hit.code, &hit.body, bit);
        let list = client.get(MAPS).await;
        is_named(list.code, &list.body, bit);
        for other in ["a", "c"] {
            let answer = client.get(&format!("{MAPS}/{other}")).await;
            assert_eq!(answer.ok()["metadata"]["name"], other, "bit {bit}");
        }
        client.get("/apis/projectcalico.org/v3/ippools").await.ok();
        let old = client.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await.next().await.unwrap();
        assert_eq!((&old["type"], &old["object"]["code"]), (&json!("ERROR"), &json!(410)), "bit {bit}");
        let refused = merge(&client, &format!("{MAPS}/b"), &json!({"data": {"v": "x"}})).await;
        is_named(refused.code, &refused.body, bit);
        merge(&client, &format!("{MAPS}/a"), &json!({"data": {"v": bit.to_string()}})).await.ok();
        assert_eq!(live.told().await, ("MODIFIED".into(), "a".into()), "bit {bit}: a watch goes on");
        server.stop().await;
    }
}

fn is_named(code: u16, body: &Value, bit: usize) {
    assert_eq!((code, &body["reason"]), (500, &json!("StorageReadError")), "bit {bit}: {body}");
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("damaged in the store: configmaps"), "bit {bit}: {message}");
}

#[tokio::test]
async fn f07_a_damaged_object_is_deleted_by_the_admin_alone_and_made_anew() {
    let (dir, file) = filled().await;
    damage_b(&dir, &file);
    let (server, client) = serve(dir.path()).await.unwrap();
    let now = revision(&client.get("/api/v1/nodes").await.ok());
    let mut live = client.watch(&format!("{MAPS}?watch=1&resourceVersion={now}&labelSelector=of=b")).await;
    let path = |name: &str| format!("{MAPS}/{name}?ignoreStoreReadErrorWithClusterBreakingPotential=true");
    assert_eq!(client.delete(&format!("{MAPS}/b"), &json!({})).await.code, 500, "not without the option");
    let whole = client.delete(&path("a"), &json!({})).await;
    assert_eq!(whole.code, 422, "{}", whole.body);
    assert_eq!(client.delete(&path("nobody"), &json!({})).await.code, 404);
    let node = client.with_token(&server.node_token("n1").unwrap());
    assert_eq!(node.delete(&path("b"), &json!({})).await.code, 403);
    client.delete(&path("b"), &json!({})).await.ok();
    let told = live.next().await.unwrap();
    assert_eq!(told["object"]["code"], 410, "who had it lists again: {told}");
    let list = client.get(MAPS).await.ok();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "c"]);
    client.post(MAPS, &json!({"metadata": {"name": "b"}})).await.ok();
    server.stop().await;
    // What history holds of it is damaged still: a watch from there lists again, too.
    let (server, client) = serve(dir.path()).await.unwrap();
    let old = client.watch(&format!("{MAPS}?watch=1&resourceVersion={now}")).await.next().await.unwrap();
    assert_eq!(old["object"]["code"], 410, "{old}");
    server.stop().await;
}

#[tokio::test]
async fn f07_a_bit_that_flips_anywhere_in_the_store_changes_no_answer_in_silence() {
    let (dir, file) = filled().await;
    let (server, client) = serve(dir.path()).await.unwrap();
    let paths: Vec<String> = ["a", "b", "c", "gone"]
        .iter()
        .map(|name| format!("{MAPS}/{name}"))
        .chain([MAPS.to_owned()])
        .collect();
    let mut truth = Vec::new();
    for path in &paths {
        truth.push(without_revision(client.get(path).await));
    }
    server.stop().await;
    let (mut refused, mut named) = (0, 0);
    for bit in (0..file.len() * 8).step_by(one_in(1_999, 97)) {
        write_flipped(&dir, &file, bit);
        let (server, client) = match serve(dir.path()).await {
            Ok(served) => served,
            Err(said) => {
                assert!(said.contains("store.db"), "bit {bit}: {said}");
                refused += 1;
                continue;
            }
        };
        for (path, truth) in paths.iter().zip(&truth) {
            let answer = without_revision(client.get(path).await);
            if answer.0 == 500 {
                named += 1;
            } else {
                assert_eq!(&answer, truth, "bit {bit}: {path}");
            }
        }
        server.stop().await;
    }
    println!("{} bytes: {refused} starts refused, {named} answers refused", file.len());
    assert!(refused > 0 && named > 0);
}

/// An answer but for the revision of a list, which grows when a server starts.
fn without_revision(reply: Reply) -> (u16, Value) {
    let mut body = reply.body;
    if body["items"].is_array() {
        body["metadata"] = json!({});
    }
    (reply.code, body)
}

#[tokio::test]
async fn a_write_beside_a_damaged_object_is_not_refused_with_it() {
    let (dir, file) = filled().await;
    damage_b(&dir, &file);
    let (server, client) = serve(dir.path()).await.unwrap();
    let (bad, good): (Vec<_>, Vec<_>) = (0..40)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let name = if n % 2 == 0 { "b" } else { "a" };
                let patch = json!({"data": {"v": n.to_string()}});
                (n, merge(&client, &format!("{MAPS}/{name}"), &patch).await.code)
            })
        })
        .partition(|_| true);
    assert!(good.is_empty());
    for task in bad {
        let (n, code) = task.await.unwrap();
        assert_eq!(code, if n % 2 == 0 { 500 } else { 200 }, "write {n} of one group");
    }
    server.stop().await;
}
