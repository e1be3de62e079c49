//! Two connections of one peer: which one stays? RFC 4271 §6.8, with RFC 6286 §2.3.
//!
//! ```text
//!   we ──dialled──► peer        Both sides dial at the same time. Each compares the same two pairs (identifier, AS),
//!   we ◄──accepted── peer       so both keep the connection that the greater of them dialled.
//! ```
//!
//! Asked when an OPEN came on one connection while the other has seen one too: before that nobody knows who it is.

use super::ConnId;
use crate::wire::RouterId;
use model::Asn;

/// A speaker as collisions see it.
pub type Side = (RouterId, Asn);

/// Of two connections to `remote`, the one to close. `first` is the older.
pub fn loser(local: Side, remote: Side, first: ConnId, second: ConnId) -> ConnId {
    let keep_dialled = local > remote;
    match (first, second) {
        (ConnId::Dialed(_), ConnId::Accepted(_)) if keep_dialled => second,
        (ConnId::Dialed(_), ConnId::Accepted(_)) => first,
        (ConnId::Accepted(_), ConnId::Dialed(_)) if keep_dialled => first,
        (ConnId::Accepted(_), ConnId::Dialed(_)) => second,
        // The peer dialled twice: it has forgotten the first.
        (ConnId::Accepted(_), ConnId::Accepted(_)) => first,
        (ConnId::Dialed(_), ConnId::Dialed(_)) => panic!("we dial a peer once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(id: u8, asn: u32) -> Side {
        (RouterId([10, 0, 0, id].into()), Asn(asn))
    }

    #[test]
    fn both_sides_keep_the_same_connection() {
        for (a, b) in [(side(1, 1), side(2, 1)), (side(2, 1), side(1, 1)), (side(1, 1), side(1, 2))] {
            // What a dialled, b accepted.
            let a_to_b = (ConnId::Dialed(7), ConnId::Accepted(8));
            let b_to_a = (ConnId::Accepted(9), ConnId::Dialed(5));
            let at_a = [loser(a, b, a_to_b.0, b_to_a.0), loser(a, b, b_to_a.0, a_to_b.0)];
            let at_b = [loser(b, a, a_to_b.1, b_to_a.1), loser(b, a, b_to_a.1, a_to_b.1)];
            assert_eq!(at_a[0], at_a[1], "the order of arrival decides nothing");
            assert_eq!(at_b[0], at_b[1]);
            assert_eq!(at_a[0] == a_to_b.0, at_b[0] == a_to_b.1);
            assert_eq!(at_a[0] == b_to_a.0, a > b, "the greater side's connection stays");
        }
    }
}
