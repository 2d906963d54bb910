//! Start, exit, restart and stop of an actor's processes.
//!
//! The way of a crash: the exit is seen by the pidfd ([`peer`](super::peer)) → `exited` names it, writes the report and
//! reads the flight recorder → the broker tells every process that was joined to the dead one → monitors get their
//! `Down` → the strategy decides → a timer, and the next incarnation.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::classify::{Clues, classify};
use super::hang::{Sample, Watch};
use super::peer::PeerId;
use super::strategy::Life;
use super::timers::Due;
use super::{Happening, Supervisor, jitter};
use crate::clock;
use crate::error::SpawnError;
use crate::event::{Down, Event, Phase};
use crate::process::capture::{self, Sink};
use crate::process::child::{Limits, MARK};
use crate::process::exit::RawExit;
use crate::process::recorder::Recorder;
use crate::process::spawner::{self, Order, Spawned};
use crate::process::{descriptors, exit::Usage};
use crate::report::{CrashReport, Exit, Verdict};
use crate::spec::Output;
use crate::wire::control::{Answer, Refusal, Ticket, ToPeer};
use crate::wire::ids::{ActorId, Incarnation, LinkId, MessageKey};

/// Actors that are being stopped, one after another, and who waits for the last to have ended.
pub(super) struct StopJob {
    /// The last one is stopped first.
    pub(super) left: VecDeque<ActorId>,
    pub(super) then: Option<(PeerId, u64)>,
}

impl Supervisor {
    /// Starts the next incarnation of an actor.
    pub(super) fn launch(&mut self, actor: ActorId) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.incarnation = Incarnation(child.incarnation.0 + 1);
        child.phase = Phase::Starting;
        child.ordered_at = Instant::now();
        child.ready_at = None;
        child.killed_for = None;
        child.watch = Watch::new();
        let deadline = clock::later(Instant::now(), child.request.options.start_deadline);
        self.timers.set(actor, deadline, Due::StartDeadline);
        if let Err(error) = self.order(actor) {
            self.failed_to_start(actor, &error);
        }
    }

    fn order(&mut self, actor: ActorId) -> io::Result<()> {
        let Some(child) = self.actors.get(&actor) else { return Ok(()) };
        let options = &child.request.options;
        let (ours, theirs) = descriptors::socket_pair()?;
        let (stdout, their_stdout) = descriptors::pipe_pair()?;
        let (stderr, their_stderr) = descriptors::pipe_pair()?;
        let (page, page_descriptor) = Recorder::create()?;
        let sink = match options.output {
            Output::Labelled => Sink::Labelled,
            Output::Plain => Sink::Plain,
            Output::Silent => Sink::Silent,
        };
        let captured = capture::attach(child.name.clone(), sink, self.launch.heading, stdout, stderr)?;
        let ticket = Ticket {
            system: self.system,
            actor,
            incarnation: child.incarnation,
            capability: child.capability,
            name: child.name.clone(),
            parent_process: std::process::id(),
            image: self.image.clone(),
            heading: self.launch.heading,
            code: Some(child.request.code),
            arguments: child.request.arguments.clone(),
            protocol: child.request.protocol,
            limits: Limits { memory: options.memory, ..Limits::default() },
        };
        let order = Order {
            arg0: format!("{MARK}: {}", child.name),
            arguments: self.launch.arguments.clone(),
            environment: spawner::environment(&options.environment),
            control: theirs,
            stdout: their_stdout,
            stderr: their_stderr,
        };
        let peer = self.add_child_peer(ours, Box::new(ticket), page.into(), page_descriptor, captured)?;
        let spawned = self.spawned.clone();
        let ordered = spawner::spawn(order, move |result| {
            // The loop may have ended; the child then ends with its control link.
            let _ = spawned.send(Happening::Spawned(peer, result));
        });
        if let Err(error) = ordered {
            self.peers.remove(&peer);
            return Err(io::Error::other(error.to_string()));
        }
        if let Some(child) = self.actors.get_mut(&actor) {
            child.peer = Some(peer);
        }
        Ok(())
    }

    pub(super) fn spawned(&mut self, peer: PeerId, result: io::Result<Spawned>) {
        let Some(actor) = self.peers.get(&peer).map(|peer| peer.actor) else { return };
        let attached = result.and_then(|spawned| self.attach_process(peer, spawned.pid, spawned.pidfd));
        match attached {
            Ok(()) => {
                // Somebody has wanted it dead before it was born.
                let child = self.actors.get(&actor);
                if self.over || child.is_none_or(|child| child.killed_for.is_some()) {
                    if let Some(peer) = self.peers.get(&peer) {
                        peer.kill();
                    }
                } else if child.is_some_and(|child| child.phase == Phase::Stopping) {
                    self.say(peer, &ToPeer::Stop, &[]);
                }
            }
            Err(error) => {
                self.peers.remove(&peer);
                if let Some(child) = self.actors.get_mut(&actor) {
                    child.peer = None;
                }
                self.failed_to_start(actor, &error);
            }
        }
    }

    /// There is no process at all. It counts as a failed start.
    fn failed_to_start(&mut self, actor: ActorId, error: &io::Error) {
        let report = self.report_of(actor, 0, Exit::NotStarted(error.to_string()));
        self.after_exit(actor, report, Duration::ZERO);
    }

    /// The actor's `start` has returned.
    pub(super) fn ready(&mut self, peer: PeerId, protocol: Vec<(MessageKey, String)>) {
        let Some(actor) = self.peers.get(&peer).map(|peer| peer.actor) else { return };
        let pid = self.peers.get(&peer).and_then(super::Peer::pid).unwrap_or(0);
        let system = self.system;
        let Some(child) = self.actors.get_mut(&actor).filter(|child| child.peer == Some(peer)) else {
            return;
        };
        child.messages = protocol.into_iter().take(NAMES).collect();
        child.ready_at = Some(Instant::now());
        let started = Event::Started {
            actor,
            name: child.name.clone(),
            incarnation: child.incarnation,
            pid,
            took: child.ordered_at.elapsed(),
        };
        if child.phase != Phase::Starting {
            return;
        }
        child.phase = Phase::Running;
        let (asked_by, address) = (child.asked_by.take(), child.address(system));
        self.timers.clear(actor);
        if let Some((asker, number)) = asked_by {
            self.answer(asker, number, Ok(Answer::Address(address)));
        }
        self.tell_waiters_of(actor);
        self.join_waiting_links(actor);
        self.tell_listeners(&started);
    }

    /// A process has ended, and everything that it had said has been heard.
    pub(super) fn exited(&mut self, id: PeerId, exit: io::Result<RawExit>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (actor, incarnation) = (peer.actor, peer.incarnation);
        let stderr = peer.captured.as_ref().map(|c| c.stderr_tail()).unwrap_or_default();
        let (panic, uptime, pid) = (peer.panic.take(), peer.began.elapsed(), peer.pid().unwrap_or(0));
        let killed_for = self.actors.get_mut(&actor).and_then(|child| child.killed_for.take());
        let (seen, usage) = match exit {
            Ok(raw) => {
                let clues = Clues {
                    killed_for,
                    start_failed: peer.start_failed.take(),
                    goodbye: peer.goodbye,
                    panic: panic.as_ref(),
                    stderr: &stderr,
                };
                (classify(raw.status, clues), raw.usage)
            }
            Err(error) => {
                (Exit::NotStarted(format!("its exit could not be seen: {error}")), Usage::default())
            }
        };
        let in_hand = self.in_hand_of(id);
        let mut report = self.report_of(actor, pid, seen);
        *report = CrashReport { incarnation, panic, in_hand, stderr, usage, uptime, ..*report };
        let child = self.actors.get_mut(&actor).filter(|child| child.peer == Some(id));
        let lived =
            child.as_ref().and_then(|child| child.ready_at).map(|at| at.elapsed()).unwrap_or_default();
        if let Some(child) = child {
            child.peer = None;
        }
        // The order is a promise: first every peer drains what the dead process had sent, then it learns of the death,
        // and only then can anything of the next incarnation reach it.
        self.bury(id, &report);
        self.peers.remove(&id);
        self.after_exit(actor, report, lived);
        if self.over_at_last() {
            self.over = true;
        }
    }

    fn over_at_last(&self) -> bool {
        self.shutting_down && !self.peers.contains_key(&self.program) && self.peers.is_empty()
    }

    /// What is done now that an actor has no process: the one place that asks the strategy.
    fn after_exit(&mut self, actor: ActorId, mut report: Box<CrashReport>, lived: Duration) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        let stopping = child.phase == Phase::Stopping || self.shutting_down;
        let first_start = child.asked_by.take();
        report.verdict = if stopping || first_start.is_some() {
            Verdict::Ended
        } else {
            let life = Life { normal: report.exit.is_normal(), length: lived };
            child.history.decide(life, Instant::now(), jitter())
        };
        child.last_report = Some(report.clone());
        match child.request.options.output {
            _ if report.exit.is_normal() => {}
            // Whoever wants to hear nothing of an actor still gets its reports as events.
            Output::Silent => tracing::debug!("{report}"),
            _ => tracing::warn!("{report}"),
        }
        let given_up = matches!(report.verdict, Verdict::GivenUp { .. });
        if let Verdict::Restart { after, .. } = report.verdict {
            child.phase = Phase::Restarting;
            child.restarts += 1;
            self.timers.set(actor, clock::later(Instant::now(), after), Due::Restart);
        } else {
            // Before its `Down` is seen, so that whoever sees it can take the name.
            self.retire(actor, given_up);
        }
        self.kill_children_of(actor);
        self.tell_monitors(actor, &report);
        self.tell_listeners(&Event::Exited(report.clone()));
        if !matches!(report.verdict, Verdict::Restart { .. }) {
            self.ended_for_good(actor, given_up, &report);
        }
        if let Some((asker, number)) = first_start {
            let error = match &report.exit {
                Exit::NotStarted(error) => {
                    SpawnError::Process { name: report.name.clone(), error: error.clone() }
                }
                _ => SpawnError::Start(report),
            };
            self.answer(asker, number, Err(Refusal::Spawn(error)));
        }
        self.go_on_stopping(actor);
    }

    fn ended_for_good(&mut self, actor: ActorId, given_up: bool, report: &CrashReport) {
        self.close_links_to(actor);
        if given_up {
            tracing::error!("{} was given up: {}", report.name, report.verdict);
            self.end.given_up = Some(Box::new(report.clone()));
        }
        self.tell_listeners(&Event::Ended { actor, name: report.name.clone(), given_up });
    }

    fn report_of(&self, actor: ActorId, pid: u32, exit: Exit) -> Box<CrashReport> {
        let child = self.actors.get(&actor);
        Box::new(CrashReport {
            actor,
            name: self.name_of(actor),
            actor_type: child.map(|c| c.request.actor_type.clone()).unwrap_or_default(),
            incarnation: child.map_or(Incarnation(0), |c| c.incarnation),
            pid,
            exit,
            panic: None,
            in_hand: None,
            stderr: Vec::new(),
            usage: Usage::default(),
            uptime: Duration::ZERO,
            verdict: Verdict::Ended,
        })
    }

    /// One `Down` per monitor, to be seen behind everything that the dead process had sent to the one who watches.
    fn tell_monitors(&mut self, actor: ActorId, report: &CrashReport) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        for (peer, monitor) in std::mem::take(&mut child.monitors) {
            let after = self.link_that_drains_into(report, peer);
            let down = Down {
                monitor,
                actor,
                name: report.name.clone(),
                incarnation: report.incarnation,
                exit: report.exit.clone(),
            };
            self.say(peer, &ToPeer::Down { down, after }, &[]);
        }
    }

    /// The link on which the dead process's last messages still come to `watcher`, if there is one.
    fn link_that_drains_into(&self, report: &CrashReport, watcher: PeerId) -> Option<LinkId> {
        let watcher = self.peers.get(&watcher)?;
        watcher.incoming.iter().copied().find(|link| {
            self.links.get(link).is_some_and(|link| {
                link.sender_actor == report.actor && link.sender_incarnation == report.incarnation
            })
        })
    }

    /// What stands under an actor, at any depth, ends with the incarnation that started it.
    fn kill_children_of(&mut self, actor: ActorId) {
        for id in self.subtree(actor).into_iter().skip(1) {
            self.end_at_once(id);
        }
    }

    /// Ends an actor without asking it; its names are free at once.
    fn end_at_once(&mut self, id: ActorId) {
        let Some(child) = self.actors.get_mut(&id) else { return };
        child.phase = Phase::Stopping;
        child.killed_for.get_or_insert(Exit::Killed);
        self.names.free(id);
        match child.peer {
            Some(peer) => {
                if let Some(peer) = self.peers.get(&peer) {
                    peer.kill();
                }
            }
            None => {
                let report = self.report_of(id, 0, Exit::Killed);
                self.after_exit(id, report, Duration::ZERO);
            }
        }
    }

    pub(super) fn act_on_timers(&mut self, now: Instant) {
        while let Some((actor, due)) = self.timers.pop(now) {
            match due {
                Due::Restart => self.launch(actor),
                Due::StartDeadline => self.kill_for(actor, Exit::StartDeadline),
                Due::StopDeadline => self.kill_for(actor, Exit::StopDeadline),
            }
        }
    }

    /// Kills an actor's process; what follows is seen as its exit, and named so.
    pub(super) fn kill_for(&mut self, actor: ActorId, why: Exit) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.killed_for.get_or_insert(why);
        if let Some(peer) = child.peer.and_then(|peer| self.peers.get(&peer)) {
            peer.kill();
        }
    }

    /// Looks at every running actor for signs of a hang.
    pub(super) fn look_for_hangs(&mut self, now: Instant) {
        let mut hung = Vec::new();
        for child in self.actors.values_mut() {
            let options = &child.request.options;
            let (hang_limit, await_limit) = (options.hang_limit, options.await_limit);
            let Some(peer) = child.peer.and_then(|peer| self.peers.get(&peer)) else { continue };
            if child.phase != Phase::Running || child.killed_for.is_some() {
                continue;
            }
            // Only where it matters: it means looking at every row.
            let in_hand = await_limit.and_then(|_| {
                peer.incoming.iter().find_map(|id| {
                    let (sequence, _) = self.links.get(id)?.receiver_row.as_ref()?.read().ok()?.in_hand?;
                    Some((*id, sequence))
                })
            });
            let sample = Sample {
                progress: peer.page.progress(),
                parked: peer.page.is_parked(),
                in_hand,
                stopped: hang_limit.and_then(|_| peer.stopped_by()),
            };
            if let Some(hang) = child.watch.sample(sample, hang_limit, await_limit, now) {
                hung.push((child.id, hang));
            }
        }
        for (actor, hang) in hung {
            self.kill_for(actor, Exit::Hung(hang));
        }
    }

    /// Stops actors in the reverse order of their start, one after another, and answers when the last has ended.
    pub(super) fn stop_all(&mut self, actors: Vec<ActorId>, then: Option<(PeerId, u64)>) {
        self.stops.push(StopJob { left: actors.into(), then });
        self.go_on_with_stops();
    }

    fn go_on_stopping(&mut self, ended: ActorId) {
        if self.actors.get(&ended).is_none_or(|child| child.phase == Phase::Ended) {
            for job in &mut self.stops {
                job.left.retain(|&id| id != ended);
            }
            self.go_on_with_stops();
        }
    }

    fn go_on_with_stops(&mut self) {
        let mut jobs = std::mem::take(&mut self.stops);
        jobs.retain_mut(|job| {
            while let Some(&last) = job.left.back() {
                if self.is_ended(last) {
                    job.left.pop_back();
                } else {
                    self.stop_one(last);
                    if !self.is_ended(last) {
                        return true;
                    }
                }
            }
            if let Some((asker, number)) = job.then {
                self.answer(asker, number, Ok(Answer::Done));
            }
            false
        });
        // Stopping may have added jobs meanwhile.
        jobs.append(&mut self.stops);
        self.stops = jobs;
    }

    fn is_ended(&self, actor: ActorId) -> bool {
        self.actors.get(&actor).is_none_or(|child| child.phase == Phase::Ended)
    }

    /// Asks one actor to stop; its grace begins.
    fn stop_one(&mut self, actor: ActorId) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        match (child.phase, child.peer) {
            (Phase::Ended | Phase::Stopping, _) => {}
            (_, Some(peer)) => {
                child.phase = Phase::Stopping;
                let deadline = clock::later(Instant::now(), child.request.options.stop_grace);
                self.timers.set(actor, deadline, Due::StopDeadline);
                self.say(peer, &ToPeer::Stop, &[]);
            }
            (_, None) => {
                // It waits for its restart: there is nothing to ask.
                child.phase = Phase::Stopping;
                let report = self.report_of(actor, 0, Exit::Stopped);
                self.after_exit(actor, report, Duration::ZERO);
            }
        }
    }
}

/// Names of messages that an actor may tell for reports: a protocol has at most sixteen.
const NAMES: usize = 64;
