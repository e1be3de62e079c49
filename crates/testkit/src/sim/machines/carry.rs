//! What nodes want done, carried out: in its own time, or not, or halfway.

use super::{Broken, EffectId, Machines, Plan};
use crate::sim::Moment;
use crate::sim::faults::{Fate, Sort};
use ::kernel::{ApplyError, Outcome, PodNs, Refused, Step};
use model::Duration;
use model::store::{Kind, Request};
use node::{Effect, FileOp, Input, NotOpened};
use std::collections::BTreeSet;

/// One message of the writer, a notice, a file: microseconds, from and to.
const LOCAL: (u64, u64) = (20, 400);

const EBUSY: i32 = 16;

/// What happens at a point in time.
#[derive(Debug)]
pub(super) enum Happening {
    Start {
        node: usize,
    },
    Wake {
        node: usize,
        life: u64,
    },
    /// Something local reaches the agent.
    Hear {
        node: usize,
        life: u64,
        input: Box<Input>,
    },
    /// The writer sends the next message of the plan.
    Write {
        node: usize,
        life: u64,
    },
    /// The namespace of the node is read.
    Read {
        node: usize,
        life: u64,
        id: EffectId,
        netns: ::kernel::Netns,
        settings: Vec<String>,
    },
    /// A file is written.
    File {
        node: usize,
        life: u64,
        id: EffectId,
        op: Box<FileOp>,
    },
    Arrive {
        node: usize,
        life: u64,
        id: EffectId,
        request: Box<Request>,
        fate: Fate,
    },
    List {
        node: usize,
        life: u64,
        kind: Kind,
    },
    Tell {
        node: usize,
        life: u64,
        kind: Kind,
    },
    /// The kubelet tries what is left to do for a pod.
    Kubelet(String),
    Admin(super::Admin),
    Talk(super::speakers::Talk),
}

impl Machines {
    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        let Some(happening) = self.unless_paused(happening) else { return Ok(()) };
        match happening {
            Happening::Start { node } => {
                self.start(node);
                self.drain(node)
            }
            Happening::Wake { node, life } => match self.alive(node, life).is_some() {
                true => {
                    self.machines[node].wakes_at = None;
                    self.input(node, Input::Timeout)
                }
                false => Ok(()),
            },
            Happening::Hear { node, life, input } => match self.alive(node, life).is_some() {
                true => self.input(node, *input),
                false => Ok(()),
            },
            Happening::Write { node, life } if self.alive(node, life).is_some() => self.write(node),
            Happening::Read { node, life, id, netns, settings } if self.alive(node, life).is_some() => {
                self.pass_notices(node);
                let objects = self.machines[node].kernel.dump(netns, &settings);
                self.say_to(node, Input::Dumped { id, netns, objects });
                Ok(())
            }
            Happening::File { node, life, id, op } if self.alive(node, life).is_some() => {
                let files = &mut self.machines[node].files;
                match *op {
                    FileOp::Begin(attachment) | FileOp::Write(attachment) => {
                        _ = files.insert(attachment.id.clone(), attachment);
                    }
                    FileOp::Remove(attachment) => _ = files.remove(&attachment),
                }
                self.say_to(node, Input::Filed { id, result: Ok(()) });
                Ok(())
            }
            Happening::Write { .. } | Happening::Read { .. } | Happening::File { .. } => Ok(()),
            Happening::Arrive { node, life, id, request, fate } => {
                self.arrive(node, life, id, &request, fate);
                Ok(())
            }
            Happening::List { node, life, kind } => self.list(node, life, kind),
            Happening::Tell { node, life, kind } => self.tell(node, life, kind),
            Happening::Kubelet(pod) => self.look_after(&pod),
            Happening::Admin(act) => self.administer(act),
            Happening::Talk(talk) => self.talk(talk),
        }
    }

    /// The agent is told, and what it decides is carried out.
    pub(super) fn input(&mut self, node: usize, input: Input) -> Result<(), Broken> {
        let now = self.queue.now();
        let machine = &mut self.machines[node];
        if let Some(agent) = &mut machine.agent {
            agent.handle(machine.clock.at(now), input);
        }
        self.drain(node)
    }

    pub(super) fn drain(&mut self, node: usize) -> Result<(), Broken> {
        while let Some(effect) = self.machines[node].agent.as_mut().and_then(node::Node::poll) {
            self.carry_out(node, effect)?;
        }
        let world = self.queue.now();
        let machine = &mut self.machines[node];
        let now = machine.clock.at(world);
        let due = machine.agent.as_ref().and_then(node::Node::poll_timeout).map(|(at, _)| at);
        // If it is to be called at this very moment, that is yet to come.
        if due.is_some_and(|due| due <= now) && machine.wakes_at.is_none_or(|at| at > now) {
            let why = machine.agent.as_ref().and_then(node::Node::poll_timeout).map(|(_, why)| why);
            return Err(
                self.broken("law 11", format!("n{} wants to be called at once, again: {why:?}", node + 1))
            );
        }
        if let Some(due) = due.filter(|due| machine.wakes_at.is_none_or(|at| *due < at)) {
            machine.wakes_at = Some(due);
            let life = machine.life;
            self.queue.push(machine.clock.until(world, due), Happening::Wake { node, life });
        }
        Ok(())
    }

    /// A local fact is on its way to the agent, behind those that came before it.
    pub(super) fn say_to(&mut self, node: usize, input: Input) {
        let span = self.span(LOCAL);
        let now = self.queue.now();
        let machine = &mut self.machines[node];
        let at = (now + span).max(machine.ear + Duration::from_micros(1));
        machine.ear = at;
        let life = machine.life;
        self.queue.push(at.since(now), Happening::Hear { node, life, input: Box::new(input) });
    }

    /// What the kernel told is on its way.
    pub(super) fn pass_notices(&mut self, node: usize) {
        let notices = self.machines[node].kernel.take_notices();
        if notices.is_empty() || self.machines[node].agent.is_none() {
            return;
        }
        if self.faults.overruns(node) {
            self.say(format!("n{}: notices are lost", node + 1));
            return self.say_to(node, Input::Overrun);
        }
        self.say_to(node, Input::Noticed(notices));
    }

    fn carry_out(&mut self, node: usize, effect: Effect) -> Result<(), Broken> {
        let life = self.machines[node].life;
        match effect {
            Effect::Report(report) => {
                self.say(format!("n{} says: {report}", node + 1));
                Ok(())
            }
            Effect::Api { id, request } => {
                self.ask(node, id, request);
                Ok(())
            }
            Effect::Kernel { id, steps } => self.begin(node, id, steps),
            Effect::Dump { id, netns, sysctls: settings } => {
                let span = self.span(LOCAL);
                self.queue.push(span, Happening::Read { node, life, id, netns, settings });
                Ok(())
            }
            // Nothing runs on these machines beside agents and pods.
            Effect::Sockets { id, .. } => self.input(node, Input::Sockets { id, used: BTreeSet::new() }),
            Effect::File { id, op } => {
                let op = Box::new(op);
                match self.moment(node, Sort::Whole) {
                    Some(Moment::Before) => self.crash(node),
                    Some(_) => {
                        self.happen(Happening::File { node, life, id, op })?;
                        self.crash(node);
                    }
                    None => {
                        let span = self.span(LOCAL);
                        self.queue.push(span, Happening::File { node, life, id, op });
                    }
                }
                Ok(())
            }
            Effect::OpenNetns { netns, inode, .. } => {
                let space = PodNs(inode.1 as u32);
                let kernel = &mut self.machines[node].kernel;
                let result = if kernel.has_space(space) {
                    kernel.open(netns, space);
                    Ok(())
                } else {
                    Err(NotOpened::Gone("it does not exist".to_owned()))
                };
                self.say_to(node, Input::Opened { netns, result });
                Ok(())
            }
            Effect::CloseNetns(netns) => {
                self.machines[node].kernel.close(netns);
                Ok(())
            }
            Effect::Bgp(config) => self.at_once(node, |cluster| cluster.instruct(node, config)),
            // Services are not of these worlds.
            Effect::Watch(_) => Ok(()),
            Effect::Cni { id, reply } => self.at_once(node, |cluster| cluster.answered(node, id, reply)),
        }
    }

    /// An effect that takes no time; its node may crash before it or after it.
    fn at_once(
        &mut self,
        node: usize,
        carry_out: impl FnOnce(&mut Machines) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let moment = self.moment(node, Sort::Whole);
        if moment != Some(Moment::Before) {
            carry_out(self)?;
        }
        if moment.is_some() {
            self.crash(node);
        }
        Ok(())
    }

    /// A plan comes to the writer.
    fn begin(&mut self, node: usize, id: EffectId, steps: Vec<Step>) -> Result<(), Broken> {
        assert!(self.machines[node].plans.len() < 2, "at most one plan waits for another");
        let waits = !self.machines[node].plans.is_empty();
        assert!(!waits || steps.iter().all(adds_route), "what waits behind a plan only adds routes");
        self.may_write(node)?;
        let moment = self.moment(node, Sort::Plan(steps.len()));
        if moment == Some(Moment::Before) {
            self.crash(node);
            return Ok(());
        }
        let crash_after = match moment {
            Some(Moment::Within(after)) => Some(after.min(steps.len())),
            Some(_) => Some(steps.len()),
            None => None,
        };
        self.machines[node].plans.push_back(Plan {
            id,
            steps,
            done: 0,
            outcomes: Vec::new(),
            refused: Refused::default(),
            crash_after,
        });
        if !waits {
            self.write_on(node);
        }
        Ok(())
    }

    fn write_on(&mut self, node: usize) {
        let (life, span) = (self.machines[node].life, self.span(LOCAL));
        self.queue.push(span, Happening::Write { node, life });
    }

    /// One message, or the end of the plan.
    fn write(&mut self, node: usize) -> Result<(), Broken> {
        let Some(plan) = self.machines[node].plans.front_mut() else { return Ok(()) };
        if plan.crash_after == Some(plan.done) {
            self.crash(node);
            return Ok(());
        }
        let Some(step) = plan.steps.get(plan.done).cloned() else {
            let (id, outcomes) = (plan.id, std::mem::take(&mut plan.outcomes));
            self.machines[node].plans.pop_front();
            if !self.machines[node].plans.is_empty() {
                self.write_on(node);
            }
            self.say_to(node, Input::Wrote { id, outcomes });
            return Ok(());
        };
        let place = format!("{}/{}", plan.done + 1, plan.steps.len());
        plan.done += 1;
        let result = match plan.refused.forbids(&step) {
            Some(error) => Err(error),
            None if self.faults.refuses(node) => {
                self.disturbed = true;
                Err(ApplyError { errno: EBUSY, text: "Device or resource busy".to_owned() })
            }
            None => self.machines[node].kernel.apply(&step),
        };
        self.say(format!("n{} {place} {}: {}", node + 1, step_words(&step), result_words(&result)));
        self.laws.touched(node);
        self.pass_notices(node);
        self.refused(node, &step, &result)?;
        let plan = self.machines[node].plans.front_mut().expect("seen above");
        if result.is_err() {
            plan.refused.add_step(&step);
        }
        let key = step.key();
        match plan.outcomes.iter_mut().find(|outcome| outcome.key == key) {
            Some(outcome) if outcome.result.is_ok() => outcome.result = result,
            Some(_) => {}
            None => plan.outcomes.push(Outcome { key, result }),
        }
        self.write_on(node);
        Ok(())
    }
}

fn adds_route(step: &Step) -> bool {
    matches!(step, Step::Create(::kernel::Key::Route(_), _))
}

pub(super) fn step_words(step: &Step) -> String {
    let word = match step {
        Step::Create(..) => "make",
        Step::Replace { .. } => "change",
        Step::Up(..) => "up",
        Step::Remove(..) => "remove",
    };
    match step {
        Step::Create(key, value) | Step::Replace { key, to: value, .. }
            if !matches!(value, ::kernel::Value::Nft(_)) =>
        {
            format!("{word} {key} {value}")
        }
        _ => format!("{word} {}", step.key()),
    }
}

fn result_words(result: &Result<(), ApplyError>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned())
}
