//! Start, exit, restart and stop of an actor's processes.
//!
//! The way of a crash: the exit is seen by the pidfd ([`peer`](super::peer)) → `exited` names it, writes the report and
//! reads the flight recorder → the broker tells every process that was joined to the dead one → the
//! [`tree`](super::tree) decides, and [`decisions`](super::decisions) carries it out: monitors get their `Down`, a timer
//! is set, the next incarnation is launched.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classify::{Clues, classify};
use super::hang::{Sample, Watch};
use super::peer::PeerId;
use super::registry::Child;
use super::tree::{End, Event as Happened};
use super::{Happening, Supervisor};
use crate::event::{Event, Phase};
use crate::fault::{self, here::Who};
use crate::harmless;
use crate::process::capture::{self, Sink};
use crate::process::cgroup::Group;
use crate::process::child::MARK;
use crate::process::exit::RawExit;
use crate::process::orphans::{self, Death};
use crate::process::recorder::Recorder;
use crate::process::spawner::{self, Order, Spawned};
use crate::process::{descriptors, exit, exit::Usage};
use crate::profile::Confinement;
use crate::report::{CrashReport, Exit, Verdict};
use crate::spec::{Output, Restart};
use crate::wire::control::{Arguments, Ticket, ToPeer};
use crate::wire::ids::{ActorId, Incarnation, MessageKey};

impl Supervisor {
    /// Starts the next incarnation of an actor.
    pub(super) fn launch(&mut self, actor: ActorId) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.incarnation = Incarnation(child.incarnation.0 + 1);
        child.ordered_at = Instant::now();
        child.ready_at = None;
        child.killed_for = None;
        child.asked_to_stop = false;
        child.start_info = None;
        child.confinement = None;
        child.watch = Watch::new();
        if let Err(error) = self.order(actor) {
            self.failed_to_start(actor, &error);
        }
    }

    fn order(&mut self, actor: ActorId) -> io::Result<()> {
        let Some(child) = self.actors.get(&actor) else { return Ok(()) };
        let options = &child.request.options;
        fault::here::spawn(&Who { actor, name: child.name.clone(), incarnation: child.incarnation })?;
        let (ours, theirs) = descriptors::socket_pair()?;
        let (stdout, their_stdout) = descriptors::pipe_pair()?;
        let (stderr, their_stderr) = descriptors::pipe_pair()?;
        let (page, page_descriptor) = Recorder::create()?;
        if self.launch.keeps {
            page.keep_messages();
        }
        let sink = match options.output {
            Output::Labelled => Sink::Labelled,
            Output::Plain => Sink::Plain,
            Output::Silent => Sink::Silent,
        };
        let grouped = self.group_of_its_own(child)?;
        let (group, door) = grouped.unzip();
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
            limits: options.limits,
            profile: options.profile.clone(),
            faults: self.faults_of(actor, child.incarnation).filter(|faults| !faults.is_empty()),
        };
        let order = Order {
            arg0: arg0(&child.name, &self.life(actor, child.incarnation)),
            arguments: self.launch.arguments.clone(),
            environment: self.environment(child),
            control: theirs,
            stdout: their_stdout,
            stderr: their_stderr,
        };
        // It enters its group by the second, if it has one.
        let descriptors = [page_descriptor].into_iter().chain(door).collect();
        let peer = self.add_child_peer(ours, Box::new(ticket), page.into(), descriptors, captured)?;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.group = group.map(Arc::new);
        }
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

    /// The control group of an actor's next life, if this system has any.
    fn group_of_its_own(&self, child: &Child) -> io::Result<Option<(Group, OwnedFd)>> {
        let life = self.life(child.id, child.incarnation);
        let limits = &child.request.options.limits;
        self.cgroups.as_ref().ok().map(|cgroups| cgroups.group(&life, limits)).transpose()
    }

    /// What the child's process gets of this one's variables, and one that names its life.
    fn environment(&self, child: &Child) -> Vec<(OsString, OsString)> {
        let mut environment = spawner::environment(&child.request.options.environment);
        environment.retain(|(name, _)| name != orphans::VARIABLE);
        let life = self.life(child.id, child.incarnation);
        environment.push((orphans::VARIABLE.into(), life.into()));
        environment
    }

    fn life(&self, actor: ActorId, incarnation: Incarnation) -> String {
        format!("{}.{actor}.{incarnation}", self.system_name())
    }

    /// What the lives of all actors of this system have in common.
    pub(super) fn system_name(&self) -> String {
        format!("{:x}", self.system.0)
    }

    pub(super) fn spawned(&mut self, peer: PeerId, result: io::Result<Spawned>) {
        let Some(actor) = self.peers.get(&peer).map(|peer| peer.actor) else { return };
        let attached = result.and_then(|Spawned { pid, pidfd }| {
            let attached = self.attach_process(peer, pid, pidfd);
            if attached.is_err() {
                // Nobody would see its end.
                exit::discard(pid);
            }
            attached
        });
        match attached {
            Ok(()) => {
                if let (Some(survivor), Some(pid)) =
                    (&mut self.survivor, self.peers.get(&peer).and_then(super::Peer::pid))
                {
                    survivor.tell_started(pid);
                }
                let child = self.actors.get_mut(&actor);
                if let Some(child) = child.filter(|child| child.request.options.restart == Restart::Temporary)
                {
                    // Nothing will be started with them again, and the ends of channels among them are to end with it.
                    child.request.arguments = Arguments::default();
                }
                // Somebody has wanted it dead before it was born.
                let child = self.actors.get(&actor);
                if self.over || child.is_none_or(|child| child.killed_for.is_some()) {
                    if let Some(peer) = self.peers.get(&peer) {
                        peer.kill();
                    }
                } else if child.is_some_and(|child| child.asked_to_stop) {
                    self.say(peer, &ToPeer::Stop);
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
        self.after_exit(actor, report);
    }

    /// A child's process runs its own code.
    pub(super) fn booted(&mut self, peer: PeerId) {
        let Some(actor) = self.peers.get(&peer).map(|peer| peer.actor) else { return };
        // Not sooner: the start of the first actor would wait for it, and only now user's code begins to run.
        let may_leave = |child: &Child| child.request.options.may_start_processes();
        // Somebody has to remove the control groups, too.
        if self.cgroups.is_ok() || self.actors.get(&actor).is_some_and(may_leave) {
            self.ensure_survivor();
        }
        self.decide(Happened::Booted(actor));
    }

    /// The actor's `start` has returned.
    pub(super) fn ready(
        &mut self,
        peer: PeerId,
        protocol: Vec<(MessageKey, String)>,
        info: Option<Vec<u8>>,
        confinement: Confinement,
    ) {
        let Some(actor) = self.peers.get(&peer).map(|peer| peer.actor) else { return };
        let pid = self.peers.get(&peer).and_then(super::Peer::pid).unwrap_or(0);
        let is_starting = self.tree.phase(actor) == Some(Phase::Starting);
        let Some(child) = self.actors.get_mut(&actor).filter(|child| child.peer == Some(peer)) else {
            return;
        };
        let names = protocol.into_iter().take(NAMES);
        child.messages = names.map(|(key, name)| (key, harmless::name(&name))).collect();
        child.start_info = info;
        child.confinement = Some(confinement);
        child.ready_at = Some(Instant::now());
        let started = Event::Started {
            actor,
            name: child.name.clone(),
            incarnation: child.incarnation,
            pid,
            took: child.ordered_at.elapsed(),
        };
        if is_starting {
            self.decide(Happened::Ready(actor));
            self.tell_waiters_of(actor);
            self.join_waiting_links(actor);
            self.tell_listeners(&started);
        }
    }

    /// A process has ended, and everything that it had said has been heard.
    pub(super) fn exited(&mut self, id: PeerId, exit: io::Result<RawExit>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (actor, incarnation) = (peer.actor, peer.incarnation);
        let stderr = peer.captured.as_ref().map(|c| c.stderr_tail()).unwrap_or_default();
        let (panic, uptime, pid) = (peer.panic.take(), peer.began.elapsed(), peer.pid().unwrap_or(0));
        let killed_for = self.actors.get_mut(&actor).and_then(|child| child.killed_for.take());
        let group = peer.group.take();
        let (seen, usage) = match exit {
            Ok(raw) => {
                let clues = Clues {
                    killed_for,
                    start_failed: peer.start_failed.take(),
                    declined: peer.declined.take(),
                    unconfined: peer.unconfined.take(),
                    goodbye: peer.goodbye,
                    panic: panic.as_ref(),
                    group_out_of_memory: group.as_ref().is_some_and(|group| group.has_run_out_of_memory()),
                    stderr: &stderr,
                };
                (classify(raw.status, clues), raw.usage)
            }
            Err(error) => {
                (Exit::NotStarted(format!("its exit could not be seen: {error}")), Usage::default())
            }
        };
        let (stack, injected) = (peer.last_look.take(), peer.injected.take());
        if pid != 0 {
            let life = self.life(actor, incarnation);
            let arg0 = arg0(&self.name_of(actor), &life);
            if let Some(survivor) = &mut self.survivor {
                survivor.tell_ended(pid);
            }
            self.orphans.look(Death { life, arg0, pid, at: orphans::now(), group });
        }
        let in_hand = self.in_hand_of(id);
        self.keep_messages_of(id);
        self.answer_askers(id, None);
        let mut report = self.report_of(actor, pid, seen);
        *report =
            CrashReport { incarnation, panic, in_hand, stderr, stack, usage, uptime, injected, ..*report };
        if let Some(child) = self.actors.get_mut(&actor).filter(|child| child.peer == Some(id)) {
            child.peer = None;
        }
        // The order is a promise: first every peer drains what the dead process had sent, then it learns of the death,
        // and only then can anything of the next incarnation reach it.
        self.bury(id, &report);
        self.peers.remove(&id);
        self.after_exit(actor, report);
        if self.over_at_last() {
            self.over = true;
        }
    }

    fn over_at_last(&self) -> bool {
        // Programs from outside may stay for longer: their links end with the system.
        let mut children = self.peers.values().filter(|peer| peer.is_child());
        self.shutting_down && !self.peers.contains_key(&self.program) && children.next().is_none()
    }

    /// An actor has no process any more: what becomes of it is the tree's decision.
    fn after_exit(&mut self, actor: ActorId, report: Box<CrashReport>) {
        let end = match &report.exit {
            Exit::Declined(_) => End::Declined,
            exit if exit.is_normal() => End::Normal,
            _ => End::Abnormal,
        };
        self.reports.insert(actor, report);
        self.decide(Happened::Exited(actor, end));
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
            stack: None,
            usage: Usage::default(),
            uptime: Duration::ZERO,
            injected: None,
            verdict: Verdict::Ended,
        })
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
            if child.killed_for.is_some() || self.tree.phase(child.id) != Some(Phase::Running) {
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
        self.end_overdue_looks(now);
        for (actor, hang) in hung {
            self.found_hung(actor, hang, now);
        }
    }
}

/// Names of messages that an actor may tell for reports: a protocol has at most sixteen.
const NAMES: usize = 64;

/// The name under which an actor's process is started: for people, and by its life for what looks for orphans.
fn arg0(name: &str, life: &str) -> String {
    format!("{MARK}: {name} {life}")
}
