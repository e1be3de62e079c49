//! Small scenarios of allocators, with everything that can befall each of their requests: a crash before it, on its way and
//! after it, and each way in which a request or its answer is lost.

use model::Duration;
use testkit::sim::Sim;
use testkit::sim::faults::Sort;

/// Tells the scenario without a fault, then with one at each effect.
fn sweep(cluster: fn() -> Sim, scenario: fn(&mut Sim), at_least: u64) {
    let mut calm = cluster();
    scenario(&mut calm);
    calm.settle().expect_clean();
    let effects = calm.effects();
    assert!(effects > at_least, "{effects} effects are too few to prove anything");
    for at in 1..=effects {
        for what in Sort::Request.all() {
            println!("{what:?} at effect {at}");
            let mut sim = cluster();
            sim.befall(at, what);
            scenario(&mut sim);
            sim.settle().expect_clean();
        }
    }
}

#[test]
fn whatever_befalls_a_request_leaks_nothing_and_gives_nothing_twice() {
    let cluster = || Sim::cluster(2).pool("10.0.0.0/28", 29).tunnels();
    let scenario = |sim: &mut Sim| {
        sim.pod("a").on("n1").add();
        sim.pod("b").on("n1").add();
        sim.pod("c").on("n2").add();
        sim.run_for(Duration::from_millis(60));
        sim.pod("a").del();
        sim.pod("d").on("n1").at("10.0.0.14").add();
        sim.run_for(Duration::from_millis(60));
    };
    sweep(cluster, scenario, 15);
}

/// Four nodes for two blocks: what one lacks is another's, or is borrowed.
#[test]
fn whatever_befalls_a_request_where_blocks_are_few_leaks_nothing_and_gives_nothing_twice() {
    let cluster = || Sim::cluster(4).pool("10.0.0.0/28", 29);
    let scenario = |sim: &mut Sim| {
        for (n, node) in ["n1", "n2", "n3", "n4", "n1", "n3"].into_iter().enumerate() {
            sim.pod(&format!("p{n}")).on(node).add();
        }
        sim.run_for(Duration::from_millis(200));
        (0..6).for_each(|n| sim.pod(&format!("p{n}")).del());
        sim.run_for(Duration::from_millis(200));
    };
    sweep(cluster, scenario, 40);
}

/// What a machine that is lost had, and what another forgets, the collector gives back.
#[test]
fn whatever_befalls_a_request_of_the_collector_or_of_another_leaks_nothing_and_gives_nothing_twice() {
    let cluster = || Sim::cluster(3).pool("10.0.0.0/27", 29).tunnels().collector();
    let scenario = |sim: &mut Sim| {
        for (n, node) in ["n1", "n2", "n2", "n3"].into_iter().enumerate() {
            sim.pod(&format!("p{n}")).on(node).add();
        }
        sim.run_for(Duration::from_millis(100));
        sim.node("n2").lose();
        sim.node("n3").wipe();
        sim.run_for(Duration::from_millis(100));
        sim.pod("late").on("n1").add();
        sim.run_for(Duration::from_secs(8));
    };
    sweep(cluster, scenario, 40);
}
