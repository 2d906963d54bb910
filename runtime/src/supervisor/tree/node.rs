//! What the tree is made of.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::strategy::{Budget, Waits};
use super::events::Outcome;
use super::{NodeId, ROOT, Ticket};
pub(crate) use crate::group::Flags;
use crate::spec::{Backoff, Intensity, Restart, Shutdown};

/// What is known of a child before it is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: NodeId,
    pub(crate) rules: Rules,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Actor,
    Group { flags: Flags, dynamic: bool, children: Vec<Plan> },
}

/// One child's part of a spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_deadline: Duration,
    pub(crate) backoff: Backoff,
    /// Of one that stands alone.
    pub(crate) intensity: Intensity,
    /// It stays when the actor above dies and comes back.
    pub(crate) outlives_parent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not running and not about to.
    Rest,
    /// Its restart is due later.
    Waiting,
    /// Its start waits for a place among those being spawned.
    Queued,
    Starting,
    Up,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    None,
    Runs,
    /// It has been asked to stop, or killed.
    Asked,
}

#[derive(Debug)]
pub(super) enum Kind {
    Root,
    Actor,
    Group(Group),
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) flags: Flags,
    pub(super) budget: Budget,
    pub(super) dynamic: bool,
    /// Why it is being stopped.
    pub(super) ending: Outcome,
    /// It was started, and its end was not told yet.
    pub(super) is_open: bool,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    pub(super) rules: Rules,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) process: Process,
    /// It should run, now or as soon as its turn comes.
    pub(super) wanted: bool,
    /// It is to stop when those that were started after it have stopped.
    pub(super) must_stop: bool,
    /// Some children must stop.
    pub(super) sweeping: bool,
    /// It has been said that it has ended for good.
    pub(super) retired: bool,
    /// Once it has been up since its group was last started, a failed start is a failed *re*start.
    pub(super) was_up: bool,
    pub(super) has_lived: bool,
    /// Whoever has added it waits for its first start: if that comes to nothing, nothing is kept of it.
    pub(super) is_new: bool,
    pub(super) children: BTreeSet<NodeId>,
    pub(super) waits: Waits,
    /// If it stands alone.
    pub(super) budget: Budget,
    pub(super) ready_at: Option<Instant>,
    pub(super) restarts: u64,
    pub(super) starters: Vec<Ticket>,
    pub(super) stoppers: Vec<Ticket>,
}

impl Node {
    pub(super) fn root() -> Node {
        let rules = Rules {
            restart: Restart::Temporary,
            significant: false,
            shutdown: Shutdown::Infinity,
            start_deadline: Duration::MAX,
            backoff: Backoff::NONE,
            intensity: Intensity::default(),
            outlives_parent: false,
        };
        Node { state: State::Up, ..Node::new(ROOT, rules, Kind::Root) }
    }

    pub(super) fn new(parent: NodeId, rules: Rules, kind: Kind) -> Node {
        Node {
            parent,
            rules,
            kind,
            state: State::Rest,
            process: Process::None,
            wanted: false,
            must_stop: false,
            sweeping: false,
            retired: false,
            was_up: false,
            has_lived: false,
            is_new: false,
            children: BTreeSet::new(),
            waits: Waits::default(),
            budget: Budget::default(),
            ready_at: None,
            restarts: 0,
            starters: Vec::new(),
            stoppers: Vec::new(),
        }
    }

    pub(super) fn is_group(&self) -> bool {
        matches!(self.kind, Kind::Group(_))
    }

    /// Whether it counts as running: it does not rest, or will not for long. An actor that has ended and only waits for
    /// what stands under it has ended.
    pub(super) fn runs_or_will(&self) -> bool {
        let has_ended = self.is_actor() && self.state == State::Stopping && self.process == Process::None;
        self.wanted || (self.state != State::Rest && !has_ended)
    }

    /// It is an actor that has died, and what outlives it still stands under it.
    pub(super) fn has_survivors(&self) -> bool {
        self.is_actor() && !self.children.is_empty()
    }

    pub(super) fn is_actor(&self) -> bool {
        matches!(self.kind, Kind::Actor)
    }

    pub(super) fn group(&self) -> Option<&Group> {
        match &self.kind {
            Kind::Group(group) => Some(group),
            _ => None,
        }
    }

    pub(super) fn group_mut(&mut self) -> Option<&mut Group> {
        match &mut self.kind {
            Kind::Group(group) => Some(group),
            _ => None,
        }
    }
}
