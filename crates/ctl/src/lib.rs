//! The command line: `calicoctl`'s commands with its words, `status` and `mode` beyond them.
//!
//! ```text
//!   argv ──cli──► Args ──► get write patch ipam version status ──► store ──datastore──► API server
//!                           │                                      └ views: Node, WorkloadEndpoint, Profile
//!                           ├──► node_status, diags ──► the agent's socket
//!                           └──► checksystem, diags ──► this machine's kernel
//! ```
//!
//! A command reads and writes JSON documents; what a kind is called, how its table looks and how it is stored stands in one
//! table ([`kind`]). Output is data on standard output, complaints on standard error, status 0 or 1.

mod agent;
mod cells;
mod checksystem;
mod cli;
mod connect;
mod diags;
mod document;
mod failure;
mod get;
mod inquiry;
mod ipam;
mod kind;
mod lock;
mod mode;
mod namespace;
mod node_status;
mod output;
mod patch;
mod session;
mod status;
mod store;
mod version;
mod views;
mod write;

pub use output::safe::safe;

pub use cli::Args;
pub use session::Io;

use cli::{Command, Ipam, Node, Parsed};
use failure::Failure;
use session::Session;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use store::Write;

/// Runs `calicoctl` (or `tortie ctl`, or `kubectl calico`) on the process's own streams. `argv` begins with a name.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let argv: Vec<OsString> = argv.into_iter().collect();
    on_own_streams(async |io| execute(&argv, io).await)
}

/// Runs a command line that was parsed already.
pub fn run(args: Args) -> ExitCode {
    on_own_streams(async |io| finish(args, io).await)
}

fn on_own_streams(act: impl AsyncFnOnce(Io<'_>) -> u8) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("cannot start: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (mut stdin, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let is_terminal = out.is_terminal();
    let io = Io { stdin: &mut stdin, out: &mut out, err: &mut err, is_terminal };
    ExitCode::from(runtime.block_on(act(io)))
}

/// Runs a command line on the given streams, inside a tokio runtime; the exit status.
pub async fn execute(argv: &[OsString], io: Io<'_>) -> u8 {
    match cli::parse(argv) {
        Parsed::Run(args) => finish(*args, io).await,
        Parsed::Print { out, err, status } => {
            let (out, err) = (output::safe::safe(&out), output::safe::safe(&err));
            // Nobody is left to tell if the streams are closed.
            let _ = io.out.write_all(out.as_bytes()).and_then(|()| io.err.write_all(err.as_bytes()));
            status
        }
    }
}

async fn finish(args: Args, io: Io<'_>) -> u8 {
    let mut session = Session { io, global: args.global };
    let result = dispatch(&mut session, args.command).await;
    let Err(Failure { text, on_stdout }) = result else { return 0 };
    let stream = if on_stdout { session.io.out } else { session.io.err };
    // Nobody is left to tell if the stream is closed.
    let _ = writeln!(stream, "{}", output::safe::safe(&text));
    1
}

/// `node run` starts a container of Calico's with docker.
const NO_CONTAINER: &str = "nothing was started: the agent is this program, run `tortie node` on the node (its flags are in `tortie node --help`)";

async fn dispatch(session: &mut Session<'_>, command: Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => get::run(session, &args).await,
        Command::Create(args) => write::create(session, &args).await,
        Command::Apply(args) => write::run(session, &args, Write::Apply, false).await,
        Command::Replace(args) => write::run(session, &args, Write::Replace, false).await,
        Command::Patch(args) => patch::patch(session, &args).await,
        Command::Delete(args) => write::delete(session, &args).await,
        Command::Label(args) => patch::label(session, &args).await,
        Command::Validate(args) => write::validate(session, &args),
        Command::Ipam(Ipam::Show(args)) => ipam::show::run(session, &args).await,
        Command::Ipam(Ipam::Check(args)) => ipam::check::run(session, &args).await,
        Command::Ipam(Ipam::Release(args)) => ipam::release::run(session, &args).await,
        Command::Ipam(Ipam::Split(args)) => ipam::split::run(session, &args).await,
        Command::Datastore(command) => lock::run(session, &command).await,
        Command::Ipam(Ipam::Configure(args)) => ipam::configure::run(session, &args).await,
        Command::Node(Node::Status(args)) => node_status::run(session, &args).await,
        Command::Node(Node::Checksystem(args)) => checksystem::run(session, args.kernel_config.as_deref()),
        Command::Node(Node::Diags(args)) => diags::run(session, &args).await,
        Command::Node(Node::Run(_)) => Err(Failure::new(NO_CONTAINER)),
        Command::Version(args) => version::run(session, &args).await,
        Command::Status(args) => status::run(session, &args).await,
        Command::Mode(command) => mode::run(session, &command).await,
    }
}
