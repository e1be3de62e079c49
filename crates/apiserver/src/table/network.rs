//! Services, their endpoints, and network policies in `kubectl get`.

use super::{age, name, or_none};
use crate::json::text;
use serde_json::{Value, json};

/// How many ports or addresses a cell shows (`printers.go`).
const SHOWN: usize = 3;

/// `key=value` of each label.
fn labels(map: &Value) -> Vec<String> {
    let map = map.as_object().into_iter().flatten();
    map.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect()
}

/// A service's row.
pub fn service(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            let node = port["nodePort"].as_u64().map_or(String::new(), |node| format!(":{node}"));
            format!("{}{node}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))
        })
        .collect();
    let external: Vec<&str> =
        spec["externalIPs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    vec![
        name(object),
        spec["type"].clone(),
        or_none(text(spec, &["clusterIP"])),
        or_none(&external.join(",")),
        or_none(&ports.join(",")),
        age(object, now),
        or_none(&labels(&spec["selector"]).join(",")),
    ]
}

/// An endpoint slice's row.
pub fn endpoint_slice(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let list = |field: &str| object[field].as_array().cloned().unwrap_or_default();
    let ports: Vec<String> = list("ports")
        .iter()
        .map(|port| port["port"].as_u64().map_or("*".into(), |n| n.to_string()))
        .collect();
    let addresses: Vec<String> = list("endpoints")
        .iter()
        .flat_map(|endpoint| endpoint["addresses"].as_array().cloned().unwrap_or_default())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    let kind = text(object, &["addressType"]);
    vec![name(object), json!(kind), some(&ports), some(&addresses), age(object, now)]
}

/// The first few, and how many more there are.
fn some(words: &[String]) -> Value {
    let shown = words[..words.len().min(SHOWN)].join(",");
    match words.len() {
        0 => json!("<unset>"),
        n if n > SHOWN => json!(format!("{shown} + {} more...", n - SHOWN)),
        _ => json!(shown),
    }
}

/// A network policy's row.
pub fn policy(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    vec![name(object), or_none(&selector(&object["spec"]["podSelector"])), age(object, now)]
}

/// A label selector in kubectl's words.
fn selector(selector: &Value) -> String {
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let (key, values) = (text(expression, &["key"]), &expression["values"]);
        let values: Vec<&str> = values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match text(expression, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    labels(&selector["matchLabels"]).into_iter().chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_and_a_long_list_read_as_in_kubectl() {
        let given = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "x", "operator": "In", "values": ["1", "2"]}, {"key": "y", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&given), "a=b,x in (1,2),!y");
        let words: Vec<String> = ["1", "2", "3", "4", "5"].map(str::to_owned).into();
        assert_eq!((some(&words), some(&words[..2])), (json!("1,2,3 + 2 more..."), json!("1,2")));
    }
}
