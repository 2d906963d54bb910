//! Who of a group gets a message that is for one of them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::Members;
use crate::actor::Actor;
use crate::clock;
use crate::error::Unreachable;
use crate::message::Message;
use crate::node::outgoing::{Offer, OutLink};
use crate::wire::codec::EncodeError;

/// Why no member has accepted.
pub(super) enum NotTaken {
    Empty,
    Full,
    Deadline,
    Unreachable(Unreachable),
    Encode(EncodeError),
}

impl<A: Actor> Members<A> {
    /// Offers a message to one member after another, beginning with the one whose turn it is, until one takes it; if all
    /// are full, waits until one has room.
    pub(super) async fn give<M: Message, T>(
        &self,
        message: M,
        deadline: u64,
        offer: impl Fn(&OutLink, &M) -> Offer<T>,
    ) -> Result<T, (M, NotTaken)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut end = pin!(tokio::time::sleep_until(clock::instant(deadline).into()));
        let mut links: Vec<Arc<OutLink>> = Vec::new();
        loop {
            // Listening comes before looking, so that no room is missed.
            let mut joined = pin!(self.watched.changed.notified());
            joined.as_mut().enable();
            let mut room: Vec<_> = links.iter().map(|link| Box::pin(link.changed.notified())).collect();
            room.iter_mut().for_each(|room| _ = room.as_mut().enable());
            let full = match self.offer_in_turn(turn, &links, |link| offer(link, &message)) {
                Offered::Taken(taken) => return Ok(taken),
                Offered::Refused(reason) => return Err((message, reason)),
                Offered::Full(full) => full,
            };
            if full.iter().any(|link| !links.iter().any(|other| Arc::ptr_eq(other, link))) {
                drop(room);
                links = full;
                continue;
            }
            let any_room = poll_fn(|task| {
                let ready = room.iter_mut().any(|room| room.as_mut().poll(task).is_ready());
                if ready { Poll::Ready(()) } else { Poll::Pending }
            });
            tokio::select! {
                () = any_room => {}
                () = joined => {}
                () = &mut end => return Err((message, NotTaken::Deadline)),
            }
        }
    }

    /// One round. Of the links in `waited_for` it is to be known what became of them: one that came to nothing is
    /// forgotten by its node, and would be asked for again and again.
    fn offer_in_turn<T>(
        &self,
        turn: usize,
        waited_for: &[Arc<OutLink>],
        offer: impl Fn(&OutLink) -> Offer<T>,
    ) -> Offered<T> {
        let members = self.watched.members();
        let first = turn.checked_rem(members.len()).unwrap_or(0);
        let mut full = Vec::new();
        let mut reason = NotTaken::Empty;
        for (raw, _) in members[first..].iter().chain(&members[..first]) {
            let known = waited_for.iter().find(|link| link.receiver == *raw).map(Arc::clone);
            let link = match known.map_or_else(|| self.node.link_to(*raw), Ok) {
                Ok(link) => link,
                Err(unreachable) => {
                    reason = NotTaken::Unreachable(unreachable);
                    continue;
                }
            };
            match offer(&link) {
                Offer::Accepted(taken) => return Offered::Taken(taken),
                // Only this process could make room, and it is waiting here.
                Offer::Full if link.to_self => reason = NotTaken::Full,
                Offer::Full => full.push(link),
                // The supervisor's answer is on its way. Passing this one over would spoil the turns.
                Offer::NotYet => {
                    full.push(link);
                    break;
                }
                // It has ended, and the word that it left is on its way.
                Offer::Gone(Unreachable::Ended(_) | Unreachable::GivenUp(_)) => {}
                Offer::Gone(unreachable) => reason = NotTaken::Unreachable(unreachable),
                Offer::Encode(error) => return Offered::Refused(NotTaken::Encode(error)),
            }
        }
        if full.is_empty() { Offered::Refused(reason) } else { Offered::Full(full) }
    }
}

/// What became of one round of offers.
enum Offered<T> {
    /// A member has accepted.
    Taken(T),
    /// No one will.
    Refused(NotTaken),
    /// These may have room later.
    Full(Vec<Arc<OutLink>>),
}
