//! The command line: what may be typed (`resources`, `ipam`, `node`, `mode`), and what is said of what may not (`complaint`).

mod complaint;
mod ipam;
mod mode;
mod node;
mod resources;

pub use ipam::{
    Datastore, Ipam, IpamCheckArgs, IpamConfigureArgs, IpamReleaseArgs, IpamShowArgs, IpamSplitArgs, Migrate,
};
pub use mode::{Mode, ModeApplyArgs, ModePlanArgs, ModeTarget};
pub use node::{Node, NodeDiagsArgs, NodeStatusArgs};
pub use resources::{CreateArgs, DeleteArgs, FileArgs, GetArgs, LabelArgs, PatchArgs, Selection, SourceArgs};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use complaint::complaint;
use std::ffi::OsString;
use std::path::PathBuf;

/// Manage Calico's resources, addresses and nodes.
#[derive(Clone, Debug, Parser)]
#[command(name = "calicoctl", disable_help_subcommand = true, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// One of panic, fatal, error, warn, info, debug
    #[arg(short, long, global = true, value_name = "LEVEL", default_value = "panic")]
    pub log_level: String,
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Go on though client and cluster differ in version
    #[arg(long, global = true)]
    pub allow_version_mismatch: bool,
    /// File that says how to reach the API: a CalicoAPIConfig or a kubeconfig
    #[arg(short, long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Kubeconfig to use instead of KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Socket of this node's agent
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "TORTIE_AGENT_SOCKET",
        default_value = "/var/run/calico/agent.sock"
    )]
    pub agent_socket: PathBuf,
}

/// Read if it exists; any other file must.
pub const DEFAULT_CONFIG: &str = "/etc/calico/calicoctl.cfg";

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show resources by kind and name, or by file
    Get(GetArgs),
    /// Create the resources of a file, folder or standard input
    Create(CreateArgs),
    /// Create resources or replace those that exist
    Apply(FileArgs),
    /// Replace resources that exist
    Replace(FileArgs),
    /// Change fields of one resource
    Patch(PatchArgs),
    /// Delete resources by kind and name, or by file
    Delete(DeleteArgs),
    /// Set or remove a label of one resource
    Label(LabelArgs),
    /// Say whether resources would be accepted, without an API server
    Validate(SourceArgs),
    /// Show, check and release addresses
    #[command(subcommand)]
    Ipam(Ipam),
    /// Lock and unlock the datastore
    #[command(subcommand)]
    Datastore(Datastore),
    /// Show the agent of this node
    #[command(subcommand)]
    Node(Node),
    /// Show the versions of this program and of the cluster
    Version(VersionArgs),
    /// Show the whole cluster: nodes, how they reach each other, what is wrong
    Status(StatusArgs),
    /// Change how a pool's packets travel between nodes, without losing one
    #[command(subcommand)]
    Mode(Mode),
}

#[derive(Clone, Debug, clap::Args)]
pub struct VersionArgs {
    /// Show the version of this program alone
    #[arg(long)]
    pub client: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// table, json or yaml
    #[arg(short, long, default_value = "table")]
    pub output: String,
}

/// Whatever follows.
#[derive(Clone, Debug, clap::Args)]
pub struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// What the command line means: a command, or text to print and an exit status.
pub enum Parsed {
    Run(Box<Args>),
    Print { out: String, err: String, status: u8 },
}

/// Reads a command line, the program's name first.
pub fn parse(argv: &[OsString]) -> Parsed {
    if argv.get(1).is_some_and(|arg| arg == "--version" || arg == "-V") {
        let out = "Run 'calicoctl version' to see version information.\n".to_owned();
        return Parsed::Print { out, err: String::new(), status: 0 };
    }
    match Args::try_parse_from(argv) {
        Ok(args) => match log_level(&args.global.log_level) {
            Ok(()) => Parsed::Run(Box::new(args)),
            Err(out) => Parsed::Print { out, err: String::new(), status: 1 },
        },
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Parsed::Print { out: e.to_string(), err: String::new(), status: 0 }
        }
        Err(e) => Parsed::Print { out: String::new(), err: complaint(argv, &e), status: 1 },
    }
}

fn log_level(level: &str) -> Result<(), String> {
    match level {
        "panic" | "fatal" | "error" | "warn" | "info" | "debug" => Ok(()),
        _ => Err(format!(
            "Unknown log level: {level}, expected one of: \npanic, fatal, error, warn, info, debug.\n"
        )),
    }
}
