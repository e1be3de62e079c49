//! A server that shows recorded objects as an API server would, one connection after the other.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Serves `<folder>/<plural>.json` on a free port until the test ends; its URL.
pub async fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let folder = folder.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                loop {
                    let mut request = String::new();
                    if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let mut header = String::new();
                    while header != "\r\n" {
                        header.clear();
                        stream.read_line(&mut header).await.expect("a header");
                    }
                    let path =
                        request.split(' ').nth(1).expect("a path").split('?').next().unwrap_or_default();
                    let (code, body) = answer(&folder, path);
                    let body = body.to_string();
                    let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(head.as_bytes()).await.expect("written");
                }
            });
        }
    });
    url
}

fn answer(folder: &Path, path: &str) -> (u16, Value) {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let group = if parts[0] == "apis" { parts[1].to_owned() } else { String::new() };
    parts.drain(..if parts[0] == "apis" { 3 } else { 2 });
    let namespace = (parts[0] == "namespaces" && parts.len() > 2).then(|| parts[1]);
    if namespace.is_some() {
        parts.drain(..2);
    }
    let Ok(text) = std::fs::read_to_string(folder.join(format!("{}.json", parts[0]))) else {
        return (404, missing(parts[0], &group, ""));
    };
    let list: Value = serde_json::from_str(&text).expect("a list");
    let of_namespace = |item: &&Value| namespace.is_none_or(|name| item["metadata"]["namespace"] == name);
    let items: Vec<&Value> = list["items"].as_array().expect("items").iter().filter(of_namespace).collect();
    match parts.get(1) {
        None => (200, json!({"metadata": {"resourceVersion": "2312"}, "items": items})),
        Some(name) => match items.iter().find(|item| item["metadata"]["name"] == *name) {
            Some(item) => (200, (*item).clone()),
            None => (404, missing(parts[0], &group, name)),
        },
    }
}

fn missing(plural: &str, group: &str, name: &str) -> Value {
    let what = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let message = format!("{what} \"{name}\" not found");
    json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": message})
}
