//! R7: concurrent clients on few objects; what each saw, and when, must be explained by one order of the writes.
//!
//! The store numbers every write, so that order is known: it is the order of revisions. What is left to check is that it
//! agrees with time. A version may have been current from when its write was asked for until the next one was answered;
//! whatever an operation saw must have been current at some moment between its beginning and its end. For one object this
//! is linearizability.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Client, Cluster, Connection};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const NAMES: [&str; 3] = ["a", "b", "c"];

/// The state of an object: its revision and value, `None` where there is none.
type State = Option<(u64, String)>;

#[derive(Clone, Debug)]
enum Outcome {
    /// Made the version of this revision: an object, or (without a value) its absence.
    Wrote {
        revision: u64,
        value: Option<String>,
    },
    Saw(State),
    /// Refused because the object was not at this revision.
    Refused {
        expected: u64,
    },
    /// Refused because there was an object.
    Exists,
    /// Found none.
    Absent,
}

/// One operation of one client.
#[derive(Clone, Debug)]
struct Operation {
    name: &'static str,
    began: Instant,
    ended: Instant,
    outcome: Outcome,
}

/// Small numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn state(object: &Value) -> State {
    Some((version(object), object["data"]["v"].as_str().unwrap().to_owned()))
}

/// One client's random operations.
async fn act(api: Client, seed: u64, rounds: usize) -> Vec<Operation> {
    let mut connection = api.connect().await.unwrap();
    let (mut dice, mut known, mut done) = (Dice(seed), BTreeMap::new(), Vec::new());
    for round in 0..rounds {
        let name = NAMES[usize::try_from(dice.roll(3)).unwrap()];
        let value = format!("{seed}-{round}");
        let expected = known.get(name).copied();
        let began = Instant::now();
        let outcome = match (dice.roll(10), expected) {
            (0..=2, _) => read(&mut connection, name).await,
            (3, _) => list(&mut connection, name).await,
            (4..=5, _) => create(&mut connection, name, &value).await,
            (6, Some(expected)) => delete(&mut connection, name, expected).await,
            (_, Some(expected)) => replace(&mut connection, name, &value, expected).await,
            (_, None) => read(&mut connection, name).await,
        };
        match &outcome {
            Outcome::Wrote { revision, value: Some(_) } | Outcome::Saw(Some((revision, _))) => {
                known.insert(name, *revision);
            }
            _ => {}
        }
        done.push(Operation { name, began, ended: Instant::now(), outcome });
    }
    done
}

async fn call(connection: &mut Connection, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let reply = connection.call(method, path, &[], body.to_string().as_bytes()).await.unwrap();
    (reply.code, reply.body)
}

async fn read(connection: &mut Connection, name: &str) -> Outcome {
    match call(connection, Method::GET, &format!("{MAPS}/{name}"), &Value::Null).await {
        (200, object) => Outcome::Saw(state(&object)),
        (404, _) => Outcome::Absent,
        other => panic!("{other:?}"),
    }
}

async fn list(connection: &mut Connection, name: &str) -> Outcome {
    let (_, list) = call(connection, Method::GET, MAPS, &Value::Null).await;
    let found = list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name);
    found.map_or(Outcome::Absent, |object| Outcome::Saw(state(object)))
}

async fn create(connection: &mut Connection, name: &str, value: &str) -> Outcome {
    let object = json!({"metadata": {"name": name}, "data": {"v": value}});
    match call(connection, Method::POST, MAPS, &object).await {
        (201, object) => Outcome::Wrote { revision: version(&object), value: Some(value.to_owned()) },
        (409, status) if status["reason"] == "AlreadyExists" => Outcome::Exists,
        other => panic!("{other:?}"),
    }
}

async fn replace(connection: &mut Connection, name: &str, value: &str, expected: u64) -> Outcome {
    let metadata = json!({"name": name, "resourceVersion": expected.to_string()});
    let object = json!({"metadata": metadata, "data": {"v": value}});
    match call(connection, Method::PUT, &format!("{MAPS}/{name}"), &object).await {
        (200, object) => Outcome::Wrote { revision: version(&object), value: Some(value.to_owned()) },
        (409, _) => Outcome::Refused { expected },
        (404, _) => Outcome::Absent,
        other => panic!("{other:?}"),
    }
}

async fn delete(connection: &mut Connection, name: &str, expected: u64) -> Outcome {
    let options = json!({"preconditions": {"resourceVersion": expected.to_string()}});
    match call(connection, Method::DELETE, &format!("{MAPS}/{name}"), &options).await {
        // The revision of the deletion is told by the watch alone: see `complete`.
        (200, _) => Outcome::Wrote { revision: 0, value: None },
        (409, _) => Outcome::Refused { expected },
        (404, _) => Outcome::Absent,
        other => panic!("{other:?}"),
    }
}

/// A version of an object, as the watch told it, and when its write was under way.
#[derive(Debug)]
struct Version {
    revision: u64,
    value: Option<String>,
    began: Instant,
    ended: Instant,
}

/// The versions of one object in their order, each with the operation that made it.
fn versions(name: &str, events: &[Value], operations: &[Operation], start: Instant) -> Vec<Version> {
    let mut versions = vec![Version { revision: 0, value: None, began: start, ended: start }];
    let of_name = events.iter().filter(|event| event["object"]["metadata"]["name"] == name);
    for event in of_name {
        let (revision, gone) = (version(&event["object"]), event["type"] == "DELETED");
        let value = (!gone).then(|| event["object"]["data"]["v"].as_str().unwrap().to_owned());
        let writer = operations.iter().filter(|operation| operation.name == name).find(|operation| {
            match &operation.outcome {
                Outcome::Wrote { revision: own, value: Some(wrote) } => {
                    *own == revision && Some(wrote) == value.as_ref()
                }
                _ => false,
            }
        });
        let (began, ended) = match writer {
            Some(writer) => (writer.began, writer.ended),
            // Which of the deletions this one was is not told: it began after its object's version did.
            None if gone => {
                (versions.last().unwrap().began, operations.iter().map(|o| o.ended).max().unwrap())
            }
            None => panic!("nobody wrote {event}"),
        };
        versions.push(Version { revision, value, began, ended });
    }
    versions
}

/// Whether some version for which `fits` holds may have been current during the operation.
fn explained(versions: &[Version], operation: &Operation, fits: impl Fn(&Version) -> bool) -> bool {
    versions.iter().enumerate().any(|(at, version)| {
        let superseded = versions[at + 1..].iter().any(|later| later.ended < operation.began);
        fits(version) && version.began <= operation.ended && !superseded
    })
}

fn check(name: &'static str, versions: &[Version], operations: &[Operation]) {
    let revisions: Vec<u64> = versions.iter().map(|version| version.revision).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{name}: revisions grow: {revisions:?}");
    for (at, version) in versions.iter().enumerate() {
        let early = versions[at + 1..].iter().find(|later| later.ended < version.began);
        assert!(early.is_none(), "{name}: {early:?} was answered before {version:?} was asked for");
    }
    let deletions = versions.iter().skip(1).filter(|version| version.value.is_none()).count();
    let answered = |operation: &&Operation| matches!(operation.outcome, Outcome::Wrote { value: None, .. });
    let own: Vec<&Operation> = operations.iter().filter(|operation| operation.name == name).collect();
    assert_eq!(own.iter().copied().filter(answered).count(), deletions, "{name}: each deletion once");
    for operation in own {
        let fine = match &operation.outcome {
            Outcome::Wrote { value: None, .. } => true,
            Outcome::Wrote { revision, .. } => revisions.contains(revision),
            Outcome::Saw(seen) => explained(versions, operation, |version| {
                version.value.clone().map(|value| (version.revision, value)) == *seen
            }),
            Outcome::Refused { expected } => {
                explained(versions, operation, |version| version.revision != *expected)
            }
            Outcome::Exists => explained(versions, operation, |version| version.value.is_some()),
            Outcome::Absent => explained(versions, operation, |version| version.value.is_none()),
        };
        assert!(fine, "{name}: nothing explains {operation:?} among {versions:#?}");
    }
}

#[tokio::test]
async fn r7_what_concurrent_clients_saw_is_one_order_of_writes_that_agrees_with_time() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let from = api.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let clients: Vec<_> = (1..=6).map(|seed| tokio::spawn(act(api.clone(), seed * 7919, 80))).collect();
    let mut operations = Vec::new();
    for client in clients {
        operations.extend(client.await.unwrap());
    }
    api.post(MAPS, &json!({"metadata": {"name": "end"}, "data": {"v": ""}})).await.ok();
    let mut events = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    let mut told = Vec::new();
    loop {
        let event = events.next().await.unwrap();
        if event["object"]["metadata"]["name"] == "end" {
            break;
        }
        told.push(event);
    }
    let order: Vec<u64> = told.iter().map(|event| version(&event["object"])).collect();
    assert!(order.is_sorted_by(|a, b| a < b), "the watch tells writes in their order, each once");
    let wrote =
        operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Wrote { .. })).count();
    assert_eq!(told.len(), wrote, "the watch tells every write that was answered, and no other");
    for name in NAMES {
        check(name, &versions(name, &told, &operations, start), &operations);
    }
}

#[test]
fn the_check_finds_a_read_of_what_was_long_over() {
    let start = Instant::now();
    let at = |ms: u64| start + std::time::Duration::from_millis(ms);
    let wrote = |revision, ms| Version {
        revision,
        value: Some(revision.to_string()),
        began: at(ms),
        ended: at(ms + 1),
    };
    let versions = [wrote(1, 0), wrote(2, 10)];
    let read = |ms| Operation { name: "a", began: at(ms), ended: at(ms + 1), outcome: Outcome::Absent };
    let fits = |version: &Version| version.revision == 1;
    assert!(explained(&versions, &read(5), fits) && explained(&versions, &read(10), fits));
    assert!(!explained(&versions, &read(20), fits), "a stale read");
    assert!(!explained(&versions[1..], &read(5), |_| true), "a read from the future");
}
