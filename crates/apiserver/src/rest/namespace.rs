//! A namespace and what is in it: nothing is put where no namespace is, and what is in one goes with it.
//!
//! A real cluster's controller does this little by little; here it is part of the write that asks for it.

use crate::kinds::{self, Kind};
use crate::object::{self, DeleteOptions, Next};
use crate::status::Status;
use crate::store::{Tx, Version};
use serde_json::Value;

/// Takes an object away, and its namespace with it if that waits for this.
pub fn remove(tx: &mut Tx<'_>, kind: &'static Kind, object: Value) -> Result<Version, Status> {
    let gone = tx.delete(kind, object)?;
    if kind.namespaced
        && let Some(namespace) = tx.get(Kind::core("namespaces"), "", &gone.namespace)?
        && object::is_marked(&namespace.object())
    {
        finish(tx, &namespace)?;
    }
    Ok(gone)
}

/// Deletes everything in a marked namespace, and the namespace if nothing holds on: then it is given back.
pub fn empty(tx: &mut Tx<'_>, namespace: &Version) -> Result<Option<Version>, Status> {
    for kind in namespaced() {
        for version in tx.list(kind, Some(&namespace.name))? {
            match object::delete(kind, &version.object(), &DeleteOptions::default(), jiff::Timestamp::now())?
            {
                Next::Same => {}
                Next::Put(marked) => {
                    tx.put(kind, marked)?;
                }
                Next::Remove(object) => {
                    tx.delete(kind, object)?;
                }
            }
        }
    }
    finish(tx, namespace)
}

/// Takes a marked namespace away if nothing is in it and no finalizer holds it.
fn finish(tx: &mut Tx<'_>, namespace: &Version) -> Result<Option<Version>, Status> {
    for kind in namespaced() {
        if tx.any(kind, &namespace.name)? {
            return Ok(None);
        }
    }
    let object = namespace.object();
    if object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
        return Ok(None);
    }
    Ok(Some(tx.delete(Kind::core("namespaces"), object)?))
}

fn namespaced() -> impl Iterator<Item = &'static Kind> {
    kinds::all().iter().filter(|kind| kind.namespaced && !kind.is_view())
}

/// A namespace must be there, and not on its way out, before something is put into it.
pub fn check_place(tx: &mut Tx<'_>, kind: &Kind, namespace: &str) -> Result<(), Status> {
    if !kind.namespaced {
        return Ok(());
    }
    let namespaces = Kind::core("namespaces");
    let found = tx.get(namespaces, "", namespace)?.ok_or_else(|| Status::not_found(namespaces, namespace))?;
    if object::is_marked(&found.object()) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Status::forbidden(kind, "", &why));
    }
    Ok(())
}
