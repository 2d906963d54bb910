//! OTP's supervisor as its manual tells it, in functions that block until they are done: what the tree must come to
//! when everything is at rest. Naive on purpose: no states, no timers, no queue; a start or a stop is a call.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::world::{Start, Stop};
use super::{Command, Flags, NodeId, Outcome, Plan, ROOT, Refused, Reply, Rules, What, Why};
use crate::group::{AutoShutdown, Strategy};
use crate::spec::{Intensity, Restart};

/// What can be seen of a supervisor from outside, for each node by what it stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Start(NodeId),
    Stop(NodeId),
    Up(NodeId),
    Down(NodeId, Outcome),
    Escalate(NodeId, NodeId),
}

impl Seen {
    /// What a command comes to, and which node it is about. Kills are left out, but for those that take the place of
    /// asking: who dies with an actor is seen by who is left.
    pub(super) fn of(command: &Command) -> Option<(NodeId, Seen)> {
        Some(match *command {
            Command::Launch(node) => (node, Seen::Start(node)),
            Command::Ask(node) | Command::Kill(node, Why::Brutal) => (node, Seen::Stop(node)),
            Command::GroupUp(group) => (group, Seen::Up(group)),
            Command::GroupDown { group, outcome, .. } => (group, Seen::Down(group, outcome)),
            Command::Escalate { group, cause } => (group, Seen::Escalate(group, cause)),
            _ => return None,
        })
    }
}

pub(super) struct Child {
    pub(super) parent: NodeId,
    rules: Rules,
    /// `None`: an actor.
    group: Option<(Flags, bool)>,
    children: Vec<NodeId>,
    pub(super) runs: bool,
    pub(super) restarts: u64,
    budget: Vec<Instant>,
}

pub(super) struct Reference {
    pub(super) children: BTreeMap<NodeId, Child>,
    top: Vec<NodeId>,
    pub(super) starts: BTreeMap<NodeId, VecDeque<Start>>,
    pub(super) seen: BTreeMap<NodeId, Vec<Seen>>,
    pub(super) now: Instant,
}

/// How a start went that did not fail.
#[derive(PartialEq)]
enum Began {
    Up,
    Ignored,
}

impl Child {
    pub(super) fn is_static(&self) -> bool {
        self.group.is_some_and(|(_, dynamic)| !dynamic)
    }
}

impl Reference {
    pub(super) fn new(now: Instant) -> Self {
        Reference {
            children: BTreeMap::new(),
            top: Vec::new(),
            starts: BTreeMap::new(),
            seen: BTreeMap::new(),
            now,
        }
    }

    pub(super) fn start_child(&mut self, parent: NodeId, plan: Plan) -> Reply {
        if parent != ROOT && !self.children.get(&parent).is_some_and(|parent| parent.runs) {
            return Reply::Refused(Refused::Stopping);
        }
        let id = plan.id;
        self.insert(parent, plan);
        match self.start(id) {
            Ok(Began::Up) => Reply::Started,
            Ok(Began::Ignored) => {
                self.kill_under(id);
                if self.is_not_kept(id) {
                    self.forget(id);
                }
                Reply::Declined
            }
            Err(cause) => {
                self.forget(id);
                Reply::Failed(cause)
            }
        }
    }

    pub(super) fn terminate_child(&mut self, id: NodeId) -> Reply {
        if !self.children.contains_key(&id) {
            return Reply::Refused(Refused::NotFound);
        }
        self.terminate(id);
        Reply::Done
    }

    pub(super) fn restart_child(&mut self, id: NodeId) -> Reply {
        if let Err(why) = self.is_stopped(id) {
            return Reply::Refused(why);
        }
        if !self.children.get(&self.parent(id)).is_some_and(|parent| parent.runs) {
            return Reply::Refused(Refused::Stopping);
        }
        match self.start(id) {
            Ok(Began::Up) => Reply::Started,
            Ok(Began::Ignored) => Reply::Declined,
            Err(cause) => Reply::Failed(cause),
        }
    }

    pub(super) fn delete_child(&mut self, id: NodeId) -> Reply {
        if let Err(why) = self.is_stopped(id) {
            return Reply::Refused(why);
        }
        self.forget(id);
        Reply::Done
    }

    pub(super) fn set_flags(&mut self, id: NodeId, flags: Flags) -> Reply {
        if id == ROOT {
            return Reply::Refused(Refused::NotAGroup);
        }
        let Some(child) = self.children.get(&id) else { return Reply::Refused(Refused::NotFound) };
        let Some((old, dynamic)) = child.group else { return Reply::Refused(Refused::NotAGroup) };
        let significant = child.children.iter().find(|id| self.children[id].rules.significant);
        if let Some(&child) = significant
            && flags.auto_shutdown == AutoShutdown::Never
        {
            return Reply::Refused(Refused::Significant(child));
        }
        if dynamic && old.strategy != flags.strategy {
            return Reply::Refused(Refused::Dynamic);
        }
        self.child(id).group = Some((flags, dynamic));
        Reply::Done
    }

    /// An actor's process has ended by itself.
    pub(super) fn exit(&mut self, id: NodeId, normal: bool) {
        if !self.children.get(&id).is_some_and(|child| child.runs && child.group.is_none()) {
            return;
        }
        self.child(id).runs = false;
        self.kill_under(id);
        self.after_exit(id, normal, id);
    }

    /// `do_restart`: does the policy want one? A group that ends by itself ends with `shutdown`, which is normal.
    fn after_exit(&mut self, id: NodeId, normal: bool, cause: NodeId) {
        let wants = match self.children[&id].rules.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        };
        if wants {
            return self.restart(id, cause);
        }
        let (group, significant) = (self.parent(id), self.children[&id].rules.significant);
        self.rest(id);
        let Some(flags) = self.flags(group).filter(|_| significant) else { return };
        let others = self.under(group);
        let others_run =
            others.iter().any(|other| self.children[other].rules.significant && self.children[other].runs);
        match flags.auto_shutdown {
            AutoShutdown::Never => {}
            AutoShutdown::AllSignificant if others_run => {}
            _ => self.end_group(group, Outcome::AutoShutdown),
        }
    }

    /// `restart`, and again as long as it fails: is one more borne, and whom does it concern?
    fn restart(&mut self, id: NodeId, cause: NodeId) {
        let (mut id, mut cause) = (id, cause);
        let parent = self.parent(id);
        loop {
            if !self.add_restart(id) {
                self.rest(id);
                if self.flags(parent).is_some() {
                    self.end_group(parent, Outcome::GaveUp(cause));
                }
                return;
            }
            self.child(id).restarts += 1;
            let siblings = self.under(parent);
            let again: Vec<NodeId> = match self.flags(parent).map(|flags| flags.strategy) {
                None | Some(Strategy::OneForOne) => vec![id],
                Some(Strategy::OneForAll) => siblings,
                Some(Strategy::RestForOne) => siblings.into_iter().filter(|&other| other >= id).collect(),
            };
            for &other in again.iter().rev().filter(|&&other| other != id) {
                self.stop_with_group(other);
            }
            let mut failed = None;
            for other in again {
                if !self.children.contains_key(&other) {
                    continue;
                }
                match self.start(other) {
                    Ok(Began::Up) => {}
                    Ok(Began::Ignored) => self.rest(other),
                    Err(why) => {
                        failed = Some((other, why));
                        break;
                    }
                }
            }
            match failed {
                None => return,
                Some((other, why)) => (id, cause) = (other, why),
            }
        }
    }

    /// Too many within the period?
    fn add_restart(&mut self, id: NodeId) -> bool {
        let parent = self.parent(id);
        let (holder, intensity) = match self.flags(parent) {
            Some(flags) => (parent, flags.intensity),
            None => (id, self.children[&id].rules.intensity),
        };
        let (now, Intensity { restarts, within }) = (self.now, intensity);
        let budget = &mut self.child(holder).budget;
        budget.retain(|&at| now.duration_since(at) <= within);
        budget.push(now);
        budget.len() <= restarts as usize
    }

    fn end_group(&mut self, id: NodeId, outcome: Outcome) {
        self.stop_children(id);
        self.child(id).runs = false;
        let parent = self.parent(id);
        self.see(parent, Seen::Down(id, outcome));
        let cause = if let Outcome::GaveUp(cause) = outcome { cause } else { id };
        if self.flags(parent).is_some() {
            return self.after_exit(id, true, cause);
        }
        let may_fail = self.children[&id].rules.restart == Restart::Temporary;
        self.forget(id);
        if matches!(outcome, Outcome::GaveUp(_)) && !may_fail {
            if parent == ROOT {
                self.see(ROOT, Seen::Escalate(id, cause));
            } else {
                self.exit(parent, false);
            }
        }
    }

    fn start(&mut self, id: NodeId) -> Result<Began, NodeId> {
        let parent = self.parent(id);
        if self.children[&id].group.is_none() {
            self.see(parent, Seen::Start(id));
            let start = self.starts.get_mut(&id).and_then(VecDeque::pop_front).unwrap_or(Start::Ready);
            self.child(id).runs = start == Start::Ready;
            return match start {
                Start::Ready => Ok(Began::Up),
                Start::Declines => Ok(Began::Ignored),
                Start::Fails | Start::Hangs => Err(id),
            };
        }
        self.child(id).budget.clear();
        for child in self.under(id) {
            match self.start(child) {
                Ok(Began::Up) => {}
                Ok(Began::Ignored) => self.rest(child),
                Err(cause) => {
                    self.rest(child);
                    self.stop_children(id);
                    self.see(parent, Seen::Down(id, Outcome::StartFailed(cause)));
                    return Err(cause);
                }
            }
        }
        self.child(id).runs = true;
        self.see(parent, Seen::Up(id));
        Ok(Began::Up)
    }

    fn stop_children(&mut self, id: NodeId) {
        for child in self.under(id).into_iter().rev() {
            self.stop_with_group(child);
        }
    }

    fn stop_with_group(&mut self, id: NodeId) {
        if self.children[&id].runs {
            self.terminate(id);
        } else {
            self.rest(id);
        }
    }

    fn terminate(&mut self, id: NodeId) {
        self.stop_children(id);
        let parent = self.parent(id);
        let (runs, is_group) = (self.children[&id].runs, self.children[&id].group.is_some());
        self.child(id).runs = false;
        match (runs, is_group) {
            (true, true) => self.see(parent, Seen::Down(id, Outcome::Stopped)),
            (true, false) => self.see(parent, Seen::Stop(id)),
            (false, _) => {}
        }
        if self.is_not_kept(id) {
            self.forget(id);
        }
    }

    /// It does not run; what stands under it is stopped, and it is kept or not.
    fn rest(&mut self, id: NodeId) {
        self.child(id).runs = false;
        self.stop_children(id);
        if self.is_not_kept(id) {
            self.forget(id);
        }
    }

    /// What stands under an actor dies with it, but for what outlives it.
    fn kill_under(&mut self, id: NodeId) {
        for child in self.under(id) {
            if !self.children[&child].rules.outlives_parent {
                self.kill(child);
                self.forget(child);
            }
        }
    }

    fn kill(&mut self, id: NodeId) {
        for child in self.under(id) {
            self.kill(child);
        }
        if self.children[&id].group.is_some() && self.children[&id].runs {
            self.see(self.parent(id), Seen::Down(id, Outcome::Stopped));
        }
    }

    fn is_stopped(&self, id: NodeId) -> Result<(), Refused> {
        let child = self.children.get(&id).ok_or(Refused::NotFound)?;
        match self.children.get(&child.parent).and_then(|parent| parent.group) {
            None | Some((_, true)) => Err(Refused::Dynamic),
            Some(_) if child.runs => Err(Refused::Running),
            Some(_) => Ok(()),
        }
    }

    fn is_not_kept(&self, id: NodeId) -> bool {
        let child = &self.children[&id];
        let group = self.children.get(&child.parent).and_then(|parent| parent.group);
        child.rules.restart == Restart::Temporary || group.is_none_or(|(_, dynamic)| dynamic)
    }

    fn insert(&mut self, parent: NodeId, plan: Plan) {
        let (group, children) = match plan.what {
            What::Actor => (None, Vec::new()),
            What::Group { flags, dynamic, children } => (Some((flags, dynamic)), children),
        };
        let child = Child {
            parent,
            rules: plan.rules,
            group,
            children: Vec::new(),
            runs: false,
            restarts: 0,
            budget: Vec::new(),
        };
        self.children.insert(plan.id, child);
        match self.children.get_mut(&parent) {
            Some(parent) => parent.children.push(plan.id),
            None => self.top.push(plan.id),
        }
        children.into_iter().for_each(|child| self.insert(plan.id, child));
    }

    fn forget(&mut self, id: NodeId) {
        self.under(id).into_iter().for_each(|child| self.forget(child));
        let parent = self.parent(id);
        match self.children.get_mut(&parent) {
            Some(parent) => parent.children.retain(|&child| child != id),
            None => self.top.retain(|&child| child != id),
        }
        self.children.remove(&id);
    }

    fn child(&mut self, id: NodeId) -> &mut Child {
        self.children.get_mut(&id).unwrap_or_else(|| panic!("the reference has lost {id}"))
    }

    fn parent(&self, id: NodeId) -> NodeId {
        self.children[&id].parent
    }

    fn under(&self, id: NodeId) -> Vec<NodeId> {
        self.children.get(&id).map_or_else(|| self.top.clone(), |child| child.children.clone())
    }

    fn flags(&self, id: NodeId) -> Option<Flags> {
        self.children.get(&id)?.group.map(|(flags, _)| flags)
    }

    fn see(&mut self, parent: NodeId, seen: Seen) {
        self.seen.entry(parent).or_default().push(seen);
    }
}

/// In these comparisons a process that is asked to stop does so at once, in one way or another.
pub(super) const STOPS: [Stop; 2] = [Stop::Obeys, Stop::Crashes];
