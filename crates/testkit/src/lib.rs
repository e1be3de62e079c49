//! What the suites share: namespaces and processes that end with their test, and the instruments by which a claim about
//! packets, leaks or silence is proven.

pub mod frame;
pub mod leaks;
pub mod netns;
pub mod packet;
pub mod process;
pub mod sampler;
pub mod sim;
