//! Runs of whole nodes that a seed draws: cluster, load, changes of mode, and which faults there are and how often.

use super::{Admin, Machines, Mode};
use crate::sim::{Broken, Faults, Rng, seeded::Story};
use derive::IpipDriver;
use model::Duration;

/// Runs one seed: load under faults, then rest.
pub fn run(seed: u64, aloud: bool) -> Result<Story, Box<Broken>> {
    let mut cluster = cluster(seed);
    cluster.trace.aloud = aloud;
    load(&mut cluster, seed);
    cluster.faults = faults(seed);
    cluster.run_for(LOAD)?;
    cluster.come_to_rest()?;
    Ok(Story { hash: cluster.hash(), events: cluster.events() })
}

const LOAD: Duration = Duration::from_secs(8);

fn cluster(seed: u64) -> Machines {
    let mut rng = Rng::stream(seed, "cluster");
    let drivers: &[&[IpipDriver]] =
        &[&[IpipDriver::Kernel], &[IpipDriver::StandIn], &[IpipDriver::Kernel, IpipDriver::StandIn]];
    let (near, far) = (rng.between(1, 3) as usize, rng.below(3) as usize);
    let mut cluster = Machines::cluster(near.max(2 - far.min(1)), far, rng.pick::<&[IpipDriver]>(drivers));
    cluster.seed = Some(seed);
    cluster.queue.reseed(Rng::stream(seed, "ties"));
    let mode = *rng.pick(&Mode::ALL);
    cluster = cluster.pool("pool", rng.pick::<&str>(&["10.0.0.0/26", "10.0.0.0/24"]), 29, mode);
    if rng.per_mille(300) {
        cluster = cluster.pool("second", "10.1.0.0/27", 29, *rng.pick(&Mode::ALL));
    }
    cluster
}

fn load(cluster: &mut Machines, seed: u64) {
    let mut rng = Rng::stream(seed, "load");
    let nodes = cluster.machines.len() as u64;
    let at = |rng: &mut Rng| Duration::from_micros(rng.between(100_000, 7_000_000));
    for n in 0..rng.between(nodes, nodes + 4) {
        let name = format!("p{n}");
        let start = Duration::from_micros(rng.below(1_500_000));
        cluster.pod(&name, (n % nodes) as usize, start);
        if rng.per_mille(300) {
            let end = at(&mut rng);
            cluster.delete_pod(&name, end);
        }
    }
    for _ in 0..rng.below(4) {
        let when = at(&mut rng);
        cluster.admin(when, Admin::SetMode(*rng.pick(&Mode::ALL)));
        if rng.per_mille(400) {
            let soon = Duration::from_micros(when.micros() + rng.below(300_000));
            cluster.admin(soon, Admin::SetMode(*rng.pick(&Mode::ALL)));
        }
    }
    let mut one = |odds: u64, act: fn(&mut Rng, u64) -> Admin| {
        if rng.per_mille(odds) {
            let when = at(&mut rng);
            let act = act(&mut rng, nodes);
            cluster.admin(when, act);
        }
    };
    one(250, |rng, _| {
        Admin::Join(rng.below(2) as usize, *rng.pick(&[IpipDriver::Kernel, IpipDriver::StandIn]))
    });
    one(250, |rng, nodes| Admin::Crash(rng.below(nodes) as usize));
    one(150, |rng, nodes| Admin::Reboot(rng.below(nodes) as usize));
    one(100, |rng, nodes| Admin::Remove(rng.below(nodes) as usize));
    one(150, |rng, nodes| Admin::Meddle(rng.below(nodes) as usize, rng.below(40) as usize));
    if rng.per_mille(200) {
        let down = at(&mut rng);
        cluster.admin(down, Admin::ApiDown);
        cluster.admin(Duration::from_micros(down.micros() + rng.below(2_000_000)), Admin::ApiUp);
    }
    if rng.per_mille(150) {
        let (a, b) = (rng.below(nodes) as usize, rng.below(nodes) as usize);
        let when = at(&mut rng);
        cluster.admin(when, Admin::Cut(a, b));
        cluster.admin(Duration::from_micros(when.micros() + rng.below(2_000_000)), Admin::Mend(a, b));
    }
}

/// The seed turns each class on or off, then draws its rate.
fn faults(seed: u64) -> Faults {
    let mut rng = Rng::stream(seed, "swarm");
    let mut rate = |most: u64| if rng.per_mille(400) { rng.between(1, most) } else { 0 };
    let (request_lost, answer_lost, late, failed) = (rate(60), rate(60), rate(30), rate(60));
    // A node lists through a quorum: no list is old.
    let (crash, broken_watch) = (rate(4), rate(30));
    Faults {
        rng: Rng::stream(seed, "faults"),
        request_lost,
        answer_lost,
        late,
        failed,
        crash,
        most_crashes: 8,
        broken_watch,
        latency: *rng.pick(&[(100, 2_000), (1_000, 1_000), (500, 30_000)]),
        watch_delay: *rng.pick(&[(100, 3_000), (1_000, 100_000), (1_000, 1_500_000)]),
        downtime: *rng.pick(&[(1_000, 20_000), (50_000, 1_000_000)]),
        ..Faults::none()
    }
}
