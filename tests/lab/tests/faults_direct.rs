//! Faults in direct mode: those that a mode makes a difference for.

use lab_tests::faults::{kill, meddle, refused, renumber, takeover, uplink};
use lab_tests::{cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    use {kill::*, meddle::*, refused::*, renumber::*, takeover::*, uplink::*};
    suite::run(
        &["--mode", "direct"],
        cases![
            f01_no_packet_is_lost_while_an_agent_is_killed_or_stopped_and_started,
            no_packet_is_lost_when_a_node_of_calicos_is_taken_over,
            f11_no_packet_is_lost_while_the_api_server_is_dead,
            f36_a_storm_of_foreign_routes_does_not_hide_a_deletion,
            f38_rules_that_the_kernel_refuses_lead_nobody_to_a_new_pod_and_take_nothing_from_others,
            f38_a_tunnel_that_the_kernel_refuses_is_said_and_its_node_is_reached_as_before,
            f40_a_deleted_route_comes_back,
            f40_a_deleted_pod_route_comes_back,
            f45_after_the_uplink_was_down_traffic_flows_within_a_second_and_sessions_stay,
            f46_another_uplink_takes_the_place_of_the_first,
            f48_tunnels_and_pods_follow_the_mtu_of_the_uplink_and_streams_go_on,
            f47_a_node_with_another_address_is_reached_by_it_and_others_notice_nothing,
            f42_a_flushed_ruleset_comes_back,
        ],
    )
}
