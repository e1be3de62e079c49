//! Faults and threats, in whatever mode the lab is: what must hold while something is killed, cut, deleted or forged.
//! Names begin with the fault's (`f…`) or the threat's (`s…`) number in the catalogue of the project.

pub mod blame;
pub mod cni;
pub mod commands;
pub mod compaction;
pub mod damage;
pub mod death;
pub mod ipip;
pub mod kill;
pub mod meddle;
pub mod pieces;
pub mod pod;
pub mod refused;
pub mod renumber;
pub mod socket;
pub mod spoof;
pub mod store;
pub mod takeover;
pub mod uplink;

use crate::{Lab, PODS};
use std::path::PathBuf;
use testkit::sampler::Sampler;

/// A sampler between the pods of master1 and master2.
fn sample(lab: &Lab) -> Sampler {
    sample_between(lab, PODS[0], PODS[1])
}

/// A sampler between two pods.
fn sample_between(lab: &Lab, a: (&str, &str, &str), b: (&str, &str, &str)) -> Sampler {
    Sampler::start(&lab.place(a.0, a.1), &lab.place(b.0, b.1))
}

fn namespaces(lab: &Lab) -> Vec<PathBuf> {
    lab.nodes().iter().map(|node| lab.netns(node)).collect()
}
