//! So many permits, given in the order in which they were asked for; what a lock, a semaphore and a condition are made
//! of. Pure: no messages, no clock.

use std::collections::BTreeMap;
use std::time::Instant;

use watertight::{Incarnation, Result};

use crate::waiting::{Line, Waiter, Who};

/// Tokens of one life of a keeper, before those of its next: at a million grants a second it takes twelve days.
const TOKENS_OF_A_LIFE: u32 = 40;

pub(crate) struct Permits<R> {
    free: u32,
    held: BTreeMap<u64, Held>,
    line: Line<Wants<R>>,
    last_token: u64,
}

struct Held {
    who: Who,
    count: u32,
}

struct Wants<R> {
    count: u32,
    reply: R,
}

/// Something was granted, and is to be told.
pub(crate) struct Granted<R> {
    pub(crate) token: u64,
    pub(crate) reply: R,
}

impl<R> Permits<R> {
    /// All of them free. Tokens rise with every grant, and from one life of the keeper to the next.
    pub(crate) fn new(count: u32, life: Incarnation) -> Self {
        let last_token = u64::from(life.0) << TOKENS_OF_A_LIFE;
        Permits { free: count, held: BTreeMap::new(), line: Line::new(), last_token }
    }

    /// Whether one more may join the line.
    ///
    /// # Errors
    /// When as many wait as may.
    pub(crate) fn admit(&self) -> Result<()> {
        self.line.admit()
    }

    /// Joins the line; whoever is first and can be served is named by [`grant`](Self::grant).
    pub(crate) fn acquire(&mut self, who: Who, count: u32, deadline: Option<Instant>, reply: R) {
        self.line.join(Waiter { who, deadline, wants: Wants { count, reply } });
    }

    /// Takes them only if nobody has to wait for it.
    pub(crate) fn try_acquire(&mut self, who: Who, count: u32, now: Instant) -> Option<u64> {
        (self.line.front(now).is_none() && self.free >= count).then(|| self.hold(who, count))
    }

    /// Serves those who are first in line, as far as there are permits. One who wants many is not overtaken.
    pub(crate) fn grant(&mut self, now: Instant) -> Vec<Granted<R>> {
        let mut granted = Vec::new();
        while self.line.front(now).is_some_and(|first| first.wants.count <= self.free) {
            let Some(Waiter { who, wants, .. }) = self.line.next(now) else { break };
            granted.push(Granted { token: self.hold(who, wants.count), reply: wants.reply });
        }
        granted
    }

    fn hold(&mut self, who: Who, count: u32) -> u64 {
        self.free -= count;
        self.last_token += 1;
        self.held.insert(self.last_token, Held { who, count });
        self.last_token
    }

    /// Whether this process still holds what this token stands for.
    pub(crate) fn is_held(&self, client: u64, token: u64) -> bool {
        self.held.get(&token).is_some_and(|held| held.who.client == client)
    }

    /// Gives it back; `false` if this process does not hold it, or no longer.
    pub(crate) fn release(&mut self, client: u64, token: u64) -> bool {
        self.is_held(client, token) && self.revoke(token)
    }

    /// Takes it back, whoever holds it.
    pub(crate) fn revoke(&mut self, token: u64) -> bool {
        let Some(held) = self.held.remove(&token) else { return false };
        self.free += held.count;
        true
    }

    /// The asker does not have it, and will not: out of the line, or what it was granted is taken back.
    pub(crate) fn cancel(&mut self, who: Who) {
        if self.line.leave(who).is_none() {
            let token = self.held.iter().find(|(_, held)| held.who == who).map(|(token, _)| *token);
            token.map(|token| self.revoke(token));
        }
    }

    /// A process has ended: nothing is held by it, and nothing waits for it. The requests that had waited.
    pub(crate) fn end(&mut self, client: u64) -> Vec<Who> {
        let held: Vec<u64> =
            self.held.iter().filter(|(_, held)| held.who.client == client).map(|(token, _)| *token).collect();
        for token in held {
            self.revoke(token);
        }
        self.line.leave_all(client).into_iter().map(|waiter| waiter.who).collect()
    }

    /// How many are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.line.len() as u64
    }

    /// Whose request was given this token, if it is held.
    pub(crate) fn holder(&self, token: u64) -> Option<Who> {
        self.held.get(&token).map(|held| held.who)
    }

    /// Whether anybody holds what this token stands for.
    pub(crate) fn has(&self, token: u64) -> bool {
        self.held.contains_key(&token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn who(client: u64, request: u64) -> Who {
        Who { client, request }
    }

    fn permits(count: u32) -> (Permits<u64>, Instant) {
        (Permits::new(count, Incarnation(1)), Instant::now())
    }

    /// How many are free, how many grants are held, how many wait.
    fn counts(permits: &Permits<u64>) -> (u32, usize, usize) {
        (permits.free, permits.held.len(), permits.line.len())
    }

    /// Replies carry the number of the request.
    fn granted(permits: &mut Permits<u64>, now: Instant) -> Vec<u64> {
        permits.grant(now).into_iter().map(|granted| granted.reply).collect()
    }

    #[test]
    fn they_are_granted_in_the_order_in_which_they_were_asked_for() {
        let (mut permits, now) = permits(3);
        for (request, count) in [(1, 2), (2, 2), (3, 1)] {
            permits.acquire(who(1, request), count, None, request);
        }
        assert_eq!(granted(&mut permits, now), [1], "the third would fit, and waits its turn");
        permits.cancel(who(1, 1));
        assert_eq!(granted(&mut permits, now), [2, 3]);
    }

    #[test]
    fn an_expired_waiter_is_passed_over_and_its_cancel_changes_nothing() {
        let (mut permits, now) = permits(1);
        permits.acquire(who(1, 1), 1, None, 1);
        assert_eq!(granted(&mut permits, now), [1]);
        permits.acquire(who(2, 1), 1, Some(now), 2);
        permits.acquire(who(3, 1), 1, Some(now + Duration::from_secs(1)), 3);
        permits.cancel(who(1, 1));
        assert_eq!(granted(&mut permits, now), [3]);
        permits.cancel(who(2, 1));
        assert_eq!(counts(&permits), (0, 1, 0));
    }

    #[test]
    fn what_was_granted_to_an_asker_that_had_gone_is_taken_back_once() {
        let (mut permits, now) = permits(1);
        permits.acquire(who(1, 1), 1, None, 1);
        assert_eq!(granted(&mut permits, now), [1]);
        permits.cancel(who(1, 1));
        permits.cancel(who(1, 1));
        assert_eq!(counts(&permits), (1, 0, 0));
    }

    #[test]
    fn only_its_holder_releases_a_token_and_only_once() {
        let (mut permits, now) = permits(1);
        let Some(token) = permits.try_acquire(who(1, 1), 1, now) else { panic!("it was free") };
        assert!(permits.has(token));
        assert!(!permits.release(2, token));
        assert!(permits.release(1, token));
        assert!(!permits.release(1, token));
        assert_eq!(permits.free(), 1);
    }

    #[test]
    fn the_end_of_a_process_frees_all_that_it_held_and_asked_for() {
        let (mut permits, now) = permits(2);
        assert!(permits.try_acquire(who(1, 1), 1, now).is_some());
        assert!(permits.try_acquire(who(1, 2), 1, now).is_some());
        permits.acquire(who(1, 3), 1, None, 3);
        permits.acquire(who(2, 4), 2, None, 4);
        assert_eq!(permits.end(1), [who(1, 3)]);
        assert_eq!(granted(&mut permits, now), [4]);
        assert_eq!(counts(&permits), (0, 1, 0));
    }

    #[test]
    fn tokens_rise_within_a_life_and_from_one_to_the_next() {
        let (mut first, now) = permits(2);
        let tokens = [first.try_acquire(who(1, 1), 1, now), first.try_acquire(who(1, 2), 1, now)];
        assert!(tokens[0] < tokens[1]);
        let mut second = Permits::<u64>::new(1, Incarnation(2));
        assert!(tokens[1] < second.try_acquire(who(1, 3), 1, now));
    }
}
