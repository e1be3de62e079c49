//! `tortie controller` by itself, for its tests: they let it die.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: controllers::Args,
}

fn main() -> anyhow::Result<()> {
    controllers::run(Cli::parse().args)
}
