//! Whatever somebody does to our table by hand is seen, and made good.

use crate::example::table;
use crate::netns::Netns;

/// Does something to the table, sees that it differs, repairs it, sees that it does not.
fn repaired(meddling: &str) {
    let netns = Netns::new();
    netns.write(&table());
    let listing = netns.listing();
    netns.sh(meddling);
    let found = netns.found();
    assert!(!found.is_some_and(|found| table().satisfied_by(&found)), "{meddling} is not seen");
    netns.write(&table());
    assert!(table().satisfied_by(&netns.found().unwrap()), "{meddling} is not repaired");
    assert_eq!(netns.listing(), listing, "{meddling}");
}

/// The handle of the first rule of raw-PREROUTING.
const HANDLE: &str =
    "H=$(nft -a list chain inet calico raw-PREROUTING | sed -n '/iifname/{s/.*handle //p;q}')";

#[test]
fn a_flushed_ruleset_is_repaired() {
    repaired("nft flush ruleset");
}

#[test]
fn a_flushed_table_is_repaired() {
    repaired("nft flush table inet calico");
}

#[test]
fn a_flushed_chain_is_repaired() {
    repaired("nft flush chain inet calico filter-INPUT");
}

#[test]
fn a_deleted_chain_is_repaired() {
    repaired("nft flush chain inet calico filter-INPUT; nft delete chain inet calico filter-INPUT");
}

#[test]
fn a_deleted_rule_is_repaired() {
    repaired(&format!("{HANDLE}; nft delete rule inet calico raw-PREROUTING handle $H"));
}

#[test]
fn an_added_rule_is_removed() {
    repaired("nft insert rule inet calico filter-INPUT accept");
}

#[test]
fn a_rewritten_rule_is_repaired() {
    repaired(&format!("{HANDLE}; nft replace rule inet calico raw-PREROUTING handle $H accept"));
}

#[test]
fn a_moved_rule_is_repaired() {
    repaired(&format!(
        "{HANDLE}; R=$(nft list chain inet calico raw-PREROUTING | sed -n '/iifname/{{p;q}}'); \
         nft delete rule inet calico raw-PREROUTING handle $H; nft add rule inet calico raw-PREROUTING $R"
    ));
}

#[test]
fn a_deleted_element_is_repaired() {
    repaired("nft delete element inet calico vxlan-sources '{ 172.18.0.3 . 10.244.1.0/26 }'");
    repaired("nft delete element inet calico network-ip-pools '{ 10.244.0.0/16 }'");
}

#[test]
fn an_added_element_is_removed() {
    repaired("nft add element inet calico all-hosts-net '{ 172.18.0.9 }'");
    repaired("nft add element inet calico workload-sources '{ \"cali3\" . 10.244.0.7 }'");
}

#[test]
fn a_flushed_set_is_repaired() {
    repaired("nft flush set inet calico network-ip-pools");
}

#[test]
fn what_somebody_put_into_our_table_is_removed() {
    repaired(
        "nft add chain inet calico theirs '{ type filter hook input priority 0; }'; nft add rule inet calico theirs drop",
    );
    repaired("nft add chain inet calico theirs; nft insert rule inet calico filter-INPUT jump theirs");
    repaired("nft add set inet calico theirs '{ type inet_service; elements = { 22 } }'");
    repaired(
        "nft add map inet calico theirs '{ type ipv4_addr : inet_service; elements = { 1.2.3.4 : 22 } }'",
    );
    repaired("nft add set inet calico theirs '{ type ipv4_addr; timeout 1h; elements = { 1.2.3.4 } }'");
    repaired("nft add counter inet calico theirs");
    repaired(
        "nft add chain inet calico theirs; nft add map inet calico m '{ type ifname : verdict; elements = { a : goto theirs } }'",
    );
}

#[test]
fn a_table_that_was_switched_off_is_switched_on() {
    repaired("nft add table inet calico '{ flags dormant; }'");
}
