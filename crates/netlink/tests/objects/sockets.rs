//! What a socket hears and whom it believes.

use crate::netns::Netns;
use netlink::{Message, Protocol, Socket};
use rustix::net::{AddressFamily, SendFlags, SocketType, bind, netlink as addr, sendto, socket};

/// An answer to message 1: refused with EPERM (`struct nlmsgerr`).
fn forged() -> Vec<u8> {
    let error = (-libc::EPERM).to_ne_bytes();
    [
        &36_u32.to_ne_bytes()[..],
        &2_u16.to_ne_bytes(),
        &[0; 2],
        &1_u32.to_ne_bytes(),
        &[0; 4],
        &error,
        &[0; 16],
    ]
    .concat()
}

#[test]
fn an_answer_that_another_process_forged_is_not_heard() {
    let netns = Netns::new();
    netns.run(|| {
        let mut ours = Socket::open(Protocol::Route).unwrap();
        let theirs = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        bind(&theirs, &addr::SocketAddrNetlink::new(0, 0)).unwrap();
        let to = addr::SocketAddrNetlink::new(ours.port().unwrap(), 0);
        sendto(&theirs, &forged(), SendFlags::empty(), &to).unwrap();
        // Sets `lo` up, which it is.
        let up = [0_u32, 1, 1, 1].map(u32::to_ne_bytes).concat();
        assert_eq!(ours.request(Message::new(libc::RTM_SETLINK, 0, &up)), Ok(()));
    });
}

#[test]
fn a_dump_of_ten_thousand_routes_is_whole() {
    let netns = Netns::new();
    let lines = (0..10_000_u32).map(|n| format!("route add blackhole 10.{}.{}.0/24\n", n / 250, n % 250));
    let file = std::env::temp_dir().join(format!("tortie-routes-{}", std::process::id()));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    netns.sh(&format!("ip -batch {}", file.display()));
    std::fs::remove_file(file).unwrap();
    let objects = netns.run(|| {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        netlink::dump::objects(&mut socket, kernel::Netns::Host).unwrap()
    });
    let routes = objects.keys().filter(|key| key.to_string().starts_with("route 10.")).count();
    assert_eq!(routes, 10_000);
}

#[test]
fn a_question_that_the_kernel_does_not_know_is_refused() {
    let netns = Netns::new();
    netns.run(|| {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let refusal = socket.request(Message::new(0x3ff, 0, &[0; 16])).unwrap_err();
        assert_eq!(refusal.errno, libc::EOPNOTSUPP);
        let refusal = socket.ask(Message::new(
            libc::RTM_GETLINK,
            0,
            &[0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ));
        assert_eq!(refusal.unwrap_err().errno, libc::ENODEV);
    });
}
