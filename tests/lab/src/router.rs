//! The lab's router as a BGP reflector: BIRD in the fabric's namespace, which carries every node's blocks between the subnets.

use crate::{Lab, within};
use std::process::Stdio;
use std::time::Duration;
use testkit::netns::command;
use testkit::process::Guard;

const CONFIG: &str = r#"
router id 192.168.50.1;
protocol device { }
protocol direct { ipv4; }
protocol kernel { graceful restart on; ipv4 { import none; export where source = RTS_BGP; }; }
template bgp node {
    local as 64512;
    rr client;
    passive;
    graceful restart on;
    ipv4 { import all; export where source = RTS_BGP; next hop self; };
}
protocol bgp from_subnet50 from node { local 192.168.50.1 as 64512; neighbor range 192.168.50.0/24 as 64512; dynamic name "near"; }
protocol bgp from_subnet60 from node { local 192.168.60.1 as 64512; neighbor range 192.168.60.0/24 as 64512; dynamic name "far"; }
"#;

const PEERS: &str = r#"
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: router-of-subnet-50}
spec: {peerIP: 192.168.50.1, asNumber: 64512, nodeSelector: "kubernetes.io/hostname != 'master4'"}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: router-of-subnet-60}
spec: {peerIP: 192.168.60.1, asNumber: 64512, nodeSelector: "kubernetes.io/hostname == 'master4'"}
"#;

/// BIRD, until this is dropped.
pub struct Router<'a> {
    lab: &'a Lab,
    bird: Guard,
}

impl Lab {
    /// Makes the router a reflector of every node, and waits until all sessions are up.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start_router(&self) -> Router<'_> {
        std::fs::write(self.root().join("bird.conf"), CONFIG).expect("the lab's folder can be written");
        let router = Router { lab: self, bird: bird(self, false) };
        let peers = self.root().join("router-peers.yaml");
        std::fs::write(&peers, PEERS).expect("the lab's folder can be written");
        self.exec("master1", &format!("calicoctl apply -f {}", peers.display()));
        router.talks();
        router
    }
}

impl Router<'_> {
    /// Kills it, as a crash does, and starts it again as its manual says to after one; then all sessions are up again.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn crash_and_start(&mut self, away: Duration) {
        self.bird.kill().expect("it runs");
        std::thread::sleep(away);
        self.bird = bird(self.lab, true);
        self.talks();
    }

    fn talks(&self) {
        for node in self.lab.nodes() {
            let addr = if node == "master4" { "192.168.60.1" } else { "192.168.50.1" };
            within(Duration::from_secs(30), &format!("{node} and the router talk"), || {
                let status = self.lab.exec(&node, "calicoctl node status");
                status.lines().any(|line| line.contains(addr) && line.contains("Established"))
            });
        }
    }
}

fn bird(lab: &Lab, again: bool) -> Guard {
    let mut bird = command(&lab.netns("fabric"), "bird");
    bird.args(["-f", "-c"]).arg(lab.root().join("bird.conf")).arg("-s").arg(lab.root().join("bird.ctl"));
    // The routes in the kernel are kept until every node has said its own again (RFC 4724).
    bird.args(again.then_some("-R")).stderr(Stdio::null());
    Guard::spawn(&mut bird)
}
