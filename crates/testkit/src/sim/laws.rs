//! What must hold after every event, and at the end.
//!
//! 1. No address has two owners, over blocks and over ADD answers that no DEL took back.
//! 2. An address is taken from its owner only when the owner gives it back. (What finds an assignment that was made a second
//!    time after a lost answer is the end: the first address leaks.)
//! 3. As long as a block holds an address, a handle says so. (What finds a handle that is written after its block: at once,
//!    without a crash.)
//! 4. With strict affinity an address is of a block of the node that has it.
//! 5. A reserved address is given to those only who ask for it by name.
//!
//! At the end, when faults have stopped: nothing is pending, `ipam::check` finds nothing, and once everything is deleted no
//! address and no handle is left but those of the tunnels.

use ipam::{block, check};
use model::store::Object;
use model::{Instant, names};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// A law was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub law: &'static str,
    pub what: String,
    pub at: Instant,
    pub event: u64,
    /// What led to it, oldest first.
    pub trace: Vec<String>,
    /// `None`: a directed case.
    pub seed: Option<u64>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} broken at {}, event {}: {}", self.law, self.at, self.event, self.what)?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        match self.seed {
            Some(seed) => write!(f, "again: ./dev test sim --seed {seed}"),
            None => Ok(()),
        }
    }
}

/// Laws 1 to 4, over the API's objects and the addresses that are in use (address, handle).
pub fn hold<'a>(
    objects: impl Iterator<Item = &'a Object>,
    in_use: &[(IpAddr, String)],
) -> Result<(), (&'static str, String)> {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut handles = BTreeMap::new();
    let mut blocks = Vec::new();
    let mut strict = false;
    for object in objects {
        match object {
            Object::IpamConfiguration(configuration) => strict = configuration.spec.strict_affinity,
            Object::IpamBlock(b) => blocks.push(b),
            Object::IpamHandle(h) => _ = handles.insert(h.metadata.name.as_str(), h),
            _ => {}
        }
    }
    for b in blocks {
        if strict && let Some((addr, node, _)) = block::borrowed(&b.spec).next() {
            return Err(("law 4", format!("{addr} of {} is borrowed by {node}", b.spec.cidr)));
        }
        for (n, by) in block::allocated(&b.spec) {
            let addr = block::addr(&b.spec, n);
            let owner = by.handle_id.clone().unwrap_or_default();
            let named = handles.get(names::handle(&owner).as_str());
            if named.is_none_or(|h| !h.spec.block.contains_key(&b.spec.cidr.to_string())) {
                return Err(("law 3", format!("{addr} is held by {owner}, and no handle says so")));
            }
            if let Some(other) = owners.insert(addr, owner.clone()) {
                return Err(("law 1", format!("{addr} is given to {owner} and to {other}")));
            }
        }
    }
    let mut users: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (addr, user) in in_use {
        if let Some(other) = users.insert(*addr, user) {
            return Err(("law 1", format!("{addr} is used by {user} and by {other}")));
        }
        if owners.get(addr) != Some(user) {
            let owner = owners.get(addr).map_or("nobody", String::as_str);
            return Err(("law 2", format!("{addr} is used by {user}, and the block says {owner}")));
        }
    }
    Ok(())
}

/// What `ipam::check` finds, in words.
pub fn problems<'a>(
    objects: impl Iterator<Item = &'a Object>,
    in_use: &[(IpAddr, String)],
) -> Vec<check::Problem> {
    let mut all = check::Objects { in_use: in_use.to_vec(), ..check::Objects::default() };
    objects.for_each(|object| all.add(object));
    check::check(&all)
}
