//! A node's claim to a block, one write at a time: `∅ → pending → block → confirmed`, and back by
//! `pendingDeletion → no block → ∅`. After a crash at any point the same function goes on from what it finds.
//!
//! Between the mark and the last step the block is written once: whoever decided from its state before the mark (to steal
//! it, or to release it) fails the compare-and-swap.

use crate::{Wall, block};
use model::store::{Key, Kind, Object, Request};
use model::v3::{AffinityState, BlockAffinity, IpamBlock};
use model::{Cidr, Metadata, names};

/// A block as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// It does not exist.
    Absent,
    /// It exists; whose it is must be read.
    Unread,
    Read(&'a IpamBlock),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Call(Box<Request>),
    /// The block is this node's, or is so no more.
    Done,
    /// The block belongs to somebody else, or to nobody any more.
    Lost,
}

/// The next step to make a block this node's. `written`: the block was written since the affinity is pending. Without a time
/// no block is made: a claim that an earlier life left without one is given up.
pub fn claim(
    node: &str,
    cidr: Cidr,
    affinity: Option<&BlockAffinity>,
    known: Known<'_>,
    written: bool,
    wall: Option<&Wall>,
) -> Next {
    let Some(affinity) = affinity else {
        return match known {
            Known::Unread => call(Request::Get(block_key(cidr))),
            Known::Read(b) if !b.spec.deleted && block::owner(&b.spec) != Some(node) => Next::Lost,
            Known::Absent if wall.is_none() => Next::Lost,
            _ => call(Request::Create(BlockAffinity::of_host(node, cidr, AffinityState::Pending).into())),
        };
    };
    if affinity.spec.deleted {
        return call(delete(&affinity.clone().into()));
    }
    let ours = |b: &IpamBlock| block::owner(&b.spec) == Some(node);
    match known {
        Known::Unread => call(Request::Get(block_key(cidr))),
        Known::Read(b) if b.spec.deleted => call(delete(&b.clone().into())),
        Known::Read(b) if !ours(b) => call(delete(&affinity.clone().into())),
        Known::Read(_) if affinity.spec.state == AffinityState::Confirmed => Next::Done,
        Known::Absent if wall.is_none() => call(delete(&affinity.clone().into())),
        _ if affinity.spec.state != AffinityState::Pending => {
            call(with_state(affinity, AffinityState::Pending))
        }
        Known::Absent => {
            let wall = wall.expect("without a time the claim was given up above");
            let spec = block::new(cidr, node, wall);
            let b = IpamBlock { metadata: Metadata::named(names::block(cidr)), spec };
            call(Request::Create(b.into()))
        }
        Known::Read(b) if !written => {
            let mut b = b.clone();
            block::touch(&mut b.spec);
            call(Request::Update(b.into()))
        }
        Known::Read(_) => call(with_state(affinity, AffinityState::Confirmed)),
    }
}

/// What becomes of a block that is to be given up, and in which addresses are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It stays whose it is.
    Stays,
    /// It keeps its addresses and loses its affinity.
    IsCleared,
}

/// The next step to give up the block of a node: an empty one is deleted. Whoever works on it reads it after each change of
/// the affinity.
pub fn release(
    node: &str,
    cidr: Cidr,
    affinity: Option<&BlockAffinity>,
    known: Known<'_>,
    used: Used,
) -> Next {
    let Some(affinity) = affinity else { return Next::Done };
    if affinity.spec.deleted {
        return call(delete(&affinity.clone().into()));
    }
    let leaves = affinity.spec.state == AffinityState::PendingDeletion;
    match known {
        Known::Unread if used == Used::Stays => return call(Request::Get(block_key(cidr))),
        Known::Read(b)
            if used == Used::Stays && block::owner(&b.spec) == Some(node) && !block::is_empty(&b.spec) =>
        {
            return if leaves { call(with_state(affinity, AffinityState::Confirmed)) } else { Next::Lost };
        }
        _ if !leaves => return call(with_state(affinity, AffinityState::PendingDeletion)),
        _ => {}
    }
    match known {
        Known::Unread => call(Request::Get(block_key(cidr))),
        Known::Read(b) if block::owner(&b.spec) == Some(node) => call(abandon(b)),
        Known::Absent | Known::Read(_) => call(delete(&affinity.clone().into())),
    }
}

/// The write by which a block is its node's no more: an empty one goes, one with addresses keeps them without an affinity.
pub fn abandon(b: &IpamBlock) -> Request {
    let mut b = b.clone();
    if block::is_empty(&b.spec) {
        return delete(&b.into());
    }
    (b.spec.affinity, b.spec.affinity_claim_time) = (None, None);
    block::touch(&mut b.spec);
    Request::Update(b.into())
}

fn call(request: Request) -> Next {
    Next::Call(Box::new(request))
}

/// The key of a block.
pub fn block_key(cidr: Cidr) -> Key {
    Key::cluster(Kind::IpamBlock, names::block(cidr))
}

/// The key of a node's affinity to a block.
pub fn affinity_key(node: &str, cidr: Cidr) -> Key {
    Key::cluster(Kind::BlockAffinity, names::affinity(node, cidr))
}

/// The deletion of an object as it is known, and of no other.
pub fn delete(object: &Object) -> Request {
    let meta = object.metadata();
    Request::Delete {
        key: object.key(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    }
}

fn with_state(affinity: &BlockAffinity, state: AffinityState) -> Request {
    let mut affinity = affinity.clone();
    affinity.spec.state = state;
    Request::Update(affinity.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr() -> Cidr {
        "10.0.0.8/29".parse().expect("a CIDR")
    }

    fn wall() -> Wall {
        Wall::parse("2026-11-23T03:07:29Z")
    }

    fn affinity(state: AffinityState) -> BlockAffinity {
        BlockAffinity::of_host("n1", cidr(), state)
    }

    fn block_of(node: &str) -> IpamBlock {
        IpamBlock { metadata: Metadata::named(names::block(cidr())), spec: block::new(cidr(), node, &wall()) }
    }

    /// The step in a word.
    fn step(next: Next) -> String {
        let Next::Call(request) = next else { return format!("{next:?}") };
        let state = |object: &Object| match object {
            Object::BlockAffinity(a) => format!("affinity {:?}", a.spec.state),
            Object::IpamBlock(b) => format!("block of {:?}", block::owner(&b.spec)),
            other => format!("{other:?}"),
        };
        match &*request {
            Request::Get(key) => format!("get {:?}", key.kind),
            Request::Create(object) => format!("create {}", state(object)),
            Request::Update(object) => format!("update {}", state(object)),
            Request::Delete { key, .. } => format!("delete {:?}", key.kind),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_goes_by_pending_and_block_to_confirmed() {
        use AffinityState::*;
        let (ours, theirs) = (block_of("n1"), block_of("n2"));
        // What is known of the affinity and the block, whether the block was written since the mark, what follows.
        let table = [
            (None, Known::Absent, false, "create affinity Pending"),
            (Some(Pending), Known::Absent, false, "create block of Some(\"n1\")"),
            (Some(Pending), Known::Read(&ours), true, "update affinity Confirmed"),
            (Some(Confirmed), Known::Read(&ours), true, "Done"),
            // An earlier life left it half-way: the block is written once more before the last step.
            (Some(Pending), Known::Read(&ours), false, "update block of Some(\"n1\")"),
            (Some(PendingDeletion), Known::Read(&ours), false, "update affinity Pending"),
            (Some(PendingDeletion), Known::Read(&ours), true, "update affinity Pending"),
            (Some(Confirmed), Known::Absent, false, "update affinity Pending"),
            (None, Known::Read(&ours), false, "create affinity Pending"),
            // Somebody else was faster.
            (Some(Pending), Known::Unread, false, "get IpamBlock"),
            (Some(Pending), Known::Read(&theirs), false, "delete BlockAffinity"),
            (None, Known::Read(&theirs), false, "Lost"),
        ];
        for (state, known, written, expected) in table {
            let affinity = state.map(affinity);
            let next = claim("n1", cidr(), affinity.as_ref(), known, written, Some(&wall()));
            assert_eq!(step(next), expected, "{state:?} {known:?} {written}");
        }
    }

    #[test]
    fn a_release_goes_by_pending_deletion_and_no_block_to_nothing() {
        use AffinityState::*;
        let (empty, theirs, mut used) = (block_of("n1"), block_of("n2"), block_of("n1"));
        block::assign(&mut used.spec, "h", &Default::default(), &[]).expect("there is room");
        let table = [
            (Some(Confirmed), Known::Read(&empty), "update affinity PendingDeletion"),
            (Some(PendingDeletion), Known::Unread, "get IpamBlock"),
            (Some(PendingDeletion), Known::Read(&empty), "delete IpamBlock"),
            (Some(PendingDeletion), Known::Absent, "delete BlockAffinity"),
            (None, Known::Absent, "Done"),
            // Addresses stay, without an affinity.
            (Some(PendingDeletion), Known::Read(&used), "update block of None"),
            (Some(PendingDeletion), Known::Read(&theirs), "delete BlockAffinity"),
        ];
        for (state, known, expected) in table {
            let affinity = state.map(affinity);
            let next = release("n1", cidr(), affinity.as_ref(), known, Used::IsCleared);
            assert_eq!(step(next), expected, "{state:?} {known:?}");
        }
    }

    #[test]
    fn a_block_that_is_used_meanwhile_can_stay_whose_it_is() {
        use AffinityState::*;
        let (empty, mut used) = (block_of("n1"), block_of("n1"));
        block::assign(&mut used.spec, "h", &Default::default(), &[]).expect("there is room");
        let table = [
            (Some(Confirmed), Known::Unread, "get IpamBlock"),
            (Some(Confirmed), Known::Read(&used), "Lost"),
            (Some(Confirmed), Known::Read(&empty), "update affinity PendingDeletion"),
            (Some(PendingDeletion), Known::Read(&empty), "delete IpamBlock"),
            (Some(PendingDeletion), Known::Read(&used), "update affinity Confirmed"),
            (Some(PendingDeletion), Known::Absent, "delete BlockAffinity"),
        ];
        for (state, known, expected) in table {
            let affinity = state.map(affinity);
            let next = release("n1", cidr(), affinity.as_ref(), known, Used::Stays);
            assert_eq!(step(next), expected, "{state:?} {known:?}");
        }
    }

    #[test]
    fn without_a_time_a_half_made_claim_is_given_up() {
        let half = affinity(AffinityState::Pending);
        let next = claim("n1", cidr(), Some(&half), Known::Absent, false, None);
        assert_eq!(step(next), "delete BlockAffinity");
        assert_eq!(claim("n1", cidr(), None, Known::Absent, false, None), Next::Lost);
    }
}
