//! Single stories, in the words of the simulator.

use model::Duration;
use model::store::Kind;
use model::v3::IpamConfigurationSpec;
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
    sim.expect_failed("e", "No IPs available in pools: [10.0.0.0/30]; create another IPPool");
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
