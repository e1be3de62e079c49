//! Chains, where they hang, and how a chain that was found is recognised.

use super::Rule;
use std::fmt;

/// A chain: a base chain, which the kernel calls, if it has a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub hook: Option<Hook>,
    pub rules: Rules,
}

/// The rules of a chain, in order. Two are equal if their fingerprints are, whether written or found.
#[derive(Clone, Debug)]
pub enum Rules {
    /// Wanted, or written by us.
    Written(Vec<Rule>),
    /// Found in the kernel: of each rule the fingerprint that was stored with it, `None` for a rule that we did not write.
    Found(Vec<Option<Fingerprint>>),
}

/// FNV-1a, 64 bits, of a rule's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

/// Where a base chain hangs. Packets that reach its end are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub chain_type: ChainType,
    pub point: HookPoint,
    /// Lower comes first.
    pub priority: i32,
}

/// What a base chain is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainType {
    Filter,
    /// Sees the first packet of each connection only.
    Nat,
    /// Anything else that was found.
    Other(String),
}

/// A hook of netfilter (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    /// Anything else that was found.
    Other(u32),
}

/// Priorities of base chains: Calico's in its nftables mode.
pub mod priority {
    /// Before connection tracking (`NF_IP_PRI_RAW`).
    pub const RAW: i32 = -300;
    pub const FILTER: i32 = 0;
    /// 10 behind the usual place of source NAT, to come after kube-proxy's.
    pub const SRCNAT: i32 = 110;
}

/// Raised when the same text begins to be compiled to other expressions, so that rules which an older version wrote are
/// written anew.
const COMPILATION: u8 = 1;

impl Fingerprint {
    /// The fingerprint of a rule.
    pub fn of(rule: &Rule) -> Fingerprint {
        let text = rule.to_string();
        let bytes = std::iter::once(COMPILATION).chain(text.bytes());
        Fingerprint(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Hook {
    /// A base chain that accepts and drops.
    pub fn filter(point: HookPoint, priority: i32) -> Hook {
        Hook { chain_type: ChainType::Filter, point, priority }
    }

    /// A base chain that translates addresses.
    pub fn nat(point: HookPoint, priority: i32) -> Hook {
        Hook { chain_type: ChainType::Nat, point, priority }
    }
}

impl Chain {
    /// A base chain.
    pub fn base(hook: Hook, rules: impl IntoIterator<Item = Rule>) -> Chain {
        Chain { hook: Some(hook), rules: Rules::Written(rules.into_iter().collect()) }
    }

    /// A chain that others jump to.
    pub fn regular(rules: impl IntoIterator<Item = Rule>) -> Chain {
        Chain { hook: None, rules: Rules::Written(rules.into_iter().collect()) }
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        match (self, other) {
            (Rules::Written(a), Rules::Written(b)) => a == b,
            _ => self.fingerprints() == other.fingerprints(),
        }
    }
}

impl Eq for Rules {}

impl Rules {
    /// The fingerprint of each rule.
    pub fn fingerprints(&self) -> Vec<Option<Fingerprint>> {
        match self {
            Rules::Written(rules) => rules.iter().map(|rule| Some(Fingerprint::of(rule))).collect(),
            Rules::Found(fingerprints) => fingerprints.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::rule::{iifname, udp_dport};

    #[test]
    fn fingerprints_stay_the_same_from_version_to_version() {
        let rule = Rule::when([iifname("cali*"), udp_dport(4789)]).count("pod-vxlan").drop();
        assert_eq!(format!("{:?}", Fingerprint::of(&rule)), "a25f9512bfd87e0b");
    }

    #[test]
    fn a_chain_that_was_found_equals_the_one_that_was_written_only_with_every_rule_in_its_place() {
        let rules = || [1, 2, 3].map(|port| Rule::when([udp_dport(port)]).drop());
        let written = Chain::regular(rules());
        let found = |prints: Vec<Option<Fingerprint>>| Chain { hook: None, rules: Rules::Found(prints) };
        let [a, b, c] = rules().map(|rule| Some(Fingerprint::of(&rule)));
        assert_eq!(written, found(vec![a, b, c]));
        for other in
            [vec![], vec![a, b], vec![a, c, b], vec![a, b, c, c], vec![a, b, c, None], vec![a, None, c]]
        {
            assert_ne!(written, found(other));
        }
        let hook = Some(Hook::filter(HookPoint::Input, 0));
        assert_ne!(written, Chain { hook, ..found(vec![a, b, c]) });
    }
}
