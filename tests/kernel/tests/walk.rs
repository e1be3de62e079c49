//! The simulator's walk says of a packet what the kernel does with it: the kernels of a simulated cluster are laid into
//! namespaces, as they are and with something in them damaged, and each packet is sent there and walked here.

use derive::IpipDriver::{self, Kernel, StandIn};
use kernel::{Key, Netns, PodNs, Step, SysctlKey, SysctlValue, Value, ours};
use kernel_tests::laid::Laid;
use model::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use testkit::packet::{self, Ipv4, checksum};
use testkit::sim::machines::{Admin, End, FOR_THE_NODE, FakeKernel, Mode, Running, Underlay, route};
use testkit::sim::{Machines, Rng};

/// Who sends: a pod, or a node itself.
#[derive(Clone, Copy, Debug)]
enum From {
    Pod(usize, PodNs, Ipv4Addr),
    Node(usize, Ipv4Addr),
}

/// What the walk demands and the kernel does not: a default route is nobody's promise, and our neighbours are permanent.
const STRICTER: [&str; 3] =
    ["but the default one", "the pod does not know its gateway's MAC", "with the pod's MAC"];

/// A cluster at rest, and its pods.
fn cluster(mode: Mode, drivers: &[IpipDriver]) -> Machines {
    let mut cluster = Machines::cluster(2, 2, drivers).pool("pool", "10.0.0.0/24", 29, mode);
    if mode == Mode::Direct {
        cluster = cluster.bgp();
    }
    for pod in 0..6 {
        cluster.admin(Duration::from_millis(20), Admin::AddPod(pod, pod as usize % 4));
    }
    cluster.settle().unwrap_or_else(|broken| panic!("{broken}"));
    cluster
}

/// Where packets may be meant to go.
fn destinations(kernels: &[FakeKernel], pods: &[Running]) -> Vec<Ipv4Addr> {
    let nodes = kernels.iter().flat_map(|kernel| kernel.addresses(Netns::Host).map(|key| key.addr.addr()));
    let pods = pods.iter().map(|pod| IpAddr::V4(pod.addr));
    let all: BTreeSet<IpAddr> = nodes.chain(pods).collect();
    // In each block one that nobody has, one of no block, one of no node, one that is not ours.
    let free = all.iter().filter_map(|addr| match addr {
        IpAddr::V4(addr) if addr.octets()[0] == 10 => Some(Ipv4Addr::from(u32::from(*addr) | 7)),
        _ => None,
    });
    let others = [[10, 0, 0, 254], [192, 168, 10, 77], [192, 168, 11, 77], [203, 0, 113, 9]];
    let free: BTreeSet<Ipv4Addr> = free.chain(others.map(Ipv4Addr::from)).collect();
    let known = all.iter().filter_map(|addr| match addr {
        IpAddr::V4(addr) => Some(*addr),
        IpAddr::V6(_) => None,
    });
    known.chain(free).collect()
}

/// An ICMP echo request of this size, which carries its number.
fn echo(src: Ipv4Addr, dst: Ipv4Addr, number: u32, size: u32) -> Ipv4 {
    let mut payload = vec![8, 0, 0, 0];
    // Identifier, then sequence number: each packet is a flow of its own, whose source is translated or not.
    payload.extend(number.rotate_left(16).to_be_bytes());
    payload.extend(token(number));
    payload.resize(size as usize - 20, 0);
    let sum = checksum(&payload);
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    Ipv4 { fragment: 0x4000, ..Ipv4::new(src, dst, 1, payload) }
}

fn token(number: u32) -> [u8; 12] {
    let [a, b, c, d] = number.to_be_bytes();
    [b'w', b'a', b'l', b'k', a, b, c, d, b'w', b'a', b'l', b'k']
}

/// The number of an echo request behind so many bytes of other headers; one that an ICMP error quotes stands elsewhere.
fn number(bytes: &[u8], before: &[usize]) -> Option<u32> {
    before.iter().find_map(|before| {
        let found: [u8; 12] = bytes.get(before + 28..before + 40)?.try_into().ok()?;
        let number = u32::from_be_bytes(found[4..8].try_into().expect("four bytes"));
        (token(number) == found).then_some(number)
    })
}

/// None or an Ethernet header, alone or before IP in IP or VXLAN.
const HEADERS: [usize; 6] = [0, 14, 20, 34, 50, 64];

/// What the kernel did with packets, by their numbers.
#[derive(Default)]
struct Seen {
    /// At which nodes each was.
    at: BTreeMap<u32, BTreeSet<usize>>,
    /// To whom each was delivered, and from whom.
    to: BTreeMap<u32, (usize, PodNs, Ipv4Addr)>,
}

impl Seen {
    fn listen(&mut self, laid: &Laid) {
        for (n, node) in laid.nodes.iter().enumerate() {
            for number in node.frames.heard().iter().filter_map(|frame| number(frame, &HEADERS)) {
                self.at.entry(number).or_default().insert(n);
            }
            for (space, (_, ear)) in &node.pods {
                for packet in ear.heard() {
                    if let Some(number) = number(&packet, &[0]) {
                        let src: [u8; 4] = packet[12..16].try_into().expect("four bytes");
                        self.to.insert(number, (n, *space, src.into()));
                    }
                }
            }
        }
    }
}

/// Sends everything to everybody, and compares.
fn compare(laid: &Laid, underlay: &Underlay<'_>, pods: &[Running], what: &str) {
    static SENT: AtomicU32 = AtomicU32::new(0);
    let kernels: Vec<FakeKernel> = underlay.kernels.iter().map(|kernel| (*kernel).clone()).collect();
    let dsts = destinations(&kernels, pods);
    let senders = pods.iter().map(|pod| From::Pod(pod.node, pod.space, pod.addr));
    let nodes = kernels.iter().enumerate().filter_map(|(n, kernel)| match kernel.addr().addr() {
        IpAddr::V4(addr) => Some(From::Node(n, addr)),
        IpAddr::V6(_) => None,
    });
    let (mut seen, mut sent) = (Seen::default(), Vec::new());
    for from in senders.chain(nodes) {
        // What a pod sends to itself does not leave it.
        let (sizes, own): (&[u32], _) = match from {
            From::Pod(_, _, src) => (&[84, u32::MAX], Some(src)),
            From::Node(..) => (&[84], None),
        };
        let dsts = dsts.iter().filter(|dst| Some(**dst) != own);
        for (dst, size) in dsts.flat_map(|dst| sizes.iter().map(|size| (*dst, *size))) {
            let number = SENT.fetch_add(1, Relaxed);
            let (src, place, size, said) = match from {
                From::Pod(node, space, src) => {
                    let largest = underlay.largest(node, space, src);
                    let said = underlay.way_from_pod(node, space, (src, dst), size);
                    (src, &laid.nodes[node].pods[&space].0, size.min(largest.max(84)), said)
                }
                From::Node(node, src) => {
                    (src, &laid.nodes[node].host, size, underlay.way_from_node(node, dst))
                }
            };
            let packet = echo(src, dst, number, size);
            place.inside(|| packet::send(&packet, 1));
            sent.push((number, from, dst, size, said));
        }
        seen.listen(laid);
    }
    let is_heard = |seen: &Seen| {
        let mut delivered = sent.iter().filter(|(.., (_, end))| matches!(end, End::Delivered { .. }));
        delivered.all(|(number, ..)| seen.to.contains_key(number))
    };
    let patience = std::time::Duration::from_millis(300) * testkit::slowness();
    let begun = std::time::Instant::now();
    // What should not come has a while to come nevertheless.
    while !is_heard(&seen) && begun.elapsed() < 10 * patience || begun.elapsed() < patience {
        std::thread::sleep(std::time::Duration::from_millis(5));
        seen.listen(laid);
    }
    let mut wrong = Vec::new();
    for (number, from, dst, size, (way, end)) in &sent {
        if let Some(but) = differs(&seen, *number, *from, way, end, what.starts_with("Ipip")) {
            wrong.push(format!("{from:?} to {dst}, {size} bytes: walked by {way:?} and {end}, but {but}"));
        }
    }
    let delivered = sent.iter().filter(|(.., (_, end))| matches!(end, End::Delivered { .. })).count();
    println!("{what}: {} packets, {delivered} delivered", sent.len());
    assert!(wrong.is_empty(), "{what}: {} of {}\n{}", wrong.len(), sent.len(), wrong.join("\n"));
}

/// What the kernel did instead.
fn differs(seen: &Seen, number: u32, from: From, way: &[usize], end: &End, is_ipip: bool) -> Option<String> {
    let (origin, src) = match from {
        From::Pod(node, _, src) | From::Node(node, src) => (node, src),
    };
    let to = seen.to.get(&number);
    // What a node itself sends by a tunnel gets the tunnel's address.
    let may_change = matches!(from, From::Node(..));
    let kept = to.filter(|(_, _, from)| may_change || *from == src).map(|(node, space, _)| (*node, *space));
    let mut nodes = way.to_vec();
    nodes.dedup();
    match end {
        // On one machine a packet that the stand-in encapsulated stays marked so after its way over a veth pair, and nobody
        // encapsulates it again (`bpf_skb_net_grow`, EALREADY).
        _ if is_ipip && nodes.len() > 2 => None,
        End::Delivered { node, space } if kept == Some((*node, *space)) => None,
        End::Dropped { why, .. } if STRICTER.iter().any(|stricter| why.contains(stricter)) => None,
        // It goes on under another source.
        End::Dropped { why, .. } if why.contains("masqueraded") && (may_change || kept.is_none()) => None,
        End::Dropped { .. } | End::Loop if to.is_none() => {
            let mut at = seen.at.get(&number).cloned().unwrap_or_default();
            let mut walked: BTreeSet<usize> = way.iter().copied().collect();
            // What its own pod or the node itself does not send, no interface sees.
            [&mut at, &mut walked].into_iter().for_each(|nodes| _ = nodes.remove(&origin));
            (at != walked).then(|| format!("it was seen by {at:?}"))
        }
        _ => Some(format!("it came to {to:?}, seen by {:?}", seen.at.get(&number))),
    }
}

/// By which interface a packet can come to a node, and what routing says then, here and there.
fn compare_routes(laid: &Laid, kernels: &[FakeKernel], pods: &[Running], rng: &mut Rng) {
    let dsts = destinations(kernels, pods);
    for (n, kernel) in kernels.iter().enumerate() {
        let devices: Vec<String> = kernel
            .objects()
            .iter()
            .filter_map(|(key, value)| match (key, value) {
                (Key::Link(key), Value::Link(link)) if key.netns == Netns::Host && link.up => {
                    Some(key.name.as_str().to_owned())
                }
                _ => None,
            })
            .filter(|name| name != "docker0")
            .chain(["lo".to_owned()])
            .collect();
        let asked: Vec<(String, Ipv4Addr, Ipv4Addr)> =
            (0..60).map(|_| (rng.pick(&devices).clone(), *rng.pick(&dsts), *rng.pick(&dsts))).collect();
        let lines = asked.iter().map(|(iif, src, dst)| match iif.as_str() {
            "lo" => format!("echo; ip route get {dst} 2>&1"),
            _ => format!("echo; ip route get {dst} from {src} iif {iif} 2>&1"),
        });
        let lines = lines.collect::<Vec<_>>().join("; ");
        let text = laid.nodes[n].host.run(&format!("{lines}; true"));
        let answers: Vec<&str> = text.split("\n\n").map(str::trim).collect();
        assert_eq!(answers.len(), asked.len(), "{text}");
        for ((iif, src, dst), answer) in asked.iter().zip(answers) {
            let said = route(kernel, iif, *src, *dst);
            let words: Vec<&str> = answer.split_whitespace().collect();
            let after =
                |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1).copied());
            let agrees = match &said {
                Ok((_, way)) => {
                    let gateway = way.gateway.map(|gateway| gateway.to_string());
                    words.first() != Some(&"local")
                        && after("dev") == way.device.as_ref().map(|device| device.as_str())
                        && after("via") == gateway.as_deref()
                }
                Err(why) if why == FOR_THE_NODE => words.first() == Some(&"local"),
                Err(_) => answer.contains("RTNETLINK answers"),
            };
            assert!(
                agrees,
                "n{}: from {src} to {dst} by {iif}: walked {said:?}, the kernel: {answer}",
                n + 1
            );
        }
    }
}

/// Something that is not as it should be, as a message to the kernel. Neighbours that a kernel would ask for anew are left
/// alone.
fn damage(kernel: &FakeKernel, rng: &mut Rng) -> Option<Step> {
    let asks = |key: &Key| matches!(key, Key::Neigh(key) if key.device.as_str().starts_with("cali"));
    let all = kernel.objects().iter();
    let own = all.filter(|(key, value)| key.netns() == Netns::Host && ours(key, value) && !asks(key));
    let own = own.filter(|(_, value)| !kernel::stays(value));
    let of = |sort: fn(&Key) -> bool| own.clone().filter(|(key, _)| sort(key)).collect::<Vec<_>>();
    match rng.below(5) {
        0 => {
            let (key, value) = *rng.pick(&of(|key| !matches!(key, Key::Sysctl(_))));
            Some(Step::Remove(key.clone(), value.clone()))
        }
        1 => {
            let sorts: [fn(&Key) -> bool; 3] = [
                |key| matches!(key, Key::Route(_)),
                |key| matches!(key, Key::Fdb(_)),
                |key| matches!(key, Key::Neigh(_)),
            ];
            let alike = of(*rng.pick(&sorts));
            if alike.is_empty() {
                return None;
            }
            let ((key, from), (_, to)) = (*rng.pick(&alike), *rng.pick(&alike));
            Some(Step::Replace { key: key.clone(), from: from.clone(), to: to.clone() })
        }
        2 => {
            let tables = of(|key| matches!(key, Key::Nft(_)));
            let (key, Value::Nft(table)) = *rng.pick(&tables) else { return None };
            let mut fewer = table.clone();
            let sets: Vec<_> = fewer.sets.values_mut().filter(|set| !set.elements.is_empty()).collect();
            let count = sets.len() as u64;
            let set = sets.into_iter().nth(rng.below(count.max(1)) as usize)?;
            let element = set.elements.iter().nth(rng.below(set.elements.len() as u64) as usize)?.clone();
            set.elements.remove(&element);
            Some(Step::Replace { key: key.clone(), from: Value::Nft(table.clone()), to: Value::Nft(fewer) })
        }
        sort => {
            let strict = of(|key| matches!(key, Key::Sysctl(key) if key.path.ends_with("rp_filter")));
            let Key::Sysctl(path) = rng.pick(&strict).0 else { return None };
            let (path, value) =
                if sort == 3 { (path.path.clone(), "1") } else { ("net/ipv4/ip_forward".to_owned(), "0") };
            let key = Key::Sysctl(SysctlKey { netns: Netns::Host, path });
            Some(Step::Create(key, Value::Sysctl(SysctlValue(value.to_owned()))))
        }
    }
}

/// The kernels of a cluster in this mode, whole and damaged.
fn hold(mode: Mode, drivers: &[IpipDriver]) {
    let cluster = cluster(mode, drivers);
    let underlay = cluster.underlay();
    let pods = cluster.running();
    let spaces = (0..underlay.kernels.len())
        .map(|node| pods.iter().filter(|pod| pod.node == node).map(|pod| pod.space).collect::<Vec<_>>());
    let laid = Laid::new(&underlay.kernels, &spaces.collect::<Vec<_>>(), underlay.routed);
    let mut rng = Rng::stream(7, &format!("{mode:?}"));
    let whole: Vec<FakeKernel> = underlay.kernels.iter().map(|kernel| (*kernel).clone()).collect();
    compare(&laid, &underlay, &pods, &format!("{mode:?}"));
    compare_routes(&laid, &whole, &pods, &mut rng);
    for _ in 0..testkit::length(6, 100) {
        let (mut kernels, mut what) = (whole.clone(), format!("{mode:?}"));
        for _ in 0..rng.between(1, 3) {
            let node = rng.below(kernels.len() as u64) as usize;
            let Some(step) = damage(&kernels[node], &mut rng) else { continue };
            let said = kernels[node].apply(&step).map_err(|error| error.errno);
            what += &format!("; n{} {step:?}", node + 1).chars().take(400).collect::<String>();
            assert_eq!(laid.nodes[node].apply(&step).map_err(|error| error.errno), said, "{what}");
        }
        let underlay =
            Underlay { kernels: kernels.iter().collect(), cut: underlay.cut, routed: underlay.routed };
        compare(&laid, &underlay, &pods, &what);
        compare_routes(&laid, &kernels, &pods, &mut rng);
        laid.nodes.iter().zip(&whole).for_each(|(node, kernel)| node.make(kernel));
    }
}

/// The drivers that this kernel takes, in turn.
fn drivers() -> Vec<IpipDriver> {
    match netlink::probe::has_ipip().expect("tests run as root") {
        true => vec![Kernel, StandIn],
        false => vec![StandIn],
    }
}

#[test]
fn a_packet_goes_by_vxlan_where_the_simulators_walk_says() {
    hold(Mode::Vxlan, &drivers());
    hold(Mode::VxlanCrossSubnet, &drivers());
}

#[test]
fn a_packet_goes_by_ipip_where_the_simulators_walk_says() {
    hold(Mode::Ipip, &drivers());
    hold(Mode::IpipCrossSubnet, &drivers());
}

#[test]
fn a_packet_goes_direct_where_the_simulators_walk_says() {
    hold(Mode::Direct, &drivers());
}
