//! What Kubernetes fills in when an object is created.

use super::{remove, tidy};
use crate::kinds::Kind;
use serde_json::{Value, json};

/// Fills in what somebody here reads.
pub fn fill_in(kind: &Kind, object: &mut Value) {
    if kind.calico.is_some() && kind.status {
        remove(object, "status");
    }
    tidy(&mut object["metadata"]);
    complete_ports(kind, object);
    match kind.resource.as_str() {
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        "pods" => {
            for (field, value) in [
                ("restartPolicy", json!("Always")),
                ("terminationGracePeriodSeconds", json!(30)),
                ("dnsPolicy", json!("ClusterFirst")),
                ("serviceAccountName", json!("default")),
                ("schedulerName", json!("default-scheduler")),
                ("enableServiceLinks", json!(true)),
            ] {
                default(&mut object["spec"], field, value);
            }
            object["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
        }
        "services" => {
            default(&mut object["spec"], "type", json!("ClusterIP"));
            default(&mut object["spec"], "sessionAffinity", json!("None"));
            object["status"] = json!({ "loadBalancer": {} });
        }
        "secrets" => {
            default(object, "type", json!("Opaque"));
            encode_texts(object);
        }
        "nodes" => {
            default(object, "spec", json!({}));
            default(object, "status", json!({}));
        }
        _ => {}
    }
}

/// What a port leaves out: its protocol, and of a service's the port that it leads to.
pub fn complete_ports(kind: &Kind, object: &mut Value) {
    match kind.resource.as_str() {
        "pods" => {
            let containers = object.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let ports = container.get_mut("ports").and_then(Value::as_array_mut);
                ports.into_iter().flatten().for_each(|port| default(port, "protocol", json!("TCP")));
            }
        }
        "services" => {
            let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                default(port, "protocol", json!("TCP"));
                let own = port["port"].clone();
                default(port, "targetPort", own);
            }
        }
        _ => {}
    }
}

/// `stringData` of a secret is only a way to write `data`.
pub fn encode_texts(secret: &mut Value) {
    let texts = secret["stringData"].as_object().cloned().unwrap_or_default();
    for (key, value) in texts {
        let text = value.as_str().unwrap_or_default();
        secret["data"][key] = json!(data_encoding::BASE64.encode(text.as_bytes()));
    }
    remove(secret, "stringData");
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

/// Five characters for `generateName`, from Kubernetes' alphabet (no vowels, nothing that looks alike).
pub fn suffix(uid: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit);
    let number = digits
        .take(12)
        .fold(0_u64, |n, digit| n << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0)));
    (0..5).map(|i| char::from(ALPHABET[(number / 27_u64.pow(i) % 27) as usize])).collect()
}
