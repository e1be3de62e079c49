//! Kernel objects of every kind, written by [`netlink::Writer`] in a real kernel, seen by iproute2, read back, and told of.

mod addresses;
mod batches;
mod dumps;
mod links;
mod namespaces;
mod neighbours;
#[path = "../netns/mod.rs"]
mod netns;
mod node;
mod notices;
mod routes;
mod settings;
mod sockets;
mod strangers;
