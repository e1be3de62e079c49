//! `kubectl exec`: the API server passes a client's WebSocket on to this node's socket, and here is its other end.
//!
//! The path says which pod, the query which command and streams. A refusal is one sentence with status 400 or 404. The
//! socket is root's alone; who may run what was decided by the API server.

use super::sandbox::{PodName, Sandbox};
use super::session::{self, Session};
use super::{Kubelet, channel};
use anyhow::Context;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri, header};

/// Opens the node's socket anew, for root alone.
pub fn listen(kubelet: &Kubelet) -> anyhow::Result<UnixListener> {
    let path = kubelet.files.kubelet_socket();
    let _ = fs::remove_file(&path);
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).with_context(|| format!("cannot listen on {}", new.display()))?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, &path)?;
    Ok(listener)
}

/// Serves the socket.
pub async fn serve(kubelet: Rc<Kubelet>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let kubelet = kubelet.clone();
                tokio::task::spawn_local(async move {
                    if let Err(e) = answer(&kubelet, stream).await {
                        eprintln!("exec: {e:#}");
                    }
                });
            }
            Err(e) => {
                eprintln!("cannot accept a stream: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(kubelet: &Kubelet, stream: UnixStream) -> anyhow::Result<()> {
    let mut agreed = None;
    // The refusal is as large as the library made it.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    let agree = |request: &Request, mut response: Response| match wish(kubelet, request) {
        Ok((session, protocol)) => {
            let value = HeaderValue::from_static(protocol);
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
            agreed = Some(session);
            Ok(response)
        }
        Err((status, why)) => {
            let mut refusal = ErrorResponse::new(Some(why));
            *refusal.status_mut() = status;
            Err(refusal)
        }
    };
    let Ok(socket) = accept_hdr_async(stream, agree).await else { return Ok(()) };
    let session = agreed.context("a handshake without a wish")?;
    session::run(socket, session).await
}

/// What a request wants, and the protocol to speak; or a refusal.
fn wish(kubelet: &Kubelet, request: &Request) -> Result<(Session, &'static str), (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    let ["exec", namespace, name, _container] = path[..] else {
        return Err((StatusCode::NOT_FOUND, "a kubelet of a lab serves exec only".into()));
    };
    let offered: Vec<&str> = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    let protocol = channel::PROTOCOLS.into_iter().find(|protocol| offered.contains(protocol));
    let protocol = protocol.ok_or_else(|| {
        bad(format!(
            "unable to upgrade: {} are spoken, not {}",
            channel::PROTOCOLS.join(" and "),
            offered.join(", ")
        ))
    })?;
    let pod = PodName { namespace: namespace.into(), name: name.into() };
    let sandbox = Sandbox::load(&kubelet.files, &pod).map_err(|e| bad(format!("{e:#}")))?;
    let sandbox = sandbox.filter(|sandbox| sandbox.result.is_some() && sandbox.netns.exists());
    let sandbox = sandbox.ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("pod {name} does not run on node {} yet, or no longer", kubelet.node))
    })?;
    let session = session_of(kubelet, request.uri(), sandbox);
    if session.command.is_empty() {
        return Err(bad("you must specify at least one command for the container".into()));
    }
    Ok((session, protocol))
}

fn session_of(kubelet: &Kubelet, uri: &Uri, sandbox: Sandbox) -> Session {
    let parameters = parameters(uri.query().unwrap_or_default());
    let flag = |name: &str| {
        parameters.iter().any(|(key, value)| key == name && matches!(value.as_str(), "true" | "1"))
    };
    let command = parameters.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone());
    Session {
        program: kubelet.bin.join("tortie"),
        path: format!(
            "{}:{}:/usr/sbin:/sbin",
            kubelet.bin.display(),
            std::env::var("PATH").unwrap_or_default()
        ),
        netns: sandbox.netns,
        command: command.collect(),
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr"),
        tty: flag("tty"),
    }
}

/// The parameters of a query string, in order, percent-decoded.
fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        bytes.push(match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = &tail[2..];
                u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")
            }
            (b'+', ..) => b' ',
            (byte, ..) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_words_and_their_order() {
        let query = "command=sh&command=-c&command=echo+a%26b%3D%22%C3%A9%22&stdout=true&tty=&odd=%zz";
        let text = |key: &str| {
            parameters(query).into_iter().filter(|(k, _)| k == key).map(|(_, v)| v).collect::<Vec<_>>()
        };
        assert_eq!(text("command"), ["sh", "-c", "echo a&b=\"é\""]);
        assert_eq!(
            (text("stdout"), text("tty"), text("odd")),
            (vec!["true".into()], vec![String::new()], vec!["%zz".to_owned()])
        );
    }
}
