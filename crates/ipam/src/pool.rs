//! Which pools may be used, which block comes next: the choices before any write.
//!
//! Pools are tried in the order of their names. In them come first the blocks of this node, in the order of their addresses;
//! then a block that nobody has; then one that another node has and does not use; and last, unless affinity is strict, an
//! address that is borrowed from another node's block. All but the first are looked for from a place that the node's name
//! decides, so that nodes that do so at the same time rarely meet.

use crate::snapshot::allows;
use crate::{Error, Snapshot, Tunnel, Want, block};
use model::Cidr;
use model::v3::{AllowedUse, AssignmentMode, EncapMode, IpPoolSpec, IpamBlock};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks that a node may have when the configuration sets no limit.
const DEFAULT_MAX_BLOCKS: u32 = 20;

/// Where the next address is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A block of this node (or, for a given address, of another) with room.
    Take(Cidr),
    /// A block that must be claimed first.
    Claim(Cidr),
    /// An empty block of another node, which must be given up for it before it can be claimed.
    TakeOver(Cidr),
    /// A block of another node with an address to borrow; whether that is so must be read first if it is not known whole.
    Borrow(Cidr),
    /// A block of another node that must be read first.
    Read(Cidr),
}

impl Snapshot {
    /// Where the address of a request is to come from. `promised` counts the addresses of each block that are meant for
    /// requests whose write is yet to come.
    pub fn choose(&self, want: &Want, promised: &BTreeMap<Cidr, usize>) -> Result<Choice, Error> {
        match want {
            Want::Given { addr, .. } => self.block_of(*addr),
            _ => self.next_block(&self.pools_for(want)?, promised).map_err(|error| match error {
                Error::Exhausted { why } => {
                    Error::Exhausted { why: format!("{why} (for {})", used_as(want).1) }
                }
                error => error,
            }),
        }
    }

    /// The pools that a request may take from, in order.
    pub fn pools_for(&self, want: &Want) -> Result<Vec<&IpPoolSpec>, Error> {
        let (wanted, name) = used_as(want);
        let enabled = self.pools.values().filter(|pool| !pool.disabled && pool.cidr.is_ipv4());
        let chosen: Vec<&IpPoolSpec> = match want {
            Want::Auto { pools, .. } if !pools.is_empty() => {
                pools.iter().map(|pool| self.pool_named(pool)).collect::<Result<_, _>>()?
            }
            Want::Tunnel(tunnel) => {
                enabled.filter(|pool| tunnel.runs_in(pool) && self.selects(pool)).collect()
            }
            _ => {
                let namespace = match want {
                    Want::Auto { attributes, .. } => attributes.get("namespace"),
                    _ => None,
                };
                let automatic = |pool: &&IpPoolSpec| {
                    pool.assignment_mode == AssignmentMode::Automatic
                        && self.selects(pool)
                        && self.selects_namespace(pool, namespace)
                };
                enabled.filter(automatic).collect()
            }
        };
        if chosen.is_empty() {
            return Err(Error::NoPools { node: self.node.clone() });
        }
        let allowed: Vec<&IpPoolSpec> = chosen.into_iter().filter(|pool| allows(pool, wanted)).collect();
        if allowed.is_empty() {
            return Err(Error::NoPoolForUse { requested_use: name });
        }
        Ok(allowed)
    }

    fn pool_named(&self, pool: &str) -> Result<&IpPoolSpec, Error> {
        let by_cidr = || self.pools.values().find(|spec| spec.cidr.to_string() == pool);
        let found = self.pools.get(pool).or_else(by_cidr).filter(|spec| !spec.disabled);
        match found {
            Some(found) if found.cidr.is_ipv4() => Ok(found),
            Some(_) => Err(Error::Ipv6Pool { pool: pool.to_owned() }),
            None => Err(Error::UnknownPool { pool: pool.to_owned() }),
        }
    }

    /// The block that a given address is in: it may be anybody's, unless affinity is strict.
    fn block_of(&self, addr: IpAddr) -> Result<Choice, Error> {
        let pool = self.pools.values().find(|pool| !pool.disabled && pool.cidr.contains(addr));
        let pool = pool.filter(|pool| allows(pool, AllowedUse::Workload)).ok_or(Error::NotInPool { addr })?;
        let cidr = Cidr::containing(addr, block_size(pool)).ok_or(Error::NotInPool { addr })?;
        let Some(known) = self.blocks.get(&cidr).filter(|b| !b.spec.deleted) else {
            return Ok(if self.others.contains_key(&cidr) {
                Choice::Read(cidr)
            } else {
                Choice::Claim(cidr)
            });
        };
        match block::owner(&known.spec) {
            Some(owner) if owner == self.node => {
                Ok(if self.usable(cidr).is_some() { Choice::Take(cidr) } else { Choice::Claim(cidr) })
            }
            owner if self.configuration.strict_affinity => {
                Err(Error::ForeignBlock { addr, owner: owner.unwrap_or("nobody").to_owned() })
            }
            _ => Ok(Choice::Take(cidr)),
        }
    }

    fn next_block(&self, pools: &[&IpPoolSpec], promised: &BTreeMap<Cidr, usize>) -> Result<Choice, Error> {
        let reserved = self.reserved();
        let room = |cidr: Cidr| {
            let b = self.usable(cidr)?;
            let taken = promised.get(&cidr).copied().unwrap_or(0);
            (block::free(&b.spec, &reserved) > taken).then_some(cidr)
        };
        let own = pools.iter().find_map(|pool| {
            self.blocks.keys().filter(|cidr| pool.cidr.covers(**cidr)).find_map(|cidr| room(*cidr))
        });
        if let Some(cidr) = own {
            return Ok(Choice::Take(cidr));
        }
        let claim = self.next_claim(pools, &reserved);
        match claim {
            Err(_) if !self.configuration.strict_affinity => {
                self.next_loan(pools, promised, &reserved).ok_or(()).or(claim)
            }
            claim => claim,
        }
    }

    /// Another node's block with an address to borrow. Those that were read already come first.
    fn next_loan(
        &self,
        pools: &[&IpPoolSpec],
        promised: &BTreeMap<Cidr, usize>,
        reserved: &[Cidr],
    ) -> Option<Choice> {
        let taken = |cidr: &Cidr| promised.get(cidr).copied().unwrap_or(0);
        let known = pools.iter().find_map(|pool| {
            from_our_place(&self.blocks, pool, &self.node).map(|(cidr, _)| *cidr).find(|cidr| {
                let foreign = |b: &&IpamBlock| block::owner(&b.spec) != Some(&self.node);
                let open = self.open(*cidr).filter(foreign);
                open.is_some_and(|b| block::free(&b.spec, reserved) > taken(cidr))
            })
        });
        let unread = || {
            pools.iter().find_map(|pool| {
                let mut others = from_our_place(&self.others, pool, &self.node);
                others.find(|(cidr, fullness)| fullness.free > taken(cidr)).map(|(cidr, _)| *cidr)
            })
        };
        known.or_else(unread).map(Choice::Borrow)
    }

    /// A block that this node can make its own.
    fn next_claim(&self, pools: &[&IpPoolSpec], reserved: &[Cidr]) -> Result<Choice, Error> {
        let exhausted = |why: String| Err(Error::Exhausted { why });
        let limit = match self.configuration.max_blocks_per_host {
            0 => DEFAULT_MAX_BLOCKS,
            limit => limit,
        };
        let cidrs = pools.iter().map(|pool| pool.cidr.to_string()).collect::<Vec<_>>().join(" ");
        if !self.configuration.auto_allocate_blocks {
            return exhausted(format!(
                "No more free affine blocks and autoAllocateBlocks is off in IPAMConfiguration: claim a block for {} or switch it on",
                self.node
            ));
        }
        if self.affinities.len() >= limit as usize {
            return exhausted(format!(
                "cannot allocate new block due to per host block limit: {} has {} blocks, all full; raise maxBlocksPerHost in IPAMConfiguration or use larger blocks",
                self.node,
                self.affinities.len()
            ));
        }
        let unclaimed = pools.iter().find_map(|pool| {
            candidates(pool, &self.node)
                .filter(|cidr| !reserved.iter().any(|r| r.covers(*cidr)))
                .find(|cidr| !self.taken(*cidr))
        });
        let idle = || {
            pools.iter().find_map(|pool| {
                let read = from_our_place(&self.blocks, pool, &self.node).map(|(cidr, _)| *cidr);
                let others = from_our_place(&self.others, pool, &self.node).map(|(cidr, _)| *cidr);
                let whole =
                    |cidr: &Cidr| cidr.len() == block_size(pool) && !reserved.iter().any(|r| r.covers(*cidr));
                read.chain(others).filter(whole).find(|cidr| self.is_idle(*cidr))
            })
        };
        match unclaimed.map(Choice::Claim).or_else(|| idle().map(Choice::TakeOver)) {
            Some(choice) => Ok(choice),
            None if self.configuration.strict_affinity => exhausted(format!(
                "No more free affine blocks and strict affinity enabled: every block of [{cidrs}] belongs to a node{}; create another IPPool",
                self.fullest(pools)
            )),
            None => exhausted(format!(
                "No IPs available in pools: [{cidrs}]{}; create another IPPool",
                self.fullest(pools)
            )),
        }
    }

    /// In whose blocks most addresses of some pools are in use, as an apposition; empty if none is.
    fn fullest(&self, pools: &[&IpPoolSpec]) -> String {
        let known = self
            .blocks
            .iter()
            .map(|(cidr, b)| (cidr, block::owner(&b.spec), block::allocated(&b.spec).count()));
        let others = self.others.iter().map(|(cidr, other)| (cidr, other.owner.as_deref(), other.used));
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for (cidr, owner, count) in known.chain(others) {
            if let Some(owner) = owner.filter(|_| pools.iter().any(|pool| pool.cidr.covers(*cidr))) {
                *used.entry(owner).or_default() += count;
            }
        }
        let most = used.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0);
        most.map(|(owner, count)| format!(", most in use in blocks of {owner} ({count})")).unwrap_or_default()
    }
}

/// What an address is wanted for, and Calico's word for it.
fn used_as(want: &Want) -> (AllowedUse, &'static str) {
    match want {
        Want::Tunnel(_) => (AllowedUse::Tunnel, "Tunnel"),
        _ => (AllowedUse::Workload, "Workload"),
    }
}

impl Tunnel {
    /// Whether a pool's packets go through this tunnel.
    pub fn runs_in(self, pool: &IpPoolSpec) -> bool {
        let mode = match self {
            Tunnel::Ipip => pool.ipip(),
            Tunnel::Vxlan => pool.vxlan_mode,
        };
        mode != EncapMode::Never
    }
}

/// The prefix length of a pool's blocks; no more than its family has, whatever the pool says.
pub fn block_size(pool: &IpPoolSpec) -> u8 {
    match (pool.block_size, pool.cidr.is_ipv4()) {
        (0, true) => 26,
        (0, false) => 122,
        (size, true) => size.min(32),
        (size, false) => size.min(128),
    }
}

/// What is known of the blocks of a pool, in the order in which the node tries them.
fn from_our_place<'a, T>(
    blocks: &'a BTreeMap<Cidr, T>,
    pool: &'a IpPoolSpec,
    node: &str,
) -> impl Iterator<Item = (&'a Cidr, &'a T)> {
    let place = candidates(pool, node).next().unwrap_or(pool.cidr);
    let (first, last) = (Cidr::host(pool.cidr.addr()), Cidr::host(pool.cidr.last()));
    let inside = move |(cidr, _): &(&Cidr, &T)| pool.cidr.covers(**cidr);
    let begin = first.min(pool.cidr).min(place);
    blocks.range(place..=last.max(place)).chain(blocks.range(begin..place)).filter(inside)
}

/// Every block of a pool, once, from the one that the node's name decides. A pool that is smaller than its block has none.
fn candidates(pool: &IpPoolSpec, node: &str) -> impl Iterator<Item = Cidr> {
    let (cidr, size) = (pool.cidr, block_size(pool));
    let bits = if cidr.is_ipv4() { 32 } else { 128 };
    let count = size.checked_sub(cidr.len()).map_or(0, |bits| 1u128 << bits.min(32));
    let first = u128::from(fnv1(node.as_bytes()));
    (0..count).filter_map(move |n| {
        let offset = ((first + n) % count) << (bits - size);
        let addr: IpAddr = match cidr.addr() {
            IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits() + offset as u32).into(),
            IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() + offset).into(),
        };
        Cidr::containing(addr, size)
    })
}

/// FNV-1, 32 bits: stable over versions and machines.
pub(crate) fn fnv1(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::store::{Event, Kind};
    use model::{Metadata, v3::IpPool};

    fn pool(name: &str, spec: serde_json::Value) -> IpPool {
        IpPool { metadata: Metadata::named(name), spec: serde_json::from_value(spec).expect("a pool") }
    }

    fn snapshot(pools: Vec<IpPool>) -> Snapshot {
        let mut snapshot = Snapshot::new("n1");
        snapshot.labels = [("zone".to_owned(), "a".to_owned())].into();
        snapshot.apply(&Event::Listed(Kind::IpPool, pools.into_iter().map(Into::into).collect()));
        snapshot
    }

    fn auto(pools: &[&str]) -> Want {
        let pools = pools.iter().map(|&pool| pool.to_owned()).collect();
        Want::Auto { handle: "h".to_owned(), attributes: BTreeMap::new(), pools }
    }

    fn chosen(snapshot: &Snapshot, want: &Want) -> Result<Vec<String>, String> {
        let pools = snapshot.pools_for(want).map_err(|error| error.to_string())?;
        Ok(pools.iter().map(|pool| pool.cidr.to_string()).collect())
    }

    #[test]
    fn blocks_are_never_smaller_than_an_address_whatever_a_pool_says() {
        for (cidr, said, size) in
            [("10.0.0.0/24", 0, 26), ("10.0.0.0/24", 64, 32), ("fd00::/64", 0, 122), ("fd00::/64", 200, 128)]
        {
            let pool = pool("p", serde_json::json!({"cidr": cidr, "blockSize": said})).spec;
            assert_eq!(block_size(&pool), size, "{cidr} {said}");
        }
        let small = pool("p", serde_json::json!({"cidr": "10.0.0.0/24", "blockSize": 64})).spec;
        assert_eq!(candidates(&small, "n1").count(), 256);
    }

    #[test]
    fn a_pool_is_chosen_if_it_is_enabled_automatic_selects_the_node_and_allows_the_use() {
        let all = snapshot(vec![
            pool("b", serde_json::json!({"cidr": "10.2.0.0/16", "vxlanMode": "Always"})),
            pool("a", serde_json::json!({"cidr": "10.1.0.0/16", "nodeSelector": "zone == 'a'"})),
            pool("off", serde_json::json!({"cidr": "10.3.0.0/16", "disabled": true})),
            pool("manual", serde_json::json!({"cidr": "10.4.0.0/16", "assignmentMode": "Manual"})),
            pool("elsewhere", serde_json::json!({"cidr": "10.5.0.0/16", "nodeSelector": "zone == 'b'"})),
            pool(
                "tunnels",
                serde_json::json!({"cidr": "10.6.0.0/16", "allowedUses": ["Tunnel"], "vxlanMode": "Always"}),
            ),
            pool("six", serde_json::json!({"cidr": "fd00::/64"})),
        ]);
        let ok = |cidrs: &[&str]| Ok(cidrs.iter().map(|&cidr| cidr.to_owned()).collect::<Vec<_>>());
        assert_eq!(chosen(&all, &auto(&[])), ok(&["10.1.0.0/16", "10.2.0.0/16"]));
        assert_eq!(chosen(&all, &Want::Tunnel(Tunnel::Vxlan)), ok(&["10.2.0.0/16", "10.6.0.0/16"]));
        // What is asked for by name or CIDR need neither select the node nor be automatic.
        assert_eq!(chosen(&all, &auto(&["elsewhere", "10.4.0.0/16"])), ok(&["10.5.0.0/16", "10.4.0.0/16"]));
        let unknown = "the given pool (off) does not exist, or is not enabled";
        assert_eq!(chosen(&all, &auto(&["off"])), Err(unknown.to_owned()));
        assert!(chosen(&all, &auto(&["six"])).is_err_and(|error| error.contains("pods get IPv4 addresses")));
        assert!(
            chosen(&all, &auto(&["tunnels"])).is_err_and(|error| error.contains("required use (Workload)"))
        );
        assert!(chosen(&snapshot(vec![]), &auto(&[])).is_err_and(|error| error.contains("for node n1")));
    }

    #[test]
    fn a_pool_may_be_for_some_namespaces_only() {
        let mut all = snapshot(vec![
            pool("a", serde_json::json!({"cidr": "10.1.0.0/16", "namespaceSelector": "team == 'red'"})),
            pool("b", serde_json::json!({"cidr": "10.2.0.0/16"})),
        ]);
        let mut red = model::k8s::Namespace { metadata: Metadata::named("reds") };
        red.metadata.labels.insert("team".to_owned(), "red".to_owned());
        all.apply(&Event::Put(red.into()));
        let pod_of = |namespace: &str| Want::Auto {
            handle: "h".to_owned(),
            attributes: [("namespace".to_owned(), namespace.to_owned())].into(),
            pools: Vec::new(),
        };
        assert_eq!(chosen(&all, &pod_of("reds")).map(|pools| pools.len()), Ok(2));
        assert_eq!(chosen(&all, &pod_of("blues")), Ok(vec!["10.2.0.0/16".to_owned()]));
    }

    #[test]
    fn every_block_of_a_pool_is_tried_once_from_a_place_that_the_node_decides() {
        let spec = pool("p", serde_json::json!({"cidr": "10.0.0.0/24", "blockSize": 28})).spec;
        let (one, two): (Vec<Cidr>, Vec<Cidr>) =
            (candidates(&spec, "n1").collect(), candidates(&spec, "n2").collect());
        assert_eq!(one, candidates(&spec, "n1").collect::<Vec<_>>());
        assert_ne!(one[0], two[0]);
        let distinct: std::collections::BTreeSet<Cidr> = one.iter().copied().collect();
        assert_eq!((one.len(), distinct.len()), (16, 16));
        assert!(one.iter().all(|cidr| spec.cidr.covers(*cidr) && cidr.len() == 28));
        let small = pool("p", serde_json::json!({"cidr": "10.0.0.0/27", "blockSize": 26})).spec;
        assert_eq!(candidates(&small, "n1").count(), 0);
    }

    #[test]
    fn hashes_are_fnv_1() {
        assert_eq!(fnv1(b""), 0x811c_9dc5);
        assert_eq!(fnv1(b"foobar"), 0x31f0_b262);
    }
}
