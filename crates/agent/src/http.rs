//! The plain GETs that probes and Prometheus make. One request a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The status line of what is well.
pub const OK: &str = "200 OK";
/// The status line of what is not.
pub const UNAVAILABLE: &str = "503 Service Unavailable";

/// How many requests are answered at once.
const CONNECTIONS: usize = 16;
/// The longest request.
const MAX_REQUEST: usize = 8 << 10;
/// How long a client and its answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Serves for ever: `answer` gives a path's status line and text, `None` for a path that is not served. A port that is taken
/// is said once, with the `flag` that names another, and tried again: the work is worth more than its metrics.
pub async fn serve<A, F>(addr: SocketAddr, flag: &str, answer: A)
where
    A: Fn(String) -> F + Clone + Send + 'static,
    F: Future<Output = Option<(&'static str, String)>> + Send,
{
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("cannot listen on {addr}: {error}; choose another address with {flag}");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // Who does not wait for the answer is not told.
            let _ = tokio::time::timeout(PATIENCE, converse(stream, answer)).await;
        });
    }
}

async fn converse<A, F>(mut stream: TcpStream, answer: A) -> io::Result<()>
where
    A: Fn(String) -> F,
    F: Future<Output = Option<(&'static str, String)>>,
{
    let head = read_head(&mut stream).await?;
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (status, body) = match method {
        "GET" | "HEAD" => {
            answer(path.to_owned()).await.unwrap_or_else(|| ("404 Not Found", "not found\n".to_owned()))
        }
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await?;
        if n == 0 || head.len() + n > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&chunk[..n]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    #[tokio::test]
    async fn f37_a_request_in_pieces_is_understood_and_a_long_answer_is_given_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let text = "calico_metric 1\n".repeat(100_000);
        let body = text.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            converse(stream, |_| async { Some((OK, body.clone())) }).await
        });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let mut client = socket.connect(addr).await.unwrap();
        client.set_nodelay(true).unwrap();
        for octet in b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" {
            client.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&text),
            "{} octets",
            answer.len()
        );
    }
}
