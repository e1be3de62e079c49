//! A cluster on one machine: nodes and pods in network namespaces, joined by bridges.
//!
//! ```text
//!  fabric namespace: router of the lab          node namespace (master1)            pod namespaces
//!  ┌────────────────────────────────┐          ┌─────────────────────────────┐     ┌──────────────┐
//!  │ tortie apiserver  :6443        │          │ tortie node                 │     │ eth0         │
//!  │ lan0 (bridge, 192.168.50.1/24) ├─port0────┤ ens192 192.168.50.161/24    ├─────┤ 6.2.137.67   │
//!  │ lan1 (bridge, 192.168.60.1/24) ├─port1…   │ tortie lab kubelet          │cali…│              │
//!  └────────────────────────────────┘          └─────────────────────────────┘     └──────────────┘
//! ```
//!
//! Nothing of the host's network is used or changed: the fabric has no link to it. Everything of a lab is in one directory
//! ([`layout`]), so that several labs run side by side and `down` finds all that there is to remove.

mod api;
mod down;
mod exec;
mod kubelet;
mod layout;
mod network;
mod pods;
mod process;
mod processes;
mod routes;
mod seed;
mod session;
mod status;
mod table;
mod topology;
mod up;

use layout::{LabName, Layout};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
pub use topology::Mode;

/// A cluster on one machine, for trying things and for tests.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which lab: several run side by side.
    #[arg(long, global = true, default_value = "default")]
    name: LabName,
    /// Where labs keep their files.
    #[arg(long, global = true, default_value = "/run/tortie/lab", value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Start a cluster, and say what to try.
    Up(UpArgs),
    /// Show nodes and pods.
    Status,
    /// Add and delete pods.
    #[command(subcommand)]
    Pod(PodVerb),
    /// Run a command on a node or in a pod, with `calicoctl` and `kubectl` at hand.
    Exec {
        /// NODE, or NODE/POD.
        place: exec::Place,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Kill a resident process with SIGKILL: `apiserver`, `node-NODE` or `kubelet-NODE`.
    Kill { process: processes::Name },
    /// Tell a resident process to end, with SIGTERM, and wait until it has.
    Stop { process: processes::Name },
    /// Start a resident process that does not run.
    Start { process: processes::Name },
    /// End the cluster and remove all that it made.
    Down {
        /// Every lab, whatever its name.
        #[arg(long)]
        all: bool,
    },
    /// The process that becomes a command in a pod, for `kubectl exec`.
    #[command(hide = true)]
    Session {
        #[arg(long)]
        netns: PathBuf,
        /// Its stdin is a terminal, to be its own.
        #[arg(long)]
        terminal: bool,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The resident process that plays a node's kubelet.
    #[command(hide = true)]
    Kubelet {
        #[arg(long)]
        node: String,
    },
}

/// What cluster to start.
#[derive(clap::Args, Debug)]
pub struct UpArgs {
    /// How packets travel between nodes.
    #[arg(long, value_enum, conflicts_with = "file")]
    mode: Option<Mode>,
    /// How many nodes there are on the first subnet.
    #[arg(long, default_value_t = 3, conflicts_with = "file", value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// One more node, on a second subnet behind a router.
    #[arg(long, conflicts_with = "file")]
    router: bool,
    /// A cluster of your own, as YAML.
    #[arg(long, value_name = "TOPOLOGY.YAML")]
    file: Option<PathBuf>,
}

#[derive(clap::Subcommand, Debug)]
enum PodVerb {
    /// Start a pod and wait until it has its network.
    Add {
        pod: String,
        #[arg(long)]
        node: String,
        /// The address to give it, instead of any.
        #[arg(long)]
        ip: Option<IpAddr>,
    },
    /// Delete a pod and wait until it is gone.
    Delete { pod: String },
}

/// Carries a verb out.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let layout = Layout::new(&args.dir, &args.name);
    match args.verb {
        Verb::Up(up) => up::up(&layout, &up)?,
        Verb::Status => status::print(&layout)?,
        Verb::Pod(PodVerb::Add { pod, node, ip }) => pods::add(&layout, &pod, &node, ip)?,
        Verb::Pod(PodVerb::Delete { pod }) => pods::delete(&layout, &pod)?,
        Verb::Exec { place, command } => return Err(exec::exec(&layout, &place, &command)),
        Verb::Kill { process } => processes::kill(&layout, &process)?,
        Verb::Stop { process } => processes::stop(&layout, &process)?,
        Verb::Start { process } => processes::start(&layout, &process)?,
        Verb::Down { all: false } => down::down(&layout)?,
        Verb::Down { all: true } => down::down_all(&args.dir)?,
        Verb::Session { netns, terminal, command } => return session::run(&netns, terminal, &command),
        Verb::Kubelet { node } => kubelet::run(&layout, &node)?,
    }
    Ok(ExitCode::SUCCESS)
}
