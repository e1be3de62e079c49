//! The agent, and commands, die at each place that the sources mark.

use lab_tests::faults::blame::f03_an_agent_that_dies_around_what_a_peer_sent_blames_who_was_read_and_nobody_else;
use lab_tests::faults::commands::f03_a_command_that_dies_anywhere_may_be_typed_again;
use lab_tests::faults::death::{
    every_place_at_which_a_process_may_die_is_hit_by_a_test,
    f03_a_plugin_that_dies_before_or_after_its_answer_leaves_nothing_that_a_del_does_not_take,
    f03_an_agent_that_dies_anywhere_leaves_nothing_behind_and_pods_come_and_go_afterwards, topology,
};
use lab_tests::faults::store::f03_an_api_server_that_dies_during_adds_gives_no_address_twice_and_leaks_none;
use lab_tests::{cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::temp_dir().join(format!("tortie-failpoints-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("topology.yaml");
    std::fs::write(&file, topology().to_string()).expect("a file");
    let ended = suite::run(
        &["--file", &file.display().to_string()],
        cases![
            every_place_at_which_a_process_may_die_is_hit_by_a_test,
            f03_a_command_that_dies_anywhere_may_be_typed_again,
            f03_a_plugin_that_dies_before_or_after_its_answer_leaves_nothing_that_a_del_does_not_take,
            f03_an_api_server_that_dies_during_adds_gives_no_address_twice_and_leaks_none,
            f03_an_agent_that_dies_anywhere_leaves_nothing_behind_and_pods_come_and_go_afterwards,
            f03_an_agent_that_dies_around_what_a_peer_sent_blames_who_was_read_and_nobody_else,
        ],
    );
    let _ = std::fs::remove_dir_all(folder);
    ended
}
