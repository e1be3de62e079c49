//! Requests and answers: who asks, what for, in which form the answer goes back.

mod apply;
mod form;
mod kubelet;
mod namespace;
mod read;
mod route;
mod write;

pub use form::Form;

use crate::auth::{Tokens, User};
use crate::discovery;
use crate::kinds::Kind;
use crate::openapi;
use crate::rights::{self, Verb};
use crate::status::Status;
use crate::store::Store;
use bytes::Bytes;
use failpoint::failpoint;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use route::{Query, Route, Target};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The body of an answer: whole, or a stream of watch events.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Bytes that a request's body may have, as in Kubernetes.
const BODY: usize = 3 << 20;

/// Watches that a token with all rights may have at once, and a node's, which needs one for each kind.
const ADMINS_WATCHES: usize = 20_000;
const NODES_WATCHES: usize = 200;

/// What answers requests.
pub struct Api {
    pub store: Store,
    pub tokens: Arc<Tokens>,
    /// See `Config::kubelets`.
    pub kubelets: Option<PathBuf>,
    /// How many more watches each user may begin.
    watches: Mutex<BTreeMap<User, Arc<Semaphore>>>,
}

/// A request, its body still to come.
struct Call {
    user: User,
    /// The kind by which the client calls it.
    view: &'static Kind,
    /// What is stored.
    target: Target,
    query: Query,
    headers: HeaderMap,
    body: Incoming,
}

impl Api {
    /// Answers one request.
    pub fn new(store: Store, tokens: Arc<Tokens>, kubelets: Option<PathBuf>) -> Api {
        Api { store, tokens, kubelets, watches: Mutex::default() }
    }

    /// The right to one watch more, until it is dropped.
    fn watching(&self, user: &User) -> Result<OwnedSemaphorePermit, Status> {
        let most = match user {
            User::Admin => ADMINS_WATCHES,
            User::Node(_) => NODES_WATCHES,
        };
        let mut watches = self.watches.lock().expect("no holder panics");
        let left = watches.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(most)));
        let refused = |_| {
            Status::too_many(format!(
                "this token has {most} watches already: end some, or watch a kind once for all"
            ))
        };
        left.clone().try_acquire_owned().map_err(refused)
    }

    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let answer = self.route(request).await;
        failpoint!("answer: to be sent");
        answer.unwrap_or_else(|status| {
            let mut response = json(status.code, status.to_json().to_string());
            if status.code == 401 {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        })
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Status> {
        let (mut head, body) = request.into_parts();
        let user = self.user(&head.headers);
        let route = Route::parse(head.uri.path());
        if let Ok(Route::Health) = route {
            return Ok(text("ok"));
        }
        if let Ok(Route::Version) = route {
            return Ok(json(200, discovery::version().to_string()));
        }
        let user = user.ok_or_else(Status::unauthorized)?;
        let route = route?;
        if let Route::Objects(mut target) = route {
            let query = Query::parse(head.uri.query().unwrap_or_default());
            if target.is_kubelets() {
                let upgrade = head.extensions.remove::<OnUpgrade>();
                return self.stream(&user, &target, &query, &head, upgrade).await;
            }
            let view = target.kind;
            target.kind = view.stored();
            let call = Call { user, view, target, query, headers: head.headers, body };
            let answer = self.objects(head.method, call).await;
            return if view.is_view() { answer.map_err(|status| status.of_view(view)) } else { answer };
        }
        if head.method != Method::GET {
            return Err(Status::method_not_allowed());
        }
        let accept = head.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let aggregated = accept.contains("g=apidiscovery.k8s.io") && accept.contains("v=v2;");
        let document = match route {
            Route::CoreVersions if aggregated => return Ok(aggregated_json(&discovery::aggregated(true))),
            Route::Groups if aggregated => return Ok(aggregated_json(&discovery::aggregated(false))),
            Route::CoreVersions => discovery::core_versions(),
            Route::Groups => discovery::groups(),
            Route::Group(group) => discovery::group(group),
            Route::Resources { group, version } => discovery::resources(group, version),
            Route::OpenApiV2 if accept.contains("proto-openapi") => {
                return Ok(respond(200, openapi::V2_PROTOBUF, openapi::v2_protobuf()));
            }
            Route::OpenApiV2 => openapi::v2(),
            Route::OpenApiV3 => openapi::v3(),
            Route::OpenApiV3Of { group, version } => openapi::v3_of(group, version),
            Route::Health | Route::Version | Route::Objects(_) => unreachable!("answered above"),
        };
        Ok(json(200, document.to_string()))
    }

    /// Who sends these headers; `None` without a good token.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| self.tokens.user(token.trim()))?
    }

    async fn objects(self: Arc<Self>, method: Method, call: Call) -> Result<Response<Body>, Status> {
        let named = call.target.name.is_some();
        let in_namespace = !call.target.kind.namespaced || !call.target.namespace.is_empty();
        let verb = match method {
            Method::GET if call.query.flag("watch") => Verb::Watch,
            Method::GET if named => Verb::Get,
            Method::GET => Verb::List,
            Method::POST if !named && in_namespace => Verb::Create,
            Method::PUT if named => Verb::Update,
            Method::PATCH if named => Verb::Patch,
            Method::DELETE if named && call.target.subresource.is_none() => Verb::Delete,
            Method::DELETE if !named && in_namespace => Verb::DeleteCollection,
            _ => return Err(Status::method_not_allowed()),
        };
        let Target { kind, namespace, name, subresource } = &call.target;
        rights::check(&call.user, verb, kind, subresource.as_deref(), namespace, name.as_deref())?;
        match verb {
            Verb::Get => self.get(call).await,
            Verb::List => self.list(call).await,
            Verb::Watch => self.watch(call).await,
            Verb::Create => self.create(call).await,
            Verb::Update => self.update(call).await,
            Verb::Patch => self.patch(call).await,
            Verb::Delete => self.delete(call).await,
            Verb::DeleteCollection => self.delete_collection(call).await,
            Verb::Connect => unreachable!("streams are told apart by their path"),
        }
    }
}

impl Call {
    fn name(&self) -> &str {
        self.target.name.as_deref().expect("routed by its name")
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The whole body, within the limit.
async fn collect(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Status::too_large(format!("Request entity too large: limit is {BODY}")))
        }
        Err(error) => Err(Status::bad_request(format!("cannot read the body: {error}"))),
    }
}

fn respond(code: u16, media_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).expect("our codes are HTTP's");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn json(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    respond(code, "application/json", body)
}

fn text(body: &'static str) -> Response<Body> {
    respond(200, "text/plain; charset=utf-8", body)
}

fn aggregated_json(document: &serde_json::Value) -> Response<Body> {
    respond(200, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", document.to_string())
}
