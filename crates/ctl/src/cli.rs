//! The command line: what may be typed, and what is said about what may not.

use clap::{CommandFactory, Parser, Subcommand, error::ContextKind, error::ContextValue, error::ErrorKind};
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
    Validate(ValidateArgs),
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

/// Where resources are read from.
#[derive(Clone, Debug, clap::Args)]
pub struct FileArgs {
    /// File, folder, or - for standard input
    #[arg(short, long, value_name = "FILENAME")]
    pub filename: String,
    /// Read the folders of a folder, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A source without resources is no error
    #[arg(long)]
    pub skip_empty: bool,
    /// Namespace of the resources that name none
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// A resource that exists counts as created
    #[arg(long)]
    pub skip_exists: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ValidateArgs {
    /// File, folder, or - for standard input
    #[arg(short, long, value_name = "FILENAME")]
    pub filename: String,
    /// Read the folders of a folder, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A source without resources is no error
    #[arg(long)]
    pub skip_empty: bool,
}

/// Resources by kind and name, or by file.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Kind, as in `ippool`
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub kind: Option<String>,
    /// Names; none for all
    pub names: Vec<String>,
    /// File, folder, or - for standard input, that names the resources
    #[arg(short, long, value_name = "FILENAME")]
    pub filename: Option<String>,
    /// Read the folders of a folder, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A source without resources is no error
    #[arg(long)]
    pub skip_empty: bool,
    /// Namespace of the resources
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// ps, wide, yaml, json, custom-columns=HEADING,…, go-template=TEXT, go-template-file=FILE
    #[arg(short, long, default_value = "ps")]
    pub output: String,
    /// Resources of all namespaces
    #[arg(short = 'A', long, visible_short_alias = 'a')]
    pub all_namespaces: bool,
    /// Leave out what belongs to this cluster only
    #[arg(long)]
    pub export: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// A resource that does not exist counts as deleted
    #[arg(short, long)]
    pub skip_not_exists: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct PatchArgs {
    pub kind: String,
    pub name: String,
    /// The patch, as JSON or YAML
    #[arg(short, long, allow_hyphen_values = true)]
    pub patch: String,
    /// strategic, merge or json
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "strategic")]
    pub patch_type: String,
    /// Namespace of the resource
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct LabelArgs {
    pub kind: String,
    pub name: String,
    /// KEY=VALUE, or KEY with --remove
    pub label: String,
    /// Change a label that has another value
    #[arg(long)]
    pub overwrite: bool,
    /// Remove the label
    #[arg(long, conflicts_with = "overwrite")]
    pub remove: bool,
    /// Namespace of the resource
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
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

/// Whatever follows.
#[derive(Clone, Debug, clap::Args)]
pub struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
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

/// What is wrong with a command line, and how it should look: a sentence, then the usage of the command meant.
fn complaint(argv: &[OsString], error: &clap::Error) -> String {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let sentence = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            format!("unknown command: \"{}\"\n", given(ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument => match given(ContextKind::InvalidArg) {
            flag if flag.starts_with('-') => format!("unknown flag: \"{flag}\"\n"),
            word => format!("unexpected argument: \"{word}\"\n"),
        },
        ErrorKind::InvalidValue if given(ContextKind::InvalidValue).is_empty() => {
            let last = argv.last().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
            format!("{last} requires argument\n")
        }
        ErrorKind::InvalidValue => {
            format!(
                "invalid value \"{}\" for {}\n",
                given(ContextKind::InvalidValue),
                given(ContextKind::InvalidArg)
            )
        }
        ErrorKind::ArgumentConflict => {
            format!(
                "{} cannot be used with {}\n",
                given(ContextKind::InvalidArg),
                given(ContextKind::PriorArg)
            )
        }
        _ => String::new(),
    };
    sentence + &usage(argv)
}

/// The usage of the command that a command line begins with.
fn usage(argv: &[OsString]) -> String {
    let words: Vec<&str> =
        argv.iter().skip(1).filter_map(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-')).collect();
    let first =
        |known: &[&'static str]| words.first().and_then(|word| known.iter().copied().find(|k| k == word));
    const SCOPE: &str =
        "[--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]";
    let body = match first(&["get", "create", "apply", "replace", "delete", "patch", "label", "validate", "version"]) {
        Some(command @ ("apply" | "replace")) => {
            let indent = " ".repeat(13 + command.len());
            format!("{command} --filename=<FILENAME> [--recursive] [--skip-empty]\n{indent}{SCOPE}")
        }
        Some("create") => format!(
            "create --filename=<FILENAME> [--recursive] [--skip-empty]\n                   [--skip-exists] {SCOPE}"
        ),
        Some("get") => "get ( (<KIND> [<NAME>...]) |\n                --filename=<FILENAME> [--recursive] [--skip-empty] )\n                \
             [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] [--all-namespaces] [--export] [--context=<context>] [--allow-version-mismatch]"
            .to_owned(),
        Some("delete") => format!(
            "delete ( (<KIND> [<NAME>...]) |\n                   --filename=<FILE> [--recursive] [--skip-empty] )\n                   [--skip-not-exists] {SCOPE}"
        ),
        Some("patch") => format!("patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] {SCOPE}"),
        Some("label") => format!("label <KIND> <NAME> ( <key>=<value> [--overwrite] | <key> [--remove] )\n                  {SCOPE}"),
        Some("validate") => {
            "validate --filename=<FILENAME> [--recursive] [--skip-empty] [--allow-version-mismatch]".to_owned()
        }
        _ => return rendered_usage(&words),
    };
    format!("Usage:\n  calicoctl {body}\n")
}

/// The usage of a command that `calicoctl` has with other flags, or not at all.
fn rendered_usage(words: &[&str]) -> String {
    let mut command = Args::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        if found.find_subcommand(word).is_none() {
            break;
        }
        found = found.find_subcommand_mut(word).expect("it was found above");
    }
    let usage = found.render_usage().to_string();
    let commands: String = found
        .get_subcommands()
        .map(|command| {
            format!("    {:<12} {}\n", command.get_name(), command.get_about().cloned().unwrap_or_default())
        })
        .collect();
    let usage = usage.trim_start_matches("Usage:").trim();
    match commands.is_empty() {
        true => format!("Usage:\n  {usage}\n"),
        false => format!("Usage:\n  {usage}\n\n{commands}"),
    }
}
