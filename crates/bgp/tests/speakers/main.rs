//! Whole speakers against each other over [`net`], in virtual time.

mod configured;
#[path = "../net/mod.rs"]
mod net;
mod restarts;
mod sessions;
mod told;

/// Two speakers of these ASes, with their session up.
fn two(asns: [u32; 2]) -> net::Net {
    let mut net = net::Net::new(1, &net::mesh(&asns));
    net.run(net::secs(5));
    net
}
