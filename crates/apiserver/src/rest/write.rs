//! POST, PUT, PATCH, DELETE: decided inside the store's transaction, on the latest state.

use super::{Api, Body, Call, collect, json, namespace};
use crate::admit::{self, FieldValidation};
use crate::auth::User;
use crate::json::text;
use crate::kinds::Kind;
use crate::object::{self, Birth, DeleteOptions, Next, Part};
use crate::patch::Patch;
use crate::protobuf;
use crate::rights;
use crate::status::Status;
use crate::store::{Tx, Version};
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

/// What a write did.
enum Done {
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
        let warnings = admit::prune(write.kind, &mut object, &duplicates, write.validation)?;
        let namespace = call.target.namespace;
        let version = self
            .store
            .write(write.dry, move |tx| {
                namespace::check_place(tx, write.kind, &namespace)?;
                let object = object::create(write.kind, &namespace, object, &birth())?;
                rights::check_object(&write.user, write.kind, None, Some(&object))?;
                check_others(tx, write.kind, &object)?;
                let name = text(&object, &["metadata", "name"]);
                if tx.get(write.kind, &namespace, name)?.is_some() {
                    return Err(Status::already_exists(write.kind, name));
                }
                Ok(tx.put(write.kind, object)?)
            })
            .await?;
        Ok(with_warnings(json(201, form.one(write.kind, &version.body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn update(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let (mut object, duplicates) = decode(write.kind, &call.headers_type(), &collect(call.body).await?)?;
        let warnings = admit::prune(write.kind, &mut object, &duplicates, write.validation)?;
        let kind = write.kind;
        let done = self
            .store
            .write(write.dry, move |tx| {
                let old = stored(tx, kind, &namespace, &name)?;
                write.change(tx, &old, object)
            })
            .await?;
        Ok(with_warnings(json(200, form.one(kind, &done.version().body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn patch(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let media_type = call.header(header::CONTENT_TYPE).to_owned();
        let patch = Patch::parse(write.kind, &media_type, &collect(call.body).await?)?;
        let kind = write.kind;
        let (done, warnings) = self
            .store
            .write(write.dry, move |tx| {
                let old = stored(tx, kind, &namespace, &name)?;
                let mut new = patch.apply(&old.object())?;
                let warnings = admit::prune(kind, &mut new, &[], write.validation)?;
                Ok::<_, Status>((write.change(tx, &old, new)?, warnings))
            })
            .await?;
        Ok(with_warnings(json(200, form.one(kind, &done.version().body, jiff::Timestamp::now())), &warnings))
    }

    pub(super) async fn delete(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let form = call.form()?;
        let (namespace, name) = (call.target.namespace.clone(), call.name().to_owned());
        let grace = call.query.number("gracePeriodSeconds")?;
        let options = delete_options(&collect(call.body).await?, grace)?;
        let kind = write.kind;
        let done = self
            .store
            .write(write.dry || options.is_dry(), move |tx| {
                let old = stored(tx, kind, &namespace, &name)?;
                write.remove(tx, &old, &options)
            })
            .await?;
        let body = match &done {
            // Pods are given back as they were; of the rest Kubernetes only says that they are gone.
            Done::Removed(version) if kind.resource != "pods" => success(kind, version).to_string(),
            done => form.one(kind, &done.version().body, jiff::Timestamp::now()),
        };
        Ok(json(200, body))
    }

    pub(super) async fn delete_collection(&self, call: Call) -> Result<Response<Body>, Status> {
        let write = Write::of(&call)?;
        let selector = call.selector()?;
        let namespace = call.target.namespace.clone();
        let grace = call.query.number("gracePeriodSeconds")?;
        let options = delete_options(&collect(call.body).await?, grace)?;
        let kind = write.kind;
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
        Ok(json(200, super::Form::Object.list(kind, &gone, meta, jiff::Timestamp::now())))
    }
}

/// What all writes of a request share.
struct Write {
    user: User,
    kind: &'static Kind,
    part: Part,
    validation: FieldValidation,
    dry: bool,
}

impl Write {
    fn of(call: &Call) -> Result<Write, Status> {
        let dry = match call.query.get("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                return Err(Status::bad_request(format!("invalid dryRun {other:?}: the only stage is All")));
            }
        };
        Ok(Write {
            user: call.user.clone(),
            kind: call.target.kind,
            part: if call.target.subresource.is_some() { Part::Status } else { Part::Main },
            validation: FieldValidation::parse(call.query.get("fieldValidation"))?,
            dry,
        })
    }

    /// Replaces `old` by `new`.
    fn change(&self, tx: &mut Tx<'_>, old: &Version, new: Value) -> Result<Done, Status> {
        let before = old.object();
        rights::check_object(&self.user, self.kind, Some(&before), Some(&new))?;
        match object::update(self.kind, self.part, &before, new)? {
            Next::Same => Ok(Done::Stored(old.clone())),
            Next::Put(object) => self.put(tx, object),
            Next::Remove(object) => namespace::remove(tx, self.kind, object).map(Done::Removed),
        }
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
    fn version(&self) -> &Version {
        let (Done::Stored(version) | Done::Removed(version)) = self;
        version
    }
}

/// Rules between objects: a new pool may not overlap another.
fn check_others(tx: &mut Tx<'_>, kind: &'static Kind, object: &Value) -> Result<(), Status> {
    let cidr = |object: &Value| text(object, &["spec", "cidr"]).parse().ok();
    let (Some(new), "ippools.projectcalico.org") = (cidr(object), kind.resource.as_str()) else {
        return Ok(());
    };
    let pools = tx.list(kind, None)?;
    let pools = pools.iter().filter_map(|pool| Some((pool.name.as_str(), cidr(&pool.object())?)));
    let name = text(object, &["metadata", "name"]);
    match model::v3::overlap(name, new, pools) {
        None => Ok(()),
        Some(error) => Err(Status::invalid(kind, name, &[admit::calico_cause(&error)])),
    }
}

fn stored(tx: &mut Tx<'_>, kind: &Kind, namespace: &str, name: &str) -> Result<Version, Status> {
    tx.get(kind, namespace, name)?.ok_or_else(|| Status::not_found(kind, name))
}

fn birth() -> Birth {
    Birth { now: object::timestamp(jiff::Timestamp::now()), uid: uuid::Uuid::new_v4().to_string() }
}

fn decode(kind: &Kind, media_type: &str, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "*/*" => {
            crate::json::parse(body).map_err(|error| Status::undecodable(kind, &error.to_string()))
        }
        "application/vnd.kubernetes.protobuf" if protobuf::takes(kind) => {
            match protobuf::decode(kind, body) {
                Ok(object) => Ok((object, Vec::new())),
                Err(error) => Err(Status::undecodable(kind, &error)),
            }
        }
        _ => Err(Status::unsupported_media_type("application/json")),
    }
}

fn delete_options(body: &[u8], grace: Option<i64>) -> Result<DeleteOptions, Status> {
    let mut options = match body {
        [] => DeleteOptions::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("invalid DeleteOptions: {error}")))?,
    };
    options.grace_period_seconds = options.grace_period_seconds.or(grace);
    Ok(options)
}

fn success(kind: &Kind, version: &Version) -> Value {
    let mut details =
        json!({ "name": version.name, "kind": kind.plural, "uid": version.object()["metadata"]["uid"] });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

impl Call {
    fn headers_type(&self) -> String {
        self.header(header::CONTENT_TYPE).to_owned()
    }
}
