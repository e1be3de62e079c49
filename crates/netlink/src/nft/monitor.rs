//! Tells when somebody else changed a table of ours.

use super::numbers::{GEN_ID, GEN_PROC_NAME, GEN_PROC_PID, NFNLGRP_NFTABLES, TABLE, msg};
use super::{family_number, nf_tables, our_tables};
use crate::message::{Received, received};
use crate::monitor::MonitorError;
use crate::socket::{Protocol, Socket};
use kernel::nft::TableKey;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Somebody changed tables of ours, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub tables: BTreeSet<TableKey>,
    /// Of the whole ruleset, after the change.
    pub generation: u32,
    /// Process id and name, as the kernel tells them.
    pub pid: u32,
    pub process: String,
}

/// Listens in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    /// The port of the socket that we write with.
    own: u32,
    /// Tables of ours that others touched since the last generation.
    tables: BTreeSet<TableKey>,
}

impl Monitor {
    /// Opens a monitor with a receive buffer of `buffer` bytes, which leaves out what is changed through the port `own`
    /// ([`crate::Writer::rules_port`]). Whoever dumps after this misses nothing.
    pub fn open(buffer: usize, own: u32) -> Result<Monitor, MonitorError> {
        let open = || -> io::Result<Socket> {
            let socket = Socket::open(Protocol::Netfilter)?;
            socket.receive_buffer(buffer)?;
            socket.join(NFNLGRP_NFTABLES)?;
            Ok(socket)
        };
        let socket = open().map_err(MonitorError::Read)?;
        Ok(Monitor { socket, own, tables: BTreeSet::new() })
    }

    /// Everything that has arrived, without waiting.
    pub fn read(&mut self) -> Result<Vec<Touched>, MonitorError> {
        let mut touched = Vec::new();
        loop {
            match self.socket.arrived() {
                Ok(Some(bytes)) => {
                    for message in received(bytes) {
                        touched.extend(notice(&mut self.tables, self.own, &message));
                    }
                }
                Ok(None) => return Ok(touched),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Err(MonitorError::Overrun);
                }
                Err(error) => return Err(MonitorError::Read(error)),
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Collects the tables that others touch, until a new generation says that the changes are in effect.
fn notice(tables: &mut BTreeSet<TableKey>, own: u32, message: &Received<'_>) -> Option<Touched> {
    let (kind, family, attrs) = nf_tables(message)?;
    if kind == msg::NEWGEN {
        let tables = std::mem::take(tables);
        return (!tables.is_empty()).then(|| Touched {
            tables,
            generation: attrs.be32(GEN_ID).unwrap_or(0),
            pid: attrs.be32(GEN_PROC_PID).unwrap_or(0),
            process: attrs.text(GEN_PROC_NAME).unwrap_or_default().to_owned(),
        });
    }
    let name = attrs.text(TABLE)?;
    let ours = our_tables().into_iter().find(|key| key.name == name && family_number(key.family) == family);
    tables.extend(ours.filter(|_| message.port != own));
    None
}
