//! `ipam check`: what is assigned against what is in use, told section by section as `calicoctl` tells it.

use super::collector;
use super::world::World;
use crate::cli::IpamCheckArgs;
use crate::failure::Failure;
use crate::ipam::report::{Allocation, LeakedHandle, Report};
use crate::lock;
use crate::session::Session;
use crate::store::Store;
use ::ipam::block;
use ::ipam::check::{Problem, check};
use model::v3::{AllocationAttribute, IpamBlock, IpamHandle};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Arguments, Write};
use std::net::IpAddr;

/// Reads everything, prints what it finds and, if asked, writes a report. Problems are no failure.
pub async fn run(session: &mut Session<'_>, args: &IpamCheckArgs) -> Result<(), Failure> {
    let store = session.store().await?;
    let world = World::read(&store).await?;
    let mut account = Account::of(&world, args.show_problem_ips || args.show_all_ips);
    if args.show_all_ips {
        account.tell_all();
    }
    account.tell(&collector::lines(&store).await);
    session.print(&account.text)?;
    let Some(path) = &args.output else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(&account.report(&store).await).expect("a report has text keys only");
    std::fs::write(path, text)
        .map_err(|e| Failure::new(format!("cannot write the report {}: {e}", path.display())))
}

/// The account of one check, as it grows.
struct Account<'a> {
    world: &'a World,
    in_use: BTreeMap<IpAddr, &'a str>,
    /// What is wrong with the objects.
    found: Vec<Problem>,
    /// Allocated and not in use.
    leaked: BTreeSet<IpAddr>,
    shows: bool,
    problems: usize,
    text: String,
}

impl<'a> Account<'a> {
    fn of(world: &'a World, shows: bool) -> Account<'a> {
        let in_use = world.in_use();
        let found = check(&world.objects);
        let leak = |problem: &Problem| match problem {
            Problem::NotInUse { addr, .. } => Some(*addr),
            _ => None,
        };
        let leaked = found.iter().filter_map(leak).collect();
        Account { world, in_use, found, leaked, shows, problems: 0, text: String::new() }
    }

    fn say(&mut self, said: Arguments<'_>) {
        writeln!(self.text, "{said}").expect("writing to text cannot fail");
    }

    /// A line about one thing that is wrong, printed if problems are.
    fn complain(&mut self, said: Arguments<'_>) {
        self.problems += 1;
        if self.shows {
            self.say(said);
        }
    }

    fn tell_all(&mut self) {
        let world = self.world;
        for (addr, holder) in world.allocations() {
            let user = self.in_use.get(&addr).copied().unwrap_or("nobody");
            let handle = holder.handle_id.as_deref().unwrap_or("<none>");
            self.say(format_args!("  {addr} allocated to {handle}; used by {user}"));
        }
    }

    fn tell(&mut self, collector: &[String]) {
        self.say(format_args!("Checking IPAM for inconsistencies...\n"));
        self.tell_what_there_is();
        self.tell_allocations_by_node();
        self.tell_leaks();
        self.tell_strays();
        self.tell_handles();
        self.tell_the_rest();
        if !collector.is_empty() {
            self.say(format_args!("\nAsking the collector..."));
            collector.iter().for_each(|line| self.say(format_args!("{line}")));
        }
        let problems = self.problems;
        self.say(format_args!("Check complete; found {problems} problems."));
    }

    fn tell_what_there_is(&mut self) {
        let world = self.world;
        self.say(format_args!("Loading all IPAM blocks..."));
        self.say(format_args!("Found {} IPAM blocks.", world.objects.blocks.len()));
        for b in &world.objects.blocks {
            let affinity = b.spec.affinity.as_deref().unwrap_or("<none>");
            self.say(format_args!(" IPAM block {} affinity={affinity}:", b.spec.cidr));
        }
        self.say(format_args!("IPAM blocks record {} allocations.\n", world.allocations().count()));
        self.say(format_args!("Loading all IPAM pools..."));
        for pool in world.active_pools() {
            self.say(format_args!("  {}", pool.spec.cidr));
        }
        self.say(format_args!("Found {} active IP pools.\n", world.active_pools().count()));
        self.say(format_args!("Loading all nodes.\nFound {} node tunnel IPs.\n", world.tunnels.len()));
        self.say(format_args!("Loading all service load balancer IPs."));
        self.say(format_args!("Found {} service load balancer(s).\n", world.balancers.len()));
        self.say(format_args!(
            "Loading all workload endpoints.\nFound {} workload IPs.",
            world.workloads.len()
        ));
        self.say(format_args!("Workloads and nodes are using {} IPs.\n", self.in_use.len()));
        self.say(format_args!("Loading all handles"));
    }

    fn tell_allocations_by_node(&mut self) {
        let world = self.world;
        let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, holder) in world.allocations() {
            *by_node.entry(holder.secondary.get("node").map_or("", String::as_str)).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = by_node.into_iter().collect();
        counts.sort_by_key(|&(node, count)| (std::cmp::Reverse(count), node));
        self.say(format_args!("Looking for top (up to 20) nodes by allocations..."));
        for (node, count) in counts.iter().take(20) {
            self.say(format_args!("  {node} has {count} allocations"));
        }
        if let (Some((_, most)), Some((_, median))) = (counts.first(), counts.get(counts.len() / 2)) {
            self.say(format_args!("Node with most allocations has {most}; median is {median}"));
        }
        self.text.push('\n');
    }

    fn tell_leaks(&mut self) {
        let world = self.world;
        self.say(format_args!("Scanning for IPs that are allocated but not actually in use..."));
        for (addr, holder) in world.allocations() {
            if self.leaked.contains(&addr) {
                let handle = holder.handle_id.as_deref().unwrap_or_default();
                let extra: Vec<String> =
                    holder.secondary.iter().map(|(key, value)| format!("{key}={value}")).collect();
                self.complain(format_args!("  {addr} leaked; attrs Main:{handle} Extra:{}", extra.join(",")));
            }
        }
        let count = self.leaked.len();
        self.say(format_args!("Found {count} IPs that are allocated in IPAM but not actually in use."));
    }

    /// Addresses in use that no block knows.
    fn tell_strays(&mut self) {
        let world = self.world;
        self.say(format_args!(
            "Scanning for IPs that are in use by a workload or node but not allocated in IPAM..."
        ));
        let allocated: BTreeSet<IpAddr> = world.allocations().map(|(addr, _)| addr).collect();
        let (mut outside, mut missing) = (0, 0);
        let strays = self.in_use.clone().into_iter().filter(|(addr, _)| !allocated.contains(addr));
        for (addr, user) in strays {
            if world.is_in_a_pool(addr) {
                missing += 1;
                self.complain(format_args!("  {addr} in use by {user} has no IPAM allocation."));
            } else {
                outside += 1;
                self.complain(format_args!("  {addr} in use by {user} is not in any active IP pool."));
            }
        }
        self.say(format_args!("Found {outside} in-use IPs that are not in active IP pools."));
        self.say(format_args!(
            "Found {missing} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.\n"
        ));
    }

    /// Handles without addresses, and addresses without handles.
    fn tell_handles(&mut self) {
        let (mut idle, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for problem in &self.found {
            match problem {
                Problem::EmptyHandle { handle } => drop(idle.insert(handle.clone())),
                Problem::MissingHandle { handle, .. } => drop(missing.insert(handle.clone())),
                _ => {}
            }
        }
        self.say(format_args!("Scanning for IPAM handles with no matching IPs..."));
        for handle in &idle {
            self.complain(format_args!("  {handle} has no matching IPs."));
        }
        let (idle, all) = (idle.len(), self.world.objects.handles.len());
        let matching = all - idle;
        self.say(format_args!(
            "Found {idle} handles with no matching IPs (and {matching} handles with matches)."
        ));
        self.say(format_args!("Scanning for IPs with missing handle..."));
        for handle in &missing {
            self.complain(format_args!("  {handle} is named in a block and does not exist."));
        }
        let missing = missing.len();
        self.say(format_args!(
            "Found {missing} handles mentioned in blocks with no matching handle resource."
        ));
    }

    /// What `calicoctl` does not look for: told where it is so, always with its lines.
    fn tell_the_rest(&mut self) {
        let is_told = |problem: &Problem| {
            use Problem::{EmptyHandle, MissingHandle, NotAllocated, NotInUse};
            matches!(
                problem,
                EmptyHandle { .. } | MissingHandle { .. } | NotAllocated { .. } | NotInUse { .. }
            )
        };
        let rest: Vec<String> =
            self.found.iter().filter(|problem| !is_told(problem)).map(Problem::to_string).collect();
        if rest.is_empty() {
            return;
        }
        self.say(format_args!("\nScanning for other inconsistencies..."));
        for problem in &rest {
            self.problems += 1;
            self.say(format_args!("  {problem}"));
        }
        let count = rest.len();
        self.say(format_args!("Found {count} other inconsistencies."));
    }

    /// The report of `--output`: every allocation, and the handles without addresses.
    async fn report(&self, store: &Store) -> Report {
        let cluster = lock::read(store).await.unwrap_or_default();
        let of_cluster =
            |path: &str| cluster.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut allocations: BTreeMap<IpAddr, Vec<Allocation>> = BTreeMap::new();
        for b in &self.world.objects.blocks {
            let held = block::allocated(&b.spec).filter(|(_, holder)| holder.released_at.is_none());
            for (ordinal, holder) in held {
                let addr = block::addr(&b.spec, ordinal);
                allocations.entry(addr).or_default().push(self.allocation(b, ordinal, addr, holder));
            }
        }
        let is_idle = |id: &str| {
            let is_told =
                |problem: &Problem| matches!(problem, Problem::EmptyHandle { handle } if handle == id);
            self.found.iter().any(is_told)
        };
        let handles = self.world.objects.handles.iter().filter(|handle| is_idle(&handle.spec.handle_id));
        let leaked = |handle: &IpamHandle| LeakedHandle {
            id: handle.spec.handle_id.clone(),
            revision: handle.metadata.resource_version.clone(),
            uid: Some(handle.metadata.uid.clone()),
        };
        Report {
            version: crate::version::CLIENT.to_owned(),
            cluster_guid: of_cluster("/spec/clusterGUID"),
            datastore_locked: lock::is_locked(&cluster),
            cluster_information_revision: of_cluster("/metadata/resourceVersion"),
            cluster_type: of_cluster("/spec/clusterType"),
            allocations,
            leaked_handles: handles.map(leaked).collect(),
        }
    }

    fn allocation(
        &self,
        block: &IpamBlock,
        ordinal: u32,
        addr: IpAddr,
        holder: &AllocationAttribute,
    ) -> Allocation {
        let attribute = |key: &str| holder.secondary.get(key).cloned().unwrap_or_default();
        Allocation {
            ip: addr.to_string(),
            handle: holder.handle_id.clone().unwrap_or_default(),
            sequence_number: block.spec.sequence_number_for_allocation.get(&ordinal.to_string()).copied(),
            pod: attribute("pod"),
            namespace: attribute("namespace"),
            node: attribute("node"),
            allocation_type: attribute("type"),
            creation_timestamp: attribute("timestamp"),
            in_use: self.in_use.contains_key(&addr),
            borrowed: block::owner(&block.spec).is_some_and(|owner| owner != attribute("node")),
            owners: self.in_use.get(&addr).map(|user| vec![(*user).to_owned()]),
        }
    }
}
