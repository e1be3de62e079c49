//! Cluster-wide work, which no node does for itself: the collector of addresses, the ClusterInformation of a cluster that
//! has none, and questions to nodes that nobody waits for any more.
//!
//! ```text
//!   API ──watches──► ┌─────────────────────┐ ──reads, compare-and-swap writes──► API
//!                    │ ipam::collect, pure │
//!   Lease ─ leads? ► └─────────────────────┘ ──account──► /metrics, log, the Lease's annotation
//! ```
//!
//! Several may run; the one that holds the Lease works. That is for thrift and not for safety: what two of them do at a time
//! is compare-and-swap all the same. Where Calico's kube-controllers run, this role is not to be started: both would be
//! right, and do everything twice.

mod account;
mod lead;
mod metrics;
mod questions;
mod run;

use ipam::collect::Patience;
use model::Duration;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Do the cluster's own work: give back the addresses, handles and blocks that nobody uses any more. One process for a
/// cluster; of several, the one that holds the Lease works.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kubeconfig of the API server [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// How long an address may look unused before it is given back (15m, 90s; Calico's leakGracePeriod); at least 20s
    #[arg(long, env = "LEAK_GRACE_PERIOD", value_name = "SPAN", default_value = "15m", value_parser = span)]
    pub leak_grace_period: Duration,

    /// How long a Node object may be gone before what the node had is given back
    #[arg(long, env = "NODE_GRACE_PERIOD", value_name = "SPAN", default_value = "1m", value_parser = span)]
    pub node_grace_period: Duration,

    /// How long a command's question to a node may stand before it is taken away: longer than any command waits
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = span, hide = true)]
    pub question_grace_period: Duration,

    /// Namespace of the Lease `tortie-controller`
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "kube-system")]
    pub namespace: String,

    /// Serve /metrics, /liveness and /readiness here
    #[arg(long, env = "TORTIE_METRICS", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9094")]
    pub metrics: SocketAddr,
}

/// An ADD lasts 8 s at most; half of what is looked at must not be younger than that.
const SHORTEST_LEAK: Duration = Duration::from_secs(20);

fn span(text: &str) -> Result<Duration, String> {
    Duration::parse_go(text).map_err(|e| e.to_string())
}

impl Args {
    fn patience(&self) -> anyhow::Result<Patience> {
        let patience = Patience { leak: self.leak_grace_period, node: self.node_grace_period };
        anyhow::ensure!(
            patience.leak >= SHORTEST_LEAK,
            "--leak-grace-period is {}: an address that a pod is just getting looks unused for a while, give at least {}",
            patience.leak.to_go(),
            SHORTEST_LEAK.to_go()
        );
        anyhow::ensure!(patience.node >= Duration::from_secs(1), "--node-grace-period must be at least 1s");
        anyhow::ensure!(
            self.question_grace_period >= Duration::from_secs(1),
            "--question-grace-period must be at least 1s"
        );
        Ok(patience)
    }
}

/// Runs until a signal ends it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let patience = args.patience()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run::run(args, patience))
}
