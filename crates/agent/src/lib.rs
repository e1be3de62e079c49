//! The node agent: a shell around `node::Node`, which decides everything. Here are its tasks and threads, the socket, the
//! files, health and metrics, and how it starts.
//!
//! One current-thread runtime holds the core, the watches, the API requests in flight and the socket's connections; two
//! threads wait for the kernel (`writer`) and for the disk (`files`), and one speaks BGP (`speaker`). Each state has one
//! owner, no lock is shared. On exit, crash or upgrade the kernel goes on as it was left.

mod address;
mod api;
mod args;
mod clock;
mod core;
mod files;
mod health;
pub mod http;
mod inbox;
mod inquiry;
mod ipip;
mod method;
mod node_name;
mod own_address;
mod queued;
mod renumbered;
mod server;
pub mod speaker;
mod start;
mod supervise;
mod writer;

pub use args::Args;

/// Runs the agent until SIGTERM or SIGINT; as the first process of a container, in a second process that is started again when it
/// dies.
///
/// # Errors
/// What keeps it from starting, in one sentence: no address, a busy socket, a kubeconfig that cannot be used.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if supervise::is_wanted() {
        return runtime.block_on(supervise::run());
    }
    runtime.block_on(start::run(args))
}
