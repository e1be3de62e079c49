//! `node status`: whether this node's agent runs, and with whom it speaks BGP.

use crate::agent::{self, Error};
use crate::failure::Failure;
use crate::session::Session;

/// Prints what runs.
pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let status = match agent::status(&session.global.agent_socket) {
        Ok(status) => status,
        Err(Error::Away(_)) => return Err(Failure::new("Calico process is not running.")),
        Err(e @ Error::Silent { .. }) => return Err(Failure::new(e.to_string())),
    };
    session.print("Calico process is running.\n\n")?;
    if !status.bgp {
        session.print("None of the BGP backend processes (BIRD or GoBGP) are running.\n\n")?;
    }
    Ok(())
}
