//! R7: histories of concurrent writes and watches, checked against what they must be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Client, Cluster, MERGE};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"v": value}})
}

/// One that a selector may tell from others.
fn coloured(name: &str, round: usize) -> Value {
    let mut map = map(name, &round.to_string());
    map["metadata"]["labels"] = json!({"colour": if round % 5 < 3 { "red" } else { "blue" }});
    map
}

/// Adds one to a counter by compare-and-swap until `times` succeeded; gives the values that it wrote, with revisions.
async fn count_up(api: Client, times: usize) -> Vec<(u64, u64)> {
    let mut connection = api.connect().await.unwrap();
    let mut wrote = Vec::new();
    while wrote.len() < times {
        let mut object =
            connection.call(Method::GET, &format!("{MAPS}/counter"), &[], b"").await.unwrap().ok();
        let value: u64 = object["data"]["v"].as_str().unwrap().parse().unwrap();
        object["data"]["v"] = json!((value + 1).to_string());
        let body = object.to_string();
        let reply =
            connection.call(Method::PUT, &format!("{MAPS}/counter"), &[], body.as_bytes()).await.unwrap();
        match reply.code {
            200 => wrote.push((revision(&reply.body), value + 1)),
            409 => {}
            code => panic!("{code} {}", reply.body),
        }
    }
    wrote
}

#[tokio::test]
async fn r7_concurrent_compare_and_swaps_are_one_sequence() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let from = revision(&api.post(MAPS, &map("counter", "0")).await.ok());
    let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    let writers: Vec<_> = (0..8).map(|_| tokio::spawn(count_up(api.clone(), 10))).collect();
    let mut wrote = Vec::new();
    for writer in writers {
        wrote.extend(writer.await.unwrap());
    }
    wrote.sort_unstable();
    let values: Vec<u64> = wrote.iter().map(|(_, value)| *value).collect();
    assert_eq!(
        values,
        (1..=80).collect::<Vec<_>>(),
        "no increment lost, none done twice, in order of revision"
    );
    for (at, value) in wrote {
        let event = events.next().await.unwrap();
        assert_eq!(
            (revision(&event["object"]), event["object"]["data"]["v"].as_str().unwrap()),
            (at, value.to_string().as_str())
        );
    }
}

/// Churns some objects; each writer its own.
async fn churn(api: Client, writer: usize) {
    for round in 0..12 {
        let name = format!("w{writer}-{}", round % 3);
        let own = format!("{MAPS}/{name}");
        match round % 4 {
            3 => drop(api.delete(&own, &json!({})).await),
            _ => {
                let map = coloured(&name, round);
                if api.post(MAPS, &map).await.code == 409 {
                    api.patch(&own, MERGE, &map).await.ok();
                }
            }
        }
    }
}

/// What a watch of red objects alone must say where one of all said this: an object that turns red is added, one that turns
/// another colour is deleted.
fn red_of(whole: &[Value]) -> Vec<(String, u64)> {
    let mut red = BTreeSet::new();
    let mut said = Vec::new();
    for event in whole {
        let name = event["object"]["metadata"]["name"].as_str().unwrap().to_owned();
        let is_red = event["object"]["metadata"]["labels"]["colour"] == "red" && event["type"] != "DELETED";
        let was_red = if is_red { !red.insert(name) } else { red.remove(&name) };
        let sort = match (was_red, is_red) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => continue,
        };
        said.push((sort.to_owned(), revision(&event["object"])));
    }
    said
}

/// Reads a watch's events through revision `end`, beginning anew after each `cut` of them where the last one stood.
async fn follow(api: &Client, query: &str, from: u64, end: u64, cut: usize) -> Vec<Value> {
    let (mut at, mut seen) = (from, Vec::new());
    while at < end {
        let path = format!("{MAPS}?watch=1&resourceVersion={at}&allowWatchBookmarks=true{query}");
        let mut events = api.watch(&path).await;
        for _ in 0..cut {
            if at >= end {
                break;
            }
            let event = events.next().await.expect("the watch goes on");
            at = revision(&event["object"]);
            if event["type"] != "BOOKMARK" {
                seen.push(event);
            }
        }
    }
    seen
}

#[tokio::test]
async fn r7_watches_are_ordered_unique_complete_resumable_and_filterable() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let from = revision(&api.get(MAPS).await.ok());
    let whole = {
        let api = api.clone();
        tokio::spawn(async move {
            let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
            let mut seen = Vec::new();
            loop {
                let event = events.next().await.unwrap();
                if event["object"]["metadata"]["name"] == "end" {
                    return seen;
                }
                seen.push(event);
            }
        })
    };
    let writers: Vec<_> = (0..6).map(|writer| tokio::spawn(churn(api.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let end = revision(&api.post(MAPS, &coloured("end", 0)).await.ok());
    let whole = whole.await.unwrap();

    let revisions: Vec<u64> = whole.iter().map(|event| revision(&event["object"])).collect();
    assert_eq!(revisions, (from + 1..end).collect::<Vec<_>>(), "each change once, in order, without a gap");
    let mut resumed = follow(api, "", from, end, 7).await;
    resumed.pop();
    assert_eq!(resumed, whole, "a watch that begins anew where it stood sees the same");
    for cut in [usize::MAX, 5] {
        let mut red = follow(api, "&labelSelector=colour%3Dred", from, end, cut).await;
        red.pop();
        let said = |event: &Value| (event["type"].as_str().unwrap().to_owned(), revision(&event["object"]));
        assert_eq!(
            red.iter().map(said).collect::<Vec<_>>(),
            red_of(&whole),
            "what is filtered, {cut} at a time"
        );
    }

    let mut state: BTreeMap<String, Value> = BTreeMap::new();
    for event in whole {
        let (object, known) = (event["object"].clone(), &mut state);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match event["type"].as_str().unwrap() {
            "ADDED" => assert_eq!(known.insert(name, object), None, "added once"),
            "MODIFIED" => assert!(known.insert(name, object).is_some(), "there before it is modified"),
            "DELETED" => assert!(known.remove(&name).is_some(), "there before it is deleted"),
            other => panic!("{other}"),
        }
    }
    let list = api.get(MAPS).await.ok();
    let items = list["items"].as_array().unwrap().iter().filter(|item| item["metadata"]["name"] != "end");
    assert_eq!(
        items.collect::<Vec<_>>(),
        state.values().collect::<Vec<_>>(),
        "the events add up to the list"
    );
}

#[tokio::test]
async fn history_that_is_forgotten_is_gone_and_said_so() {
    let cluster = Cluster::with_history(50).await;
    let api = &cluster.admin;
    let first = api.post(MAPS, &map("a", "0")).await.ok();
    let page = api.get("/api/v1/namespaces?limit=1").await.ok();
    for n in 0..300 {
        api.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"v": n.to_string()}})).await.ok();
    }
    let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&first))).await;
    // What memory still holds needs no file; only a watch that the file must serve can be too late.
    let latest = revision(&api.get(&format!("{MAPS}/a")).await.ok());
    assert!(latest > 300);
    let told = events.next().await.unwrap();
    assert_eq!(told["type"], "MODIFIED");
    drop(events);

    let token = page["metadata"]["continue"].as_str().unwrap();
    let late = api.get(&format!("/api/v1/namespaces?limit=1&continue={token}")).await;
    assert_eq!((late.code, &late.body["reason"]), (410, &json!("Expired")));
    let ahead = api.get(&format!("{MAPS}?resourceVersion={}", latest + 100)).await;
    assert_eq!((ahead.code, &ahead.body["reason"]), (504, &json!("Timeout")));
}

#[tokio::test]
async fn r7_a_bookmark_stands_for_everything_before_it() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let from = revision(&api.post(MAPS, &map("a", "")).await.ok());
    let path = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={from}");
    let mut events = api.watch(&path).await;
    let other = api.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    let bookmark = events.next().await.unwrap();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert!(revision(&bookmark["object"]) >= revision(&other), "other kinds' changes move it on too");
    assert_eq!(events.next().await, None);
    api.post(MAPS, &map("b", "")).await.ok();
    let at = revision(&bookmark["object"]);
    let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={at}")).await;
    assert_eq!(events.told().await, ("ADDED".into(), "b".into()));
}

#[tokio::test]
async fn a_watch_of_a_quiet_kind_outlives_the_history_of_busy_ones() {
    let cluster = Cluster::with_history(20).await;
    let api = &cluster.admin;
    let pools = "/apis/projectcalico.org/v3/ippools";
    let from = revision(&api.post(MAPS, &map("a", "")).await.ok());
    let mut events = api.watch(&format!("{pools}?watch=1&resourceVersion={from}")).await;
    let big = "x".repeat(40_000);
    let mut connection = api.connect().await.unwrap();
    for n in 0..250 {
        let body = json!({"data": {"v": big, "n": n.to_string()}}).to_string();
        let patch = [("content-type", MERGE)];
        connection.call(Method::PATCH, &format!("{MAPS}/a"), &patch, body.as_bytes()).await.unwrap().ok();
    }
    let mut busy = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(busy.next().await.unwrap()["object"]["code"], 410, "the busy kind's history is forgotten");
    api.post(pools, &json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}})).await.ok();
    assert_eq!(events.told().await, ("ADDED".into(), "p".into()));
}

#[tokio::test]
async fn s52_a_slow_watcher_slows_nobody_and_misses_nothing() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let from = revision(&api.post(MAPS, &map("a", "")).await.ok());
    let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    // More than what sockets and memory hold: the watcher must fall back to the file.
    let big = "x".repeat(200_000);
    let began = std::time::Instant::now();
    for n in 0..60 {
        api.patch(&format!("{MAPS}/a"), MERGE, &json!({"data": {"v": big, "n": n.to_string()}})).await.ok();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "writers did not wait: {:?}", began.elapsed());
    for n in 0..60 {
        assert_eq!(events.next().await.unwrap()["object"]["data"]["n"], n.to_string());
    }
}
