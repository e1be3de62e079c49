//! The content of one block: who has which of its addresses. Changes of a value, no reads and no writes; whoever changes a
//! block calls [`touch`] once before the compare-and-swap.
//!
//! Blocks come from the API and may be malformed: an ordinal that is listed as free and allocated is allocated.

use crate::{Error, Wall};
use model::Cidr;
use model::v3::{AllocationAttribute, IpamBlockSpec};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An empty block with affinity to `node`. Sequence numbers begin at the time in nanoseconds, so that a block that is made
/// again does not repeat them.
pub fn new(cidr: Cidr, node: &str, wall: &Wall) -> IpamBlockSpec {
    let size = size(cidr);
    IpamBlockSpec {
        cidr,
        affinity: Some(affinity(node)),
        affinity_claim_time: Some(wall.seconds()),
        strict_affinity: false,
        allocations: vec![None; size as usize],
        unallocated: (0..size).collect(),
        attributes: Vec::new(),
        sequence_number: wall.nanoseconds(),
        sequence_number_for_allocation: BTreeMap::new(),
        deleted: false,
    }
}

/// Number of addresses of a block: at most 4096 (/20 or /116), the largest that a pool may have.
pub fn size(cidr: Cidr) -> u32 {
    let bits = if cidr.is_ipv4() { 32 } else { 128 };
    1 << (bits - cidr.len()).min(12)
}

/// The affinity of a block to a node, as the block spells it.
pub fn affinity(node: &str) -> String {
    format!("host:{node}")
}

/// The node to which a block has affinity.
pub fn owner(block: &IpamBlockSpec) -> Option<&str> {
    block.affinity.as_deref()?.strip_prefix("host:")
}

/// The address of an ordinal that the block has.
pub fn addr(block: &IpamBlockSpec, ordinal: u32) -> IpAddr {
    block.cidr.nth(ordinal).unwrap_or(block.cidr.last())
}

/// The ordinal of an address.
pub fn ordinal(block: &IpamBlockSpec, addr: IpAddr) -> Option<u32> {
    block.cidr.ordinal(addr).filter(|&n| (n as usize) < block.allocations.len())
}

/// Who has an ordinal: `None` if it is free.
pub fn holder(block: &IpamBlockSpec, ordinal: u32) -> Option<&AllocationAttribute> {
    static UNKNOWN: AllocationAttribute = AllocationAttribute {
        handle_id: None,
        secondary: BTreeMap::new(),
        alternate_owner_attrs: BTreeMap::new(),
        released_at: None,
    };
    let index = (*block.allocations.get(ordinal as usize)?)?;
    Some(block.attributes.get(index as usize).unwrap_or(&UNKNOWN))
}

/// Every allocated ordinal and who has it.
pub fn allocated(block: &IpamBlockSpec) -> impl Iterator<Item = (u32, &AllocationAttribute)> {
    (0..block.allocations.len() as u32).filter_map(|n| Some((n, holder(block, n)?)))
}

/// The addresses that a handle has, and its attributes with each.
pub fn held<'a>(
    block: &'a IpamBlockSpec,
    handle: &'a str,
) -> impl Iterator<Item = (IpAddr, &'a BTreeMap<String, String>)> {
    let owns = |a: &AllocationAttribute| a.handle_id.as_deref().is_some_and(|id| same(id, handle));
    let named = block.attributes.iter().any(owns);
    let mine = allocated(block).take_while(move |_| named).filter(move |(_, by)| owns(by));
    mine.map(|(n, by)| (addr(block, n), &by.secondary))
}

/// Whether two spellings are one handle. What follows a carriage return does not count: an old Calico wrote such ids.
fn same(a: &str, b: &str) -> bool {
    a.split('\r').next() == b.split('\r').next()
}

/// How many addresses can be given automatically.
pub fn free(block: &IpamBlockSpec, reserved: &[Cidr]) -> usize {
    block.unallocated.iter().filter(|&&n| available(block, n, reserved)).count()
}

/// Whether nobody has an address.
pub fn is_empty(block: &IpamBlockSpec) -> bool {
    block.allocations.iter().all(Option::is_none)
}

fn available(block: &IpamBlockSpec, ordinal: u32, reserved: &[Cidr]) -> bool {
    block.allocations.get(ordinal as usize) == Some(&None)
        && !reserved.iter().any(|cidr| cidr.contains(addr(block, ordinal)))
}

/// Gives the address that has been free for longest and is not reserved. `None`: the block is full.
pub fn assign(
    block: &mut IpamBlockSpec,
    handle: &str,
    attributes: &BTreeMap<String, String>,
    reserved: &[Cidr],
) -> Option<IpAddr> {
    let ordinal = block.unallocated.iter().copied().find(|&n| available(block, n, reserved))?;
    give(block, ordinal, handle, attributes);
    Some(addr(block, ordinal))
}

/// Gives this very address, reserved or not.
pub fn assign_given(
    block: &mut IpamBlockSpec,
    wanted: IpAddr,
    handle: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let ordinal = ordinal(block, wanted).ok_or(Error::NotInPool { addr: wanted })?;
    if holder(block, ordinal).is_some() {
        return Err(Error::Taken { addr: wanted });
    }
    give(block, ordinal, handle, attributes);
    Ok(())
}

fn give(block: &mut IpamBlockSpec, ordinal: u32, handle: &str, attributes: &BTreeMap<String, String>) {
    assert_eq!(block.allocations[ordinal as usize], None, "an address is never given twice: {block:?}");
    let owner = AllocationAttribute {
        handle_id: Some(handle.to_owned()),
        secondary: attributes.clone(),
        ..AllocationAttribute::default()
    };
    let index = block.attributes.iter().position(|a| *a == owner).unwrap_or_else(|| {
        block.attributes.push(owner);
        block.attributes.len() - 1
    });
    block.allocations[ordinal as usize] = Some(index as u32);
    block.unallocated.retain(|&n| n != ordinal);
    block.sequence_number_for_allocation.insert(ordinal.to_string(), block.sequence_number);
}

/// An address to take back, and what must still be so: somebody else may have it by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub addr: IpAddr,
    /// The owner that was seen.
    pub handle: Option<String>,
    /// The block's sequence number at the allocation that was seen.
    pub sequence: Option<u64>,
}

/// Takes addresses back, all or none. Those that nobody has are passed over. True if the block changed.
pub fn release(block: &mut IpamBlockSpec, releases: &[Release]) -> Result<bool, Error> {
    let mut ordinals = Vec::new();
    for wanted in releases {
        let Some(ordinal) = ordinal(block, wanted.addr) else { continue };
        let Some(by) = holder(block, ordinal) else { continue };
        let handle = |h: &String| by.handle_id.as_deref().is_some_and(|id| same(id, h));
        let sequence = |n: &u64| block.sequence_number_for_allocation.get(&ordinal.to_string()) == Some(n);
        if !wanted.handle.as_ref().is_none_or(handle) || !wanted.sequence.as_ref().is_none_or(sequence) {
            return Err(Error::Reassigned { addr: wanted.addr });
        }
        ordinals.push(ordinal);
    }
    for &ordinal in &ordinals {
        block.allocations[ordinal as usize] = None;
        block.unallocated.retain(|&n| n != ordinal);
        block.unallocated.push(ordinal);
        block.sequence_number_for_allocation.remove(&ordinal.to_string());
    }
    prune(block);
    Ok(!ordinals.is_empty())
}

/// Drops the attributes that no address refers to any more. A block with an index that leads nowhere is left alone: it
/// would lead to somebody else's attributes.
fn prune(block: &mut IpamBlockSpec) {
    if block.allocations.iter().flatten().any(|&index| index as usize >= block.attributes.len()) {
        return;
    }
    let mut kept = Vec::new();
    let mut moved = BTreeMap::new();
    for index in block.allocations.iter_mut().flatten() {
        *index = *moved.entry(*index).or_insert_with(|| {
            kept.push(block.attributes[*index as usize].clone());
            kept.len() as u32 - 1
        });
    }
    block.attributes = kept;
}

/// Marks the block as changed.
pub fn touch(block: &mut IpamBlockSpec) {
    block.sequence_number += 1;
}
