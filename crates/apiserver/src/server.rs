//! The listener: TLS, deadlines and limits, one task a connection.

use crate::auth::{Tokens, User};
use crate::expiry;
use crate::kinds::Kind;
use crate::object::{self, Birth};
use crate::rest::Api;
use crate::status::Status;
use crate::store::{self, Store};
use crate::strangers::{Stranger, Strangers};
use crate::tls::Authority;
use anyhow::{Context, Result, ensure};
use failpoint::failpoint;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A client that has not sent its request's head by then is dropped.
const HEAD: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 250;

/// Revisions that history holds, if not said otherwise.
pub(crate) const HISTORY: u64 = 10_000;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory of database, authority and tokens.
    pub data: PathBuf,
    /// The address in kubeconfigs, if it is not `listen`'s.
    pub advertise: Option<IpAddr>,
    /// Where the nodes' kubelets listen, each on `NODE/kubelet.sock`; `None` where there are none.
    pub kubelets: Option<PathBuf>,
    /// How many revisions back a watch may start; older ones get 410 Gone.
    pub history: u64,
}

impl Config {
    /// A server on `listen` that keeps its files in `data`.
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Config {
        Config { listen, data: data.into(), advertise: None, kubelets: None, history: HISTORY }
    }
}

/// A running server. Dropping it stops it.
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// A bearer token with all rights.
    pub admin_token: String,
    /// The certificate authority, PEM.
    pub ca: String,
    advertise: IpAddr,
    tokens: Arc<Tokens>,
    /// Becomes true when the server is to stop.
    stopping: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server on the current tokio runtime; when it returns, the port is open.
    ///
    /// # Errors
    /// A busy port, a damaged or locked data directory.
    pub async fn start(config: Config) -> Result<Server> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.data)
            .with_context(|| format!("cannot make the data directory {}", config.data.display()))?;
        check_owner(&config.data)?;
        let authority = Authority::open(&config.data)?;
        let tokens = Arc::new(Tokens::open(config.data.join("tokens"))?);
        let admin_token = tokens.issue(User::Admin)?;
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!(
                "cannot listen on {}: stop what uses the port, or choose another with --listen",
                config.listen
            )
        })?;
        let addr = listener.local_addr()?;
        let advertise = config.advertise.unwrap_or(match addr.ip() {
            ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            ip => ip,
        });
        let store = Store::open(&config.data, config.history)?;
        found_cluster(&store).await?;
        let api = Arc::new(Api::new(store, tokens.clone(), config.kubelets));
        tokio::spawn(expiry::run(Arc::downgrade(&api)));
        let tls = authority.server(&[addr.ip(), advertise, IpAddr::from([127, 0, 0, 1])])?;
        let (stopping, stop) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(tls), api, stop));
        Ok(Server { addr, admin_token, ca: authority.certificate, advertise, tokens, stopping, accepting })
    }

    /// `https://address:port`.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(self.advertise, self.addr.port()))
    }

    /// A bearer token with the rights of node `name`, the same each time.
    pub fn node_token(&self, name: &str) -> Result<String> {
        self.tokens.issue(User::Node(name.to_owned()))
    }

    /// The text of a kubeconfig with all rights.
    pub fn admin_kubeconfig(&self) -> String {
        crate::kubeconfig::text(&self.url(), &self.ca, "admin", &self.admin_token)
    }

    /// Stops accepting and ends all connections.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let strangers = Arc::new(Strangers::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, api, mut stop) = (tls.clone(), api.clone(), stop.clone());
                let stranger = Arc::new(strangers.admit());
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(stream, tls, api, stranger.clone()) => {}
                        () = stranger.ended() => {}
                        _ = stop.wait_for(|stopping| *stopping) => {}
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, say: waiting lets connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, api: Arc<Api>, stranger: Arc<Stranger>) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        if api.user(request.headers()).is_some() {
            stranger.is_known();
        }
        async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
    });
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Keys, tokens and all objects are in there.
fn check_owner(data: &Path) -> Result<()> {
    let found = std::fs::metadata(data).with_context(|| format!("cannot read {}", data.display()))?;
    let (mode, us) = (found.mode() & 0o777, rustix::process::geteuid().as_raw());
    ensure!(
        mode & 0o077 == 0,
        "the data directory {0} is open to others (mode {mode:04o}): `chmod 700 {0}` closes it",
        data.display()
    );
    ensure!(
        found.uid() == us,
        "the data directory {} belongs to user {}, not to {us} who runs this: give it to one of them",
        data.display(),
        found.uid()
    );
    Ok(())
}

/// Makes the namespaces that every cluster has.
async fn found_cluster(store: &Store) -> Result<()> {
    const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let birth =
        || Birth { now: object::timestamp(jiff::Timestamp::now()), uid: uuid::Uuid::new_v4().to_string() };
    let made = store.write(false, move |tx| {
        let kind = Kind::core("namespaces");
        for name in NAMESPACES {
            match tx.get(kind, "", name) {
                // A damaged one is there, and keeps nobody from what is whole.
                Ok(Some(_)) | Err(store::Error::Unreadable(_)) => continue,
                Ok(None) => {}
                Err(error) => return Err(error.into()),
            }
            let object = serde_json::json!({ "metadata": { "name": name } });
            tx.put(kind, object::create(kind, "", object, &birth())?)?;
        }
        Ok::<_, Status>(())
    });
    made.await.map_err(|status| anyhow::anyhow!("cannot make the first namespaces: {}", status.message))?;
    failpoint!("first namespaces: made");
    Ok(())
}
