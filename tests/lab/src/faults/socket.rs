//! The agent's socket under who has no business there.

use crate::Lab;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use testkit::netns::Netns;

const NODE: &str = "master3";

pub fn s34_the_agents_socket_is_roots_alone_and_idle_clients_hold_up_nobody(lab: &Lab) {
    let socket = lab.node_file(NODE, "agent.sock");
    let mode = std::fs::metadata(&socket).expect("the agent listens").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = format!("printf '\"status\"\\n' | timeout 5 nc -U {}", socket.display());
    for uid in [1000, 65534] {
        let said = Command::new("sh").args(["-c", &line]).uid(uid).gid(uid).output().expect("sh runs");
        assert!(said.stdout.is_empty(), "uid {uid}: {}", String::from_utf8_lossy(&said.stdout));
    }
    // Root of a user namespace is nobody here.
    let words = ["--reuid=1000", "--regid=1000", "--clear-groups", "unshare", "-Ur", "sh", "-c", &line];
    let said = Command::new("setpriv").args(words).output().expect("setpriv runs");
    assert!(said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stdout));

    // A thousand that say nothing, though they could be served.
    let idle: Vec<UnixStream> = (0..1000).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    assert!(idle.len() > 500, "{}", idle.len());
    let pod = Netns::new();
    let added = lab.cni(NODE, "ADD", "s34", pod.path());
    assert!(added.good, "{}", added.body);
    assert!(added.took < Duration::from_secs(1), "{:?}", added.took);
    lab.cni(NODE, "DEL", "s34", pod.path()).expect("DEL");
    drop(idle);
}
