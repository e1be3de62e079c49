//! `get`: resources as tables, YAML, JSON, chosen columns or a template.

use crate::cells::Row;
use crate::cli::{GetArgs, Selection};
use crate::failure::{Failure, Fault};
use crate::kind::{Column, Kind};
use crate::namespace;
use crate::output::{json, table, template, yaml};
use crate::session::Session;
use crate::store::{Store, forget};
use serde_json::Value;

/// How resources are printed.
#[derive(Debug, PartialEq, Eq)]
enum Output {
    Narrow,
    Wide,
    Yaml,
    Json,
    Columns(Vec<String>),
    Template(String),
}

impl Output {
    fn parse(text: &str) -> Result<Output, Failure> {
        let (format, rest) = text.split_once('=').unwrap_or((text, ""));
        Ok(match (text, format) {
            ("ps" | "", _) => Output::Narrow,
            ("wide", _) => Output::Wide,
            ("yaml", _) => Output::Yaml,
            ("json", _) => Output::Json,
            (_, "custom-columns") if rest.is_empty() => {
                return Err(Failure::new("need to specify at least one column"));
            }
            (_, "custom-columns") => Output::Columns(rest.split(',').map(str::to_owned).collect()),
            (_, "go-template") if rest.is_empty() => return Err(Failure::new("need to specify a template")),
            (_, "go-template") => Output::Template(rest.to_owned()),
            (_, "go-template-file") if rest.is_empty() => {
                return Err(Failure::new("need to specify a template file"));
            }
            (_, "go-template-file") => {
                let missing = |_| Failure::new(format!("open {rest}: no such file or directory"));
                Output::Template(std::fs::read_to_string(rest).map_err(missing)?)
            }
            _ => return Err(Failure::new(format!("unrecognized output format '{text}'"))),
        })
    }
}

/// A resource, or a list document of one kind.
struct Found {
    kind: &'static Kind,
    value: Value,
}

/// Prints what was asked for and could be read, then fails with what could not.
pub async fn run(session: &mut Session<'_>, args: &GetArgs) -> Result<(), Failure> {
    let output = Output::parse(&args.output)?;
    let selection = &args.selection;
    if args.all_namespaces && selection.namespace.is_some() {
        return Err(Failure::new("cannot use both --namespace and --all-namespaces flags at the same time"));
    }
    let wanted = wanted(session, selection)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let store = session.store().await?;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for want in wanted {
        match read(&store, &want, args).await {
            Ok(value) => found.push(Found { kind: want.kind, value }),
            Err(fault) => faults.push(fault),
        }
    }
    if let [Fault::Api(error)] = &faults[..] {
        return Err(Failure::new(format!("failed to get resources: {error}")));
    }
    if args.export {
        found.iter_mut().for_each(|found| export(&mut found.value));
    }
    let shows_namespace = args.all_namespaces || selection.namespace.is_some();
    let text = match output {
        Output::Narrow | Output::Wide | Output::Columns(_) => {
            tables(&store, &found, &output, shows_namespace).await?
        }
        Output::Yaml => yaml::render(&one_or_all(found)),
        Output::Json => json::render(&one_or_all(found)),
        Output::Template(text) => {
            let values: Vec<Value> = found.into_iter().map(|found| found.value).collect();
            if values.is_empty() { String::new() } else { template::render(&text, &Value::Array(values))? }
        }
    };
    session.print(&text)?;
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))),
    }
}

/// What to read: one resource, or all of a kind.
struct Want {
    kind: &'static Kind,
    namespace: Option<String>,
    name: Option<String>,
}

fn wanted(session: &mut Session<'_>, selection: &Selection) -> Result<Vec<Want>, Failure> {
    let flag = selection.namespace.as_deref();
    if let Some(source) = selection.source() {
        let documents = source.read_any(session.io.stdin)?;
        source.demand(&documents).map_err(|e| Failure::new(format!("failed to get resources: {e}")))?;
        let want = |document: &crate::document::Document| {
            let namespace = namespace::of(document.kind, document.namespace(), flag)?;
            Ok(Want { kind: document.kind, namespace, name: Some(document.name().to_owned()) })
        };
        return documents.iter().map(want).collect::<Result<_, Fault>>().map_err(Failure::from);
    }
    let word = selection.kind.as_deref().unwrap_or_default();
    let unsupported =
        || Failure::new(format!("failed to get resources: resource type '{word}' is not supported"));
    let kind = Kind::named(word).ok_or_else(unsupported)?;
    let namespace = namespace::of(kind, None, flag)?;
    let want = |name: Option<String>| Want { kind, namespace: namespace.clone(), name };
    Ok(match &selection.names[..] {
        [] => vec![want(None)],
        names => names.iter().map(|name| want(Some(name.clone()))).collect(),
    })
}

async fn read(store: &Store, want: &Want, args: &GetArgs) -> Result<Value, Fault> {
    let namespace = want.namespace.as_deref();
    match &want.name {
        Some(name) => store.get(want.kind, namespace, name).await,
        None => store.list(want.kind, namespace.filter(|_| !args.all_namespaces)).await,
    }
}

/// Leaves out what another cluster would refuse or give anew.
fn export(value: &mut Value) {
    const CLUSTER_SPECIFIC: &[&str] =
        &["uid", "resourceVersion", "creationTimestamp", "namespace", "generation"];
    match value.get_mut("items").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(|item| forget(item, CLUSTER_SPECIFIC)),
        None => forget(value, CLUSTER_SPECIFIC),
    }
}

fn one_or_all(mut found: Vec<Found>) -> Value {
    match found.len() {
        0 => Value::Null,
        1 => found.remove(0).value,
        _ => found.into_iter().map(|found| found.value).collect(),
    }
}

/// A table for each resource or list, each followed by an empty line.
async fn tables(
    store: &Store,
    found: &[Found],
    output: &Output,
    shows_namespace: bool,
) -> Result<String, Failure> {
    let mut default_asn = None;
    let mut text = String::new();
    for Found { kind, value } in found {
        let columns = match output {
            Output::Columns(headings) => chosen(kind, headings)?,
            Output::Wide => kind.wide.to_vec(),
            _ => kind.columns.to_vec(),
        };
        if columns.iter().any(|column| column.heading == "ASN")
            && kind.kind == "Node"
            && default_asn.is_none()
        {
            default_asn = Some(default_as_number(store).await);
        }
        let namespace = shows_namespace && kind.namespaced();
        let mut lines = vec![columns.iter().map(|column| column.heading.to_owned()).collect::<Vec<_>>()];
        let documents = value["items"].as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for document in documents {
            let row = Row { document, default_asn: default_asn.as_deref().unwrap_or_default() };
            lines.push(columns.iter().map(|column| row.cell(column.cell)).collect());
        }
        if namespace {
            for (i, line) in lines.iter_mut().enumerate() {
                let cell = match i.checked_sub(1).map(|i| &documents[i]["metadata"]["namespace"]) {
                    None => "NAMESPACE",
                    Some(namespace) => namespace.as_str().unwrap_or_default(),
                };
                line.insert(0, cell.to_owned());
            }
        }
        text += &table::render(&lines);
        text.push('\n');
    }
    Ok(text)
}

fn chosen(kind: &Kind, headings: &[String]) -> Result<Vec<Column>, Failure> {
    let find = |heading: &String| {
        kind.column(heading).ok_or_else(|| {
            let mut known: Vec<&str> =
                kind.wide.iter().chain(kind.columns).map(|column| column.heading).collect();
            known.dedup();
            let wide: std::collections::BTreeSet<&str> =
                kind.wide.iter().map(|column| column.heading).collect();
            known.retain(|heading| wide.contains(heading));
            known.truncate(wide.len());
            Failure::new(format!("unknown heading {heading}, valid values are: {}", known.join(", ")))
        })
    };
    headings.iter().map(find).collect()
}

/// The AS number that nodes without one of their own have.
async fn default_as_number(store: &Store) -> String {
    let kind = Kind::of_document("BGPConfiguration").expect("the kind is in the table");
    let configured =
        store.get(kind, None, "default").await.ok().and_then(|value| match &value["spec"]["asNumber"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            number => Some(number.to_string()),
        });
    configured.unwrap_or_else(|| "64512".to_owned())
}
