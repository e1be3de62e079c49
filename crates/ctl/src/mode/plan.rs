//! A change of a pool's mode that nobody has made yet, as a table or a document.

use super::{Cluster, modes_of, set_modes, wished};
use crate::cli::ModeTarget;
use crate::failure::Failure;
use crate::inquiry;
use crate::kind::Kind;
use crate::output::table;
use crate::store::Store;
use derive::change::Obstacle;
use derive::{Change, Modes, Path};
use model::schema;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// As many names of nodes are told, more are counted.
const NAMED: usize = 4;

/// What would happen.
pub struct Plan {
    pub pool: String,
    pub now: Modes,
    pub then: Modes,
    /// The pool as it is stored, with the new modes.
    pub document: Value,
    /// By node.
    changes: BTreeMap<String, Change>,
    /// What is wrong with the pool that would be.
    invalid: Option<String>,
    /// What stops nothing and will take its time.
    waits: Vec<String>,
}

impl Plan {
    /// Asks every node's future of the API's objects.
    pub async fn make(store: &Store, pool: &str, target: &ModeTarget) -> Result<Plan, Failure> {
        let kind = Kind::of_document("IPPool").expect("the kind is in the table");
        let old = store.get(kind, None, pool).await?;
        let now = modes_of(&old);
        let then = wished(target, now)?;
        let mut document = old.clone();
        set_modes(&mut document, then);
        let invalid = schema::validate("IPPool", document.clone(), Some(&old)).err().map(|e| e.to_string());
        let cluster = Cluster::read(store).await?;
        let of = |node: &String| {
            let world = node::seen_from(node, &cluster.objects);
            (node.clone(), derive::change(&world, pool, then))
        };
        let changes =
            if invalid.is_some() { BTreeMap::new() } else { cluster.nodes.iter().map(of).collect() };
        let waits = if invalid.is_some() { Vec::new() } else { waits(store, &cluster.nodes, &changes).await };
        Ok(Plan { pool: pool.to_owned(), now, then, document, changes, invalid, waits })
    }

    /// What is in the way, each with the node that it is about.
    fn obstacles(&self) -> Vec<String> {
        let of = |(node, change): (&String, &Change)| -> Vec<String> {
            change.obstacles.iter().map(|obstacle| format!("{node}: {obstacle}")).collect()
        };
        self.invalid.iter().cloned().chain(self.changes.iter().flat_map(of)).collect()
    }

    pub fn is_blocked(&self) -> bool {
        self.invalid.is_some() || self.changes.values().any(|change| !change.obstacles.is_empty())
    }

    /// An error if something is in the way.
    pub fn check(&self) -> Result<(), Failure> {
        match self.obstacles().len() {
            0 => Ok(()),
            n => {
                let things = if n == 1 { "1 thing is".to_owned() } else { format!("{n} things are") };
                let (pool, now, then) = (&self.pool, self.now, self.then);
                Err(Failure::new(format!(
                    "{things} in the way of changing IPPool {pool} from {now} to {then}; nothing was changed"
                )))
            }
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("IPPool {}: {} -> {}\n\n", self.pool, self.now, self.then);
        let mut lines = vec![["NODE", "TO", "NOW", "THEN", "MTU OF PODS"].map(str::to_owned).to_vec()];
        for (node, change) in &self.changes {
            let mut first = Some((node.clone(), mtu(change)));
            for ((now, then), nodes) in ways(change) {
                let (node, mtu) = first.take().unwrap_or_default();
                lines.push(vec![node, named(&nodes), now.to_owned(), then.to_owned(), mtu]);
            }
            if let Some((node, mtu)) = first {
                lines.push(vec![node, "-".into(), "-".into(), "-".into(), mtu]);
            }
        }
        text += &table::render(&lines);
        let obstacles = self.obstacles();
        if !obstacles.is_empty() {
            text += "\nIn the way:\n";
        }
        for obstacle in obstacles {
            text += &format!("  {obstacle}\n");
        }
        if !self.waits.is_empty() {
            text += &format!("\n{}", self.waits_text());
        }
        text
    }

    /// What the change will wait for, a line each.
    pub fn waits_text(&self) -> String {
        self.waits.iter().map(|wait| format!("{wait}\n")).collect()
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let node = |(node, change): (&String, &Change)| {
            let paths = change
                .ways
                .iter()
                .map(|way| json!({"to": way.node, "now": way.now.to_string(), "then": way.then.to_string()}));
            json!({
                "node": node,
                "paths": paths.collect::<Vec<_>>(),
                "mtu": change.mtu.map(|(now, then)| json!({"now": now.0, "then": then.0})),
                "obstacles": change.obstacles.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        };
        json!({
            "pool": self.pool,
            "now": self.now,
            "then": self.then,
            "nodes": self.changes.iter().map(node).collect::<Vec<_>>(),
            "obstacles": self.obstacles(),
            "waits": self.waits,
        })
    }
}

/// Nodes whose agents do not answer: the change goes on without them, and ends with them.
async fn waits(store: &Store, nodes: &BTreeSet<String>, changes: &BTreeMap<String, Change>) -> Vec<String> {
    // Who never speaks of modes is in the way already.
    let is_dumb = |node: &&String| {
        let of_node = changes.get(*node).into_iter().flat_map(|change| &change.obstacles);
        of_node.into_iter().any(|obstacle| matches!(obstacle, Obstacle::Silent | Obstacle::NoAddress))
    };
    let asked: BTreeSet<String> = nodes.iter().filter(|node| !is_dumb(node)).cloned().collect();
    let seconds = inquiry::PATIENCE.as_secs();
    match inquiry::silent(store, &asked).await {
        Ok(silent) => silent.into_iter().map(|(node, last)| {
            let last = last.map(|time| format!(" (its last answer is of {time})")).unwrap_or_default();
            format!("{node} has not been heard for {seconds} s{last}; the change will wait for it")
        }),
        Err(failure) => {
            return vec![format!("whether the nodes' agents live is not known: {}", failure.text)];
        }
    }
    .collect()
}

/// The nodes whose packets change in the same way, under that way.
fn ways(change: &Change) -> BTreeMap<(&'static str, &'static str), Vec<&str>> {
    let mut ways: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for way in &change.ways {
        ways.entry((word(&way.now), word(&way.then))).or_default().push(&way.node);
    }
    ways
}

fn word(path: &Path) -> &'static str {
    match path {
        Path::Local => "local",
        Path::Direct { .. } => "direct",
        Path::Ipip { .. } => "ipip",
        Path::Vxlan(_) => "vxlan",
        Path::Unreachable(_) => "unreachable",
    }
}

fn named(nodes: &[&str]) -> String {
    match nodes.len() {
        0..=NAMED => nodes.join(","),
        n => format!("{n} nodes"),
    }
}

fn mtu(change: &Change) -> String {
    match change.mtu {
        None => "-".to_owned(),
        Some((now, then)) if now == then => now.0.to_string(),
        Some((now, then)) => format!("{} -> {}", now.0, then.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use derive::change::Way;
    use insta::assert_snapshot;
    use model::Mtu;
    use model::v3::EncapMode::{Always, CrossSubnet, Never};

    fn plan(changes: BTreeMap<String, Change>) -> Plan {
        Plan {
            pool: "pool".into(),
            now: Modes { ipip_mode: Always, vxlan_mode: Never },
            then: Modes { ipip_mode: CrossSubnet, vxlan_mode: Never },
            document: Value::Null,
            changes,
            invalid: None,
            waits: Vec::new(),
        }
    }

    fn ways(from: u8, to: u8) -> Vec<Way> {
        let way = |n| {
            let remote = [192, 168, 50, n].into();
            Way {
                node: format!("node{n}"),
                now: Path::Ipip { remote },
                then: Path::Direct { next_hop: remote.into() },
            }
        };
        (from..=to).map(way).collect()
    }

    #[test]
    fn a_node_has_a_line_for_each_way_that_changes() {
        let far = || {
            let remote = [192, 168, 60, 9].into();
            Way { node: "far".into(), now: Path::Ipip { remote }, then: Path::Ipip { remote } }
        };
        let change = |ways, mtu| Change { ways, mtu, obstacles: Vec::new() };
        let few = change([ways(2, 3), vec![far()]].concat(), Some((Mtu(1480), Mtu(1480))));
        let plan = plan([("node1".to_owned(), few), ("node4".to_owned(), change(ways(5, 10), None))].into());
        assert!(plan.check().is_ok());
        let table: String = plan.table().lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_snapshot!(table, @"
        IPPool pool: IPIP Always -> IPIP CrossSubnet

        NODE    TO            NOW    THEN     MTU OF PODS
        node1   node2,node3   ipip   direct   1480
                far           ipip   ipip
        node4   6 nodes       ipip   direct   -
        ");
        let paths = plan.document()["nodes"][0]["paths"].clone();
        assert_eq!(
            paths[0],
            json!({"to": "node2", "now": "ipip via 192.168.50.2", "then": "direct via 192.168.50.2"})
        );
    }

    #[test]
    fn who_is_not_heard_is_told_of_and_stops_nothing() {
        let mut plan = plan(BTreeMap::new());
        plan.waits = vec!["n3 has not been heard for 3 s; the change will wait for it".to_owned()];
        assert!(plan.check().is_ok());
        assert!(plan.table().ends_with("\n\nn3 has not been heard for 3 s; the change will wait for it\n"));
        assert_eq!(plan.document()["waits"][0], plan.waits[0]);
    }

    #[test]
    fn what_is_in_the_way_is_named_and_nothing_is_changed() {
        let change = Change { ways: Vec::new(), mtu: None, obstacles: vec![Obstacle::Silent] };
        let plan = plan([("node1".to_owned(), change)].into());
        assert!(plan.table().contains("In the way:\n  node1: it does not say how far it is with modes"));
        assert_eq!(
            plan.check().map_err(|failure| failure.text),
            Err("1 thing is in the way of changing IPPool pool from IPIP Always to IPIP CrossSubnet; nothing was changed".to_owned())
        );
    }
}
