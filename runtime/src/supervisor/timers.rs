//! What is due when; pure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use crate::wire::ids::ActorId;

/// What may be due for an actor. At most one thing is at a time: a new one replaces the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Its next incarnation is to be started.
    Restart,
    /// Its `start` should have returned.
    StartDeadline,
    /// It should have stopped.
    StopDeadline,
}

/// One timer an actor. A replaced one stays in the heap until its time and is then passed over.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ActorId, u64, Due)>>,
    current: HashMap<ActorId, u64>,
    last: u64,
}

impl Timers {
    /// Sets the actor's timer.
    pub(super) fn set(&mut self, actor: ActorId, at: Instant, due: Due) {
        self.last += 1;
        self.current.insert(actor, self.last);
        self.heap.push(Reverse((at, actor, self.last, due)));
        // Most timers are taken away long before their time; then these are more than those that count.
        if self.heap.len() > 2 * self.current.len() + FEW {
            self.heap.retain(|Reverse((_, actor, number, _))| self.current.get(actor) == Some(number));
        }
    }

    /// Takes the actor's timer away.
    pub(super) fn clear(&mut self, actor: ActorId) {
        self.current.remove(&actor);
    }

    /// Whether nothing will ever be due.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// When something is due next.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, actor, number, _))) = self.heap.peek() {
            if self.current.get(actor) == Some(number) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes one thing that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(ActorId, Due)> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, actor, _, due)) = self.heap.pop()?;
        self.current.remove(&actor);
        Some((actor, due))
    }
}

/// So many passed-over timers are not worth a walk.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_that_never_come_are_not_kept_for_ever() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        for _ in 0..10_000 {
            timers.set(ActorId(1), start + Duration::from_secs(1_000_000), Due::StartDeadline);
            timers.clear(ActorId(1));
        }
        assert!(timers.heap.len() <= FEW + 2);
    }

    #[test]
    fn timers_come_in_order_and_a_replaced_or_cleared_one_never_comes() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        timers.set(ActorId(1), at(1), Due::StartDeadline);
        timers.set(ActorId(2), at(2), Due::StartDeadline);
        timers.set(ActorId(3), at(3), Due::Restart);
        timers.set(ActorId(1), at(9), Due::StopDeadline);
        timers.clear(ActorId(2));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.pop(at(2)), None);
        assert_eq!(timers.pop(at(9)), Some((ActorId(3), Due::Restart)));
        assert_eq!(timers.pop(at(9)), Some((ActorId(1), Due::StopDeadline)));
        assert_eq!(timers.next(), None);
    }
}
