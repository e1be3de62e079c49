//! One small scenario, with a crash at each of its effects, before it and after it.

use model::Duration;
use model::store::Kind;
use testkit::sim::faults::Moment;
use testkit::sim::{Sim, Verb};

fn scenario(sim: &mut Sim) {
    sim.pod("a").on("n1").add();
    sim.pod("b").on("n1").add();
    sim.pod("c").on("n2").add();
    sim.run_for(Duration::from_millis(60));
    sim.pod("a").del();
    sim.pod("d").on("n1").at("10.0.0.14").add();
    sim.run_for(Duration::from_millis(60));
}

fn cluster() -> Sim {
    Sim::cluster(2).pool("10.0.0.0/28", 29).tunnels()
}

#[test]
fn a_crash_at_any_effect_leaks_nothing_and_gives_nothing_twice() {
    let mut calm = cluster();
    scenario(&mut calm);
    calm.settle().expect_clean();
    let effects = calm.effects();
    assert!(effects > 15, "{effects} effects are too few to prove anything");
    for at in 1..=effects {
        for moment in [Moment::Before, Moment::After] {
            let mut sim = cluster();
            sim.crash_at(at, moment);
            scenario(&mut sim);
            sim.settle().expect_clean();
        }
    }
}

#[test]
fn a_lost_answer_of_any_write_leaks_nothing_and_gives_nothing_twice() {
    let kinds = [Kind::IpamHandle, Kind::IpamBlock, Kind::BlockAffinity];
    let verbs = [Verb::Create, Verb::Update, Verb::Delete, Verb::Get];
    for (kind, verb) in kinds.into_iter().flat_map(|kind| verbs.map(|verb| (kind, verb))) {
        for nth in 1..=8 {
            let mut sim = cluster();
            sim.api().lose_answer_of(nth, verb, kind);
            scenario(&mut sim);
            sim.settle().expect_clean();
        }
    }
}
