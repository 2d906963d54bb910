//! The supervision tree, and the only place that decides a start, a restart or a stop. Pure: what happens and the time
//! go in, commands come out; no clock, no I/O, and the same seed gives the same commands.
//!
//! ```text
//!              ┌────────────── start ──────────────┐
//!              ▼                                   │
//!  Rest ──▶ Queued ──▶ Starting ──▶ Up ──┬─▶ Stopping ──▶ Rest, or gone
//!   ▲    cap on spawns    │ failed       │ died
//!   │                     ▼              ▼
//!   └── not wanted ◀── (strategy: wanted? borne? when?) ──▶ Waiting ──▶ Queued …
//! ```
//!
//! Groups go through the same states as actors: a group is starting while its children are started in order, and
//! stopping while they are stopped in reverse. What stands under the root or under an actor stands *alone*: it has a
//! budget of its own, and its end is nobody else's. What stands in a group shares the group's budget and strategy.
//!
//! - [`node`]: what the tree is made of.
//! - [`events`]: what goes in and what comes out.
//! - [`steps`]: starting in order, stopping in reverse.
//! - [`exits`]: what follows an exit: the three questions.
//! - [`administration`]: what people ask for while all of it runs.
//!
//! What always holds is in `invariants.rs`, checked after every step of every test: a node has at most one process; no
//! more than the cap are being spawned; a group that starts in order starts one child at a time; nothing starts under
//! what stops; a budget is never exceeded; after a shutdown nothing is left.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::timers::{Due, Timers};
use crate::wire::ids::ActorId;

mod administration;
mod events;
mod exits;
mod node;
mod steps;

#[cfg(test)]
mod invariants;
#[cfg(test)]
mod model;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod state_machine;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;

pub(crate) use events::{Command, End, Event, Outcome, Refused, Reply, Why};
pub(crate) use node::{Flags, Plan, Rules, What};
use node::{Kind, Node, State};

/// Actors and groups are numbered together, in the order of their admission; that is the order of their start.
pub(crate) type NodeId = ActorId;

/// A question that will be answered.
pub(crate) type Ticket = u64;

/// Above all: the program.
pub(crate) const ROOT: NodeId = ActorId::PROGRAM;

/// The state machine.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    timers: Timers,
    /// Most processes that are being spawned at once, so that a thousand deaths do not become a thousand execs in the
    /// same millisecond.
    cap: usize,
    booting: Vec<NodeId>,
    queue: VecDeque<NodeId>,
    /// Nodes of which a child has changed.
    touched: VecDeque<NodeId>,
    /// Of the jitter.
    seed: u64,
    commands: Vec<Command>,
    now: Instant,
}

impl Tree {
    /// An empty tree. At most `cap` processes are spawned at once; `seed` makes the jitter.
    pub(crate) fn new(cap: usize, seed: u64, now: Instant) -> Self {
        Tree {
            nodes: BTreeMap::from([(ROOT, Node::root())]),
            timers: Timers::default(),
            cap: cap.max(1),
            booting: Vec::new(),
            queue: VecDeque::new(),
            touched: VecDeque::new(),
            seed,
            commands: Vec::new(),
            now,
        }
    }

    /// Takes in what has happened by `now`; says what to do, in this order.
    pub(crate) fn handle(&mut self, event: Event, now: Instant) -> Vec<Command> {
        // A clock that jumps back stands still.
        self.now = self.now.max(now);
        match event {
            Event::Tick => self.act_on_timers(),
            Event::Start { parent, plan, ticket } => {
                self.admit(parent, plan, ticket);
                self.settle();
            }
            Event::Booted(node) => self.booted(node),
            Event::Ready(node) => self.ready(node),
            Event::Exited(node, end) => self.exited(node, end),
            Event::Terminate(node, ticket) => self.terminate(node, ticket),
            Event::Restart(node, ticket) => self.restart(node, ticket),
            Event::Delete(node, ticket) => self.delete(node, ticket),
            Event::SetFlags(group, flags, ticket) => self.set_flags(group, flags, ticket),
            Event::Shutdown(ticket) => self.shut_down(ticket),
        }
        // Only now: the verdict comes first, and what has come to be stopped is not started for that.
        self.launch_queued();
        std::mem::take(&mut self.commands)
    }

    /// When to come back with a [`Event::Tick`].
    pub(crate) fn due(&mut self) -> Option<Instant> {
        self.timers.next()
    }

    /// What a node is doing; `None` if there is none such any more.
    pub(crate) fn phase(&self, id: NodeId) -> Option<crate::event::Phase> {
        use crate::event::Phase;
        let node = self.nodes.get(&id)?;
        Some(match node.state {
            State::Rest if node.retired => Phase::Ended,
            // Its turn will come.
            State::Rest if node.wanted && !node.has_lived => Phase::Starting,
            State::Rest if node.wanted => Phase::Restarting,
            State::Rest => Phase::Stopped,
            State::Starting => Phase::Starting,
            // Before its first life there is nothing to restart.
            State::Queued if !node.has_lived => Phase::Starting,
            State::Waiting | State::Queued => Phase::Restarting,
            State::Up => Phase::Running,
            State::Stopping if node.retired => Phase::Ended,
            State::Stopping => Phase::Stopping,
        })
    }

    /// Whether a child may be started under this node now.
    pub(crate) fn takes_children(&self, id: NodeId) -> bool {
        if !self.nodes.get(&id).is_some_and(|node| matches!(node.state, State::Starting | State::Up)) {
            return false;
        }
        let mut at = id;
        loop {
            let Some(node) = self.nodes.get(&at) else { return false };
            if node.state == State::Stopping || node.must_stop || node.retired {
                return false;
            }
            if at == ROOT {
                return true;
            }
            at = node.parent;
        }
    }

    /// The node above.
    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.nodes.get(&id).map(|node| node.parent)
    }

    /// The nodes directly under this one, in start order.
    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.get(&id).into_iter().flat_map(|node| node.children.iter().copied())
    }

    /// The flags of a group.
    pub(crate) fn flags(&self, id: NodeId) -> Option<Flags> {
        match self.nodes.get(&id)?.kind {
            Kind::Group(ref group) => Some(group.flags),
            Kind::Root | Kind::Actor => None,
        }
    }

    /// How many restarts a node has had.
    pub(crate) fn restarts(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.restarts)
    }

    fn act_on_timers(&mut self) {
        while let Some((id, due)) = self.timers.pop(self.now) {
            match due {
                Due::Restart => self.waited(id),
                Due::StartDeadline => self.command(Command::Kill(id, Why::StartDeadline)),
                Due::StopDeadline => self.command(Command::Kill(id, Why::StopDeadline)),
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// From 0 to 1: splitmix64 (Steele, Lea, Flood 2014), enough to spread restarts and the same for the same seed.
    fn jitter(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        #[allow(clippy::cast_possible_truncation)] // Its upper half.
        let upper = (mixed >> 32) as u32;
        f64::from(upper) / f64::from(u32::MAX)
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }
}
