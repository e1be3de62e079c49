//! Who may do what: without a token, with a node's, and on the machine itself.

use crate::client::{Cluster, MERGE};
use crate::{MAPS, discovered};
use apiserver::{Config, Server};
use http::Method;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every path that the server answers, with a method for it.
async fn routes(cluster: &Cluster) -> Vec<(Method, String)> {
    let mut routes: Vec<(Method, String)> = ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/nosuch"]
        .map(|path| (Method::GET, path.to_owned()))
        .into();
    for (root, resources) in discovered(cluster).await {
        routes.push((Method::GET, root.clone()));
        for resource in resources {
            let scope = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            let name = resource["name"].as_str().unwrap();
            let (plural, sub) = name.split_once('/').unwrap_or((name, ""));
            let collection = format!("{root}{scope}/{plural}");
            let own =
                format!("{collection}/x{}", if sub.is_empty() { String::new() } else { format!("/{sub}") });
            if sub.is_empty() {
                for method in [Method::GET, Method::POST, Method::DELETE] {
                    routes.push((method, collection.clone()));
                }
                routes.push((Method::GET, format!("{collection}?watch=1")));
            }
            for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
                routes.push((method, own.clone()));
            }
        }
    }
    for stream in ["exec", "attach", "log", "portforward"] {
        routes.push((Method::GET, format!("/api/v1/namespaces/default/pods/x/{stream}")));
        routes.push((Method::POST, format!("/api/v1/namespaces/default/pods/x/{stream}")));
    }
    routes
}

#[tokio::test]
async fn s48_without_a_good_token_nothing_but_health_and_version_is_answered() {
    let cluster = Cluster::start().await;
    let routes = routes(&cluster).await;
    assert!(routes.len() > 200, "{}", routes.len());
    for token in ["", "wrong", &cluster.admin.token[..60]] {
        let mut connection = cluster.admin.with_token(token).connect().await.unwrap();
        for (method, path) in &routes {
            let reply = connection.call(method.clone(), path, &[], b"{}").await.unwrap();
            assert_eq!(reply.failure(), (401, "Unauthorized", "Unauthorized"), "{method} {path}");
        }
        for path in ["/livez", "/readyz", "/healthz", "/version"] {
            assert_eq!(connection.call(Method::GET, path, &[], b"").await.unwrap().code, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn s48_nothing_is_served_in_plain_text_or_over_old_tls() {
    let cluster = Cluster::start().await;
    let mut plain = TcpStream::connect(cluster.admin.addr).await.unwrap();
    let request =
        format!("GET /version HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", cluster.admin.token);
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(8), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");

    let ca = cluster.server.as_ref().unwrap().ca.clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    for (version, spoken) in [(&rustls::version::TLS13, true), (&rustls::version::TLS12, false)] {
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
        let tcp = TcpStream::connect(cluster.admin.addr).await.unwrap();
        let name = ServerName::from(cluster.admin.addr.ip());
        let shaken = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        assert_eq!(shaken.is_ok(), spoken, "{version:?}");
    }
}

/// What a node's token may do, by resource; `get`, `list` and `watch` of all but secrets, and nothing else.
const NODES_WRITES: &str = "\
blockaffinities.crd.projectcalico.org: create update patch delete
blockaffinities.projectcalico.org: create update patch delete
caliconodestatuses.crd.projectcalico.org/status: update patch
caliconodestatuses.projectcalico.org/status: update patch
events: create update patch
ipamblocks.crd.projectcalico.org: create update patch delete
ipamblocks.projectcalico.org: create update patch delete
ipamhandles.crd.projectcalico.org: create update patch delete
ipamhandles.projectcalico.org: create update patch delete
leases.coordination.k8s.io: create update patch delete
nodes: create update patch
nodes/status: update patch
pods: delete
pods/status: update patch
";

#[tokio::test]
async fn s49_a_nodes_token_may_do_what_the_table_says_and_no_more() {
    let cluster = Cluster::start().await;
    let token = cluster.server.as_ref().unwrap().node_token("n1").unwrap();
    let mut connection = cluster.admin.with_token(&token).connect().await.unwrap();
    let mut writes = String::new();
    let mut lines = BTreeMap::new();
    for (root, resources) in discovered(&cluster).await {
        let group = root
            .strip_prefix("/apis/")
            .map_or(String::new(), |path| format!(".{}", path.split('/').next().unwrap()));
        for resource in resources {
            let name = resource["name"].as_str().unwrap();
            let (plural, sub) =
                name.split_once('/').map_or((name, String::new()), |(p, s)| (p, format!("/{s}")));
            // A lease is the node's where its namespace is that of leases.
            let scope = match (resource["namespaced"] == true, plural) {
                (false, _) => "",
                (true, "leases") => "/namespaces/kube-node-lease",
                (true, _) => "/namespaces/default",
            };
            let collection = format!("{root}{scope}/{plural}");
            let own = format!("{collection}/n1{sub}");
            // What is wrong with each request is found after the rights were looked at.
            let object = json!({"metadata": {"name": "n1"}}).to_string();
            let verbs = [
                ("get", Method::GET, own.clone(), ""),
                ("list", Method::GET, format!("{collection}?limit=x"), ""),
                ("watch", Method::GET, format!("{collection}?watch=1&resourceVersion=x"), ""),
                ("create", Method::POST, format!("{collection}?dryRun=All"), &object),
                ("update", Method::PUT, format!("{own}?dryRun=All"), &object),
                ("patch", Method::PATCH, format!("{own}?dryRun=All"), "{}"),
                ("delete", Method::DELETE, own.clone(), "{}"),
                ("deletecollection", Method::DELETE, collection.clone(), "{}"),
            ];
            let mut may = Vec::new();
            for (verb, method, path, body) in verbs {
                if !sub.is_empty() && !matches!(verb, "get" | "update" | "patch") {
                    continue;
                }
                let headers: &[_] = if verb == "patch" { &[("content-type", MERGE)] } else { &[] };
                let reply = connection.call(method, &path, headers, body.as_bytes()).await.unwrap();
                if reply.code != 403 {
                    may.push(verb);
                }
            }
            let (reads, wrote): (Vec<&str>, Vec<&str>) =
                may.iter().partition(|verb| matches!(**verb, "get" | "list" | "watch"));
            let expected: &[&str] = match (plural, sub.is_empty()) {
                ("secrets", _) => &[],
                (_, true) => &["get", "list", "watch"],
                (_, false) => &["get"],
            };
            assert_eq!(reads, expected, "{root} {name}");
            lines.insert(format!("{plural}{group}{sub}"), wrote.join(" "));
        }
    }
    for (resource, verbs) in lines.iter().filter(|(_, verbs)| !verbs.is_empty()) {
        writes += &format!("{resource}: {verbs}\n");
    }
    assert_eq!(writes, NODES_WRITES);
    let api = cluster.admin.with_token(&token);
    for stream in ["exec", "attach", "log", "portforward"] {
        let reply = api.get(&format!("/api/v1/namespaces/default/pods/x/{stream}")).await;
        assert_eq!(reply.code, 403, "{stream}: {}", reply.body);
    }
    for path in [
        "/api/v1/secrets?fieldSelector=metadata.name%3Dbgp",
        "/api/v1/namespaces/default/secrets/x",
        "/api/v1/namespaces/default/%73ecrets/x",
        "/api/v1/namespaces/kube-system/secrets?watch=1",
        "/api/v1/namespaces/default/secrets/x?dryRun=All",
    ] {
        assert_eq!(api.get(path).await.code, 403, "{path}");
    }
}

#[tokio::test]
async fn s54_the_data_directory_is_its_owners_alone() {
    let cluster = Cluster::start().await;
    cluster.admin.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    let mut files = vec![cluster.dir.path().to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = files.pop() {
        let found = std::fs::metadata(&path).unwrap();
        let allowed = if found.is_dir() { 0o700 } else { 0o600 };
        let name = path.strip_prefix(cluster.dir.path()).unwrap().display().to_string();
        // What is in a closed directory is closed; of files that hold a secret the mode says so too.
        if path == cluster.dir.path()
            || name.starts_with("store.db")
            || name.ends_with("key")
            || name.ends_with("admin")
        {
            assert_eq!(found.permissions().mode() & 0o777 & !allowed, 0, "{name}");
        }
        if found.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen.push(name);
    }
    for file in ["store.db", "store.db-wal", "store.db-shm", "ca.key", "tokens/admin"] {
        assert!(seen.iter().any(|name| name == file), "{file} is not among {seen:?}");
    }
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), open.path())).await;
    let error = format!("{:#}", refused.err().unwrap());
    assert!(error.contains("is open to others (mode 0755): `chmod 700"), "{error}");
}
