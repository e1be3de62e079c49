//! A handle: the index from an owner to the blocks that hold its addresses. It names a block before the block holds an
//! address of the owner, and until after it no longer does.

use crate::affinity::delete;
use model::Cidr;
use model::store::Request;
use model::v3::IpamHandle;

/// The write that counts `released` addresses of a block less: the handle goes with its last address. `None`: it does not
/// name the block.
pub fn less(handle: &IpamHandle, block: Cidr, released: u32) -> Option<Request> {
    let mut handle = handle.clone();
    let name = block.to_string();
    match handle.spec.block.get_mut(&name) {
        Some(count) if *count > released => *count -= released,
        Some(_) => _ = handle.spec.block.remove(&name),
        None => return None,
    }
    Some(match handle.spec.block.is_empty() {
        true => delete(&handle.into()),
        false => Request::Update(handle.into()),
    })
}

/// The blocks that a handle names. What is no CIDR names none.
pub fn blocks(handle: &IpamHandle) -> impl Iterator<Item = Cidr> {
    handle.spec.block.keys().filter_map(|cidr| cidr.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Metadata;
    use model::store::Object;
    use model::v3::IpamHandleSpec;

    #[test]
    fn a_handle_goes_with_its_last_address() {
        let (one, other): (Cidr, Cidr) =
            ("10.0.0.0/29".parse().expect("a CIDR"), "10.0.0.8/29".parse().expect("a CIDR"));
        let handle = |counts: &[(Cidr, u32)]| {
            let block = counts.iter().map(|(cidr, count)| (cidr.to_string(), *count)).collect();
            let spec = IpamHandleSpec { handle_id: "h".to_owned(), block, deleted: false };
            IpamHandle { metadata: Metadata::named("h"), spec }
        };
        let left = |counts: &[(Cidr, u32)], released| match less(&handle(counts), one, released) {
            Some(Request::Update(Object::IpamHandle(handle))) => format!("{:?}", handle.spec.block),
            Some(Request::Delete { .. }) => "deleted".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(left(&[(one, 3)], 1), r#"{"10.0.0.0/29": 2}"#);
        assert_eq!(left(&[(one, 1), (other, 1)], 1), r#"{"10.0.0.8/29": 1}"#);
        assert_eq!(left(&[(one, 1)], 1), "deleted");
        assert_eq!(left(&[(one, 1)], 2), "deleted", "a count that is wrong");
        assert_eq!(left(&[(other, 1)], 1), "None");
    }
}
