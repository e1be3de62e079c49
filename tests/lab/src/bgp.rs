//! BGP as the lab's tests ask for it and look at it: resources, sessions, and a BIRD wherever one is wanted.

use crate::{Lab, PODS, within};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testkit::netns::{self, Netns};
use testkit::process::Guard;
use testkit::sampler::Sampler;

pub const SOON: Duration = Duration::from_secs(20);
/// The address of a router; it is no node.
pub const ROUTER: &str = "192.168.50.20";
/// The subnet of the nodes' IPv6 addresses ([`Lab::give_ipv6`]), and such a router's address on it.
pub const SUBNET6: &str = "fd00:50::/64";
pub const ROUTER6: &str = "fd00:50::20";
/// The nodes of the mesh that master1 speaks with.
pub const MESH: [&str; 2] = ["192.168.50.162", "192.168.50.163"];

/// A BIRD that runs until this is dropped.
pub struct Bird {
    folder: PathBuf,
    _process: Guard,
}

impl Bird {
    /// The line of shell that asks it something.
    pub fn question(&self, words: &str) -> String {
        format!("birdc -s {}/ctl '{words}'", self.folder.display())
    }
}

impl Lab {
    /// Starts a BIRD in a network namespace, with a folder of this name for its configuration.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn bird(&self, place: &Path, name: &str, configuration: &str) -> Bird {
        let folder = self.root().join(name);
        std::fs::create_dir_all(&folder).expect("the lab's folder can be written");
        std::fs::write(folder.join("conf"), configuration).expect("the lab's folder can be written");
        let mut bird = netns::command(place, "bird");
        bird.arg("-f").arg("-c").arg(folder.join("conf")).arg("-s").arg(folder.join("ctl"));
        let process = Guard::spawn(bird.stderr(Stdio::null()));
        Bird { folder, _process: process }
    }

    /// Gives every node a second address, `fd00:50::161` to the one with 192.168.50.161, on its uplink and in its resource.
    pub fn give_ipv6(&self) {
        for (index, node) in self.nodes().iter().enumerate() {
            let address = format!("fd00:50::{}/64", 161 + index);
            self.exec(node, &format!("ip address replace {address} dev ens192 nodad"));
            let patch = format!(r#"{{"spec":{{"bgp":{{"ipv6Address":"{address}"}}}}}}"#);
            self.exec("master1", &format!("calicoctl patch node {node} -p '{patch}'"));
        }
    }
}

/// A router of AS 65001 that every node speaks with, for as long as this lives.
pub struct ExternalRouter<'a> {
    lab: &'a Lab,
    /// The name of its BGPPeer.
    name: String,
    /// Where it runs.
    pub host: Netns,
    bird: Bird,
}

impl<'a> ExternalRouter<'a> {
    /// Starts it with these prefixes of its own, and waits until every node speaks with it.
    ///
    /// # Panics
    /// If one does not.
    pub fn start(lab: &'a Lab, addr: &'static str, prefixes: &[&str]) -> ExternalRouter<'a> {
        ExternalRouter::start_with(lab, addr, prefixes, "", "")
    }

    /// The same, with more words about the sessions: for BIRD, and for its BGPPeer.
    ///
    /// # Panics
    /// If a node does not speak with it.
    pub fn start_with(
        lab: &'a Lab,
        addr: &'static str,
        prefixes: &[&str],
        sessions: &str,
        peer: &str,
    ) -> ExternalRouter<'a> {
        let is_v4 = !addr.contains(':');
        let (own, nodes, family) =
            if is_v4 { (addr, "192.168.50.0/24", "ipv4") } else { (ROUTER, SUBNET6, "ipv6") };
        let host = lab.stranger(&format!("{own}/24"));
        if !is_v4 {
            host.run(&format!("ip address add {addr}/64 dev eth0 nodad"));
        }
        let routes: String = prefixes.iter().map(|prefix| format!("route {prefix} blackhole; ")).collect();
        let config = format!(
            "router id {own};\nprotocol device {{ }}\nprotocol static {{ {family}; {routes}}}\n\
             protocol bgp nodes {{ local {addr} as 65001; neighbor range {nodes} as 64512; dynamic name \"n\"; \
             passive; {sessions} {family} {{ import all; export where source = RTS_STATIC; }}; }}\n"
        );
        let name = addr.replace(':', "-");
        let bird = lab.bird(host.path(), &name, &config);
        let router = ExternalRouter { lab, name, host, bird };
        apply(lab, "BGPPeer", &router.name, &format!("{{peerIP: {addr}, asNumber: 65001{peer}}}"));
        for node in lab.nodes() {
            within(SOON, &format!("{node} and the router talk"), || {
                session(lab, &node, addr).is_some_and(|line| line.contains("Established"))
            });
        }
        router
    }

    /// What it answers.
    ///
    /// # Panics
    /// If it calls that an error.
    pub fn ask(&self, words: &str) -> String {
        self.host.run(&self.bird.question(words))
    }

    /// The nodes that it has a path to a prefix from.
    pub fn nodes_of(&self, prefix: &str) -> Vec<String> {
        // BIRD calls it an error to have none.
        let question = self.bird.question(&format!("show route {prefix}"));
        let text = String::from_utf8_lossy(&self.host.try_run(&question).stdout).into_owned();
        let vias = text.lines().filter_map(|line| line.trim().strip_prefix("via "));
        let mut nodes: Vec<String> =
            vias.filter_map(|via| via.split(' ').next().map(str::to_owned)).collect();
        nodes.sort();
        nodes
    }
}

impl Drop for ExternalRouter<'_> {
    fn drop(&mut self) {
        let _ = self.lab.try_exec("master1", &format!("calicoctl delete bgppeer {}", self.name));
    }
}

/// The line of `calicoctl node status` about a session.
pub fn session(lab: &Lab, node: &str, peer: &str) -> Option<String> {
    let status = lab.exec(node, "calicoctl node status");
    status.lines().find(|line| line.contains(&format!(" {peer} "))).map(str::to_owned)
}

/// What a node's agent says of a session.
///
/// # Panics
/// If it is not configured.
pub fn found(lab: &Lab, node: &str, peer: &str) -> Value {
    let bgp = &lab.agent(node)["bgp"];
    let family = if peer.contains(':') { "v6" } else { "v4" };
    let mut sessions = bgp[family].as_array().into_iter().flatten();
    let session = sessions.find(|session| session["address"] == peer);
    session.unwrap_or_else(|| panic!("{node} has no session with {peer}: {bgp}")).clone()
}

/// Since when a session of master1 is as it is.
///
/// # Panics
/// If it is not configured.
pub fn since(lab: &Lab, peer: &str) -> u64 {
    found(lab, "master1", peer)["since"].as_u64().expect("a time")
}

/// Samples between pods of master1 and master2.
pub fn between_pods(lab: &Lab) -> Sampler {
    let [(here, pod, _), (there, other, _), _] = PODS;
    Sampler::start(&lab.place(here, pod), &lab.place(there, other))
}

pub fn routes(lab: &Lab, node: &str) -> String {
    lab.exec(node, "ip -4 route show")
}

pub fn apply(lab: &Lab, kind: &str, name: &str, spec: &str) {
    let file = lab.root().join("resource.yaml");
    let text =
        format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    std::fs::write(&file, text).expect("the lab's folder can be written");
    lab.exec("master1", &format!("calicoctl apply -f {}", file.display()));
}

pub fn configure(lab: &Lab, spec: &str) {
    apply(lab, "BGPConfiguration", "default", spec);
}

/// Waits until master1 has its sessions of the mesh.
pub fn mesh_is_up(lab: &Lab) {
    for peer in MESH {
        within(Duration::from_secs(60), &format!("master1 and {peer} talk"), || {
            session(lab, "master1", peer).is_some_and(|line| line.contains("Established"))
        });
    }
}
