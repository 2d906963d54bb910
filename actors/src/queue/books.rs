//! What is in a queue, what is out, and what has become of the rest. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use watertight::Encoded;
use watertight::prelude::*;

use crate::waiting::Who;

/// Deaths of consumers after which an item is abandoned: as many as a message may cause before it is quarantined.
const MOST_DEATHS: u8 = 3;

/// What has become of everything that was put in one life of a queue: `put` is the sum of `waiting`, `out`, `finished`,
/// `lost` and `abandoned`.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Which life of the queue this is about: 1 for the first. What was put in earlier ones is gone.
    pub life: u32,
    /// Items accepted.
    pub put: u64,
    /// Items in the queue.
    pub waiting: u64,
    /// Items got or leased, and neither done nor back.
    pub out: u64,
    /// Items done: by `task_done`, or a lease's `done`.
    pub finished: u64,
    /// Items that were got by a process that ended before it said `task_done`. It may have done them.
    pub lost: u64,
    /// Items that killed three consumers that had leased them.
    pub abandoned: u64,
    /// How often an item went back to the queue.
    pub returned: u64,
}

pub(super) struct Books {
    capacity: usize,
    items: VecDeque<Item>,
    last_place: u64,
    /// Room that was granted and is not filled yet.
    reserved: BTreeSet<Who>,
    /// Granted, and not known to have been received; or leased.
    out: BTreeMap<Who, Out>,
    /// Received and not done, by process.
    received: BTreeMap<u64, u64>,
    account: Account,
}

struct Item {
    /// In the order of puts; what comes back stands where it stood.
    place: u64,
    value: Encoded,
    deaths: u8,
}

struct Out {
    item: Item,
    is_lease: bool,
}

impl Books {
    pub(super) fn new(capacity: u32, life: u32) -> Self {
        Books {
            capacity: capacity as usize,
            items: VecDeque::new(),
            last_place: 0,
            reserved: BTreeSet::new(),
            out: BTreeMap::new(),
            received: BTreeMap::new(),
            account: Account { life, ..Account::default() },
        }
    }

    /// What came back may exceed the capacity for a while.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() + self.reserved.len() < self.capacity
    }

    pub(super) fn reserve(&mut self, who: Who) {
        self.reserved.insert(who);
    }

    /// Whether it had such a reservation, which it has no more.
    pub(super) fn use_reservation(&mut self, who: Who) -> bool {
        self.reserved.remove(&who)
    }

    pub(super) fn put(&mut self, value: Encoded) {
        self.last_place += 1;
        self.account.put += 1;
        self.items.push_back(Item { place: self.last_place, value, deaths: 0 });
    }

    pub(super) fn has_items(&self) -> bool {
        !self.items.is_empty()
    }

    /// Whether there is nothing, and nothing will come but by a new put.
    pub(super) fn is_drained(&self) -> bool {
        self.items.is_empty() && self.out.is_empty() && self.reserved.is_empty()
    }

    /// The first item, and how many deaths it has seen.
    pub(super) fn take(&mut self, who: Who, is_lease: bool) -> Option<(Encoded, u8)> {
        let item = self.items.pop_front()?;
        let taken = (item.value.clone(), item.deaths);
        self.out.insert(who, Out { item, is_lease });
        Some(taken)
    }

    /// The consumer has it; from here on it is not kept.
    pub(super) fn received(&mut self, who: Who) {
        if let Some(Out { is_lease: false, .. }) = self.out.get(&who) {
            self.out.remove(&who);
            *self.received.entry(who.client).or_default() += 1;
        }
    }

    /// A process is done with one item that it has received.
    pub(super) fn task_done(&mut self, client: u64) -> bool {
        let Some(count) = self.received.get_mut(&client) else { return false };
        *count -= 1;
        if *count == 0 {
            self.received.remove(&client);
        }
        self.account.finished += 1;
        true
    }

    /// A leased item is done.
    pub(super) fn done(&mut self, who: Who) -> bool {
        let is_leased = self.out.get(&who).is_some_and(|out| out.is_lease);
        if is_leased {
            self.out.remove(&who);
            self.account.finished += 1;
        }
        is_leased
    }

    /// The asker does not have it, or does not want it: what was granted goes back.
    pub(super) fn cancel(&mut self, who: Who) {
        self.reserved.remove(&who);
        if let Some(out) = self.out.remove(&who) {
            self.give_back(out.item);
        }
    }

    /// A process has ended.
    pub(super) fn end(&mut self, client: u64) {
        self.reserved.retain(|who| who.client != client);
        self.account.lost += self.received.remove(&client).unwrap_or(0);
        let had: Vec<Who> = self.out.keys().filter(|who| who.client == client).copied().collect();
        for who in had {
            match self.out.remove(&who) {
                Some(Out { mut item, is_lease: true }) => {
                    item.deaths += 1;
                    if item.deaths < MOST_DEATHS {
                        self.give_back(item);
                    } else {
                        self.account.abandoned += 1;
                    }
                }
                // It may have had it in its hands, or not: nobody knows, and it is not to be had twice.
                Some(Out { is_lease: false, .. }) => self.account.lost += 1,
                None => {}
            }
        }
    }

    fn give_back(&mut self, item: Item) {
        self.account.returned += 1;
        let behind = self.items.partition_point(|other| other.place < item.place);
        self.items.insert(behind, item);
    }

    /// Whether everything that was put is over.
    pub(super) fn is_finished(&self) -> bool {
        self.items.is_empty() && self.out.is_empty() && self.received.is_empty()
    }

    pub(super) fn account(&self) -> Account {
        let out = self.out.len() as u64 + self.received.values().sum::<u64>();
        Account { waiting: self.items.len() as u64, out, ..self.account }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(client: u64, request: u64) -> Who {
        Who { client, request }
    }

    fn with(items: u8) -> Books {
        let mut books = Books::new(10, 1);
        (0..items).for_each(|n| Encoded::of(&n).into_iter().for_each(|value| books.put(value)));
        books
    }

    fn number(taken: Option<(Encoded, u8)>) -> u8 {
        taken.and_then(|(value, _)| value.read().ok()).unwrap_or(u8::MAX)
    }

    fn adds_up(books: &Books) -> Account {
        let a = books.account();
        assert_eq!(a.put, a.waiting + a.out + a.finished + a.lost + a.abandoned, "{a:?}");
        a
    }

    #[test]
    fn what_comes_back_stands_where_it_stood() {
        let mut books = with(4);
        for request in 0..3 {
            books.take(who(1, request), request != 0);
        }
        books.cancel(who(1, 1));
        books.cancel(who(1, 0));
        books.end(1);
        let order: Vec<u8> = (0..4).map(|request| number(books.take(who(2, request), false))).collect();
        assert_eq!(order, [0, 1, 2, 3]);
        assert_eq!(adds_up(&books).returned, 3);
    }

    #[test]
    fn a_death_loses_what_was_got_and_gives_back_what_was_leased() {
        let mut books = with(4);
        books.take(who(1, 0), false);
        books.received(who(1, 0));
        books.take(who(1, 1), false);
        books.take(who(1, 2), true);
        books.end(1);
        let account = adds_up(&books);
        assert_eq!((account.lost, account.waiting, account.out), (2, 2, 0));
        assert_eq!(number(books.take(who(2, 0), true)), 2);
    }

    #[test]
    fn an_item_that_kills_three_is_abandoned() {
        let mut books = with(1);
        for client in 0..3 {
            assert_eq!(books.take(who(client, 0), true).map(|(_, deaths)| u64::from(deaths)), Some(client));
            books.end(client);
        }
        assert_eq!(adds_up(&books).abandoned, 1);
        assert!(books.is_finished());
    }

    #[test]
    fn each_item_is_finished_once_and_by_who_has_it() {
        let mut books = with(2);
        books.take(who(1, 0), false);
        assert!(!books.task_done(1), "it is not known to have received it");
        books.received(who(1, 0));
        books.received(who(1, 0));
        assert!(!books.task_done(2));
        assert!(books.task_done(1) && !books.task_done(1));
        books.take(who(1, 1), true);
        books.received(who(1, 1));
        assert!(!books.task_done(1), "a lease is done by its own word");
        assert!(!books.done(who(2, 1)) && books.done(who(1, 1)) && !books.done(who(1, 1)));
        books.cancel(who(1, 1));
        assert_eq!(adds_up(&books).finished, 2);
        assert!(books.is_finished());
    }

    #[test]
    fn room_that_is_reserved_is_not_given_twice_and_comes_back() {
        let mut books = Books::new(1, 1);
        books.reserve(who(1, 0));
        assert!(!books.has_room());
        books.end(1);
        assert!(books.has_room());
        books.reserve(who(2, 0));
        books.cancel(who(2, 0));
        assert!(books.has_room() && !books.use_reservation(who(2, 0)));
    }
}
