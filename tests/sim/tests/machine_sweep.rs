//! Stories of whole nodes, told again with a crash at each effect of theirs: before it, in the middle of it and after it.
//!
//! A change of mode has many effects: of its three moments each effect gets one in turn, so that over all pairs of modes each
//! comes to each sort of effect, and all three by night.

use derive::IpipDriver::{Kernel, StandIn};
use model::Duration;
use testkit::sim::machines::{Admin, Mode};
use testkit::sim::{Machines, Moment};

/// A plan crashes after its first message; what is not a plan has no middle, and crashes after it.
const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Within(1), Moment::After];

/// When a story begins: all is at rest; and for how long effects are its.
const BEGINS: Duration = Duration::from_secs(3);
const LASTS: Duration = Duration::from_secs(5);

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
    fn cluster(&self, is_direct: bool) -> Machines {
        let mut cluster =
            Machines::cluster(2, 1, &[Kernel, StandIn]).pool("pool", "10.0.0.0/24", 29, self.mode);
        for node in 0..3 {
            cluster.admin(Duration::from_millis(20), Admin::AddPod(node as u32, node));
        }
        for (after, act) in &self.acts {
            cluster.admin(Duration::from_micros(BEGINS.micros() + after.micros()), *act);
        }
        // Without a router that knows the way nothing goes direct across it.
        if is_direct { cluster.bgp() } else { cluster }
    }

    /// The story with a crash, or without one: its first effect and its last.
    fn tell(&self, crash: Option<(u64, Moment)>) -> (u64, u64) {
        let told = |broken| panic!("{}, {crash:?}: {broken}", self.name);
        let goes_direct = |act: &Admin| *act == Admin::SetMode(Mode::Direct);
        let is_direct = self.mode == Mode::Direct || self.acts.iter().any(|(_, act)| goes_direct(act));
        let mut cluster = self.cluster(is_direct);
        cluster.faults.crash_at = crash;
        cluster.run_for(BEGINS).unwrap_or_else(told);
        let first = cluster.effects() + 1;
        cluster.run_for(LASTS).unwrap_or_else(told);
        let last = cluster.effects();
        if crash.is_some() {
            cluster.settle().unwrap_or_else(told);
            assert_eq!(cluster.leaks(), Vec::<String>::new(), "{}, {crash:?}", self.name);
        }
        (first, last)
    }

    /// Tells it with a crash at each effect, at the moments that are chosen for it.
    fn sweep(&self, moments: impl Fn(u64) -> Vec<Moment>) {
        let (first, last) = self.tell(None);
        assert!(last >= first + self.at_least, "{}: effects {first} to {last} are too few", self.name);
        for at in first..=last {
            for moment in moments(at) {
                self.tell(Some((at, moment)));
            }
        }
    }
}

/// Each run is one thread; two of them halve the wait.
fn sweep(stories: Vec<Story>, moments: fn(u64, u64) -> Vec<Moment>) {
    let half = |stories: Vec<(u64, Story)>| {
        move || stories.iter().for_each(|(n, story)| story.sweep(|at| moments(at, *n)))
    };
    let (one, other): (Vec<_>, Vec<_>) = (0..).zip(stories).partition(|(n, _)| n % 2 == 0);
    let one = std::thread::spawn(half(one));
    half(other)();
    one.join().expect("a run that panics fails the test");
}

fn every_moment(_: u64, _: u64) -> Vec<Moment> {
    MOMENTS.to_vec()
}

fn one_in_turn(at: u64, story: u64) -> Vec<Moment> {
    match testkit::at_length() {
        true => MOMENTS.to_vec(),
        false => vec![MOMENTS[(at + story) as usize % MOMENTS.len()]],
    }
}

#[test]
fn a_crash_at_any_effect_of_a_change_of_mode_loses_no_packet() {
    let pairs = Mode::ALL.into_iter().flat_map(|from| Mode::ALL.map(|to| (from, to)));
    let stories = pairs.filter(|(from, to)| from != to).map(|(from, to)| Story {
        name: format!("{from:?} to {to:?}"),
        mode: from,
        acts: vec![(Duration::ZERO, Admin::SetMode(to))],
        at_least: 5,
    });
    sweep(stories.collect(), one_in_turn);
}

#[test]
fn a_crash_at_any_effect_of_add_del_and_a_join_loses_no_packet_and_no_address() {
    let story = |name: &str, acts: &[Admin]| Story {
        name: name.to_owned(),
        mode: Mode::VxlanCrossSubnet,
        acts: (0..).map(|n| Duration::from_millis(5 * n)).zip(acts.iter().copied()).collect(),
        at_least: 10,
    };
    let stories = vec![
        story("ADD", &[Admin::AddPod(10, 0), Admin::AddPod(11, 0), Admin::AddPod(12, 2)]),
        story("DEL", &[Admin::AddPod(10, 1), Admin::DeletePod(0), Admin::DeletePod(10)]),
        story("a joining node", &[Admin::Join(1, Kernel), Admin::AddPod(10, 3)]),
    ];
    sweep(stories, every_moment);
}
