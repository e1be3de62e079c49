//! GET: one object, a list, a watch.

use super::{Api, Body, Call, Form, json, respond};
use crate::select::Selector;
use crate::status::Status;
use crate::store::{Listing, Page, Revision};
use crate::watch::{Start, Watch};
use futures::StreamExt;
use http::{Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Kubernetes ends watches after 30 to 60 minutes, where the client names no time.
const WATCH: Duration = Duration::from_secs(45 * 60);
/// The longest time that a client may name.
const LONGEST_WATCH: Duration = Duration::from_hours(24);

/// Where a list that was cut by `limit` goes on: opaque for clients.
#[derive(Serialize, Deserialize)]
struct Continue {
    revision: Revision,
    namespace: String,
    name: String,
}

impl Continue {
    fn encode(&self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(json!(self).to_string().as_bytes())
    }

    fn decode(token: &str) -> Result<Continue, Status> {
        data_encoding::BASE64URL_NOPAD
            .decode(token.as_bytes())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| {
                Status::bad_request(
                    "invalid continue token: continue key is not valid: begin the list anew without it",
                )
            })
    }
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";

impl Api {
    pub(super) async fn get(&self, call: Call) -> Result<Response<Body>, Status> {
        let form = call.form()?;
        let kind = call.target.kind;
        let found = self.store.get(kind, &call.target.namespace, call.name()).await?;
        let version = found.ok_or_else(|| Status::not_found(kind, call.name()))?;
        Ok(json(200, form.one(call.view, &version.body, jiff::Timestamp::now())))
    }

    pub(super) async fn list(&self, call: Call) -> Result<Response<Body>, Status> {
        let form = call.form()?;
        let selector = call.selector()?;
        let limit = call.query.number::<usize>("limit")?.filter(|limit| *limit > 0);
        let token = call.query.get("continue").map(Continue::decode).transpose()?;
        let asked = call.revision()?;
        let exact = call.query.get("resourceVersionMatch") == Some("Exact");
        let mut listing = Listing {
            kind: call.target.kind,
            namespace: Some(call.target.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            at: asked.filter(|_| exact),
            after: None,
            limit: limit.filter(|_| selector.is_everything()),
        };
        if let Some(token) = token {
            listing.at = Some(token.revision);
            listing.after = Some((token.namespace, token.name));
        }
        let (mut versions, revision, remaining) = match self.store.list(listing).await? {
            Page::Objects { versions, revision, remaining } => (versions, revision, remaining),
            Page::Compacted => return Err(Status::expired(TOO_OLD)),
            Page::Future { current } => {
                return Err(Status::from_the_future(asked.unwrap_or(current), current));
            }
        };
        if let Some(asked) = asked
            && asked > revision
        {
            return Err(Status::from_the_future(asked, revision));
        }
        let mut meta = json!({ "resourceVersion": revision.to_string() });
        let mut next =
            versions.last().filter(|_| remaining > 0).map(|v| (v.namespace.clone(), v.name.clone()));
        if remaining > 0 {
            meta["remainingItemCount"] = json!(remaining);
        }
        if !selector.is_everything() {
            versions.retain(|v| selector.matches(&v.object()));
            // With a selector Kubernetes does not say how many remain.
            if let Some(limit) = limit
                && versions.len() > limit
            {
                versions.truncate(limit);
                next = versions.last().map(|v| (v.namespace.clone(), v.name.clone()));
            }
        }
        if let Some((namespace, name)) = next {
            meta["continue"] = json!(Continue { revision, namespace, name }.encode());
        }
        Ok(json(200, form.list(call.view, &versions, meta, jiff::Timestamp::now())))
    }

    pub(super) async fn watch(self: Arc<Self>, call: Call) -> Result<Response<Body>, Status> {
        let form = call.form()?;
        let selector = call.selector()?;
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let initial = call.query.flag("sendInitialEvents");
        let revision = call.revision()?;
        if initial && (!bookmarks || call.query.get("resourceVersionMatch") != Some("NotOlderThan")) {
            return Err(Status::bad_request(
                "sendInitialEvents needs allowWatchBookmarks=true and resourceVersionMatch=NotOlderThan",
            ));
        }
        let start = match revision {
            _ if initial => Start::Streamed,
            None | Some(0) => Start::Everything,
            Some(revision) => Start::After(revision),
        };
        let timeout = call.query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let timeout = timeout.map_or(WATCH, |seconds| Duration::from_secs(seconds).min(LONGEST_WATCH));
        let permit = self.watching(&call.user)?;
        let namespace = call.target.namespace;
        let watch = Watch::new(self, call.view, namespace, selector, form, bookmarks, start, timeout).await?;
        let frames = watch.into_stream().map(move |chunk| {
            // Given back with the stream.
            let _ = &permit;
            Ok(Frame::data(chunk))
        });
        let mut response = respond(200, "application/json", "");
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        Ok(response)
    }
}

impl Call {
    pub(super) fn form(&self) -> Result<Form, Status> {
        Form::negotiate(self.header(header::ACCEPT), self.query.get("includeObject"))
    }

    /// `labelSelector` and `fieldSelector` of the query, and the name of the path.
    pub(super) fn selector(&self) -> Result<Selector, Status> {
        let labels = self.query.get("labelSelector").unwrap_or_default();
        let fields = self.query.get("fieldSelector").unwrap_or_default();
        let selector = Selector::parse(self.target.kind, labels, fields).map_err(Status::bad_request)?;
        Ok(match &self.target.name {
            Some(name) => selector.and(Selector::name(name)),
            None => selector,
        })
    }

    fn revision(&self) -> Result<Option<Revision>, Status> {
        let Some(text) = self.query.get("resourceVersion") else { return Ok(None) };
        let parsed = text.parse().map_err(|_| {
            Status::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: it must be one that this server gave"
            ))
        });
        parsed.map(Some)
    }
}
