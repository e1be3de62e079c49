//! What is wrong with the cluster's addresses: the objects against each other, and against who uses which address.
//!
//! A report, no repair. It reads whole lists that were taken one after the other, so on a busy cluster a problem counts only
//! if a second look finds it again.

use crate::block;
use model::store::Object;
use model::v3::{AffinityState, BlockAffinity, IpPool, IpamBlock, IpamHandle};
use model::{Cidr, names};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// All that is compared.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub pools: Vec<IpPool>,
    pub blocks: Vec<IpamBlock>,
    pub affinities: Vec<BlockAffinity>,
    pub handles: Vec<IpamHandle>,
    /// Names of the nodes that there are. Empty: they are not known.
    pub nodes: BTreeSet<String>,
    /// Who uses which address: pods, tunnels, services, each by a name for people.
    pub in_use: Vec<(IpAddr, String)>,
}

/// Something that should not be so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// Two blocks share addresses.
    Overlap { one: Cidr, other: Cidr },
    /// The block contradicts itself.
    Malformed { block: Cidr, why: String },
    /// No pool covers the block.
    OutsidePools { block: Cidr },
    /// Allocated to nobody.
    NoOwner { addr: IpAddr },
    /// The block names a handle that does not exist.
    MissingHandle { addr: IpAddr, handle: String },
    /// The handle says another number of addresses than the block.
    HandleCount { handle: String, block: String, says: u32, holds: u32 },
    /// The handle has no address at all.
    EmptyHandle { handle: String },
    /// A confirmed claim without a block.
    AffinityWithoutBlock { block: Cidr, node: String },
    /// A claim to a block of somebody else.
    AffinityMismatch { block: Cidr, node: String, owner: String },
    /// A claim that stands half-way.
    AffinityUnfinished { block: Cidr, node: String },
    /// A claim of a node that there is not.
    NoNode { block: Cidr, node: String },
    /// A block without a node in which nobody has an address.
    Abandoned { block: Cidr },
    /// A block with a node and no claim.
    BlockWithoutAffinity { block: Cidr, node: String },
    /// Allocated, and nobody uses it.
    NotInUse { addr: IpAddr, owner: String },
    /// Used, and not allocated.
    NotAllocated { addr: IpAddr, user: String, in_pool: bool },
    /// Used by two.
    UsedTwice { addr: IpAddr, one: String, other: String },
}

impl Objects {
    /// Takes in one object; kinds that do not matter are passed over, and so are those that are being deleted.
    pub fn add(&mut self, object: &Object) {
        match object {
            Object::IpPool(o) => self.pools.push(o.clone()),
            Object::IpamBlock(o) if !o.spec.deleted => self.blocks.push(o.clone()),
            Object::BlockAffinity(o) if !o.spec.deleted => self.affinities.push(o.clone()),
            Object::IpamHandle(o) if !o.spec.deleted => self.handles.push(o.clone()),
            Object::Node(o) => _ = self.nodes.insert(o.metadata.name.clone()),
            _ => {}
        }
    }
}

/// Every problem, sorted.
pub fn check(objects: &Objects) -> Vec<Problem> {
    let mut problems = Vec::new();
    blocks(objects, &mut problems);
    handles(objects, &mut problems);
    affinities(objects, &mut problems);
    usage(objects, &mut problems);
    problems.sort();
    problems
}

fn blocks(objects: &Objects, problems: &mut Vec<Problem>) {
    let mut sorted: Vec<Cidr> = objects.blocks.iter().map(|b| b.spec.cidr).collect();
    sorted.sort();
    // Sorted by first address: whatever overlaps is a neighbour.
    let overlaps = sorted.windows(2).filter(|pair| pair[0].overlaps(pair[1]));
    problems.extend(overlaps.map(|pair| Problem::Overlap { one: pair[0], other: pair[1] }));
    for b in &objects.blocks {
        let cidr = b.spec.cidr;
        if let Some(why) = malformed(b) {
            problems.push(Problem::Malformed { block: cidr, why });
        }
        if !objects.pools.iter().any(|pool| pool.spec.cidr.covers(cidr)) {
            problems.push(Problem::OutsidePools { block: cidr });
        }
        if b.spec.affinity.is_none() && block::is_empty(&b.spec) {
            problems.push(Problem::Abandoned { block: cidr });
        }
    }
}

fn malformed(b: &IpamBlock) -> Option<String> {
    let spec = &b.spec;
    let size = block::size(spec.cidr) as usize;
    if spec.allocations.len() != size {
        return Some(format!("{} allocations for {size} addresses", spec.allocations.len()));
    }
    let known = |index: &&u32| (**index as usize) < spec.attributes.len();
    if let Some(index) = spec.allocations.iter().flatten().find(|index| !known(index)) {
        return Some(format!("no attributes at index {index}"));
    }
    let free: BTreeSet<u32> = spec.unallocated.iter().copied().collect();
    if free.len() != spec.unallocated.len() {
        return Some("an ordinal is free twice".to_owned());
    }
    (0..size as u32)
        .find(|n| free.contains(n) == spec.allocations[*n as usize].is_some())
        .map(|n| format!("ordinal {n} is both free and allocated, or neither"))
}

fn handles(objects: &Objects, problems: &mut Vec<Problem>) {
    let mut held: BTreeMap<(String, String), u32> = BTreeMap::new();
    let known: BTreeSet<&str> = objects.handles.iter().map(|h| h.metadata.name.as_str()).collect();
    for b in &objects.blocks {
        for (n, by) in block::allocated(&b.spec) {
            let addr = block::addr(&b.spec, n);
            match &by.handle_id {
                None => problems.push(Problem::NoOwner { addr }),
                Some(id) if !known.contains(names::handle(id).as_str()) => {
                    problems.push(Problem::MissingHandle { addr, handle: id.clone() });
                }
                Some(id) => *held.entry((names::handle(id), b.spec.cidr.to_string())).or_insert(0) += 1,
            }
        }
    }
    for handle in &objects.handles {
        let (name, id) = (&handle.metadata.name, &handle.spec.handle_id);
        let of_handle = || held.range((name.clone(), String::new())..).take_while(|((n, _), _)| n == name);
        if of_handle().next().is_none() {
            problems.push(Problem::EmptyHandle { handle: id.clone() });
            continue;
        }
        let named = handle.spec.block.iter().filter(|(_, count)| **count > 0).map(|(block, _)| block);
        let blocks: BTreeSet<&String> = of_handle().map(|((_, block), _)| block).chain(named).collect();
        for block in blocks {
            let says = handle.spec.block.get(block).copied().unwrap_or(0);
            let holds = held.get(&(name.clone(), block.clone())).copied().unwrap_or(0);
            if says != holds {
                let (handle, block) = (id.clone(), block.clone());
                problems.push(Problem::HandleCount { handle, block, says, holds });
            }
        }
    }
}

fn affinities(objects: &Objects, problems: &mut Vec<Problem>) {
    let owners: BTreeMap<Cidr, Option<&str>> =
        objects.blocks.iter().map(|b| (b.spec.cidr, block::owner(&b.spec))).collect();
    let hosts = objects.affinities.iter().filter(|a| a.spec.affinity_type.as_deref() != Some("virtual"));
    let mut claimed = BTreeSet::new();
    for affinity in hosts {
        let (block, node) = (affinity.spec.cidr, affinity.spec.node.clone());
        claimed.insert((block, node.clone()));
        match owners.get(&block) {
            _ if !objects.nodes.is_empty() && !objects.nodes.contains(&node) => {
                problems.push(Problem::NoNode { block, node });
            }
            _ if affinity.spec.state != AffinityState::Confirmed => {
                problems.push(Problem::AffinityUnfinished { block, node });
            }
            None => problems.push(Problem::AffinityWithoutBlock { block, node }),
            Some(owner) if *owner != Some(&node) => {
                let owner = owner.unwrap_or("nobody").to_owned();
                problems.push(Problem::AffinityMismatch { block, node, owner });
            }
            Some(_) => {}
        }
    }
    for (block, owner) in owners {
        if let Some(node) = owner.map(str::to_owned)
            && !claimed.contains(&(block, node.clone()))
        {
            problems.push(Problem::BlockWithoutAffinity { block, node });
        }
    }
}

fn usage(objects: &Objects, problems: &mut Vec<Problem>) {
    let mut users: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (addr, user) in &objects.in_use {
        if let Some(first) = users.insert(*addr, user) {
            problems.push(Problem::UsedTwice { addr: *addr, one: first.to_owned(), other: user.clone() });
        }
    }
    let mut allocated = BTreeSet::new();
    for b in &objects.blocks {
        for (n, by) in block::allocated(&b.spec) {
            let addr = block::addr(&b.spec, n);
            allocated.insert(addr);
            if !users.contains_key(&addr) {
                let owner = by.handle_id.clone().unwrap_or_else(|| "nobody".to_owned());
                problems.push(Problem::NotInUse { addr, owner });
            }
        }
    }
    for (addr, user) in users.into_iter().filter(|(addr, _)| !allocated.contains(addr)) {
        let in_pool = objects.pools.iter().any(|pool| !pool.spec.disabled && pool.spec.cidr.contains(addr));
        problems.push(Problem::NotAllocated { addr, user: user.to_owned(), in_pool });
    }
}

impl Problem {
    /// Its sort, in a few words.
    pub fn sort(&self) -> &'static str {
        match self {
            Problem::Overlap { .. } => "overlap",
            Problem::Malformed { .. } => "malformed block",
            Problem::OutsidePools { .. } => "block outside pools",
            Problem::NoOwner { .. } => "address without handle",
            Problem::MissingHandle { .. } => "missing handle",
            Problem::HandleCount { .. } => "wrong count",
            Problem::EmptyHandle { .. } => "empty handle",
            Problem::AffinityWithoutBlock { .. } => "claim without block",
            Problem::AffinityMismatch { .. } => "claim to another's block",
            Problem::AffinityUnfinished { .. } => "unfinished claim",
            Problem::NoNode { .. } => "claim of a missing node",
            Problem::Abandoned { .. } => "abandoned block",
            Problem::BlockWithoutAffinity { .. } => "block without claim",
            Problem::NotInUse { .. } => "not in use",
            Problem::NotAllocated { .. } => "not allocated",
            Problem::UsedTwice { .. } => "used twice",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Overlap { one, other } => write!(f, "blocks {one} and {other} share addresses"),
            Problem::Malformed { block, why } => write!(f, "block {block} is malformed: {why}"),
            Problem::OutsidePools { block } => write!(f, "block {block} is in no IP pool"),
            Problem::NoOwner { addr } => write!(f, "{addr} is allocated without a handle"),
            Problem::MissingHandle { addr, handle } => {
                write!(f, "{addr} is of handle {handle}, which does not exist")
            }
            Problem::HandleCount { handle, block, says, holds } => {
                write!(f, "handle {handle} says {says} addresses of block {block}, the block holds {holds}")
            }
            Problem::EmptyHandle { handle } => write!(f, "handle {handle} has no address"),
            Problem::AffinityWithoutBlock { block, node } => {
                write!(f, "{node} claims block {block}, which does not exist")
            }
            Problem::AffinityMismatch { block, node, owner } => {
                write!(f, "{node} claims block {block}, which is {owner}'s")
            }
            Problem::AffinityUnfinished { block, node } => {
                write!(f, "the claim of {node} to block {block} stands half-way")
            }
            Problem::NoNode { block, node } => {
                write!(f, "{node} claims block {block}, and there is no such node")
            }
            Problem::Abandoned { block } => write!(f, "block {block} is nobody's and empty"),
            Problem::BlockWithoutAffinity { block, node } => {
                write!(f, "block {block} is {node}'s without a BlockAffinity")
            }
            Problem::NotInUse { addr, owner } => write!(f, "{addr} is allocated to {owner} and not in use"),
            Problem::NotAllocated { addr, user, in_pool: true } => {
                write!(f, "{addr} is used by {user} and not allocated")
            }
            Problem::NotAllocated { addr, user, in_pool: false } => {
                write!(f, "{addr} is used by {user} and in no active IP pool")
            }
            Problem::UsedTwice { addr, one, other } => write!(f, "{addr} is used by {one} and by {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wall;
    use model::Metadata;
    use model::v3::IpamHandleSpec;

    /// One block of `n1` with one address, of handle `h`, used by a pod: nothing is wrong.
    fn sound() -> Objects {
        let cidr: Cidr = "10.0.0.8/29".parse().expect("a CIDR");
        let mut spec = block::new(cidr, "n1", &Wall::parse("2026-11-23T03:07:29Z"));
        let addr = block::assign(&mut spec, "h", &BTreeMap::new(), &[]).expect("there is room");
        let handle = IpamHandleSpec {
            handle_id: "h".to_owned(),
            block: [(cidr.to_string(), 1)].into(),
            deleted: false,
        };
        let pool = serde_json::json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/24"}});
        Objects {
            pools: vec![serde_json::from_value(pool).expect("a pool")],
            blocks: vec![IpamBlock { metadata: Metadata::named(names::block(cidr)), spec }],
            affinities: vec![BlockAffinity::of_host("n1", cidr, AffinityState::Confirmed)],
            handles: vec![IpamHandle { metadata: Metadata::named("h"), spec: handle }],
            nodes: ["n1".to_owned()].into(),
            in_use: vec![(addr, "default/a".to_owned())],
        }
    }

    fn found(spoil: impl FnOnce(&mut Objects)) -> Vec<String> {
        let mut objects = sound();
        spoil(&mut objects);
        check(&objects).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_sound_cluster_has_no_problem() {
        assert_eq!(found(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_problem_is_named() {
        assert_eq!(found(|o| o.handles.clear()), ["10.0.0.8 is of handle h, which does not exist"]);
        assert_eq!(
            found(|o| _ = o.handles[0].spec.block.insert("10.0.0.16/29".to_owned(), 1)),
            ["handle h says 1 addresses of block 10.0.0.16/29, the block holds 0"]
        );
        assert_eq!(found(|o| o.in_use.clear()), ["10.0.0.8 is allocated to h and not in use"]);
        assert_eq!(found(|o| o.affinities.clear()), ["block 10.0.0.8/29 is n1's without a BlockAffinity"]);
        assert_eq!(found(|o| o.pools.clear()), ["block 10.0.0.8/29 is in no IP pool"]);
        assert_eq!(
            found(|o| o.affinities[0].spec.state = AffinityState::Pending),
            ["the claim of n1 to block 10.0.0.8/29 stands half-way"]
        );
        assert_eq!(
            found(|o| o.nodes = ["n2".to_owned()].into()),
            ["n1 claims block 10.0.0.8/29, and there is no such node"]
        );
        assert_eq!(
            found(|o| {
                let cidr = "10.0.0.16/29".parse().expect("a CIDR");
                let mut spec = block::new(cidr, "n1", &Wall::parse("2026-11-23T03:07:29Z"));
                spec.affinity = None;
                o.blocks.push(IpamBlock { metadata: Metadata::named("abandoned"), spec });
            }),
            ["block 10.0.0.16/29 is nobody's and empty"]
        );
        assert_eq!(
            found(|o| o.blocks[0].spec.unallocated.push(0)),
            ["block 10.0.0.8/29 is malformed: ordinal 0 is both free and allocated, or neither"]
        );
        assert_eq!(
            found(|o| o.in_use.push(o.in_use[0].clone())),
            ["10.0.0.8 is used by default/a and by default/a"]
        );
        assert_eq!(
            found(|o| {
                o.in_use.push(([10, 0, 0, 77].into(), "default/b".to_owned()));
                o.in_use.push(([192, 0, 2, 1].into(), "default/c".to_owned()));
            }),
            [
                "10.0.0.77 is used by default/b and not allocated",
                "192.0.2.1 is used by default/c and in no active IP pool"
            ]
        );
        assert_eq!(
            found(|o| {
                let cidr = "10.0.0.8/30".parse().expect("a CIDR");
                let wall = Wall::parse("2026-11-23T03:07:29Z");
                let mut spec = block::new(cidr, "n1", &wall);
                spec.affinity = None;
                o.blocks.push(IpamBlock { metadata: Metadata::named("overlapping"), spec });
            }),
            ["blocks 10.0.0.8/29 and 10.0.0.8/30 share addresses", "block 10.0.0.8/30 is nobody's and empty"]
        );
        let gone: Vec<String> = found(|o| o.blocks.clear());
        assert_eq!(
            gone,
            [
                "handle h has no address",
                "n1 claims block 10.0.0.8/29, which does not exist",
                "10.0.0.8 is used by default/a and not allocated"
            ]
        );
    }
}
