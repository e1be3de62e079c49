//! Runs that a seed draws whole: cluster, load, and which faults there are and how often.

use super::faults::{Pace, Rates};
use super::kubelet::Pod;
use super::laws::Broken;
use super::simulation::Happening;
use super::{Faults, Rng, Sim};
use model::Duration;
use model::v3::IpamConfigurationSpec;
use std::net::{IpAddr, Ipv4Addr};

/// What a run was, if it kept every law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// Of everything that happened: two runs of one seed have the same.
    pub hash: u64,
    pub events: u64,
}

/// Runs one seed: load under faults, then rest, then everything deleted, then rest.
pub fn run(seed: u64, aloud: bool) -> Result<Story, Box<Broken>> {
    let mut sim = cluster(seed);
    sim.trace.aloud = aloud;
    load(&mut sim, &mut Rng::stream(seed, "load"));
    machines(&mut sim, &mut Rng::stream(seed, "machines"));
    clocks_and_pauses(&mut sim, &mut Rng::stream(seed, "clocks and pauses"));
    sim.faults = faults(seed, sim.nodes.len());
    while sim.queue.now() < LOAD_ENDS && !sim.queue.is_empty() {
        sim.step()?;
    }
    sim.come_to_rest()?;
    let pods: Vec<String> = sim.kubelets.pods.keys().cloned().collect();
    for pod in pods {
        sim.queue.push(Duration::ZERO, Happening::DelPod(pod));
    }
    sim.come_to_rest()?;
    Ok(Story { hash: sim.hash(), events: sim.events() })
}

const LOAD_ENDS: model::Instant = model::Instant::from_micros(6_000_000);

/// Small pools and blocks, so that blocks and pools run out.
fn cluster(seed: u64) -> Sim {
    let mut rng = Rng::stream(seed, "cluster");
    let mut sim = Sim::cluster(rng.between(2, 5) as usize);
    sim.seed = Some(seed);
    sim.queue.reseed(Rng::stream(seed, "ties"));
    let block_size = if rng.per_mille(670) { 29 } else { 30 };
    sim = sim.pool(rng.pick::<&str>(&["10.0.0.0/28", "10.0.0.0/27", "10.0.0.0/26"]), block_size);
    if rng.per_mille(300) {
        sim = sim.pool("10.1.0.0/28", block_size);
    }
    if rng.per_mille(700) {
        sim = sim.tunnels();
    }
    if rng.per_mille(500) {
        let strict_affinity = rng.per_mille(500);
        let max_blocks_per_host = if strict_affinity { rng.below(3) as u32 } else { 0 };
        sim = sim.configuration(IpamConfigurationSpec {
            strict_affinity,
            max_blocks_per_host,
            auto_allocate_blocks: strict_affinity || rng.per_mille(900),
            ip_cooldown_seconds: rng.per_mille(500).then(|| rng.between(1, 100) as u32),
            ..IpamConfigurationSpec::default()
        });
    }
    if rng.per_mille(300) {
        let first = Ipv4Addr::new(10, 0, 0, rng.below(32) as u8);
        sim = sim.reservation(&format!("{first}/{}", rng.between(28, 32)));
    }
    if rng.per_mille(700) {
        sim = sim.collector();
        if Rng::stream(seed, "collectors").per_mille(400) {
            sim = sim.collector();
        }
    }
    // Claims are old after a minute, and addresses cool down for as long: in most runs the walls' minutes are short.
    sim.clock(*rng.pick(&[1, 30, 120]), *rng.pick(&[0, 0, 20, 3600]))
}

fn load(sim: &mut Sim, rng: &mut Rng) {
    let nodes = sim.nodes() as u64;
    for n in 0..rng.between(5, 40) {
        let name = format!("p{n}");
        let given = rng.per_mille(100).then(|| IpAddr::V4(Ipv4Addr::new(10, 0, 0, rng.below(70) as u8)));
        let pod = Pod { node: rng.below(nodes) as usize, given, wanted: true, tries: 0, error: None };
        sim.kubelets.pods.insert(name.clone(), pod);
        // Bursts: many pods begin at a few points in time.
        let start = rng.below(8) * 500_000 + if rng.per_mille(500) { 0 } else { rng.below(300_000) };
        sim.queue.push(Duration::from_micros(start), Happening::AddPod(name.clone()));
        if rng.per_mille(100) {
            let patience = Duration::from_micros(start + rng.below(20_000));
            sim.queue.push(patience, Happening::CancelAdd(name.clone()));
        }
        if rng.per_mille(600) {
            let end = Duration::from_micros(start + rng.below(2_500_000));
            sim.queue.push(end, Happening::DelPod(name));
        }
    }
}

/// Machines that are lost or installed anew, where somebody collects what they leave.
fn machines(sim: &mut Sim, rng: &mut Rng) {
    if !sim.collects() {
        return;
    }
    for node in 0..sim.nodes() {
        // One stays: a cluster without nodes is one of which nothing is known.
        if node > 0 && rng.per_mille(150) {
            let lost = rng.below(4_000_000);
            sim.queue.push(Duration::from_micros(lost), Happening::LoseNode { node });
            let deleted = lost + rng.below(1_500_000);
            sim.queue.push(Duration::from_micros(deleted), Happening::DeleteNode { node });
            let pods = sim.kubelets.pods.iter().filter(|(_, pod)| pod.node == node);
            let pods: Vec<String> = pods.map(|(name, _)| name.clone()).collect();
            for pod in pods {
                let given_up = Duration::from_micros(deleted + rng.below(3_000_000));
                sim.queue.push(given_up, Happening::DeletePod(pod));
            }
        } else if rng.per_mille(250) {
            let wiped = Duration::from_micros(rng.below(5_000_000));
            sim.queue.push(wiped, Happening::WipeNode { node });
        }
    }
}

/// Clocks that run a little faster or slower, and machines that get nothing done for a while. A node's while is short: an
/// address that a pod is just getting looks unused, and `Patience` is longer than an ADD. A collector may be paused for long.
fn clocks_and_pauses(sim: &mut Sim, rng: &mut Rng) {
    let drifts = rng.per_mille(400);
    for node in 0..sim.nodes.len() {
        if drifts {
            let faster = rng.below(101) as i64 - 50;
            sim.say(format!("the clock of {} runs {faster} thousandths faster", sim.nodes[node].name));
            sim.nodes[node].clock.set(sim.queue.now(), faster);
        }
        let (times, longest) = match sim.nodes[node].collects {
            true if sim.lease.is_some() => (rng.below(6), 3_000_000),
            true => (rng.below(2), 3_000_000),
            false => (u64::from(rng.per_mille(150)), 200_000),
        };
        for _ in 0..times {
            let begin = rng.below(5_500_000);
            sim.queue.push(Duration::from_micros(begin), Happening::Pause { node });
            let end = begin + rng.below(longest);
            sim.queue.push(Duration::from_micros(end), Happening::Resume { node });
        }
    }
}

/// The seed turns each class on or off, then draws its rate.
fn faults(seed: u64, nodes: usize) -> Faults {
    let mut rng = Rng::stream(seed, "swarm");
    let mut rate = |most: u64| if rng.per_mille(500) { rng.between(1, most) } else { 0 };
    let (request_lost, answer_lost, late, failed) = (rate(100), rate(150), rate(50), rate(100));
    let (crash, broken_watch, oldest_list) = (rate(30), rate(50), rate(30));
    let rates = Rates {
        request_lost,
        answer_lost,
        late,
        failed,
        crash,
        most_crashes: 25,
        broken_watch,
        oldest_list,
        ..Rates::default()
    };
    let pace = Pace {
        latency: *rng.pick(&[(100, 2_000), (1_000, 1_000), (500, 30_000)]),
        watch: *rng.pick(&[(100, 3_000), (1_000, 100_000), (1_000, 1_500_000)]),
        downtime: *rng.pick(&[(1_000, 20_000), (50_000, 1_000_000)]),
    };
    Faults::scheduled(seed, pace, &rates.draw(&mut Rng::stream(seed, "faults"), nodes))
}
