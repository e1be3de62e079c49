//! Addresses that were given back and rest before anybody gets them again (`ipCooldownSeconds` of the IPAM configuration),
//! so that what still knows the old owner does not reach the new one.
//!
//! Calico's form: the ordinal stays allocated, to an attribute that says only when it was released. Whoever works on the
//! block frees what has rested long enough; that is written with the next change of the block.

use crate::{Wall, block};
use model::Duration;
use model::v3::{AllocationAttribute, IpamBlockSpec};

/// Lets ordinals of the block, whose owners are gone, rest from `at` on.
pub(crate) fn begin(block: &mut IpamBlockSpec, ordinals: &[u32], at: &Wall) {
    let rests = AllocationAttribute { released_at: Some(at.seconds()), ..AllocationAttribute::default() };
    for &ordinal in ordinals {
        block.allocations[ordinal as usize] = Some(block::index_of(block, rests.clone()));
    }
}

/// The ordinals that rest, and since when (RFC 3339, as it was written).
pub fn cooling(block: &IpamBlockSpec) -> impl Iterator<Item = (u32, &str)> {
    (0..block.allocations.len() as u32).filter_map(|ordinal| {
        let index = block.allocations[ordinal as usize]?;
        Some((ordinal, block.attributes.get(index as usize)?.released_at.as_deref()?))
    })
}

/// Frees what has rested for `span`, in the order of the addresses. True if the block changed.
pub fn thaw(block: &mut IpamBlockSpec, now: &Wall, span: Duration) -> bool {
    if block.attributes.iter().all(|by| by.released_at.is_none()) {
        return false;
    }
    let rested = cooling(block).filter(|(_, since)| now.is_after(since, span));
    let rested: Vec<u32> = rested.map(|(ordinal, _)| ordinal).collect();
    rested.iter().for_each(|&ordinal| block::free_up(block, ordinal));
    block::prune(block);
    !rested.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::block::Release;
    use std::net::IpAddr;

    const MINUTE: Duration = Duration::from_secs(60);

    fn wall(second: u8) -> Wall {
        Wall::parse(&format!("2026-11-23T03:07:{second:02}Z"))
    }

    /// A block of four whose first two addresses were given to `a` and `b`; `a`'s was released at second 10.
    fn released() -> IpamBlockSpec {
        let cidr = "10.0.0.8/30".parse().expect("a CIDR");
        let mut b = block::new(cidr, "n1", &wall(0));
        for handle in ["a", "b"] {
            block::assign(&mut b, handle, &Default::default(), &[]).expect("there is room");
        }
        let release = Release { addr: first(), handle: Some("a".to_owned()), sequence: None };
        assert_eq!(block::release(&mut b, &[release], Some(&wall(10))), Ok(true));
        b
    }

    fn first() -> IpAddr {
        [10, 0, 0, 8].into()
    }

    #[test]
    fn what_rests_is_nobodys_and_nobody_gets_it() {
        let mut b = released();
        assert_eq!(cooling(&b).collect::<Vec<_>>(), [(0, "2026-11-23T03:07:10Z")]);
        assert_eq!(block::holder(&b, 0), None);
        assert_eq!((block::allocated(&b).count(), block::unavailable(&b), block::free(&b, &[])), (1, 2, 2));
        let given = block::assign_given(&mut b, first(), "c", &Default::default());
        assert_eq!(given, Err(Error::Cooling { addr: first() }));
        let again = Release { addr: first(), handle: None, sequence: None };
        assert_eq!(block::release(&mut b, &[again], Some(&wall(20))), Ok(false), "it rests already");
        let others: Vec<_> =
            (0..3).filter_map(|_| block::assign(&mut b, "d", &Default::default(), &[])).collect();
        assert_eq!(others.len(), 2);
    }

    #[test]
    fn what_has_rested_long_enough_is_the_last_of_the_free_ones() {
        let mut b = released();
        assert!(!thaw(&mut b, &Wall::parse("2026-11-23T03:08:09Z"), MINUTE));
        assert!(thaw(&mut b, &Wall::parse("2026-11-23T03:08:10Z"), MINUTE));
        assert_eq!(b.unallocated, [2, 3, 0]);
        assert_eq!(b.attributes.len(), 1, "the time of the release is forgotten");
        assert!(!b.sequence_number_for_allocation.contains_key("0"));
    }

    #[test]
    fn without_a_cooldown_and_with_a_time_that_cannot_be_read_nothing_rests() {
        let mut b = released();
        assert!(thaw(&mut b, &wall(10), Duration::from_secs(0)));
        let mut b = released();
        let index = b.allocations[0].expect("it rests") as usize;
        b.attributes[index].released_at = Some("yesterday".to_owned());
        assert!(thaw(&mut b, &wall(11), MINUTE));
    }

    #[test]
    fn a_block_in_which_something_rests_is_not_empty() {
        let mut b = released();
        let release = Release { addr: [10, 0, 0, 9].into(), handle: Some("b".to_owned()), sequence: None };
        block::release(&mut b, &[release], Some(&wall(10))).expect("its own");
        assert_eq!((block::allocated(&b).count(), block::is_empty(&b)), (0, false));
        assert!(thaw(&mut b, &Wall::parse("2026-11-23T04:00:00Z"), MINUTE));
        assert!(block::is_empty(&b));
    }
}
