//! What people ask for while the tree runs. It answers at once or when it is done, and never waits itself.

use super::node::{Node, State};
use super::{Command, Flags, NodeId, ROOT, Refused, Reply, Ticket, Tree};
use crate::group::AutoShutdown;

impl Tree {
    fn refuse(&mut self, ticket: Ticket, why: Refused) {
        self.command(Command::Answer(ticket, Reply::Refused(why)));
    }

    /// Stops a node for good, or until it is asked to start again.
    pub(super) fn terminate(&mut self, id: NodeId, ticket: Ticket) {
        let Some(node) = self.node_mut(id).filter(|_| id != ROOT) else {
            return self.refuse(ticket, Refused::NotFound);
        };
        node.wanted = false;
        node.stoppers.push(ticket);
        self.begin_stop(id);
        self.settle();
    }

    /// Starts what was stopped, declined or has ended as it meant to.
    pub(super) fn restart(&mut self, id: NodeId, ticket: Ticket) {
        if let Err(why) = self.rests(id) {
            return self.refuse(ticket, why);
        }
        if !self.parent(id).is_some_and(|parent| self.takes_children(parent)) {
            return self.refuse(ticket, Refused::Stopping);
        }
        if let Some(node) = self.node_mut(id) {
            node.wanted = true;
            node.starters.push(ticket);
        }
        self.start_in_turn(id);
        self.settle();
    }

    /// Forgets the spec of what does not run.
    pub(super) fn delete(&mut self, id: NodeId, ticket: Ticket) {
        if let Err(why) = self.rests(id) {
            return self.refuse(ticket, why);
        }
        let parent = self.parent(id).unwrap_or(ROOT);
        self.remove(id);
        self.command(Command::Answer(ticket, Reply::Done));
        self.touch(parent);
        self.settle();
    }

    /// Whether it is a child with a spec that does not run now.
    fn rests(&self, id: NodeId) -> Result<(), Refused> {
        let node = self.node(id).filter(|node| id != ROOT && !node.retired).ok_or(Refused::NotFound)?;
        let group = self.node(node.parent).and_then(Node::group).ok_or(Refused::Dynamic)?;
        if group.dynamic {
            return Err(Refused::Dynamic);
        }
        match node.state {
            // It is about to be started again with its group.
            State::Rest if node.wanted => Err(Refused::Restarting),
            // Somebody waits for it in vain and will be told so in its turn, or what outlived it is still there.
            State::Rest if node.must_stop => Err(Refused::Running),
            State::Rest => Ok(()),
            State::Waiting | State::Queued if node.has_lived => Err(Refused::Restarting),
            _ => Err(Refused::Running),
        }
    }

    /// New flags for a group, all of them or none.
    pub(super) fn set_flags(&mut self, id: NodeId, flags: Flags, ticket: Ticket) {
        let Some(node) = self.node(id) else { return self.refuse(ticket, Refused::NotFound) };
        if !node.is_group() {
            return self.refuse(ticket, Refused::NotAGroup);
        }
        if flags.auto_shutdown == AutoShutdown::Never {
            let mut children = self.children(id);
            let significant =
                children.find(|&child| self.node(child).is_some_and(|child| child.rules.significant));
            drop(children);
            if let Some(child) = significant {
                return self.refuse(ticket, Refused::Significant(child));
            }
        }
        if let Some(group) = self.node_mut(id).and_then(Node::group_mut) {
            if group.dynamic && flags.strategy != group.flags.strategy {
                return self.refuse(ticket, Refused::Dynamic);
            }
            group.flags = flags;
        }
        self.command(Command::Answer(ticket, Reply::Done));
        // By a new strategy it may be the turn of others.
        self.touch(id);
        self.settle();
    }

    /// Stops everything, the youngest first.
    pub(super) fn shut_down(&mut self, ticket: Ticket) {
        if let Some(root) = self.node_mut(ROOT) {
            root.stoppers.push(ticket);
        }
        self.wind_down(ROOT);
        self.settle();
    }
}
