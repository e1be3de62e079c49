//! Borrowed, reserved and collected addresses, between nodes that are joined by VXLAN.

use lab_tests::addresses::what_a_force_deleted_pod_had_is_collected;
use lab_tests::cases;
use std::process::ExitCode;

fn main() -> ExitCode {
    lab_tests::addresses::run("vxlan", cases![what_a_force_deleted_pod_had_is_collected])
}
