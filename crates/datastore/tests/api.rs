//! The client against a server that is scripted answer by answer, faults included: what a real API server does only in
//! its bad hours.

use datastore::{Client, Scope};
use futures::StreamExt;
use model::Metadata;
use model::k8s::Node;
use model::store::{Error, Event, Key, Kind, Request};
use model::v3::CalicoNodeStatus;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone)]
enum Answer {
    /// A status code and a body.
    Json(u16, String),
    /// Lines of a watch, after which the stream ends in order.
    Lines(Vec<String>),
    /// Lines of a watch, after which it stays open.
    Open(Vec<String>),
    /// The request is read, and the connection closed.
    Hangup,
}

struct Server {
    client: Client,
    seen: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// A server that gives these answers, in order, and hangs up on every later request.
    async fn with(answers: Vec<Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), log.clone()));
            }
        });
        let (client, dir) = client(&url).await;
        Server { client, seen, _dir: dir }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn client(url: &str) -> (Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let path: PathBuf = dir.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
    );
    std::fs::write(&path, text).expect("written");
    (Client::from_kubeconfig(&path).await.expect("a client"), dir)
}

async fn serve(
    stream: TcpStream,
    answers: Arc<Mutex<std::vec::IntoIter<Answer>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.expect("a header");
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if header == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        let request =
            format!("{} {}", line.trim_end().trim_end_matches(" HTTP/1.1"), String::from_utf8_lossy(&body));
        seen.lock().expect("no panic").push(request.trim_end().to_owned());
        let answer = answers.lock().expect("no panic").next().unwrap_or(Answer::Hangup);
        match answer {
            Answer::Hangup => return,
            Answer::Json(code, body) => {
                let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).await.expect("written");
            }
            Answer::Lines(lines) => {
                write_lines(&mut stream, &lines).await;
                stream.write_all(b"0\r\n\r\n").await.expect("written");
            }
            Answer::Open(lines) => {
                write_lines(&mut stream, &lines).await;
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn write_lines(stream: &mut BufReader<TcpStream>, lines: &[String]) {
    let mut text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for line in lines {
        text += &format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
    }
    stream.write_all(text.as_bytes()).await.expect("written");
}

fn node(name: &str, version: u32) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#
    )
}

fn list(version: u32, token: &str, names: &[&str]) -> Answer {
    let items: Vec<String> = names.iter().map(|name| node(name, 1)).collect();
    Answer::Json(
        200,
        format!(
            r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{token}"}},"items":[{}]}}"#,
            items.join(",")
        ),
    )
}

fn change(what: &str, object: &str) -> String {
    format!(r#"{{"type":"{what}","object":{object}}}"#)
}

fn status(code: u16, reason: &str) -> String {
    format!(r#"{{"kind":"Status","status":"Failure","code":{code},"reason":"{reason}","message":"no"}}"#)
}

fn names(event: Option<Event>) -> String {
    match event.expect("a watch never ends") {
        Event::Listed(_, objects) => {
            let names: Vec<&str> = objects.iter().map(|o| o.metadata().name.as_str()).collect();
            format!("listed {}", names.join(" "))
        }
        Event::Put(object) => format!("put {}", object.metadata().name),
        Event::Gone(key) => format!("gone {}", key.name),
        Event::Failed { .. } => "failed".to_owned(),
    }
}

#[tokio::test]
async fn a_watch_lists_all_pages_and_then_follows_changes() {
    let server = Server::with(vec![
        list(7, "next", &["a"]),
        list(7, "", &["b"]),
        Answer::Open(vec![
            change("ADDED", &node("c", 8)),
            change("BOOKMARK", &node("", 9)),
            change("DELETED", &node("a", 10)),
        ]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed a b");
    assert_eq!(names(watch.next().await), "put c");
    assert_eq!(names(watch.next().await), "gone a");
    assert!(server.seen()[1].contains("continue=next"));
    assert!(server.seen()[2].contains("resourceVersion=7&"));
}

#[tokio::test]
async fn a_watch_that_the_server_ends_goes_on_from_the_last_bookmark() {
    let server = Server::with(vec![
        list(7, "", &[]),
        Answer::Lines(vec![change("BOOKMARK", &node("", 42))]),
        Answer::Open(vec![change("MODIFIED", &node("a", 43))]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed ");
    assert_eq!(names(watch.next().await), "put a");
    assert!(server.seen()[2].contains("resourceVersion=42&"));
}

#[tokio::test]
async fn f14_a_version_that_the_server_forgot_is_no_failure_but_a_new_list() {
    let server = Server::with(vec![
        list(7, "", &["a"]),
        Answer::Lines(vec![change("ERROR", &status(410, "Expired"))]),
        list(9, "", &["b"]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed a");
    assert_eq!(names(watch.next().await), "listed b");
}

#[tokio::test]
async fn an_outage_is_told_once_and_ends_with_a_list() {
    let server =
        Server::with(vec![Answer::Json(503, status(503, "Busy")), Answer::Hangup, list(9, "", &["b"])]).await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "failed");
    assert_eq!(names(watch.next().await), "listed b");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_does_not_hide_the_others() {
    let bad = r#"{"metadata":{"name":"bad"},"spec":7}"#;
    let items = format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{bad},{}]}}"#, node("good", 1));
    let server = Server::with(vec![Answer::Json(200, items)]).await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed good");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_gone_when_it_is_deleted() {
    let bad = r#"{"metadata":{"name":"a","resourceVersion":"8"},"spec":7}"#;
    let server = Server::with(vec![list(7, "", &["a"]), Answer::Open(vec![change("DELETED", bad)])]).await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed a");
    assert_eq!(names(watch.next().await), "gone a");
}

#[tokio::test]
async fn an_object_that_can_be_read_no_more_is_not_gone_in_a_later_list() {
    let bad = r#"{"metadata":{"name":"a","resourceVersion":"8"},"spec":7}"#;
    let items = format!(r#"{{"metadata":{{"resourceVersion":"9"}},"items":[{bad},{}]}}"#, node("c", 8));
    let server = Server::with(vec![
        list(7, "", &["a", "b"]),
        Answer::Lines(vec![change("ERROR", &status(410, "Expired"))]),
        Answer::Json(200, items),
        Answer::Lines(vec![change("ERROR", &status(410, "Expired"))]),
        list(11, "", &["c"]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed a b");
    assert_eq!(names(watch.next().await), "gone b");
    assert_eq!(names(watch.next().await), "put c");
    let Some(Event::Failed { error, .. }) = watch.next().await else { panic!("`a` is not complained of") };
    assert_eq!(error, "1 of its objects cannot be read, the first is `a`");
    assert_eq!(names(watch.next().await), "listed c");
}

#[tokio::test]
async fn a_list_that_works_does_not_shorten_the_pauses_of_a_watch_that_fails() {
    let refused = || Answer::Json(403, status(403, "Forbidden"));
    let answers = (1..5).flat_map(|n| [list(n, "", &[]), refused()]).collect();
    let server = Server::with(answers).await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    let mut listed = Vec::new();
    while listed.len() < 3 {
        assert_eq!(names(watch.next().await), "listed ");
        listed.push(Instant::now());
        assert_eq!(names(watch.next().await), "failed");
    }
    assert!(listed[2] - listed[1] >= Duration::from_millis(1900), "{:?}", listed[2] - listed[1]);
}

#[tokio::test]
async fn only_the_pods_of_a_node_are_asked_for() {
    let server = Server::with(vec![list(1, "", &[])]).await;
    let mut watch = Box::pin(server.client.watch(Kind::Pod, Scope::OnNode("n1".into())));
    assert_eq!(names(watch.next().await), "listed ");
    assert_eq!(server.seen()[0], "GET /api/v1/pods?limit=500&fieldSelector=spec.nodeName%3Dn1");
}

#[tokio::test]
async fn a_lost_answer_leaves_the_fate_of_the_write_unknown() {
    let server = Server::with(vec![Answer::Hangup]).await;
    let object = Node { metadata: Metadata::named("n1"), ..Node::default() };
    let reply = server.client.request(Request::Create(object.into())).await;
    assert!(matches!(reply, Err(Error::Unknown(_))), "{reply:?}");
    assert_eq!(server.seen().len(), 1, "one request, one attempt");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_in_the_error() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let (client, _dir) = client(&format!("http://{port}")).await;
    let reply = client.request(Request::Get(Key::cluster(Kind::Node, "n1"))).await;
    let wanted =
        format!("cannot reach the Kubernetes API at http://{port}: Connection refused (os error 111)");
    assert_eq!(reply, Err(Error::Unknown(wanted)));
}

#[tokio::test]
async fn a_deletion_carries_what_must_still_hold() {
    let server = Server::with(vec![Answer::Json(409, status(409, "Conflict"))]).await;
    let key = Key::cluster(Kind::IpamBlock, "10-0-0-0-26");
    let request = Request::Delete { key, uid: "u".into(), resource_version: "5".into() };
    assert_eq!(server.client.request(request).await, Err(Error::Conflict));
    assert!(
        server.seen()[0].contains(r#""preconditions":{"resourceVersion":"5","uid":"u"}"#),
        "{:?}",
        server.seen()
    );
}

#[tokio::test]
async fn annotations_are_merged_into_the_status_of_a_node() {
    let server = Server::with(vec![Answer::Json(200, node("n1", 2))]).await;
    let annotations = [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)].into();
    let request = Request::Annotate { key: Key::cluster(Kind::Node, "n1"), annotations };
    assert!(matches!(server.client.request(request).await, Ok(Some(_))));
    assert_eq!(
        server.seen()[0],
        r#"PATCH /api/v1/nodes/n1/status {"metadata":{"annotations":{"a":"1","b":null}}}"#
    );
}

#[tokio::test]
async fn a_status_is_written_apart_with_the_version_it_replaces() {
    let text = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"node": "n1"}}).to_string();
    let server = Server::with(vec![Answer::Json(200, text.clone())]).await;
    let status: CalicoNodeStatus = serde_json::from_str(&text).expect("a status");
    assert!(matches!(server.client.request(Request::Status(status.into())).await, Ok(Some(_))));
    let seen = &server.seen()[0];
    assert!(seen.starts_with("PUT /apis/projectcalico.org/v3/caliconodestatuses/a/status {"), "{seen}");
    assert!(seen.contains(r#""resourceVersion":"7""#), "{seen}");
}

#[tokio::test]
async fn a_watch_survives_a_pause_between_its_lines() {
    let server = Server::with(vec![list(7, "", &[]), Answer::Open(vec![])]).await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    assert_eq!(names(watch.next().await), "listed ");
    assert!(
        tokio::time::timeout(Duration::from_millis(300), watch.next()).await.is_err(),
        "nothing was said"
    );
}

#[tokio::test]
async fn f16_a_list_is_never_asked_of_a_replica_that_may_lag() {
    let server = Server::with(vec![
        list(7, "", &["a"]),
        Answer::Lines(vec![change("ADDED", &node("b", 9)), change("ERROR", &status(410, "Expired"))]),
        list(9, "", &["a", "b"]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    for told in ["listed a", "put b", "listed a b"] {
        assert_eq!(names(watch.next().await), told);
    }
    // Without a version the answer is what the store holds now; with one, any replica's memory would do.
    let lists = server.seen().into_iter().filter(|request| !request.contains("watch=true"));
    for request in lists {
        assert!(!request.contains("resourceVersion"), "{request}");
    }
}

#[tokio::test]
async fn f17_a_list_whose_token_expires_on_its_third_page_is_begun_anew_and_nothing_of_it_is_told() {
    let server = Server::with(vec![
        list(7, "", &["a", "b", "c"]),
        Answer::Lines(vec![change("ERROR", &status(410, "Expired"))]),
        list(8, "two", &["a"]),
        list(8, "three", &["b"]),
        Answer::Json(410, status(410, "Expired")),
        list(9, "two", &["a"]),
        list(9, "three", &["b"]),
        list(9, "", &["c"]),
        Answer::Open(vec![change("DELETED", &node("a", 10))]),
    ])
    .await;
    let mut watch = Box::pin(server.client.watch(Kind::Node, Scope::All));
    for told in ["listed a b c", "listed a b c", "gone a"] {
        assert_eq!(names(watch.next().await), told);
    }
}
