//! Profile: a namespace's or service account's labels, which its pods carry under a prefix; and one that allows all.

use crate::failure::Fault;
use crate::kind::Kind;
use crate::store::parts;
use datastore::{Client, Resource};
use serde_json::{Map, Value, json};

const ALLOW_ALL: &str = "projectcalico-default-allow";

/// One profile: `kns.<namespace>`, `ksa.<namespace>.<account>`, or the one that allows all.
pub async fn get(client: &Client, kind: &Kind, name: &str) -> Result<Value, Fault> {
    let object = kind.object(None, name);
    if name == ALLOW_ALL {
        return Ok(allow_all());
    }
    let read = |resource: &'static str| Resource::of_kind(resource).expect("the kind is in the table");
    let found = if let Some(namespace) = name.strip_prefix("kns.") {
        client.get_json(read("Namespace"), None, namespace).await.map(|value| of_namespace(&value))
    } else if let Some((namespace, account)) = name.strip_prefix("ksa.").and_then(|rest| rest.split_once('.'))
    {
        client
            .get_json(read("ServiceAccount"), Some(namespace), account)
            .await
            .map(|value| of_account(&value))
    } else {
        return Err(Fault::NotFound {
            object,
            cause: "profiles are named kns.NAMESPACE or ksa.NAMESPACE.NAME".to_owned(),
        });
    };
    found.map_err(|e| Fault::of(&object, e))
}

/// All profiles. A server without service accounts has none of theirs.
pub async fn list(client: &Client) -> Result<(String, Vec<Value>), Fault> {
    let read = |resource: &'static str| Resource::of_kind(resource).expect("the kind is in the table");
    let failed = |e| Fault::of("Profile()", e);
    let (namespace_version, namespaces) =
        parts(client.list_json(read("Namespace"), None).await.map_err(failed)?);
    let (account_version, accounts) = match client.list_json(read("ServiceAccount"), None).await {
        Err(e) if e.is_not_found() => (String::new(), Vec::new()),
        list => parts(list.map_err(failed)?),
    };
    let profiles = [allow_all()].into_iter();
    let profiles = profiles.chain(namespaces.iter().map(of_namespace)).chain(accounts.iter().map(of_account));
    Ok((format!("{namespace_version}/{account_version}"), profiles.collect()))
}

fn allow_all() -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "Profile",
        "metadata": {"name": ALLOW_ALL, "resourceVersion": "1"},
        "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
    })
}

fn of_namespace(namespace: &Value) -> Value {
    let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
    let version = namespace["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut profile = profile(namespace, format!("kns.{name}"), format!("{version}/"), "pcns.", name);
    profile["spec"]["ingress"] = json!([{"action": "Allow"}]);
    profile["spec"]["egress"] = json!([{"action": "Allow"}]);
    profile
}

fn of_account(account: &Value) -> Value {
    let name = account["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = account["metadata"]["namespace"].as_str().unwrap_or_default();
    let version = account["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    profile(account, format!("ksa.{namespace}.{name}"), format!("/{version}"), "pcsa.", name)
}

fn profile(of: &Value, name: String, version: String, prefix: &str, label: &str) -> Value {
    let given = of["metadata"]["labels"].as_object().into_iter().flatten();
    let mut labels: Map<String, Value> =
        given.map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect();
    labels.insert(format!("{prefix}projectcalico.org/name"), label.into());
    json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "Profile",
        "metadata": {
            "name": name,
            "resourceVersion": version,
            "uid": own_uid(of["metadata"]["uid"].as_str().unwrap_or_default()),
            "creationTimestamp": of["metadata"]["creationTimestamp"],
        },
        "spec": {"labelsToApply": labels},
    })
}

/// A profile's uid: that of its namespace or account with the bits of every byte turned round, but for the two bytes that
/// hold version and variant, so that the two objects are not taken for one.
fn own_uid(uid: &str) -> String {
    let digits: Vec<char> = uid.chars().filter(char::is_ascii_hexdigit).collect();
    let mut out = String::new();
    for (i, pair) in digits.chunks(2).enumerate() {
        let byte = pair.iter().filter_map(|c| c.to_digit(16)).fold(0, |byte, digit| byte << 4 | digit as u8);
        let byte = if i == 6 || i == 8 { byte } else { byte.reverse_bits() };
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out += &format!("{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_a_uid_of_its_own() {
        let uid = own_uid("72d4e0a2-d88c-46ee-a7ed-29f421ea4e22");
        assert_eq!(uid, "4e2b0745-1b31-4677-a7b7-942f84577244");
    }
}
