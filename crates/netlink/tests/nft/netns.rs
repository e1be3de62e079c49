//! What the suites of nf_tables do in a network namespace.

#[path = "../netns/mod.rs"]
mod bare;

pub use bare::Netns;
use kernel::ApplyError;
use kernel::nft::{Table, TableKey};
use netlink::nft::{Change, dump};
use netlink::{Protocol, Socket};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

impl Netns {
    /// A command that takes the namespace by this path.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs a shell line inside, with this input.
    pub fn feed(&self, line: &str, input: &str) -> String {
        let output = self.run(|| {
            let mut command = Command::new("sh");
            command.args(["-ec", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects of `inet calico` as `nft` lists them, without counts; chains in the order of their text, since `nft` lists
    /// them in the order of their making, and the words of a set likewise.
    pub fn listing(&self) -> Vec<String> {
        let text = self.sh("nft -s list table inet calico");
        let in_order = |block: &str| {
            let mut words: Vec<&str> = block.split([' ', ',', '\n', '\t']).collect();
            words.sort_unstable();
            words.join(" ")
        };
        let blocks = text.strip_suffix("}\n").unwrap().split("\n\n");
        let mut blocks: Vec<String> = blocks
            .map(|block| if block.contains("elements =") { in_order(block) } else { block.trim().to_owned() })
            .collect();
        blocks.sort_unstable();
        blocks
    }

    /// A socket inside.
    pub fn socket(&self) -> Socket {
        self.run(|| Socket::open(Protocol::Netfilter)).unwrap()
    }

    /// `inet calico` as it is.
    pub fn found(&self) -> Option<Table> {
        dump(&mut self.socket()).unwrap().remove(&TableKey::inet())
    }

    /// Makes `inet calico` of whatever it is.
    pub fn write(&self, table: &Table) {
        apply(&mut self.socket(), &TableKey::inet(), self.found().as_ref(), Some(table)).unwrap();
    }
}

/// Makes one table be as wanted.
pub fn apply(
    socket: &mut Socket,
    key: &TableKey,
    from: Option<&Table>,
    to: Option<&Table>,
) -> Result<(), ApplyError> {
    netlink::nft::apply(socket, &[Change { key, from, to }])
}

/// A pair of interfaces between two namespaces, with their addresses, up.
pub fn connect(a: (&Netns, &str, &str), b: (&Netns, &str, &str)) {
    let (name_a, name_b) = (a.1, b.1);
    a.0.sh(&format!("ip link add {name_a} type veth peer name {name_b} netns {}", b.0.path()));
    for (netns, name, addr) in [a, b] {
        netns.sh(&format!("ip addr add {addr} dev {name}; ip link set {name} up"));
    }
}

impl Netns {
    /// What `nft monitor` prints of what `act` does.
    pub fn watched(&self, act: impl FnOnce()) -> Vec<String> {
        let mut monitor = self.run(|| {
            let mut command = Command::new("stdbuf");
            command
                .args(["-oL", "nft", "monitor"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let (lines, received) = std::sync::mpsc::channel();
        let reader = BufReader::new(monitor.stdout.take().unwrap());
        let reading = thread::spawn(move || {
            for line in reader.lines() {
                if lines.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        // It follows from some moment on; until then, a table comes and goes.
        while received.recv_timeout(Duration::from_millis(20)).is_err() {
            self.sh("nft add table ip begin; nft delete table ip begin");
        }
        self.sh("nft add table ip act");
        act();
        self.sh("nft add table ip end");
        let until = |table: &str| {
            let end = format!("add table ip {table}");
            std::iter::from_fn(|| received.recv_timeout(Duration::from_secs(10)).ok())
                .take_while(|line| *line != end)
                .filter(|line| !line.starts_with('#'))
                .collect::<Vec<_>>()
        };
        until("act");
        let seen = until("end");
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        reading.join().unwrap();
        seen
    }
}
