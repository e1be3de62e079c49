//! Documents of users: read from files, folders and standard input, split, and told from what is no resource.

use crate::failure::Failure;
use crate::kind::Kind;
use model::schema::{self, Field, Type};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A resource that a user wrote.
#[derive(Debug)]
pub struct Document {
    pub kind: &'static Kind,
    pub value: Value,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl Document {
    /// `metadata.name`, empty if there is none.
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.namespace`, if it is given.
    pub fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty())
    }

    /// Takes one value for a resource: it must be of a known kind and version, and have no field that the kind lacks.
    pub fn new(mut value: Value) -> Result<Document, Failure> {
        let (kind, version) = (text(&value["kind"]), text(&value["apiVersion"]));
        let Some(known) = Kind::of_document(&kind).filter(|_| version == "projectcalico.org/v3") else {
            let text = format!(
                "failed to execute command: unknown resource type ({kind}) and/or version ({version})"
            );
            return Err(Failure::new(text));
        };
        let row = schema::find(known.kind).expect("every kind of the command line is in the schema");
        schema::spell(known.kind, &mut value);
        coerce_metadata(&mut value["metadata"]);
        coerce_fields(&mut value["spec"], row.spec);
        if known.kind == "Node" {
            coerce_fields(&mut value["status"], NODE_STATUS);
        }
        let mut unknown = schema::unknown_fields(known.kind, &value);
        if value.get("status").is_some() && !(row.status || known.kind == "Node") {
            unknown.push("status".to_owned());
        }
        if let Some(path) = unknown.first() {
            let field = path.rsplit('.').next().unwrap_or(path);
            return Err(Failure::new(format!(
                "field in document is not recognized or is in the wrong location: {field}"
            )));
        }
        Ok(Document { kind: known, value })
    }
}

/// `status` of a Node, which users may write.
const NODE_STATUS: &[Field] = &[("wireguardPublicKey", Type::Str), ("wireguardPublicKeyV6", Type::Str)];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The largest file, in bytes: an API server takes objects of at most 3 MiB.
const LARGEST: u64 = 16 << 20;

/// Where documents come from.
pub struct Source<'a> {
    /// A file, a folder, or `-` for standard input.
    pub filename: &'a str,
    /// Whether folders in a folder are read, too.
    pub recursive: bool,
    /// Whether a source without documents is no error.
    pub skip_empty: bool,
}

impl Source<'_> {
    /// All documents, in the order of files by name and of documents in a file.
    pub fn read(&self, stdin: &mut dyn Read) -> Result<Vec<Document>, Failure> {
        let documents = self.read_any(stdin)?;
        self.demand(&documents).map_err(Failure::new)?;
        Ok(documents)
    }

    /// Says what is missing of a source that should hold documents and does not.
    pub fn demand(&self, documents: &[Document]) -> Result<(), String> {
        if !documents.is_empty() || self.skip_empty {
            return Ok(());
        }
        let what = if self.is_folder() { "directory" } else { "file" };
        Err(format!("no resources specified in {what} {}", self.filename))
    }

    fn is_folder(&self) -> bool {
        self.filename != "-" && Path::new(self.filename).is_dir()
    }

    /// All documents, or none.
    pub fn read_any(&self, stdin: &mut dyn Read) -> Result<Vec<Document>, Failure> {
        let failed = |path: &Path, e: std::io::Error| {
            Failure::new(format!("failed to execute command: open {}: {}", path.display(), reason(&e)))
        };
        let path = Path::new(self.filename);
        let mut documents = Vec::new();
        if self.filename == "-" {
            documents = parse(&read(stdin).map_err(|e| failed(path, e))?)?;
        } else if self.is_folder() {
            for file in files(path, self.recursive).map_err(|e| failed(path, e))? {
                let text = File::open(&file).and_then(|mut opened| read(&mut opened));
                documents.extend(parse(&text.map_err(|e| failed(&file, e))?)?);
            }
        } else {
            let text = File::open(path).and_then(|mut opened| read(&mut opened));
            documents = parse(&text.map_err(|e| failed(path, e))?)?;
        }
        Ok(documents)
    }
}

/// A whole source, unless it is too large to be what somebody wrote.
fn read(source: &mut dyn Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        let why = format!("it is larger than {} MiB: split it into several files", LARGEST >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// The operating system's words without the number that Rust adds.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The files of a folder that hold documents, by name; those of inner folders where their folder's name stands.
fn files(folder: &Path, recursive: bool) -> std::io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let is_document =
            path.extension().is_some_and(|ext| ["json", "yaml", "yml"].iter().any(|known| ext == *known));
        match path.is_dir() {
            true if recursive => found.extend(files(&path, true)?),
            false if is_document => found.push(path),
            _ => {}
        }
    }
    Ok(found)
}

/// Aliases may repeat a part here and there. What would grow to thousands of parts by them is an attack.
fn frugal() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.alias_limits.max_total_replayed_events = 10_000;
    options
}

/// The documents of a text: YAML or JSON, one or several, each a resource, a list of a kind, or an array of resources.
pub fn parse(text: &str) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for part in split(text.trim_start_matches('\u{feff}')) {
        let value: Value = serde_saphyr::from_str_with_options(&part, frugal()).map_err(|e| not_yaml(&e))?;
        match value {
            Value::Null => {}
            Value::Array(items) => flatten(items, &mut documents)?,
            Value::Object(mut list) if list.contains_key("items") && !list.contains_key("spec") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => flatten(items, &mut documents)?,
                    _ => documents.push(Document::new(Value::Object(list))?),
                }
            }
            Value::Object(object) => documents.push(Document::new(Value::Object(object))?),
            other => {
                return Err(Failure::new(format!("failed to execute command: `{other}` is not a resource")));
            }
        }
    }
    Ok(documents)
}

fn flatten(items: Vec<Value>, documents: &mut Vec<Document>) -> Result<(), Failure> {
    for item in items {
        if !item.is_object() {
            return Err(Failure::new(format!(
                "failed to execute command: `{item}` in a list is not a resource"
            )));
        }
        documents.push(Document::new(item)?);
    }
    Ok(())
}

/// The parts between lines that begin with `---`, without those that hold only space and comments.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        let after = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match after {
            Some(rest) => parts.push(format!("{rest}\n")),
            None => {
                let part = parts.last_mut().expect("there is always a part");
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    let says_something =
        |part: &String| part.lines().any(|line| !matches!(line.trim().chars().next(), None | Some('#')));
    parts.into_iter().filter(says_something).collect()
}

fn not_yaml(error: &serde_saphyr::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let line = error.location().map_or_else(String::new, |at| format!("line {}: ", at.line()));
    Failure::new(format!("failed to execute command: error converting YAML to JSON: yaml: {line}{first}"))
}

/// Numbers and booleans where text is meant become text (`name: 123`), as Calico takes them.
fn coerce_fields(value: &mut Value, fields: &[Field]) {
    for (name, kind) in fields {
        if let Some(value) = value.get_mut(name) {
            coerce(value, *kind);
        }
    }
}

fn coerce(value: &mut Value, kind: Type) {
    match kind {
        Type::Str | Type::Duration => to_text(value),
        Type::List(item) => value.as_array_mut().into_iter().flatten().for_each(|value| coerce(value, *item)),
        Type::Object(fields) => coerce_fields(value, fields),
        // `1e3` is a whole number.
        Type::Int | Type::IntOrStr => {
            if let Some(whole) =
                value.as_f64().filter(|n| value.is_f64() && n.fract() == 0.0 && n.abs() < 1e15)
            {
                *value = (whole as i64).into();
            }
        }
        Type::Bool | Type::Number | Type::Map => {}
    }
}

fn coerce_metadata(metadata: &mut Value) {
    for field in ["name", "namespace", "resourceVersion"] {
        if let Some(value) = metadata.get_mut(field) {
            to_text(value);
        }
    }
    for map in ["labels", "annotations"] {
        metadata
            .get_mut(map)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
            .for_each(|(_, value)| to_text(value));
    }
}

fn to_text(value: &mut Value) {
    if value.is_number() || value.is_boolean() {
        *value = Value::String(value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n";

    fn names(text: &str) -> String {
        match parse(text) {
            Ok(documents) => documents.iter().map(|d| format!("{}/{} ", d.kind.kind, d.name())).collect(),
            Err(failure) => failure.text,
        }
    }

    #[test]
    fn documents_are_found_wherever_they_stand() {
        let (a, b) = (format!("{SET}metadata: {{name: a}}\n"), format!("{SET}metadata: {{name: b}}\n"));
        let two = "GlobalNetworkSet/a GlobalNetworkSet/b ";
        assert_eq!(names(&format!("{a}---\n{b}---\n")), two);
        assert_eq!(names(&format!("--- # c\n{a}\n--- # c\n{b}")), two);
        assert_eq!(names(&format!("\u{feff}{a}")), "GlobalNetworkSet/a ");
        let item = |name: &str| {
            format!(r#"{{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{{"name":{name}}}}}"#)
        };
        assert_eq!(names(&format!("[{},{}]", item("\"a\""), item("1"))), "Tier/a Tier/1 ");
        assert_eq!(names(&format!(r#"{{"kind":"TierList","items":[{}]}}"#, item("\"a\""))), "Tier/a ");
        let inner =
            format!("{SET}metadata:\n  name: a\n  annotations:\n    x: |\n      y\n      ---\n      z\n");
        assert_eq!(names(&inner), "GlobalNetworkSet/a ");
        assert_eq!(names("# nothing\n---\n"), "");
    }

    #[test]
    fn what_is_no_resource_is_named() {
        let unknown =
            "failed to execute command: unknown resource type (Foo) and/or version (projectcalico.org/v3)";
        assert_eq!(names("apiVersion: projectcalico.org/v3\nkind: Foo\n"), unknown);
        let field = "field in document is not recognized or is in the wrong location: nosuch";
        assert_eq!(names(&format!("{SET}spec:\n  nosuch: 1\n")), field);
        assert_eq!(names("a"), "failed to execute command: `\"a\"` is not a resource");
        let broken = names("foo: [bar\n");
        assert!(
            broken.starts_with("failed to execute command: error converting YAML to JSON: yaml: line "),
            "{broken}"
        );
        assert!(!broken.contains('\n'), "{broken}");
    }
}
