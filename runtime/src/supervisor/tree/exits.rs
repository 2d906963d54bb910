//! What follows an exit: OTP's three questions, asked in order and only here.
//!
//! Does the policy want a restart? Is one more borne? What is done then, and with whom?

use std::time::Duration;

use super::node::{Process, State};
use super::{Command, End, NodeId, Outcome, ROOT, Reply, Tree, Why};
use crate::clock;
use crate::group::{AutoShutdown, Strategy};
use crate::report::Verdict;
use crate::spec::{Intensity, Restart};
use crate::supervisor::strategy;
use crate::supervisor::timers::Due;

impl Tree {
    /// The process of an actor has ended, or there never was one.
    pub(super) fn exited(&mut self, id: NodeId, end: End) {
        let now = self.now;
        let Some(node) = self.node_mut(id).filter(|node| node.process != Process::None) else { return };
        node.process = Process::None;
        let lived = node.ready_at.take().map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        let state = node.state;
        self.timers.clear(id);
        self.booting.retain(|&other| other != id);
        if state == State::Stopping || self.is_winding_down(id) {
            self.stopped(id);
        } else {
            match (state, end) {
                (State::Starting, End::Declined) => self.declined(id),
                (State::Starting, _) => self.failed(id, id, None),
                _ => self.died(id, end == End::Normal, lived),
            }
            self.orphan(id);
        }
        self.settle();
    }

    /// Whether it, or something above it, is being stopped or soon will be: then nothing is started any more.
    pub(super) fn is_winding_down(&self, id: NodeId) -> bool {
        let mut at = id;
        while let Some(node) = self.node(at) {
            if node.must_stop || node.state == State::Stopping {
                return true;
            }
            if at == ROOT {
                return false;
            }
            at = node.parent;
        }
        false
    }

    fn stopped(&mut self, id: NodeId) {
        let again = self.comes_back(id);
        self.command(Command::Verdict(id, if again { Verdict::WithGroup } else { Verdict::Ended }));
        if self.is_forgotten_at_its_end(id) {
            self.retire(id, false);
        }
        if let Some(node) = self.node_mut(id)
            && node.state != State::Stopping
        {
            // It was faster than its turn to be stopped.
            self.wind_down(id);
        }
        self.touch(id);
    }

    /// Whether what is being stopped is started again, with the group by which it is stopped.
    fn comes_back(&self, id: NodeId) -> bool {
        let mut at = id;
        while let Some(node) = self.node(at).filter(|_| !self.is_forgotten_at_its_end(at)) {
            match self.node(node.parent) {
                // The group above is itself stopped by its own: starting it again starts all that is in it.
                Some(parent) if parent.must_stop => at = node.parent,
                _ => return node.wanted,
            }
        }
        false
    }

    /// Its `start` said that there is nothing to run; its spec is kept.
    fn declined(&mut self, id: NodeId) {
        self.command(Command::Verdict(id, Verdict::Ended));
        let starters = self.take_starters(id);
        if let Some(node) = self.node_mut(id) {
            node.was_up = true;
            node.is_new = false;
        }
        self.rest(id, false);
        self.answer(starters, Reply::Declined);
    }

    /// It was up and has ended by itself.
    fn died(&mut self, id: NodeId, normal: bool, lived: Duration) {
        let verdict = self.judge(id, normal, lived);
        self.command(Command::Verdict(id, verdict.clone()));
        self.carry_out(id, &verdict, id);
    }

    /// An actor, or a group, did not come up. `outcome` is the group's.
    fn failed(&mut self, id: NodeId, cause: NodeId, outcome: Option<Outcome>) {
        let Some(node) = self.node(id) else { return };
        let (parent, was_up, is_new, is_asked_for) =
            (node.parent, node.was_up, node.is_new, !node.starters.is_empty());
        let group_starts =
            self.node(parent).is_some_and(|parent| parent.is_group() && parent.state == State::Starting);
        let verdict = if (group_starts && !was_up) || is_asked_for {
            Verdict::Ended
        } else {
            self.judge(id, false, Duration::ZERO)
        };
        match outcome {
            None => self.command(Command::Verdict(id, verdict.clone())),
            Some(outcome) => self.group_down(id, outcome, verdict.clone()),
        }
        if is_asked_for {
            let starters = self.take_starters(id);
            if is_new {
                self.retire(id, false);
            }
            self.rest(id, false);
            self.answer(starters, Reply::Failed(cause));
        } else if group_starts && !was_up {
            self.rest(id, false);
            self.end_group(parent, Outcome::StartFailed(cause));
        } else {
            self.carry_out(id, &verdict, cause);
        }
    }

    /// The first two questions.
    fn judge(&mut self, id: NodeId, normal: bool, lived: Duration) -> Verdict {
        let (now, jitter) = (self.now, self.jitter());
        let Some(rules) = self.node(id).map(|node| node.rules) else { return Verdict::Ended };
        if !strategy::wants_restart(rules.restart, normal) {
            return Verdict::Ended;
        }
        let (intensity, nth) = self.bear(id, rules.intensity, now);
        let Intensity { restarts: of, within } = intensity;
        let Some(nth) = nth else { return Verdict::GivenUp { of, within } };
        let after =
            self.node_mut(id).map(|node| node.waits.next(rules.backoff, lived, jitter)).unwrap_or_default();
        Verdict::Restart { after, nth, of, within }
    }

    /// From the group's budget, or its own if it stands alone.
    fn bear(&mut self, id: NodeId, own: Intensity, now: std::time::Instant) -> (Intensity, Option<u32>) {
        let parent = self.parent(id).unwrap_or(ROOT);
        if let Some(group) = self.node_mut(parent).and_then(super::Node::group_mut) {
            let intensity = group.flags.intensity;
            return (intensity, group.budget.bear(intensity, now));
        }
        (own, self.node_mut(id).and_then(|node| node.budget.bear(own, now)))
    }

    /// The third question: what is done, and with whom.
    fn carry_out(&mut self, id: NodeId, verdict: &Verdict, cause: NodeId) {
        let parent = self.parent(id).unwrap_or(ROOT);
        match *verdict {
            Verdict::Restart { after, .. } => {
                let due = clock::later(self.now, after);
                if let Some(node) = self.node_mut(id) {
                    node.restarts += 1;
                    node.state = State::Waiting;
                    node.wanted = true;
                }
                self.timers.set(id, due, Due::Restart);
                self.apply_strategy(parent, id);
            }
            Verdict::GivenUp { .. } if self.node(parent).is_some_and(super::Node::is_group) => {
                self.rest(id, false);
                self.end_group(parent, Outcome::GaveUp(cause));
            }
            Verdict::GivenUp { .. } => self.rest(id, true),
            Verdict::Ended | Verdict::WithGroup => {
                // A group that is forgotten is gone at once.
                let significant = self.node(id).is_some_and(|node| node.rules.significant);
                self.rest(id, false);
                if significant {
                    self.significant_has_ended(parent, id);
                }
            }
        }
    }

    /// Who else is stopped and started again with `id`.
    fn apply_strategy(&mut self, parent: NodeId, id: NodeId) {
        match self.flags(parent).map(|flags| flags.strategy) {
            None | Some(Strategy::OneForOne) => {}
            Some(Strategy::OneForAll) => self.sweep_children(parent, |child| child != id, true),
            Some(Strategy::RestForOne) => self.sweep_children(parent, |child| child > id, true),
        }
    }

    /// It does not run any more and will not by itself: its spec is kept, or it is forgotten.
    fn rest(&mut self, id: NodeId, given_up: bool) {
        if let Some(node) = self.node_mut(id) {
            node.wanted = false;
        }
        if self.is_forgotten_at_its_end(id) {
            self.retire(id, given_up);
        }
        self.conclude(id);
    }

    /// A group has nothing left under it; what an actor has left is stopped first.
    fn conclude(&mut self, id: NodeId) {
        if self.node(id).is_some_and(super::Node::is_group) {
            self.down(id);
        } else {
            self.wind_down(id);
        }
    }

    fn significant_has_ended(&mut self, parent: NodeId, id: NodeId) {
        let Some(flags) = self.flags(parent) else { return };
        let others_run = self.children(parent).filter(|&other| other != id).any(|other| {
            self.node(other).is_some_and(|other| other.rules.significant && other.runs_or_will())
        });
        match flags.auto_shutdown {
            AutoShutdown::Never => {}
            AutoShutdown::AllSignificant if others_run => {}
            AutoShutdown::AnySignificant | AutoShutdown::AllSignificant => {
                self.end_group(parent, Outcome::AutoShutdown);
            }
        }
    }

    /// A group ends by itself.
    fn end_group(&mut self, id: NodeId, outcome: Outcome) {
        let Some(node) = self.node_mut(id).filter(|node| node.state != State::Stopping) else { return };
        if let Some(group) = node.group_mut() {
            group.ending = outcome;
        }
        self.wind_down(id);
    }

    /// Everything in the group has ended: what is done is its own group's decision.
    pub(super) fn group_is_down(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.node_mut(id) else { return };
        let lived = node.ready_at.take().map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        let parent = node.parent;
        let outcome = node.group().map_or(Outcome::Stopped, |group| group.ending);
        let is_stopped = node.retired || node.must_stop || !node.stoppers.is_empty();
        if is_stopped || outcome == Outcome::Stopped || self.is_winding_down(parent) {
            let verdict = if self.comes_back(id) { Verdict::WithGroup } else { Verdict::Ended };
            self.group_down(id, Outcome::Stopped, verdict);
            self.down(id);
            return;
        }
        match outcome {
            Outcome::Stopped => {}
            Outcome::StartFailed(cause) => self.failed(id, cause, Some(outcome)),
            Outcome::GaveUp(_) | Outcome::AutoShutdown => self.group_ended(id, parent, outcome, lived),
        }
    }

    /// Says so, once for each start.
    fn group_down(&mut self, id: NodeId, outcome: Outcome, verdict: Verdict) {
        let Some(group) = self.node_mut(id).and_then(super::Node::group_mut) else { return };
        if std::mem::replace(&mut group.is_open, false) {
            self.command(Command::GroupDown { group: id, outcome, verdict });
        }
    }

    fn group_ended(&mut self, id: NodeId, parent: NodeId, outcome: Outcome, lived: Duration) {
        let cause = if let Outcome::GaveUp(cause) = outcome { cause } else { id };
        if self.node(parent).is_some_and(super::Node::is_group) {
            // A group that ends by itself leaves with OTP's reason `shutdown`, which is a normal one.
            let verdict = self.judge(id, true, lived);
            self.group_down(id, outcome, verdict.clone());
            if let Some(node) = self.node_mut(id) {
                node.state = State::Rest;
            }
            self.carry_out(id, &verdict, cause);
            return;
        }
        self.group_down(id, outcome, Verdict::Ended);
        let may_fail = self.node(id).is_none_or(|node| node.rules.restart == Restart::Temporary);
        if matches!(outcome, Outcome::GaveUp(_)) && !may_fail {
            if parent == ROOT {
                self.command(Command::Escalate { group: id, cause });
            } else {
                self.command(Command::Kill(parent, Why::Escalated(cause)));
            }
        }
        self.retire(id, matches!(outcome, Outcome::GaveUp(_)));
        self.down(id);
    }

    /// What stands under an actor that has died: it is killed, but for what may outlive it.
    fn orphan(&mut self, id: NodeId) {
        let children: Vec<NodeId> = self.children(id).collect();
        for child in children {
            if !self.node(child).is_some_and(|child| child.rules.outlives_parent) {
                self.kill_subtree(child);
            }
        }
    }

    fn kill_subtree(&mut self, id: NodeId) {
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            left.extend(self.children(id));
            self.retire(id, false);
            self.timers.clear(id);
            let Some(node) = self.node_mut(id) else { continue };
            node.wanted = false;
            node.must_stop = true;
            node.state = State::Stopping;
            node.sweeping = true;
            let process = std::mem::replace(&mut node.process, Process::Asked);
            match process {
                Process::None => node.process = Process::None,
                Process::Runs | Process::Asked => self.command(Command::Kill(id, Why::Parent)),
            }
            self.touch(id);
        }
    }
}
