//! Runs of whole nodes that a seed draws: cluster, load, changes of mode, and which faults there are and how often.

use super::schedule::{Entry, Schedule};
use super::{Admin, Mode};
use crate::sim::faults::{Pace, Rates};
use crate::sim::{Broken, Rng, seeded::Story};
use derive::IpipDriver;

/// Runs one seed.
pub fn run(seed: u64, aloud: bool) -> Result<Story, Box<Broken>> {
    Schedule::draw(seed).run(aloud)
}

/// A broken run with as little in it as breaks the same law, and how to run that.
pub fn smaller(broken: &Broken) -> String {
    let Some(seed) = broken.seed else { return String::new() };
    let smaller = Schedule::draw(seed).smaller(broken.law);
    format!("the least that breaks it, for a file FILE and `./dev test sim --schedule FILE`:\n{smaller}")
}

impl Schedule {
    /// What a seed draws.
    pub fn draw(seed: u64) -> Schedule {
        let mut rng = Rng::stream(seed, "cluster");
        let drivers: &[&[IpipDriver]] =
            &[&[IpipDriver::Kernel], &[IpipDriver::StandIn], &[IpipDriver::Kernel, IpipDriver::StandIn]];
        let (near, far) = (rng.between(1, 3) as usize, rng.below(3) as usize);
        let near = near.max(2 - far.min(1));
        let drivers = rng.pick::<&[IpipDriver]>(drivers).to_vec();
        let mode = *rng.pick(&Mode::ALL);
        let mut pools = vec![((*rng.pick(&["10.0.0.0/26", "10.0.0.0/24"])).to_owned(), mode)];
        if rng.per_mille(300) {
            pools.push(("10.1.0.0/27".to_owned(), *rng.pick(&Mode::ALL)));
        }
        let bgp = rng.per_mille(300);
        let mut entries = acts(seed, (near + far) as u64, pools.len() as u64);
        entries.sort_by_key(|(at, _)| *at);
        let acts = entries.into_iter().map(|(at, act)| Entry::Act { at, act });
        let mut rng = Rng::stream(seed, "swarm");
        let rates = Rates { stall: stalls(seed, bgp), ..rates(&mut rng, bgp) };
        let pace = Pace {
            latency: *rng.pick(&[(100, 2_000), (1_000, 1_000), (500, 30_000)]),
            watch: *rng.pick(&[(100, 3_000), (1_000, 100_000), (1_000, 1_500_000)]),
            downtime: *rng.pick(&[(1_000, 20_000), (50_000, 1_000_000)]),
        };
        let faults = rates.draw(&mut Rng::stream(seed, "faults"), near + far + 1);
        let entries = acts.chain(faults.into_iter().map(Entry::Fault)).collect();
        Schedule { seed, near, far, drivers, pools, bgp, pace, entries }
    }
}

/// What is done, and when.
fn acts(seed: u64, nodes: u64, pools: u64) -> Vec<(u64, Admin)> {
    let mut rng = Rng::stream(seed, "load");
    let mut acts = Vec::new();
    let at = |rng: &mut Rng| rng.between(100_000, 7_000_000);
    for pod in 0..rng.between(nodes, nodes + 4) as u32 {
        acts.push((rng.below(1_500_000), Admin::AddPod(pod, (u64::from(pod) % nodes) as usize)));
        if rng.per_mille(300) {
            acts.push((at(&mut rng), Admin::DeletePod(pod)));
        }
    }
    for _ in 0..rng.below(4) {
        let when = at(&mut rng);
        let mut change = |rng: &mut Rng, when| {
            let mode = *rng.pick(&Mode::ALL);
            let one = rng.per_mille(500).then(|| rng.below(pools) as usize);
            acts.push((when, one.map_or(Admin::SetMode(mode), |pool| Admin::SetModeOf(pool, mode))));
        };
        change(&mut rng, when);
        if rng.per_mille(400) {
            let soon = when + rng.below(300_000);
            change(&mut rng, soon);
        }
    }
    let mut one = |odds: u64, act: fn(&mut Rng, usize) -> Admin| {
        if rng.per_mille(odds) {
            let when = at(&mut rng);
            let node = rng.below(nodes) as usize;
            acts.push((when, act(&mut rng, node)));
        }
    };
    one(250, |rng, _| {
        Admin::Join(rng.below(2) as usize, *rng.pick(&[IpipDriver::Kernel, IpipDriver::StandIn]))
    });
    one(250, |_, node| Admin::Crash(node));
    one(150, |_, node| Admin::Reboot(node));
    one(100, |_, node| Admin::Remove(node));
    one(150, |_, node| Admin::Readdress(node));
    one(150, |rng, node| Admin::Meddle(node, rng.below(40) as usize));
    if rng.per_mille(200) {
        let down = at(&mut rng);
        acts.extend([(down, Admin::ApiDown), (down + rng.below(2_000_000), Admin::ApiUp)]);
    }
    if rng.per_mille(150) {
        let (a, b, when) = (rng.below(nodes) as usize, rng.below(nodes) as usize, at(&mut rng));
        acts.extend([(when, Admin::Cut(a, b)), (when + rng.below(2_000_000), Admin::Mend(a, b))]);
    }
    acts.extend(more_acts(seed, nodes, pools));
    acts.extend(clocks_and_pauses(seed, nodes));
    acts
}

/// What else is done: a stream of its own, so that the acts above stay those that a seed always had.
fn more_acts(seed: u64, nodes: u64, pools: u64) -> Vec<(u64, Admin)> {
    let mut rng = Rng::stream(seed, "more load");
    let mut acts = Vec::new();
    let mut span = |odds: u64, acts: &mut Vec<(u64, Admin)>, of: u64, between: [fn(usize) -> Admin; 2]| {
        if rng.per_mille(odds) {
            let (begin, n) = (rng.between(100_000, 6_000_000), rng.below(of) as usize);
            let end = begin + rng.below(2_000_000);
            acts.extend([(begin, between[0](n)), (end, between[1](n))]);
        }
    };
    span(150, &mut acts, nodes, [Admin::Isolate, Admin::Rejoin]);
    span(150, &mut acts, pools, [Admin::Disable, Admin::Enable]);
    span(100, &mut acts, nodes, [|node| Admin::StepClock(node, -7_200), Admin::Crash]);
    span(100, &mut acts, nodes, [|node| Admin::StepClock(node, 7_200), Admin::Crash]);
    if rng.per_mille(100) {
        acts.push((rng.between(100_000, 7_000_000), Admin::Replace(rng.below(nodes) as usize)));
    }
    acts
}

/// Clocks that run a little faster or slower, and nodes that get nothing done for a while; for longer than a hold time, too.
fn clocks_and_pauses(seed: u64, nodes: u64) -> Vec<(u64, Admin)> {
    let mut rng = Rng::stream(seed, "clocks and pauses");
    let mut acts = Vec::new();
    if rng.per_mille(400) {
        let faster = |rng: &mut Rng| rng.below(201) as i64 - 100;
        acts.extend((0..nodes as usize).map(|node| (0, Admin::Drift(node, faster(&mut rng)))));
    }
    if rng.per_mille(250) {
        let (begin, node) = (rng.between(100_000, 6_000_000), rng.below(nodes) as usize);
        let span = if rng.per_mille(250) { 300_000_000 } else { 3_000_000 };
        acts.extend([(begin, Admin::Pause(node)), (begin + rng.below(span), Admin::Resume(node))]);
    }
    acts
}

/// How often somebody stops to read.
fn stalls(seed: u64, bgp: bool) -> u64 {
    let mut rng = Rng::stream(seed, "stalls");
    if bgp && rng.per_mille(500) { rng.between(5, 200) } else { 0 }
}

/// The seed turns each class on or off, then draws its rate. A node lists through a quorum: no list is old.
fn rates(rng: &mut Rng, bgp: bool) -> Rates {
    let mut rate = |most: u64| if rng.per_mille(400) { rng.between(1, most) } else { 0 };
    let (request_lost, answer_lost, late, failed) = (rate(60), rate(60), rate(30), rate(60));
    let (crash, broken_watch, reset) = (rate(40), rate(30), rate(50));
    let (swallow, overrun, refuse) = (rate(20), rate(100), rate(20));
    let [reset, swallow] = [reset, swallow].map(|rate| if bgp { rate } else { 0 });
    Rates {
        request_lost,
        answer_lost,
        late,
        failed,
        crash,
        most_crashes: 8,
        broken_watch,
        oldest_list: 0,
        reset,
        swallow,
        overrun,
        refuse,
        stall: 0,
    }
}
