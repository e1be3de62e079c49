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

#[test]
fn an_address_is_used_by_its_connections_and_bound_sockets_only() {
    use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
    let netns = Netns::new();
    netns.sh("for n in 1 2 3 4 5; do ip address add 192.0.2.$n/32 dev lo; done");
    netns.run(|| {
        let addrs: std::collections::BTreeSet<IpAddr> = (1..=5).map(|n| [192, 0, 2, n].into()).collect();
        let using = || netlink::sockets::using(&addrs).unwrap().into_iter().collect::<Vec<IpAddr>>();
        let open = TcpListener::bind("[::]:7001").unwrap();
        assert_eq!(using(), [] as [IpAddr; 0], "a socket that is open to all uses none");
        let dialed = TcpStream::connect("192.0.2.1:7001").unwrap();
        let accepted = open.accept().unwrap();
        let listens = TcpListener::bind("192.0.2.2:7002").unwrap();
        let bound = UdpSocket::bind("192.0.2.3:0").unwrap();
        let connected = UdpSocket::bind("0.0.0.0:0").unwrap();
        connected.connect("192.0.2.4:9").unwrap();
        // The source of what is sent to an own address is that address.
        assert_eq!(using(), (1..=4).map(|n| IpAddr::from([192, 0, 2, n])).collect::<Vec<_>>());
        drop((dialed, accepted, listens, bound, connected));
        // Who closed first waits for strays, and nobody uses that any more.
        assert_eq!(using(), [] as [IpAddr; 0]);
    });
}

#[test]
fn connections_from_an_address_that_is_gone_end_at_once_and_others_go_on() {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    let netns = Netns::new();
    netns.sh("ip link set lo up; ip address add 192.0.2.1/32 dev lo; ip address add 192.0.2.2/32 dev lo");
    netns.run(|| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = |from: &str| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&socket, &format!("{from}:0").parse::<std::net::SocketAddrV4>().unwrap()).unwrap();
            rustix::net::connect(&socket, &server.local_addr().unwrap()).unwrap();
            (TcpStream::from(socket), server.accept().unwrap().0)
        };
        let ((mut gone, _theirs), (mut stays, mut other)) = (connect("192.0.2.1"), connect("192.0.2.2"));
        netlink::sockets::end("192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(gone.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        stays.write_all(b"on").unwrap();
        let mut heard = [0; 2];
        other.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"on");
    });
}
