//! `create`, `apply`, `replace`, `delete` and `validate`: one document after the other; a bad one does not stop the rest.

use crate::cli::{CreateArgs, DeleteArgs, FileArgs, SourceArgs};
use crate::document::Document;
use crate::failure::{Failure, Fault};
use crate::kind::Kind;
use crate::namespace;
use crate::session::Session;
use crate::store::{Store, Write};
use model::schema;

/// What came of several documents.
struct Done {
    /// How many there were.
    all: usize,
    good: usize,
    faults: Vec<Fault>,
    /// ` 'Kind'`, if all are of one kind.
    kind: String,
}

impl Done {
    fn of(kinds: &[&'static Kind]) -> Done {
        let kind = match kinds {
            [first, rest @ ..] if rest.iter().all(|kind| kind.kind == first.kind) => {
                format!(" '{}'", first.kind)
            }
            _ => String::new(),
        };
        Done { all: kinds.len(), good: 0, faults: Vec::new(), kind }
    }

    fn count(&mut self, result: Result<(), Fault>) {
        match result {
            Ok(()) => self.good += 1,
            Err(fault) => self.faults.push(fault),
        }
    }

    /// Says what was done, then fails with what was not.
    ///
    /// Differs from Calico: the number of resources that were handled is right, also where a bad one stands between good ones.
    fn report(self, session: &mut Session<'_>, verb: &str, done: &str) -> Result<(), Failure> {
        let Done { all, good, faults, kind } = self;
        if all == 0 {
            return session.print("No resources specified\n");
        }
        if faults.is_empty() {
            return session.print(&format!("Successfully {done} {good}{kind} resource(s)\n"));
        }
        let texts: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let list = format!("[{}]", texts.join(" "));
        if good == 0 && all == 1 {
            return Err(Failure::new(format!("failed to {verb}{kind} resource: {list}")));
        }
        if good > 0 {
            session.print(&format!("Partial success: {done} {good} out of {all}{kind} resources:\n"))?;
        }
        let what = if verb == "create" { "hit error" } else { "hit error(s)" };
        Err(Failure::new(format!("{what}: {list}")))
    }
}

fn kinds(documents: &[Document]) -> Vec<&'static Kind> {
    documents.iter().map(|document| document.kind).collect()
}

/// `create`, `apply` or `replace`.
pub async fn run(
    session: &mut Session<'_>,
    args: &FileArgs,
    write: Write,
    skip_exists: bool,
) -> Result<(), Failure> {
    let documents = args.from.source().read(session.io.stdin)?;
    let mut done = Done::of(&kinds(&documents));
    if !documents.is_empty() {
        let store = session.store().await?;
        for document in &documents {
            let result = write_one(&store, document, args.namespace.as_deref(), write).await;
            done.count(match result {
                Err(Fault::AlreadyExists { .. }) if skip_exists => Ok(()),
                other => other,
            });
        }
    }
    let (verb, past) = match write {
        Write::Create => ("create", "created"),
        Write::Apply => ("apply", "applied"),
        Write::Replace | Write::Patch => ("replace", "replaced"),
    };
    done.report(session, verb, past)
}

/// `create`.
pub async fn create(session: &mut Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    run(session, &args.file, Write::Create, args.skip_exists).await
}

async fn write_one(
    store: &Store,
    document: &Document,
    flag: Option<&str>,
    write: Write,
) -> Result<(), Fault> {
    let namespace = namespace::of(document.kind, document.namespace(), flag)?;
    store.write(document.kind, namespace.as_deref(), &document.value, write).await.map(|_| ())
}

/// `validate`: what can be said without the API.
pub fn validate(session: &mut Session<'_>, args: &SourceArgs) -> Result<(), Failure> {
    let documents = args.source().read(session.io.stdin)?;
    let mut done = Done::of(&kinds(&documents));
    for document in &documents {
        done.count(validate_one(document));
    }
    done.report(session, "validate", "validated")
}

fn validate_one(document: &Document) -> Result<(), Fault> {
    namespace::of(document.kind, document.namespace(), None)?;
    schema::validate(document.kind.kind, document.value.clone(), None)?;
    Ok(())
}

/// `delete`, by kind and names or by file.
pub async fn delete(session: &mut Session<'_>, args: &DeleteArgs) -> Result<(), Failure> {
    let selection = &args.selection;
    let flag = selection.namespace.as_deref();
    let mut targets: Vec<(&'static Kind, Option<String>, String)> = Vec::new();
    if let Some(source) = selection.source() {
        for document in source.read(session.io.stdin)? {
            let namespace = document.namespace().map(str::to_owned);
            targets.push((document.kind, namespace, document.name().to_owned()));
        }
    } else {
        let word = selection.kind.as_deref().unwrap_or_default();
        let unsupported = || Failure::new(format!("resource type '{word}' is not supported"));
        let kind = Kind::named(word).ok_or_else(unsupported)?;
        let names = if selection.names.is_empty() { vec![String::new()] } else { selection.names.clone() };
        targets.extend(names.into_iter().map(|name| (kind, None, name)));
    }
    let mut done = Done::of(&targets.iter().map(|target| target.0).collect::<Vec<_>>());
    if !targets.is_empty() {
        let store = session.store().await?;
        for (kind, namespace, name) in &targets {
            let result = match namespace::of(kind, namespace.as_deref(), flag) {
                Ok(namespace) => store.delete(kind, namespace.as_deref(), name).await,
                Err(fault) => Err(fault),
            };
            done.count(match result {
                Err(Fault::NotFound { .. }) if args.skip_not_exists => Ok(()),
                other => other,
            });
        }
    }
    if done.faults.is_empty() {
        return done.report(session, "delete", "deleted");
    }
    if done.good > 0 {
        session.print(&format!("Successfully deleted {}{} resource(s)\n", done.good, done.kind))?;
    }
    let line = |fault: &Fault| format!("Failed to delete{} resource: {fault}\n", done.kind);
    Err(Failure::new(done.faults.iter().map(line).collect::<String>()))
}
