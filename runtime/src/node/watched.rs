//! The groups that this process watches, as the supervisor's pushes tell of them; pure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;
use crate::wire::ids::{Incarnation, RawAddress};

/// One incarnation of an actor, in a group.
pub(crate) type Member = (RawAddress, Incarnation);

/// One watched group.
#[derive(Default)]
pub(crate) struct Watched {
    state: Mutex<State>,
    /// Other members, or the end.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct State {
    /// In the order in which they joined.
    members: Arc<Vec<Member>>,
    over: bool,
}

impl Watched {
    /// The members, as far as the supervisor has told.
    pub(crate) fn members(&self) -> Arc<Vec<Member>> {
        Arc::clone(&lock(&self.state).members)
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.state).members.len()
    }

    /// Whether nothing more will be told.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).over
    }

    /// Takes in one push.
    pub(super) fn take_in(&self, member: Member, joined: bool) {
        let mut state = lock(&self.state);
        // Copied only while somebody looks at it.
        let members = Arc::make_mut(&mut state.members);
        members.retain(|other| *other != member);
        if joined {
            members.push(member);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Nothing more will be told.
    fn end(&self) {
        lock(&self.state).over = true;
        self.changed.notify_waiters();
    }
}

/// All of them, by the numbers under which they are watched.
#[derive(Default)]
pub(super) struct Watches {
    last: u64,
    watched: HashMap<u64, Arc<Watched>>,
    closed: bool,
}

impl Watches {
    /// A number that was not used before.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A place for what will be told under a number of its own.
    pub(super) fn add(&mut self) -> (u64, Arc<Watched>) {
        let (number, watched) = (self.number(), Arc::<Watched>::default());
        if self.closed {
            watched.end();
        } else {
            self.watched.insert(number, Arc::clone(&watched));
        }
        (number, watched)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Watched>> {
        self.watched.get(&number).cloned()
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.watched.remove(&number);
    }

    /// The supervisor is gone.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.watched.drain().for_each(|(_, watched)| watched.end());
    }
}
