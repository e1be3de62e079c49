//! tcpdump on an interface while something happens.

use crate::Lab;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use testkit::netns;

/// A capture that runs.
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins once tcpdump listens; ends after `packets`, or after five seconds.
    ///
    /// # Panics
    /// If tcpdump does not listen.
    pub fn start(lab: &Lab, node: &str, interface: &str, packets: usize, filter: &str) -> Capture {
        let file = lab.root().join(format!("{node}.pcap"));
        let mut command = netns::command(&lab.netns(node), "timeout");
        command
            .args(["5", "tcpdump", "-Uni", interface, "-Z", "root", "-c", &packets.to_string(), "-w"])
            .arg(&file)
            .arg(filter)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut tcpdump = command.spawn().expect("tcpdump runs");
        let mut said = BufReader::new(tcpdump.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).expect("text") > 0, "tcpdump does not listen");
        }
        // It writes its summary when it ends; somebody has to read that.
        std::thread::spawn(move || said.lines().count());
        Capture { tcpdump, file }
    }

    /// Waits for the end; one line a packet, with these fields of tshark.
    ///
    /// # Panics
    /// If tshark cannot read what was written.
    pub fn decode(mut self, fields: &[&str]) -> Vec<String> {
        self.tcpdump.wait().expect("it is our child");
        let mut tshark = std::process::Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-T", "fields"]);
        for field in fields {
            tshark.args(["-e", field]);
        }
        let output = tshark.stderr(Stdio::null()).output().expect("tshark runs");
        assert!(output.status.success(), "tshark reads {}", self.file.display());
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}
