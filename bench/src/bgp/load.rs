//! Half a million routes as octets, and who waits for them: what a peer of the speaker that is measured says and hears.

use crate::bgp::ASNS;
use interop_tests::raw::{self, UPDATE};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

const PER_UPDATE: usize = 100;

/// The UPDATEs of so many routes, one after the other. Each attribute set is shared by a hundred prefixes.
pub fn routes(count: u32, nexthop: Ipv4Addr) -> Vec<u8> {
    let prefixes: Vec<(Ipv4Addr, u8)> =
        (0..count).map(|number| (Ipv4Addr::from(0x1400_0000 + number * 64), 26)).collect();
    let updates = prefixes.chunks(PER_UPDATE).zip(0u32..).map(|(some, number)| {
        let mut attributes = raw::attributes(ASNS[0], nexthop);
        attributes.extend([0xc0, 8, 4]);
        attributes.extend(number.to_be_bytes());
        raw::update(&attributes, some)
    });
    updates.flatten().collect()
}

/// Reads until so many prefixes were announced.
pub fn receive(stream: TcpStream, count: u32) -> anyhow::Result<()> {
    let mut stream = std::io::BufReader::with_capacity(1 << 20, stream);
    let (mut missing, mut body) = (count, Vec::new());
    while missing > 0 {
        let mut header = [0; 19];
        stream.read_exact(&mut header)?;
        body.resize(usize::from(u16::from_be_bytes([header[16], header[17]])) - header.len(), 0);
        stream.read_exact(&mut body)?;
        if header[18] == UPDATE {
            missing = missing.saturating_sub(announced(&body));
        }
    }
    Ok(())
}

/// How many prefixes an UPDATE announces.
fn announced(body: &[u8]) -> u32 {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let withdrawn = length(0);
    let mut at = 4 + withdrawn + length(2 + withdrawn);
    let mut count = 0;
    while at < body.len() {
        at += 1 + usize::from(body[at].div_ceil(8));
        count += 1;
    }
    count
}

/// What processes have had of processors so far, in seconds.
pub fn processor_seconds(pids: impl IntoIterator<Item = u32>) -> anyhow::Result<f64> {
    let mut nanos = 0u64;
    for pid in pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let file: PathBuf = thread?.path().join("schedstat");
            let text = std::fs::read_to_string(&file)?;
            let first = text.split_whitespace().next().unwrap_or_default();
            nanos += first.parse::<u64>()?;
        }
    }
    Ok(nanos as f64 / 1e9)
}
