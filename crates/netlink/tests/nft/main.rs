//! nf_tables on the real kernel, in network namespaces of the tests' own. `nft` and packets are the independent eyes.

mod apply;
mod example;
mod meddling;
mod monitor;
mod netns;
mod packets;
mod transitions;
