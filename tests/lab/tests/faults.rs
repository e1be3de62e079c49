//! Faults and threats in mode VXLAN.

use lab_tests::faults::{cni, compaction, kill, meddle, pod, renumber, socket, spoof, uplink};
use lab_tests::{cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    use {cni::*, compaction::*, kill::*, meddle::*, pod::*, renumber::*, socket::*, spoof::*, uplink::*};
    suite::run(
        &["--mode", "vxlan"],
        cases![
            f01_no_packet_is_lost_while_an_agent_is_killed_or_stopped_and_started,
            f11_no_packet_is_lost_while_the_api_is_a_black_hole_and_pods_can_be_added_afterwards,
            f11_no_packet_is_lost_while_the_api_server_is_dead_for_a_minute,
            f14_watches_whose_history_is_gone_begin_again_and_no_route_goes_meanwhile,
            f24_what_is_deleted_while_an_agent_is_down_goes_when_it_comes_back_and_nothing_else,
            f25_a_second_add_is_an_error_and_changes_nothing,
            f26_an_add_after_a_failed_add_works,
            f27_del_of_what_is_not_there_succeeds_and_touches_nothing,
            f27_del_after_the_netns_is_gone_gives_the_address_back,
            f28_a_netns_that_vanishes_during_add_leaves_nothing,
            f29_an_add_that_fails_after_us_in_the_chain_is_taken_down_clean,
            f32_with_the_agent_away_add_says_try_again_and_del_is_done_later,
            f35_gc_takes_exactly_those_that_are_not_on_the_list,
            f36_a_storm_of_foreign_routes_does_not_hide_a_deletion,
            f40_a_deleted_route_comes_back,
            f40_a_changed_route_is_set_right,
            f40_a_deleted_pod_route_comes_back,
            f40_a_deleted_neighbour_comes_back,
            f40_a_deleted_fdb_entry_comes_back,
            f40_a_deleted_tunnel_address_comes_back,
            f40_a_deleted_tunnel_device_comes_back,
            f40_a_tunnel_device_that_was_set_down_comes_up,
            f40_a_foreign_route_under_our_key_is_left_alone_and_said,
            f42_a_flushed_ruleset_comes_back,
            f42_an_emptied_chain_is_filled_again,
            f42_a_deleted_table_comes_back,
            f45_after_the_uplink_was_down_traffic_flows_within_a_second_and_sessions_stay,
            f46_another_uplink_takes_the_place_of_the_first,
            f48_tunnels_and_pods_follow_the_mtu_of_the_uplink_and_streams_go_on,
            f47_a_node_with_another_address_is_reached_by_it_and_others_notice_nothing,
            s01_what_a_pod_sends_with_anothers_source_arrives_nowhere,
            s02_a_pod_cannot_move_its_nodes_routes,
            s03_a_pod_cannot_take_anothers_address_by_arp,
            s04_a_pod_that_asks_as_thousands_fills_no_table_of_neighbours,
            s06_nobody_reaches_the_nodes_loopback_from_outside,
            s16_a_tunnel_packet_from_no_node_or_with_anothers_source_is_dropped,
            s34_the_agents_socket_is_roots_alone_and_idle_clients_hold_up_nobody,
            s36_only_a_pods_own_network_namespace_is_taken,
            f31_a_hundred_adds_and_a_hundred_dels_at_once,
        ],
    )
}
