//! The multi-call program `tortie`: it decides by its name and arguments what to be, and is that.
//!
//! ```text
//!   calico, calico-ipam ─► cni::main        a container runtime calls; no runtime of our own is started
//!   calicoctl           ─► ctl::main
//!   tortie COMMAND      ─► agent, controllers, apiserver, lab, install
//! ```

mod dispatch;
mod install;
mod log;

use clap::Parser;
use dispatch::{Role, dispatch};
use std::ffi::OsString;
use std::process::ExitCode;

/// Pod networking for Kubernetes on Calico's data model.
#[derive(Parser)]
#[command(name = "tortie", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Called as `calicoctl` or `kubectl-calico` it is `tortie ctl`; called as `calico` by a container runtime it is `tortie cni`.
A first look, on one machine and without a cluster: tortie lab up";

#[derive(clap::Subcommand)]
enum Command {
    Node(agent::Args),
    Controller(controllers::Args),
    Apiserver(apiserver::Args),
    Lab(lab::Args),
    /// Read and change Calico's resources, as calicoctl does: see `tortie ctl --help`.
    #[command(disable_help_flag = true)]
    Ctl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Be the CNI plugin: the request is in the environment and on stdin (CNI specification 1.1.0).
    Cni,
    Install(install::Args),
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    end_by_a_panic();
    let argv: Vec<OsString> = std::env::args_os().collect();
    match dispatch(&argv, std::env::var_os("CNI_COMMAND").as_deref()) {
        Role::Cni(plugin) => be_cni(plugin),
        Role::Ctl(argv) => ctl::main(argv),
        Role::Tortie => match run(Cli::parse_from(argv).command) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn be_cni(plugin: cni::Plugin) -> ExitCode {
    let (mut stdin, mut stdout, mut stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let env = |name: &str| std::env::var_os(name);
    ExitCode::from(cni::main(plugin, env, &mut stdin, &mut stdout, &mut stderr))
}

/// A panic ends the process, whatever the profile: a task would swallow it. A reader that has seen enough
/// (`tortie lab status | head`) is no failure of ours.
fn end_by_a_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe"))
        {
            std::process::exit(BROKEN_PIPE);
        }
        hook(panic);
        std::process::abort();
    }));
}

/// 128 and the number of SIGPIPE, as shells show a program that it ended.
const BROKEN_PIPE: i32 = 141;

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Node(args) => {
            log::to_stderr();
            agent::run(args)?;
        }
        Command::Controller(args) => {
            log::to_stderr();
            controllers::run(args)?;
        }
        Command::Apiserver(args) => {
            log::to_stderr();
            apiserver::run(args)?;
        }
        Command::Lab(args) => return lab::run(args),
        Command::Install(args) => install::run(&args)?,
        Command::Version => println!("tortie {}", env!("CARGO_PKG_VERSION")),
        Command::Ctl { .. } | Command::Cni => unreachable!("dispatch has taken them"),
    }
    Ok(ExitCode::SUCCESS)
}
