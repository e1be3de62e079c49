//! nf_tables by raw netlink: makes a table be as wanted (`apply`), reads our tables back (`dump`, `counters`), and tells
//! when somebody else changed one (`Monitor`).
//!
//! ```text
//!   kernel::nft::Table ──transaction──► bytes ──one datagram──► nf_tables ──notification──► Monitor
//!                      ◄─────dump────── bytes ◄────────────────────┘
//! ```
//!
//! Only `inet calico` and `arp calico` are read or written. The table has no owner flag: the kernel would delete it with
//! our socket.

mod difference;
mod dump;
mod expr;
mod fingerprint;
mod monitor;
mod numbers;
mod set;
mod transaction;

pub use dump::{Count, counters, dump};
pub use monitor::{Monitor, Touched};

use crate::message::{Attributes, HEADER, Message, Received, received};
use crate::socket::{Refusal, Socket, refusal};
use kernel::ApplyError;
use kernel::nft::{Family, Table, TableKey};
use numbers::{NFPROTO_ARP, NFPROTO_INET, SUBSYS_NFTABLES, TABLE};
use std::io;
use transaction::{Transaction, number};

/// What is to become of a table: `to`, which is wanted, of `from`, which was found or last applied. `None` is no table.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub key: &'a TableKey,
    pub from: Option<&'a Table>,
    pub to: Option<&'a Table>,
}

/// Changes tables in one transaction: all of it is done, or nothing.
///
/// # Errors
/// The kernel's errno and, in the text, the rule, element, chain or set that it refused. If a table is not as `from`
/// says (`ENOENT`, `EEXIST`, `EBUSY`), dump and try again.
///
/// # Panics
/// If a chain of a `to` holds rules that were found: they cannot be written.
pub fn apply(socket: &mut Socket, changes: &[Change<'_>]) -> Result<(), ApplyError> {
    let Some(mut transaction) = Transaction::of(changes) else { return Ok(()) };
    let first = socket.next_sequence();
    for _ in 0..=transaction.len() {
        socket.next_sequence();
    }
    let bytes = transaction.bytes(first);
    match exchange(socket, &bytes, first, transaction.len()) {
        Ok(()) => Ok(()),
        Err(Refused { index, offset, refusal: Refusal { errno, text } }) => {
            Err(ApplyError { errno, text: format!("{}: {text}", transaction.describe(index, offset)) })
        }
    }
}

/// A refusal, and of what.
struct Refused {
    /// Of the message in the transaction; `None` for the whole.
    index: Option<usize>,
    /// Where in the message the attribute stands that was refused (`NLMSGERR_ATTR_OFFS`).
    offset: Option<usize>,
    refusal: Refusal,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused { index: None, offset: None, refusal: error.into() }
    }
}

/// Sends a transaction, whose begin has the number `first`, in one datagram, and reads the answers, which are all there
/// when it is sent. The first refusal of a message names the cause; one of the begin stands for the whole.
fn exchange(socket: &mut Socket, bytes: &[u8], first: u32, count: usize) -> Result<(), Refused> {
    /// What every system's default lets through.
    const SMALL: usize = 64 * 1024;
    if bytes.len() > SMALL {
        socket.send_buffer(bytes.len() + SMALL)?;
    }
    socket.send(bytes)?;
    let mut refused: Option<Refused> = None;
    let mut acknowledged = false;
    while let Some(datagram) = socket.arrived()? {
        for answer in received(datagram).filter(|answer| i32::from(answer.kind) == libc::NLMSG_ERROR) {
            let index =
                Some(answer.sequence.wrapping_sub(number(first, 0)) as usize).filter(|index| *index < count);
            match refusal(&answer) {
                None => acknowledged |= index == Some(count - 1),
                Some(_) if index.is_none() && answer.sequence != first => (),
                Some(refusal) if refused.as_ref().is_none_or(|before| before.index.is_none()) => {
                    refused = Some(Refused { index, offset: refused_at(&answer), refusal });
                }
                Some(_) => (),
            }
        }
    }
    match refused {
        Some(refused) => Err(refused),
        None if acknowledged => Ok(()),
        None => Err(io::Error::from_raw_os_error(libc::EPROTO).into()),
    }
}

/// `NLMSGERR_ATTR_OFFS`, behind the error number and the header of the message that is answered.
fn refused_at(answer: &Received<'_>) -> Option<usize> {
    const OFFSET: u16 = 2;
    let offset = Attributes::after(answer.body, 4 + HEADER).number(OFFSET)?;
    usize::try_from(offset).ok()
}

/// A message about something in a table; the table's name is its first attribute.
fn request(kind: u8, flags: u16, table: &TableKey) -> Message {
    let mut message =
        Message::new(SUBSYS_NFTABLES << 8 | u16::from(kind), flags, &[family_number(table.family), 0, 0, 0]);
    message.push_text(TABLE, &table.name);
    message
}

/// The number, family and attributes of a message of nf_tables (`struct nfgenmsg` stands before the attributes).
fn nf_tables<'a>(message: &Received<'a>) -> Option<(u8, u8, Attributes<'a>)> {
    let [high, low] = message.kind.to_be_bytes();
    let family = *message.body.first()?;
    (u16::from(high) == SUBSYS_NFTABLES).then(|| (low, family, Attributes::after(message.body, 4)))
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::Inet => NFPROTO_INET,
        Family::Arp => NFPROTO_ARP,
    }
}

/// The tables that are ours.
fn our_tables() -> [TableKey; 2] {
    [TableKey::inet(), TableKey::arp()]
}
