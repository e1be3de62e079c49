//! "Who carries IP in IP in this kernel?", found out once, at the start: a module that comes later is used from the next
//! start on, and the stand-in gives the name `tunl0` back to it.

use derive::IpipDriver;
use netlink::probe;

/// `--ipip-driver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    #[default]
    Auto,
    Kernel,
    StandIn,
}

/// The driver that is asked for, or that there is. `None`: this kernel can neither be taught nor has it the module.
pub(crate) fn driver(choice: Choice) -> Option<IpipDriver> {
    match choice {
        Choice::Kernel => Some(IpipDriver::Kernel),
        Choice::StandIn => Some(IpipDriver::StandIn),
        Choice::Auto => found(),
    }
}

fn found() -> Option<IpipDriver> {
    match probe::has_ipip() {
        Ok(true) => return Some(IpipDriver::Kernel),
        Ok(false) => {}
        Err(error) => tracing::warn!("cannot find out whether this kernel has IPIP: {error}"),
    }
    match probe::takes_stand_in() {
        Ok(Ok(())) => Some(IpipDriver::StandIn),
        Ok(Err(error)) => {
            tracing::info!("this kernel lacks IPIP and does not take the stand-in for it: {error}");
            None
        }
        Err(error) => {
            tracing::warn!("cannot find out whether this kernel takes the stand-in for IPIP: {error}");
            None
        }
    }
}
