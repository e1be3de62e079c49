//! `tortie apiserver`: a small Kubernetes-style API server on SQLite, for clusters of one machine.
//!
//! It answers Kubernetes' REST conventions (get, list, watch, create, update, patch, delete, tables, discovery)
//! for the few core kinds that a network needs and for Calico's `projectcalico.org/v3`, of which
//! `crd.projectcalico.org/v1` is another view. Whoever outgrows it points agents and tools to a real kube-apiserver and
//! changes nothing else.
//!
//! ```text
//!   client ──TLS──► server ──► auth ──► rest ──┬─ reads ───────────► store (SQLite, many readers)
//!                                              ├─ writes ──queue──► store::writer (one thread, group commit, fsync)
//!                                              └─ watches ◄──pull── store::Recent ◄── durable changes ──┘
//! ```
//!
//! Invariants: an acknowledged write survives `kill -9` and a power cut; a watch and a read show durable writes
//! only; there is one revision counter and it never falls; a slow watcher slows nobody.

mod admit;
mod args;
mod auth;
mod core;
mod discovery;
mod expiry;
mod json;
mod kinds;
mod kubeconfig;
mod lists;
mod managed;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod rest;
mod rights;
mod select;
mod server;
mod status;
mod store;
mod strangers;
mod table;
mod tls;
mod view;
mod watch;

pub use args::{Args, NodeKubeconfig};
pub use server::{Config, Server};

/// Runs the API server until SIGTERM or SIGINT.
///
/// # Errors
/// A busy port, a damaged or locked data directory, a kubeconfig that cannot be written: one sentence each.
pub fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    // Reads are short: a few threads do them all, each with its connection.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(async {
        let (config, kubeconfigs) = args.split();
        let server = Server::start(config).await?;
        for (path, node) in kubeconfigs {
            let token = match &node {
                Some(node) => server.node_token(node)?,
                None => server.admin_token.clone(),
            };
            kubeconfig::write(&path, &server, node.as_deref().unwrap_or("admin"), &token)?;
        }
        tracing::info!(url = server.url(), "serving");
        terminated().await?;
        tracing::info!("stopping");
        server.stop().await;
        Ok(())
    })
}

/// A connection is a file: silent clients may not use up the few that a shell allows.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
