//! What nodes rely on of an API server, as cases that `FakeApi` and a real one both pass
//! (`crates/apiserver/tests/fake.rs`): a fake that lies fails here.

use model::Metadata;
use model::k8s::{Condition, Node};
use model::store::{Error, Event, Key, Kind, Object, Reply, Request};
use model::v3::{CalicoNodeStatus, IpPool, IpPoolSpec};
use std::collections::BTreeMap;

/// An API server that is asked, and that tells of changes.
pub trait Server {
    fn request(&mut self, request: Request) -> Reply;
    /// All of a kind; a watch of it begins here.
    fn list(&mut self, kind: Kind) -> Vec<Object>;
    /// What the watch of a kind tells next.
    fn told(&mut self, kind: Kind) -> Event;
}

/// A case panics if it does not hold. Each wants a server on which nothing is yet.
pub type Case = fn(&mut dyn Server);

/// The cases, each named by what it says.
pub const CASES: [(&str, Case); 11] = [
    ("what is created has an identity and a version", created),
    ("what exists is not created again", created_again),
    ("what does not exist is not found", absent),
    ("an update that was overtaken is a conflict", overtaken),
    ("an update that changes nothing is no change", unchanged),
    ("a generation counts changes of what is wanted", generation),
    ("a deletion names what it deletes", deleted),
    ("annotations are merged", annotated),
    ("a condition replaces the one of its type", conditioned),
    ("a status is written apart", status),
    ("a watch tells each change once and in order", watched),
];

fn pool(name: &str) -> Object {
    // No two pools overlap.
    let cidr = if name == "a" { "10.66.0.0/24" } else { "10.67.0.0/24" };
    let spec = serde_json::json!({"cidr": cidr});
    let spec: IpPoolSpec = serde_json::from_value(spec).expect("it is a pool's");
    IpPool { metadata: Metadata::named(name), spec: spec.defaulted() }.into()
}

fn disabled(pool: &Object, disabled: bool) -> Object {
    let Object::IpPool(mut pool) = pool.clone() else { panic!("{pool:?} is no pool") };
    pool.spec.disabled = disabled;
    pool.into()
}

fn node(name: &str) -> Object {
    Node { metadata: Metadata::named(name), ..Node::default() }.into()
}

fn key(kind: Kind, name: &str) -> Key {
    Key::cluster(kind, name.to_owned())
}

fn delete(object: &Object) -> Request {
    let meta = object.metadata();
    Request::Delete {
        key: object.key(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    }
}

/// The object as it is stored after a request that succeeds.
fn stored(server: &mut dyn Server, request: Request) -> Object {
    server.request(request).expect("the request is good").expect("it is no deletion")
}

fn create(server: &mut dyn Server, object: Object) -> Object {
    stored(server, Request::Create(object))
}

fn version(object: &Object) -> &str {
    &object.metadata().resource_version
}

fn created(server: &mut dyn Server) {
    let made = create(server, pool("a"));
    let meta = made.metadata();
    assert!(!meta.uid.is_empty() && !meta.resource_version.is_empty(), "{meta:?}");
    assert_eq!(meta.generation, 1);
    assert_eq!(stored(server, Request::Get(made.key())), made);
}

fn created_again(server: &mut dyn Server) {
    let made = create(server, pool("a"));
    assert_eq!(server.request(Request::Create(pool("a"))), Err(Error::AlreadyExists));
    let mut versioned = pool("b");
    versioned.metadata_mut().resource_version = version(&made).to_owned();
    let refused = server.request(Request::Create(versioned));
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(server.request(Request::Get(key(Kind::IpPool, "b"))), Err(Error::NotFound));
}

fn absent(server: &mut dyn Server) {
    let gone = create(server, pool("a"));
    assert_eq!(server.request(delete(&gone)), Ok(None));
    let annotations = BTreeMap::from([("x".to_owned(), Some("y".to_owned()))]);
    let requests = [
        Request::Get(gone.key()),
        Request::Update(gone.clone()),
        delete(&gone),
        Request::Annotate { key: key(Kind::Node, "nobody"), annotations },
        Request::Condition {
            key: key(Kind::Node, "nobody"),
            condition: condition("Ready", "True"),
            turned: true,
        },
    ];
    for request in requests {
        assert_eq!(server.request(request.clone()), Err(Error::NotFound), "{request:?}");
    }
}

fn overtaken(server: &mut dyn Server) {
    let first = create(server, pool("a"));
    let second = stored(server, Request::Update(disabled(&first, true)));
    assert_ne!(version(&second), version(&first));
    assert_eq!(second.metadata().uid, first.metadata().uid);
    assert_eq!(server.request(Request::Update(disabled(&first, false))), Err(Error::Conflict));
    assert_eq!(stored(server, Request::Get(first.key())), second);
}

fn unchanged(server: &mut dyn Server) {
    let made = create(server, pool("a"));
    assert_eq!(stored(server, Request::Update(made.clone())), made);
    assert_eq!(stored(server, Request::Get(made.key())), made);
}

fn generation(server: &mut dyn Server) {
    let made = create(server, pool("a"));
    let mut changed = stored(server, Request::Update(disabled(&made, true)));
    assert_eq!(changed.metadata().generation, 2);
    changed.metadata_mut().labels.insert("colour".into(), "blue".into());
    let labelled = stored(server, Request::Update(changed));
    assert_eq!(labelled.metadata().generation, 2);
}

fn deleted(server: &mut dyn Server) {
    let first = create(server, pool("a"));
    let second = stored(server, Request::Update(disabled(&first, true)));
    assert_eq!(server.request(delete(&first)), Err(Error::Conflict), "an old version");
    let mut another = second.clone();
    another.metadata_mut().uid = "8cdd9b30-3b5c-4d1c-9d2b-000000000000".to_owned();
    assert_eq!(server.request(delete(&another)), Err(Error::Conflict), "another object of this name");
    assert_eq!(server.request(delete(&second)), Ok(None));
    let anew = create(server, pool("a"));
    assert_ne!(anew.metadata().uid, second.metadata().uid);
    assert_eq!(server.request(delete(&second)), Err(Error::Conflict), "the one before");
}

fn annotated(server: &mut dyn Server) {
    let mut object = node("a");
    let own = [("kept", "1"), ("changed", "1"), ("removed", "1")];
    object.metadata_mut().annotations = own.map(|(name, value)| (name.into(), value.into())).into();
    let made = create(server, object);
    let annotations = [("changed", Some("2")), ("removed", None), ("absent", None), ("new", Some("2"))];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
    let after = stored(server, Request::Annotate { key: made.key(), annotations });
    let left = [("changed", "2"), ("kept", "1"), ("new", "2")];
    let left = left.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(after.metadata().annotations, left);
    assert_ne!(version(&after), version(&made));
}

fn condition(condition_type: &str, status: &str) -> Condition {
    let [reason, message] = ["Tested", "It is tested"].map(str::to_owned);
    Condition { condition_type: condition_type.into(), status: status.into(), reason, message }
}

fn conditioned(server: &mut dyn Server) {
    let made = create(server, node("a"));
    for (condition_type, value) in [("Up", "False"), ("Wet", "True"), ("Up", "True")] {
        let condition = condition(condition_type, value);
        stored(server, Request::Condition { key: made.key(), condition, turned: true });
    }
    let Object::Node(after) = stored(server, Request::Get(made.key())) else { panic!("a Node is one") };
    let mut said: Vec<(&str, &str)> = after
        .status
        .conditions
        .iter()
        .map(|condition| (condition.condition_type.as_str(), condition.status.as_str()))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [("Up", "True"), ("Wet", "True")]);
}

fn status(server: &mut dyn Server) {
    let spec = serde_json::json!({"node": "a", "classes": ["Agent"], "updatePeriodSeconds": 10});
    let spec = serde_json::from_value(spec).expect("it is a status's");
    let wish = CalicoNodeStatus { metadata: Metadata::named("a"), spec, ..CalicoNodeStatus::default() };
    let made = create(server, wish.into());
    let with = |object: &Object, updated: &str| {
        let Object::CalicoNodeStatus(mut object) = object.clone() else { panic!("{object:?} is none") };
        object.status.last_updated = Some(updated.to_owned());
        Object::from(*object)
    };
    let said = |object: &Object| match object {
        Object::CalicoNodeStatus(object) => object.status.last_updated.clone(),
        other => panic!("{other:?} is none"),
    };
    let written = stored(server, Request::Status(with(&made, "2026-11-26T00:00:01Z")));
    assert_eq!(said(&written).as_deref(), Some("2026-11-26T00:00:01Z"));
    let overtaken = server.request(Request::Status(with(&made, "2026-11-26T00:00:02Z")));
    assert_eq!(overtaken, Err(Error::Conflict));
    let mut updated = with(&written, "2026-11-26T00:00:03Z");
    updated.metadata_mut().labels.insert("colour".into(), "blue".into());
    let updated = stored(server, Request::Update(updated));
    assert_eq!(said(&updated), said(&written), "an update leaves the status as it is");
}

fn watched(server: &mut dyn Server) {
    let first = create(server, pool("a"));
    assert_eq!(server.list(Kind::IpPool), std::slice::from_ref(&first));
    let other = create(server, pool("b"));
    create(server, node("a"));
    let second = stored(server, Request::Update(disabled(&first, true)));
    stored(server, Request::Update(second.clone()));
    assert_eq!(server.request(delete(&other)), Ok(None));
    let anew = create(server, pool("b"));
    for event in [Event::Put(other.clone()), Event::Put(second), Event::Gone(other.key()), Event::Put(anew)] {
        assert_eq!(server.told(Kind::IpPool), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{FakeApi, Revision};

    /// The fake with a watch of each kind.
    #[derive(Default)]
    struct Fake {
        api: FakeApi,
        told: BTreeMap<Kind, Revision>,
    }

    impl Server for Fake {
        fn request(&mut self, request: Request) -> Reply {
            self.api.apply(&request)
        }

        fn list(&mut self, kind: Kind) -> Vec<Object> {
            let at = self.api.revision();
            self.told.insert(kind, at);
            match self.api.list(kind, at) {
                Event::Listed(_, objects) => objects,
                other => panic!("{other:?} is no list"),
            }
        }

        fn told(&mut self, kind: Kind) -> Event {
            let (at, event) = self.api.next(kind, self.told[&kind]).expect("something changed");
            self.told.insert(kind, at);
            event
        }
    }

    #[test]
    fn the_fake_passes_every_case() {
        for (name, case) in CASES {
            println!("{name}");
            case(&mut Fake::default());
        }
    }
}
