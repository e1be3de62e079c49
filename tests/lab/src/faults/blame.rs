//! An agent that dies around what a BGP peer sent: the next one holds off who was being read, and nobody else.

use super::death::{forgiven, lives, places_of, start};
use crate::bgp::{SOON, found, session};
use crate::{Lab, suite, within};
use std::fs;
use std::time::Duration;

const NODE: &str = "master2";
const AGENT: &str = "node-master2";
/// Whom it reads: the other node.
const PEER: &str = "192.168.50.161";

/// Whether a place is of the slot that names who is read.
pub(super) fn is_slots(place: &str) -> bool {
    place.starts_with("slot")
}

pub fn f03_an_agent_that_dies_around_what_a_peer_sent_blames_who_was_read_and_nobody_else(lab: &Lab) {
    suite::expect_complaint("the agent ended while it read");
    let places: Vec<String> = places_of("agent").into_iter().filter(|place| is_slots(place)).collect();
    assert_eq!(places.len(), 5, "{places:?}");
    let ways = lab.sample_pods_and_nodes();
    for place in &places {
        println!("  dying at `{place}`");
        begin_anew(lab);
        if place == "slot: blame written" {
            dies(lab, "slot: entered");
        }
        if place == "slot: removed" {
            start(lab, AGENT, place);
            talks(lab, place);
            // It ends in order, but for the last step.
            let _ = lab.try_verb(&["stop", AGENT]);
            within(SOON, &format!("it dies at `{place}`"), || !lives(lab, AGENT));
        } else {
            dies(lab, place);
        }
        lab.verb(&["start", AGENT]);
        let info = || found(lab, NODE, PEER)["info"].as_str().unwrap_or_default().to_owned();
        if ["slot: entered", "slot: blame written"].contains(&place.as_str()) {
            within(SOON, &format!("after `{place}` the peer is held off"), || {
                info().contains("Quarantine: what it sent ended the agent")
            });
        } else {
            talks(lab, place);
            assert!(!lab.node_file(NODE, "speaker.quarantine").exists(), "after `{place}`: {}", info());
        }
    }
    begin_anew(lab);
    lab.verb(&["start", AGENT]);
    talks(lab, "all");
    ways.nothing_was_lost();
}

fn talks(lab: &Lab, place: &str) {
    within(Duration::from_secs(40), &format!("`{place}`: the nodes talk"), || {
        session(lab, NODE, PEER).is_some_and(|line| line.contains("Established"))
    });
}

fn dies(lab: &Lab, place: &str) {
    start(lab, AGENT, place);
    within(SOON, &format!("the agent dies at `{place}`"), || !lives(lab, AGENT));
}

/// Without an agent, and without what the last one knew of peers, and they of it.
fn begin_anew(lab: &Lab) {
    let _ = lab.try_verb(&["kill", AGENT]);
    forgiven(lab);
    for file in ["speaker.reading", "speaker.quarantine"] {
        let _ = fs::remove_file(lab.node_file(NODE, file));
    }
}
