//! `exec`, and the other streams of a pod, which its node's kubelet answers.
//!
//! ```text
//!   kubectl ──TLS, WebSocket v5.channel.k8s.io──► here ──NODE/kubelet.sock, the same bytes──► kubelet ──► the pod
//! ```
//!
//! Who may, which pod, which container and which node is decided here; after the kubelet has agreed to the WebSocket,
//! bytes are carried both ways and not looked at. The socket's folder is root's alone, so a kubelet need not ask who calls.

use super::{Api, Body, Query, Target};
use crate::auth::User;
use crate::json::text;
use crate::kinds::Kind;
use crate::rights::{self, Verb};
use crate::status::Status;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A kubelet that has not answered the handshake by then is taken for dead.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a kubelet's refusal that are read.
const REFUSAL: usize = 64 << 10;

impl Api {
    /// Answers a request for a stream of a pod.
    pub(super) async fn stream(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        head: &Parts,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Status> {
        let stream = target.subresource.as_deref().unwrap_or_default();
        if !matches!(
            (&head.method, stream),
            (&Method::GET, _) | (&Method::POST, "exec" | "attach" | "portforward")
        ) {
            return Err(Status::method_not_allowed());
        }
        let name = target.name.as_deref().unwrap_or_default();
        rights::check(user, Verb::Connect, target.kind, Some(stream), &target.namespace, Some(name))?;
        let found = self.store.get(target.kind, &target.namespace, name).await?;
        let pod = found.ok_or_else(|| Status::not_found(target.kind, name))?.object();
        let container = container(&pod, query.get("container"))?;
        let node = self.node_of(&pod).await?;
        let Some(kubelets) = &self.kubelets else {
            return Err(Status::not_implemented(format!(
                "{stream} needs the pod's kubelet, and this API server was started without --kubelets"
            )));
        };
        if stream != "exec" {
            return Err(Status::not_implemented(nothing_runs(stream, name, container)));
        }
        let Some(upgrade) = upgrade.filter(|_| asks_for_websocket(&head.headers)) else {
            return Err(Status::bad_request(
                "exec is served over WebSocket only (v5.channel.k8s.io or v4.channel.k8s.io): use kubectl 1.31 or newer",
            ));
        };
        let path =
            format!("/exec/{}/{name}/{container}?{}", target.namespace, head.uri.query().unwrap_or_default());
        let socket = kubelets.join(&node).join("kubelet.sock");
        let answered = tokio::time::timeout(ANSWER, dial(&socket, &path, &head.headers)).await;
        let answer = answered.unwrap_or_else(|_| Err(format!("{} does not answer", socket.display())));
        carry(answer.map_err(Status::no_kubelet)?, upgrade).await
    }

    /// The node that a pod is on; its name is that of a Node, so a folder's name and nothing else.
    async fn node_of(&self, pod: &Value) -> Result<String, Status> {
        let (name, node) = (text(pod, &["metadata", "name"]), text(pod, &["spec", "nodeName"]));
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let nodes = Kind::core("nodes");
        match self.store.get(nodes, "", node).await? {
            Some(node) => Ok(node.name),
            None => Err(Status::not_found(nodes, node)),
        }
    }
}

/// The container that is meant: the one that is named, or the only one.
fn container<'p>(pod: &'p Value, asked: Option<&'p str>) -> Result<&'p str, Status> {
    let name = text(pod, &["metadata", "name"]);
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = containers.iter().map(|container| text(container, &["name"])).collect();
    match (asked, &names[..]) {
        (Some(asked), names) if names.contains(&asked) => Ok(asked),
        (Some(asked), _) => {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        (None, [only]) => Ok(only),
        (None, names) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            names.join(" ")
        ))),
    }
}

fn nothing_runs(stream: &str, pod: &str, container: &str) -> String {
    let instead = format!("`kubectl exec {pod} -- COMMAND` runs one in it");
    match stream {
        "log" => format!(
            "container \"{container}\" in pod \"{pod}\" has no log, for no program of its image runs: {instead}"
        ),
        "attach" => format!(
            "container \"{container}\" in pod \"{pod}\" has nothing to attach to, for no program of its image runs: {instead}"
        ),
        _ => "port-forward is not served: a pod's address is reached from every node".to_owned(),
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Asks the kubelet at `socket` for the stream, in the client's own words.
async fn dial(socket: &Path, path: &str, headers: &HeaderMap) -> Result<Response<Incoming>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
    let stream = UnixStream::connect(socket).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(path).header(header::HOST, "kubelet");
    let handshake = [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
    ];
    for name in handshake {
        for value in headers.get_all(&name) {
            request = request.header(&name, value);
        }
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    sender.send_request(request).await.map_err(|error| failed(&error))
}

/// Gives the kubelet's answer to the client, and joins the two streams if it agreed.
async fn carry(answer: Response<Incoming>, client: OnUpgrade) -> Result<Response<Body>, Status> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(answer.into_body(), REFUSAL).collect().await;
        let why = body.map_err(Status::no_kubelet)?.to_bytes();
        return Err(Status::bad_request(String::from_utf8_lossy(&why)));
    }
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        let (Ok(client), Ok(kubelet)) = (client.await, hyper::upgrade::on(answer).await) else { return };
        // Either end may hang up at any time: that is how streams end.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(kubelet)).await;
    });
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_the_named_one_or_the_only_one() {
        let pod = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
        };
        let words =
            |names: &[&str], asked| container(&pod(names), asked).map(str::to_owned).map_err(|e| e.message);
        assert_eq!(words(&["a"], None), Ok("a".into()));
        assert_eq!(words(&["a", "b"], Some("b")), Ok("b".into()));
        assert_eq!(words(&["a"], Some("b")), Err("container b is not valid for pod p".into()));
        assert_eq!(
            words(&["a", "b"], None),
            Err("a container name must be specified for pod p, choose one of: [a b]".into())
        );
    }
}
