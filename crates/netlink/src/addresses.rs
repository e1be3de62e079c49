//! The addresses of the calling thread's namespace with what the kernel says of their use: what decides whether a node may be
//! known by one. Layouts: `linux/if_addr.h`, `linux/rtnetlink.h`.

use crate::message::{Message, u32_at};
use crate::parse;
use crate::socket::{Protocol, Refusal, Socket};
use crate::tcp;
use kernel::{Key, Netns};
use model::{IfAddr, IfName};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

/// `IPV6_ADDR_PREFERENCES` and `IPV6_PREFER_SRC_PUBLIC` of `linux/in6.h`.
const ADDR_PREFERENCES: libc::c_int = 72;
const PREFER_SRC_PUBLIC: libc::c_int = 2;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub device: IfName,
    /// The interface's index: newer ones have larger ones.
    pub index: u32,
    /// The interface is up.
    pub is_up: bool,
    pub addr: IfAddr,
    pub state: State,
}

/// Whether others may be told an address, in the words of RFC 4862 §2 and RFC 8981.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They may.
    Preferred,
    /// Another takes its place soon, for privacy.
    Temporary,
    /// No longer to be used for what is new.
    Deprecated,
    /// Whether somebody else on the link has it is not known yet.
    Tentative,
    /// Somebody else has it.
    Duplicate,
}

impl State {
    /// The `ifa_flags` of an address.
    fn of(flags: u32, is_ipv4: bool) -> State {
        let has = |flag: u32| flags & flag != 0;
        if has(libc::IFA_F_DADFAILED) {
            State::Duplicate
        } else if has(libc::IFA_F_TENTATIVE) {
            State::Tentative
        } else if has(libc::IFA_F_DEPRECATED) {
            State::Deprecated
        // Of an IPv4 address the same bit says that it is not the first of its subnet.
        } else if has(libc::IFA_F_TEMPORARY) && !is_ipv4 {
            State::Temporary
        } else {
            State::Preferred
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Preferred => "preferred",
            State::Temporary => "temporary",
            State::Deprecated => "deprecated",
            State::Tentative => "tentative",
            State::Duplicate => "duplicate",
        })
    }
}

/// All addresses of both families.
///
/// # Errors
/// The kernel refuses to list links or addresses.
pub fn all() -> Result<Vec<Address>, Refusal> {
    const DUMP: u16 = libc::NLM_F_DUMP as u16;
    let mut socket = Socket::open(Protocol::Route)?;
    let list = Message::new(libc::RTM_GETLINK, DUMP, &[0; 16]);
    let (names, up) =
        socket.dump(list, <(BTreeMap<_, _>, BTreeMap<_, _>)>::default, |(names, up), message| {
            if let (Some((index, name)), Some(flags)) =
                (parse::link_name(message.body), u32_at(message.body, 8))
            {
                names.insert(index, name);
                up.insert(index, flags & libc::IFF_UP as u32 != 0);
            }
        })?;
    let list = Message::new(libc::RTM_GETADDR, DUMP, &[0; 8]);
    socket.dump(list, Vec::new, |found, message| {
        let parsed = parse::addr(Netns::Host, &names, message.body);
        let (Some((Key::Addr(key), _)), Some(index)) = (parsed, u32_at(message.body, 4)) else { return };
        // All of them are in the fixed header; what is longer is in an attribute.
        let state = State::of(message.body[2].into(), key.addr.addr().is_ipv4());
        let is_up = up.get(&index) == Some(&true);
        found.push(Address { device: key.device, index, is_up, addr: key.addr, state });
    })
}

/// Has the kernel choose no temporary address as the source of an IPv6 socket (RFC 5014).
///
/// # Errors
/// It is not an IPv6 socket.
pub fn prefer_public(socket: BorrowedFd<'_>) -> io::Result<()> {
    tcp::set(socket, libc::IPPROTO_IPV6, ADDR_PREFERENCES, &PREFER_SRC_PUBLIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_its_worst_flag_says() {
        use libc::{IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_PERMANENT, IFA_F_TEMPORARY, IFA_F_TENTATIVE};
        for (flags, expected) in [
            (0, State::Preferred),
            (IFA_F_PERMANENT, State::Preferred),
            (IFA_F_TEMPORARY, State::Temporary),
            (IFA_F_TEMPORARY | IFA_F_DEPRECATED, State::Deprecated),
            (IFA_F_TENTATIVE | IFA_F_TEMPORARY, State::Tentative),
            (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_PERMANENT, State::Duplicate),
        ] {
            assert_eq!(State::of(flags, false), expected, "{flags:#x}");
        }
        assert_eq!(State::of(libc::IFA_F_SECONDARY, true), State::Preferred);
    }
}
