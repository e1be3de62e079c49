//! Everything that goes into a `Node` and comes out of it.

use crate::cni;
use crate::speaker::SpeakerConfig;
use bgp::Paths;
use derive::{Attachment, AttachmentId};
use kernel::filter::Impostor;
use kernel::{Key, Netns, Objects, Outcome, PodNs, Step, Value};
use model::store::Kind;
use model::{Cidr, IfAddr, store};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Names an effect, so that its outcome finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// Names a CNI request while its client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CniId(pub u64);

/// What the world did.
#[derive(Debug)]
pub enum Input {
    /// First of all: the attachments' files and the kernel's boot id.
    Started { attachments: Vec<Attachment>, boot_id: String },
    /// A watch spoke.
    Api(store::Event),
    /// The API answered.
    Answered { id: EffectId, reply: store::Reply },
    /// A namespace was read whole. `None`: it is gone.
    Dumped { id: EffectId, netns: Netns, objects: Option<Objects> },
    /// The kernel told of changes in the node's own namespace.
    Noticed(Vec<Notice>),
    /// Notifications were lost: only a dump can tell what is.
    Overrun,
    /// The writer is done with a plan: one outcome for each key that had steps.
    Wrote { id: EffectId, outcomes: Vec<Outcome> },
    /// These of the addresses that were asked for are used by sockets of the node's own namespace.
    Sockets { id: EffectId, used: BTreeSet<IpAddr> },
    /// Who sent IP in IP in another's name, with how many packets since the filter was made.
    Impostors(BTreeMap<Impostor, u64>),
    /// A change of an attachment's file is done, or cannot be.
    Filed { id: EffectId, result: Result<(), String> },
    /// The namespace asked for by `OpenNetns` is open, or why not.
    Opened { netns: PodNs, result: Result<(), NotOpened> },
    /// A client of the socket asks. `netns` is what it handed over.
    Cni { id: CniId, request: cni::Request, netns: Option<PodNs> },
    /// The client went away before its answer.
    CniGone(CniId),
    /// The speaker's best paths to these destinations are these now; an empty list: there is none.
    Best(Vec<(Cidr, Paths)>),
    /// The speaker has made its first selection: to what it has not named there is no path.
    Settled,
    /// Other nodes reach this one by this address from now on, in place of the one of its family in `Config`.
    Renumbered(IfAddr),
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// Why a pod's namespace is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It does not exist any more: the path is free, or another namespace's.
    Gone(String),
    /// It may exist.
    Failed(String),
}

/// A change that the kernel told of.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    Put(Key, Value),
    Gone(Key),
}

/// What the world should do.
#[derive(Debug)]
pub enum Effect {
    /// Ask the API; answered by `Input::Answered`.
    Api { id: EffectId, request: store::Request },
    /// Watch this kind from now on too; told by `Input::Api`.
    Watch(Kind),
    /// Carry a plan out, in order; answered by `Input::Wrote`. At most one waits for another.
    Kernel { id: EffectId, steps: Vec<Step> },
    /// Read a namespace whole; answered by `Input::Dumped`.
    /// The settings named are to be read besides.
    Dump { id: EffectId, netns: Netns, sysctls: Vec<String> },
    /// Which of these addresses do sockets of the node's own namespace use? Answered by `Input::Sockets`; who cannot find out
    /// answers that all are used.
    Sockets { id: EffectId, addrs: BTreeSet<IpAddr> },
    /// Change an attachment's file; answered by `Input::Filed`.
    File { id: EffectId, op: FileOp },
    /// Open a pod's namespace if its inode is still the one of the attachment; answered by `Input::Opened`.
    OpenNetns { netns: PodNs, path: String, inode: (u64, u64) },
    /// Forget a namespace.
    CloseNetns(PodNs),
    /// This is what the speaker should do from now on; `None`: nothing.
    Bgp(Option<Box<SpeakerConfig>>),
    /// Answer a client.
    Cni { id: CniId, reply: cni::Reply },
    /// Tell people.
    Report(Report),
}

/// A change of an attachment's file, in the order of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum FileOp {
    /// Made, and on the disk before it counts as done: after a power cut it says which handle to release.
    Begin(Attachment),
    /// Written anew or taken away. A power cut may undo that: the next boot reads of an attachment only that it is over.
    Write(Attachment),
    Remove(AttachmentId),
}

/// What people should know; written once, by the shell, to the log. `Warn` stands in the node's status too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub level: Level,
    pub text: String,
}

/// How loud a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Report {
    pub(crate) fn info(text: String) -> Report {
        Report { level: Level::Info, text }
    }

    pub(crate) fn warn(text: String) -> Report {
        Report { level: Level::Warn, text }
    }

    pub(crate) fn error(text: String) -> Report {
        Report { level: Level::Error, text }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
