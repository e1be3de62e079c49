//! Which namespace a resource is in, by its document and the `--namespace` flag.

use crate::failure::Fault;
use crate::kind::Kind;

/// The namespace: the document's, else the flag's, else `default`; `None` for a cluster-wide kind.
pub fn of(kind: &Kind, document: Option<&str>, flag: Option<&str>) -> Result<Option<String>, Fault> {
    match (kind.namespaced(), document, flag) {
        (false, None, None) => Ok(None),
        (false, _, Some(_)) => Err(Fault::NotNamespaced(kind.kind.to_owned())),
        (false, Some(_), None) => Err(Fault::Namespaced(kind.kind.to_owned())),
        (true, Some(document), Some(client)) if document != client => {
            Err(Fault::OtherNamespace { document: document.to_owned(), client: client.to_owned() })
        }
        (true, document, flag) => Ok(Some(document.or(flag).unwrap_or("default").to_owned())),
    }
}
