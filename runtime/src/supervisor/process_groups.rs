//! Who is in which group, and who watches it; pure.
//!
//! A membership belongs to one process, so to one incarnation of an actor: when that has gone it is in no group. What
//! watchers are to be told comes back as [`Push`]es, and is told by [`directory`](super::directory).

use std::collections::{BTreeSet, HashMap};

use super::peer::PeerId;
use crate::wire::ids::{Incarnation, RawAddress};

/// Most groups at once: they are named by people and by what people name. Whoever needs more wants an actor that keeps
/// a table.
pub(super) const GROUPS: usize = 4096;
/// Most members of a group: each watcher keeps an address for each, and a message to all goes out so many times.
pub(super) const MEMBERS: usize = 4096;
/// Most watchers of a group: so many control messages of about a hundred bytes follow each change, some milliseconds
/// of the supervisor's loop.
pub(super) const WATCHERS: usize = 1024;

/// One incarnation of an actor, as a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) address: RawAddress,
    pub(super) incarnation: Incarnation,
    /// The actor's.
    pub(super) name: String,
}

/// Who is told of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watcher {
    pub(super) peer: PeerId,
    /// Its own number for this watch.
    pub(super) watch: u64,
    /// Only of members with this protocol; `None`: of all, as messages.
    pub(super) protocol: Option<u64>,
}

/// One watcher is to be told of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Push {
    pub(super) to: Watcher,
    pub(super) group: String,
    pub(super) member: Member,
    pub(super) joined: bool,
}

/// Why somebody does not get into a group, or does not get to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its members speak another protocol.
    OtherProtocol,
    /// There are as many groups as there may be.
    Groups,
    /// It has as many members as it may.
    Members,
    /// It has as many watchers as it may.
    Watchers,
}

/// All groups that have members or watchers.
#[derive(Debug, Default)]
pub(super) struct ProcessGroups {
    groups: HashMap<String, Group>,
    joined: HashMap<PeerId, BTreeSet<String>>,
    watching: HashMap<PeerId, HashMap<u64, String>>,
}

/// Both in the order in which they came.
#[derive(Debug, Default)]
struct Group {
    members: Vec<Member>,
    watchers: Vec<Watcher>,
}

impl Group {
    fn pushes(&self, group: &str, member: &Member, joined: bool) -> Vec<Push> {
        let sees = |to: &&Watcher| to.protocol.is_none_or(|protocol| protocol == member.address.protocol);
        let push = |&to: &Watcher| Push { to, group: group.to_owned(), member: member.clone(), joined };
        self.watchers.iter().filter(sees).map(push).collect()
    }

    /// A group speaks the protocol of its members, and none while it has none.
    fn speaks_other_than(&self, protocol: u64) -> bool {
        self.members.first().is_some_and(|first| first.address.protocol != protocol)
    }
}

impl ProcessGroups {
    /// A process joins. Joining again changes nothing.
    pub(super) fn join(&mut self, group: &str, member: Member) -> Result<Vec<Push>, Refused> {
        let entry = self.entry(group)?;
        if entry.speaks_other_than(member.address.protocol) {
            return Err(Refused::OtherProtocol);
        }
        if entry.members.iter().any(|other| other.peer == member.peer) {
            return Ok(Vec::new());
        }
        if entry.members.len() >= MEMBERS {
            return Err(Refused::Members);
        }
        let pushes = entry.pushes(group, &member, true);
        let peer = member.peer;
        entry.members.push(member);
        self.joined.entry(peer).or_default().insert(group.to_owned());
        Ok(pushes)
    }

    /// A process leaves. Leaving what it is not in changes nothing.
    pub(super) fn leave(&mut self, group: &str, peer: PeerId) -> Vec<Push> {
        if let Some(joined) = self.joined.get_mut(&peer) {
            joined.remove(group);
            if joined.is_empty() {
                self.joined.remove(&peer);
            }
        }
        let Some(entry) = self.groups.get_mut(group) else { return Vec::new() };
        let Some(place) = entry.members.iter().position(|member| member.peer == peer) else {
            return Vec::new();
        };
        let member = entry.members.remove(place);
        let pushes = entry.pushes(group, &member, false);
        self.tidy(group);
        pushes
    }

    /// A process has gone: it is in no group and watches none.
    pub(super) fn forget(&mut self, peer: PeerId) -> Vec<Push> {
        // First its watches: nobody is to be told there.
        let watches: Option<Vec<u64>> = self.watching.get(&peer).map(|all| all.keys().copied().collect());
        for watch in watches.unwrap_or_default() {
            self.unwatch(peer, watch);
        }
        let joined = self.joined.get(&peer).cloned().unwrap_or_default();
        joined.iter().flat_map(|group| self.leave(group, peer)).collect()
    }

    /// A process watches a group from now on. It is first told of the members that there are.
    pub(super) fn watch(&mut self, group: &str, watcher: Watcher) -> Result<Vec<Push>, Refused> {
        // Numbers are the watcher's own; one that uses a number twice means the later.
        self.unwatch(watcher.peer, watcher.watch);
        let entry = self.entry(group)?;
        if watcher.protocol.is_some_and(|protocol| entry.speaks_other_than(protocol)) {
            return Err(Refused::OtherProtocol);
        }
        if entry.watchers.len() >= WATCHERS {
            return Err(Refused::Watchers);
        }
        entry.watchers.push(watcher);
        let push = |member: &Member| Push {
            to: watcher,
            group: group.to_owned(),
            member: member.clone(),
            joined: true,
        };
        let pushes = entry.members.iter().map(push).collect();
        self.watching.entry(watcher.peer).or_default().insert(watcher.watch, group.to_owned());
        Ok(pushes)
    }

    /// A process watches no longer.
    pub(super) fn unwatch(&mut self, peer: PeerId, watch: u64) {
        let Some(watches) = self.watching.get_mut(&peer) else { return };
        let Some(group) = watches.remove(&watch) else { return };
        if watches.is_empty() {
            self.watching.remove(&peer);
        }
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.watchers.retain(|watcher| (watcher.peer, watcher.watch) != (peer, watch));
        }
        self.tidy(&group);
    }

    /// The group, which is there from its first member or watcher to its last. Every refusal is of a group that was
    /// there before, so none leaves an empty one behind.
    fn entry(&mut self, group: &str) -> Result<&mut Group, Refused> {
        if self.groups.len() >= GROUPS && !self.groups.contains_key(group) {
            return Err(Refused::Groups);
        }
        Ok(self.groups.entry(group.to_owned()).or_default())
    }

    fn tidy(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(|g| g.members.is_empty() && g.watchers.is_empty()) {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
#[path = "process_groups_tests.rs"]
mod tests;
