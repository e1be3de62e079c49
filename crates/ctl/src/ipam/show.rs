//! `ipam show`: pools and blocks and how full they are, one address, borrowed addresses, the configuration.

use super::{address, all};
use crate::cli::IpamShowArgs;
use crate::failure::Failure;
use crate::output::boxed::Boxed;
use crate::output::number::five_digits;
use crate::session::Session;
use crate::store::Store;
use ::ipam::block;
use model::Cidr;
use model::v3::{AllocationAttribute, IpPool, IpamBlock, IpamConfigurationSpec};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

/// Prints what the first of the flags asks for.
pub async fn run(session: &mut Session<'_>, args: &IpamShowArgs) -> Result<(), Failure> {
    let store = session.store().await?;
    let text = match &args.ip {
        Some(ip) => one(&store, address(ip)?).await?,
        None if args.show_blocks => usage(&store, true).await?,
        None if args.show_borrowed => borrowed(&all(&store, "IPAMBlock").await?),
        None if args.show_configuration => configuration(&store).await?,
        None => usage(&store, false).await?,
    };
    session.print(&text)
}

async fn one(store: &Store, addr: IpAddr) -> Result<String, Failure> {
    let blocks: Vec<IpamBlock> = all(store, "IPAMBlock").await?;
    let holder = blocks.iter().find_map(|b| block::holder(&b.spec, block::ordinal(&b.spec, addr)?));
    let Some(holder) = holder else { return Ok(format!("{addr} is not assigned\n")) };
    let handle = holder.handle_id.as_deref().unwrap_or("<none>");
    let mut text = format!("IP {addr} is in use\nHandle ID: {handle}\n");
    if holder.secondary.is_empty() {
        text += "No Active Owner attributes defined\n";
    } else {
        text += "Active Owner Attributes:\n";
        lines(&mut text, &holder.secondary);
    }
    if !holder.alternate_owner_attrs.is_empty() {
        text += "Alternate Owner Attributes:\n";
        lines(&mut text, &holder.alternate_owner_attrs);
    }
    Ok(text)
}

fn lines(text: &mut String, attributes: &BTreeMap<String, String>) {
    for (key, value) in attributes {
        writeln!(text, "  {key}: {value}").expect("writing to text cannot fail");
    }
}

async fn usage(store: &Store, shows_blocks: bool) -> Result<String, Failure> {
    let pools: Vec<IpPool> = all(store, "IPPool").await?;
    let blocks: Vec<IpamBlock> = all(store, "IPAMBlock").await?;
    let mut table = Boxed::new(&["Grouping", "CIDR", "IPs total", "IPs in use", "IPs free"]);
    let in_use = |b: &IpamBlock| block::unavailable(&b.spec);
    let block_row = |b: &IpamBlock| row("Block", b.spec.cidr, in_use(b));
    let (mut of_pools, mut orphans) = (Vec::new(), Vec::new());
    for b in &blocks {
        let pool = pools.iter().position(|pool| pool.spec.cidr.covers(b.spec.cidr));
        pool.map_or_else(|| orphans.push(b), |pool| of_pools.push((pool, b)));
    }
    for (i, pool) in pools.iter().enumerate() {
        let own = || of_pools.iter().filter(|(pool, _)| *pool == i).map(|(_, b)| *b);
        table.row(row("IP Pool", pool.spec.cidr, own().map(in_use).sum()));
        if shows_blocks {
            own().for_each(|b| table.row(block_row(b)));
        }
    }
    if shows_blocks {
        orphans.into_iter().for_each(|b| table.row(block_row(b)));
    }
    Ok(table.render())
}

/// Counts are floats, for an IPv6 pool has more addresses than an integer can count.
fn row(grouping: &str, cidr: Cidr, in_use: usize) -> Vec<String> {
    let bits = if cidr.is_ipv4() { 32 } else { 128 };
    let total = 2_f64.powi(bits - i32::from(cidr.len()));
    let used = in_use as f64;
    let share = |part: f64| format!("{} ({:.0}%)", five_digits(part), 100.0 * part / total);
    vec![grouping.to_owned(), cidr.to_string(), five_digits(total), share(used), share(total - used)]
}

/// Addresses that a node has from a block of another node.
fn borrowed(blocks: &[IpamBlock]) -> String {
    let mut table = Boxed::new(&["IP", "Borrowing-Node", "Block", "Block Owner", "Type", "Allocated-To"]);
    let mut unknown = 0;
    for b in blocks {
        let Some(owner) = block::owner(&b.spec) else { continue };
        let has_no_node = |(_, by): &(u32, &AllocationAttribute)| !by.secondary.contains_key("node");
        unknown += block::allocated(&b.spec).filter(has_no_node).count();
        for (addr, node, holder) in block::borrowed(&b.spec) {
            let attribute = |key: &str| holder.secondary.get(key).cloned().unwrap_or_default();
            let (kind, user) = match attribute("pod") {
                pod if pod.is_empty() => (attribute("type"), node.to_owned()),
                pod => ("pod".to_owned(), format!("{}/{pod}", attribute("namespace"))),
            };
            let (addr, cidr) = (addr.to_string(), b.spec.cidr.to_string());
            table.row(vec![addr, node.to_owned(), cidr, owner.to_owned(), kind, user]);
        }
    }
    let note = match unknown {
        0 => String::new(),
        n => format!("{n} allocations name no node, so whether they are borrowed is not known\n"),
    };
    table.render() + &note
}

/// Differs from Calico, which prints the address of the last value in its memory.
async fn configuration(store: &Store) -> Result<String, Failure> {
    let spec =
        super::configure::read(store).await?.map_or_else(IpamConfigurationSpec::default, |(_, spec)| spec);
    let mut table = Boxed::new(&["Property", "Value"]);
    let persistence = spec.kubevirt_vm_address_persistence.unwrap_or_else(|| "<not set>".to_owned());
    for (property, value) in [
        ("StrictAffinity", spec.strict_affinity.to_string()),
        ("AutoAllocateBlocks", spec.auto_allocate_blocks.to_string()),
        ("MaxBlocksPerHost", spec.max_blocks_per_host.to_string()),
        ("KubeVirtVMAddressPersistence", persistence),
    ] {
        table.row(vec![property.to_owned(), value]);
    }
    Ok(table.render())
}
