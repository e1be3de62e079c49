//! The arguments of `mode`: how a pool's packets travel between nodes.

use clap::Subcommand;

#[derive(Clone, Debug, Subcommand)]
pub enum Mode {
    /// Say what a change would do on each node, and what is in its way
    Plan(ModePlanArgs),
    /// Make the change, if nothing is in its way, and show how far each node is
    Apply(ModeApplyArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ModePlanArgs {
    /// Name of the IPPool
    pub pool: String,
    #[command(flatten)]
    pub target: ModeTarget,
    /// table, json or yaml
    #[arg(short, long, default_value = "table")]
    pub output: String,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ModeApplyArgs {
    /// Name of the IPPool
    pub pool: String,
    #[command(flatten)]
    pub target: ModeTarget,
    /// Set the modes back to what they were before the last change
    #[arg(long, conflicts_with_all = ["to", "ipip", "vxlan"])]
    pub abort: bool,
}

/// What a pool should change to; a field that is not given stays.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ModeTarget {
    /// The mode by its name
    #[arg(long, value_name = "MODE", conflicts_with_all = ["ipip", "vxlan"],
        value_parser = ["ipip", "ipip-cross-subnet", "vxlan", "vxlan-cross-subnet", "direct"])]
    pub to: Option<String>,
    /// ipipMode of the pool
    #[arg(long, value_name = "WHEN", value_parser = ["Never", "CrossSubnet", "Always"])]
    pub ipip: Option<String>,
    /// vxlanMode of the pool
    #[arg(long, value_name = "WHEN", value_parser = ["Never", "CrossSubnet", "Always"])]
    pub vxlan: Option<String>,
}
