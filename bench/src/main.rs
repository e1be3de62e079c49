//! Measures against a peer in the same run, on the same machine: what counts is the ratio. Run it with `./dev bench`.

mod bgp;
mod cni;
mod datapath;
mod fib;
mod memory;
mod start;
mod store;
mod table;

use clap::Parser;
use table::Row;

/// Ratios against peers in the same run.
#[derive(Parser, Debug)]
struct Cli {
    /// Which of them: bgp, bgp-fib, bgp-mesh, cni, datapath, fib, memory, start, store; all without a name.
    only: Vec<String>,
    /// `table` or `json`.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    /// Be the speaker that `bgp` measures, at this address.
    #[arg(long, hide = true)]
    speaker: Option<std::net::Ipv4Addr>,
    /// … one of a mesh of so many.
    #[arg(long, hide = true, requires = "speaker", requires = "full")]
    mesh: Option<u32>,
    /// … that makes this file when it has all routes.
    #[arg(long, hide = true)]
    full: Option<std::path::PathBuf>,
}

type Bench = fn() -> anyhow::Result<Vec<Row>>;

const BENCHES: [(&str, Bench); 9] = [
    ("start", start::run),
    ("store", store::run),
    ("cni", cni::run),
    ("datapath", datapath::run),
    ("fib", fib::run),
    ("memory", memory::run),
    ("bgp", bgp::transit),
    ("bgp-fib", bgp::routed),
    ("bgp-mesh", bgp::mesh),
];

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match (cli.speaker, cli.mesh, &cli.full) {
        (Some(addr), Some(size), Some(full)) => return bgp::speak_in_mesh(addr, size, full),
        (Some(addr), ..) => return bgp::speak(addr),
        _ => {}
    }
    for name in &cli.only {
        anyhow::ensure!(BENCHES.iter().any(|(known, _)| known == name), "no bench is called `{name}`");
    }
    let mut rows = Vec::new();
    for (name, bench) in BENCHES {
        if cli.only.is_empty() || cli.only.iter().any(|only| only == name) {
            eprintln!("bench: {name}");
            rows.extend(bench()?);
        }
    }
    match cli.output.as_str() {
        "json" => println!("{:#}", table::json(&rows)),
        _ => print!("{}", table::text(&rows)),
    }
    Ok(())
}
