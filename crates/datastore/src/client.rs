//! The connection to one API server: configuration, TLS, credentials, deadlines. One request, one attempt: whether to try
//! again is decided by who asked.

use crate::Error;
use http::{HeaderValue, Method, Request, header};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::Path;
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// How long a request may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Where the way to the API is written.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A kubeconfig file.
    File(&'a Path),
    /// The text of a kubeconfig file.
    Text(&'a str),
    /// `KUBECONFIG`, `~/.kube/config`, or the service account of the pod, whichever comes first.
    Environment,
}

/// A client of one API server. Cloning is cheap; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: kube::Client,
    url: String,
}

impl Client {
    /// A client of the current context of a kubeconfig file. Must be called inside a tokio runtime.
    pub async fn from_kubeconfig(path: &Path) -> Result<Client, Error> {
        Client::open(Source::File(path), None).await
    }

    /// A client as the environment says: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod.
    pub async fn infer() -> Result<Client, Error> {
        Client::open(Source::Environment, None).await
    }

    /// A client of what `source` says, of another context than its current one if that is named.
    pub async fn open(source: Source<'_>, context: Option<&str>) -> Result<Client, Error> {
        let failed = |cause: String| match source {
            Source::File(path) => Error::Kubeconfig { path: path.to_owned(), cause },
            Source::Text(_) | Source::Environment => Error::Infer(cause),
        };
        let file = match source {
            Source::File(path) => Kubeconfig::read_from(path),
            Source::Text(text) => Kubeconfig::from_yaml(text),
            Source::Environment => match Kubeconfig::read() {
                Err(_) if std::env::var_os("KUBECONFIG").is_none_or(|path| path.is_empty()) => {
                    let config = Config::incluster().map_err(|e| failed(e.to_string()))?;
                    return Client::connect(config).map_err(|e| failed(e.to_string()));
                }
                file => file,
            },
        };
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = match file {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(e) => Err(e),
        };
        Client::connect(config.map_err(|e| failed(e.to_string()))?).map_err(|e| failed(e.to_string()))
    }

    /// Keep-alives end a connection whose far side has gone without a word after 15 + 3 × 5 s: a watch hears nothing for
    /// minutes in good times too.
    fn connect(mut config: Config) -> Result<Client, kube::Error> {
        // Of this the API server makes the manager's name in `managedFields`.
        config.headers.push((
            header::USER_AGENT,
            HeaderValue::from_static(concat!("tortie/", env!("CARGO_PKG_VERSION"))),
        ));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(DEADLINE));
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        tcp.set_keepalive_interval(Some(Duration::from_secs(5)));
        tcp.set_keepalive_retries(Some(3));
        let https = config.rustls_https_connector_with_connector(tcp)?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https));
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        Ok(Client { http: kube::Client::new(service, config.default_namespace), url })
    }

    /// The server's base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The namespace of the kubeconfig's context, or `default`.
    pub fn default_namespace(&self) -> &str {
        self.http.default_namespace()
    }

    /// Sends one request and returns the body of a good answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<String, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, content_type)
            .body(body)
            .expect("paths are escaped and content types are constants");
        match tokio::time::timeout(deadline, self.http.request_text(request)).await {
            Ok(answer) => answer.map_err(|e| Error::of_kube(&self.url, e)),
            Err(_) => Err(Error::Timeout { url: self.url.clone(), after: deadline }),
        }
    }

    /// Reads one path.
    pub(crate) async fn read(&self, path: &str) -> Result<String, Error> {
        self.send(Method::GET, path, JSON, Vec::new(), DEADLINE).await
    }

    /// Opens a stream of lines; the deadline counts until the answer begins.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl futures::io::AsyncBufRead + Send + Unpin + use<>, Error> {
        let request = Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::ACCEPT_ENCODING, "identity")
            .body(Vec::new())
            .expect("paths are escaped");
        match tokio::time::timeout(DEADLINE, self.http.request_stream(request)).await {
            Ok(Ok(stream)) => Ok(Box::pin(stream)),
            Ok(Err(e)) => Err(Error::of_kube(&self.url, e)),
            Err(_) => Err(Error::Timeout { url: self.url.clone(), after: DEADLINE }),
        }
    }
}

pub(crate) const JSON: &str = "application/json";
