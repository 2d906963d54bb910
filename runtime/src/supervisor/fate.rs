//! Who is told of an exit, and who shares its fate: monitors and links.

use super::Supervisor;
use super::peer::PeerId;
use crate::error::{SystemError, Unreachable};
use crate::event::{Down, Phase};
use crate::report::{CrashReport, Exit};
use crate::wire::control::{Answer, Refusal, ToPeer};
use crate::wire::ids::{ActorId, Incarnation, LinkId, RawAddress};

impl Supervisor {
    /// Monitoring the dead answers at once.
    pub(super) fn monitor(&mut self, peer: PeerId, number: u64, address: RawAddress) {
        let admitted = self.admits(address);
        let Some(child) = self.actors.get(&address.actor) else {
            self.answer(peer, number, Err(Refusal::Unreachable(Unreachable::NoSuchActor)));
            return;
        };
        if child.capability != address.capability {
            let reason = admitted.err().unwrap_or(Unreachable::Forged);
            self.answer(peer, number, Err(Refusal::Unreachable(reason)));
            return;
        }
        let dead = matches!(self.phase(child), Phase::Ended | Phase::Restarting | Phase::Stopped);
        let down = dead.then(|| Down {
            monitor: number,
            actor: child.id,
            name: child.name.clone(),
            incarnation: Incarnation(0),
            exit: child.last_report.as_ref().map_or(Exit::Stopped, |report| report.exit.clone()),
        });
        if down.is_none()
            && let Some(child) = self.actors.get_mut(&address.actor)
        {
            child.monitors.insert((peer, number));
        }
        self.answer(peer, number, Ok(Answer::Done));
        if let Some(down) = down {
            self.say(peer, &ToPeer::Down { down, after: None });
        }
    }

    /// One `Down` per monitor, to be seen behind everything that the dead process had sent to the one who watches.
    pub(super) fn tell_monitors(&mut self, actor: ActorId, report: &CrashReport) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        for (peer, monitor) in std::mem::take(&mut child.monitors) {
            let after = self.link_that_drains_into(report, peer);
            let down = Down {
                monitor,
                actor,
                name: report.name.clone(),
                incarnation: report.incarnation,
                exit: report.exit.clone(),
            };
            self.say(peer, &ToPeer::Down { down, after });
        }
    }

    /// The link on which the dead process's last messages still come to `watcher`, if there is one.
    fn link_that_drains_into(&self, report: &CrashReport, watcher: PeerId) -> Option<LinkId> {
        let watcher = self.peers.get(&watcher)?;
        watcher.incoming.iter().copied().find(|link| {
            self.links.get(link).is_some_and(|link| {
                let is_its =
                    link.sender_actor == report.actor && link.sender_incarnation == report.incarnation;
                // Answers are taken in as they arrive; nothing waits behind them.
                is_its && !link.answers_only
            })
        })
    }

    /// From here on, the asker and the actor at `address` share their fate: when a life of one ends abnormally, so does
    /// the other's.
    pub(super) fn link(&mut self, peer: PeerId, number: u64, address: RawAddress) {
        let linked = self.ends_of(peer, address).and_then(|(one, other)| {
            let runs = self.actors.get(&other).is_some_and(|child| {
                child.peer.is_some() && matches!(self.phase(child), Phase::Starting | Phase::Running)
            });
            if runs { Ok((one, other)) } else { Err(SystemError::NotRunning(self.name_of(other))) }
        });
        if let Ok((one, other)) = linked {
            for (one, other) in [(one, other), (other, one)] {
                if let Some(child) = self.actors.get_mut(&one) {
                    child.linked.insert(other);
                }
            }
        }
        self.answer(peer, number, linked.map(|_| Answer::Done).map_err(Refusal::System));
    }

    /// No longer.
    pub(super) fn unlink(&mut self, peer: PeerId, number: u64, address: RawAddress) {
        let ends = self.ends_of(peer, address);
        if let Ok((one, other)) = ends {
            self.cut(one, other);
        }
        self.answer(peer, number, ends.map(|_| Answer::Done).map_err(Refusal::System));
    }

    fn ends_of(&self, peer: PeerId, address: RawAddress) -> Result<(ActorId, ActorId), SystemError> {
        let asker = self.peers.get(&peer).map_or(ActorId::PROGRAM, |peer| peer.actor);
        if self.actors.get(&asker).is_none_or(|child| child.peer != Some(peer)) {
            return Err(SystemError::NotAllowed);
        }
        match self.admits(address) {
            Ok(false) if address.actor == asker => Err(SystemError::NotAllowed),
            Ok(false) => Ok((asker, address.actor)),
            Ok(true) => Err(Unreachable::Forged.into()),
            Err(reason) => Err(reason.into()),
        }
    }

    fn cut(&mut self, one: ActorId, other: ActorId) {
        for (one, other) in [(one, other), (other, one)] {
            if let Some(child) = self.actors.get_mut(&one) {
                child.linked.remove(&other);
            }
        }
    }

    /// A life has ended: those that were linked to it end too, unless it ended as it meant to.
    pub(super) fn share_fate(&mut self, actor: ActorId, report: &CrashReport) {
        let linked = self.actors.get(&actor).map(|child| child.linked.clone()).unwrap_or_default();
        for other in linked {
            self.cut(actor, other);
            if !report.exit.is_normal() {
                self.kill_for(other, Exit::Linked(report.name.clone()));
            }
        }
    }

    /// The address of a child that the asking actor has spawned, in this life or an earlier one.
    pub(super) fn own_child(
        &self,
        peer: PeerId,
        name: String,
        protocol: u64,
    ) -> Result<RawAddress, SystemError> {
        let asker = self.peers.get(&peer).map_or(ActorId::PROGRAM, |peer| peer.actor);
        let child = self.names.holder(&name).and_then(|id| self.actors.get(&id));
        match child.filter(|child| child.parent == asker) {
            None => Err(SystemError::NoSuchName(name)),
            Some(child) if child.request.protocol != protocol => Err(SystemError::OtherType(name)),
            Some(child) => Ok(child.address(self.system)),
        }
    }
}
