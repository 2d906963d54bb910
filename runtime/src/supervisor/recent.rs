//! What happened last, for the failure output of tests. Only a test's supervisor keeps it.

use std::collections::VecDeque;

use super::Supervisor;
use super::peer::{Peer, PeerId};
use crate::clock;
use crate::event::Event;
use crate::recent::{Activity, HandledMessage, Outcome, Recent};
use crate::wire::control::Answer;
use crate::wire::ids::ActorId;

/// Events that are kept: what somebody reads who looks for what went wrong at the end.
const EVENTS: usize = 100;
/// Messages that are told of each process: among those of others, the last steps of each.
const OF_EACH: usize = 12;
/// Messages of processes that have ended.
const OF_THE_DEAD: usize = 200;
/// Most messages in an answer, the last of all.
const MESSAGES: usize = 400;

/// What has been kept.
pub(super) struct Kept {
    events: VecDeque<(u64, Event)>,
    /// Of processes that have ended.
    messages: VecDeque<HandledMessage>,
}

impl Kept {
    /// `None` where nothing is to be kept.
    pub(super) fn begin(keeps: bool) -> Option<Kept> {
        keeps.then(|| Kept { events: VecDeque::new(), messages: VecDeque::new() })
    }
}

impl Supervisor {
    pub(super) fn keep_event(&mut self, at: u64, event: &Event) {
        if let Some(kept) = &mut self.kept {
            kept.events.push_back((at, event.clone()));
            if kept.events.len() > EVENTS {
                kept.events.pop_front();
            }
        }
    }

    /// A process has ended: its page is about to be forgotten.
    pub(super) fn keep_messages_of(&mut self, peer: PeerId) {
        if self.kept.is_none() {
            return;
        }
        let mut messages = self.peers.get(&peer).map(|peer| self.messages_of(peer)).unwrap_or_default();
        for message in messages.iter_mut().filter(|message| message.outcome == Outcome::InHand) {
            message.outcome = Outcome::Died;
        }
        if let Some(kept) = &mut self.kept {
            kept.messages.extend(messages);
            let too_many = kept.messages.len().saturating_sub(OF_THE_DEAD);
            kept.messages.drain(..too_many);
        }
    }

    /// What its flight recorder says of its last messages.
    fn messages_of(&self, peer: &Peer) -> Vec<HandledMessage> {
        let receiver = self.name_of(peer.actor);
        let child = self.actors.get(&peer.actor);
        let noted = peer.page.noted_last(OF_EACH).into_iter();
        noted
            .map(|noted| HandledMessage {
                at: noted.began,
                receiver: receiver.clone(),
                incarnation: peer.incarnation,
                sender: self.name_of(noted.sender),
                sequence: noted.sequence,
                message: child.map(|child| child.message_name(noted.key)).unwrap_or_default(),
                outcome: match noted.ended {
                    _ if noted.refused => Outcome::Refused,
                    Some(ended) => Outcome::Handled(ended.saturating_sub(noted.began)),
                    None => Outcome::InHand,
                },
            })
            .collect()
    }

    pub(super) fn answer_recent(&self, asker: PeerId, number: u64) {
        let mut recent = Recent { now: clock::now(), ..Recent::default() };
        if let Some(kept) = &self.kept {
            recent.events = kept.events.iter().cloned().collect();
            recent.messages = kept.messages.iter().cloned().collect();
        }
        for (id, peer) in self.peers.iter().filter(|(_, peer)| peer.is_child()) {
            recent.messages.extend(self.messages_of(peer));
            recent.actors.push(Activity {
                actor: peer.actor,
                parked: peer.page.is_parked(),
                in_hand: self.in_hand_of(*id),
                waiting: self.waiting_for(peer.actor),
            });
        }
        recent.messages.sort_by_key(|message| message.at);
        let too_many = recent.messages.len().saturating_sub(MESSAGES);
        recent.messages.drain(..too_many);
        recent.actors.sort_by_key(|activity| activity.actor);
        self.answer(asker, number, Ok(Answer::Recent(Box::new(recent))));
    }

    /// Who has sent an actor how many messages that are not settled.
    fn waiting_for(&self, actor: ActorId) -> Vec<(String, u64)> {
        let links = self.links.values().filter(|link| link.receiver_actor == actor);
        let waiting = links.filter_map(|link| {
            let waiting = u64::try_from(link.ledger().waiting()).ok().filter(|waiting| *waiting > 0)?;
            Some((link.sender_name.clone(), waiting))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        waiting
    }
}
