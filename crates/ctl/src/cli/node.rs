//! The arguments of `node`: the agent and the kernel of this machine.

use super::Ignored;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Clone, Debug, Subcommand)]
pub enum Node {
    /// Say whether the agent runs, and with whom it speaks BGP
    Status(NodeStatusArgs),
    /// Say whether this kernel can run a node, and which modes and drivers it has
    Checksystem(NodeChecksystemArgs),
    /// Collect what helps to find a fault on this node in one file, without secrets
    Diags(NodeDiagsArgs),
    /// Not here: says what to use instead
    #[command(hide = true)]
    Run(Ignored),
}

#[derive(Clone, Debug, clap::Args)]
pub struct NodeStatusArgs {
    /// Another node, asked by the API: a CalicoNodeStatus that is deleted once it is answered
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// table, json or yaml
    #[arg(short, long, default_value = "table")]
    pub output: String,
}

#[derive(Clone, Debug, clap::Args)]
pub struct NodeChecksystemArgs {
    /// Taken for scripts' sake and not read: the kernel itself is tried out
    #[arg(short = 'f', long, value_name = "FILE")]
    pub kernel_config: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct NodeDiagsArgs {
    /// Folder with logs to take along
    #[arg(long, value_name = "DIR", default_value = "/var/log/calico")]
    pub log_dir: PathBuf,
    /// Folder with the agent's state
    #[arg(long, value_name = "DIR", default_value = "/var/lib/calico")]
    pub state_dir: PathBuf,
    /// Folder for the file that is made
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub output_dir: PathBuf,
}
