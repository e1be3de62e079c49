//! The lab under test: `tortie lab` as people run it, asserted with iproute2, nft, ping, tcpdump and kubectl.
//!
//! A file of tests shares one lab ([`suite`]), since starting one takes seconds; a case that fails gets a new one for those
//! after it.

pub mod addresses;
pub mod article;
pub mod bgp;
mod capture;
mod cni;
pub mod faults;
mod halt;
mod mode;
mod router;
pub mod suite;
mod underlay;
mod ways;

pub use capture::Capture;
pub use cni::Answer;
pub use halt::Halted;
pub use router::Router;
pub use underlay::Badness;
pub use ways::Ways;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
pub use testkit::at_length;
use testkit::netns::{self, Netns};
use testkit::process::Guard;
use testkit::sampler::Place;

/// The pods of the first three nodes of every lab: node, name, address.
pub const PODS: [(&str, &str, &str); 3] = [
    ("master1", "ping-test-rfwx9", "6.2.137.67"),
    ("master2", "ping-test-fljwb", "6.2.180.2"),
    ("master3", "ping-test-mrrdv", "6.2.136.4"),
];

static MADE: AtomicU32 = AtomicU32::new(0);

/// A lab that goes down when this is dropped.
pub struct Lab {
    pub name: String,
    pub dir: PathBuf,
    program: PathBuf,
}

/// The program under test: what `TORTIE_SHIPPED` names (`./dev bench`), else the one built beside the tests.
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    if let Some(shipped) = std::env::var_os("TORTIE_SHIPPED") {
        return shipped.into();
    }
    let own = std::env::current_exe().expect("a test has a path");
    let beside =
        own.ancestors().skip(1).take(2).map(|folder| folder.join("tortie")).find(|path| path.is_file());
    beside.unwrap_or_else(|| panic!("no tortie beside {}: `cargo build -p tortie` makes it", own.display()))
}

/// Whether the kernel has its own module for IP in IP: a distribution's has, and whatever else a network is made of.
pub fn has_ipip_module() -> bool {
    Path::new("/sys/module/ipip").exists()
}

impl Lab {
    /// Starts a lab with these arguments of `lab up`.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn up(args: &[&str]) -> Lab {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let lab = Lab { name, dir: std::env::temp_dir().join("tortie-lab-tests"), program: program() };
        lab.verb(&[&["up"], args].concat());
        lab
    }

    /// Runs a verb of `tortie lab` on this lab.
    ///
    /// # Panics
    /// If it fails.
    pub fn verb(&self, args: &[&str]) -> String {
        good(&format!("lab {}", args.join(" ")), &self.try_verb(args))
    }

    /// Runs a verb, whatever comes of it.
    pub fn try_verb(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg("lab").arg("--name").arg(&self.name).arg("--dir").arg(&self.dir).args(args);
        command.output().expect("the program runs")
    }

    /// Runs a line of shell on a node, or in a pod (`NODE/POD`), as typed.
    ///
    /// # Panics
    /// If it fails.
    pub fn exec(&self, place: &str, line: &str) -> String {
        good(&format!("{place}: {line}"), &self.try_exec(place, line))
    }

    /// Runs a line of shell, whatever comes of it.
    pub fn try_exec(&self, place: &str, line: &str) -> Output {
        self.try_verb(&["exec", place, "--", "sh", "-c", line])
    }

    /// A JSON document that a command prints.
    ///
    /// # Panics
    /// If it fails or prints something else.
    pub fn json(&self, line: &str) -> Value {
        let text = self.exec("master1", line);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("`{line}` prints no JSON: {e}\n{text}"))
    }

    /// The tunnels that stand on a node. The `tunl0` of the kernel's own module always does: it counts while it has an address.
    pub fn tunnels(&self, node: &str) -> Vec<&'static str> {
        let shown = self.exec(node, "ip -br address show");
        let stands = |line: &str, device: &str| {
            line.starts_with(device) && (line.contains('/') || !line.starts_with("tunl0@NONE"))
        };
        let devices = ["tunl0", "vxlan.calico"].into_iter();
        devices.filter(|device| shown.lines().any(|line| stands(line, device))).collect()
    }

    /// The file on which a node's namespace is mounted.
    pub fn netns(&self, node: &str) -> PathBuf {
        self.root().join("netns").join(node)
    }

    /// A pod as an end of the sampler.
    ///
    /// # Panics
    /// If it does not run there.
    pub fn place(&self, node: &str, pod: &str) -> Place {
        let sandbox = self.sandbox(node, pod);
        let addr = sandbox["result"]["ips"][0]["address"].as_str().expect("an ADD gives an address");
        Place {
            netns: sandbox["netns"].as_str().expect("a sandbox has a namespace").into(),
            addr: addr.split('/').next().and_then(|addr| addr.parse::<IpAddr>().ok()).expect("an address"),
        }
    }

    /// What the node's runtime knows of a pod.
    ///
    /// # Panics
    /// If it does not run there.
    pub fn sandbox(&self, node: &str, pod: &str) -> Value {
        let file = self.node_file(node, &format!("pods/default.{pod}.json"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        serde_json::from_str(&text).expect("a sandbox")
    }

    /// A file of a node.
    pub fn node_file(&self, node: &str, file: &str) -> PathBuf {
        self.root().join("nodes").join(node).join(file)
    }

    /// The directory of this lab.
    pub fn root(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The pid of a resident process.
    ///
    /// # Panics
    /// If it was never started.
    pub fn pid(&self, process: &str) -> u32 {
        let record =
            std::fs::read_to_string(self.root().join("processes").join(process)).expect("it was started");
        record.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid")
    }

    /// Starts an agent of a node, which runs under the lab, anew under the test: with more or other arguments and with variables.
    /// It writes to the log of its node, and ends with the guard; `lab start` starts the lab's own again.
    ///
    /// # Panics
    /// If it cannot be killed or started.
    pub fn take_over(
        &self,
        node: &str,
        wrapped: &[&str],
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Guard {
        let agent = format!("node-{node}");
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid(&agent))).expect("it runs");
        let line = String::from_utf8(line).expect("text");
        let mut words: Vec<&str> = wrapped.to_vec();
        let flag = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let is_replaced = |word: &&str| more.iter().any(|new| flag(new) == flag(word));
        words.extend(line.trim_end_matches('\0').split('\0').filter(|word| !is_replaced(word)));
        words.extend(more);
        self.verb(&["kill", &agent]);
        let log = std::fs::File::options().append(true).open(self.root().join("logs").join(&agent));
        let mut command = testkit::netns::command(&self.netns(node), words[0]);
        command.args(&words[1..]).stderr(log.expect("the lab made it")).envs(variables.iter().copied());
        let guard = Guard::spawn(&mut command);
        let socket = self.node_file(node, "agent.sock");
        within(Duration::from_secs(20), "the agent answers", || {
            UnixStream::connect(&socket).is_ok() && self.agent(node)["ready"] == true
        });
        guard
    }

    /// What a resident process has logged.
    pub fn log(&self, process: &str) -> String {
        std::fs::read_to_string(self.root().join("logs").join(process)).unwrap_or_default()
    }

    /// What a node's agent says of itself.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn agent(&self, node: &str) -> Value {
        status(&self.node_file(node, "agent.sock"))
    }

    /// A machine on the nodes' subnet that is no node.
    ///
    /// # Panics
    /// If it cannot be joined to the subnet.
    pub fn stranger(&self, address: &str) -> Netns {
        let stranger = Netns::new();
        let host = address.split('/').next().and_then(|addr| addr.rsplit('.').next()).expect("an address");
        let join = format!(
            // Of the one before it, what the kernel has not taken away yet.
            "ip link del stranger{host} 2>/dev/null; ip link add stranger{host} type veth peer name eth0 netns {} && ip link set stranger{host} master lan0 up",
            stranger.path().display()
        );
        let joined = testkit::netns::command(&self.netns("fabric"), "sh").args(["-c", &join]).status();
        assert!(joined.is_ok_and(|status| status.success()), "{join}");
        // Always the same MAC: nodes remember that of the one before it.
        let mac = format!("02:00:00:00:00:{:02x}", host.parse::<u8>().expect("an octet"));
        stranger.run(&format!("ip link set eth0 address {mac} up && ip address add {address} dev eth0"));
        within(Duration::from_secs(10), "the stranger reaches the API server's address", || {
            stranger.try_run("ping -n -c1 -W1 192.168.50.1").status.success()
        });
        stranger
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join("nodes")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// One ping from a pod arrives and is answered.
    ///
    /// # Panics
    /// Otherwise.
    pub fn ping(&self, from: &str, target: &str) {
        self.exec(from, &format!("ping -n -c1 -W2 {target}"));
    }

    /// Every pod pings every other pod.
    ///
    /// # Panics
    /// If one does not.
    pub fn ping_all(&self, pods: &[(&str, &str, &str)]) {
        for (node, pod, address) in pods {
            for (_, _, target) in pods.iter().filter(|other| other.2 != *address) {
                self.ping(&format!("{node}/{pod}"), target);
            }
        }
    }

    /// Every pod of these (node, name, address) pings each other one, and carries a text of many segments to it by TCP and back.
    ///
    /// # Panics
    /// If one does not.
    pub fn talk_all(&self, pods: &[(&str, &str, &str)]) {
        self.ping_all(pods);
        let text = vec![7; 64 << 10];
        for (node, pod, address) in pods {
            let server = self.place(node, pod);
            let listener =
                netns::inside(&server.netns, || TcpListener::bind((server.addr, 0))).expect("a port is free");
            let to = listener.local_addr().expect("it is bound");
            let others: Vec<_> = pods.iter().filter(|other| other.2 != *address).collect();
            let count = others.len();
            let echo = std::thread::spawn(move || {
                for stream in listener.incoming().take(count) {
                    let stream = stream.expect("somebody calls");
                    std::io::copy(&mut &stream, &mut &stream).expect("it is carried back");
                }
            });
            for (node, pod, _) in others {
                let place = self.place(node, pod);
                let call = || TcpStream::connect_timeout(&to, Duration::from_secs(2));
                let stream = netns::inside(&place.netns, call);
                let mut stream = stream.unwrap_or_else(|e| panic!("{node}/{pod} calls {to}: {e}"));
                stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket's option");
                stream.write_all(&text).expect("it is taken");
                stream.shutdown(std::net::Shutdown::Write).expect("it is open");
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap_or_else(|e| panic!("{node}/{pod} hears {to}: {e}"));
                assert!(back == text, "{node}/{pod}: {} octets came back from {to}", back.len());
            }
            echo.join().expect("it does not panic");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("TORTIE_KEEP_LAB").is_none() && self.root().exists() {
            let output = self.try_verb(&["down"]);
            if !output.status.success() {
                eprintln!("lab {} does not go down: {}", self.name, String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

/// What the agent that listens there says of itself.
///
/// # Panics
/// If none answers.
pub fn status(socket: &Path) -> Value {
    let mut stream = UnixStream::connect(socket).expect("the agent listens");
    stream.write_all(b"\"status\"\n").expect("the agent reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the agent answers");
    let answer: Value = serde_json::from_str(&line).expect("JSON");
    answer["status"].clone()
}

/// What a command printed, if it ended well.
///
/// # Panics
/// If it did not.
pub fn good(what: &str, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{what}` fails with {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Waits until something holds; how long that took.
///
/// # Panics
/// If it does not within the deadline.
pub fn within(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let (start, deadline) = (Instant::now(), deadline * testkit::slowness());
    while !holds() {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}
