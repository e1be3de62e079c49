//! Tells when somebody else changed a table of ours.

use super::numbers::{GEN_ID, GEN_PROC_NAME, GEN_PROC_PID, NFNLGRP_NFTABLES, TABLE, msg};
use super::{dump, family_number, nf_tables, our_tables};
use crate::message::{Received, received};
use crate::monitor::{Event, MonitorError, discard, is_overrun};
use crate::socket::{Protocol, Socket};
use kernel::nft::TableKey;
use kernel::{Key, Value};
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
    /// For reading what was touched.
    queries: Socket,
    /// The port of the socket that we write with.
    own: Option<u32>,
    /// Tables of ours that others touched since the last generation.
    tables: BTreeSet<TableKey>,
}

impl Monitor {
    /// Opens a monitor with a receive buffer of `buffer` bytes. Whoever dumps after this misses nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(buffer: usize) -> io::Result<Monitor> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.receive_buffer(buffer)?;
        socket.join(NFNLGRP_NFTABLES)?;
        let queries = Socket::open(Protocol::Netfilter)?;
        Ok(Monitor { socket, queries, own: None, tables: BTreeSet::new() })
    }

    /// Leaves out what is changed through this port.
    pub fn leave_out(&mut self, port: u32) {
        self.own = Some(port);
    }

    /// Everything that has arrived, without waiting: who touched what.
    ///
    /// # Errors
    /// [`MonitorError::Overrun`] if something was lost.
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
                Err(error) if is_overrun(&error) => {
                    discard(&mut self.socket);
                    self.tables.clear();
                    return Err(MonitorError::Overrun);
                }
                Err(error) => return Err(MonitorError::Read(error)),
            }
        }
    }

    /// The tables of ours that were touched, as they are now; all of them if notifications were lost (others may change
    /// much at once: kube-proxy's tables are told of too).
    ///
    /// # Errors
    /// [`MonitorError::Overrun`] if the tables cannot be read.
    pub fn events(&mut self) -> Result<Vec<Event>, MonitorError> {
        let tables: BTreeSet<TableKey> = match self.read() {
            Ok(touched) => {
                touched.iter().for_each(|touched| tracing::debug!("nftables: {touched:?}"));
                touched.into_iter().flat_map(|touched| touched.tables).collect()
            }
            Err(MonitorError::Overrun) => our_tables().into(),
            Err(error) => return Err(error),
        };
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = dump(&mut self.queries).map_err(|_| MonitorError::Overrun)?;
        let event = |table: TableKey| match found.remove(&table) {
            Some(value) => Event::Put(Key::Nft(table), Value::Nft(Box::new(value))),
            None => Event::Gone(Key::Nft(table)),
        };
        Ok(tables.into_iter().map(event).collect())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Collects the tables that others touch, until a new generation says that the changes are in effect.
fn notice(tables: &mut BTreeSet<TableKey>, own: Option<u32>, message: &Received<'_>) -> Option<Touched> {
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
    tables.extend(ours.filter(|_| Some(message.port) != own));
    None
}
