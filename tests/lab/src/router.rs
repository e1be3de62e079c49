//! The lab's router as a BGP reflector: BIRD in the fabric's namespace, which carries every node's blocks between the subnets.

use crate::{Lab, within};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::process::Guard;

const CONFIG: &str = r#"
router id 192.168.50.1;
protocol device { }
protocol direct { ipv4; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
template bgp node {
    local as 64512;
    rr client;
    passive;
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
pub struct Router(#[expect(dead_code, reason = "it ends with this")] Guard);

impl Lab {
    /// Makes the router a reflector of every node, and waits until all sessions are up.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start_router(&self) -> Router {
        let config = self.root().join("bird.conf");
        std::fs::write(&config, CONFIG).expect("the lab's folder can be written");
        let netns = format!("--net={}", self.netns("fabric").display());
        let socket = self.root().join("bird.ctl");
        let mut bird = Command::new("nsenter");
        bird.arg(netns).args(["bird", "-f", "-c"]).arg(&config).arg("-s").arg(&socket).stderr(Stdio::null());
        let router = Router(Guard::spawn(&mut bird));
        let peers = self.root().join("router-peers.yaml");
        std::fs::write(&peers, PEERS).expect("the lab's folder can be written");
        self.exec("master1", &format!("calicoctl apply -f {}", peers.display()));
        for node in self.nodes() {
            let addr = if node == "master4" { "192.168.60.1" } else { "192.168.50.1" };
            within(Duration::from_secs(30), &format!("{node} and the router talk"), || {
                let status = self.exec(&node, "calicoctl node status");
                status.lines().any(|line| line.contains(addr) && line.contains("Established"))
            });
        }
        router
    }
}
