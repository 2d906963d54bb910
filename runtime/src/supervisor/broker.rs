//! Links between processes: who may send to whom, fresh sockets after a restart, and the ledger.
//!
//! The supervisor makes both ends and passes them on; what travels between them it never sees.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::peer::PeerId;
use super::{Supervisor, random_capability};
use crate::error::Unreachable;
use crate::event::Phase;
use crate::ledger::Ledger;
use crate::process::descriptors;
use crate::process::recorder::{IncomingRow, OutgoingRow};
use crate::report::{CrashReport, InHandMessage};
use crate::spec::Window;
use crate::wire::control::{Answer, Refusal, ToPeer, Told};
use crate::wire::ids::{ActorId, Capability, Incarnation, LinkId, RawAddress, Sequence};

/// How soon a link for which there were no descriptors is tried again: soon for whoever waits for it, and seldom enough
/// to cost nothing while there are none.
const JOIN_AGAIN: Duration = Duration::from_millis(100);

/// One link: everything that one incarnation of a sender sends to one receiver.
pub(super) struct Link {
    pub(super) sender_actor: ActorId,
    pub(super) sender_incarnation: Incarnation,
    pub(super) sender_name: String,
    /// `None` once it has died.
    sender: Option<PeerId>,
    sender_slot: u32,
    /// Outlives its sender: what that had accepted is read from it.
    sender_row: OutgoingRow,
    pub(super) receiver_actor: ActorId,
    /// The incarnation that it is joined to now.
    receiver: Option<(PeerId, u32)>,
    pub(super) receiver_row: Option<IncomingRow>,
    /// Settled by earlier incarnations of the receiver.
    resume_after: Sequence,
    processed: u64,
    skipped: u64,
    /// Who holds it may send answers to the sender's asks on this link.
    reply_capability: Capability,
    pub(super) answers_only: bool,
    /// It has got a fresh pair of sockets, and whoever reads the log knows.
    remade: bool,
}

/// What a link to the program takes: it only carries answers.
const ANSWERS: Window = Window { messages: 8192, bytes: 1 << 20 };

impl Supervisor {
    /// A process asks for a link.
    pub(super) fn grant(&mut self, sender: PeerId, number: u64, address: RawAddress) {
        let granted = self.open(sender, address);
        match granted {
            Ok((link, answer)) => {
                self.answer(sender, number, Ok(answer));
                self.join(link);
            }
            Err(reason) => self.answer(sender, number, Err(Refusal::Unreachable(reason))),
        }
    }

    fn open(&mut self, sender: PeerId, address: RawAddress) -> Result<(LinkId, Answer), Unreachable> {
        let answers_only = self.admits(address)?;
        let (window, redelivery) = match self.actors.get(&address.actor) {
            Some(child) => (child.request.options.mailbox, child.request.options.redelivery),
            None => (ANSWERS, 1),
        };
        let reply_capability = random_capability().map_err(|_| Unreachable::ShuttingDown)?;
        let Some(peer) = self.peers.get_mut(&sender) else { return Err(Unreachable::ShuttingDown) };
        let slot = peer.take_slot().ok_or(Unreachable::TooManyLinks)?;
        let row = OutgoingRow::new(&peer.page, slot).ok_or(Unreachable::TooManyLinks)?;
        row.prepare();
        self.last_link += 1;
        let id = LinkId(self.last_link);
        peer.outgoing.insert(id);
        let (sender_actor, sender_incarnation) = (peer.actor, peer.incarnation);
        let link = Link {
            sender_actor,
            sender_incarnation,
            sender_name: self.name_of(sender_actor),
            sender: Some(sender),
            sender_slot: slot,
            sender_row: row,
            receiver_actor: address.actor,
            receiver: None,
            receiver_row: None,
            resume_after: Sequence::ZERO,
            processed: 0,
            skipped: 0,
            reply_capability,
            answers_only,
            remade: false,
        };
        self.links.insert(id, link);
        Ok((id, Answer::Link { link: id, slot, window, redelivery }))
    }

    /// Whether the address is good; `Ok(true)` if it is only for answers.
    pub(super) fn admits(&self, address: RawAddress) -> Result<bool, Unreachable> {
        if address.version != RawAddress::VERSION || address.system != self.system {
            return Err(Unreachable::OtherSystem);
        }
        let child = self.actors.get(&address.actor);
        if let Some(child) = child {
            if child.capability == address.capability {
                return match self.phase(child) {
                    Phase::Ended => Err(child.unreachable()),
                    _ if child.request.protocol != address.protocol => Err(Unreachable::OtherProtocol),
                    _ => Ok(false),
                };
            }
        } else if address.actor != ActorId::PROGRAM && !self.peers.values().any(|p| p.actor == address.actor)
        {
            return Err(Unreachable::NoSuchActor);
        }
        let answers = self.links.values().any(|link| {
            link.sender.is_some()
                && link.sender_actor == address.actor
                && link.reply_capability == address.capability
        });
        if answers { Ok(true) } else { Err(Unreachable::Forged) }
    }

    /// The peer that now receives for an actor, if it takes messages.
    fn receiver_of(&self, actor: ActorId) -> Option<PeerId> {
        if actor == ActorId::PROGRAM {
            return Some(self.program);
        }
        match self.actors.get(&actor) {
            Some(child) => child.peer.filter(|_| child.ready_at.is_some()),
            None => self.peers.iter().find(|(_, peer)| peer.actor == actor).map(|(id, _)| *id),
        }
    }

    /// Joins every link that waits for this actor.
    pub(super) fn join_waiting_links(&mut self, actor: ActorId) {
        let mut waiting: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                link.receiver_actor == actor && link.receiver.is_none() && link.sender.is_some()
            })
            .map(|(id, _)| *id)
            .collect();
        waiting.sort_unstable();
        for link in waiting {
            self.join(link);
        }
    }

    /// Joins links for which there were no descriptors, if it is time; what has still none waits on.
    pub(super) fn join_overdue(&mut self, now: Instant) {
        if self.join_again.is_none_or(|due| due > now) {
            return;
        }
        self.join_again = Some(now + JOIN_AGAIN);
        for id in std::mem::take(&mut self.unjoined) {
            // A restart of its receiver may have joined it, or it is gone.
            match self.links.get(&id).map(|link| (link.receiver, link.sender)) {
                Some((None, _)) => self.join(id),
                Some((Some(_), Some(sender))) => self.link_broken(sender, id),
                _ => {}
            }
        }
        if self.unjoined.is_empty() {
            self.join_again = None;
        }
    }

    /// Makes a socketpair and passes its ends to sender and receiver, if the receiver is there.
    fn join(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let (resume_after, sender_actor) = (link.resume_after, link.sender_actor);
        let (Some(sender), Some(receiver)) = (link.sender, self.receiver_of(link.receiver_actor)) else {
            return;
        };
        let pair = match descriptors::socket_pair() {
            Ok(pair) => pair,
            Err(error) => {
                self.join_later(id, &error);
                return;
            }
        };
        let Some(peer) = self.peers.get_mut(&receiver) else { return };
        let Some((slot, row)) = peer.take_slot().and_then(|s| Some((s, IncomingRow::new(&peer.page, s)?)))
        else {
            self.say(sender, &ToPeer::LinkGone { link: id, reason: Unreachable::TooManyLinks });
            return;
        };
        row.prepare(resume_after);
        row.set_sender(sender_actor);
        peer.incoming.insert(id);
        if let Some(link) = self.links.get_mut(&id) {
            link.receiver = Some((receiver, slot));
            link.receiver_row = Some(row);
        }
        self.pass_ends(id, pair);
    }

    /// The socket of a link has ended, or was never taken up, while both ends may live: they get a fresh one. If the
    /// receiver is dying, its end is buried with it.
    pub(super) fn link_broken(&mut self, sender: PeerId, id: LinkId) {
        let is_joined = |link: &&Link| link.sender == Some(sender) && link.receiver.is_some();
        if self.links.get(&id).filter(is_joined).is_none() {
            return;
        }
        match descriptors::socket_pair() {
            Ok(pair) => {
                // An end may be without descriptors for long, and this is tried again five times a second.
                let is_first =
                    self.links.get_mut(&id).is_some_and(|link| !std::mem::replace(&mut link.remade, true));
                if is_first {
                    tracing::warn!(link = %id, "the socket of a link has ended; it gets a new one");
                }
                self.pass_ends(id, pair);
            }
            Err(error) => self.join_later(id, &error),
        }
    }

    /// Passes the ends of a fresh pair of sockets to the sender and the receiver of a link.
    fn pass_ends(&mut self, id: LinkId, (theirs, ours): (OwnedFd, OwnedFd)) {
        let Some(link) = self.links.get(&id) else { return };
        let (Some(sender), Some((receiver, slot))) = (link.sender, link.receiver) else { return };
        let reply_address = RawAddress {
            version: RawAddress::VERSION,
            system: self.system,
            actor: link.sender_actor,
            capability: link.reply_capability,
            protocol: 0,
        };
        let child = self.actors.get(&link.receiver_actor);
        let incoming = ToPeer::IncomingUp {
            link: id,
            sender: link.sender_actor,
            slot,
            resume_after: link.resume_after,
            window: child.map_or(ANSWERS, |child| child.request.options.mailbox),
            reply_address,
            answers_only: link.answers_only,
        };
        let incarnation = self.peers.get(&receiver).map_or(Incarnation(0), |peer| peer.incarnation);
        let said = self
            .say_with(receiver, &incoming, vec![ours])
            .and_then(|()| self.say_with(sender, &ToPeer::LinkUp { link: id, incarnation }, vec![theirs]));
        if let Err(error) = said {
            self.join_later(id, &error);
        }
    }

    /// A link cannot be joined now, for want of descriptors: the messages wait in the outbox until there are some again.
    fn join_later(&mut self, id: LinkId, error: &io::Error) {
        if self.join_again.is_none() {
            tracing::error!(%error, "no sockets for a link: tried again until there are");
            self.join_again = Some(Instant::now() + JOIN_AGAIN);
        }
        self.unjoined.insert(id);
    }

    /// What a process was handling when it died, by its flight recorder.
    pub(super) fn in_hand_of(&self, peer: PeerId) -> Option<InHandMessage> {
        let peer = self.peers.get(&peer)?;
        peer.incoming.iter().find_map(|id| {
            let link = self.links.get(id)?;
            let (sequence, key) = link.receiver_row.as_ref()?.read().ok()?.in_hand?;
            let message = match self.actors.get(&peer.actor) {
                Some(child) => child.message_name(key),
                None => format!("message {:016x}", key.0),
            };
            Some(InHandMessage {
                message,
                sender: link.sender_actor,
                sender_name: link.sender_name.clone(),
                sequence,
                bytes: None,
            })
        })
    }

    /// A process has died: whoever sent to it and whoever it sent to is told.
    pub(super) fn bury(&mut self, dead: PeerId, report: &CrashReport) {
        let incoming = self.peers.get(&dead).map(|peer| peer.incoming.clone()).unwrap_or_default();
        let mut incoming: Vec<LinkId> = incoming.into_iter().collect();
        incoming.sort_unstable();
        for id in incoming {
            let told = self.leave(id);
            match self.links.get(&id).and_then(|link| link.sender) {
                Some(sender) => {
                    let report = Box::new(report.clone());
                    self.say(sender, &ToPeer::LinkDown { link: id, told, report });
                }
                // Its sender had died before: nobody is left to send the rest again.
                None => self.settle(id),
            }
        }
        self.bury_sender(dead);
    }

    /// A program without a process of ours has gone: as [`bury`](Self::bury), with nothing to report.
    pub(super) fn bury_without_process(&mut self, gone: PeerId) {
        let incoming = self.peers.get(&gone).map(|peer| peer.incoming.clone()).unwrap_or_default();
        for id in incoming {
            self.leave(id);
            match self.links.get(&id).and_then(|link| link.sender) {
                Some(sender) => {
                    let reason = Unreachable::Ended("a program".into());
                    self.say(sender, &ToPeer::LinkGone { link: id, reason });
                }
                None => self.settle(id),
            }
        }
        self.bury_sender(gone);
    }

    /// A sender has died: its receivers handle what it had sent, then say so.
    pub(super) fn bury_sender(&mut self, dead: PeerId) {
        let outgoing = self.peers.get(&dead).map(|peer| peer.outgoing.clone()).unwrap_or_default();
        let mut outgoing: Vec<LinkId> = outgoing.into_iter().collect();
        outgoing.sort_unstable();
        for id in outgoing {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.sender = None;
            match link.receiver {
                Some((receiver, _)) if receiver != dead => {
                    self.say(receiver, &ToPeer::IncomingClosed { link: id });
                }
                _ => self.settle(id),
            }
        }
        for child in self.actors.values_mut() {
            child.monitors.retain(|(peer, _)| *peer != dead);
        }
        self.listeners.retain(|peer| *peer != dead);
        self.forget_questions_of(dead);
        self.forget_in_directory(dead);
    }

    /// The latest link on which something of an earlier life of `sender` is still to be handled by `watcher`.
    pub(super) fn draining_link(&self, sender: ActorId, watcher: PeerId) -> Option<LinkId> {
        let incoming = self.peers.get(&watcher)?.incoming.iter().copied();
        let is_draining = |id: &LinkId| {
            self.links.get(id).is_some_and(|link| {
                link.sender_actor == sender && link.sender.is_none() && !link.answers_only
            })
        };
        incoming.filter(is_draining).max()
    }

    /// Takes a link from the incarnation that it was joined to, and reads what that had recorded. `None` if its
    /// recorder cannot be believed.
    fn leave(&mut self, id: LinkId) -> Option<Told> {
        let link = self.links.get_mut(&id)?;
        let state = link.receiver_row.take().map(|row| row.read());
        let sent = link.sender_row.read().ok();
        let (receiver, slot) = link.receiver.take()?;
        if let Some(peer) = self.peers.get_mut(&receiver) {
            peer.incoming.remove(&id);
            peer.free_slot(slot);
        }
        match state {
            // Against what was appended: that is recorded before the message leaves, what was sent only afterwards.
            Some(Ok(state)) if sent.is_none_or(|sent| state.cursor <= sent.appended) => {
                link.processed += state.processed;
                link.skipped += state.skipped;
                link.resume_after = state.cursor;
                Some(Told { processed: state.cursor, in_hand: state.in_hand.map(|(sequence, _)| sequence) })
            }
            other => {
                tracing::warn!(link = %id, scribbled = other.is_some_and(|s| s.is_err()), "a flight recorder cannot be believed: what was sent and not acknowledged is in doubt");
                if let Some(sent) = sent {
                    link.resume_after = sent.sent;
                }
                None
            }
        }
    }

    /// A receiver has handled everything that a dead sender had sent.
    pub(super) fn drained(&mut self, receiver: PeerId, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| {
            link.sender.is_none() && link.receiver.is_some_and(|(peer, _)| peer == receiver)
        }) {
            self.leave(id);
            self.settle(id);
        }
    }

    /// Messages count as processed that the dead receiver's recorder did not show: the sender had its word for them.
    pub(super) fn add_processed(&mut self, sender: PeerId, id: LinkId, count: u64) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.sender == Some(sender)) {
            // However it lies, it had no word for more than it sent.
            let sent = link.sender_row.read().map_or(0, |row| row.appended.0);
            link.processed = link.processed.saturating_add(count).min(sent);
        }
    }

    /// A sender has given up a link whose receiver has ended.
    pub(super) fn forgotten(&mut self, sender: PeerId, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.sender == Some(sender) && link.receiver.is_none()) {
            self.settle(id);
        }
    }

    /// The link is no more; its part of the ledger goes to the receiver's.
    fn settle(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let mut ledger = link.ledger();
        // What is neither processed nor a dead letter now was in an outbox or a socket that died with its sender.
        ledger.died_with_sender = u64::try_from(ledger.waiting()).unwrap_or(0);
        let (sender, slot, receiver) = (link.sender, link.sender_slot, link.receiver_actor);
        self.links.remove(&id);
        if let Some(peer) = sender.and_then(|sender| self.peers.get_mut(&sender)) {
            peer.outgoing.remove(&id);
            peer.free_slot(slot);
        }
        if let Some(child) = self.actors.get_mut(&receiver) {
            child.ledger += ledger;
        }
    }

    /// An actor has ended for good: whoever sends to it is told.
    pub(super) fn close_links_to(&mut self, actor: ActorId) {
        let Some(reason) = self.actors.get(&actor).map(super::registry::Child::unreachable) else { return };
        let mut links: Vec<(LinkId, PeerId)> = self
            .links
            .iter()
            .filter(|(_, link)| link.receiver_actor == actor)
            .filter_map(|(id, link)| Some((*id, link.sender?)))
            .collect();
        links.sort_unstable();
        for (link, sender) in links {
            self.say(sender, &ToPeer::LinkGone { link, reason: reason.clone() });
        }
    }

    /// One end of a link says that the other sent what is no frame: the other is ended, with the reason.
    pub(super) fn bad_peer(&mut self, reporter: PeerId, id: LinkId, reason: &str) {
        let Some(link) = self.links.get(&id) else { return };
        let receiver = link.receiver.map(|(peer, _)| peer);
        let offender = if link.sender == Some(reporter) {
            receiver
        } else if receiver == Some(reporter) {
            link.sender
        } else {
            // Somebody who has no part in the link has no say either.
            return;
        };
        if let Some(offender) = offender {
            self.nonsense(offender, reason);
        }
    }

    /// The ledger of one actor, or of all.
    pub(super) fn ledger(&self, of: Option<ActorId>) -> Ledger {
        let mut sum = Ledger::default();
        for child in self.actors.values().filter(|child| of.is_none_or(|of| child.id == of)) {
            sum += child.ledger;
        }
        for link in self.links.values().filter(|link| of.is_none_or(|of| link.receiver_actor == of)) {
            sum += link.ledger();
        }
        sum
    }
}

impl Link {
    /// What the recorders of both ends say now.
    pub(super) fn ledger(&self) -> Ledger {
        // The receiver first: what it has processed was accepted before.
        let now = self.receiver_row.as_ref().and_then(|row| row.read().ok());
        let sender = self.sender_row.read().ok();
        let mut ledger =
            Ledger { processed: self.processed, dead_lettered: self.skipped, ..Ledger::default() };
        if let Some(now) = now {
            ledger.processed = ledger.processed.saturating_add(now.processed);
            ledger.dead_lettered = ledger.dead_lettered.saturating_add(now.skipped);
        }
        if let Some(sender) = sender {
            ledger.accepted = sender.appended.0;
            ledger.dead_lettered = ledger.dead_lettered.saturating_add(sender.dead_lettered);
            ledger.in_doubt = sender.in_doubt;
            ledger.redelivered = sender.redelivered;
        }
        ledger
    }
}
