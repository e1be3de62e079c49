//! How fast the writer is, against netlink messages made by hand: 10 000 routes into a namespace of its own, by turns, the
//! median of the rounds, by the thread's processor time (the kernel does its work in our thread, and others' load does
//! not count). `cargo run --release -p netlink --example routes [ROUTES [ROUNDS]]`, as root.

use kernel::route::{PROTO_CALICO, TABLE_MAIN};
use kernel::{Key, RouteKey, RouteKind, RouteScope, RouteValue, Step, Value};
use model::{Cidr, IfName};
use netlink::{Netns, Writer};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, netlink as addr, recv, send, socket,
};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

const DEVICE: &str = "ens192";
const GATEWAY: [u8; 4] = [192, 168, 50, 162];
/// As many messages in one `send` as the writer's.
const BATCH: usize = 64;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let routes: u32 = args.next().unwrap_or(10_000);
    let rounds: usize = args.next().unwrap_or(9) as usize;
    let path = std::env::temp_dir().join(format!("tortie-routes-{}.netns", std::process::id()));
    let netns = Netns::create(&path).expect("run as root");
    let results = netns.run(|| measure(routes, rounds));
    netlink::netns::delete(&path).expect("it was made above");
    let (writer, raw) = results.expect("the namespace is there");
    println!("writer_routes_per_second {writer:.0}");
    println!("raw_routes_per_second {raw:.0}");
    println!("ratio {:.3}", writer / raw);
}

/// Median rates of the writer and of bytes made by hand.
fn measure(routes: u32, rounds: usize) -> (f64, f64) {
    shell("ip link add ens192 type veth peer name far && ip link set ens192 up && ip link set far up");
    shell("ip addr add 192.168.50.161/24 dev ens192");
    let mut writer = Writer::open().expect("a netlink socket");
    let index = shell(&format!("ip -o link show {DEVICE} | cut -d: -f1")).trim().parse().expect("its number");
    let steps: Vec<Step> = (0..routes).map(step).collect();
    let (mut by_writer, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = spent();
        let outcomes = writer.apply(&steps);
        by_writer.push(f64::from(routes) / (spent() - start).as_secs_f64());
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
        shell("ip route flush proto 80");
        let socket = netlink_socket();
        let start = spent();
        raw(&socket, routes, index);
        by_hand.push(f64::from(routes) / (spent() - start).as_secs_f64());
        shell("ip route flush proto 80");
    }
    (median(by_writer), median(by_hand))
}

fn dst(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n * 64)
}

fn step(n: u32) -> Step {
    let dst = Cidr::containing(dst(n).into(), 26).expect("26 fits");
    let value = RouteValue {
        kind: RouteKind::Unicast,
        gateway: Some(GATEWAY.into()),
        device: Some(IfName::fixed(DEVICE)),
        scope: RouteScope::Universe,
        onlink: true,
        protocol: PROTO_CALICO,
        source: None,
        mtu: None,
        also: Vec::new(),
    };
    let key = RouteKey { netns: kernel::Netns::Host, table: TABLE_MAIN, dst, priority: 0 };
    Step::Create(Key::Route(key), Value::Route(value))
}

fn netlink_socket() -> OwnedFd {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).expect("a netlink socket");
    bind(&socket, &addr::SocketAddrNetlink::new(0, 0)).expect("a port");
    socket
}

/// `RTM_NEWROUTE` with `RTA_DST`, `RTA_GATEWAY` and `RTA_OIF`, 52 bytes each; the last of a batch asks for an answer.
fn raw(socket: &OwnedFd, routes: u32, index: u32) {
    const CREATE_EXCL: u16 = 0x600;
    const REQUEST: u16 = 1;
    const ACK: u16 = 4;
    const ONLINK: u32 = 4;
    let mut answer = [0; 4096];
    let numbers: Vec<u32> = (0..routes).collect();
    for batch in numbers.chunks(BATCH) {
        let mut bytes = Vec::with_capacity(BATCH * 52);
        for n in batch {
            let ack = if n == batch.last().expect("a chunk is not empty") { ACK } else { 0 };
            bytes.extend(52_u32.to_ne_bytes());
            bytes.extend(24_u16.to_ne_bytes());
            bytes.extend((CREATE_EXCL | REQUEST | ack).to_ne_bytes());
            bytes.extend((n + 1).to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend([2, 26, 0, 0, 254, PROTO_CALICO, 0, 1]);
            bytes.extend(ONLINK.to_ne_bytes());
            for (kind, value) in [(1_u16, dst(*n).octets()), (5, GATEWAY), (4, index.to_ne_bytes())] {
                bytes.extend(8_u16.to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(value);
            }
        }
        send(socket, &bytes, SendFlags::empty()).expect("the kernel takes it");
        let (length, _) = recv(socket, &mut answer[..], RecvFlags::empty()).expect("the kernel answers");
        assert!(length >= 20 && answer[16..20] == [0; 4], "the kernel refuses a route");
    }
}

/// The thread's processor time.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh is there");
    assert!(output.status.success(), "{line}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
