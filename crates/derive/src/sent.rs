//! How the kernel sends now: by which encapsulation to each destination that a route of ours leads to by a gateway.
//!
//! A node may have very many of them. What is asked of all together (does any go by VXLAN?) is counted while they change.

use crate::Encap;
use model::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The encapsulation of each destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    by_dst: BTreeMap<Cidr, Encap>,
    /// How many destinations each has; never none.
    counts: BTreeMap<Encap, usize>,
    /// The far tunnel's own address, of those by VXLAN.
    vteps: BTreeMap<Cidr, IpAddr>,
}

impl Sent {
    /// The kernel sends to `dst` by VXLAN from now on, to the tunnel with this address.
    pub fn set_vtep(&mut self, dst: Cidr, tunnel: IpAddr) {
        self.set(dst, Some(Encap::Vxlan));
        self.vteps.insert(dst, tunnel);
    }

    /// The far tunnel's own address, if `dst` is reached by VXLAN.
    pub fn vtep(&self, dst: Cidr) -> Option<IpAddr> {
        self.vteps.get(&dst).copied()
    }

    /// The kernel sends to `dst` by this from now on, or not at all.
    pub fn set(&mut self, dst: Cidr, encap: Option<Encap>) {
        self.vteps.remove(&dst);
        let before = match encap {
            Some(encap) => self.by_dst.insert(dst, encap),
            None => self.by_dst.remove(&dst),
        };
        if let Some(encap) = encap {
            *self.counts.entry(encap).or_default() += 1;
        }
        if let Some(before) = before {
            self.counts.entry(before).and_modify(|count| *count -= 1);
            self.counts.retain(|_, count| *count > 0);
        }
    }

    /// How it sends to `dst`.
    pub fn get(&self, dst: Cidr) -> Option<Encap> {
        self.by_dst.get(&dst).copied()
    }

    /// Whether anything is sent by `encap`.
    pub fn goes_by(&self, encap: Encap) -> bool {
        self.counts.contains_key(&encap)
    }

    /// All that something is sent by.
    pub fn encaps(&self) -> BTreeSet<Encap> {
        self.counts.keys().copied().collect()
    }

    /// The destinations inside a network, itself among them.
    pub fn within(&self, net: Cidr) -> impl Iterator<Item = (Cidr, Encap)> {
        // In order a network comes before all that it covers.
        self.by_dst.range(net..=Cidr::host(net.last())).map(|(dst, encap)| (*dst, *encap))
    }
}

impl FromIterator<(Cidr, Encap)> for Sent {
    fn from_iter<I: IntoIterator<Item = (Cidr, Encap)>>(sent: I) -> Sent {
        let mut all = Sent::default();
        sent.into_iter().for_each(|(dst, encap)| all.set(dst, Some(encap)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn step() -> impl Strategy<Value = (Cidr, Option<Encap>)> {
        let net = (0..4u8, prop_oneof![Just(0u8), 16..=18u8, 24..=32u8])
            .prop_map(|(n, len)| Cidr::containing([10, 0, n, n << 6].into(), len).expect("it fits IPv4"));
        (net, prop::option::of(select(vec![Encap::Direct, Encap::Ipip, Encap::Vxlan])))
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_there(steps in prop::collection::vec(step(), 0..40), inside in step()) {
            let (mut sent, mut plain) = (Sent::default(), BTreeMap::new());
            for (dst, encap) in steps {
                sent.set(dst, encap);
                plain.remove(&dst);
                plain.extend(encap.map(|encap| (dst, encap)));
            }
            prop_assert_eq!(sent.encaps(), plain.values().copied().collect());
            let within: BTreeMap<Cidr, Encap> = sent.within(inside.0).collect();
            plain.retain(|dst, _| inside.0.covers(*dst));
            prop_assert_eq!(within, plain);
        }
    }
}
