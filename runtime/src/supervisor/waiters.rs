//! Who waits for a name, and until when; pure.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::peer::PeerId;

/// Most waits for names at once, of the whole system: an entry is a few hundred bytes, so all of them are some
/// megabytes.
pub(super) const WAITS: usize = 16_384;
/// Most waits of one process, so that one that has run wild leaves room for the others. A handler waits for one name
/// at a time.
pub(super) const WAITS_OF_ONE: usize = 1024;

/// One who waits: the question, to be answered with an address of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) peer: PeerId,
    pub(super) number: u64,
    pub(super) protocol: u64,
    /// How long it was willing to wait.
    pub(super) wait: Duration,
}

type Key = (Instant, u64);

/// All who wait. An entry is taken out exactly once: its name is there, its time is up, or its process gave up.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_deadline: BTreeMap<Key, (String, Waiter)>,
    by_name: HashMap<String, Vec<Key>>,
    of_peer: HashMap<PeerId, usize>,
    last: u64,
}

/// Nobody more may wait; how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) usize);

impl Waiters {
    /// Waits for `name` until `deadline`.
    pub(super) fn add(&mut self, name: &str, waiter: Waiter, deadline: Instant) -> Result<(), TooMany> {
        if self.by_deadline.len() >= WAITS {
            return Err(TooMany(WAITS));
        }
        let of_one = self.of_peer.entry(waiter.peer).or_default();
        if *of_one >= WAITS_OF_ONE {
            return Err(TooMany(WAITS_OF_ONE));
        }
        *of_one += 1;
        self.last += 1;
        let key = (deadline, self.last);
        self.by_deadline.insert(key, (name.to_owned(), waiter));
        self.by_name.entry(name.to_owned()).or_default().push(key);
        Ok(())
    }

    /// The name is there: takes all who wait for it, in the order in which they came.
    pub(super) fn take(&mut self, name: &str) -> Vec<Waiter> {
        let keys = self.by_name.get(name).cloned().unwrap_or_default();
        keys.into_iter().filter_map(|key| self.remove(key)).map(|(_, waiter)| waiter).collect()
    }

    /// When the next time is up.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_deadline.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Takes one whose time is up at `now`, and the name that did not come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(String, Waiter)> {
        let key = *self.by_deadline.keys().next().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(key)
    }

    /// Takes one that is not waited for any more.
    pub(super) fn cancel(&mut self, peer: PeerId, number: u64) -> Option<(String, Waiter)> {
        let mut all = self.by_deadline.iter();
        let key = *all.find(|(_, (_, w))| w.peer == peer && w.number == number)?.0;
        self.remove(key)
    }

    /// A process has gone: nobody waits there any more.
    pub(super) fn forget(&mut self, peer: PeerId) {
        if !self.of_peer.contains_key(&peer) {
            return;
        }
        let all = self.by_deadline.iter();
        let keys: Vec<Key> = all.filter(|(_, (_, w))| w.peer == peer).map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// Takes all of them.
    pub(super) fn take_all(&mut self) -> Vec<Waiter> {
        let all = std::mem::take(self);
        all.by_deadline.into_values().map(|(_, waiter)| waiter).collect()
    }

    fn remove(&mut self, key: Key) -> Option<(String, Waiter)> {
        let (name, waiter) = self.by_deadline.remove(&key)?;
        if let Some(keys) = self.by_name.get_mut(&name) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_name.remove(&name);
            }
        }
        if let Some(count) = self.of_peer.get_mut(&waiter.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&waiter.peer);
            }
        }
        Some((name, waiter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(peer: u64, number: u64) -> Waiter {
        Waiter { peer: PeerId(peer), number, protocol: 0, wait: Duration::from_secs(number) }
    }

    fn is_empty(waiters: &Waiters) -> bool {
        waiters.by_deadline.is_empty() && waiters.by_name.is_empty() && waiters.of_peer.is_empty()
    }

    #[test]
    fn whoever_waits_is_taken_out_once_by_its_name_or_at_its_time() {
        let (mut waiters, start) = (Waiters::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (name, number, second) in [("a", 1, 5), ("b", 2, 3), ("a", 3, 4), ("b", 4, 3)] {
            waiters.add(name, waiter(number, number), at(second)).unwrap();
        }
        assert_eq!(waiters.next(), Some(at(3)));
        assert_eq!(waiters.pop(at(2)), None);
        assert_eq!(waiters.take("nobody waits for this"), []);
        assert_eq!(waiters.take("a"), [waiter(1, 1), waiter(3, 3)]);
        assert_eq!(waiters.take("a"), []);
        assert_eq!(waiters.pop(at(3)), Some(("b".into(), waiter(2, 2))));
        assert_eq!(waiters.pop(at(3)), Some(("b".into(), waiter(4, 4))));
        assert_eq!((waiters.pop(at(99)), waiters.next()), (None, None));
        assert!(is_empty(&waiters), "{waiters:?}");
    }

    #[test]
    fn a_process_that_gave_up_or_is_gone_waits_no_longer() {
        let (mut waiters, now) = (Waiters::default(), Instant::now());
        for (peer, number) in [(1, 1), (1, 2), (2, 1)] {
            waiters.add("a", waiter(peer, number), now).unwrap();
        }
        assert_eq!(waiters.cancel(PeerId(1), 2), Some(("a".into(), waiter(1, 2))));
        assert_eq!(waiters.cancel(PeerId(1), 2), None);
        waiters.forget(PeerId(1));
        waiters.forget(PeerId(7));
        assert_eq!(waiters.take("a"), [waiter(2, 1)]);
        waiters.add("a", waiter(2, 3), now).unwrap();
        assert_eq!(waiters.take_all(), [waiter(2, 3)]);
        assert!(is_empty(&waiters), "{waiters:?}");
    }

    #[test]
    fn no_more_may_wait_than_there_is_room_for() {
        let (mut waiters, now) = (Waiters::default(), Instant::now());
        for number in 0..WAITS_OF_ONE as u64 {
            waiters.add("a", waiter(1, number), now).unwrap();
        }
        assert_eq!(waiters.add("a", waiter(1, 0), now), Err(TooMany(WAITS_OF_ONE)));
        for peer in 2..=(WAITS / WAITS_OF_ONE) as u64 {
            for number in 0..WAITS_OF_ONE as u64 {
                waiters.add("b", waiter(peer, number), now).unwrap();
            }
        }
        assert_eq!(waiters.add("a", waiter(99, 0), now), Err(TooMany(WAITS)));
        // A refused one leaves nothing behind, and whoever leaves makes room.
        waiters.forget(PeerId(1));
        assert_eq!(waiters.add("a", waiter(99, 0), now), Ok(()));
    }
}
