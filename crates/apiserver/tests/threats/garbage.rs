//! What is too large, too deep, forged or means nothing.

use crate::client::{Cluster, JSON_PATCH, MERGE, STRATEGIC};
use crate::{MAPS, discovered};
use http::Method;
use serde_json::{Value, json};

const APPLY: &str = "application/apply-patch+yaml";
/// Objects of garbage for each kind.
const ROUNDS: usize = 10;

/// The most memory that this process ever had, in KiB.
fn peak_of_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn s50_what_is_too_large_or_forged_is_refused_and_the_server_goes_on() {
    let cluster = Cluster::start().await;
    let api = &cluster.admin;
    for n in 0..5 {
        api.post(MAPS, &json!({"metadata": {"name": format!("m{n}")}})).await.ok();
    }
    let before = peak_of_memory();
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
    // Client and server are one process here, and other tests are beside them.
    let grown = peak_of_memory() - before;
    assert!(grown < 256 << 10, "{grown} KiB more at its peak");

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
