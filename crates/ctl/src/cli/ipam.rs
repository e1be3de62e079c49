//! The arguments of `ipam`, and of `datastore`, which holds addresses still meanwhile.

use super::Ignored;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Clone, Debug, Subcommand)]
pub enum Ipam {
    /// Show how full the pools are, who has an address, or the configuration
    Show(IpamShowArgs),
    /// Compare what is assigned with what is in use
    Check(IpamCheckArgs),
    /// Free an address that nothing uses any more
    Release(IpamReleaseArgs),
    /// Make several smaller pools of one
    Split(IpamSplitArgs),
    /// Change how blocks are claimed
    Configure(IpamConfigureArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct IpamShowArgs {
    /// Who has this address
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// Show the blocks of each pool
    #[arg(long)]
    pub show_blocks: bool,
    /// Show addresses that a node took from another's block
    #[arg(long)]
    pub show_borrowed: bool,
    /// Show the configuration
    #[arg(long)]
    pub show_configuration: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct IpamCheckArgs {
    /// List every address
    #[arg(long)]
    pub show_all_ips: bool,
    /// List the addresses with a problem
    #[arg(long)]
    pub show_problem_ips: bool,
    /// Write a report here, as JSON
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct IpamReleaseArgs {
    /// The address to free
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// Report of `ipam check -o`: free what it calls leaked; of several, what all of them call so
    #[arg(long, value_name = "REPORT")]
    pub from_report: Vec<PathBuf>,
    /// Also with the datastore unlocked, or a report of another version
    #[arg(long)]
    pub force: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct IpamSplitArgs {
    /// How many pools to make, a power of two
    pub number: String,
    /// CIDR of the IPPool
    #[arg(long, value_name = "CIDR")]
    pub cidr: Option<String>,
    /// Name of the IPPool
    #[arg(long, value_name = "POOL_NAME")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct IpamConfigureArgs {
    /// true: nodes never take addresses from each other's blocks
    #[arg(long, value_name = "true/false")]
    pub strictaffinity: Option<String>,
    /// Blocks that a node may have
    #[arg(long, value_name = "NUMBER")]
    pub max_blocks_per_host: Option<String>,
    /// Whether a KubeVirt machine keeps its addresses when it is stopped
    #[arg(long, value_name = "Enabled|Disabled")]
    pub kubevirt_ip_persistence: Option<String>,
    /// How long an address that was given back rests before it is given again, 0 to 1200
    #[arg(long, value_name = "SECONDS")]
    pub ip_cooldown_seconds: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Datastore {
    /// Hold the datastore still while its addresses are put in order
    #[command(subcommand)]
    Migrate(Migrate),
}

#[derive(Clone, Debug, Subcommand)]
pub enum Migrate {
    /// Have no address assigned
    Lock,
    /// Have addresses assigned again
    Unlock,
    /// Not here: says so
    #[command(hide = true)]
    Export(Ignored),
    /// Not here: says so
    #[command(hide = true)]
    Import(Ignored),
}
