//! A small HTTPS client of an API server, and a server to speak to: one of our own in this process, or any that
//! `CONFORMANCE_URL` (https://address:port), `CONFORMANCE_TOKEN` and `CONFORMANCE_CA` (a PEM file) name.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a test fails by panicking")]

pub mod process;

use apiserver::{Config, Server};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

/// Who speaks to which server.
#[derive(Clone)]
pub struct Client {
    pub addr: SocketAddr,
    pub token: String,
    tls: Arc<rustls::ClientConfig>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub warnings: Vec<String>,
    pub body: Value,
}

impl Reply {
    /// The object, if the request succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.code < 300, "{} {}", self.code, self.body);
        self.body
    }

    /// Code, reason and message of a failure.
    pub fn failure(&self) -> (u16, &str, &str) {
        (
            self.code,
            self.body["reason"].as_str().unwrap_or_default(),
            self.body["message"].as_str().unwrap_or_default(),
        )
    }
}

impl Client {
    pub fn new(addr: SocketAddr, token: &str, ca: &str) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client { addr, token: token.to_owned(), tls: Arc::new(tls) }
    }

    pub fn with_token(&self, token: &str) -> Client {
        Client { token: token.to_owned(), ..self.clone() }
    }

    /// A connection on which nothing was said yet.
    pub async fn raw(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.addr).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(self.addr.ip());
        tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, tcp).await
    }

    /// A connection for many requests.
    pub async fn connect(&self) -> std::io::Result<Connection> {
        let stream = self.raw().await?;
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Connection { send, host: self.addr.to_string(), token: self.token.clone() })
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.connect().await.unwrap().call(method, path, headers, body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, &[], b"").await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Reply {
        self.call(Method::POST, path, &[], object.to_string().as_bytes()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Reply {
        self.call(Method::PUT, path, &[], object.to_string().as_bytes()).await
    }

    pub async fn patch(&self, path: &str, media_type: &str, patch: &Value) -> Reply {
        self.call(Method::PATCH, path, &[("content-type", media_type)], patch.to_string().as_bytes()).await
    }

    pub async fn delete(&self, path: &str, options: &Value) -> Reply {
        self.call(Method::DELETE, path, &[], options.to_string().as_bytes()).await
    }

    pub async fn watch(&self, path: &str) -> Events {
        self.connect().await.unwrap().watch(path).await
    }

    /// Makes a namespace whose name begins with `prefix` and gives the path of its objects.
    pub async fn namespace(&self, prefix: &str) -> String {
        let generate = json!({"metadata": {"generateName": format!("{prefix}-")}});
        let made = self.post("/api/v1/namespaces", &generate).await.ok();
        format!("/api/v1/namespaces/{}", made["metadata"]["name"].as_str().unwrap())
    }
}

/// One HTTP/1.1 connection.
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Connection {
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> hyper::Result<http::Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if !self.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send.send_request(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await
    }

    /// One request; an error says that no answer came.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> hyper::Result<Reply> {
        let response = self.send(method, path, headers, body).await?;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all(header::WARNING).iter();
        let warnings = warnings.map(|value| value.to_str().unwrap().to_owned()).collect();
        let text = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&text).unwrap_or_else(|_| json!(String::from_utf8_lossy(&text)));
        Ok(Reply { code, warnings, body })
    }

    pub async fn watch(mut self, path: &str) -> Events {
        let response = self.send(Method::GET, path, &[], b"").await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Events::of(response.into_body())
    }
}

/// The events of a watch.
pub struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The events in an answer's body.
    pub fn of(body: Incoming) -> Events {
        Events { body, read: Vec::new() }
    }

    /// The next event, `None` at the end of the watch. Fails after 10 s of silence.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame())
                .await
                .expect("an event in 10 s");
            match frame {
                Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().unwrap()),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Type and object name of the next event.
    pub async fn told(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// A directory of its owner alone, as a server wants it.
pub fn closed_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    dir
}

/// A server for one test, gone with it.
pub struct Cluster {
    pub admin: Client,
    pub server: Option<Server>,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// Our own server, in this process.
    pub async fn start() -> Cluster {
        Cluster::with_history(10_000).await
    }

    /// Our own server, which remembers so many revisions.
    pub async fn with_history(history: u64) -> Cluster {
        let dir = closed_dir();
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), dir.path());
        config.history = history;
        let server = Server::start(config).await.unwrap();
        let admin = Client::new(server.addr, &server.admin_token, &server.ca);
        Cluster { admin, server: Some(server), dir }
    }

    /// The server that the environment names, or our own.
    pub async fn conforming() -> Cluster {
        let Ok(url) = std::env::var("CONFORMANCE_URL") else { return Cluster::start().await };
        let variable =
            |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} goes with CONFORMANCE_URL"));
        let addr = url.trim_start_matches("https://").trim_end_matches('/').parse().unwrap();
        let ca = std::fs::read_to_string(variable("CONFORMANCE_CA")).unwrap();
        let admin = Client::new(addr, &variable("CONFORMANCE_TOKEN"), &ca);
        Cluster { admin, server: None, dir: tempfile::tempdir().unwrap() }
    }

    pub fn node(&self, name: &str) -> Client {
        self.admin.with_token(&self.server.as_ref().unwrap().node_token(name).unwrap())
    }
}
