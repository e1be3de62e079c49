//! POST, PUT, PATCH, DELETE: decided inside the store's transaction, on the latest state.

use super::{Api, Body, Call, Query, collect, json, namespace};
use crate::admit::{self, FieldValidation};
use crate::auth::User;
use crate::json::text;
use crate::kinds::Kind;
use crate::managed::{self, Author};
use crate::object::{self, Birth, DeleteOptions, Next, Part};
use crate::patch::{self, Patch};
use crate::protobuf;
use crate::rights;
use crate::status::{Cause, Status};
use crate::store::{self, Tx, Version};
use crate::view;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

/// What a write did.
pub(super) enum Done {
    /// The object is stored so.
    Stored(Version),
    /// It is gone; this was its last state.
    Removed(Version),
}

impl Api {
    pub(super) async fn create(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (mut object, duplicates) = decode(write.kind, &call.headers_type(), &collect(call.body).await?)?;
        object = view::stored(call.view, object, None);
        let warnings = admit::prune(write.kind, &mut object, &duplicates, write.validation)?;
        let (view, namespace) = (call.view, call.target.namespace);
        let version = self
            .store
            .write(write.dry, move |tx| {
                namespace::check_place(tx, write.kind, &namespace)?;
                let mut object = object::create(write.kind, &namespace, object, &birth())?;
                managed::track(write.kind, &write.author, None, &mut object, None);
                write.admit(tx, &object)?;
                let name = text(&object, &["metadata", "name"]);
                if tx.get(write.kind, &namespace, name)?.is_some() {
                    return Err(Status::already_exists(write.kind, name));
                }
                Ok(tx.put(write.kind, object)?)
            })
            .await?;
        Ok(with_warnings(json(201, form.one(view, &version.body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn update(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let (mut object, duplicates) = decode(write.kind, &call.headers_type(), &collect(call.body).await?)?;
        let warnings = admit::prune(write.kind, &mut object, &duplicates, write.validation)?;
        let (kind, view) = (write.kind, call.view);
        let done = self
            .store
            .write(write.dry, move |tx| {
                let old = stored(tx, kind, &namespace, &name)?;
                let object = view::stored(view, object, Some(&old));
                write.change(tx, &old, object)
            })
            .await?;
        Ok(with_warnings(json(200, form.one(view, &done.version().body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn patch(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let media_type = call.header(header::CONTENT_TYPE).to_owned();
        if media_type.starts_with(patch::APPLY) {
            return self.apply(call, write).await;
        }
        let patch = Patch::parse(write.kind, &media_type, &collect(call.body).await?)?;
        let (kind, view) = (write.kind, call.view);
        let (done, warnings) = self
            .store
            .write(write.dry, move |tx| {
                let old = stored(tx, kind, &namespace, &name)?;
                let patched = patch.apply(&view::shown(view, old.object()))?;
                let mut new = view::stored(view, patched, Some(&old));
                let warnings = admit::prune(kind, &mut new, &[], write.validation)?;
                Ok::<_, Status>((write.change(tx, &old, new)?, warnings))
            })
            .await?;
        Ok(with_warnings(json(200, form.one(view, &done.version().body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn delete(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let mut options = delete_options(&collect(call.body).await?, &call.query)?;
        let (kind, view) = (write.kind, call.view);
        options.preconditions.uid = options.preconditions.uid.map(|uid| view::uid(view, &uid));
        let done = self
            .store
            .write(write.dry || options.is_dry(), move |tx| {
                if options.ignore_store_read_error {
                    return write.discard(tx, &namespace, &name);
                }
                let old = stored(tx, kind, &namespace, &name)?;
                write.remove(tx, &old, &options)
            })
            .await?;
        let body = match &done {
            // Pods are given back as they were; of the rest Kubernetes only says that they are gone.
            Done::Removed(version) if kind.resource != "pods" => success(view, version).to_string(),
            done => form.one(view, &done.version().body, jiff::Timestamp::now()),
        };
        Ok(json(200, body))
    }

    pub(super) async fn delete_collection(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let selector = call.selector()?;
        let namespace = call.target.namespace.clone();
        let options = delete_options(&collect(call.body).await?, &call.query)?;
        let (kind, view) = (write.kind, call.view);
        let gone = self
            .store
            .write(write.dry || options.is_dry(), move |tx| {
                let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
                let mut gone = Vec::new();
                for old in tx.list(kind, namespace)? {
                    if selector.matches(&old.object()) {
                        gone.push(write.remove(tx, &old, &options)?.version().clone());
                    }
                }
                Ok::<_, Status>(gone)
            })
            .await?;
        let revision = self.store.revision().await?;
        let meta = json!({ "resourceVersion": revision.to_string() });
        Ok(json(200, super::Form::Object.list(view, &gone, meta, jiff::Timestamp::now())))
    }
}

/// What all writes of a request share.
pub(super) struct Write {
    user: User,
    pub kind: &'static Kind,
    pub part: Part,
    pub author: Author,
    pub validation: FieldValidation,
    pub dry: bool,
}

impl Write {
    pub fn of(call: &Call) -> Result<Write, Status> {
        let dry = match call.query.get("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                return Err(Status::bad_request(format!("invalid dryRun {other:?}: the only stage is All")));
            }
        };
        let part = if call.target.subresource.is_some() { Part::Status } else { Part::Main };
        let now = object::timestamp(jiff::Timestamp::now());
        Ok(Write {
            user: call.user.clone(),
            kind: call.target.kind,
            part,
            author: Author { name: call.field_manager()?, part, now },
            validation: FieldValidation::parse(call.query.get("fieldValidation"))?,
            dry,
        })
    }

    /// Whether a new object may be stored.
    pub fn admit(&self, tx: &mut Tx<'_>, object: &Value) -> Result<(), Status> {
        rights::check_object(&self.user, self.kind, None, Some(object))?;
        check_others(tx, self.kind, object)
    }

    /// Replaces `old` by `new`.
    fn change(&self, tx: &mut Tx<'_>, old: &Version, mut new: Value) -> Result<Done, Status> {
        let sent = managed::take(&mut new).filter(|_| self.part == Part::Main);
        self.replace(tx, old, new, |before, after| {
            managed::track(self.kind, &self.author, Some(before), after, sent);
        })
    }

    /// Replaces `old` by `new`, whose `managedFields` are written by `manage` (of what is stored, into what will be).
    pub fn replace(
        &self,
        tx: &mut Tx<'_>,
        old: &Version,
        new: Value,
        manage: impl FnOnce(&Value, &mut Value),
    ) -> Result<Done, Status> {
        let before = old.object();
        rights::check_object(&self.user, self.kind, Some(&before), Some(&new))?;
        let mut after = match object::update(self.kind, self.part, &before, new)? {
            Next::Same => before.clone(),
            Next::Put(object) => object,
            Next::Remove(object) => return namespace::remove(tx, self.kind, object).map(Done::Removed),
        };
        manage(&before, &mut after);
        if after == before { Ok(Done::Stored(old.clone())) } else { self.put(tx, after) }
    }

    /// Deletes `old`, or marks it.
    fn remove(&self, tx: &mut Tx<'_>, old: &Version, options: &DeleteOptions) -> Result<Done, Status> {
        let before = old.object();
        rights::check_object(&self.user, self.kind, Some(&before), None)?;
        match object::delete(self.kind, &before, options, jiff::Timestamp::now())? {
            Next::Same => Ok(Done::Stored(old.clone())),
            Next::Remove(object) => namespace::remove(tx, self.kind, object).map(Done::Removed),
            Next::Put(marked) => self.put(tx, marked),
        }
    }

    /// Deletes an object that cannot be read.
    fn discard(&self, tx: &mut Tx<'_>, namespace: &str, name: &str) -> Result<Done, Status> {
        if self.user != User::Admin {
            return Err(Status::forbidden(self.kind, name, "only the admin deletes what nobody can read"));
        }
        match tx.get(self.kind, namespace, name) {
            Err(store::Error::Unreadable(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(None) => return Err(Status::not_found(self.kind, name)),
            Ok(Some(_)) => {
                let option = "ignoreStoreReadErrorWithClusterBreakingPotential";
                let why =
                    "is exclusively used to delete corrupt object(s), try again by removing this option";
                return Err(Status::invalid(self.kind, name, &[Cause::invalid(option, &json!(true), why)]));
            }
        }
        let mut last = json!({ "apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": { "name": name } });
        if self.kind.namespaced {
            last["metadata"]["namespace"] = json!(namespace);
        }
        namespace::remove(tx, self.kind, last).map(Done::Removed)
    }

    /// Stores `object`; a namespace that waits for its end may meet it now.
    fn put(&self, tx: &mut Tx<'_>, object: Value) -> Result<Done, Status> {
        let ending = self.kind.resource == "namespaces" && object::is_marked(&object);
        let stored = tx.put(self.kind, object)?;
        Ok(match if ending { namespace::empty(tx, &stored)? } else { None } {
            Some(gone) => Done::Removed(gone),
            None => Done::Stored(stored),
        })
    }
}

impl Done {
    pub fn version(&self) -> &Version {
        let (Done::Stored(version) | Done::Removed(version)) = self;
        version
    }
}

/// Rules between objects: a new pool may not overlap another, unless that one gives no addresses any more and the new one is
/// a part of it: so a pool is split.
fn check_others(tx: &mut Tx<'_>, kind: &'static Kind, object: &Value) -> Result<(), Status> {
    let cidr = |object: &Value| text(object, &["spec", "cidr"]).parse::<model::Cidr>().ok();
    let (Some(new), "ippools.projectcalico.org") = (cidr(object), kind.resource.as_str()) else {
        return Ok(());
    };
    let pools = tx.list(kind, None)?;
    let pools = pools.iter().filter_map(|pool| {
        let object = pool.object();
        let theirs = cidr(&object)?;
        let is_split = object["spec"]["disabled"] == true && theirs.covers(new);
        (!is_split).then_some((pool.name.as_str(), theirs))
    });
    let name = text(object, &["metadata", "name"]);
    match model::v3::overlap(name, new, pools) {
        None => Ok(()),
        Some(error) => Err(Status::invalid(kind, name, &[admit::calico_cause(&error)])),
    }
}

fn stored(tx: &mut Tx<'_>, kind: &Kind, namespace: &str, name: &str) -> Result<Version, Status> {
    tx.get(kind, namespace, name)?.ok_or_else(|| Status::not_found(kind, name))
}

pub(super) fn birth() -> Birth {
    Birth { now: object::timestamp(jiff::Timestamp::now()), uid: uuid::Uuid::new_v4().to_string() }
}

fn decode(kind: &Kind, media_type: &str, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "*/*" => {
            crate::json::parse(body).map_err(|error| Status::undecodable(kind, &error.to_string()))
        }
        "application/yaml" => match crate::json::parse_yaml(body) {
            Ok(object) => Ok((object, Vec::new())),
            Err(error) => Err(Status::undecodable(kind, &error)),
        },
        "application/vnd.kubernetes.protobuf" if protobuf::takes(kind) => {
            match protobuf::decode(kind, body) {
                Ok(object) => Ok((object, Vec::new())),
                Err(error) => Err(Status::undecodable(kind, &error)),
            }
        }
        _ => Err(Status::unsupported_media_type("application/json, application/yaml")),
    }
}

/// What the body of a DELETE asks, and the query where the body does not say.
fn delete_options(body: &[u8], query: &Query) -> Result<DeleteOptions, Status> {
    const POLICIES: [&str; 4] = ["Foreground", "Background", "Orphan", "nil"];
    let mut options = match body {
        [] => DeleteOptions::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("invalid DeleteOptions: {error}")))?,
    };
    let grace = query.number("gracePeriodSeconds")?;
    options.grace_period_seconds = options.grace_period_seconds.or(grace);
    options.ignore_store_read_error |= query.flag("ignoreStoreReadErrorWithClusterBreakingPotential");
    let policy = options.propagation_policy.as_deref().or(query.get("propagationPolicy"));
    match policy.filter(|policy| !POLICIES[..3].contains(policy)) {
        Some(other) => {
            let cause = Cause::unsupported("propagationPolicy", other, &POLICIES);
            Err(Status::bad_option("DeleteOptions", &cause))
        }
        None => Ok(options),
    }
}

fn success(kind: &Kind, version: &Version) -> Value {
    let mut details = json!({ "name": version.name, "kind": kind.plural, "uid": view::uid(kind, text(&version.object(), &["metadata", "uid"])) });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

pub(super) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

impl Call {
    /// Who writes: as the query says, or the program's own name.
    fn field_manager(&self) -> Result<String, Status> {
        match self.query.get("fieldManager") {
            Some(name) if name.len() > 128 || name.chars().any(char::is_control) => Err(Status::bad_request(
                "fieldManager: Invalid value: it may have up to 128 printable characters",
            )),
            Some(name) => Ok(name.to_owned()),
            None => {
                let program = self.header(header::USER_AGENT).split('/').next().unwrap_or_default();
                let name: String = program.chars().take(128).collect();
                Ok(if name.is_empty() { "unknown".to_owned() } else { name })
            }
        }
    }

    fn headers_type(&self) -> String {
        self.header(header::CONTENT_TYPE).to_owned()
    }
}
