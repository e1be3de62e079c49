//! A whole namespace, read.

use crate::message::Message;
use crate::parse::{self, AF_BRIDGE, Names};
use crate::socket::{Refusal, Socket};
use kernel::{Key, Netns, Objects, SysctlKey, SysctlValue, Value};
use std::fs;

const DUMP: u16 = libc::NLM_F_DUMP as u16;

type Parse = fn(Netns, &Names, &[u8]) -> Option<(Key, Value)>;

/// Links, addresses, routes of the main table, neighbours and forwarding entries of the socket's namespace. They are read
/// kind by kind: a change meanwhile may be half in it, and is told of by the notifications.
pub fn objects(socket: &mut Socket, netns: Netns) -> Result<Objects, Refusal> {
    let names = names(socket)?;
    let mut objects = Objects::new();
    let kinds: [(u16, Vec<u8>, Parse); 5] = [
        (libc::RTM_GETLINK, vec![0; 16], parse::link),
        (libc::RTM_GETADDR, vec![0; 8], parse::addr),
        (libc::RTM_GETROUTE, vec![0; 12], parse::route),
        (libc::RTM_GETNEIGH, vec![0; 12], parse::neigh),
        (libc::RTM_GETNEIGH, [&[AF_BRIDGE][..], &[0; 11]].concat(), parse::neigh),
    ];
    for (kind, fixed, parse) in kinds {
        let found = socket.dump(Message::new(kind, DUMP, &fixed), Objects::new, |found, message| {
            // Of several routes under one key (`ip route append`) the first counts for the kernel too.
            if let Some((key, value)) = parse(netns, &names, message.body) {
                found.entry(key).or_insert(value);
            }
        })?;
        objects.extend(found);
    }
    Ok(objects)
}

/// Interface names by index.
pub(crate) fn names(socket: &mut Socket) -> Result<Names, Refusal> {
    socket.dump(Message::new(libc::RTM_GETLINK, DUMP, &[0; 16]), Names::new, |names, message| {
        names.extend(parse::link_name(message.body));
    })
}

/// Settings of the calling thread's namespace, by their paths under `/proc/sys`. One that does not exist is left out.
pub fn sysctls(netns: Netns, paths: &[String]) -> Objects {
    let read = |path: &String| {
        let text = fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
        let key = Key::Sysctl(SysctlKey { netns, path: path.clone() });
        Some((key, Value::Sysctl(SysctlValue(text.trim_end().to_owned()))))
    };
    paths.iter().filter_map(read).collect()
}
