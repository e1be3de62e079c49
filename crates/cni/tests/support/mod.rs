//! A call of the plugin, and a place where an agent answers it as told.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test file uses its part")]

use node::cni::{Added, Reply, Request};
use node::socket::{Answer, Call};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command as Process;
use std::thread::JoinHandle;
use tempfile::TempDir;

/// One call of the plugin.
#[derive(Clone)]
pub struct Run {
    pub plugin: cni::Plugin,
    pub env: Vec<(String, String)>,
    pub stdin: String,
}

#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub exit: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(verb: &str, conf: Value) -> Run {
        let env = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a"),
        ];
        let env = env.map(|(name, value)| (name.into(), value.into())).into();
        Run { plugin: cni::Plugin::Network, env, stdin: conf.to_string() }
    }

    pub fn var(mut self, name: &str, value: &str) -> Run {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> &str {
        self.env.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub fn run(&self) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let env = |name: &str| self.env.iter().find(|(n, _)| n == name).map(|(_, v)| OsString::from(v));
        let exit = cni::main(self.plugin, env, &mut self.stdin.as_bytes(), &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).expect("the plugin prints UTF-8");
        Outcome { exit, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// A place for the socket and the state, and a network namespace.
pub struct Place {
    pub dir: TempDir,
    pub netns: Option<String>,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: TempDir::new().unwrap(), netns: None }
    }

    /// With a namespace, which goes with the place.
    pub fn with_netns(name: &str) -> Place {
        let name = format!("cni-{}-{name}", std::process::id());
        ip(&["netns", "add", &name]);
        Place { dir: TempDir::new().unwrap(), netns: Some(name) }
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("agent.sock")
    }

    pub fn queue(&self) -> std::path::PathBuf {
        cni::queue::directory(self.dir.path())
    }

    pub fn netns_path(&self) -> String {
        format!("/run/netns/{}", self.netns.as_ref().expect("made with a namespace"))
    }

    pub fn conf(&self, version: &str) -> Value {
        json!({
            "cniVersion": version, "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"},
            "agent_socket": self.socket(), "state_dir": self.dir.path(),
        })
    }

    /// Replies to one call and gives back what was asked, with the descriptors that came along.
    pub fn agent(
        &self,
        reply: impl Fn(&Request) -> Option<Reply> + Send + 'static,
    ) -> JoinHandle<(Request, Vec<OwnedFd>)> {
        self.answering(move |request| reply(request).map(Answer::Cni))
    }

    /// As `agent`, with answers that are no reply too.
    pub fn answering(
        &self,
        answer: impl Fn(&Request) -> Option<Answer> + Send + 'static,
    ) -> JoinHandle<(Request, Vec<OwnedFd>)> {
        self.saying(answer, |stream, line| stream.write_all(line).unwrap())
    }

    /// As `answering`, with a way of its own to say the line.
    pub fn saying(
        &self,
        answer: impl Fn(&Request) -> Option<Answer> + Send + 'static,
        say: impl Fn(&mut UnixStream, &[u8]) + Send + 'static,
    ) -> JoinHandle<(Request, Vec<OwnedFd>)> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut line, mut descriptors) = (Vec::new(), Vec::new());
            while line.last() != Some(&b'\n') {
                let mut chunk = [0; 65536];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let got = recvmsg(
                    &stream,
                    &mut [IoSliceMut::new(&mut chunk)],
                    &mut ancillary,
                    RecvFlags::CMSG_CLOEXEC,
                );
                let n = got.unwrap().bytes;
                assert!(n > 0, "the plugin hung up");
                line.extend_from_slice(&chunk[..n]);
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        descriptors.extend(fds);
                    }
                }
            }
            let Ok(Call::Cni(request)) = serde_json::from_slice(&line) else { panic!("not a call") };
            if let Some(answer) = answer(&request) {
                let mut line = serde_json::to_vec(&answer).unwrap();
                line.push(b'\n');
                say(&mut stream, &line);
            }
            (*request, descriptors)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = &self.netns {
            ip(&["netns", "del", name]);
        }
    }
}

pub fn ip(args: &[&str]) {
    assert!(Process::new("ip").args(args).status().expect("iproute2 is installed").success(), "ip {args:?}");
}

/// What a pod gets in the recorded ADD.
pub fn added(netns: &str) -> Reply {
    Reply::Added(Added {
        host_interface: "caligold-0".into(),
        interface: "eth0".into(),
        mac: Some("f2:fb:9b:e8:70:1a".parse().unwrap()),
        mtu: Some(model::Mtu(1450)),
        netns: netns.into(),
        addresses: vec!["172.16.217.34".parse().unwrap()],
        routes: Vec::new(),
    })
}
