//! A small world for the tree: pretend processes, time by hand, and every step checked against the
//! [invariants](super::invariants).

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use super::invariants::Invariants;
use super::{
    Command, End, Event, Flags, NodeId, Plan, ROOT, Refused, Reply, Rules, State, Ticket, Tree, What,
};
use crate::group::{AutoShutdown, Strategy};
use crate::simulation::seeded::TraceHash;
use crate::spec::{Backoff, Intensity, Restart, Shutdown};

/// How long a start may take here.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(10);

/// What a process does with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Ready,
    Fails,
    Declines,
    /// It does not return by itself.
    Hangs,
}

/// What a process does when it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Obeys,
    Crashes,
    Ignores,
}

/// How the next processes of one actor behave.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// One for each start to come; then they are ready.
    pub(crate) starts: VecDeque<Start>,
    pub(crate) stop: Stop,
}

impl Default for Habits {
    fn default() -> Self {
        Habits { starts: VecDeque::new(), stop: Stop::Obeys }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) start: Start,
    pub(crate) booted: bool,
    pub(crate) ready: bool,
    pub(crate) asked: bool,
    pub(crate) killed: bool,
}

pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) began: Instant,
    pub(crate) now: Instant,
    pub(crate) processes: BTreeMap<NodeId, Process>,
    pub(crate) habits: BTreeMap<NodeId, Habits>,
    /// Questions without an answer, and whom they are about.
    pub(crate) open: BTreeMap<Ticket, NodeId>,
    pub(crate) answers: BTreeMap<Ticket, Reply>,
    /// Everything that the tree has said.
    pub(crate) said: Vec<Command>,
    pub(crate) launches: BTreeMap<NodeId, u64>,
    invariants: Invariants,
    hash: TraceHash,
    prints: bool,
    last_node: u64,
    last_ticket: Ticket,
}

impl World {
    /// At most `cap` processes are spawned at once. `prints`: every event and command.
    pub(crate) fn new(cap: usize, prints: bool) -> World {
        let now = Instant::now();
        World {
            tree: Tree::new(cap, 1, now),
            began: now,
            now,
            processes: BTreeMap::new(),
            habits: BTreeMap::new(),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            said: Vec::new(),
            launches: BTreeMap::new(),
            invariants: Invariants::default(),
            hash: TraceHash::default(),
            prints,
            last_node: 0,
            last_ticket: 0,
        }
    }

    /// Tells the tree, does what it says, and checks the invariants.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Command> {
        self.step_at(event, self.now)
    }

    /// The same by a clock that may be wrong.
    pub(crate) fn step_at(&mut self, event: Event, now: Instant) -> Vec<Command> {
        self.trace(&event, now);
        let about = event.clone();
        self.invariants.before(&about, &self.tree, &self.processes);
        if let Event::Exited(node, _) = event {
            self.processes.remove(&node);
        }
        let commands = self.tree.handle(event, now);
        let mut invariants = std::mem::take(&mut self.invariants);
        for command in &commands {
            invariants.command(command, self);
            self.carry_out(command);
        }
        invariants.after(&about, &commands, self);
        self.invariants = invariants;
        self.said.extend(commands.iter().cloned());
        commands
    }

    fn trace(&mut self, event: &Event, now: Instant) {
        let kind = std::mem::discriminant(event);
        let node = match *event {
            Event::Tick | Event::Shutdown(_) => ROOT,
            Event::Start { ref plan, .. } => plan.id,
            Event::Booted(node)
            | Event::Ready(node)
            | Event::Exited(node, _)
            | Event::Terminate(node, _)
            | Event::Restart(node, _)
            | Event::Delete(node, _)
            | Event::SetFlags(node, ..) => node,
        };
        (kind, node, now.saturating_duration_since(self.began)).hash(&mut self.hash);
        if self.prints {
            let at = now.saturating_duration_since(self.began);
            match event {
                Event::Start { parent, plan, ticket } => {
                    println!("{at:?} Start({:?} under {parent:?}, {ticket})", plan.id);
                }
                _ => println!("{at:?} {event:?}"),
            }
        }
    }

    fn carry_out(&mut self, command: &Command) {
        command.hash(&mut self.hash);
        if self.prints {
            println!("    {command:?}");
        }
        match *command {
            Command::Launch(node) => {
                let start = self.habits.entry(node).or_default().starts.pop_front().unwrap_or(Start::Ready);
                let process = Process { start, booted: false, ready: false, asked: false, killed: false };
                self.processes.insert(node, process);
                *self.launches.entry(node).or_default() += 1;
            }
            Command::Ask(node) => {
                if let Some(process) = self.processes.get_mut(&node) {
                    process.asked = true;
                }
            }
            Command::Kill(node, _) => {
                if let Some(process) = self.processes.get_mut(&node) {
                    process.killed = true;
                }
            }
            Command::Answer(ticket, reply) => {
                self.open.remove(&ticket);
                self.answers.insert(ticket, reply);
            }
            _ => {}
        }
    }

    /// What this process does next by itself.
    pub(crate) fn next_of(&self, node: NodeId) -> Option<Event> {
        let process = self.processes.get(&node)?;
        let stop = self.habits.get(&node).map_or(Stop::Obeys, |habits| habits.stop);
        Some(match process {
            Process { killed: true, .. } => Event::Exited(node, End::Abnormal),
            Process { booted: false, .. } => Event::Booted(node),
            Process { asked: true, .. } if stop == Stop::Obeys => Event::Exited(node, End::Normal),
            Process { asked: true, .. } if stop == Stop::Crashes => Event::Exited(node, End::Abnormal),
            Process { ready: true, .. } => return None,
            Process { start: Start::Ready, .. } => Event::Ready(node),
            Process { start: Start::Fails, .. } => Event::Exited(node, End::Abnormal),
            Process { start: Start::Declines, .. } => Event::Exited(node, End::Declined),
            Process { start: Start::Hangs, .. } => return None,
        })
    }

    /// Does what [`next_of`](Self::next_of) said.
    pub(crate) fn act(&mut self, event: Event) {
        match event {
            Event::Booted(node) => {
                if let Some(process) = self.processes.get_mut(&node) {
                    process.booted = true;
                }
            }
            Event::Ready(node) => {
                if let Some(process) = self.processes.get_mut(&node) {
                    process.ready = true;
                }
            }
            _ => {}
        }
        self.step(event);
    }

    /// Until nothing happens any more at this time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..LIMIT {
            let next = self.processes.keys().copied().find_map(|node| self.next_of(node));
            if let Some(event) = next {
                self.act(event);
            } else if self.tree.due().is_some_and(|due| due <= self.now) {
                self.step(Event::Tick);
            } else {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Time passes; whatever is due happens when it is.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(due) = self.tree.due().filter(|&due| due <= end) {
            self.now = due;
            self.settle();
        }
        self.now = end;
        self.step(Event::Tick);
        self.settle();
    }

    /// Until nothing is due any more. What would wait for ever ends by itself.
    pub(crate) fn finish(&mut self) {
        for _ in 0..LIMIT {
            self.settle();
            if let Some(due) = self.tree.due() {
                self.now = self.now.max(due);
                self.step(Event::Tick);
            } else if let Some((&node, _)) = self.processes.iter().find(|(_, process)| process.asked) {
                self.step(Event::Exited(node, End::Abnormal));
            } else {
                self.invariants.at_rest(self);
                return;
            }
        }
        panic!("it never ends");
    }

    pub(crate) fn number(&mut self) -> NodeId {
        self.last_node += 1;
        crate::wire::ids::ActorId(self.last_node)
    }

    /// Asks something about a node.
    pub(crate) fn ask(&mut self, node: NodeId, event: impl FnOnce(Ticket) -> Event) -> Ticket {
        self.last_ticket += 1;
        self.open.insert(self.last_ticket, node);
        self.step(event(self.last_ticket));
        self.last_ticket
    }

    pub(crate) fn start(&mut self, parent: NodeId, plan: Plan) -> Ticket {
        self.ask(plan.id, |ticket| Event::Start { parent, plan, ticket })
    }

    pub(crate) fn terminate(&mut self, node: NodeId) -> Ticket {
        self.ask(node, |ticket| Event::Terminate(node, ticket))
    }

    pub(crate) fn restart(&mut self, node: NodeId) -> Ticket {
        self.ask(node, |ticket| Event::Restart(node, ticket))
    }

    pub(crate) fn delete(&mut self, node: NodeId) -> Ticket {
        self.ask(node, |ticket| Event::Delete(node, ticket))
    }

    pub(crate) fn set_flags(&mut self, node: NodeId, flags: Flags) -> Ticket {
        self.ask(node, |ticket| Event::SetFlags(node, flags, ticket))
    }

    pub(crate) fn shut_down(&mut self) -> Ticket {
        self.ask(ROOT, Event::Shutdown)
    }

    /// The process of this actor crashes now, if it has one.
    pub(crate) fn crash(&mut self, node: NodeId) {
        if self.processes.contains_key(&node) {
            self.step(Event::Exited(node, End::Abnormal));
        }
    }

    /// It ends as it meant to.
    pub(crate) fn end(&mut self, node: NodeId) {
        if self.processes.contains_key(&node) {
            self.step(Event::Exited(node, End::Normal));
        }
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.tree.node(node).is_some_and(|node| node.state == State::Up)
    }

    pub(crate) fn is_known(&self, node: NodeId) -> bool {
        self.tree.node(node).is_some()
    }

    pub(crate) fn answer(&self, ticket: Ticket) -> Option<Reply> {
        self.answers.get(&ticket).copied()
    }

    pub(crate) fn refusal(&self, ticket: Ticket) -> Option<Refused> {
        match self.answer(ticket) {
            Some(Reply::Refused(why)) => Some(why),
            _ => None,
        }
    }

    pub(crate) fn launched(&self, node: NodeId) -> u64 {
        self.launches.get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// What the tree has said since the last time.
    pub(crate) fn hear(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.said)
    }
}

/// More steps than any of these worlds needs to come to rest.
const LIMIT: usize = 100_000;

/// A permanent actor that is restarted at once, five times in a minute.
pub(crate) fn rules() -> Rules {
    Rules {
        restart: Restart::Permanent,
        significant: false,
        shutdown: Shutdown::Grace(Duration::from_secs(5)),
        start_deadline: START_DEADLINE,
        backoff: Backoff::NONE,
        intensity: Intensity::default(),
        outlives_parent: false,
    }
}

pub(crate) fn group_rules() -> Rules {
    Rules { shutdown: Shutdown::Infinity, start_deadline: Duration::MAX, ..rules() }
}

pub(crate) fn flags(strategy: Strategy) -> Flags {
    Flags { strategy, intensity: Intensity::default(), auto_shutdown: AutoShutdown::Never }
}

pub(crate) fn group(id: NodeId, flags: Flags, children: Vec<Plan>) -> Plan {
    Plan { id, rules: group_rules(), what: What::Group { flags, dynamic: false, children } }
}

pub(crate) fn actor(id: NodeId) -> Plan {
    Plan { id, rules: rules(), what: What::Actor }
}
