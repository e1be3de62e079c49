//! The packet sampler: says how many packets a pair of places lost, and for how long nothing came through, while something
//! else happens to the network between them.
//!
//! ```text
//!   place a                                          place b
//!   sender ──1 kHz UDP, numbered──────────────────► receiver
//!   receiver ◄──────────────────1 kHz UDP, numbered── sender
//!   stream ──1 kHz, numbered, one TCP connection──► reader
//!   dialler ──a new TCP connection every 20 ms────► acceptor, which answers a byte
//! ```
//!
//! A sender keeps to a schedule and records by how much it was late, so that a starved sender is told from a lossy network.
//! A run that sent fewer than 99 % of the planned samples proves nothing, and fails. After a starvation everything that is
//! due is sent at once: the receivers hold that much. On a machine that is emulated, all times are longer by its slowness.
//! Ports are the kernel's choice, and each direction's own, so that a place can be an end of many samplers, and a NAT on the
//! way sees two flows that have nothing to do with each other.

mod ends;
mod report;

pub use report::{Dialled, Direction, Report, Stream};

use crate::netns;
use ends::{Arrived, Sent};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two samples.
const PERIOD: Duration = Duration::from_millis(1);

/// One end of what is sampled.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file on which its namespace is mounted.
    pub netns: PathBuf,
    pub addr: IpAddr,
}

/// A sampler that runs.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    forth: Way,
    back: Way,
    stream: JoinHandle<Stream>,
    reader: JoinHandle<u64>,
    dialler: JoinHandle<Dialled>,
    acceptor: JoinHandle<()>,
}

/// Both ends of one direction.
struct Way {
    sender: JoinHandle<Sent>,
    receiver: JoinHandle<Arrived>,
}

impl Sampler {
    /// Starts sampling between two places.
    ///
    /// # Panics
    /// If a place has not its address, or its ports are taken.
    pub fn start(a: &Place, b: &Place) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let way = |from: &Place, to: &Place| {
            let (from, to) = (ends::bind(from), ends::bind(to));
            let target = to.local_addr().expect("it is bound");
            let (stop_sender, stop_receiver) = (stop.clone(), stop.clone());
            Way {
                receiver: std::thread::spawn(move || ends::receive(&to, &stop_receiver)),
                sender: std::thread::spawn(move || ends::send(&from, target, &stop_sender)),
            }
        };
        let listen = || {
            let listener = netns::inside(&b.netns, || TcpListener::bind((b.addr, 0)));
            let listener = listener.expect("the place has its address");
            listener.set_nonblocking(true).expect("a socket's option");
            let target = listener.local_addr().expect("it is bound");
            (listener, target)
        };
        let ((stream_listener, stream_target), (dial_listener, dial_target)) = (listen(), listen());
        let (stream_netns, dial_netns, own) = (netns::open(&a.netns), netns::open(&a.netns), a.addr);
        let stops: [Arc<AtomicBool>; 4] = std::array::from_fn(|_| stop.clone());
        let [stop_reader, stop_stream, stop_acceptor, stop_dialler] = stops;
        Sampler {
            forth: way(a, b),
            back: way(b, a),
            reader: std::thread::spawn(move || ends::read_stream(&stream_listener, &stop_reader)),
            stream: std::thread::spawn(move || {
                stream_netns.enter().expect("tests run as root");
                ends::write_stream(own, stream_target, &stop_stream)
            }),
            acceptor: std::thread::spawn(move || ends::accept(&dial_listener, &stop_acceptor)),
            dialler: std::thread::spawn(move || {
                dial_netns.enter().expect("tests run as root");
                ends::dial(own, dial_target, &stop_dialler)
            }),
            stop,
        }
    }

    /// Ends several runs at the same time.
    pub fn stop_all(samplers: Vec<Sampler>) -> Vec<Report> {
        for sampler in &samplers {
            sampler.stop.store(true, Ordering::Relaxed);
        }
        samplers.into_iter().map(Sampler::stop).collect()
    }

    /// Ends the run, after what is under way had its time to arrive.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = Report {
            forth: self.forth.join(),
            back: self.back.join(),
            stream: self.stream.join().expect("no panic"),
            stream_read: self.reader.join().expect("no panic"),
            dialled: self.dialler.join().expect("no panic"),
        };
        self.acceptor.join().expect("no panic");
        report
    }
}

impl Way {
    fn join(self) -> Direction {
        let sent = self.sender.join().expect("no panic");
        let arrived = self.receiver.join().expect("no panic");
        let mut numbers: Vec<u64> = arrived.packets.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Direction {
            planned: sent.planned,
            sent: sent.sent,
            lost: sent.sent - numbers.len() as u64,
            duplicated: (arrived.packets.len() - numbers.len()) as u64,
            longest_gap: arrived.longest_gap(),
            slip: sent.slip,
            refused: sent.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ends::{bind, receive};
    use super::*;
    use crate::netns::Netns;

    fn pair() -> (Netns, Netns, Place, Place) {
        let (a, b) = (Netns::new(), Netns::new());
        a.run(&format!("ip link add v type veth peer name v netns {}", b.path().display()));
        a.run("ip address add 10.0.0.1/24 dev v; ip link set v up");
        b.run("ip address add 10.0.0.2/24 dev v; ip link set v up");
        // What goes out before the kernel has seen that the wire is whole is dropped, a question for an address with it.
        a.run("ping -q -c 1 -w 10 10.0.0.2");
        let place = |netns: &Netns, last| Place { netns: netns.path().into(), addr: [10, 0, 0, last].into() };
        let (here, there) = (place(&a, 1), place(&b, 2));
        (a, b, here, there)
    }

    #[test]
    fn a_whole_wire_loses_nothing() {
        let (_a, _b, here, there) = pair();
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(500));
        sampler.stop().assert_nothing_lost();
    }

    #[test]
    fn a_place_can_be_an_end_of_many_samplers() {
        let (_a, _b, here, there) = pair();
        let samplers = [Sampler::start(&here, &there), Sampler::start(&there, &here)];
        std::thread::sleep(Duration::from_millis(300));
        for sampler in samplers {
            sampler.stop().assert_nothing_lost();
        }
    }

    #[test]
    fn a_run_in_which_no_connection_comes_about_proves_nothing() {
        let (a, _b, here, there) = pair();
        a.run("nft 'add table t; add chain t c { type filter hook output priority 0; }; add rule t c tcp flags syn drop'");
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(300));
        let report = sampler.stop();
        assert_eq!(report.lost(), 0, "{report}");
        assert!(std::panic::catch_unwind(|| report.assert_dense()).is_err(), "{report}");
    }

    #[test]
    fn what_a_starved_receiver_did_not_read_is_kept() {
        let (_a, _b, here, there) = pair();
        let (from, to) = (bind(&here), bind(&there));
        for number in 0..5000_u64 {
            from.send_to(&number.to_be_bytes(), to.local_addr().unwrap()).unwrap();
        }
        assert_eq!(receive(&to, &AtomicBool::new(true)).packets.len(), 5000);
    }

    #[test]
    fn a_cut_is_seen_with_its_length() {
        let (a, _b, here, there) = pair();
        let sampler = Sampler::start(&here, &there);
        std::thread::sleep(Duration::from_millis(200));
        a.run("nft 'add table t; add chain t c { type filter hook output priority 0; policy drop; }'");
        std::thread::sleep(Duration::from_millis(100));
        a.run("nft delete table t");
        std::thread::sleep(Duration::from_millis(200));
        let report = sampler.stop();
        report.assert_one_outage(Duration::from_millis(500));
        assert!((50..1000).contains(&report.lost()), "{report}");
        assert!(report.forth.longest_gap >= Duration::from_millis(90), "{report}");
        assert_eq!(report.back.lost, 0, "{report}");
    }
}
