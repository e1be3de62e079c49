//! Borrowed, reserved and collected addresses, between nodes that are joined by VXLAN.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab_tests::addresses::run("vxlan")
}
