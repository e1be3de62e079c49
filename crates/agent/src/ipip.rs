//! "Who carries IP in IP in this kernel?", found out once, at the start: a module that comes later is used from the next
//! start on, and the stand-in gives the name `tunl0` back to it.

use derive::IpipDriver;
use kernel::ApplyError;
use netlink::netns::NetnsError;
use netlink::probe;

/// `--ipip-driver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    #[default]
    Auto,
    Kernel,
    StandIn,
}

/// The driver that there is; if one is asked for, that one or none. `None`: nobody carries IP in IP here.
pub(crate) fn driver(choice: Choice) -> Option<IpipDriver> {
    match choice {
        Choice::Kernel if has_module() => judged(),
        Choice::Kernel => {
            tracing::warn!(
                "--ipip-driver=kernel, but this kernel lacks its module ipip: nobody carries IPIP here"
            );
            None
        }
        Choice::StandIn => taught(),
        Choice::Auto if has_module() => judged(),
        Choice::Auto => taught(),
    }
}

fn has_module() -> bool {
    probe::has_ipip().unwrap_or_else(|error| {
        tracing::warn!("cannot find out whether this kernel has IPIP: {error}");
        false
    })
}

fn taught() -> Option<IpipDriver> {
    taken("does not take the stand-in for its module ipip", probe::takes_stand_in())
        .then_some(IpipDriver::StandIn)
}

/// Nothing is let in by IPIP that no filter has judged.
fn judged() -> Option<IpipDriver> {
    taken("has IPIP, but takes no filter that judges what comes by it", probe::takes_filters())
        .then_some(IpipDriver::Kernel)
}

/// Whether the kernel took what was tried; `lack` says what it means if it did not.
fn taken(lack: &str, tried: Result<Result<(), ApplyError>, NetnsError>) -> bool {
    match tried {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::info!("this kernel {lack}: {error}"),
        Err(error) => tracing::warn!("cannot find out whether this kernel {lack}: {error}"),
    }
    false
}
