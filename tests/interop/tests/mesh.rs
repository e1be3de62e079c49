//! A full mesh of ours, as many as a cluster has before it needs reflectors.

use interop_tests::ours::{originating, with};
use interop_tests::{Ours, Segment, job, peer, within};
use model::Cidr;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const NODES: u8 = 100;
/// A hundred speakers without optimisation on two cores.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_mesh_of_a_hundred_speakers_converges() {
    // All on one host: between hosts the kernel's table of neighbours, which all namespaces share, would be full.
    let segment = Segment::new();
    let host = segment.host(1);
    let nodes: Vec<Ipv4Addr> = (1..=NODES).map(|number| Ipv4Addr::new(10, 8, 0, number)).collect();
    for node in &nodes {
        host.netns.run(&format!("ip addr add {node}/32 dev lo"));
    }
    let block =
        |node: &Ipv4Addr| -> Cidr { format!("10.1.{}.0/26", node.octets()[3]).parse().expect("a prefix") };
    let start = Instant::now();
    let mut mesh: Vec<Ours> = nodes
        .iter()
        .map(|node| {
            let mut job = originating(job(64512, *node), &[&block(node).to_string()]);
            job.listen = vec![IpAddr::from(*node)];
            for other in nodes.iter().filter(|other| *other != node) {
                // Of each two, one calls, as in Calico's mesh.
                let local_addr = Some(IpAddr::from(*node));
                job = with(job, bgp::PeerConfig { local_addr, passive: node > other, ..peer(*other, 64512) });
            }
            Ours::start(&host, job)
        })
        .collect();
    for (ours, node) in mesh.iter_mut().zip(&nodes) {
        for other in nodes.iter().filter(|other| *other != node) {
            within(PATIENCE, &format!("{node} has a path to {other}"), || {
                let paths = ours.paths().get(&block(other))?;
                (paths[0].nexthop.addr() == IpAddr::from(*other)).then_some(())
            });
        }
    }
    eprintln!("{NODES} speakers converge in {:?}", start.elapsed());
    let is_up = |ours: &Ours| ours.sessions().iter().all(|session| session.state == "Established");
    assert!(mesh.iter().all(is_up));
    assert!(mesh.iter_mut().all(|ours| ours.losses() == 0), "nothing is lost on the way");
}
