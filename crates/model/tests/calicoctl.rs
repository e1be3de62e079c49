//! What `calicoctl apply` of Project Calico v3.32.1 said to 726 manifests, and what it stored: `model::schema` must say and
//! store the same. `fixtures/calicoctl-apply.jsonl` holds its recorded answers, one a line, those about BGP in a file of
//! their own.

use model::{Cidr, schema, v3};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Record {
    id: String,
    object: Value,
    #[serde(default)]
    setup: Vec<Value>,
    /// What stood between the brackets of `failed to apply 'IPPool' resource: […]`.
    error: Option<String>,
    stored: Option<Value>,
    /// Whether it could not be read into Go's types at all: we refuse it too, in our own words.
    #[serde(default)]
    undecodable: bool,
}

/// Where we differ on purpose.
const DIFFERENT: &[&str] = &[
    // An IPv4 network in IPv6 form is no subnet for us; Calico stores some of them.
    "ippool/cidr-ffff-10-0-0-0-112",
    // An EUI-64 cannot be the address of a VXLAN device.
    "node/vxlantunnelmacaddr-02-00-5e-10-00-00-00-01",
    // Calico prints what its memory holds, addresses included.
    "bgpconfiguration/nodetonodemeshenabled-password-mesh-off",
    "bgpfilter/importv4-two-ops-in-one",
    // Newer versions have two words more.
    "bgpconfiguration/programclusterroutes-enabled-2",
];

fn records() -> Vec<Record> {
    let files =
        [include_str!("fixtures/calicoctl-apply.jsonl"), include_str!("fixtures/calicoctl-apply-bgp.jsonl")];
    files
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect()
}

/// What applying the record's object says, the objects of its setup being there.
fn apply(record: &Record) -> Result<Value, String> {
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let kind = text(&record.object, "/kind").expect("a kind");
    if let Some(field) = schema::unknown_fields(&kind, &record.object).first() {
        let name = field.rsplit('.').next().expect("a name");
        return Err(format!("field in document is not recognized or is in the wrong location: {name}"));
    }
    let name = text(&record.object, "/metadata/name");
    let is_old =
        |old: &&Value| text(old, "/metadata/name") == name && text(old, "/kind").as_ref() == Some(&kind);
    let old = record.setup.iter().find(is_old);
    let object = schema::validate(&kind, record.object.clone(), old).map_err(|e| format!("{e}"))?;
    let pools: Vec<(String, Cidr)> = record
        .setup
        .iter()
        .filter_map(|pool| Some((text(pool, "/metadata/name")?, text(pool, "/spec/cidr")?.parse().ok()?)))
        .collect();
    let cidr = text(&object, "/spec/cidr").and_then(|cidr| cidr.parse().ok());
    if let (Some(name), Some(cidr)) = (name, cidr)
        && let Some(error) = v3::overlap(&name, cidr, pools.iter().map(|(name, cidr)| (name.as_str(), *cidr)))
    {
        return Err(format!("error with field {error}"));
    }
    Ok(object)
}

#[test]
fn refusals_are_calicos_word_for_word() {
    let mut wrong = Vec::new();
    for record in records() {
        let said = apply(&record).err();
        if record.undecodable {
            assert!(said.is_some(), "{} was taken", record.id);
        } else if (said == record.error) == DIFFERENT.contains(&record.id.as_str()) {
            wrong.push(format!("{}\n  ours:   {said:?}\n  theirs: {:?}", record.id, record.error));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_stored_is_what_calico_stores() {
    const STORED: [&str; 4] = ["IPPool", "BGPConfiguration", "BGPFilter", "BGPPeer"];
    for record in
        records().iter().filter(|record| STORED.contains(&record.object["kind"].as_str().unwrap_or("")))
    {
        let (Ok(object), Some(stored)) = (apply(record), &record.stored) else { continue };
        assert_eq!(without_empty(&object["spec"]), without_empty(&stored["spec"]), "{}", record.id);
    }
}

/// Go leaves most fields out that are empty, and keeps some.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), without_empty(value)));
            let is_empty = |value: &Value| *value == false || *value == "" || *value == json!([]);
            fields.filter(|(_, value)| !is_empty(value)).collect()
        }
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

#[test]
fn what_is_stored_can_be_read_back() {
    for record in records() {
        let Ok(object) = apply(&record) else { continue };
        let read = match object["kind"].as_str() {
            Some("IPPool") => serde_json::from_value::<v3::IpPool>(object).map(drop),
            Some("BGPConfiguration") => serde_json::from_value::<v3::BgpConfiguration>(object).map(drop),
            Some("BGPFilter") => serde_json::from_value::<v3::BgpFilter>(object).map(drop),
            Some("BGPPeer") => serde_json::from_value::<v3::BgpPeer>(object).map(drop),
            Some("IPReservation") => serde_json::from_value::<v3::IpReservation>(object).map(drop),
            _ => serde_json::from_value::<v3::Node>(object).map(drop),
        };
        assert!(read.is_ok(), "{}: {read:?}", record.id);
    }
}
