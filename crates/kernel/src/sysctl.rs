//! Settings under `/proc/sys/net`.

use crate::Netns;

/// Identifies a setting by its path under `/proc/sys`, such as `net/ipv4/conf/cali7f94ce7c295/proxy_arp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysctlKey {
    pub netns: Netns,
    pub path: String,
}

/// The setting's text, without a line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysctlValue(pub String);
