//! A counter between processes: a number that many add to. Python's `Value('q')` with its lock.
//!
//! # Promise
//! - Every operation is whole: no addition is lost between two others.
//! - Nobody holds it, so no death of a user changes it; what it had added stays.
//! - What survives a restart of the counter's own process: the number it was started with. What does not: everything
//!   added since. An addition that was in hand at the crash ends with `Died`.

use watertight::SpawnError;
use watertight::prelude::*;

use crate::handle::{Home, SharedError, places};

/// A handle to a counter; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::counter::Counter;
///
/// # async fn f(sys: System) -> Result<()> {
/// let sold = Counter::start(&sys, 0).await?;
/// assert_eq!(sold.add(3).await?, 3);
/// assert_eq!(sold.get().await?, 3);
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    keeper: Address<Keeper>,
}

places!(Counter, Keeper);

impl Counter {
    /// Starts a counter at `first`.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home, first: i64) -> Result<Counter, SpawnError> {
        Counter::start_with(home, Counter::spec(first)).await
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(first: i64) -> Spec<Keeper> {
        Spec::new(first)
    }

    /// The number.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn get(&self) -> Result<i64, SharedError> {
        Ok(self.keeper.ask(messages::Get).await?)
    }

    /// Adds, and returns the sum. What would not fit 64 bits is refused, and changes nothing.
    ///
    /// # Errors
    /// [`SharedError`]; [`SharedError::Ask`] with the refusal.
    pub async fn add(&self, by: i64) -> Result<i64, SharedError> {
        Ok(self.keeper.ask(messages::Add { by }).await?)
    }

    /// Makes it `new`, and returns what it was.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn set(&self, new: i64) -> Result<i64, SharedError> {
        Ok(self.keeper.ask(messages::Set { new }).await?)
    }

    /// Makes it `new` if it is `expected`; else returns what it is, as the error within.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn compare_and_set(&self, expected: i64, new: i64) -> Result<Result<(), i64>, SharedError> {
        let found = self.keeper.ask(messages::CompareAndSet { expected, new }).await?;
        Ok(if found == expected { Ok(()) } else { Err(found) })
    }
}

mod messages {
    use watertight::prelude::*;

    #[message(reply = i64, idempotent)]
    pub struct Get;

    #[message(reply = i64)]
    pub struct Add {
        pub(super) by: i64,
    }

    #[message(reply = i64)]
    pub struct Set {
        pub(super) new: i64,
    }

    /// What was found.
    #[message(reply = i64)]
    pub struct CompareAndSet {
        pub(super) expected: i64,
        pub(super) new: i64,
    }
}

/// The actor behind a counter.
pub struct Keeper(i64);

impl Actor for Keeper {
    type Args = i64;
    type Messages = (messages::Get, messages::Add, messages::Set, messages::CompareAndSet);

    async fn start(first: i64, _: &mut Context<Self>) -> Result<Self> {
        Ok(Keeper(first))
    }
}

impl Handler<messages::Get> for Keeper {
    async fn handle(&mut self, _: messages::Get, _: &mut Context<Self>) -> Result<i64> {
        Ok(self.0)
    }
}

impl Handler<messages::Add> for Keeper {
    async fn handle(&mut self, messages::Add { by }: messages::Add, _: &mut Context<Self>) -> Result<i64> {
        let sum = self.0.checked_add(by);
        self.0 = sum.ok_or_else(|| Error::new(format_args!("{} and {by} do not fit 64 bits", self.0)))?;
        Ok(self.0)
    }
}

impl Handler<messages::Set> for Keeper {
    async fn handle(&mut self, messages::Set { new }: messages::Set, _: &mut Context<Self>) -> Result<i64> {
        Ok(std::mem::replace(&mut self.0, new))
    }
}

impl Handler<messages::CompareAndSet> for Keeper {
    async fn handle(&mut self, asked: messages::CompareAndSet, _: &mut Context<Self>) -> Result<i64> {
        let found = self.0;
        if found == asked.expected {
            self.0 = asked.new;
        }
        Ok(found)
    }
}
