//! Clients that are many, silent, slow, or never read: they harm nobody but themselves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use bytes::Bytes;
use client::{Client, Cluster, Events, MERGE};
use http::{Method, Request, header};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const NAMESPACES: &str = "/api/v1/namespaces";

/// Server and clients are one process here: it needs a descriptor for both ends.
fn many_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

/// How long a good client takes with a new connection: the median of some.
async fn good(client: &Client) -> Duration {
    let mut took = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        client.get(&format!("{MAPS}/none")).await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// Until the other side ends the connection; nothing else is expected of it.
async fn end(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let began = Instant::now();
    let mut rest = [0; 4096];
    while timeout(Duration::from_secs(20), stream.read(&mut rest))
        .await
        .expect("it ends")
        .is_ok_and(|n| n > 0)
    {}
    began.elapsed()
}

#[tokio::test]
async fn s51_thousands_of_silent_clients_keep_no_good_one_waiting() {
    many_files();
    let cluster = Cluster::start().await;
    let alone = good(&cluster.admin).await;
    let mut silent = Vec::new();
    for _ in 0..5_000 {
        silent.push(TcpStream::connect(cluster.admin.addr).await.unwrap());
    }
    let among = good(&cluster.admin).await;
    assert!(among < alone * 10 + Duration::from_millis(100), "{among:?} among many, {alone:?} alone");
    // Those that came first have made room for the others; the last one has its handshake's time.
    assert!(end(&mut silent[0]).await < Duration::from_secs(2));
    assert!(end(silent.last_mut().unwrap()).await < Duration::from_secs(8));
}

#[tokio::test]
async fn s51_who_does_not_finish_a_requests_head_is_sent_away() {
    let cluster = Cluster::start().await;
    let (mut reader, mut writer) = tokio::io::split(cluster.admin.raw().await.unwrap());
    writer.write_all(b"GET /version HTTP/1.1\r\nx: ").await.unwrap();
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let took = end(&mut reader).await;
    assert!((8..=13).contains(&took.as_secs()), "{took:?}");
    dripping.abort();
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(sort: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[sort, flags], &stream.to_be_bytes(), payload].concat()
}

const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET https://x/`, in the table of HPACK (RFC 7541, appendix A).
const GET: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];

#[tokio::test]
async fn s51_a_flood_of_streams_ends_its_own_connection_alone() {
    let cluster = Cluster::start().await;
    let mut stream = cluster.admin.raw().await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    assert_eq!(head[3], SETTINGS);
    let most = settings.chunks(6).find(|s| s[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes()).unwrap();
    assert_eq!(u32::from_be_bytes(most[2..].try_into().unwrap()), 250);

    let mut calm = cluster.admin.connect().await.unwrap();
    let flood = tokio::spawn(async move {
        // Begun and reset, again and again: none counts as one that runs.
        for n in 0..100_000_u32 {
            let id = 2 * n + 1;
            let pair = [frame(1, 0x5, id, &GET), frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat();
            if stream.write_all(&pair).await.is_err() {
                return n;
            }
        }
        100_000
    });
    for _ in 0..20 {
        let began = Instant::now();
        calm.call(Method::GET, MAPS, &[], b"").await.unwrap().ok();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let begun = timeout(Duration::from_secs(20), flood).await.expect("it ends").unwrap();
    assert!(begun < 100_000, "the flood's connection was ended");
}

/// How many watches: some, or as many as a night has time for.
fn many() -> usize {
    std::env::var("TORTIE_WATCHES").map_or(1_000, |text| text.parse().unwrap())
}

/// How often an object changes whose watchers are looked at.
const CHANGES: usize = 250;

/// So many watches of one path, 200 on a connection.
async fn watches(client: &Client, path: &str, number: usize) -> Vec<Events> {
    let mut all = Vec::new();
    while all.len() < number {
        let stream = TokioIo::new(client.raw().await.unwrap());
        let (mut send, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..200.min(number - all.len()) {
            let request = Request::get(format!("https://{}{path}", client.addr))
                .header(header::AUTHORIZATION, format!("Bearer {}", client.token))
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = send.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            all.push(Events::of(response.into_body()));
        }
    }
    all
}

#[tokio::test]
async fn s52_many_watches_and_one_that_is_never_read_delay_nobody_and_it_alone_is_cut_off() {
    many_files();
    let cluster = Cluster::with_history(20).await;
    let api = &cluster.admin;
    let mut unread = api.watch(&format!("{MAPS}?watch=1")).await;
    let from = api.get(NAMESPACES).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut all = watches(api, &format!("{NAMESPACES}?watch=1&resourceVersion={from}"), many()).await;
    let mut other = api.watch(&format!("{MAPS}?watch=1")).await;
    let other = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < CHANGES {
            let event = other.next().await.expect("it is read");
            heard.extend((event["type"] == "MODIFIED").then(Instant::now));
        }
        heard
    });
    // More than sockets and history hold.
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    let mut connection = api.connect().await.unwrap();
    let mut answered = Vec::new();
    for n in 0..CHANGES {
        let body = json!({"data": {"v": "x".repeat(40_000), "n": n.to_string()}}).to_string();
        let patch = [("content-type", MERGE)];
        connection.call(Method::PATCH, &format!("{MAPS}/a"), &patch, body.as_bytes()).await.unwrap().ok();
        answered.push(Instant::now());
    }
    let heard = other.await.unwrap();
    let mut late: Vec<Duration> = heard
        .iter()
        .zip(&answered)
        .map(|(heard, answered)| heard.saturating_duration_since(*answered))
        .collect();
    late.sort_unstable();
    assert!(late[CHANGES * 99 / 100] < Duration::from_millis(50), "after the writes' answers: {late:?}");
    api.post(NAMESPACES, &json!({"metadata": {"name": "news"}})).await.ok();
    for events in &mut all {
        assert_eq!(events.told().await, ("ADDED".into(), "news".into()));
    }
    let last = loop {
        let event = unread.next().await.expect("it is told why it ends");
        if event["type"] == "ERROR" {
            break event;
        }
    };
    assert_eq!((&last["object"]["code"], &last["object"]["reason"]), (&json!(410), &json!("Expired")));
}

#[tokio::test]
async fn s52_a_nodes_token_may_watch_so_much_and_no_more() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let path = format!("{NAMESPACES}?watch=1");
    let mut all = watches(&node, &path, 200).await;
    let refused = node.get(&path).await;
    assert_eq!(refused.failure().0, 429, "{}", refused.body);
    assert!(refused.failure().2.contains("has 200 watches already"), "{}", refused.body);
    cluster.admin.get(MAPS).await.ok();
    all.clear();
    // What ends gives its place back.
    for _ in 0..100 {
        if node.connect().await.unwrap().send(Method::GET, &path, &[], b"").await.unwrap().status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a place is free after 5 s");
}
