//! Kubernetes' REST conventions, as any API server keeps them: ours, or a real one (see `client`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use client::{Cluster, Events, JSON_PATCH, MERGE, STRATEGIC};
use http::Method;
use serde_json::{Value, json};

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "registry.invalid/none"}]}})
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[tokio::test]
async fn an_object_is_created_read_replaced_and_deleted() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-life").await);
    let created = api.post(&format!("{path}/configmaps"), &config_map("a", "1")).await;
    assert_eq!(created.code, 201);
    let created = created.ok();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(created["metadata"][field].is_string(), "{field}");
    }
    let own = format!("{path}/configmaps/a");
    assert_eq!(api.get(&own).await.ok()["data"]["key"], "1");

    let mut changed = created.clone();
    changed["data"]["key"] = json!("2");
    let replaced = api.put(&own, &changed).await.ok();
    assert_eq!(replaced["metadata"]["uid"], created["metadata"]["uid"]);
    assert_ne!(version(&replaced), version(&created));

    let gone = api.delete(&own, &json!({})).await.ok();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], created["metadata"]["uid"]);
    assert_eq!(api.get(&own).await.failure(), (404, "NotFound", "configmaps \"a\" not found"));
}

#[tokio::test]
async fn failures_have_kubernetes_codes_reasons_and_words() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-fail").await);
    let maps = format!("{path}/configmaps");
    let first = api.post(&maps, &config_map("a", "1")).await.ok();
    let again = api.post(&maps, &config_map("a", "1")).await;
    assert_eq!(again.failure(), (409, "AlreadyExists", "configmaps \"a\" already exists"));

    api.put(&format!("{maps}/a"), &config_map("a", "2")).await.ok();
    let stale = api.put(&format!("{maps}/a"), &first).await;
    let modified = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
                    please apply your changes to the latest version and try again";
    assert_eq!(stale.failure(), (409, "Conflict", modified));

    let bad = api.post(&maps, &config_map("Not_A_Name", "1")).await;
    let (code, reason, message) = bad.failure();
    assert_eq!((code, reason), (422, "Invalid"));
    assert!(message.starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain"), "{message}");
    assert_eq!(bad.body["details"]["causes"][0]["field"], "metadata.name");

    let nowhere = api.post("/api/v1/namespaces/no-such/configmaps", &config_map("a", "1")).await;
    assert_eq!(nowhere.failure(), (404, "NotFound", "namespaces \"no-such\" not found"));
    let no_path = api.get("/api/v1/nosuchkinds").await;
    assert_eq!(no_path.failure(), (404, "NotFound", "the server could not find the requested resource"));
    let other_name = api.put(&format!("{maps}/a"), &config_map("b", "1")).await;
    assert_eq!(
        other_name.failure(),
        (400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")
    );
    assert_eq!(api.with_token("wrong").get(&maps).await.failure(), (401, "Unauthorized", "Unauthorized"));
    assert_eq!(api.call(Method::PATCH, &maps, &[("content-type", MERGE)], b"{}").await.code, 405);
    assert_eq!(api.call(Method::POST, &maps, &[], b"{").await.code, 400);
    let media = api.call(Method::POST, &maps, &[("content-type", "text/plain")], b"x").await;
    assert_eq!((media.code, &media.body["reason"]), (415, &json!("UnsupportedMediaType")));
    let huge = format!("{{\"metadata\":{{\"name\":\"h\"}},\"data\":{{\"k\":\"{}\"}}}}", "x".repeat(4 << 20));
    assert_eq!(api.call(Method::POST, &maps, &[], huge.as_bytes()).await.code, 413);
}

#[tokio::test]
async fn all_three_patches_change_what_they_say() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-patch").await);
    api.post(&format!("{path}/configmaps"), &config_map("a", "1")).await.ok();
    let own = format!("{path}/configmaps/a");
    let merged = api.patch(&own, MERGE, &json!({"data": {"more": "x", "key": null}})).await.ok();
    assert_eq!(merged["data"], json!({"more": "x"}));
    let operations = json!([{"op": "test", "path": "/data/more", "value": "x"},
        {"op": "add", "path": "/data/added", "value": "y"}]);
    let patched = api.patch(&own, JSON_PATCH, &operations).await.ok();
    assert_eq!(patched["data"], json!({"more": "x", "added": "y"}));
    let failing =
        api.patch(&own, JSON_PATCH, &json!([{"op": "test", "path": "/data/more", "value": "z"}])).await;
    assert_eq!((failing.code, &failing.body["reason"]), (422, &json!("Invalid")));
    let strategic = json!({"metadata": {"labels": {"l": "1"}}, "data": {"added": null}});
    let patched = api.patch(&own, STRATEGIC, &strategic).await.ok();
    assert_eq!(
        (&patched["data"], &patched["metadata"]["labels"]),
        (&json!({"more": "x"}), &json!({"l": "1"}))
    );

    let same = api.patch(&own, MERGE, &json!({"data": {"more": "x"}})).await.ok();
    assert_eq!(version(&same), version(&patched), "what changes nothing is not written");
    let stale =
        api.patch(&own, MERGE, &json!({"metadata": {"resourceVersion": "1"}, "data": {"n": "1"}})).await;
    assert_eq!(stale.failure().0, 409);
    assert_eq!(api.patch(&format!("{own}x"), MERGE, &json!({})).await.code, 404);
}

#[tokio::test]
async fn status_and_spec_of_a_pod_are_written_apart() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-status").await);
    // A real server gives pods the namespace's service account, which its controller makes; ours needs none.
    let mut sent = pod("a");
    sent["spec"]["automountServiceAccountToken"] = json!(false);
    sent["status"] = json!({"phase": "Running"});
    let created = api.post(&format!("{path}/pods"), &sent).await.ok();
    assert_eq!(created["status"]["phase"], "Pending");
    let own = format!("{path}/pods/a");
    let status = json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        "metadata": {"annotations": {"x": "y"}}, "spec": {"activeDeadlineSeconds": 5}});
    let patched = api.patch(&format!("{own}/status"), STRATEGIC, &status).await.ok();
    assert_eq!(patched["status"]["podIP"], "10.0.0.1");
    assert_eq!(patched["metadata"]["annotations"]["x"], "y");
    assert!(patched["spec"].get("activeDeadlineSeconds").is_none());
    let main = api.patch(&own, MERGE, &json!({"status": {"podIP": "10.0.0.2"}})).await.ok();
    assert_eq!(main["status"]["podIP"], "10.0.0.1");
}

#[tokio::test]
async fn lists_are_selected_and_cut_into_pages_of_one_moment() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-list").await);
    let maps = format!("{path}/configmaps");
    for n in 0..5 {
        let mut map = config_map(&format!("m{n}"), "1");
        map["metadata"]["labels"] = json!({"parity": if n % 2 == 0 { "even" } else { "odd" }, "own": "yes"});
        api.post(&maps, &map).await.ok();
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let even = api.get(&format!("{maps}?labelSelector=parity%3Deven")).await.ok();
    assert_eq!(names(&even), ["m0", "m2", "m4"]);
    assert_eq!(even["kind"], "ConfigMapList");
    let one = api.get(&format!("{maps}?fieldSelector=metadata.name%3Dm3")).await.ok();
    assert_eq!(names(&one), ["m3"]);
    let unknown = api.get(&format!("{maps}?fieldSelector=data.key%3D1")).await;
    assert_eq!(unknown.failure().0, 400);
    let known = "\"data.key\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert!(unknown.failure().2.ends_with(known), "{}", unknown.failure().2);

    let own = format!("{maps}?labelSelector=own&limit=2");
    let first = api.get(&own).await.ok();
    assert_eq!(names(&first), ["m0", "m1"]);
    // What happens between two pages is not seen by the second.
    api.delete(&format!("{maps}/m2"), &json!({})).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("{own}&continue={token}")).await.ok();
    assert_eq!(names(&second), ["m2", "m3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = api.get(&format!("{own}&continue={token}")).await.ok();
    assert_eq!(names(&third), ["m4"]);
    assert!(third["metadata"].get("continue").is_none_or(|token| token == ""));

    let exact =
        format!("{maps}?labelSelector=own&resourceVersionMatch=Exact&resourceVersion={}", version(&first));
    assert_eq!(names(&api.get(&exact).await.ok()), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(api.get(&format!("{maps}?resourceVersion=x")).await.code, 400);
    assert_eq!(api.get(&format!("{maps}?limit=2&continue=x")).await.code, 400);
}

#[tokio::test]
async fn a_watch_tells_what_enters_changes_and_leaves_its_selection() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-watch").await);
    let maps = format!("{path}/configmaps");
    let from = api.get(&maps).await.ok();
    let query = format!("watch=1&labelSelector=w%3Dyes&resourceVersion={}", version(&from));
    let mut events = api.watch(&format!("{maps}?{query}")).await;
    api.post(&maps, &config_map("a", "1")).await.ok();
    let label = |value: Value| json!({"metadata": {"labels": {"w": value}}});
    let own = format!("{maps}/a");
    for patch in [label(json!("yes")), json!({"data": {"key": "2"}}), label(json!("no")), label(json!("yes"))]
    {
        api.patch(&own, MERGE, &patch).await.ok();
    }
    api.delete(&own, &json!({})).await.ok();
    for expected in ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"] {
        assert_eq!(events.told().await, (expected.to_owned(), "a".to_owned()));
    }
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-start").await);
    let maps = format!("{path}/configmaps");
    api.post(&maps, &config_map("a", "1")).await.ok();
    let only_a = "fieldSelector=metadata.name%3Da";
    let mut events = api.watch(&format!("{maps}?watch=true&{only_a}")).await;
    assert_eq!(events.told().await, ("ADDED".into(), "a".into()));

    let streamed = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = api.watch(&format!("{maps}?watch=true&{only_a}&{streamed}")).await;
    assert_eq!(events.told().await, ("ADDED".into(), "a".into()));
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

    let mut events = api.watch(&format!("{maps}?watch=true&{only_a}&timeoutSeconds=1")).await;
    assert_eq!(events.told().await, ("ADDED".into(), "a".into()));
    assert_eq!(events.next().await, None, "a watch ends when its time is up");
}

#[tokio::test]
async fn deletion_keeps_preconditions_and_finalizers() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-delete").await);
    let maps = format!("{path}/configmaps");
    let mut map = config_map("a", "1");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = api.post(&maps, &map).await.ok();
    let own = format!("{maps}/a");
    let wrong =
        api.delete(&own, &json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})).await;
    assert_eq!(wrong.failure().0, 409);
    let stale = api.delete(&own, &json!({"preconditions": {"resourceVersion": "1"}})).await;
    assert_eq!(stale.failure().0, 409);
    let right =
        json!({"preconditions": {"uid": created["metadata"]["uid"], "resourceVersion": version(&created)}});
    let held = api.delete(&own, &right).await.ok();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    api.patch(&own, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(api.get(&own).await.code, 404);

    for name in ["b", "c"] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] = json!({"pick": name});
        api.post(&maps, &map).await.ok();
    }
    api.delete(&format!("{maps}?labelSelector=pick%3Db"), &json!({})).await.ok();
    assert_eq!(
        (api.get(&format!("{maps}/b")).await.code, api.get(&format!("{maps}/c")).await.code),
        (404, 200)
    );
}

#[tokio::test]
async fn a_rehearsal_changes_nothing() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-dry").await);
    let maps = format!("{path}/configmaps");
    api.post(&format!("{maps}?dryRun=All"), &config_map("a", "1")).await.ok();
    assert_eq!(api.get(&format!("{maps}/a")).await.code, 404);
    api.post(&maps, &config_map("a", "1")).await.ok();
    api.patch(&format!("{maps}/a?dryRun=All"), MERGE, &json!({"data": {"key": "2"}})).await.ok();
    api.delete(&format!("{maps}/a"), &json!({"dryRun": ["All"]})).await.ok();
    assert_eq!(api.get(&format!("{maps}/a")).await.ok()["data"]["key"], "1");
    let refused = api.delete(&format!("{maps}/a"), &json!({"propagationPolicy": "Bogus"})).await;
    let words = "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Bogus\": \
                 supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
    assert_eq!(refused.failure(), (422, "Invalid", words));
}

#[tokio::test]
async fn an_apply_keeps_managers_and_conflicts_as_kubernetes_does() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-apply").await);
    let own = |manager: &str| format!("{path}/configmaps/a?fieldManager={manager}");
    let apply = "application/apply-patch+yaml";
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let made = api.patch(&own("one"), apply, &map(json!({"x": "1", "y": "1"}))).await;
    assert_eq!(made.code, 201);
    let entry = &made.ok()["metadata"]["managedFields"][0];
    assert_eq!(
        (
            &entry["manager"],
            &entry["operation"],
            &entry["apiVersion"],
            &entry["fieldsType"],
            &entry["fieldsV1"]
        ),
        (
            &json!("one"),
            &json!("Apply"),
            &json!("v1"),
            &json!("FieldsV1"),
            &json!({"f:data": {"f:x": {}, "f:y": {}}})
        )
    );
    let refused = api.patch(&own("two"), apply, &map(json!({"x": "2"}))).await;
    let words = "Apply failed with 1 conflict: conflict with \"one\": .data.x";
    assert_eq!(refused.failure(), (409, "Conflict", words));
    let cause =
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.x"});
    assert_eq!(refused.body["details"]["causes"], json!([cause]));
    let forced = api.patch(&format!("{}&force=true", own("two")), apply, &map(json!({"x": "2"}))).await.ok();
    assert_eq!(forced["data"], json!({"x": "2", "y": "1"}));
    let edited = json!({"data": {"y": "3"}});
    api.patch(&own("edit"), MERGE, &edited).await.ok();
    let refused = api.patch(&own("one"), apply, &map(json!({"y": "1"}))).await;
    let words = "Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.y";
    assert_eq!(refused.failure(), (409, "Conflict", words));
    let left = api.patch(&own("two"), apply, &map(json!({}))).await.ok();
    assert_eq!(left["data"], json!({"y": "3"}), "what its only manager does not name any more goes");
    let unnamed = api.patch(&format!("{path}/configmaps/a"), apply, &map(json!({}))).await;
    let words =
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    assert_eq!(unnamed.failure(), (422, "Invalid", words));
}

#[tokio::test]
async fn a_ports_key_is_its_number_and_protocol() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-ports").await);
    let apply = |manager: &str, ports: Value| {
        let (api, url) = (api.clone(), format!("{path}/services/s?fieldManager={manager}"));
        let spec = json!({"clusterIP": "None", "ports": ports});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
        async move { api.patch(&url, "application/apply-patch+yaml", &service).await }
    };
    apply("one", json!([{"port": 53, "name": "tcp"}])).await.ok();
    let both = apply("two", json!([{"port": 53, "protocol": "UDP", "name": "udp"}])).await.ok();
    let names: Vec<&Value> =
        both["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    assert_eq!(names, ["tcp", "udp"]);
    let refused = apply("two", json!([{"port": 53, "name": "mine"}])).await;
    let words =
        "Apply failed with 1 conflict: conflict with \"one\": .spec.ports[port=53,protocol=\"TCP\"].name";
    assert_eq!(refused.failure(), (409, "Conflict", words));
}

#[tokio::test]
async fn yaml_is_taken_where_json_is() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-yaml").await);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  key: 'yes'\n";
    let headers = [("content-type", "application/yaml")];
    let made = api.call(Method::POST, &format!("{path}/configmaps"), &headers, yaml.as_bytes()).await;
    assert_eq!(made.ok()["data"]["key"], "yes");
    let again = yaml.replace("'yes'", "other");
    let put = api.call(Method::PUT, &format!("{path}/configmaps/a"), &headers, again.as_bytes()).await;
    assert_eq!(put.ok()["data"]["key"], "other");
}

#[tokio::test]
async fn a_generated_name_is_new_each_time() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-generate").await);
    let mut map = config_map("", "1");
    map["metadata"] = json!({"generateName": "web-"});
    let (one, two) = (
        api.post(&format!("{path}/configmaps"), &map).await.ok(),
        api.post(&format!("{path}/configmaps"), &map).await.ok(),
    );
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&one).starts_with("web-") && name(&one).len() == 9, "{}", name(&one));
    assert_ne!(name(&one), name(&two));
}

#[tokio::test]
async fn a_table_has_kubectls_columns_in_lists_and_watches() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-table").await);
    api.post(&format!("{path}/configmaps"), &config_map("a", "1")).await.ok();
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let only_a = format!("{path}/configmaps?fieldSelector=metadata.name%3Da");
    let table = api.call(Method::GET, &only_a, &accept, b"").await.ok();
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    // The same columns in a watch, each event a table of one row.
    let from = table["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!("{path}/configmaps?watch=1&resourceVersion={from}");
    let response = api.connect().await.unwrap().send(Method::GET, &watch, &accept, b"").await.unwrap();
    let mut events = Events::of(response.into_body());
    api.post(&format!("{path}/configmaps"), &config_map("b", "1")).await.ok();
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert_eq!(event["object"]["columnDefinitions"], table["columnDefinitions"]);
    assert_eq!(event["object"]["rows"].as_array().unwrap().len(), 1);
    assert_eq!(event["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let cluster = Cluster::conforming().await;
    let (api, path) = (&cluster.admin, cluster.admin.namespace("c-ns").await);
    api.post(&format!("{path}/configmaps"), &config_map("a", "1")).await.ok();
    api.delete(&path, &json!({})).await.ok();
    for _ in 0..100 {
        if api.get(&path).await.code == 404 {
            assert_eq!(api.get(&format!("{path}/configmaps/a")).await.code, 404);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the namespace is still there after 10 s");
}
