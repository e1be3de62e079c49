//! Speakers of others as processes: one description of what they should do, said in each one's words; one question, asked
//! with each one's command. Each test's daemons have their own namespace and directory, and end with the test.

mod bird;
mod frr;
mod gobgp;

use crate::{Host, Over, until};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Output;
use tempfile::TempDir;
use testkit::process::Guard;

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bird,
    Frr,
    Gobgp,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Bird, Kind::Frr, Kind::Gobgp];
}

/// What a daemon should do. It announces graceful restart to everybody.
#[derive(Clone, Debug)]
pub struct Setup {
    pub asn: u32,
    /// Its cluster, if it reflects routes.
    pub cluster_id: Option<Ipv4Addr>,
    pub peers: Vec<Peering>,
    /// Prefixes of its own.
    pub announce: BTreeSet<String>,
    /// Prefixes of its own with community 64512:7, large community 64512:1:2, route target 64512:9, MED 50 and, inside its AS,
    /// LOCAL_PREF 250.
    pub decorated: BTreeSet<String>,
    /// Prefixes of its own with large communities 64512:2:0 to 64512:2:599, more than 4096 octets have room for. For BIRD only.
    pub loaded: BTreeSet<String>,
    /// The address of its end, if that is not on the segment. For BIRD only.
    pub source: Option<Ipv4Addr>,
}

/// A neighbour of a daemon.
#[derive(Clone, Debug)]
pub struct Peering {
    pub addr: IpAddr,
    pub asn: u32,
    pub password: Option<&'static str>,
    /// It must be one hop away (RFC 5082).
    pub gtsm: bool,
    pub passive: bool,
    /// It is a client of the daemon's reflector.
    pub client: bool,
    /// In seconds.
    pub hold: u16,
    /// It may be several hops away. For BIRD only.
    pub multihop: bool,
    /// The port that the daemon listens on, if it is not 179. For BIRD only.
    pub port: Option<u16>,
    /// The neighbour's port, if it is not 179. For BIRD only.
    pub calls: Option<u16>,
    /// It announces that it takes messages of more than 4096 octets (RFC 8654). For BIRD only.
    pub extended: bool,
}

/// A path as a daemon has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub nexthop: String,
    /// Numbers with spaces between.
    pub as_path: String,
    /// As in `64512:7`.
    pub communities: BTreeSet<String>,
    /// As in `64512:1:2`.
    pub large: BTreeSet<String>,
    /// As in `rt:64512:9`.
    pub extended: BTreeSet<String>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
}

impl Peering {
    pub fn new(addr: impl Into<IpAddr>, asn: u32) -> Peering {
        let addr = addr.into();
        Peering {
            addr,
            asn,
            password: None,
            gtsm: false,
            passive: false,
            client: false,
            hold: 90,
            multihop: false,
            port: None,
            calls: None,
            extended: false,
        }
    }

    /// A session over each family with the same host.
    pub fn both(host: &Host, asn: u32) -> [Peering; 2] {
        Over::BOTH.map(|over| Peering::new(host.end(over), asn))
    }
}

impl Setup {
    pub fn new(asn: u32, peers: impl Into<Vec<Peering>>) -> Setup {
        Setup {
            asn,
            cluster_id: None,
            peers: peers.into(),
            announce: BTreeSet::new(),
            decorated: BTreeSet::new(),
            loaded: BTreeSet::new(),
            source: None,
        }
    }

    pub fn announcing(mut self, prefixes: &[impl AsRef<str>]) -> Setup {
        self.announce.extend(prefixes.iter().map(|prefix| prefix.as_ref().to_owned()));
        self
    }

    pub fn decorating(mut self, prefixes: &[impl AsRef<str>]) -> Setup {
        self.decorated.extend(prefixes.iter().map(|prefix| prefix.as_ref().to_owned()));
        self
    }

    pub fn loading(mut self, prefixes: &[impl AsRef<str>]) -> Setup {
        self.loaded.extend(prefixes.iter().map(|prefix| prefix.as_ref().to_owned()));
        self
    }
}

/// A daemon of each kind, on a host each.
pub fn one_of_each(hosts: &[Host; 3], setup: impl Fn(&Host) -> Setup) -> Vec<Daemon<'_>> {
    Kind::ALL.into_iter().zip(hosts).map(|(kind, host)| Daemon::start(kind, host, setup(host))).collect()
}

/// Every session of daemons that have one over each family: its daemon and what it goes over.
pub fn sessions<'d, 'h>(daemons: &'d [Daemon<'h>]) -> impl Iterator<Item = (&'d Daemon<'h>, Over)> {
    daemons.iter().flat_map(|daemon| Over::BOTH.map(|over| (daemon, over)))
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon<'a> {
    pub kind: Kind,
    pub host: &'a Host,
    setup: Setup,
    directory: TempDir,
    process: Guard,
}

impl<'a> Daemon<'a> {
    /// Starts one on a host, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(kind: Kind, host: &'a Host, setup: Setup) -> Daemon<'a> {
        let directory = tempfile::Builder::new().prefix("tortie-interop-").tempdir().expect("a directory");
        let process = launch(kind, host, &setup, directory.path().to_owned(), false);
        let daemon = Daemon { kind, host, setup, directory, process };
        daemon.wait();
        daemon
    }

    /// Kills it without warning, as a crash does, and starts it again.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn crash_and_start(&mut self, meanwhile: impl FnOnce()) {
        self.process.kill().expect("it runs");
        meanwhile();
        let directory = self.directory.path().to_owned();
        // GoBGP is given its routes by command, and must have them before it calls itself complete (RFC 4724 §4.1).
        self.host.netns.run("ip link set e0 down");
        self.process = launch(self.kind, self.host, &self.setup, directory, true);
        self.wait();
        self.host.netns.run("ip link set e0 up");
    }

    fn wait(&self) {
        let mut last = None;
        until(&format!("{:?} answers {last:?}", self.kind), || {
            let answer = match self.kind {
                Kind::Bird => self.try_ask("show status"),
                Kind::Frr => self.try_ask("show bgp summary"),
                Kind::Gobgp => self.try_ask("global"),
            };
            let good = answer.status.success();
            last = Some(answer);
            good.then_some(())
        });
        if self.kind == Kind::Gobgp {
            gobgp::announce_all(self);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command in the daemon's own shell, whatever comes of it.
    fn try_ask(&self, words: &str) -> Output {
        let directory = self.directory.path().display();
        self.host.netns.try_run(&match self.kind {
            Kind::Bird => format!("birdc -s {directory}/socket '{words}'"),
            Kind::Frr => format!("vtysh --vty_socket {directory} -d bgpd -c '{words}'"),
            Kind::Gobgp => format!("gobgp {words}"),
        })
    }

    /// Runs a command in the daemon's own shell.
    ///
    /// # Panics
    /// If it is not understood.
    pub fn ask(&self, words: &str) -> String {
        let Output { status, stdout, stderr } = self.try_ask(words);
        let text = String::from_utf8_lossy(&stdout).into_owned();
        assert!(
            status.success(),
            "{:?} does not understand `{words}`: {text}{}",
            self.kind,
            String::from_utf8_lossy(&stderr)
        );
        text
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its best path to a prefix.
    pub fn sees(&self, prefix: &str) -> Option<Seen> {
        let family = family(prefix);
        // BIRD and GoBGP call it an error to have none.
        let answer = self.try_ask(&match self.kind {
            Kind::Bird => format!("show route {prefix} primary all"),
            Kind::Frr => format!("show bgp {family} unicast {prefix} json"),
            Kind::Gobgp => format!("global rib -a {family} {prefix} -j"),
        });
        let text = String::from_utf8_lossy(&answer.stdout);
        match self.kind {
            Kind::Bird => bird::path(&text),
            Kind::Frr => frr::path(&text, prefix),
            Kind::Gobgp => gobgp::path(&text),
        }
    }

    /// Waits for a path to a prefix.
    pub fn learns(&self, prefix: &str) -> Seen {
        until(&format!("{:?} has {prefix}", self.kind), || self.sees(prefix))
    }

    /// Waits until it has no path to a prefix.
    pub fn forgets(&self, prefix: &str) {
        until(&format!("{:?} has no {prefix}", self.kind), || self.sees(prefix).is_none().then_some(()));
    }

    /// Replaces what it should do. GoBGP reads its file only when it starts.
    ///
    /// # Panics
    /// If it does not understand it.
    pub fn set(&mut self, change: impl FnOnce(&mut Setup)) {
        let before = self.setup.clone();
        change(&mut self.setup);
        match self.kind {
            Kind::Bird => bird::follow(self),
            Kind::Frr => frr::follow(self, &before),
            Kind::Gobgp => gobgp::follow(self, &before),
        }
    }

    /// Asks a peer for its routes again (RFC 2918). GoBGP looks again at those that it kept, and asks for nothing.
    pub fn refresh(&self, peer: IpAddr) {
        match self.kind {
            Kind::Bird => self.ask(&format!("reload in {}", self.protocol(peer))),
            Kind::Frr => self.ask(&format!("clear bgp {peer} soft in")),
            Kind::Gobgp => self.ask(&format!("neighbor {peer} softresetin")),
        };
    }

    /// How many routes or messages with routes a peer has sent in this session.
    ///
    /// # Panics
    /// If it does not say.
    pub fn updates_of(&self, peer: IpAddr) -> u64 {
        let number = match self.kind {
            Kind::Bird => bird::updates(&self.session(peer)),
            Kind::Frr => frr::updates(&self.ask(&format!("show bgp neighbors {peer} json")), peer),
            Kind::Gobgp => gobgp::updates(&self.ask(&format!("neighbor {peer} -j"))),
        };
        number.unwrap_or_else(|| panic!("{:?} does not count: {}", self.kind, self.session(peer)))
    }

    /// Ends the session with a peer, and says why (RFC 9003).
    pub fn shut_down(&self, peer: IpAddr, text: &str) {
        match self.kind {
            Kind::Bird => self.ask(&format!("disable {} \"{text}\"", self.protocol(peer))),
            Kind::Frr => self.configure(&[&format!("neighbor {peer} shutdown message {text}")]),
            Kind::Gobgp => self.ask(&format!("neighbor {peer} shutdown --reason \"{text}\"")),
        };
    }

    /// FRR's way of changing its mind, line by line.
    fn configure(&self, lines: &[&str]) -> String {
        let head = format!("router bgp {}", self.setup.asn);
        let lines: Vec<&str> =
            ["configure terminal", &head].into_iter().chain(lines.iter().copied()).collect();
        self.ask(&lines.join("' -c '"))
    }

    /// What it told people so far: its log, and what it says of its sessions.
    pub fn words(&self) -> String {
        let mut words = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        self.setup.peers.iter().for_each(|peer| words += &self.session(peer.addr));
        words
    }

    /// Whether it has a session with a peer.
    pub fn is_established(&self, peer: IpAddr) -> bool {
        let text = self.session(peer).to_lowercase();
        text.lines().any(|line| line.trim().starts_with("bgp state") && line.contains("established"))
    }

    /// What it says of its session with a peer.
    pub fn session(&self, peer: IpAddr) -> String {
        let question = match self.kind {
            Kind::Bird => format!("show protocols all {}", self.protocol(peer)),
            Kind::Frr => format!("show bgp neighbors {peer}"),
            Kind::Gobgp => format!("neighbor {peer}"),
        };
        String::from_utf8_lossy(&self.try_ask(&question).stdout).into_owned()
    }

    /// BIRD's name for the session with a peer.
    fn protocol(&self, peer: IpAddr) -> String {
        let nth = self.setup.peers.iter().position(|peering| peering.addr == peer);
        format!("p{}", nth.expect("a peer of this daemon"))
    }
}

fn launch(kind: Kind, host: &Host, setup: &Setup, directory: PathBuf, again: bool) -> Guard {
    match kind {
        Kind::Bird => bird::launch(host, setup, &directory, again),
        Kind::Frr => frr::launch(host, setup, &directory),
        Kind::Gobgp => gobgp::launch(host, setup, &directory, again),
    }
}

/// The word for a prefix's family, which FRR and GoBGP share.
fn family(prefix: &str) -> &'static str {
    if prefix.contains(':') { "ipv6" } else { "ipv4" }
}
