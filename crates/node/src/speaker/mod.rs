//! Between the World and the BGP speaker: its configuration out of `derive::bgp::plan`, its best paths into the World, its
//! sessions into the node's status.
//!
//! ```text
//!   World ─ derive::bgp::plan ─ config ─► Effect::Bgp ─► the speaker, which keeps the latest only
//!     ▲                                                      │  └─ its sessions ─► status
//!     └──────────────── learn ◄── Input::Best ◄──────────────┘
//! ```

mod config;
mod learn;
mod status;

pub use config::configuration;
pub use status::status;

use crate::effect::Effect;
use crate::node::Node;
use bgp::PeerId;
use derive::bgp::{BgpPlan, BgpWorld};
use model::Instant;
use model::v3::SecretKeyRef;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What the speaker should do, and what its shell needs for it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerConfig {
    pub bgp: bgp::Config,
    /// The addresses to listen on; none: all.
    pub listen: Vec<IpAddr>,
    /// Peers whose sessions have a password, and where it stands. The shell puts its mark into the peer's `password_key`.
    pub passwords: BTreeMap<PeerId, SecretKeyRef>,
    /// What people ask of: the plan that this was made from.
    pub plan: Arc<BgpPlan>,
}

/// What passes between the node and its speaker.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Something changed that the speaker's configuration follows from.
    pub dirty: bool,
    /// What the speaker was told last; `None`: nothing yet.
    told: Option<Option<Box<SpeakerConfig>>>,
    /// The kernel held routes of ours when this process began: the speaker restarts gracefully.
    pub kept_routes: bool,
    /// Why this node does not speak BGP, though it should.
    pub problem: Option<String>,
    follows_services: bool,
    told_at: Instant,
}

impl Default for Speech {
    fn default() -> Speech {
        Speech {
            dirty: true,
            told: None,
            kept_routes: false,
            problem: None,
            follows_services: false,
            told_at: Instant::ZERO,
        }
    }
}

impl Node {
    /// Tells the speaker what follows from the World, if that is something new.
    pub(crate) fn instruct(&mut self) {
        if !self.config.bgp || !self.speech.dirty || !self.cluster.knows(&BgpWorld::KINDS) {
            return;
        }
        if self.world.bgp.tells_services() {
            self.follow_services();
            // Sessions wait for services, so that a restart withdraws none, but not for a watch that may never speak.
            if !self.cluster.knows_or_cannot(&BgpWorld::SERVICE_KINDS) {
                return;
            }
        }
        self.speech.dirty = false;
        let config = configuration(&self.world, self.speech.kept_routes);
        self.speech.problem = config.as_ref().err().map(|why| format!("BGP: {why}"));
        let config = config.ok().map(Box::new);
        if self.speech.told.as_ref() != Some(&config) {
            if let (Some(before), Some(after)) = (self.speaks().map(|told| told.plan.clone()), &config) {
                self.judge_anew(&before, &after.plan);
            }
            self.effects.push_back(Effect::Bgp(config.clone()));
            self.speech.told = Some(config);
            self.speech.told_at = self.now;
        }
    }

    /// Services are watched from the first time on that somebody wants them told of.
    fn follow_services(&mut self) {
        if !std::mem::replace(&mut self.speech.follows_services, true) {
            self.effects.extend(BgpWorld::SERVICE_KINDS.map(Effect::Watch));
        }
    }

    /// What the speaker was told to do; `None` if it does nothing.
    pub fn speaks(&self) -> Option<&SpeakerConfig> {
        self.speech.told.as_ref()?.as_deref()
    }

    /// When it was told.
    pub fn told_at(&self) -> Instant {
        self.speech.told_at
    }

    /// Paths of peers that do not count, in words.
    pub fn refused_paths(&self) -> Vec<String> {
        derive::refused(&self.world).collect()
    }
}
