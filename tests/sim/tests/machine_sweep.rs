//! Stories of whole nodes, told again with everything that can befall each of their effects: a crash before it, after each
//! message of a plan or with a request on its way, and after it; and each way in which a request or its answer is lost.
//!
//! The stories of all pairs of modes have many effects: each effect gets one of what can befall it, in turn, so that each
//! sort of effect comes to each of it, and all of it by night.

use derive::IpipDriver::{Kernel, StandIn};
use model::Duration;
use testkit::sim::Machines;
use testkit::sim::faults::{Fate, What};
use testkit::sim::machines::{Admin, Mode};

/// When something is done: all is at rest; and for so long the story lasts, in milliseconds.
const BEGINS: u64 = 3_000;
const LASTS: Duration = Duration::from_millis(8_000);

/// A cluster to which something is about to be done.
struct Story {
    name: String,
    mode: Mode,
    acts: Vec<(Duration, Admin)>,
    /// Fewer effects prove nothing.
    at_least: u64,
}

impl Story {
    /// Two nodes of a subnet and one behind a router, with a pod each.
    fn cluster(&self) -> Machines {
        let mut cluster =
            Machines::cluster(2, 1, &[Kernel, StandIn]).pool("pool", "10.0.0.0/24", 29, self.mode);
        for node in 0..3 {
            cluster.admin(Duration::from_millis(20), Admin::AddPod(node as u32, node));
        }
        for (at, act) in &self.acts {
            cluster.admin(*at, *act);
        }
        // Without a router that knows the way nothing goes direct across it.
        let goes_direct = |act: &Admin| *act == Admin::SetMode(Mode::Direct);
        let is_direct = self.mode == Mode::Direct || self.acts.iter().any(|(_, act)| goes_direct(act));
        if is_direct { cluster.bgp() } else { cluster }
    }

    /// The story, and what it leaves that nobody accounts for: without a controller what a node had that is gone.
    fn tell(&self, fault: Option<(u64, What)>) -> (Machines, Vec<String>) {
        let told = |broken| panic!("{}, {fault:?}: {broken}", self.name);
        let mut cluster = self.cluster();
        cluster.faults.at = fault;
        cluster.run_for(LASTS).unwrap_or_else(told);
        cluster.settle().unwrap_or_else(told);
        let leaks = cluster.leaks();
        (cluster, leaks)
    }

    /// What befalls an effect loses nothing.
    fn survives(&self, at: u64, what: What, left: &[String]) {
        let (_, mut leaks) = self.tell(Some((at, what)));
        // Nobody can exclude that what arrives when its sender has given up makes an empty handle (`sim::simulation`).
        leaks.retain(|leak| what != What::Request(Fate::Late) || !leak.contains("handle"));
        leaks.retain(|leak| !left.contains(leak));
        assert_eq!(leaks, Vec::<String>::new(), "{}, {what:?} at effect {at}", self.name);
    }

    /// Its effects with all that can befall each, and what it leaves without a fault.
    fn all(&self) -> (Vec<(u64, Vec<What>)>, Vec<String>) {
        let mut cluster = self.cluster();
        let begins = self.acts.first().map_or(Duration::ZERO, |(at, _)| *at);
        cluster.run_for(begins).unwrap_or_else(|broken| panic!("{}: {broken}", self.name));
        let first = cluster.effects() + 1;
        let (cluster, left) = self.tell(None);
        let last = cluster.effects();
        assert!(last >= first + self.at_least, "{}: effects {first} to {last} are too few", self.name);
        ((first..=last).map(|at| (at, cluster.effect(at).all())).collect(), left)
    }
}

/// Tells each story with each thing that is chosen of those that can befall an effect. Each run is one thread; two of them
/// halve the wait.
fn sweep(stories: &[Story], choose: fn(usize, Vec<What>) -> Vec<What>) {
    let calm: Vec<_> = stories.iter().map(|story| (story, story.all())).collect();
    let mut runs = Vec::new();
    for (n, (story, (effects, left))) in calm.iter().enumerate() {
        println!("{}: {} effects, left are {left:?}", story.name, effects.len());
        for (nth, (at, all)) in effects.iter().enumerate() {
            runs.extend(choose(nth + n, all.clone()).into_iter().map(|what| (*story, *at, what, left)));
        }
    }
    println!("{} runs", runs.len());
    let tell = |odd| {
        let half = runs.iter().enumerate().filter(move |(n, _)| n % 2 == odd);
        half.for_each(|(_, (story, at, what, left))| story.survives(*at, *what, left));
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| tell(1));
        tell(0);
        one.join().expect("a run that panics fails the test");
    });
}

fn everything(_: usize, all: Vec<What>) -> Vec<What> {
    all
}

fn one_in_turn(turn: usize, all: Vec<What>) -> Vec<What> {
    if testkit::at_length() { all } else { vec![all[turn % all.len()]] }
}

#[test]
fn whatever_befalls_an_effect_of_a_change_of_mode_no_packet_is_lost() {
    let pairs = Mode::ALL.into_iter().flat_map(|from| Mode::ALL.map(|to| (from, to)));
    let stories = pairs.filter(|(from, to)| from != to).map(|(from, to)| Story {
        name: format!("{from:?} to {to:?}"),
        mode: from,
        acts: vec![(Duration::from_millis(BEGINS), Admin::SetMode(to))],
        at_least: 5,
    });
    sweep(&stories.collect::<Vec<_>>(), one_in_turn);
}

#[test]
fn whatever_befalls_an_effect_of_a_node_no_packet_is_lost_and_no_address() {
    let story = |name: &str, at_least, acts: &[Admin]| Story {
        name: name.to_owned(),
        mode: Mode::VxlanCrossSubnet,
        acts: (0..).map(|n| Duration::from_millis(BEGINS + 5 * n)).zip(acts.iter().copied()).collect(),
        at_least,
    };
    let stories = [
        story("a first start", 60, &[]),
        story("ADD", 10, &[Admin::AddPod(10, 0), Admin::AddPod(11, 0), Admin::AddPod(12, 2)]),
        story("DEL", 10, &[Admin::AddPod(10, 1), Admin::DeletePod(0), Admin::DeletePod(10)]),
        story("a joining node", 10, &[Admin::Join(1, Kernel), Admin::AddPod(10, 3)]),
        story("a node that goes", 2, &[Admin::Remove(1)]),
        story("a reboot", 10, &[Admin::Reboot(0)]),
        story("another address", 5, &[Admin::Readdress(1)]),
    ];
    sweep(&stories, everything);
}
