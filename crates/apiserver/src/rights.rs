//! What a user may do: everything for the admin, for a node what its agent and its kubelet need.
//!
//! Two questions, both pure: may the user do this to that kind (before anything is read), and may it do it to this
//! object (inside the write, on the latest state). A node writes its own Node, its own pods' status and annotations, its own
//! leases, events, addresses, and its account of itself; it reads what the network is made of, and of the secrets, by name,
//! those of the namespaces where the passwords of BGP sessions stand.

use crate::auth::User;
use crate::json;
use crate::kinds::Kind;
use crate::status::Status;
use serde_json::Value;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A stream to a pod.
    Connect,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create | Verb::Connect => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    fn reads(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

/// Whether `user` may do this to objects of `kind`.
pub fn check(
    user: &User,
    verb: Verb,
    kind: &Kind,
    subresource: Option<&str>,
    namespace: &str,
    name: Option<&str>,
) -> Result<(), Status> {
    let User::Node(node) = user else { return Ok(()) };
    if node_may(verb, kind, subresource, namespace) {
        return Ok(());
    }
    let resource = subresource.map_or(kind.plural.to_owned(), |sub| format!("{}/{sub}", kind.plural));
    let scope = match namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User \"system:node:{node}\" cannot {} resource {resource:?} in API group {:?} {scope}",
        verb.word(),
        kind.group
    );
    Err(Status::forbidden(kind, name.unwrap_or_default(), &why))
}

fn node_may(verb: Verb, kind: &Kind, subresource: Option<&str>, namespace: &str) -> bool {
    match (kind.resource.as_str(), verb) {
        ("secrets", verb) => verb == Verb::Get && matches!(namespace, "kube-system" | "calico-system"),
        (_, verb) if verb.reads() => true,
        ("nodes", Verb::Create | Verb::Update | Verb::Patch) => true,
        ("pods", Verb::Update | Verb::Patch) => subresource == Some("status"),
        ("pods", Verb::Delete) => true,
        ("caliconodestatuses.projectcalico.org", Verb::Update | Verb::Patch) => subresource == Some("status"),
        ("events", Verb::Create | Verb::Update | Verb::Patch) => true,
        ("leases.coordination.k8s.io", Verb::Create | Verb::Update | Verb::Patch | Verb::Delete) => true,
        (
            "blockaffinities.projectcalico.org"
            | "ipamblocks.projectcalico.org"
            | "ipamhandles.projectcalico.org",
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete,
        ) => true,
        _ => false,
    }
}

/// Whether `user` may write this object: `before` is what is stored, `after` what would be.
pub fn check_object(
    user: &User,
    kind: &Kind,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<(), Status> {
    let User::Node(node) = user else { return Ok(()) };
    let objects = || [before, after].into_iter().flatten();
    let name = objects().map(|object| json::text(object, &["metadata", "name"])).next().unwrap_or_default();
    match kind.resource.as_str() {
        "nodes" if name != node => Err(Status::forbidden(
            kind,
            name,
            &format!("node {node:?} is not allowed to modify node {name:?}"),
        )),
        "pods" if objects().any(|object| json::text(object, &["spec", "nodeName"]) != node) => {
            let why = format!("node {node:?} can only write pods with spec.nodeName set to itself");
            Err(Status::forbidden(kind, name, &why))
        }
        "caliconodestatuses.projectcalico.org"
            if objects().any(|object| json::text(object, &["spec", "node"]) != node) =>
        {
            let why = format!("node {node:?} can only answer for itself: spec.node must be its name");
            Err(Status::forbidden(kind, name, &why))
        }
        "leases.coordination.k8s.io"
            if name != node
                || !objects().all(|o| json::text(o, &["metadata", "namespace"]) == "kube-node-lease") =>
        {
            let why = format!("node {node:?} can only write the lease of its own name in kube-node-lease");
            Err(Status::forbidden(kind, name, &why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn s30_a_node_writes_only_what_is_its_own() {
        let node = User::Node("n1".into());
        let may = |resource: &str, verb, sub: Option<&str>| {
            let kind = kinds::all().iter().find(|kind| kind.resource == resource).expect(resource);
            check(&node, verb, kind, sub, "default", Some("x")).is_ok()
        };
        for kind in kinds::all() {
            assert_eq!(may(&kind.resource, Verb::List, None), kind.plural != "secrets", "{}", kind.resource);
            assert!(!may(&kind.resource, Verb::DeleteCollection, None), "{}", kind.resource);
        }
        assert!(may("pods", Verb::Patch, Some("status")) && !may("pods", Verb::Patch, None));
        let answer = "caliconodestatuses.projectcalico.org";
        assert!(may(answer, Verb::Update, Some("status")) && !may(answer, Verb::Update, None));
        assert!(may("pods", Verb::Delete, None) && !may("pods", Verb::Create, None));
        assert!(may("ipamblocks.projectcalico.org", Verb::Update, None));
        for resource in
            ["ippools.projectcalico.org", "namespaces", "configmaps", "felixconfigurations.projectcalico.org"]
        {
            for verb in [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete] {
                assert!(!may(resource, verb, None), "{resource} {verb:?}");
            }
        }
        let own =
            |kind: &str, object: Value| check_object(&node, Kind::core(kind), Some(&object), None).is_ok();
        let answer = kinds::find("projectcalico.org", "v3", "caliconodestatuses").expect("a kind");
        for (named, may) in [("n1", true), ("n2", false)] {
            let object = json!({"metadata": {"name": "a"}, "spec": {"node": named}});
            assert_eq!(check_object(&node, answer, Some(&object), Some(&object)).is_ok(), may, "{named}");
        }
        assert!(own("nodes", json!({"metadata": {"name": "n1"}})));
        assert!(!own("nodes", json!({"metadata": {"name": "n2"}})));
        assert!(own("pods", json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}})));
        assert!(!own("pods", json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n2"}})));
        assert!(!own("pods", json!({"metadata": {"name": "a"}, "spec": {}})));
    }

    #[test]
    fn s30_a_node_reads_a_secret_by_name_where_passwords_stand() {
        let node = User::Node("n1".into());
        for (verb, namespace, may) in [
            (Verb::Get, "kube-system", true),
            (Verb::Get, "calico-system", true),
            (Verb::Get, "default", false),
            (Verb::List, "kube-system", false),
            (Verb::Watch, "kube-system", false),
            (Verb::Update, "kube-system", false),
        ] {
            let checked = check(&node, verb, Kind::core("secrets"), None, namespace, Some("bgp"));
            assert_eq!(checked.is_ok(), may, "{verb:?} in {namespace}");
        }
    }

    #[test]
    fn s49_a_node_streams_to_no_pod_not_even_its_own() {
        let node = User::Node("n1".into());
        for stream in ["exec", "attach", "log", "portforward"] {
            let checked =
                check(&node, Verb::Connect, Kind::core("pods"), Some(stream), "default", Some("own"));
            assert!(checked.is_err(), "{stream}");
        }
    }

    #[test]
    fn a_refusal_says_who_may_not_do_what() {
        let error = check(&User::Node("n1".into()), Verb::Create, Kind::core("pods"), None, "default", None);
        assert_eq!(
            error.expect_err("refused").message,
            "pods is forbidden: User \"system:node:n1\" cannot create resource \"pods\" in API group \"\" \
             in the namespace \"default\""
        );
    }
}
