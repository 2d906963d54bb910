//! Starting in order, stopping in reverse, one step at a time.
//!
//! Nothing here calls itself: whoever changes a node *touches* the node above, and [`Tree::settle`] advances what was
//! touched until nothing is. So a thousand children that end at once need no deep stack.

use super::node::{Group, Kind, Node, Process, State};
use super::{Command, NodeId, Outcome, Plan, ROOT, Refused, Reply, Ticket, Tree, What, Why};
use crate::clock;
use crate::group::Strategy;
use crate::spec::{Restart, Shutdown};
use crate::supervisor::strategy::Budget;
use crate::supervisor::timers::Due;

impl Tree {
    /// Takes a child in and starts it.
    pub(super) fn admit(&mut self, parent: NodeId, plan: Plan, ticket: Ticket) {
        if !self.takes_children(parent) {
            self.command(Command::Answer(ticket, Reply::Refused(Refused::Stopping)));
            return;
        }
        let id = plan.id;
        self.insert(parent, plan);
        if let Some(node) = self.node_mut(id) {
            node.starters.push(ticket);
            node.wanted = true;
            node.is_new = true;
        }
        self.start_in_turn(id);
    }

    fn insert(&mut self, parent: NodeId, plan: Plan) {
        let (kind, children) = match plan.what {
            What::Actor => (Kind::Actor, Vec::new()),
            What::Group { flags, dynamic, children } => {
                let group = Group {
                    flags,
                    budget: Budget::default(),
                    dynamic,
                    ending: Outcome::Stopped,
                    is_open: false,
                };
                (Kind::Group(group), children)
            }
        };
        self.nodes.insert(plan.id, Node::new(parent, plan.rules, kind));
        if let Some(parent) = self.node_mut(parent) {
            parent.children.insert(plan.id);
        }
        for child in children {
            self.insert(plan.id, child);
        }
    }

    /// Whether the children of this node are started one after another right now.
    pub(super) fn is_in_order(&self, parent: NodeId) -> bool {
        self.node(parent).is_some_and(|node| match &node.kind {
            Kind::Root | Kind::Actor => false,
            Kind::Group(group) => {
                node.sweeping || node.state != State::Up || group.flags.strategy != Strategy::OneForOne
            }
        })
    }

    /// Starts a wanted child that rests: now, or when its turn comes.
    pub(super) fn start_in_turn(&mut self, id: NodeId) {
        let Some(parent) = self.parent(id) else { return };
        if self.is_in_order(parent) {
            self.touch(parent);
        } else {
            self.begin_start(id);
        }
    }

    fn begin_start(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match &mut node.kind {
            Kind::Root => {}
            Kind::Actor => {
                node.state = State::Queued;
                self.queue.push_back(id);
            }
            Kind::Group(group) => {
                node.state = State::Starting;
                group.budget.clear();
                group.ending = Outcome::Stopped;
                group.is_open = true;
                let children = node.children.clone();
                for child in children {
                    if let Some(child) = self.node_mut(child) {
                        child.was_up = false;
                        child.wanted = true;
                    }
                }
                self.touch(id);
            }
        }
    }

    fn launch(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.node_mut(id) else { return };
        node.state = State::Starting;
        node.process = Process::Runs;
        node.ready_at = None;
        node.has_lived = true;
        let deadline = clock::later(now, node.rules.start_deadline);
        self.timers.set(id, deadline, Due::StartDeadline);
        self.booting.push(id);
        self.command(Command::Launch(id));
    }

    /// A process is past its spawning: the next may begin.
    pub(super) fn booted(&mut self, id: NodeId) {
        self.booting.retain(|&other| other != id);
    }

    /// Spawns as many of those that wait as may be, in their order.
    pub(super) fn launch_queued(&mut self) {
        while self.booting.len() < self.cap
            && let Some(next) = self.queue.pop_front()
        {
            // Whatever was stopped meanwhile has left its place, and what is about to be leaves it now.
            if self.node(next).is_some_and(|node| node.state == State::Queued) && !self.is_winding_down(next)
            {
                self.launch(next);
            }
        }
    }

    pub(super) fn ready(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.node_mut(id).filter(|node| node.process != Process::None) else { return };
        if node.state == State::Stopping {
            // The start deadline is met; the only other timer that may run now is that of the stop.
            let is_timed =
                node.process == Process::Asked && matches!(node.rules.shutdown, Shutdown::Grace(_));
            if !is_timed {
                self.timers.clear(id);
            }
            return;
        }
        if node.state != State::Starting {
            return;
        }
        node.state = State::Up;
        node.was_up = true;
        node.is_new = false;
        node.ready_at = Some(now);
        self.timers.clear(id);
        self.booted(id);
        let starters = self.take_starters(id);
        self.answer(starters, Reply::Started);
        self.touch_if_in_order(id);
        self.settle();
    }

    fn touch_if_in_order(&mut self, id: NodeId) {
        if let Some(parent) = self.parent(id)
            && self.is_in_order(parent)
        {
            self.touch(parent);
        }
    }

    /// Its wait before a restart is over.
    pub(super) fn waited(&mut self, id: NodeId) {
        if self.is_winding_down(id) {
            // It goes on waiting, until it is its turn to be stopped.
            return;
        }
        if let Some(node) = self.node_mut(id).filter(|node| node.state == State::Waiting) {
            node.state = State::Rest;
            self.start_in_turn(id);
        }
        self.settle();
    }

    /// Stops one node, whatever it is doing: first what stands under it, then itself.
    pub(super) fn begin_stop(&mut self, id: NodeId) {
        let Some(node) = self.node_mut(id) else { return };
        match node.state {
            State::Stopping => {}
            State::Rest if !node.has_survivors() => self.down(id),
            State::Rest | State::Waiting | State::Queued | State::Starting | State::Up => {
                if let Some(group) = node.group_mut() {
                    group.ending = Outcome::Stopped;
                }
                self.wind_down(id);
            }
        }
    }

    /// From here on it only stops: its children in reverse, then itself.
    pub(super) fn wind_down(&mut self, id: NodeId) {
        let Some(node) = self.node_mut(id) else { return };
        if node.state == State::Waiting {
            self.timers.clear(id);
        }
        self.sweep_children(id, |_| true, false);
        if let Some(node) = self.node_mut(id) {
            node.state = State::Stopping;
        }
        self.touch(id);
    }

    /// Marks children to be stopped in reverse order; `again`: and to be started again, in order.
    pub(super) fn sweep_children(&mut self, id: NodeId, which: impl Fn(NodeId) -> bool, again: bool) {
        let Some(node) = self.node_mut(id) else { return };
        node.sweeping = true;
        let children: Vec<NodeId> = node.children.iter().copied().filter(|&child| which(child)).collect();
        for child in children {
            if let Some(child) = self.node_mut(child) {
                // A temporary one is forgotten when it is down.
                child.wanted = again && !child.retired;
                // Whoever waits for a start that will not come is told so in its turn.
                let in_vain = !child.wanted && !child.starters.is_empty();
                child.must_stop = child.state != State::Rest || in_vain || child.has_survivors();
            }
        }
        self.touch(id);
    }

    pub(super) fn touch(&mut self, id: NodeId) {
        if self.touched.back() != Some(&id) {
            self.touched.push_back(id);
        }
    }

    /// Advances whatever was touched, until nothing is.
    pub(super) fn settle(&mut self) {
        while let Some(id) = self.touched.pop_front() {
            self.advance(id);
        }
    }

    fn advance(&mut self, id: NodeId) {
        if !self.sweep(id) {
            return;
        }
        let Some(node) = self.node(id) else { return };
        match (node.state, &node.kind) {
            (State::Stopping, Kind::Root) => {
                let stoppers = self.take_stoppers(id);
                self.answer(stoppers, Reply::Done);
            }
            (State::Stopping, Kind::Group(_)) => self.group_is_down(id),
            (State::Stopping, Kind::Actor) => self.ask(id),
            (State::Starting | State::Up, Kind::Group(_)) => self.start_children(id),
            _ => {}
        }
    }

    /// Stops what must, the youngest first, one after another; a dynamic group's all at once. `true` if none is left.
    fn sweep(&mut self, id: NodeId) -> bool {
        let Some(node) = self.node(id) else { return false };
        if !node.sweeping {
            return true;
        }
        let at_once = node.group().is_some_and(|group| group.dynamic);
        let (mut before, mut left) = (None, false);
        while let Some(child) = self.child_before(id, before) {
            before = Some(child);
            let Some(state) = self.node(child).filter(|child| child.must_stop).map(|child| child.state)
            else {
                continue;
            };
            if state != State::Stopping {
                self.begin_stop(child);
            }
            if self.node(child).is_some_and(|child| child.must_stop) {
                left = true;
                if !at_once {
                    return false;
                }
            }
        }
        if !left && let Some(node) = self.node_mut(id) {
            node.sweeping = false;
        }
        !left
    }

    fn child_before(&self, id: NodeId, before: Option<NodeId>) -> Option<NodeId> {
        let children = &self.node(id)?.children;
        match before {
            Some(before) => children.range(..before).next_back().copied(),
            None => children.last().copied(),
        }
    }

    /// Starts the children that are wanted: all that rest at once, or, in order, the first that is not up.
    fn start_children(&mut self, id: NodeId) {
        if self.is_winding_down(id) {
            return;
        }
        let in_order = self.is_in_order(id);
        let children: Vec<NodeId> = self.children(id).collect();
        // One that stands before it may have died while this one starts.
        let one_starts = |&child: &NodeId| {
            self.node(child).is_some_and(|child| matches!(child.state, State::Queued | State::Starting))
        };
        if in_order && children.iter().any(one_starts) {
            return;
        }
        for child in children {
            let Some(node) = self.node(child).filter(|child| child.wanted) else { continue };
            match node.state {
                State::Up => {}
                State::Rest => {
                    self.begin_start(child);
                    if in_order {
                        return;
                    }
                }
                State::Waiting | State::Queued | State::Starting | State::Stopping if in_order => return,
                State::Waiting | State::Queued | State::Starting | State::Stopping => {}
            }
        }
        self.group_is_up(id);
    }

    fn group_is_up(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.node_mut(id).filter(|node| node.state == State::Starting) else { return };
        node.state = State::Up;
        node.was_up = true;
        node.is_new = false;
        node.ready_at = Some(now);
        self.command(Command::GroupUp(id));
        let starters = self.take_starters(id);
        self.answer(starters, Reply::Started);
        self.touch_if_in_order(id);
    }

    /// What stood under it has ended; now itself.
    fn ask(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.node_mut(id) else { return };
        match node.process {
            Process::None => self.down(id),
            Process::Asked => {}
            Process::Runs => {
                node.process = Process::Asked;
                match node.rules.shutdown {
                    Shutdown::BrutalKill => self.command(Command::Kill(id, Why::Brutal)),
                    Shutdown::Infinity => self.command(Command::Ask(id)),
                    Shutdown::Grace(grace) => {
                        self.timers.set(id, clock::later(now, grace), Due::StopDeadline);
                        self.command(Command::Ask(id));
                    }
                }
            }
        }
    }

    /// It has stopped, with everything under it.
    pub(super) fn down(&mut self, id: NodeId) {
        let Some(node) = self.node_mut(id) else { return };
        node.state = State::Rest;
        node.must_stop = false;
        let parent = node.parent;
        self.timers.clear(id);
        let goes = self.is_forgotten_at_its_end(id);
        if goes && let Some(node) = self.node_mut(id) {
            node.wanted = false;
        }
        // One that is started again with its group is not answered yet.
        let is_over = !self.node(id).is_some_and(|node| node.wanted);
        let starters = if is_over { self.take_starters(id) } else { Vec::new() };
        let stoppers = self.take_stoppers(id);
        // Its name is free before anybody hears of its end.
        if goes {
            self.remove(id);
        }
        self.answer(starters, Reply::Failed(id));
        self.answer(stoppers, Reply::Done);
        self.touch(parent);
    }

    /// Whether nothing is kept of it: it stands alone, in a dynamic group, is temporary, or was never up.
    pub(super) fn is_forgotten_at_its_end(&self, id: NodeId) -> bool {
        let Some(node) = self.node(id) else { return false };
        let in_group = self.node(node.parent).and_then(Node::group);
        let came_to_nothing = node.is_new && !node.wanted;
        node.retired
            || came_to_nothing
            || node.rules.restart == Restart::Temporary
            || in_group.is_none_or(|group| group.dynamic)
    }

    /// Says that it has ended for good, once.
    pub(super) fn retire(&mut self, id: NodeId, given_up: bool) {
        if let Some(node) = self.node_mut(id).filter(|node| !node.retired) {
            node.retired = true;
            self.command(Command::Retired { node: id, given_up });
        }
    }

    /// Forgets it, and what rests under it.
    pub(super) fn remove(&mut self, id: NodeId) {
        if id == ROOT {
            return;
        }
        let children: Vec<NodeId> = self.children(id).collect();
        for child in children {
            self.remove(child);
        }
        self.retire(id, false);
        if let Some(node) = self.nodes.remove(&id)
            && let Some(parent) = self.node_mut(node.parent)
        {
            parent.children.remove(&id);
        }
    }

    pub(super) fn take_starters(&mut self, id: NodeId) -> Vec<Ticket> {
        self.node_mut(id).map(|node| std::mem::take(&mut node.starters)).unwrap_or_default()
    }

    fn take_stoppers(&mut self, id: NodeId) -> Vec<Ticket> {
        self.node_mut(id).map(|node| std::mem::take(&mut node.stoppers)).unwrap_or_default()
    }

    pub(super) fn answer(&mut self, tickets: Vec<Ticket>, reply: Reply) {
        tickets.into_iter().for_each(|ticket| self.command(Command::Answer(ticket, reply)));
    }
}
