//! What stands in the cells of a table.

use crate::kind::Cell;
use crate::output::number;
use serde_json::Value;

/// A document as a line of a table.
pub struct Row<'a> {
    pub document: &'a Value,
    /// The AS number of nodes that have none of their own.
    pub default_asn: &'a str,
}

impl Row<'_> {
    /// The text of a cell.
    pub fn cell(&self, cell: Cell) -> String {
        match cell {
            Cell::Path(path) => self.at(path).map(text).unwrap_or_default(),
            Cell::Or(path, word) => self.at(path).map(text).unwrap_or_else(|| word.to_owned()),
            Cell::List(path) => self.list(path).join(","),
            Cell::Made(make) => make(self),
        }
    }

    fn at(&self, path: &str) -> Option<&Value> {
        path.split('.')
            .try_fold(self.document, |value, field| value.get(field))
            .filter(|value| !value.is_null())
    }

    fn list(&self, path: &str) -> Vec<String> {
        self.at(path).and_then(Value::as_array).into_iter().flatten().map(text).collect()
    }

    /// How many items a list has.
    pub fn count(&self, path: &str) -> String {
        self.list(path).len().to_string()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map(number::short).unwrap_or_default(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A policy's or tier's order, which is a float for Go even where it is whole.
pub fn order(row: &Row<'_>) -> String {
    row.at("spec.order").and_then(Value::as_f64).map_or_else(|| "<nil>".to_owned(), number::short)
}

/// A node's own AS number, the default one in parentheses, or nothing for a node without BGP.
pub fn node_asn(row: &Row<'_>) -> String {
    match (row.at("spec.bgp"), row.at("spec.bgp.asNumber")) {
        (_, Some(own)) => text(own),
        (Some(_), None) => format!("({})", row.default_asn),
        (None, None) => String::new(),
    }
}

/// Which nodes a peer belongs to.
pub fn peer_node(row: &Row<'_>) -> String {
    let given = |path| row.at(path).map(text).filter(|text| !text.is_empty());
    given("spec.nodeSelector").or_else(|| given("spec.node")).unwrap_or_else(|| "(global)".to_owned())
}

/// A set's members, at most 80 characters of them.
pub fn nets(row: &Row<'_>) -> String {
    let nets = row.list("spec.nets").join(",");
    if nets.chars().count() <= 80 {
        return nets;
    }
    nets.chars().take(77).chain("...".chars()).collect()
}

/// The pod of an endpoint, or what else its orchestrator calls its workload.
pub fn workload(row: &Row<'_>) -> String {
    row.at("spec.pod").or_else(|| row.at("spec.workload")).map(text).unwrap_or_default()
}

/// Floating addresses, as `external:internal`.
pub fn nats(row: &Row<'_>) -> String {
    let nats = row.at("spec.ipNATs").and_then(Value::as_array).into_iter().flatten();
    let pairs = nats.map(|nat| format!("{}:{}", text(&nat["externalIP"]), text(&nat["internalIP"])));
    pairs.collect::<Vec<_>>().join(",")
}

/// The labels that a profile gives to its endpoints, sorted.
pub fn labels_to_apply(row: &Row<'_>) -> String {
    pairs(row.at("spec.labelsToApply"))
}

/// The labels that a Kubernetes policy selects pods by.
pub fn pod_selector(row: &Row<'_>) -> String {
    pairs(row.at("spec.podSelector.matchLabels"))
}

fn pairs(map: Option<&Value>) -> String {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    let mut pairs: Vec<String> = map.map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    pairs.join(",")
}
