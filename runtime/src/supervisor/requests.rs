//! What processes say and ask, and the answers.

use super::Supervisor;
use super::administer::Instance;
use super::decisions::About;
use super::peer::PeerId;
use super::tree::Event as Happened;
use crate::clock;
use crate::error::{AdministrationError, SpawnError, SystemError, Unreachable};
use crate::event::{Event, Phase};
use crate::harmless;
use crate::report::Exit;
use crate::wire::control::{Answer, Refusal, Request, STACK, SpawnRequest, ToPeer, ToSupervisor};
use crate::wire::ids::{ActorId, LinkId, MessageKey, RawAddress};

impl Supervisor {
    pub(super) fn hear(&mut self, peer: PeerId, message: ToSupervisor) {
        match message {
            ToSupervisor::Ready { protocol, info, confinement } => {
                self.ready(peer, protocol, info, confinement);
            }
            ToSupervisor::Unconfined { reason } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.unconfined = Some(harmless::text(&reason, harmless::MESSAGE));
                }
            }
            ToSupervisor::Declined { reason } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.declined = Some(harmless::text(&reason, harmless::MESSAGE));
                }
            }
            ToSupervisor::StartFailed { error } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.start_failed = Some(harmless::text(&error, harmless::MESSAGE));
                }
            }
            ToSupervisor::Panicked(panic) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.panic = Some(panic.harmless());
                }
            }
            ToSupervisor::Goodbye { finished } => self.goodbye(peer, finished),
            ToSupervisor::Request { number, request } => self.asked(peer, number, request),
            ToSupervisor::LinkDrained { link } => self.drained(peer, link),
            ToSupervisor::AnsweredInHand { link } => self.add_processed(peer, link, 1),
            ToSupervisor::ProcessedUntold { link, processed } => self.add_processed(peer, link, processed),
            ToSupervisor::LinkForgotten { link } => self.forgotten(peer, link),
            ToSupervisor::LinkBroken { link } => self.link_broken(peer, link),
            ToSupervisor::BadPeer { link, reason } => {
                self.bad_peer(peer, link, &harmless::text(&reason, harmless::MESSAGE));
            }
            ToSupervisor::DeadLetters { link, receiver, reason, key, count } => {
                let sender = self.sender_of(peer, link);
                let event = Event::DeadLetters {
                    sender,
                    receiver,
                    reason,
                    message: self.name_of_message(receiver, key),
                    count,
                };
                self.tell_listeners(&event);
            }
            ToSupervisor::Injected(injection) => self.injected(Some(peer), injection),
            ToSupervisor::Stack { text } => {
                self.looked(peer, text.map(|text| harmless::text(&text, STACK)));
            }
        }
    }

    fn sender_of(&self, reporter: PeerId, link: LinkId) -> ActorId {
        let by_link = self.links.get(&link).map(|link| link.sender_actor);
        by_link.or_else(|| self.peers.get(&reporter).map(|peer| peer.actor)).unwrap_or(ActorId::PROGRAM)
    }

    fn name_of_message(&self, receiver: ActorId, key: MessageKey) -> String {
        match self.actors.get(&receiver) {
            Some(child) => child.message_name(key),
            None => format!("message {:016x}", key.0),
        }
    }

    fn goodbye(&mut self, id: PeerId, finished: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.goodbye = Some(finished);
        }
        if id == self.program {
            self.shutting_down = true;
            self.over = self.peers.len() == 1;
        }
    }

    fn asked(&mut self, peer: PeerId, number: u64, mut request: Request) {
        if let Err(refusal) = self.confine_question(peer, &mut request) {
            self.answer(peer, number, Err(refusal));
            return;
        }
        let is_outside = self.peers.get(&peer).is_some_and(|peer| peer.is_outside);
        match request {
            Request::Spawn(_) if is_outside => {
                let reason = "a program from outside cannot start actors: their code is not in this system's executable";
                self.answer(peer, number, Err(Refusal::Spawn(SpawnError::Code(reason.into()))));
            }
            Request::StartGroup(_)
            | Request::StartChild { .. }
            | Request::StartInstance { .. }
            | Request::Administer { .. }
            | Request::FateLink { .. }
            | Request::FateUnlink { .. }
            | Request::OwnChild { .. }
                if is_outside =>
            {
                let error = Box::new(AdministrationError::NotAllowed);
                self.answer(peer, number, Err(Refusal::Administration(error)));
            }
            Request::Listen { .. } | Request::Shutdown if peer != self.program => {
                self.answer(peer, number, Err(Refusal::System(SystemError::NotAllowed)));
            }
            Request::Listen { name } => self.listen_as(peer, number, &name),
            Request::Spawn(request) => self.spawn(peer, number, *request),
            Request::Link { address } => self.grant(peer, number, address),
            Request::Monitor { address } => self.monitor(peer, number, address),
            Request::Demonitor { monitor } => {
                for child in self.actors.values_mut() {
                    child.monitors.remove(&(peer, monitor));
                }
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::Stop { address } => match self.to_be_ended(address) {
                Ok(actor) => {
                    self.ask_tree((peer, number), About::Stop, |ticket| Happened::Terminate(actor, ticket))
                }
                Err(refusal) => self.answer(peer, number, Err(refusal)),
            },
            Request::Kill { address } => match self.to_be_ended(address) {
                Ok(actor) => {
                    self.kill_for(actor, Exit::Killed);
                    self.answer(peer, number, Ok(Answer::Done));
                }
                Err(refusal) => self.answer(peer, number, Err(refusal)),
            },
            Request::Find { name, protocol } => {
                let found = self.find(name, protocol).map(Answer::Address).map_err(Refusal::System);
                self.answer(peer, number, found);
            }
            Request::WaitFor { name, protocol, wait } => self.wait_for(peer, number, name, protocol, wait),
            Request::StopWaiting { number: wait } => {
                self.stop_waiting(peer, wait);
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::Register { .. } | Request::Unregister { .. } if is_outside => {
                self.answer(peer, number, Err(Refusal::System(SystemError::NotAllowed)));
            }
            Request::Register { name, address } => {
                let result = self.register(peer, name, address);
                self.answer(peer, number, done(result));
            }
            Request::Unregister { name } => {
                let result = self.unregister(peer, name);
                self.answer(peer, number, done(result));
            }
            Request::Join { group } => {
                let result = self.join_group(peer, group);
                self.answer(peer, number, done(result));
            }
            Request::Leave { group } => {
                self.leave_group(peer, &group);
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::Watch { group, watch, protocol } => {
                let result = self.watch_group(peer, group, watch, protocol);
                self.answer(peer, number, done(result));
            }
            Request::Unwatch { watch } => {
                self.process_groups.unwatch(peer, watch);
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::Info { actor } => {
                let info = self.actors.get(&actor).map(|child| self.info(child));
                let unknown = Refusal::System(SystemError::Unreachable(Unreachable::NoSuchActor));
                self.answer(peer, number, info.map(|info| Answer::Info(Box::new(info))).ok_or(unknown));
            }
            Request::List => {
                let living = self
                    .actors
                    .values()
                    .filter(|child| !matches!(self.phase(child), Phase::Ended | Phase::Stopped));
                let list = living.map(|child| self.info(child)).collect();
                self.answer(peer, number, Ok(Answer::List(list)));
            }
            Request::Ledger { actor } => {
                let ledger = self.ledger(actor);
                self.answer(peer, number, Ok(Answer::Ledger(ledger)));
            }
            Request::Events => {
                if !self.listeners.contains(&peer) {
                    self.listeners.push(peer);
                }
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::EndEvents => {
                self.listeners.retain(|listener| *listener != peer);
                self.answer(peer, number, Ok(Answer::Done));
            }
            Request::Stack { actor } => self.ask_for_stack(peer, number, actor),
            Request::Recent => self.answer_recent(peer, number),
            Request::Inject(plan) => self.inject(peer, number, &plan),
            Request::Injections => self.answer_injections(peer, number),
            Request::Shutdown => self.shut_down(Some((peer, number))),
            Request::StartGroup(request) => self.start_group((peer, number), *request),
            Request::StartChild { group, child } => self.start_child((peer, number), &group, *child),
            Request::StartInstance { group, name, actor_type, protocol, arguments } => {
                let instance = Instance { name, actor_type, protocol, arguments };
                self.start_instance((peer, number), &group, instance);
            }
            Request::Administer { path, act } => self.administer((peer, number), path, act),
            Request::Tree { path } => {
                let tree = self.tree_at(path).map(Answer::Tree);
                self.answer(peer, number, tree.map_err(|e| Refusal::Administration(Box::new(e))));
            }
            Request::FateLink { address } => self.link(peer, number, address),
            Request::FateUnlink { address } => self.unlink(peer, number, address),
            Request::OwnChild { name, protocol } => {
                let found = self.own_child(peer, name, protocol).map(Answer::Address);
                self.answer(peer, number, found.map_err(Refusal::System));
            }
        }
    }

    fn spawn(&mut self, peer: PeerId, number: u64, request: SpawnRequest) {
        let parent = self.peers.get(&peer).map_or(ActorId::PROGRAM, |peer| peer.actor);
        if !self.shutting_down && !self.tree.takes_children(parent) {
            self.answer(peer, number, Err(Refusal::Spawn(SpawnError::Stopping)));
            return;
        }
        match self.admit(parent, None, request) {
            Ok(actor) => {
                let Some(plan) = self.plan_of(actor) else { return };
                self.ask_tree((peer, number), About::Spawn(actor), |ticket| Happened::Start {
                    parent,
                    plan,
                    ticket,
                });
            }
            Err(error) => self.answer(peer, number, Err(Refusal::Spawn(error))),
        }
    }

    /// The actor that an address leads to, if there is something to end.
    fn to_be_ended(&self, address: RawAddress) -> Result<ActorId, Refusal> {
        let refused = |reason| Refusal::System(SystemError::Unreachable(reason));
        match self.admits(address) {
            Ok(false) => Ok(address.actor),
            Ok(true) => Err(refused(Unreachable::Forged)),
            Err(reason) => Err(refused(reason)),
        }
    }

    pub(super) fn answer(&self, peer: PeerId, number: u64, answer: Result<Answer, Refusal>) {
        self.say(peer, &ToPeer::Answer { number, answer });
    }

    /// Every listener gets every event, in order, unless it is too slow: then it misses some.
    pub(super) fn tell_listeners(&mut self, event: &Event) {
        let at = clock::now();
        self.keep_event(at, event);
        for &listener in &self.listeners {
            if self.peers.get(&listener).is_some_and(|peer| peer.mouth.takes_events()) {
                self.say(listener, &ToPeer::Event { at, event: Box::new(event.clone()) });
            } else {
                tracing::warn!("an event was dropped: its listener is too slow");
            }
        }
        tracing::debug!(?event);
    }
}

fn done(result: Result<(), SystemError>) -> Result<Answer, Refusal> {
    result.map(|()| Answer::Done).map_err(Refusal::System)
}
