//! An API server in a value: one counter of revisions, compare-and-swap, deletions with preconditions, watches that each
//! tell at their own pace, lists that may be old. It speaks the words of `model::store`, so that whatever talks to the real
//! one can talk to it.

use model::store::{Error, Event, Key, Kind, Object, Reply, Request};
use std::collections::BTreeMap;

/// The API server.
#[derive(Clone, Debug, Default)]
pub struct FakeApi {
    objects: BTreeMap<Key, Object>,
    /// Each change: what stood under the key from then on, in order. The revision is the position and one.
    history: Vec<(Key, Option<Object>)>,
}

/// How far a watcher has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub usize);

impl FakeApi {
    /// Carries a request out, at once.
    pub fn apply(&mut self, request: &Request) -> Reply {
        match request {
            Request::Get(key) => self.objects.get(key).cloned().map(Some).ok_or(Error::NotFound),
            Request::Create(object) => self.create(object),
            Request::Update(object) => self.update(object),
            Request::Delete { key, uid, resource_version } => {
                let meta = self.objects.get(key).ok_or(Error::NotFound)?.metadata();
                if meta.uid != *uid || meta.resource_version != *resource_version {
                    return Err(Error::Conflict);
                }
                self.write(key.clone(), None);
                Ok(None)
            }
            Request::Annotate { key, annotations } => {
                let mut object = self.objects.get(key).cloned().ok_or(Error::NotFound)?;
                for (name, value) in annotations {
                    match value {
                        Some(value) => {
                            _ = object.metadata_mut().annotations.insert(name.clone(), value.clone())
                        }
                        None => _ = object.metadata_mut().annotations.remove(name),
                    }
                }
                Ok(Some(self.store(object)))
            }
            Request::Status(object) => {
                let old = self.objects.get(&object.key()).cloned().ok_or(Error::NotFound)?;
                let (Object::CalicoNodeStatus(new), Object::CalicoNodeStatus(mut old)) = (object, old) else {
                    return Err(Error::Refused("only a CalicoNodeStatus has a status here".to_owned()));
                };
                if new.metadata.resource_version != old.metadata.resource_version {
                    return Err(Error::Conflict);
                }
                old.status = new.status.clone();
                Ok(Some(self.store((*old).into())))
            }
            Request::Condition { key, condition, .. } => {
                let mut object = self.objects.get(key).cloned().ok_or(Error::NotFound)?;
                let Object::Node(node) = &mut object else {
                    return Err(Error::Refused(format!("{:?} has no conditions here", key.kind)));
                };
                node.status.conditions.retain(|known| known.condition_type != condition.condition_type);
                node.status.conditions.push(condition.clone());
                Ok(Some(self.store(object)))
            }
        }
    }

    fn create(&mut self, object: &Object) -> Reply {
        if self.objects.contains_key(&object.key()) {
            return Err(Error::AlreadyExists);
        }
        let mut object = object.clone();
        let meta = object.metadata_mut();
        if !meta.resource_version.is_empty() {
            return Err(Error::Refused(
                "resourceVersion should not be set on objects to be created".to_owned(),
            ));
        }
        meta.uid = format!("uid-{}", self.history.len() + 1);
        meta.generation = 1;
        Ok(Some(self.store(object)))
    }

    fn update(&mut self, object: &Object) -> Reply {
        let old = self.objects.get(&object.key()).ok_or(Error::NotFound)?;
        if object.metadata().resource_version != old.metadata().resource_version {
            return Err(Error::Conflict);
        }
        let mut object = object.clone();
        keep_status(&mut object, old);
        if object == *old {
            return Ok(Some(object));
        }
        if wants_other(&object, old) {
            object.metadata_mut().generation += 1;
        }
        Ok(Some(self.store(object)))
    }

    /// An object with the status that its owner writes: the scheduler's and the kubelet's way, which nodes do not have.
    pub fn write_status(&mut self, object: Object) {
        assert!(self.objects.contains_key(&object.key()), "a status is of an object that is there");
        self.store(object);
    }

    fn store(&mut self, mut object: Object) -> Object {
        object.metadata_mut().resource_version = (self.history.len() + 1).to_string();
        self.write(object.key(), Some(object.clone()));
        object
    }

    fn write(&mut self, key: Key, object: Option<Object>) {
        match &object {
            Some(object) => _ = self.objects.insert(key.clone(), object.clone()),
            None => _ = self.objects.remove(&key),
        }
        self.history.push((key, object));
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// The revision of the latest write.
    pub fn revision(&self) -> Revision {
        Revision(self.history.len())
    }

    /// The list of a kind as it was at a revision.
    pub fn list(&self, kind: Kind, at: Revision) -> Event {
        let mut objects: BTreeMap<&Key, &Object> = BTreeMap::new();
        for (key, object) in self.history[..at.0].iter().filter(|(key, _)| key.kind == kind) {
            match object {
                Some(object) => _ = objects.insert(key, object),
                None => _ = objects.remove(key),
            }
        }
        Event::Listed(kind, objects.into_values().cloned().collect())
    }

    /// The first change of a kind after a revision.
    pub fn next(&self, kind: Kind, after: Revision) -> Option<(Revision, Event)> {
        let (at, (key, object)) =
            self.history.iter().enumerate().skip(after.0).find(|(_, (key, _))| key.kind == kind)?;
        let event = match object {
            Some(object) => Event::Put(object.clone()),
            None => Event::Gone(key.clone()),
        };
        Some((Revision(at + 1), event))
    }
}

/// What has a status keeps it: that is written apart.
fn keep_status(object: &mut Object, old: &Object) {
    match (object, old) {
        (Object::Node(object), Object::Node(old)) => object.status = old.status.clone(),
        (Object::Pod(object), Object::Pod(old)) => object.status = old.status.clone(),
        (Object::CalicoNodeStatus(object), Object::CalicoNodeStatus(old)) => {
            object.status = old.status.clone();
        }
        _ => {}
    }
}

/// Whether two versions of an object differ in more than their metadata.
fn wants_other(object: &Object, old: &Object) -> bool {
    let mut alike = object.clone();
    *alike.metadata_mut() = old.metadata().clone();
    alike != *old
}
