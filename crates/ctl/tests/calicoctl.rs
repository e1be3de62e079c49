//! What a real `calicoctl` 3.32.1 said to manifests and commands, and what it stored (`golden/calicoctl`, a file for each
//! part): ours must say and store the same.
//!
//! ```text
//!   a manifest: setup ──► validate ──► apply ──► get -o json ──► delete       steps: one command after the other
//!                            │           │           │                           │
//!                         refusal     refusal     what is stored            exit, stdout, stderr
//! ```
//!
//! Where we differ on purpose stands in `golden/calicoctl/differences.txt`, under headings that are subjects of
//! `docs/compatibility.md`; an entry that does not differ any more fails the test. Read as the same everywhere:
//!
//! * what Go's JSON and YAML decoders say, which name Go's types: only that it is refused counts;
//! * the reason behind `with error:`, which each datastore gives in its own words, and metadata that each fills itself;
//! * `validate`: it says what `apply` says, as far as that can be known without the datastore. Calico's own looks at less,
//!   and at some things twice.

mod support;

use model::v3;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::{Cli, OWN, differences, without_own};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/calicoctl");

#[derive(Deserialize)]
struct Record {
    id: String,
    /// Applied first.
    #[serde(default)]
    setup: Vec<String>,
    manifest: Option<String>,
    /// What `apply` printed when it refused.
    refused: Option<String>,
    /// The first line with which it went down instead.
    panics: Option<String>,
    /// What it printed when that was not the usual sentence.
    said: Option<String>,
    /// Whether the order of what it printed changed from run to run.
    #[serde(default)]
    unordered: bool,
    /// What `validate` printed where that is not what `apply` printed; empty where it found nothing.
    validate: Option<String>,
    stored: Option<Value>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    args: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    exit: u8,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

/// The entries of one part that differ: `id` and what differs, and how.
#[derive(Default)]
struct Differing(BTreeMap<String, String>);

impl Differing {
    fn compare(&mut self, id: &str, what: &str, ours: &str, theirs: &str) {
        if ours.trim_end() != theirs.trim_end() {
            self.note(id, what, format!("ours:   {ours}\n    theirs: {theirs}"));
        }
    }

    fn note(&mut self, id: &str, what: &str, how: String) {
        let all = self.0.entry(id.to_owned()).or_default();
        *all += &format!("\n  {what}:\n    {how}");
    }
}

async fn replay(part: &str) {
    let text = std::fs::read_to_string(format!("{DIR}/{part}.jsonl")).expect("a part");
    let mut differing = Differing::default();
    let cli = start(&BTreeSet::new()).await;
    let mut ids = BTreeSet::new();
    for line in text.lines() {
        let record: Record = serde_json::from_str(line).expect("a record");
        assert!(ids.insert(record.id.clone()), "{} is there twice", record.id);
        let nodes = nodes_of(&record);
        if record.manifest.is_some() && !nodes.is_empty() {
            manifest(&start(&nodes).await, &record, &mut differing).await;
        } else if record.manifest.is_some() {
            manifest(&cli, &record, &mut differing).await;
        } else {
            steps(&record, &mut differing).await;
        }
    }
    let intended = intended();
    let is_of_part = |entry: &&String| ids.contains(record_of(entry));
    let of_part: BTreeSet<&String> = intended.iter().filter(is_of_part).collect();
    let wrong: Vec<String> = differing
        .0
        .iter()
        .filter(|(id, _)| !of_part.contains(id))
        .map(|(id, how)| format!("{id}{how}"))
        .collect();
    let same: Vec<&&String> = of_part.iter().filter(|id| !differing.0.contains_key(**id)).collect();
    println!("{part}: {} entries, {} differ on purpose", ids.len(), of_part.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), ids.len(), wrong.join("\n"));
    assert!(same.is_empty(), "these do not differ any more: {same:?}");
}

/// The record of an entry: a manifest, or one step of several (`id step 3`).
fn record_of(entry: &str) -> &str {
    entry.split_once(" step ").map_or(entry, |(id, _)| id)
}

/// The entries that differ on purpose, each of a subject of `docs/compatibility.md`.
fn intended() -> BTreeSet<String> {
    differences(DIR).into_iter().map(|(entry, _)| entry).collect()
}

#[test]
fn every_difference_is_recorded_once() {
    let mut known = BTreeSet::new();
    for file in std::fs::read_dir(DIR).expect("a folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let is_part = path.extension().is_some_and(|ext| ext == "jsonl");
        let records = text.lines().filter(|_| is_part).map(serde_json::from_str::<Record>);
        known.extend(records.map(|record| record.expect("a record").id));
    }
    let mut listed = BTreeSet::new();
    for (line, _) in differences(DIR) {
        assert!(known.contains(record_of(&line)), "{line} is not recorded");
        assert!(listed.insert(line.clone()), "{line} is listed twice");
    }
}

/// The names of the Nodes that a record writes. Kubernetes has them before anybody writes what is Calico's in them.
fn nodes_of(record: &Record) -> BTreeSet<String> {
    let files = record.steps.iter().flat_map(|step| step.files.values());
    let texts = files.chain(&record.manifest).map(String::as_str);
    let documents = texts.flat_map(|text| text.split("---\n")).filter(|text| text.contains("kind: Node\n"));
    let names = documents.filter_map(|text| text.split_once("  name: ")?.1.lines().next());
    let names = names.map(|name| name.trim_matches('"').to_owned());
    let is_name =
        |name: &String| (1..64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    names.filter(is_name).collect()
}

/// What the commands found when they were recorded, and the namespaces and nodes that a Kubernetes has for itself.
async fn start(nodes: &BTreeSet<String>) -> Cli {
    let cli = Cli::empty().await;
    for name in nodes {
        cli.create("Node", json!({"metadata": {"name": name}})).await;
    }
    for namespace in ["a-b", "ns1", "ns2", "x"] {
        cli.create("Namespace", json!({"metadata": {"name": namespace}})).await;
    }
    for (tier, order, action) in
        [("kube-admin", 1_000, "Pass"), ("default", 1_000_000, "Deny"), ("kube-baseline", 10_000_000, "Pass")]
    {
        let spec = json!({"order": order, "defaultAction": action});
        cli.create("Tier", json!({"metadata": {"name": tier}, "spec": spec})).await;
    }
    let spec = json!({"clusterGUID": GUID, "datastoreReady": true});
    cli.create("ClusterInformation", json!({"metadata": {"name": "default"}, "spec": spec})).await;
    cli
}

/// As long as a real one, so that the columns are as wide.
const GUID: &str = "0123456789abcdef0123456789abcdef";

async fn manifest(cli: &Cli, record: &Record, differing: &mut Differing) {
    let id = &record.id;
    let file = cli.file("m.yaml", record.manifest.as_deref().expect("a manifest"));
    let run = async |verb: &str| cli.line(&format!("{verb} -f {file}")).await;
    for (i, setup) in record.setup.iter().enumerate() {
        let setup = cli.file(&format!("setup{i}.yaml"), setup);
        assert_eq!(cli.line(&format!("apply -f {setup}")).await.status, 0, "{id}");
    }
    let validated = run("validate").await;
    let applied = run("apply").await;
    let refused = record.refused.as_deref().unwrap_or_default();
    if record.panics.is_some() {
        differing.note(id, "apply", applied.to_string());
    } else if is_gos(refused) {
        differing.compare(id, "apply", &(applied.status == 1).to_string(), "true");
    } else {
        let said = |text: &str| match record.unordered {
            true => sorted(text),
            false => without_reasons(text),
        };
        differing.compare(id, "apply", &said(&applied.stderr), &said(refused));
    }
    let as_applied = validated.stderr.replacen("failed to validate", "failed to apply", 1);
    if as_applied != applied.stderr {
        let as_refused = refused.replacen("failed to apply", "failed to validate", 1);
        let theirs = record.validate.as_deref().unwrap_or(&as_refused);
        let (ours, theirs) = match is_gos(theirs) {
            true => ((validated.status == 1).to_string(), "true"),
            false => (validated.stderr.clone(), theirs),
        };
        differing.compare(id, "validate", &ours, theirs);
    }
    if applied.status == 0 {
        if let Some(said) = &record.said {
            differing.compare(id, "said", &applied.stdout, said);
        }
        let got = run("get -o json").await;
        let got: Value = serde_json::from_str(&got.stdout).unwrap_or_default();
        let (ours, theirs) = (own(got), own(record.stored.clone().unwrap_or_default()));
        differing.compare(id, "stored", &ours.to_string(), &theirs.to_string());
        if let Err(e) = read_back(&ours) {
            differing.note(id, "read back", e.to_string());
        }
        run("delete").await;
    }
    for i in 0..record.setup.len() {
        cli.line(&format!("delete --skip-not-exists -f {}", cli.path(&format!("setup{i}.yaml")))).await;
    }
}

/// Whether what is stored is what the agent reads.
fn read_back(object: &Value) -> Result<(), serde_json::Error> {
    match object["kind"].as_str() {
        Some("IPPool") => v3::IpPool::deserialize(object).map(drop),
        Some("BGPConfiguration") => v3::BgpConfiguration::deserialize(object).map(drop),
        Some("BGPFilter") => v3::BgpFilter::deserialize(object).map(drop),
        Some("BGPPeer") => v3::BgpPeer::deserialize(object).map(drop),
        Some("FelixConfiguration") => v3::FelixConfiguration::deserialize(object).map(drop),
        Some("IPReservation") => v3::IpReservation::deserialize(object).map(drop),
        Some("Node") => v3::Node::deserialize(object).map(drop),
        _ => Ok(()),
    }
}

/// Whether the text is that of Go's decoders.
fn is_gos(text: &str) -> bool {
    ["json: ", "error converting YAML", "strconv.", "unmarshal"].iter().any(|word| text.contains(word))
}

/// An object without what each store fills in its own way.
fn own(mut object: Value) -> Value {
    if let Some(items) = object.as_array_mut() {
        return items.iter_mut().map(|item| own(item.take())).collect();
    }
    forget(&mut object["metadata"], &OWN);
    if object["kind"] == "Node" {
        // What Kubernetes knows of a node by itself, and does not let others write.
        forget(&mut object["metadata"], &["annotations", "labels"]);
        forget(&mut object["spec"], &["addresses", "orchRefs"]);
    }
    object
}

fn forget(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

async fn steps(record: &Record, differing: &mut Differing) {
    let cli = start(&nodes_of(record)).await;
    for (i, step) in record.steps.iter().enumerate() {
        for (name, text) in &step.files {
            let path = cli.path(name);
            let folder = std::path::Path::new(&path).parent().expect("a folder");
            std::fs::create_dir_all(folder).expect("made");
            cli.file(name, text);
        }
        let got = cli.run_here(&step.args, &step.stdin).await;
        let id = format!("{} step {i}", record.id);
        let at = step.args.join(" ");
        differing.compare(&id, &format!("{at}: exit"), &got.status.to_string(), &step.exit.to_string());
        differing.compare(&id, &format!("{at}: stdout"), &plain(&got.stdout), &plain(&step.stdout));
        if !is_gos(&step.stderr) {
            let said = |text: &str| if record.unordered { sorted(text) } else { plain(text) };
            differing.compare(&id, &format!("{at}: stderr"), &said(&got.stderr), &said(&step.stderr));
        }
    }
}

/// Without what each store says in its own words.
fn plain(text: &str) -> String {
    without_reasons(&without_own(text)).replace(GUID, "GUID")
}

/// The lines in one order, and the words of a line that lists some.
fn sorted(text: &str) -> String {
    let words = |line: &str| match line.split_once("valid values are: ") {
        Some((before, list)) => {
            let mut words: Vec<&str> = list.split(", ").collect();
            words.sort_unstable();
            format!("{before}{}", words.join(", "))
        }
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(words).collect();
    lines.sort();
    lines.join("\n")
}

fn without_reasons(text: &str) -> String {
    let reason = |line: &str| match line.split_once(" with error:") {
        Some((object, rest)) => format!("{object}{}", if rest.ends_with(']') { "]" } else { "" }),
        None => line.to_owned(),
    };
    text.lines().map(|line| reason(line) + "\n").collect()
}

macro_rules! parts {
    ($($name:ident: $part:literal,)*) => {
        $(#[tokio::test]
        async fn $name() {
            replay($part).await;
        })*
    };
}

parts! {
    aliases: "Aliases",
    bgp_configurations: "BGPConfiguration",
    bgp_filters: "BGPFilter",
    bgp_peers: "BGPPeer",
    cluster_information: "ClusterInformation",
    defaults: "Defaults",
    documents: "Documents",
    felix_configurations: "FelixConfiguration",
    ip_pools: "IPPool",
    ip_reservations: "IPReservation",
    nodes: "Node",
    output_formats: "OutputFormats",
    scenarios: "Scenarios",
    selectors: "Selectors",
    tables: "Tables",
    unsupported_kinds: "UnsupportedKinds",
}
