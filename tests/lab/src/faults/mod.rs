//! Faults and threats, in whatever mode the lab is: what must hold while something is killed, cut, deleted or forged.
//! Names begin with the fault's (`f…`) or the threat's (`s…`) number in the catalogue of the project.

pub mod cni;
pub mod ipip;
pub mod kill;
pub mod meddle;
pub mod spoof;

use crate::{Lab, PODS};
use std::path::PathBuf;
use testkit::sampler::Sampler;

/// A sampler between the pods of master1 and master2.
fn sample(lab: &Lab) -> Sampler {
    let [(here, pod, _), (there, other, _), _] = PODS;
    Sampler::start(&lab.place(here, pod), &lab.place(there, other))
}

fn namespaces(lab: &Lab) -> Vec<PathBuf> {
    lab.nodes().iter().map(|node| lab.netns(node)).collect()
}
