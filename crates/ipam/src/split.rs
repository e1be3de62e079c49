//! One pool into several of the same sort that together are the same addresses (`ipam split`).

use crate::{Error, block_size};
use model::v3::IpPool;
use model::{Cidr, Metadata};
use std::net::IpAddr;

/// More parts than anybody writes on purpose.
const MOST_PARTS: u32 = 1 << 12;
/// Of a Kubernetes object.
const LONGEST_NAME: usize = 253;

/// The pools `split-<name>-0`, `split-<name>-1`… that take a pool's place, in the order of their addresses, with its labels
/// and annotations and all its settings; they are enabled. `parts` is a power of two, and no part may be smaller than a
/// block.
pub fn split(pool: &IpPool, parts: u32) -> Result<Vec<IpPool>, Error> {
    let name = &pool.metadata.name;
    let refused = |why: String| Err(Error::Split { pool: name.clone(), parts, why });
    if parts < 2 || !parts.is_power_of_two() || parts > MOST_PARTS {
        return refused(format!("use a power of two from 2 to {MOST_PARTS}"));
    }
    let cidr = pool.spec.cidr;
    let len = u32::from(cidr.len()) + parts.ilog2();
    let block = block_size(&pool.spec);
    if len > u32::from(block) {
        return refused(format!("a part would be a /{len}, smaller than a block (/{block})"));
    }
    Ok((0..parts).map(|n| part(pool, n, piece(cidr, len as u8, n))).collect())
}

/// The `n`th network of `len` bits in `cidr`, in which `len` and `n` fit.
fn piece(cidr: Cidr, len: u8, n: u32) -> Cidr {
    let addr = match cidr.addr() {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits() | n << (32 - len)).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() | u128::from(n) << (128 - len)).into()),
    };
    Cidr::containing(addr, len).expect("the length is at most a block's")
}

fn part(pool: &IpPool, n: u32, cidr: Cidr) -> IpPool {
    let number = n.to_string();
    let room = LONGEST_NAME - "split--".len() - number.len();
    let name: String = pool.metadata.name.chars().take(room).collect();
    let metadata = Metadata {
        labels: pool.metadata.labels.clone(),
        annotations: pool.metadata.annotations.clone(),
        ..Metadata::named(format!("split-{name}-{number}"))
    };
    let mut spec = pool.spec.clone();
    (spec.cidr, spec.disabled) = (cidr, false);
    IpPool { metadata, spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> IpPool {
        let mut pool: IpPool = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "uid": "u", "resourceVersion": "7", "labels": {"zone": "a"}},
            "spec": {"cidr": cidr, "vxlanMode": "Always", "disabled": true, "newer": "kept"},
        }))
        .expect("a pool");
        pool.spec = pool.spec.defaulted();
        pool
    }

    fn parts(cidr: &str, number: u32) -> Result<Vec<String>, String> {
        let parts = split(&pool(cidr), number).map_err(|e| e.to_string())?;
        Ok(parts.iter().map(|part| format!("{} {}", part.metadata.name, part.spec.cidr)).collect())
    }

    #[test]
    fn the_parts_are_the_pools_addresses_with_its_settings() {
        let expected = ["split-p-0 10.0.0.0/18", "split-p-1 10.0.64.0/18", "split-p-2 10.0.128.0/18"];
        assert_eq!(parts("10.0.0.0/16", 4).expect("parts")[..3], expected);
        assert_eq!(
            parts("fd00::/112", 2).expect("parts"),
            ["split-p-0 fd00::/113", "split-p-1 fd00::8000/113"]
        );
        let whole = pool("10.0.0.0/16");
        for part in split(&whole, 2).expect("parts") {
            assert_eq!((part.metadata.uid.as_str(), part.metadata.resource_version.as_str()), ("", ""));
            assert_eq!(part.metadata.labels, whole.metadata.labels);
            let mut spec = part.spec;
            assert!(!spec.disabled);
            (spec.cidr, spec.disabled) = (whole.spec.cidr, true);
            assert_eq!(spec, whole.spec);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for number in [0, 1, 3, 8192] {
            let error = parts("10.0.0.0/16", number).expect_err("it is no such number");
            assert!(error.ends_with("use a power of two from 2 to 4096"), "{error}");
        }
        assert_eq!(
            parts("10.0.0.0/25", 4),
            Err("cannot split IPPool p into 4: a part would be a /27, smaller than a block (/26)".to_owned())
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut long = pool("10.0.0.0/16");
        long.metadata.name = "x".repeat(253);
        for part in split(&long, 16).expect("parts") {
            assert!(part.metadata.name.len() <= 253);
        }
    }
}
