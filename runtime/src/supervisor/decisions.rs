//! Tells the tree what has happened, and does what it says.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::tree::{Command, Event as Happened, NodeId, Outcome, Refused, Reply, Ticket, Why};
use super::{Escalation, Supervisor};
use crate::error::{AdministrationError, SpawnError, Unreachable};
use crate::event::{Event, GroupEnd};
use crate::report::{CrashReport, Exit, Verdict};
use crate::spec::Output;
use crate::supervisor::peer::PeerId;
use crate::wire::control::{Answer, Refusal, ToPeer};
use crate::wire::ids::ActorId;

/// Whoever asked, and the number of the question.
pub(super) type Asker = (PeerId, u64);

/// What the tree was asked for, and what it has said and is not done yet.
#[derive(Default)]
pub(super) struct Decisions {
    last_ticket: Ticket,
    questions: HashMap<Ticket, (Option<Asker>, About)>,
    commands: VecDeque<Command>,
    is_carrying_out: bool,
    /// Exits and ends that are about to be told; before anything else is done that could be seen by others.
    exits: Vec<CrashReport>,
    ends: Vec<ActorId>,
}

/// What a question is about.
pub(super) enum About {
    Spawn(ActorId),
    Stop,
    Child(ActorId),
    Path(String),
}

impl Supervisor {
    /// Asks the tree for something that will be answered.
    pub(super) fn ask_tree(&mut self, asker: Asker, about: About, event: impl FnOnce(Ticket) -> Happened) {
        let ticket = self.ticket(Some(asker), about);
        self.decide(event(ticket));
    }

    fn ticket(&mut self, asker: Option<Asker>, about: About) -> Ticket {
        self.decisions.last_ticket += 1;
        self.decisions.questions.insert(self.decisions.last_ticket, (asker, about));
        self.decisions.last_ticket
    }

    /// Stops everything.
    pub(super) fn shut_down(&mut self, asker: Option<Asker>) {
        self.shutting_down = true;
        self.end_all_waits();
        let ticket = self.ticket(asker, About::Stop);
        self.decide(Happened::Shutdown(ticket));
    }

    pub(super) fn act_on_timers(&mut self) {
        if self.tree.due().is_some_and(|due| due <= Instant::now()) {
            self.decide(Happened::Tick);
        }
    }

    /// Tells the tree, and does what it says. What that makes happen in turn, a launch that fails say, comes after.
    pub(super) fn decide(&mut self, happened: Happened) {
        let commands = self.tree.handle(happened, Instant::now());
        self.decisions.commands.extend(commands);
        if self.decisions.is_carrying_out {
            return;
        }
        self.decisions.is_carrying_out = true;
        while let Some(command) = self.decisions.commands.pop_front() {
            self.carry_out(command);
            if self.decisions.commands.is_empty() {
                self.announce();
            }
        }
        self.decisions.is_carrying_out = false;
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Verdict(actor, verdict) => {
                // One at a time: what is told of the one before does not wait for what is decided about the next.
                self.announce();
                self.judged(actor, verdict);
            }
            Command::Retired { node, given_up } => self.retired(node, given_up),
            Command::Kill(actor, why) => self.kill_because(actor, why),
            Command::Launch(actor) => {
                self.announce();
                self.launch(actor);
            }
            Command::Ask(actor) => {
                self.announce();
                self.ask_to_stop(actor);
            }
            Command::GroupUp(group) => {
                self.announce();
                let path = self.name_of(group);
                self.tell_listeners(&Event::GroupStarted { group, path });
            }
            Command::GroupDown { group, outcome, verdict } => {
                self.announce();
                self.group_down(group, outcome, verdict);
            }
            Command::Escalate { group, cause } => {
                self.announce();
                self.escalate(group, cause);
            }
            Command::Answer(ticket, reply) => {
                self.announce();
                self.answer_question(ticket, reply);
            }
        }
    }

    fn judged(&mut self, actor: ActorId, verdict: Verdict) {
        let Some(mut report) = self.reports.remove(&actor) else { return };
        report.verdict = verdict;
        if let Some(child) = self.actors.get_mut(&actor) {
            child.last_report = Some(report.clone());
            match child.request.options.output {
                _ if report.exit.is_normal() => {}
                // Whoever wants to hear nothing of an actor still gets its reports as events.
                Output::Silent => tracing::debug!("{report}"),
                _ => tracing::warn!("{report}"),
            }
        }
        self.decisions.exits.push(*report);
    }

    /// Its name is free at once; its end is told when its process has gone.
    fn retired(&mut self, node: NodeId, given_up: bool) {
        if self.groups.remove(&node).is_some() {
            self.names.free(node);
            return;
        }
        self.retire(node, given_up);
        if self.actors.get(&node).is_some_and(|child| child.peer.is_none()) {
            self.decisions.ends.push(node);
        }
    }

    /// Tells what has been decided: first the monitors and the linked, then the listeners, then the senders.
    fn announce(&mut self) {
        for report in std::mem::take(&mut self.decisions.exits) {
            let actor = report.actor;
            self.tell_monitors(actor, &report);
            self.share_fate(actor, &report);
            self.tell_listeners(&Event::Exited(Box::new(report)));
            let ended = self.actors.get(&actor).is_some_and(|child| child.ended);
            if ended && !self.decisions.ends.contains(&actor) {
                self.decisions.ends.push(actor);
            }
        }
        for actor in std::mem::take(&mut self.decisions.ends) {
            self.ended_for_good(actor);
        }
    }

    fn ended_for_good(&mut self, actor: ActorId) {
        let Some(child) = self.actors.get(&actor) else { return };
        let (name, given_up) = (child.name.clone(), child.given_up);
        self.close_links_to(actor);
        if given_up {
            let verdict =
                child_verdict(self.actors.get(&actor).and_then(|child| child.last_report.as_deref()));
            tracing::error!("{name} was given up{verdict}");
        }
        self.remember(actor);
        self.tell_listeners(&Event::Ended { actor, name, given_up });
    }

    fn kill_because(&mut self, actor: ActorId, why: Why) {
        let exit = match why {
            Why::StartDeadline => Exit::StartDeadline,
            Why::StopDeadline => Exit::StopDeadline,
            Why::Brutal | Why::Parent => Exit::Killed,
            Why::Escalated(cause) => Exit::Escalated(self.name_of(cause)),
        };
        self.kill_for(actor, exit);
    }

    fn ask_to_stop(&mut self, actor: ActorId) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.asked_to_stop = true;
        if let Some(peer) = child.peer {
            self.say(peer, &ToPeer::Stop);
        }
    }

    fn group_down(&mut self, group: NodeId, outcome: Outcome, verdict: Verdict) {
        let why = match outcome {
            Outcome::Stopped => GroupEnd::Stopped,
            Outcome::StartFailed(child) => GroupEnd::StartFailed(self.name_of(child)),
            Outcome::GaveUp(child) => GroupEnd::GaveUp(self.name_of(child)),
            Outcome::AutoShutdown => GroupEnd::AutoShutdown,
        };
        let path = self.name_of(group);
        match why {
            GroupEnd::Stopped | GroupEnd::AutoShutdown => tracing::info!("group {path}: {why}; {verdict}"),
            _ => tracing::warn!("group {path}: {why}; {verdict}"),
        }
        self.tell_listeners(&Event::GroupEnded { group, path, why, verdict });
    }

    /// A group at the root has failed: the program ends, in order, and says why.
    fn escalate(&mut self, group: NodeId, cause: NodeId) {
        let report = self.actors.get(&cause).and_then(|child| child.last_report.clone());
        let escalation = Escalation { group: self.name_of(group), child: self.name_of(cause), report };
        tracing::error!("{escalation}; the program ends");
        self.end.escalated.get_or_insert(escalation);
        self.say(self.program, &ToPeer::Stop);
    }

    fn answer_question(&mut self, ticket: Ticket, reply: Reply) {
        let Some((Some((peer, number)), about)) = self.decisions.questions.remove(&ticket) else { return };
        let answer = match about {
            About::Stop => match reply {
                Reply::Refused(_) => Err(Refusal::System(Unreachable::NoSuchActor.into())),
                _ => Ok(Answer::Done),
            },
            About::Spawn(actor) => self.spawned_answer(actor, reply).map_err(Refusal::Spawn),
            About::Child(actor) => self.spawned_answer(actor, reply).map_err(|error| {
                let path = self.name_of(actor);
                Refusal::Administration(Box::new(AdministrationError::Start { path, error: Box::new(error) }))
            }),
            About::Path(path) => self.path_answer(path, reply),
        };
        self.answer(peer, number, answer);
    }

    fn spawned_answer(&self, actor: ActorId, reply: Reply) -> Result<Answer, SpawnError> {
        match reply {
            Reply::Started | Reply::Done => {
                let child = self.actors.get(&actor).ok_or(SpawnError::Stopping)?;
                Ok(Answer::Address(child.address(self.system)))
            }
            Reply::Declined | Reply::Failed(_) => Err(self.start_error(actor)),
            Reply::Refused(_) => Err(SpawnError::Stopping),
        }
    }

    /// Why the last start of this actor has failed.
    fn start_error(&self, actor: ActorId) -> SpawnError {
        let Some(report) = self.actors.get(&actor).and_then(|child| child.last_report.clone()) else {
            return SpawnError::Stopping;
        };
        match &report.exit {
            Exit::NotStarted(error) => {
                SpawnError::Process { name: report.name.clone(), error: error.clone() }
            }
            Exit::Declined(reason) => SpawnError::Declined(reason.clone()),
            _ => SpawnError::Start(report),
        }
    }

    fn path_answer(&self, path: String, reply: Reply) -> Result<Answer, Refusal> {
        let error = match reply {
            Reply::Started | Reply::Declined | Reply::Done => return Ok(Answer::Done),
            Reply::Failed(cause) => {
                let error = Box::new(self.start_error(cause));
                AdministrationError::Start { path: self.name_of(cause), error }
            }
            Reply::Refused(refused) => match refused {
                Refused::NotFound => AdministrationError::NotFound(path),
                Refused::Running => AdministrationError::Running(path),
                Refused::Restarting => AdministrationError::Restarting(path),
                Refused::Dynamic => AdministrationError::Dynamic(path),
                Refused::NotAGroup => AdministrationError::NotAGroup(path),
                Refused::Stopping => AdministrationError::Stopping(path),
                Refused::Significant(child) => AdministrationError::Spec {
                    path: self.name_of(child),
                    error: crate::spec::SpecError::Significant,
                },
            },
        };
        Err(Refusal::Administration(Box::new(error)))
    }

    /// Nobody is left to answer to.
    pub(super) fn forget_questions_of(&mut self, gone: PeerId) {
        for (asker, _) in self.decisions.questions.values_mut() {
            if asker.is_some_and(|(peer, _)| peer == gone) {
                *asker = None;
            }
        }
    }
}

fn child_verdict(report: Option<&CrashReport>) -> String {
    report.map(|report| format!(": {}", report.verdict)).unwrap_or_default()
}
