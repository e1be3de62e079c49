//! What people without rights, or with bad intent, must not achieve.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use apiserver::{Config, Server};
use client::{Cluster, JSON_PATCH, MERGE, STRATEGIC};
use http::Method;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const APPLY: &str = "application/apply-patch+yaml";
/// Objects of garbage for each kind.
const ROUNDS: usize = 10;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Group paths and what they list.
async fn discovered(cluster: &Cluster) -> Vec<(String, Vec<Value>)> {
    let api = &cluster.admin;
    let mut roots = vec!["/api/v1".to_owned()];
    let groups = api.get("/apis").await.ok();
    for group in groups["groups"].as_array().unwrap() {
        roots.push(format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    }
    let mut found = Vec::new();
    for root in roots {
        let list = api.get(&root).await.ok();
        found.push((root, list["resources"].as_array().unwrap().clone()));
    }
    found
}

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
async fn s50_what_is_too_large_or_forged_is_refused_and_the_server_goes_on() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    for n in 0..5 {
        api.post(MAPS, &json!({"metadata": {"name": format!("m{n}")}})).await.ok();
    }
    let large = format!("{{\"data\":{{\"x\":\"{}\"}}}}", "x".repeat(3 << 20));
    assert_eq!(api.call(Method::POST, MAPS, &[], large.as_bytes()).await.code, 413);
    let operation = r#"{"op":"add","path":"/data/x","value":"y"}"#;
    let many = format!("[{}]", vec![operation; 10_001].join(","));
    let reply = api
        .call(Method::PATCH, &format!("{MAPS}/m0"), &[("content-type", JSON_PATCH)], many.as_bytes())
        .await;
    assert_eq!(reply.code, 413);
    let deep = "[".repeat(200_000);
    assert_eq!(api.call(Method::POST, MAPS, &[], deep.as_bytes()).await.code, 400);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", "));
    }
    let yaml = [("content-type", "application/yaml")];
    assert_eq!(api.call(Method::POST, MAPS, &yaml, bomb.as_bytes()).await.code, 400);

    let whole = api.get(&format!("{MAPS}?limit=1000000000")).await.ok();
    assert_eq!(whole["items"].as_array().unwrap().len(), 5);
    let forge = |token: Value| data_encoding::BASE64URL_NOPAD.encode(token.to_string().as_bytes());
    for (token, code) in [
        ("junk".to_owned(), 400),
        (forge(json!({"revision": 1})), 400),
        (forge(json!({"revision": u64::MAX, "namespace": "", "name": ""})), 504),
        (forge(json!({"revision": -1, "namespace": "", "name": ""})), 400),
    ] {
        let reply = api.get(&format!("{MAPS}?limit=2&continue={token}")).await;
        assert_eq!(reply.code, code, "{token}: {}", reply.body);
    }
    // A token only says where to go on: of another namespace it gives nothing that the path does not.
    let other = api.namespace("other").await;
    api.post(&format!("{other}/configmaps"), &json!({"metadata": {"name": "secret"}})).await.ok();
    let revision: u64 = whole["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let token = forge(json!({"revision": revision + 2, "namespace": "", "name": ""}));
    let page = api.get(&format!("{MAPS}?continue={token}")).await.ok();
    assert!(page["items"].as_array().unwrap().iter().all(|item| item["metadata"]["namespace"] == "default"));
}

#[tokio::test]
async fn s50_what_grows_by_copies_nests_without_end_or_never_ends_is_refused_and_the_server_goes_on() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    api.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}, "spec": {}})).await.ok();
    let node = cluster.node("n1");
    let (path, status) = ("/api/v1/nodes/n1", "/api/v1/nodes/n1/status");

    let mut copies = vec![json!({"op": "add", "path": "/status/config", "value": {"x": "y".repeat(1000)}})];
    copies.extend(
        (0..40)
            .map(|n| json!({"op": "copy", "from": "/status/config", "path": format!("/status/config/{n}")})),
    );
    let reply = node.patch(status, JSON_PATCH, &json!(copies)).await;
    assert_eq!(
        reply.failure(),
        (413, "RequestEntityTooLarge", "a JSON patch may copy and move 3145728 bytes")
    );

    let nest = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
    let inner = "/status/config".to_owned() + &"/a".repeat(59);
    let deeper = json!([
        {"op": "add", "path": "/status/config", "value": nest(60)},
        {"op": "add", "path": inner, "value": nest(60)},
    ]);
    assert_eq!(node.patch(status, JSON_PATCH, &deeper).await.code, 422);
    let mut endless = vec![json!({"op": "add", "path": "/status/config", "value": nest(20)})];
    endless.extend((0..10).map(|_| json!({"op": "copy", "from": "/status/config", "path": "/status/config".to_owned() + &"/a".repeat(15)})));
    assert_eq!(node.patch(status, JSON_PATCH, &json!(endless)).await.code, 413);
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: deep}}, spec: {{affinity: {}1{}}}}}",
        "{a: ".repeat(110),
        "}".repeat(110)
    );
    let (pods, headers) = ("/api/v1/namespaces/default/pods", [("content-type", "application/yaml")]);
    let reply = api.call(Method::POST, pods, &headers, yaml.as_bytes()).await;
    assert!(matches!(reply.code, 400 | 422), "{}", reply.body);
    let bottomless = "[".repeat(200_000);
    assert_eq!(api.call(Method::POST, pods, &headers, bottomless.as_bytes()).await.code, 400);

    let images = json!({"status": {"images": [{"names": ["x".repeat(2 << 20)]}]}});
    node.patch(status, MERGE, &images).await.ok();
    let more = json!([{"op": "add", "path": "/status/images/0", "value": {"names": ["y".repeat(2 << 20)]}}]);
    assert_eq!(node.patch(status, JSON_PATCH, &more).await.code, 413);

    let mut watch = node.watch("/api/v1/nodes?watch=1&timeoutSeconds=18446744073709551615").await;
    assert_eq!(watch.told().await.1, "n1");
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "x"}],
        "terminationGracePeriodSeconds": i64::MAX});
    api.post(pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await.ok();
    let marked = node.delete(&format!("{pods}/p"), &json!({})).await.ok();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "9999-12-30T22:00:00Z");
    assert_eq!(node.get(path).await.ok()["metadata"]["name"], "n1");
}

/// A text in which nothing is what it should be: `turn` gives other numbers at each call.
fn garbage(turn: &mut impl FnMut(usize) -> usize, levels: usize) -> Value {
    const FIELDS: [&str; 40] = [
        "metadata",
        "name",
        "namespace",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "fieldsV1",
        "operation",
        "manager",
        "apiVersion",
        "uid",
        "resourceVersion",
        "deletionTimestamp",
        "generation",
        "spec",
        "status",
        "containers",
        "ports",
        "port",
        "protocol",
        "data",
        "stringData",
        "conditions",
        "type",
        "addresses",
        "cidr",
        "deleted",
        "ingress",
        "rules",
        "ipAddresses",
        "subjects",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "f:spec",
        "k:{}",
        "projectcalico.org/metadata",
    ];
    const WORDS: [&str; 9] =
        ["", "x", "é", "10.0.0.0/8", "-1", "replace", "Apply", "{\"labels\":[]}", "9999-99-99"];
    match turn(if levels == 0 { 5 } else { 12 }) {
        0 => Value::Null,
        1 => json!(turn(2) == 0),
        2 => json!([0, -1, i64::MAX, i64::MIN][turn(4)]),
        3 => json!([u64::MAX, 1 << 63][turn(2)]),
        4 => json!(WORDS[turn(WORDS.len())]),
        5..8 => (0..turn(4)).map(|_| garbage(turn, levels - 1)).collect(),
        _ => {
            (0..turn(7)).map(|_| (FIELDS[turn(FIELDS.len())].to_owned(), garbage(turn, levels - 1))).collect()
        }
    }
}

#[tokio::test]
async fn s50_no_garbage_in_any_field_of_any_kind_ends_the_server() {
    let cluster = Cluster::start().await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut turn = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut connection = cluster.admin.connect().await.unwrap();
    for (root, resources) in discovered(&cluster).await {
        for resource in resources.iter().filter(|resource| !resource["name"].as_str().unwrap().contains('/'))
        {
            let scope = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            let collection = format!("{root}{scope}/{}", resource["name"].as_str().unwrap());
            let own = format!("{collection}/x");
            for _ in 0..ROUNDS {
                let mut object = garbage(&mut turn, 6);
                // What lacks a name does not come far.
                if let (Value::Object(fields), true) = (&mut object, turn(4) > 0) {
                    fields.insert(
                        "apiVersion".into(),
                        json!(root.trim_start_matches("/apis/").trim_start_matches("/api/")),
                    );
                    fields.insert("kind".into(), resource["kind"].clone());
                    let mut metadata = garbage(&mut turn, 4);
                    match &mut metadata {
                        Value::Object(fields) => _ = fields.insert("name".into(), json!("x")),
                        other => *other = json!({"name": "x", "labels": other.clone()}),
                    }
                    if turn(8) > 0 {
                        fields.insert("metadata".into(), metadata);
                    }
                }
                let pointer =
                    ["", "/metadata", "/metadata/labels", "/metadata/managedFields", "/spec", "/status"]
                        [turn(6)];
                let operations = json!([{"op": "add", "path": pointer, "value": object.clone()}]);
                for (method, path, media_type, body) in [
                    (Method::POST, &collection, "application/json", &object),
                    (Method::PUT, &own, "application/json", &object),
                    (Method::PATCH, &own, MERGE, &object),
                    (Method::PATCH, &own, STRATEGIC, &object),
                    (Method::PATCH, &own, JSON_PATCH, &operations),
                    (Method::PATCH, &own, APPLY, &object),
                    (Method::DELETE, &own, "application/json", &object),
                ] {
                    let path = format!("{path}?fieldManager=m&fieldValidation=Ignore");
                    let accept = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
                    let headers = &[("content-type", media_type), accept];
                    let reply =
                        connection.call(method.clone(), &path, headers, body.to_string().as_bytes()).await;
                    let reply = reply.unwrap_or_else(|error| panic!("{method} {path}: {error}: {body}"));
                    assert!(reply.code < 500, "{method} {path}: {}: {body}", reply.body);
                }
                let listed = connection.call(Method::GET, &collection, &[], b"").await.unwrap();
                assert_eq!(listed.code, 200);
            }
        }
    }
}

/// Names and paths that try to get at other rows or files.
fn tricks() -> Vec<String> {
    let names = [
        "..",
        ".",
        "..%2f..%2fsecrets%2fs",
        "%2e%2e",
        "%2e%2e%2fs",
        "a%00b",
        "%00",
        "a%2fb",
        "a%5cb",
        "'%3B%20DROP%20TABLE%20versions%3B--",
        "%27%20OR%20%271%27%3D%271",
        "%22",
        "A",
        "CONFIGMAPS",
        "a%20b",
        "a%0ab",
        "a%0d%0aX-Y:1",
        "%ff%fe",
        "%c0%ae%c0%ae",
        "%ZZ",
        "%",
        "a%2525",
        "%e2%80%8b",
        "a..b",
        "-a",
        "a-",
        ".a",
        "a.",
        "*",
        "%25",
        "_",
        "a%3Fwatch=1",
    ];
    let frames = [
        "/api/v1/namespaces/default/configmaps/{}",
        "/api/v1/namespaces/{}/configmaps/s",
        "/api/v1/namespaces/{}",
        "/apis/projectcalico.org/v3/ippools/{}",
        "/apis/crd.projectcalico.org/v1/ippools/{}",
        "/apis/{}/v3/ippools/s",
        "/api/v1/namespaces/default/{}/s",
        "/api/v1/nodes/{}/status",
    ];
    frames.iter().flat_map(|frame| names.iter().map(move |name| frame.replace("{}", name))).collect()
}

#[tokio::test]
async fn s53_names_that_try_to_be_more_than_names_find_nothing_and_change_nothing() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}});
    api.post("/api/v1/namespaces/kube-system/secrets", &secret).await.ok();
    let before = everything(&cluster).await;
    let tricks = tricks();
    assert!(tricks.len() >= 200);
    let mut connection = api.connect().await.unwrap();
    for path in &tricks {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = connection.call(method.clone(), path, &[], b"{}").await;
            // Some are no request at all: the connection ends.
            let Ok(reply) = answer else {
                connection = api.connect().await.unwrap();
                continue;
            };
            assert!(matches!(reply.code, 400 | 404 | 405 | 415 | 422), "{method} {path}: {}", reply.body);
            assert!(!reply.body.to_string().contains("c2VjcmV0"), "{path}");
        }
    }
    for name in ["../x", "a/b", "a\0b", "'; DROP TABLE versions;--", "A", "", ".."] {
        let object = json!({"metadata": {"name": name}});
        assert!(matches!(api.post(MAPS, &object).await.code, 400 | 422), "{name}");
    }
    assert_eq!(everything(&cluster).await, before);
}

/// All that is stored of the kinds that the tricks aim at, at its revisions.
async fn everything(cluster: &Cluster) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/secrets",
        "/api/v1/nodes",
        "/apis/projectcalico.org/v3/ippools",
    ] {
        all.push(cluster.admin.get(path).await.ok()["items"].clone());
    }
    all
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
