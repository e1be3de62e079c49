//! The collector's account in Prometheus' text form.

use ipam::check::Problem;
use ipam::collect::{Account, Place, Tally};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The account in Prometheus' text form. Names are Calico's where the meaning is the same.
pub(crate) fn text(account: &Account, leads: bool) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let by_place = |of: fn(&Tally) -> usize| {
        let row = |(place, tally): (&Place, &Tally)| {
            (format!("{{ippool=\"{}\",node=\"{}\"}}", place.pool, place.node), of(tally) as u64)
        };
        account.tallies.iter().map(row).collect::<Vec<_>>()
    };
    let one = |value: u64| [(String::new(), value)];
    put("ipam_blocks", "gauge", "Blocks, by pool and node.", &by_place(|tally| tally.blocks));
    put("ipam_allocations_in_use", "gauge", "Addresses that somebody has.", &by_place(|tally| tally.in_use));
    put(
        "ipam_allocations_borrowed",
        "gauge",
        "Addresses of a node's blocks that another node has.",
        &by_place(|tally| tally.borrowed),
    );
    put(
        "ipam_allocations_gc_candidates",
        "gauge",
        "What is given back if it stays as it is.",
        &one(account.candidates as u64),
    );
    put(
        "ipam_allocations_gc_reclamations",
        "counter",
        "Addresses that were given back.",
        &one(account.released),
    );
    put(
        "tortie_ipam_removed",
        "counter",
        "Handles, claims and blocks that were removed.",
        &one(account.removed),
    );
    let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
    for problem in &account.problems {
        *problems.entry(Problem::sort(problem)).or_default() += 1;
    }
    let problems: Vec<_> =
        problems.into_iter().map(|(sort, count)| (format!("{{problem=\"{sort}\"}}"), count)).collect();
    put("tortie_ipam_problems", "gauge", "What `ipam check` would find now, by sort.", &problems);
    put("tortie_leads", "gauge", "1 while it holds the lease.", &one(u64::from(leads)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_calicos_names_and_labels() {
        let place = Place { pool: "p".to_owned(), node: "n1".to_owned() };
        let account = Account {
            problems: vec![Problem::Abandoned { block: "10.0.0.0/26".parse().expect("a CIDR") }],
            released: 3,
            tallies: [(place, Tally { blocks: 2, in_use: 7, borrowed: 1 })].into(),
            ..Account::default()
        };
        let text = super::text(&account, true);
        for line in [
            "ipam_blocks{ippool=\"p\",node=\"n1\"} 2",
            "ipam_allocations_in_use{ippool=\"p\",node=\"n1\"} 7",
            "ipam_allocations_borrowed{ippool=\"p\",node=\"n1\"} 1",
            "ipam_allocations_gc_reclamations 3",
            "tortie_ipam_problems{problem=\"abandoned block\"} 1",
            "tortie_leads 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
