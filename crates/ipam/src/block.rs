//! The content of one block: who has which of its addresses. Changes of a value, no reads and no writes; whoever changes a
//! block calls [`touch`] once before the compare-and-swap.
//!
//! Blocks come from the API and may be malformed: an ordinal that is listed as free and allocated is allocated. An address
//! that was given back and cools down ([`crate::cooldown`]) is neither: nobody holds it and nobody can have it.

use crate::{Error, Wall, cooldown};
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

/// Who has an ordinal: `None` if it is free or cools down.
pub fn holder(block: &IpamBlockSpec, ordinal: u32) -> Option<&AllocationAttribute> {
    static UNKNOWN: AllocationAttribute = AllocationAttribute {
        handle_id: None,
        secondary: BTreeMap::new(),
        alternate_owner_attrs: BTreeMap::new(),
        released_at: None,
    };
    let index = (*block.allocations.get(ordinal as usize)?)?;
    let by = block.attributes.get(index as usize).unwrap_or(&UNKNOWN);
    by.released_at.is_none().then_some(by)
}

/// Every allocated ordinal and who has it.
pub fn allocated(block: &IpamBlockSpec) -> impl Iterator<Item = (u32, &AllocationAttribute)> {
    (0..block.allocations.len() as u32).filter_map(|n| Some((n, holder(block, n)?)))
}

/// The addresses that another node has than the one to which the block has affinity, and that node.
pub fn borrowed(block: &IpamBlockSpec) -> impl Iterator<Item = (IpAddr, &str, &AllocationAttribute)> {
    allocated(block)
        .filter_map(|(n, by)| Some((addr(block, n), by.secondary.get("node")?.as_str(), by)))
        .filter(|(_, node, _)| owner(block) != Some(node))
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

/// How many addresses nobody can be given now: those that somebody has and those that cool down.
pub fn unavailable(block: &IpamBlockSpec) -> usize {
    block.allocations.iter().flatten().count()
}

/// Whether nobody has an address and none cools down.
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
    if block.allocations[ordinal as usize].is_some() {
        let cools = holder(block, ordinal).is_none();
        return Err(if cools { Error::Cooling { addr: wanted } } else { Error::Taken { addr: wanted } });
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
    block.allocations[ordinal as usize] = Some(index_of(block, owner));
    block.unallocated.retain(|&n| n != ordinal);
    block.sequence_number_for_allocation.insert(ordinal.to_string(), block.sequence_number);
}

/// Where an attribute stands in the block, which gets it if it has none that is equal.
pub(crate) fn index_of(block: &mut IpamBlockSpec, attribute: AllocationAttribute) -> u32 {
    let known = block.attributes.iter().position(|a| *a == attribute);
    let index = known.unwrap_or_else(|| {
        block.attributes.push(attribute);
        block.attributes.len() - 1
    });
    index as u32
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

/// Takes addresses back, all or none. Those that nobody has are passed over. True if the block changed. With a time they
/// cool down from then on: what the IPAM configuration's `ipCooldownSeconds` wants if it is not zero.
pub fn release(
    block: &mut IpamBlockSpec,
    releases: &[Release],
    cool_from: Option<&Wall>,
) -> Result<bool, Error> {
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
    match cool_from {
        Some(at) => cooldown::begin(block, &ordinals, at),
        None => ordinals.iter().for_each(|&ordinal| free_up(block, ordinal)),
    }
    prune(block);
    Ok(!ordinals.is_empty())
}

/// Makes an ordinal the last of the free ones. The caller prunes the attributes.
pub(crate) fn free_up(block: &mut IpamBlockSpec, ordinal: u32) {
    block.allocations[ordinal as usize] = None;
    block.unallocated.retain(|&n| n != ordinal);
    block.unallocated.push(ordinal);
    block.sequence_number_for_allocation.remove(&ordinal.to_string());
}

/// Drops the attributes that no address refers to any more. A block with an index that leads nowhere is left alone: it
/// would lead to somebody else's attributes.
pub(crate) fn prune(block: &mut IpamBlockSpec) {
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
    // Others may have written any number.
    block.sequence_number = block.sequence_number.wrapping_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(len: u8) -> IpamBlockSpec {
        let cidr = Cidr::containing([10, 0, 0, 8].into(), len).expect("a length of IPv4");
        new(cidr, "n1", &Wall::parse("2026-11-23T03:07:29.5Z"))
    }

    fn attributes(pod: &str) -> BTreeMap<String, String> {
        [("pod".to_owned(), pod.to_owned())].into()
    }

    fn by_handle(addr: IpAddr, handle: &str) -> Release {
        Release { addr, handle: Some(handle.to_owned()), sequence: None }
    }

    #[test]
    fn a_new_block_is_calicos() {
        let b = block(29);
        assert_eq!(b.affinity.as_deref(), Some("host:n1"));
        assert_eq!(b.affinity_claim_time.as_deref(), Some("2026-11-23T03:07:29Z"));
        assert_eq!(b.sequence_number, 1_795_403_249_500_000_000);
        assert_eq!(b.unallocated, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn addresses_come_in_the_order_in_which_they_were_given_back() {
        let mut b = block(30);
        for pod in ["a", "b", "c", "d"] {
            assert!(assign(&mut b, pod, &attributes(pod), &[]).is_some());
        }
        assert_eq!(assign(&mut b, "e", &attributes("e"), &[]), None);
        for (n, handle) in [(2, "c"), (0, "a")] {
            let wanted = by_handle(addr(&b, n), handle);
            release(&mut b, &[wanted], None).expect("it is still the handle's");
        }
        let next: Vec<_> = (0..2).filter_map(|_| assign(&mut b, "f", &attributes("f"), &[])).collect();
        assert_eq!(next, [addr(&b, 2), addr(&b, 0)]);
    }

    #[test]
    fn reserved_addresses_are_given_only_by_name() {
        let mut b = block(30);
        let reserved = ["10.0.0.8/31".parse().expect("a CIDR")];
        assert_eq!(free(&b, &reserved), 2);
        assert_eq!(assign(&mut b, "a", &attributes("a"), &reserved), Some(addr(&b, 2)));
        assign_given(&mut b, [10, 0, 0, 8].into(), "b", &attributes("b")).expect("it is free");
    }

    #[test]
    fn a_given_address_that_somebody_has_is_refused() {
        let mut b = block(30);
        let wanted = [10, 0, 0, 9].into();
        assign_given(&mut b, wanted, "a", &attributes("a")).expect("it is free");
        let refused = assign_given(&mut b, wanted, "b", &attributes("b"));
        assert_eq!(refused, Err(Error::Taken { addr: wanted }));
    }

    #[test]
    fn an_address_that_was_given_anew_is_not_released_for_its_old_owner() {
        let mut b = block(30);
        let first = assign(&mut b, "a", &attributes("a"), &[]).expect("there is room");
        let seen = b.sequence_number_for_allocation["0"];
        touch(&mut b);
        let late = Release { addr: first, handle: Some("a".to_owned()), sequence: Some(seen) };
        release(&mut b, std::slice::from_ref(&late), None).expect("it is as it was seen");
        touch(&mut b);
        assign_given(&mut b, first, "a", &attributes("a")).expect("it is free again");
        let before = b.clone();
        assert_eq!(release(&mut b, &[late], None), Err(Error::Reassigned { addr: first }));
        let other = Release { addr: first, handle: Some("b".to_owned()), sequence: None };
        assert_eq!(release(&mut b, &[other], None), Err(Error::Reassigned { addr: first }));
        assert_eq!(b, before);
    }

    #[test]
    fn what_is_listed_as_free_and_allocated_is_allocated() {
        let mut b = block(30);
        assign(&mut b, "a", &attributes("a"), &[]);
        b.unallocated.insert(0, 0);
        assert_eq!(assign(&mut b, "b", &attributes("b"), &[]), Some(addr(&b, 1)));
        b.unallocated = vec![99, 0, 1];
        assert_eq!(assign(&mut b, "b", &attributes("b"), &[]), None);
    }

    #[test]
    fn handles_are_compared_up_to_a_carriage_return() {
        let mut b = block(30);
        assign(&mut b, "a\r\n", &attributes("a"), &[]);
        assert_eq!(held(&b, "a").count(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Assign(u8),
        Given(u8, u8),
        Release(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..6u8).prop_map(Step::Assign),
            (0..6u8, 0..10u8).prop_map(|(handle, n)| Step::Given(handle, n)),
            (0..6u8).prop_map(Step::Release),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against the plainest model there is: a map from address to owner.
        #[test]
        fn a_block_is_a_map_from_addresses_to_owners(steps in steps()) {
            let mut b = block(29);
            let mut model: BTreeMap<IpAddr, String> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Assign(handle) => {
                        let handle = format!("h{handle}");
                        let full = model.len() == 8;
                        let given = assign(&mut b, &handle, &attributes(&handle), &[]);
                        prop_assert_eq!(given.is_none(), full);
                        if let Some(addr) = given {
                            prop_assert_eq!(model.insert(addr, handle), None);
                        }
                    }
                    Step::Given(handle, n) => {
                        let (handle, addr) = (format!("h{handle}"), IpAddr::from([10, 0, 0, 8 + n]));
                        let given = assign_given(&mut b, addr, &handle, &attributes(&handle));
                        prop_assert_eq!(given.is_ok(), n < 8 && !model.contains_key(&addr));
                        if given.is_ok() {
                            model.insert(addr, handle);
                        }
                    }
                    Step::Release(handle) => {
                        let handle = format!("h{handle}");
                        let mine: Vec<Release> = held(&b, &handle).map(|(addr, _)| by_handle(addr, &handle)).collect();
                        release(&mut b, &mine, None).expect("its own");
                        model.retain(|_, owner| *owner != handle);
                    }
                }
                touch(&mut b);
                let found: BTreeMap<IpAddr, String> = allocated(&b)
                    .map(|(n, by)| (addr(&b, n), by.handle_id.clone().expect("an owner")))
                    .collect();
                prop_assert_eq!(&found, &model);
                let objects = crate::check::Objects {
                    blocks: vec![model::v3::IpamBlock { metadata: Default::default(), spec: b.clone() }],
                    ..Default::default()
                };
                let malformed = crate::check::check(&objects).into_iter()
                    .any(|problem| matches!(problem, crate::check::Problem::Malformed { .. }));
                prop_assert!(!malformed, "{:?}", b);
                prop_assert_eq!(b.sequence_number_for_allocation.len(), model.len());
                prop_assert!(b.attributes.len() <= model.len());
            }
        }
    }
}
