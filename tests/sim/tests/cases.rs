//! Single stories, in the words of the simulator.

use model::Duration;
use model::store::Kind;
use model::v3::IpamConfigurationSpec;
use testkit::sim::faults::{Sort, What};
use testkit::sim::{Sim, Verb};

fn pair() -> Sim {
    Sim::cluster(2).pool("10.0.0.0/28", 29)
}

#[test]
fn pods_of_two_nodes_get_addresses_of_their_nodes_blocks() {
    let mut sim = pair();
    sim.pod("a").on("n1").add();
    sim.pod("b").on("n2").add();
    sim.settle().expect_clean();
    let (one, two) = (sim.node("n1").blocks(), sim.node("n2").blocks());
    assert_eq!((one.len(), two.len()), (1, 1));
    sim.expect_owner(&one[0].addr().to_string(), "a").expect_owner(&two[0].addr().to_string(), "b");
}

#[test]
fn an_address_survives_a_lost_answer() {
    let mut sim = pair();
    sim.api().lose_answer_of(1, Verb::Update, Kind::IpamBlock);
    sim.pod("a").on("n1").add();
    sim.settle().expect_clean();
    let block = sim.node("n1").blocks()[0];
    sim.expect_owner(&block.addr().to_string(), "a");
}

#[test]
fn a_crash_after_a_lost_answer_leaks_nothing() {
    let mut sim = pair();
    sim.api().lose_answer_of(1, Verb::Update, Kind::IpamBlock);
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(50));
    sim.node("n1").crash();
    sim.settle().expect_clean();
}

#[test]
fn a_full_pool_says_which_and_what_to_do() {
    let mut sim = Sim::cluster(1).pool("10.0.0.0/30", 30);
    for pod in ["a", "b", "c", "d", "e"] {
        sim.pod(pod).on("n1").add();
    }
    sim.settle().expect_clean();
    sim.expect_failed("e", "No IPs available in pools: [10.0.0.0/30], most in use in blocks of n1 (4); create another IPPool (for Workload)");
}

#[test]
fn a_full_pool_with_strict_affinity_says_so() {
    let strict = IpamConfigurationSpec { strict_affinity: true, ..IpamConfigurationSpec::default() };
    let mut sim = Sim::cluster(2).pool("10.0.0.0/29", 29).configuration(strict);
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(100));
    sim.pod("b").on("n2").add();
    sim.settle().expect_clean().expect_failed("b", "No more free affine blocks and strict affinity enabled");
}

#[test]
fn a_node_stays_below_its_number_of_blocks() {
    let one_block = IpamConfigurationSpec {
        strict_affinity: true,
        max_blocks_per_host: 1,
        ..IpamConfigurationSpec::default()
    };
    let mut sim = Sim::cluster(1).pool("10.0.0.0/24", 30).configuration(one_block);
    for pod in ["a", "b", "c", "d", "e"] {
        sim.pod(pod).on("n1").add();
    }
    sim.settle().expect_clean().expect_failed("e", "cannot allocate new block due to per host block limit");
}

#[test]
fn a_given_address_is_given_once() {
    let mut sim = pair();
    sim.pod("a").on("n1").at("10.0.0.3").add();
    sim.run_for(Duration::from_millis(100));
    sim.pod("b").on("n2").at("10.0.0.3").add();
    sim.pod("c").on("n2").at("10.9.9.9").add();
    sim.settle().expect_clean().expect_owner("10.0.0.3", "a");
    sim.expect_failed("b", "resource already exists: 10.0.0.3 with error: Address already assigned in block");
    sim.expect_failed("c", "The provided IP address is not in a configured pool");
}

#[test]
fn a_tunnel_keeps_its_address_over_restarts() {
    let mut sim = pair().tunnels();
    sim.run_for(Duration::from_millis(100));
    for _ in 0..3 {
        sim.node("n1").crash();
        sim.run_for(Duration::from_millis(300));
    }
    // That a tunnel moves is a broken law.
    sim.settle().expect_clean();
}

#[test]
fn deleted_pods_give_everything_back() {
    let mut sim = pair();
    for pod in ["a", "b", "c"] {
        sim.pod(pod).on("n1").add();
    }
    sim.run_for(Duration::from_millis(200));
    for pod in ["a", "b", "c"] {
        sim.pod(pod).on("n1").del();
    }
    sim.settle().expect_clean();
}

/// A cluster of two with one block, which is `n1`'s with one pod.
fn one_block(configuration: IpamConfigurationSpec) -> Sim {
    let mut sim = Sim::cluster(2).pool("10.0.0.0/30", 30).configuration(configuration).clock(60, 0);
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(200));
    sim
}

#[test]
fn a_node_without_a_block_borrows_and_gives_back() {
    let mut sim = one_block(IpamConfigurationSpec::default());
    sim.pod("b").on("n2").add();
    sim.settle().expect_clean().expect_owner("10.0.0.0", "a").expect_owner("10.0.0.1", "b");
    assert!(sim.node("n2").blocks().is_empty());
    sim.node("n2").crash();
    sim.pod("b").del();
    sim.settle().expect_clean();
    sim.pod("c").on("n1").add();
    sim.settle().expect_clean().expect_owner("10.0.0.2", "c");
}

#[test]
fn nodes_that_borrow_from_one_block_at_once_get_different_addresses() {
    let mut sim = Sim::cluster(4).pool("10.0.0.0/29", 29);
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(200));
    for n in 0..7 {
        sim.pod(&format!("p{n}")).on(&format!("n{}", n % 4 + 1)).add();
    }
    sim.settle().expect_clean();
    sim.pod("late").on("n3").add();
    sim.settle().expect_clean().expect_failed("late", "No IPs available in pools: [10.0.0.0/29]");
}

#[test]
fn an_empty_block_of_another_node_is_taken_over_when_its_claim_is_old() {
    let strict = IpamConfigurationSpec { strict_affinity: true, ..IpamConfigurationSpec::default() };
    let mut sim = one_block(strict);
    sim.pod("a").del();
    sim.run_for(Duration::from_millis(200));
    // A minute of the walls' clocks is a second.
    sim.pod("early").on("n2").add();
    sim.run_for(Duration::from_millis(150));
    assert!(sim.node("n2").blocks().is_empty());
    sim.pod("early").del();
    sim.run_for(Duration::from_secs(1));
    sim.pod("b").on("n2").add();
    sim.settle().expect_clean();
    assert_eq!((sim.node("n1").blocks().len(), sim.node("n2").blocks().len()), (0, 1));
}

#[test]
fn a_block_that_is_used_while_it_is_being_taken_over_stays() {
    let strict = IpamConfigurationSpec { strict_affinity: true, ..IpamConfigurationSpec::default() };
    for spoiled in 1..=40 {
        let mut sim = one_block(strict.clone());
        sim.pod("a").del();
        sim.run_for(Duration::from_millis(1_500));
        sim.pod("b").on("n2").add();
        sim.run_for(Duration::from_millis(spoiled));
        sim.pod("c").on("n1").add();
        sim.settle().expect_clean();
    }
}

#[test]
fn whatever_befalls_a_request_of_a_take_over_nothing_is_lost() {
    let strict = IpamConfigurationSpec { strict_affinity: true, ..IpamConfigurationSpec::default() };
    let mut ended = 0;
    for n in 0..20 {
        for what in Sort::Request.all() {
            let mut sim = one_block(strict.clone());
            sim.pod("a").del();
            sim.run_for(Duration::from_millis(1_500));
            sim.pod("b").on("n2").add();
            let at = sim.effects() + 1 + n;
            sim.befall(at, what);
            sim.settle().expect_clean();
            assert_eq!(sim.node("n2").blocks().len(), 1, "{what:?} at request {n}");
            ended += usize::from(sim.effects() < at);
        }
    }
    assert!(ended > 0, "a take-over is longer than the sweep");
}

#[test]
fn an_address_cools_down_before_anybody_gets_it_again() {
    let cooldown =
        IpamConfigurationSpec { ip_cooldown_seconds: Some(60), ..IpamConfigurationSpec::default() };
    let mut sim = one_block(cooldown);
    for pod in ["b", "c", "d"] {
        sim.pod(pod).on("n1").add();
    }
    sim.run_for(Duration::from_millis(100));
    sim.pod("a").del();
    sim.run_for(Duration::from_millis(100));
    sim.pod("early").on("n1").add();
    sim.run_for(Duration::from_millis(100));
    sim.expect_failed("early", "No IPs available");
    sim.pod("early").del();
    sim.run_for(Duration::from_secs(1));
    sim.pod("late").on("n2").add();
    sim.settle().expect_clean().expect_owner("10.0.0.0", "late");
}

#[test]
fn what_a_lost_node_leaves_is_collected() {
    let mut sim = pair().tunnels().collector();
    sim.pod("a").on("n1").add();
    sim.pod("b").on("n2").add();
    sim.run_for(Duration::from_millis(300));
    sim.node("n1").lose();
    sim.settle().expect_clean();
    assert_eq!((sim.node("n1").blocks().len(), sim.node("n2").blocks().len()), (0, 1));
}

#[test]
fn a_lost_nodes_block_keeps_what_others_borrowed_of_it() {
    let mut sim = Sim::cluster(2).pool("10.0.0.0/30", 30).collector();
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(200));
    sim.pod("b").on("n2").add();
    sim.run_for(Duration::from_millis(200));
    sim.node("n1").lose();
    sim.settle().expect_clean().expect_owner("10.0.0.1", "b");
    sim.pod("c").on("n2").add();
    sim.settle().expect_clean().expect_owner("10.0.0.2", "c");
    sim.pod("b").del();
    sim.pod("c").del();
    sim.settle().expect_clean();
    assert_eq!(sim.blocks(), []);
}

#[test]
fn what_a_machine_forgot_when_it_was_installed_anew_is_collected() {
    let mut sim = pair().collector();
    sim.pod("a").on("n1").add();
    sim.run_for(Duration::from_millis(300));
    sim.node("n1").wipe();
    // Its pods get new sandboxes; nobody deletes the old ones.
    sim.settle().expect_clean();
    let block = sim.node("n1").blocks()[0];
    sim.expect_owner(&block.nth(1).expect("it has eight").to_string(), "a");
}

#[test]
fn whatever_befalls_a_request_of_the_collector_nothing_is_lost() {
    let story = |fault: Option<(u64, What)>| {
        let mut sim = pair().tunnels().collector();
        sim.pod("a").on("n1").add();
        sim.pod("b").on("n2").add();
        sim.run_for(Duration::from_millis(300));
        sim.node("n1").lose();
        let begin = sim.effects();
        if let Some((n, what)) = fault {
            sim.befall(begin + n, what);
        }
        sim.settle().expect_clean();
        assert!(sim.node("n1").blocks().is_empty(), "{fault:?}");
        sim.effects() - begin
    };
    let effects = story(None);
    assert!(effects > 8, "{effects} requests are too few to prove anything");
    for n in 1..=effects {
        for what in Sort::Request.all() {
            story(Some((n, what)));
        }
    }
}

/// The collector that holds the Lease is paused with each of its requests on its way. Another one does its work, and the
/// addresses are given to others before it goes on, with what it knew.
#[test]
fn a_collector_that_wakes_up_to_another_takes_nothing_from_anybody() {
    let mut takes_over = 0;
    let story = |at: Option<u64>, takes_over: &mut u64| {
        let mut sim = Sim::cluster(2).pool("10.0.0.0/28", 29).collector().collector();
        for (pod, node) in [("a", "n1"), ("b", "n1"), ("c", "n2")] {
            sim.pod(pod).on(node).add();
        }
        sim.run_for(Duration::from_secs(1));
        let first = sim.leader().expect("one collects");
        sim.node("n1").lose();
        sim.run_for(Duration::from_millis(900));
        let begin = sim.effects();
        if let Some(n) = at {
            sim.run_until_effect(begin + n);
            sim.node(&first).pause();
        }
        sim.run_for(Duration::from_secs(5));
        let effects = sim.effects() - begin;
        for n in 0..14 {
            sim.pod(&format!("d{n}")).on("n2").add();
        }
        sim.run_for(Duration::from_secs(2));
        sim.node(&first).resume();
        sim.run_for(Duration::from_secs(1));
        *takes_over += u64::from(sim.leader() != Some(first));
        sim.settle().expect_clean();
        effects
    };
    let effects = story(None, &mut takes_over);
    assert!(effects > 8, "{effects} requests are too few to prove anything");
    assert_eq!(takes_over, 0, "who holds the Lease keeps it");
    for n in 1..=effects {
        story(Some(n), &mut takes_over);
    }
    assert_eq!(takes_over, effects, "the other one takes over each time");
}
