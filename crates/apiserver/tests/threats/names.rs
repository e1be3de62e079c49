//! Names that try to be more than names.

use crate::MAPS;
use crate::client::Cluster;
use http::Method;
use serde_json::{Value, json};

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
