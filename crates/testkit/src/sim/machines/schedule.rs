//! A run of whole nodes as data: the cluster, and a list of what is done to it and what goes wrong. Drawn by a seed
//! (`seeded`), or read from the text that a failing run prints; with nothing else than what stands in it, it tells the same
//! story each time.

use super::{Admin, Machines, Mode};
use crate::sim::faults::{Fault, Pace};
use crate::sim::minimise::minimised;
use crate::sim::seeded::Story;
use crate::sim::{Broken, Faults, Rng};
use derive::IpipDriver;
use model::Duration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

/// For so long things are done and go wrong; then the cluster comes to rest.
const LOAD: Duration = Duration::from_secs(8);

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Draws delays, and the order of what happens at one time.
    pub seed: u64,
    /// Nodes in one subnet, and behind the router.
    pub near: usize,
    pub far: usize,
    /// In turn.
    pub drivers: Vec<IpipDriver>,
    /// CIDR and mode.
    pub pools: Vec<(String, Mode)>,
    /// The nodes speak BGP, and so does the router.
    pub bgp: bool,
    pub pace: Pace,
    #[serde(skip)]
    pub entries: Vec<Entry>,
}

/// One thing that is done, or goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    Act {
        /// Microseconds after the beginning.
        at: u64,
        act: Admin,
    },
    Fault(Fault),
}

impl Schedule {
    /// The cluster, with all this before it.
    fn cluster(&self) -> Machines {
        let mut cluster = Machines::cluster(self.near, self.far, &self.drivers);
        cluster.seed = Some(self.seed);
        cluster.queue.reseed(Rng::stream(self.seed, "ties"));
        for (n, (cidr, mode)) in self.pools.iter().enumerate() {
            cluster = cluster.pool(&format!("pool-{}", n + 1), cidr, 29, *mode);
        }
        if self.bgp {
            cluster = cluster.bgp();
        }
        let mut faults = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Act { at, act } => cluster.admin(Duration::from_micros(*at), *act),
                Entry::Fault(fault) => faults.push(*fault),
            }
        }
        cluster.faults = Faults::scheduled(self.seed, self.pace, &faults);
        cluster
    }

    /// For so long there is load. Who is paused for longer wakes up to it.
    fn load(&self) -> Duration {
        let ends = self.entries.iter().filter_map(|entry| match entry {
            Entry::Act { at, act: Admin::Resume(_) } => Some(Duration::from_micros(*at)),
            _ => None,
        });
        ends.max().unwrap_or_default().max(LOAD)
    }

    /// Load under faults, then rest. An assertion of the production code that fails is a broken law too.
    pub fn run(&self, aloud: bool) -> Result<Story, Box<Broken>> {
        let mut cluster = self.cluster();
        cluster.trace.aloud = aloud;
        let load = self.load();
        let run = || cluster.run_for(load).and_then(|()| cluster.come_to_rest());
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(held) => held?,
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                return Err(cluster.broken("an assertion", words.unwrap_or_default()).into());
            }
        }
        Ok(Story { hash: cluster.hash(), events: cluster.events() })
    }

    /// The same with as little in it as still breaks the law.
    pub fn smaller(&self, law: &str) -> Schedule {
        let with = |entries: &[Entry]| Schedule { entries: entries.to_vec(), ..self.clone() };
        let fails = |entries: &[Entry]| with(entries).run(false).is_err_and(|broken| broken.law == law);
        with(&minimised(self.entries.clone(), fails))
    }
}

/// One line for the cluster, one for each entry, each of them JSON.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |line: Result<String, _>| line.expect("a schedule is made of numbers and texts");
        f.write_str(&json(serde_json::to_string(self)))?;
        self.entries.iter().try_for_each(|entry| write!(f, "\n{}", json(serde_json::to_string(entry))))
    }
}

impl FromStr for Schedule {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Schedule, serde_json::Error> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut schedule: Schedule = serde_json::from_str(lines.next().unwrap_or_default())?;
        schedule.entries = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(schedule)
    }
}
