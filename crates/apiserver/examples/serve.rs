//! `tortie apiserver` by itself, for its tests: they kill it.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: apiserver::Args,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    apiserver::run(Cli::parse().args)
}
