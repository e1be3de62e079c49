//! What may be said to the core, by the tasks and threads around it.

use kernel::ApplyError;
use kernel::filter::Impostor;
use node::cni::{self, Reply};
use node::socket::NodeStatus;
use node::{CniId, Input};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// How many messages may wait for the core; whoever has more waits.
pub(crate) const INBOX: usize = 1024;

/// What arrives at the core.
#[derive(Debug)]
pub(crate) enum Message {
    Input(Input),
    /// Who sends in another's name, or why that cannot be read.
    Impostors(Result<BTreeMap<Impostor, u64>, ApplyError>),
    /// A client's CNI call.
    Call(Call),
    /// A client wants to know how things are.
    Status(oneshot::Sender<NodeStatus>),
    /// The file of a queued DEL is gone.
    Forgotten(String),
}

/// A CNI call of a client of the socket.
#[derive(Debug)]
pub(crate) struct Call {
    pub id: CniId,
    pub request: cni::Request,
    pub netns: Option<netlink::Netns>,
    pub reply: oneshot::Sender<Reply>,
}
