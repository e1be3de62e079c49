//! Why an address was not given. Sentences are Calico's where Calico has one, followed by what to do.

use model::store;
use std::net::IpAddr;

/// Why an address was not given or taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No pool is enabled for this node.
    #[error(
        "no configured Calico pools for node {node}: create an IPPool that is enabled and whose nodeSelector matches the node"
    )]
    NoPools { node: String },
    /// Pools there are, but none for this use.
    #[error(
        "cannot find a qualified ippool, no pools match the required use ({requested_use}): add it to allowedUses"
    )]
    NoPoolForUse { requested_use: &'static str },
    /// A pool that was asked for by CIDR or name.
    #[error("the given pool ({pool}) does not exist, or is not enabled")]
    UnknownPool { pool: String },
    /// A pool of the other family that was asked for.
    #[error("the given pool ({pool}) is of IPv6, and pods get IPv4 addresses: name another one")]
    Ipv6Pool { pool: String },
    /// Every block of this node is full, and no other can be had.
    #[error("Assigned 0 out of 1 requested IPv4 addresses; {why}")]
    Exhausted { why: String },
    /// A given address outside of every enabled pool.
    #[error("The provided IP address is not in a configured pool: {addr}")]
    NotInPool { addr: IpAddr },
    /// A given address that somebody has.
    #[error("resource already exists: {addr} with error: Address already assigned in block")]
    Taken { addr: IpAddr },
    /// A given address that was released a moment ago.
    #[error(
        "{addr} was released a moment ago and cools down: try again later, or lower ipCooldownSeconds in IPAMConfiguration"
    )]
    Cooling { addr: IpAddr },
    /// A given address of another node's block, with strict affinity.
    #[error(
        "Block host affinity does not match: {addr} is in a block of {owner}, and strictAffinity is set in IPAMConfiguration"
    )]
    ForeignBlock { addr: IpAddr, owner: String },
    /// An address that was to be released has another owner by now.
    #[error("update conflict: {addr} was given to another owner meanwhile")]
    Reassigned { addr: IpAddr },
    /// A pool cannot be split so.
    #[error("cannot split IPPool {pool} into {parts}: {why}")]
    Split { pool: String, parts: u32, why: String },
    /// The API server refused a write.
    #[error("cannot write {object}: {source}")]
    Write { object: String, source: store::Error },
}
