//! Whole clusters in one thread and virtual time: the production code that decides, against fakes that misbehave.
//!
//! ```text
//!   kubelets ── ADD, DEL, again after a crash ──►┌────────────────┐──requests──► Faults ──► FakeApi
//!                                                │ ipam::Allocator│◄──answers, or none──────┤
//!   crashes, restarts ──────────────────────────►│   on N nodes   │◄──watches, each late────┤
//!   machines lost, installed anew                └────────────────┘                         │
//!   paused machines, clocks that differ ────────►│ipam::Collector │◄────────────────────────┘
//!                                                │one, or several │
//!                                                └────────────────┘
//!                          after every event: Laws over API × answers        at the end: nothing pending, nothing leaked
//! ```
//!
//! A run is its seed: [`seeded::run`] draws the cluster, the load and the faults from it before anything happens, so that
//! rare mixtures come up. A directed case is written in the same words ([`Sim::cluster`]). A broken law is a [`Broken`],
//! which prints the last events and the command that shows it again.
//!
//! What says that this is worth something: the fakes pass the cases that the real API server and the real kernel pass
//! ([`conformance`]); what once broke a law is replayed (`tests/sim/regress`); a world small enough is looked at whole
//! (`tests/sim/tests/small_world.rs`); and bugs that are put in by hand are found (`tests/sim/planted`).
//!
//! What it cannot see: sockets, tasks, real timing.

pub mod api;
mod clock;
pub mod conformance;
pub mod faults;
mod kubelet;
pub mod laws;
mod lease;
pub mod machines;
mod mind;
mod minimise;
mod pause;
pub mod queue;
mod rest;
pub mod rng;
pub mod seeded;
pub mod seeds;
mod simulation;
mod trace;
mod wire;
mod words;

pub use api::{FakeApi, Revision};
pub use faults::{Faults, Moment, Verb};
pub use laws::Broken;
pub use machines::Machines;
pub use queue::Queue;
pub use rng::Rng;
pub use simulation::Sim;
