//! Borrowed, reserved and collected addresses, between nodes that are joined by IP in IP.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab_tests::addresses::run("ipip", &[])
}
