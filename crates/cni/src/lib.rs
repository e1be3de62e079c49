//! The CNI plugin: a thin client of the node agent's socket. It checks the specification's side of a request (environment,
//! configuration, version), opens the pod's network namespace, hands both to the agent, and prints the answer in the
//! version that the runtime asked for.
//!
//! ```text
//!  runtime ──environment, JSON──► environment, netconf ──► agent ──Call + namespace──► node agent
//!          ◄──result or error──── result, error        ◄──      ◄──Answer────────────
//!                                                           └─ agent away: DEL ─► queue (files) ─► node agent, later
//! ```
//!
//! Follows the CNI specification 1.1.0 (<https://www.cni.dev/docs/spec/>) and speaks every version since 0.1.0. No runtime,
//! no thread, no state but the queue. Whatever the environment and stdin hold, the outcome is a result or an error object.

mod agent;
pub mod durable;
mod environment;
mod error;
mod netconf;
mod netns;
pub mod queue;
mod request;
mod result;
pub mod sealed;
mod version;

pub use error::Error;
pub use version::Version;

use agent::NoReply;
use environment::{Environment, Verb};
use failpoint::failpoint;
use netconf::NetConf;
use node::cni::{Command, Reply};
use std::ffi::OsString;
use std::io::{Read, Write};

/// Which of Calico's two plugins is called, by the name of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `calico`: a pod's interface, addresses and routes.
    Network,
    /// `calico-ipam`: with Calico a program of its own; here addresses come with the network plugin.
    Ipam,
}

/// Runs the plugin once. Returns the exit status: 0, or 1 with an error object on `stdout`.
pub fn main(
    plugin: Plugin,
    env: impl Fn(&str) -> Option<OsString>,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let mut version = None;
    let output = run(plugin, &env, stdin, &mut version);
    failpoint!("plugin: to print");
    let printed = match output {
        Ok(Output::Nothing) => return 0,
        Ok(Output::About) => return u8::from(writeln!(stderr, "{}", about()).is_err()),
        Ok(Output::Stdout(text)) => stdout.write_all(text.as_bytes()).map(|()| 0),
        Err(error) => stdout.write_all(error.print(version).as_bytes()).map(|()| 1),
    };
    // Whoever reads nothing learns from the status that there was something to read.
    let status = printed.and_then(|status| stdout.flush().map(|()| status)).unwrap_or(1);
    failpoint!("plugin: printed");
    status
}

enum Output {
    Nothing,
    /// What to say to a person who calls the plugin by hand.
    About,
    Stdout(String),
}

fn run(
    plugin: Plugin,
    env: &impl Fn(&str) -> Option<OsString>,
    stdin: &mut dyn Read,
    version: &mut Option<Version>,
) -> Result<Output, Error> {
    let Some(environment) = Environment::read(env)? else { return Ok(Output::About) };
    if environment.verb == Verb::Version {
        return Ok(Output::Stdout(version::report()));
    }
    let netconf = NetConf::read(stdin)?;
    let requested = netconf.version()?;
    *version = Some(requested);
    requested.allows(environment.verb)?;
    netconf.validate()?;
    match (plugin, environment.verb) {
        (Plugin::Ipam, Verb::Add) => return Err(Error::NotAnIpamPlugin),
        (Plugin::Ipam, _) => return Ok(Output::Nothing),
        (Plugin::Network, _) => {}
    }
    let (request, netns) = request::build(&environment, &netconf)?;
    let deadline = agent::deadline(environment.verb);
    match agent::call(&netconf.agent_socket, &request, netns.as_ref(), deadline) {
        Ok(Reply::Added(added)) => Ok(Output::Stdout(result::print(&added, requested))),
        Ok(Reply::Done) => Ok(Output::Nothing),
        Ok(Reply::Failed(failure)) => Err(Error::Agent(failure)),
        Err(_) if request.command == Command::Del => {
            queue::put(&netconf.del_queue(), &request)?;
            Ok(Output::Nothing)
        }
        Err(NoReply::Refused(why)) => Err(Error::AgentRefuses(why)),
        Err(NoReply::Away(cause)) => {
            Err(Error::AgentAway { verb: environment.verb, socket: netconf.agent_socket, cause })
        }
    }
}

fn about() -> String {
    let versions: Vec<&str> = Version::ALL.iter().map(|v| v.as_str()).collect();
    format!(
        "Tortie CNI plugin v{}, a client of the node agent (`tortie node`)\nCNI protocol versions supported: {}",
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    )
}
