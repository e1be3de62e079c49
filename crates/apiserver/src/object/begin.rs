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
    complete(kind, object);
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
                ("securityContext", json!({})),
            ] {
                default(&mut object["spec"], field, value);
            }
            object["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
        }
        "services" => {
            default(&mut object["spec"], "type", json!("ClusterIP"));
            default(&mut object["spec"], "sessionAffinity", json!("None"));
            default(&mut object["spec"], "internalTrafficPolicy", json!("Cluster"));
            object["status"] = json!({ "loadBalancer": {} });
        }
        "secrets" => {
            default(object, "type", json!("Opaque"));
            encode_texts(object);
        }
        "networkpolicies.networking.k8s.io" => {
            let spec = &mut object["spec"];
            let egress = spec.get("egress").is_some();
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            default(spec, "podSelector", json!({}));
            default(spec, "policyTypes", types);
        }
        "nodes" => {
            default(object, "spec", json!({}));
            default(object, "status", json!({}));
        }
        _ => {}
    }
}

/// What containers and ports leave out.
pub fn complete(kind: &Kind, object: &mut Value) {
    match kind.resource.as_str() {
        "pods" => list(object, "/spec/containers").for_each(complete_container),
        "services" => {
            for port in list(object, "/spec/ports") {
                default(port, "protocol", json!("TCP"));
                let own = port["port"].clone();
                default(port, "targetPort", own);
            }
        }
        "endpointslices.discovery.k8s.io" => {
            list(object, "/ports").for_each(|port| default(port, "protocol", json!("TCP")));
        }
        "networkpolicies.networking.k8s.io" => {
            for rules in ["/spec/ingress", "/spec/egress"] {
                for rule in list(object, rules) {
                    list(rule, "/ports").for_each(|port| default(port, "protocol", json!("TCP")));
                }
            }
        }
        _ => {}
    }
}

fn complete_container(container: &mut Value) {
    list(container, "/ports").for_each(|port| default(port, "protocol", json!("TCP")));
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':'));
    let latest = tag.is_none_or(|(_, tag)| tag == "latest") && !image.contains('@');
    let pull = if latest { "Always" } else { "IfNotPresent" };
    for (field, value) in [
        ("imagePullPolicy", json!(pull)),
        ("resources", json!({})),
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
    ] {
        default(container, field, value);
    }
}

/// The objects of a list.
fn list<'v>(value: &'v mut Value, path: &str) -> impl Iterator<Item = &'v mut Value> {
    let items = value.pointer_mut(path).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter(|item| item.is_object())
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
