//! The frames of a remote command (`v5.channel.k8s.io`, `v4.channel.k8s.io`; `k8s.io/apimachinery/pkg/util/remotecommand`),
//! as pure functions: a binary message's first byte names its channel, the rest is for it.

use rustix::termios::Winsize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Bytes;

/// Protocols that are spoken, the best first.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since v5: the rest is the number of a channel on which no more will come.
const CLOSE: u8 = 255;

/// What a client says.
#[derive(Debug, PartialEq)]
pub enum Said {
    Input(Bytes),
    NoMoreInput,
    Resized(Winsize),
    /// Nothing for us.
    Nothing,
}

/// Reads a client's message.
pub fn read(message: &Bytes) -> Said {
    match message.split_first() {
        Some((&STDIN, input)) if !input.is_empty() => Said::Input(message.slice(1..)),
        Some((&CLOSE, [STDIN])) => Said::NoMoreInput,
        Some((&RESIZE, size)) => resized(size).map_or(Said::Nothing, Said::Resized),
        _ => Said::Nothing,
    }
}

fn resized(size: &[u8]) -> Option<Winsize> {
    let size: Value = serde_json::from_slice(size).ok()?;
    let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
    Some(Winsize { ws_row: side("Height")?, ws_col: side("Width")?, ws_xpixel: 0, ws_ypixel: 0 })
}

/// A message on `channel`.
pub fn frame(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    message.into()
}

/// The last message: how the command ended, as a `Status` that `kubectl` takes its own exit code from.
pub fn ended(code: i32) -> Bytes {
    let status = match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
    };
    frame(ERROR, status.to_string().as_bytes())
}

/// The last message where the command could not be run at all.
pub fn failed(why: &str) -> Bytes {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {why}"),
        "details": {"causes": [{"message": why}]},
    });
    frame(ERROR, status.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_messages_are_input_its_end_and_sizes() {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        for (message, said) in [
            (&b"\0abc"[..], Said::Input(Bytes::from_static(b"abc"))),
            (b"\0", Said::Nothing),
            (b"\xff\0", Said::NoMoreInput),
            (b"\xff\x01", Said::Nothing),
            (b"\x04{\"Width\":80,\"Height\":24}", Said::Resized(size)),
            (b"\x04{\"Width\":80}", Said::Nothing),
            (b"\x04{\"Width\":99999,\"Height\":24}", Said::Nothing),
            (b"\x04junk", Said::Nothing),
            (b"", Said::Nothing),
            (b"\x07x", Said::Nothing),
        ] {
            assert_eq!(read(&Bytes::from_static(message)), said, "{message:?}");
        }
    }

    #[test]
    fn the_exit_code_is_in_the_last_message() {
        assert_eq!(ended(0), Bytes::from_static(b"\x03{\"metadata\":{},\"status\":\"Success\"}"));
        let status: Value = serde_json::from_slice(&ended(7)[1..]).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "7"}));
    }
}
