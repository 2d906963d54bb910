//! Names and process groups: what processes ask about them, and what they are told.
//!
//! [`names`](super::names), [`waiters`](super::waiters) and [`process_groups`](super::process_groups) keep the books and
//! know neither sockets nor clocks; this file connects them with the rest.

use std::time::{Duration, Instant};

use super::Supervisor;
use super::names::{self, MORE_NAMES};
use super::peer::PeerId;
use super::process_groups::{self, GROUPS, MEMBERS, Member, Push, WATCHERS, Watcher};
use super::registry::Child;
use super::waiters::{TooMany, Waiter};
use crate::clock;
use crate::error::{SystemError, Unreachable};
use crate::event::{Membership, Phase};
use crate::spec::{check_name, is_path};
use crate::wire::control::{Answer, Refusal, ToPeer};
use crate::wire::ids::{ActorId, Incarnation, RawAddress};

impl Supervisor {
    /// The address of a name.
    pub(super) fn find(&self, name: String, protocol: u64) -> Result<RawAddress, SystemError> {
        match self.names.holder(&name).and_then(|actor| self.actors.get(&actor)) {
            None => Err(SystemError::NoSuchName(name)),
            Some(child) if child.request.protocol != protocol => Err(SystemError::OtherType(name)),
            Some(child) => Ok(child.address(self.system)),
        }
    }

    /// Answers at once if the name is there and its actor's first `start` has returned; else somebody waits.
    pub(super) fn wait_for(
        &mut self,
        peer: PeerId,
        number: u64,
        name: String,
        protocol: u64,
        wait: Duration,
    ) {
        let holder = self.names.holder(&name).and_then(|actor| self.actors.get(&actor));
        let refused = if holder.is_some_and(has_started) {
            let found = self.find(name, protocol).map(Answer::Address).map_err(Refusal::System);
            self.answer(peer, number, found);
            return;
        } else if !is_path(&name) {
            SystemError::BadName(name)
        } else if self.shutting_down {
            SystemError::ShuttingDown
        } else {
            let waiter = Waiter { peer, number, protocol, wait };
            match self.waiters.add(&name, waiter, clock::later(Instant::now(), wait)) {
                Ok(()) => return,
                Err(TooMany(limit)) => too_many(limit, "waits for names".into()),
            }
        };
        self.answer(peer, number, Err(Refusal::System(refused)));
    }

    /// The actor is ready: whoever waits for one of its names is answered.
    pub(super) fn tell_waiters_of(&mut self, actor: ActorId) {
        for name in self.names.of(actor).to_vec() {
            self.tell_waiters(&name);
        }
    }

    fn tell_waiters(&mut self, name: &str) {
        for waiter in self.waiters.take(name) {
            let found = self.find(name.to_owned(), waiter.protocol);
            self.answer(waiter.peer, waiter.number, found.map(Answer::Address).map_err(Refusal::System));
        }
    }

    pub(super) fn end_overdue_waits(&mut self, now: Instant) {
        while let Some((name, waiter)) = self.waiters.pop(now) {
            let error = SystemError::NotInTime { name, waited: waiter.wait };
            self.answer(waiter.peer, waiter.number, Err(Refusal::System(error)));
        }
    }

    /// Nothing is started any more, so nothing will be found.
    pub(super) fn end_all_waits(&mut self) {
        for waiter in self.waiters.take_all() {
            self.answer(waiter.peer, waiter.number, Err(Refusal::System(SystemError::ShuttingDown)));
        }
    }

    pub(super) fn stop_waiting(&mut self, peer: PeerId, number: u64) {
        if let Some((name, _)) = self.waiters.cancel(peer, number) {
            // Nobody listens; the process keeps a place for the answer until it comes.
            self.answer(peer, number, Err(Refusal::System(SystemError::NoSuchName(name))));
        }
    }

    /// Gives an actor one more name, for the program or for itself.
    pub(super) fn register(
        &mut self,
        peer: PeerId,
        name: String,
        address: RawAddress,
    ) -> Result<(), SystemError> {
        if check_name(&name).is_err() {
            return Err(SystemError::BadName(name));
        }
        let actor = address.actor;
        if self.limited_to(peer).is_some_and(|own| own != actor) {
            return Err(SystemError::NotAllowed);
        }
        if self.admits(address)? {
            return Err(Unreachable::Forged.into());
        }
        let Some(child) = self.actors.get(&actor) else { return Err(Unreachable::NoSuchActor.into()) };
        // Its names may be free already, and wanted by others.
        if self.phase(child) == Phase::Stopping {
            return Err(Unreachable::Ended(child.name.clone()).into());
        }
        let is_ready = has_started(child);
        self.names.give(&name, actor).map_err(|refused| match refused {
            names::Refused::TooMany => {
                too_many(MORE_NAMES, format!("names of the actor {} beside its first", self.name_of(actor)))
            }
            names::Refused::Held(holder) => {
                SystemError::NameTaken { name: name.clone(), holder: self.name_of(holder) }
            }
            names::Refused::Unknown | names::Refused::First => SystemError::NoSuchName(name.clone()),
        })?;
        if is_ready {
            self.tell_waiters(&name);
        }
        Ok(())
    }

    /// Takes a name back that was registered.
    pub(super) fn unregister(&mut self, peer: PeerId, name: String) -> Result<(), SystemError> {
        match self.names.take_back(&name, self.limited_to(peer)) {
            Ok(()) => Ok(()),
            Err(names::Refused::Held(holder)) => {
                Err(SystemError::NotYourName { holder: self.name_of(holder), name })
            }
            Err(names::Refused::First) => Err(SystemError::NameStays(name)),
            Err(names::Refused::Unknown | names::Refused::TooMany) => Err(SystemError::NoSuchName(name)),
        }
    }

    /// The actor whose names alone a process may change; `None` for the program, which may change all.
    fn limited_to(&self, peer: PeerId) -> Option<ActorId> {
        if peer == self.program {
            return None;
        }
        // A process that is not known any more is limited to what nobody is.
        Some(self.peers.get(&peer).map_or(ActorId(u64::MAX), |peer| peer.actor))
    }

    /// The asking process joins.
    pub(super) fn join_group(&mut self, peer: PeerId, group: String) -> Result<(), SystemError> {
        if !is_path(&group) {
            return Err(SystemError::BadName(group));
        }
        let asking = self.peers.get(&peer).ok_or(SystemError::ShuttingDown)?;
        // Neither the program nor one from outside is an actor.
        let child = self.actors.get(&asking.actor).filter(|child| child.peer == Some(peer));
        let child = child.ok_or(SystemError::NotAllowed)?;
        let member = Member {
            peer,
            address: child.address(self.system),
            incarnation: asking.incarnation,
            name: child.name.clone(),
        };
        let pushes = self.process_groups.join(&group, member).map_err(|refused| why(refused, group))?;
        self.push(pushes);
        Ok(())
    }

    pub(super) fn leave_group(&mut self, peer: PeerId, group: &str) {
        let pushes = self.process_groups.leave(group, peer);
        self.push(pushes);
    }

    /// From now on the process is told of the group's members, first of those that there are.
    pub(super) fn watch_group(
        &mut self,
        peer: PeerId,
        group: String,
        watch: u64,
        protocol: Option<u64>,
    ) -> Result<(), SystemError> {
        if !is_path(&group) {
            return Err(SystemError::BadName(group));
        }
        let pushes = self.process_groups.watch(&group, Watcher { peer, watch, protocol });
        self.push(pushes.map_err(|refused| why(refused, group))?);
        Ok(())
    }

    /// A process has gone: it waits for nothing, watches nothing and is in no group. Its links are closed by now, so that
    /// watchers see it leave behind what it had sent them; and nobody has been told of its end yet.
    pub(super) fn forget_in_directory(&mut self, gone: PeerId) {
        self.waiters.forget(gone);
        let pushes = self.process_groups.forget(gone);
        self.push(pushes);
    }

    fn push(&self, pushes: Vec<Push>) {
        for Push { to, group, member, joined } in pushes {
            let Member { address, incarnation, name, .. } = member;
            let actor = address.actor;
            let said = match to.protocol {
                Some(_) => ToPeer::Member { watch: to.watch, address, incarnation, joined },
                None => {
                    let membership =
                        Membership { watch: to.watch, group, actor, name, incarnation, joined, address };
                    // Joining too: a new life must not be seen to join before the last one is seen to leave.
                    let after = self.draining_link(actor, to.peer);
                    ToPeer::Membership { membership: Box::new(membership), after }
                }
            };
            self.say(to.peer, &said);
        }
    }
}

/// Whether the actor's first `start` has returned: no second life begins before.
fn has_started(child: &Child) -> bool {
    child.ready_at.is_some() || child.incarnation > Incarnation(1)
}

fn why(refused: process_groups::Refused, group: String) -> SystemError {
    match refused {
        process_groups::Refused::OtherProtocol => SystemError::OtherGroupType(group),
        process_groups::Refused::Groups => too_many(GROUPS, "process groups".into()),
        process_groups::Refused::Members => too_many(MEMBERS, format!("members of the group {group:?}")),
        process_groups::Refused::Watchers => too_many(WATCHERS, format!("watchers of the group {group:?}")),
    }
}

fn too_many(limit: usize, what: String) -> SystemError {
    SystemError::TooMany { what, limit: u32::try_from(limit).unwrap_or(u32::MAX) }
}
