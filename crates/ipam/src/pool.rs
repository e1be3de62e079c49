//! Which pools may be used, which block comes next: the choices before any write.
//!
//! Pools are tried in the order of their names, blocks of this node in the order of their addresses. A new block is looked
//! for from a place that the node's name decides, so that nodes that claim at the same time rarely meet.

use crate::snapshot::allows;
use crate::{Error, Snapshot, Tunnel, Want, block};
use model::Cidr;
use model::v3::{AllowedUse, AssignmentMode, EncapMode, IpPoolSpec};
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
    /// A block of another node that must be read first.
    Read(Cidr),
}

impl Snapshot {
    /// Where the address of a request is to come from. `promised` counts the addresses of each block that are meant for
    /// requests whose write is yet to come.
    pub fn choose(&self, want: &Want, promised: &BTreeMap<Cidr, usize>) -> Result<Choice, Error> {
        match want {
            Want::Given { addr, .. } => self.block_of(*addr),
            _ => self.next_block(&self.pools_for(want)?, promised),
        }
    }

    /// The pools that a request may take from, in order.
    pub fn pools_for(&self, want: &Want) -> Result<Vec<&IpPoolSpec>, Error> {
        let (wanted, name) = match want {
            Want::Tunnel(_) => (AllowedUse::Tunnel, "Tunnel"),
            _ => (AllowedUse::Workload, "Workload"),
        };
        let enabled = self.pools.values().filter(|pool| !pool.disabled && pool.cidr.is_ipv4());
        let chosen: Vec<&IpPoolSpec> = match want {
            Want::Auto { pools, .. } if !pools.is_empty() => {
                pools.iter().map(|pool| self.pool_named(pool)).collect::<Result<_, _>>()?
            }
            Want::Tunnel(tunnel) => {
                enabled.filter(|pool| tunnel.runs_in(pool) && self.selects(pool)).collect()
            }
            _ => enabled
                .filter(|pool| pool.assignment_mode == AssignmentMode::Automatic && self.selects(pool))
                .collect(),
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
        found.ok_or_else(|| Error::UnknownPool { pool: pool.to_owned() })
    }

    /// The block that a given address is in: it may be anybody's, unless affinity is strict.
    fn block_of(&self, addr: IpAddr) -> Result<Choice, Error> {
        let pool = self.pools.values().find(|pool| !pool.disabled && pool.cidr.contains(addr));
        let pool = pool.filter(|pool| allows(pool, AllowedUse::Workload)).ok_or(Error::NotInPool { addr })?;
        let cidr = Cidr::containing(addr, block_size(pool)).ok_or(Error::NotInPool { addr })?;
        let Some(known) = self.blocks.get(&cidr).filter(|b| !b.spec.deleted) else {
            return Ok(if self.others.contains(&cidr) { Choice::Read(cidr) } else { Choice::Claim(cidr) });
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
        match own {
            Some(cidr) => Ok(Choice::Take(cidr)),
            None => self.next_claim(pools, &reserved).map(Choice::Claim),
        }
    }

    fn next_claim(&self, pools: &[&IpPoolSpec], reserved: &[Cidr]) -> Result<Cidr, Error> {
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
        match unclaimed {
            Some(cidr) => Ok(cidr),
            None if self.configuration.strict_affinity => exhausted(format!(
                "No more free affine blocks and strict affinity enabled: every block of [{cidrs}] belongs to a node; create another IPPool"
            )),
            None => exhausted(format!("No IPs available in pools: [{cidrs}]; create another IPPool")),
        }
    }
}

impl Tunnel {
    /// Whether a pool's packets go through this tunnel.
    pub fn runs_in(self, pool: &IpPoolSpec) -> bool {
        let mode = match self {
            Tunnel::Ipip => pool.ipip_mode,
            Tunnel::Vxlan => pool.vxlan_mode,
        };
        mode != EncapMode::Never
    }
}

/// The prefix length of a pool's blocks.
pub fn block_size(pool: &IpPoolSpec) -> u8 {
    match (pool.block_size, pool.cidr.is_ipv4()) {
        (0, true) => 26,
        (0, false) => 122,
        (size, _) => size,
    }
}

/// Every block of a pool, once, from the one that the node's name decides. A pool that is smaller than its block has none.
fn candidates(pool: &IpPoolSpec, node: &str) -> impl Iterator<Item = Cidr> {
    let (cidr, size) = (pool.cidr, block_size(pool));
    let bits = if cidr.is_ipv4() { 32 } else { 128 };
    let count = size.checked_sub(cidr.len()).map_or(0, |bits| 1u128 << bits.min(32));
    let first = u128::from(fnv1(node.as_bytes()));
    (0..count).filter_map(move |n| {
        let offset = ((first + n) % count) << (bits - size.min(bits));
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
