//! Dumps are whole, in however many pieces they come and whatever happens between them.

use crate::netns::Netns;
use kernel::Objects;
use netlink::{Message, Protocol, Refusal, Socket};
use std::cell::Cell;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// `struct ifinfomsg` and `struct ifaddrmsg` of a question.
const ANY_LINK: [u8; 16] = [0; 16];
const IPV4_ADDRS: [u8; 8] = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];

/// What stands through all changes. Changes of links and addresses interrupt a dump of theirs: of these there are more than two
/// pieces, since the kernel has the second ready when the first is read.
const LINKS: usize = 80;
const ADDRS: usize = 1200;
const ROUTES: usize = 300;

fn standing() -> Netns {
    let links = (0..LINKS / 2).map(|n| format!("link add stands{n}a type veth peer name stands{n}b\n"));
    let addrs = (0..ADDRS).map(|n| format!("address add 198.18.{}.{}/32 dev lo\n", n / 250, n % 250));
    let netns = Netns::new();
    batch(&netns, links.chain(addrs).chain(blackholes(ROUTES)));
    netns
}

fn blackholes(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("route add blackhole 10.{}.{}.0/24\n", n / 250, n % 250))
}

fn batch(netns: &Netns, lines: impl Iterator<Item = String>) {
    let lines = lines.collect::<String>();
    netns.run(|| {
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success());
    });
}

fn count(objects: &Objects, beginning: &str) -> usize {
    objects.keys().filter(|key| key.to_string().starts_with(beginning)).count()
}

fn open() -> Socket {
    Socket::open(Protocol::Route).unwrap()
}

/// Dumps, and between the first piece of each try and its last calls `meddle` with the number of the try. How many tries there
/// were, and how many objects the last one found.
fn meddled(
    socket: &mut Socket,
    kind: u16,
    fixed: &[u8],
    mut meddle: impl FnMut(usize),
) -> (usize, Result<usize, Refusal>) {
    let tries = Cell::new(0);
    let start = || {
        tries.set(tries.get() + 1);
        0
    };
    let found = socket.dump(Message::new(kind, DUMP, fixed), start, |found, _| {
        *found += 1;
        if *found == 1 {
            meddle(tries.get());
        }
    });
    (tries.get(), found)
}

#[test]
fn a_dump_of_ten_thousand_routes_is_whole() {
    let netns = Netns::new();
    batch(&netns, blackholes(10_000));
    let objects = netns.run(|| netlink::dump::objects(&mut open(), kernel::Netns::Host).unwrap());
    assert_eq!(count(&objects, "route 10."), 10_000);
}

#[test]
fn f37_a_dump_between_whose_pieces_something_changes_is_begun_anew() {
    let netns = standing();
    netns.run(|| {
        let mut socket = open();
        for (kind, fixed, change, more) in [
            (libc::RTM_GETLINK, &ANY_LINK[..], "ip link add passes type veth peer name by", 2),
            (libc::RTM_GETADDR, &IPV4_ADDRS[..], "ip address add 192.0.2.1/32 dev lo", 1),
        ] {
            let (tries, before) = meddled(&mut socket, kind, fixed, |_| ());
            assert_eq!(tries, 1, "nothing changes");
            let change = |n| {
                if n == 1 {
                    netns.sh(change);
                }
            };
            let found = meddled(&mut socket, kind, fixed, change);
            assert_eq!(found, (2, Ok(before.unwrap() + more)), "{kind}");
        }
    });
}

#[test]
fn f37_a_dump_that_is_interrupted_each_time_is_given_up() {
    let netns = standing();
    netns.run(|| {
        let change = |n| drop(netns.sh(&format!("ip address add 192.0.2.{n}/32 dev lo")));
        let (tries, found) = meddled(&mut open(), libc::RTM_GETADDR, &IPV4_ADDRS, change);
        assert_eq!((tries, found.unwrap_err().errno), (10, libc::EINTR));
    });
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn heard(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Says that the dumps have ended, also when they fail.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn f37_a_dump_that_is_interrupted_by_changes_and_signals_never_lacks_what_stands() {
    const CHANGES: &str = "
        ip route add blackhole 172.16.1.0/24; ip address add 192.0.2.1/32 dev lo; ip link add passes type veth peer name by
        ip route del 172.16.1.0/24; ip address del 192.0.2.1/32 dev lo; ip link del passes";
    // Some, or as many as a night has time for.
    let number = std::env::var("TORTIE_DUMPS").map_or(200, |text| text.parse().unwrap());
    let netns = standing();
    // SAFETY: the handler counts, and the default would end the process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = heard as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let ended = AtomicBool::new(false);
    let going_on = || !ended.load(Ordering::Relaxed);
    let dumps = || {
        // SAFETY: a thread may always ask for its own name.
        let own = unsafe { libc::pthread_self() } as usize;
        thread::scope(|scope| {
            scope.spawn(|| {
                while going_on() {
                    // SAFETY: the thread lives as long as this one, which its scope waits for.
                    unsafe { libc::pthread_kill(own as libc::pthread_t, libc::SIGUSR1) };
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let _ended = Ended(&ended);
            let (mut socket, mut other) = (open(), open());
            (0..number).filter(|_| is_whole(&mut socket, &mut other)).count()
        })
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while going_on() {
                netns.sh(CHANGES);
            }
        });
        assert!(netns.run(dumps) > 0, "some dumps succeed");
    });
    assert!(SIGNALS.load(Ordering::Relaxed) > 0);
}

/// Dumps addresses, which is interrupted for certain, and everything; whether all of that succeeds. What does lacks nothing.
fn is_whole(socket: &mut Socket, other: &mut Socket) -> bool {
    let (tries, found) = meddled(socket, libc::RTM_GETADDR, &IPV4_ADDRS, |n| {
        if n == 1 {
            come_and_go(other);
        }
    });
    assert!(tries > 1, "it is interrupted");
    let refused = |refusal: Refusal| assert_eq!(refusal.errno, libc::EINTR, "{refusal}");
    let addrs = found.map(|found| assert!(found >= ADDRS, "{found} addresses")).map_err(refused);
    let all = netlink::dump::objects(socket, kernel::Netns::Host).map_err(refused).map(|objects| {
        let stands = ["link stands", "address 198.18.", "route 10."].map(|kind| count(&objects, kind));
        assert_eq!(stands, [LINKS, ADDRS, ROUTES]);
    });
    addrs.and(all).is_ok()
}

/// An address of `lo` (`linux/if_addr.h`) that is there for a moment.
fn come_and_go(socket: &mut Socket) {
    const IFA_LOCAL: u16 = 2;
    let fixed = [&[libc::AF_INET as u8, 32, 0, 0][..], &1_u32.to_ne_bytes()].concat();
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let message = |kind, flags| Message::new(kind, flags, &fixed).attr(IFA_LOCAL, &[192, 0, 2, 2]);
    let outcome = socket.batch(&mut [message(libc::RTM_NEWADDR, flags), message(libc::RTM_DELADDR, 0)]);
    assert_eq!(outcome, [Ok(()), Ok(())]);
}
