//! Faults and threats in mode IPIP.

use lab_tests::faults::{ipip, kill, meddle, pieces, renumber, takeover, uplink};
use lab_tests::{cases, suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    use {ipip::*, kill::*, meddle::*, pieces::*, renumber::*, takeover::*, uplink::*};
    suite::run(
        &["--mode", "ipip"],
        cases![
            f01_no_packet_is_lost_while_an_agent_is_killed_or_stopped_and_started,
            f37_with_buffers_of_a_page_everything_is_read_and_written_whole_and_no_packet_is_lost,
            no_packet_is_lost_when_a_node_of_calicos_is_taken_over,
            f40_a_deleted_route_comes_back,
            f40_a_changed_route_is_set_right,
            f40_a_deleted_address_of_tunl0_comes_back,
            f40_a_tunl0_that_was_set_down_comes_up,
            f40_a_deleted_stand_in_comes_back_with_all_that_hangs_on_it,
            f40_a_deleted_filter_of_the_uplink_comes_back,
            f40_a_deleted_place_for_filters_comes_back,
            f40_a_deleted_filter_of_tunl0_comes_back,
            f42_a_flushed_ruleset_comes_back,
            f45_after_the_uplink_was_down_traffic_flows_within_a_second_and_sessions_stay,
            f46_another_uplink_takes_the_place_of_the_first,
            f48_tunnels_and_pods_follow_the_mtu_of_the_uplink_and_streams_go_on,
            f47_a_node_with_another_address_is_reached_by_it_and_others_notice_nothing,
            s05_a_pods_own_tunnel_packets_do_not_leave_its_node,
            s16_ip_in_ip_from_no_node_or_with_anothers_source_is_dropped,
            s17_who_sends_in_anothers_name_is_named_with_whose_it_is,
            s58_a_planted_filter_is_left_alone_and_said,
        ],
    )
}
