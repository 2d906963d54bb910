//! A queue between processes: many put, many get, and the account is exact whoever dies. Python's
//! `multiprocessing.Queue` and `JoinableQueue`.
//!
//! # Promise
//! - First in, first out, at most so many items; who waits for room or for an item is served in turn. What one process
//!   puts is got in the order in which it was put.
//! - An item is got by one consumer. A wait that is over, a dropped future or a consumer that dies before the item
//!   reaches it neither loses nor doubles it: see the table.
//! - Items are kept as their bytes: nothing of them is decoded in the keeper's process. What owns a descriptor, as a
//!   [`Blob`] does, is refused.
//! - What survives a restart of the queue's own process: nothing. It is empty, and its [account](Queue::account) begins
//!   anew in the next [`life`](Account::life); how many items were lost nobody knows, so whoever waits, to get, to put
//!   or to join, is told that it died. A producer that must know keeps what it has put until it has joined.
//!
//! | An item | when its consumer dies | when its consumer drops it |
//! |---|---|---|
//! | is asked for, not granted yet | stays where it is | stays where it is |
//! | was [got](Queue::get), [`task_done`](Queue::task_done) was not said | is [lost](Account::lost), and counted as over, so that `join` does not wait for ever: nobody knows how far it came | is the consumer's affair |
//! | was got, but its future was dropped before it was had | | goes back to the front |
//! | was [leased](Queue::lease) | goes back to the front for another one; after three deaths it is [abandoned](Account::abandoned) | goes back to the front |
//!
//! So `get` is at most once, `lease` at least once. Which to choose: if doing an item twice does no harm, `lease`.

use std::ops::Deref;
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use watertight::Encoded;
use watertight::prelude::*;

use crate::handle::{Home, SharedError, TypedSpec, typed_handle, typed_places};
use crate::waiting::{self, Cancel, OnDrop, insist, request_number};

mod books;
mod keeper;

pub use books::Account;
pub use keeper::Keeper;
use keeper::messages;

typed_handle! {
    /// A handle to a queue; clone it, send it in messages and arguments.
    ///
    /// ```no_run
    /// use watertight::prelude::*;
    /// use watertight_actors::queue::Queue;
    ///
    /// # async fn f(sys: System) -> Result<()> {
    /// let queue = Queue::<String>::start(&sys, 100).await?;
    /// queue.put("x".into()).await?;           // waits for room for 5 s at most
    /// let item = queue.get().await?;          // waits for an item for 5 s at most
    /// assert_eq!(item, "x");
    /// queue.task_done().await?;
    /// queue.join().await?;                    // all that was put is done
    /// # Ok(()) }
    /// ```
    Queue<T> of T, Keeper
}

typed_places!(Queue<T> of T, Keeper);

/// Why something was not done with a queue.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Nothing more is put into it; and to who gets: nothing is left.
    #[error("the queue is closed")]
    Closed,
    /// There is no room now.
    #[error("the queue is full")]
    Full,
    /// This process has no item that it has got and not finished: it said `task_done` once too often, or the queue was
    /// restarted meanwhile.
    #[error(
        "this process has no unfinished item: it has finished all that it got, or the queue was restarted"
    )]
    NotTaken,
    /// As with every shared thing.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

impl From<AskError> for QueueError {
    fn from(error: AskError) -> Self {
        SharedError::from(error).into()
    }
}

impl<T: Serialize + DeserializeOwned> Queue<T> {
    /// Starts a queue of at most so many items, at least one. A bound in bytes is [`Spec::memory`].
    ///
    /// # Errors
    /// [`SharedError::Start`].
    pub async fn start(home: impl Home, capacity: u32) -> Result<Queue<T>, SharedError> {
        Ok(Queue::start_with(home, Queue::spec(capacity)).await?)
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(capacity: u32) -> TypedSpec<Keeper, T> {
        let holds = std::any::type_name::<T>().to_owned();
        TypedSpec::new(messages::Setup { holds, capacity })
    }

    /// Puts an item in, and waits for room if there is none: 5 s, and in a handler never longer than the message in hand
    /// has left.
    ///
    /// # Errors
    /// [`SharedError::Deadline`]: it is not in. [`QueueError::Closed`]. If [`SharedError::Ask`] or
    /// [`SharedError::Died`] comes of a queue that is stopped or killed, `executed()` says whether it may be in.
    pub async fn put(&self, item: T) -> Result<(), QueueError> {
        self.put_in(&item, None).await
    }

    /// Puts an item in, and waits for room for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_within(&self, item: T, wait: Duration) -> Result<(), QueueError> {
        self.put_in(&item, Some(wait)).await
    }

    /// Puts an item in if there is room and nobody waits for it.
    ///
    /// # Errors
    /// [`QueueError::Full`]; as [`put`](Self::put).
    pub async fn try_put(&self, item: T) -> Result<(), QueueError> {
        let value = Encoded::of(&item).map_err(SharedError::Value)?;
        self.offer(value, None, None).await
    }

    /// Takes the first item out, and waits for one if there is none: 5 s, and in a handler never longer than the message
    /// in hand has left. Dropping the future loses no item.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`QueueError::Closed`] when it is closed and empty.
    pub async fn get(&self) -> Result<T, QueueError> {
        self.receive(self.take(false, true, None).await?)?.ok_or(SharedError::Deadline.into())
    }

    /// Takes the first item out, and waits for one for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it
    /// takes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_within(&self, wait: Duration) -> Result<T, QueueError> {
        self.receive(self.take(false, true, Some(wait)).await?)?.ok_or(SharedError::Deadline.into())
    }

    /// Takes the first item out if there is one and nobody waits for it; else `None`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn try_get(&self) -> Result<Option<T>, QueueError> {
        self.receive(self.take(false, false, None).await?)
    }

    /// Says that an item is done which this process got with `get`. Once for each; [`join`](Self::join) waits for it.
    ///
    /// # Errors
    /// [`QueueError::NotTaken`].
    pub async fn task_done(&self) -> Result<(), QueueError> {
        if self.keeper.ask(messages::TaskDone).await? { Ok(()) } else { Err(QueueError::NotTaken) }
    }

    /// Borrows the first item until it is [done](Leased::done), and waits for one as [`get`](Self::get) does. If this
    /// process dies, or the lease is dropped, the item goes back to the front.
    ///
    /// ```no_run
    /// # use watertight_actors::queue::Queue;
    /// # async fn f(queue: Queue<String>) -> watertight::Result<()> {
    /// let item = queue.lease().await?;
    /// println!("{}", item.len());             // should this crash, another consumer gets the item
    /// item.done().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn lease(&self) -> Result<Leased<T>, QueueError> {
        self.lend(self.take(true, true, None).await?)?.ok_or(SharedError::Deadline.into())
    }

    /// Borrows the first item, and waits for one for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it
    /// takes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn lease_within(&self, wait: Duration) -> Result<Leased<T>, QueueError> {
        self.lend(self.take(true, true, Some(wait)).await?)?.ok_or(SharedError::Deadline.into())
    }

    /// Borrows the first item if there is one and nobody waits for it; else `None`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn try_lease(&self) -> Result<Option<Leased<T>>, QueueError> {
        self.lend(self.take(true, false, None).await?)
    }

    /// Waits until everything that was put is over, 5 s, and returns how it ended: done, lost with its consumer, or
    /// abandoned.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the queue is restarted meanwhile.
    pub async fn join(&self) -> Result<Account, SharedError> {
        self.wait_for_all(None).await
    }

    /// Waits until everything that was put is over, for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it
    /// takes.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn join_within(&self, wait: Duration) -> Result<Account, SharedError> {
        self.wait_for_all(Some(wait)).await
    }

    /// What has become of everything that was put in this life of the queue.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn account(&self) -> Result<Account, SharedError> {
        Ok(self.keeper.ask(messages::Look).await?)
    }

    /// How many items are in it.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn len(&self) -> Result<u64, SharedError> {
        Ok(self.account().await?.waiting)
    }

    /// Whether no item is in it.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn is_empty(&self) -> Result<bool, SharedError> {
        Ok(self.len().await? == 0)
    }

    /// Takes nothing more in. What is in it can still be got; then those who get are told that it is closed, but not
    /// before leased items are done, because they may come back.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn close(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Close).await?)
    }

    /// An item waits for room at its producer: the keeper holds no more than the capacity.
    async fn put_in(&self, item: &T, wait: Option<Duration>) -> Result<(), QueueError> {
        let value = Encoded::of(item).map_err(SharedError::Value)?;
        let began = Instant::now();
        let left = || wait.map(|wait| wait.saturating_sub(began.elapsed()));
        match self.offer(value.clone(), None, wait).await {
            Err(QueueError::Full) => {}
            other => return other,
        }
        let request = request_number();
        // Whatever ends this future before the item is sent gives back the room that it may have been given. Behind the
        // item it changes nothing.
        let _undo = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Reserve { request }, left()).await;
        if !asked.map_err(SharedError::of_wait)? {
            return Err(QueueError::Closed);
        }
        // It has its place, so it is put at once: the rest of the wait may be too short for a word to and fro.
        self.offer(value, Some(request), None).await
    }

    async fn offer(
        &self,
        value: Encoded,
        reserved: Option<u64>,
        wait: Option<Duration>,
    ) -> Result<(), QueueError> {
        match waiting::ask(&self.keeper, messages::Put { value, reserved }, wait).await? {
            messages::Offered::Taken => Ok(()),
            messages::Offered::Full => Err(QueueError::Full),
            messages::Offered::Closed => Err(QueueError::Closed),
        }
    }

    async fn take(
        &self,
        is_lease: bool,
        waits: bool,
        wait: Option<Duration>,
    ) -> Result<Option<Taken>, QueueError> {
        let request = request_number();
        // From here on, whatever ends this future but an item puts back what it may have been given.
        let undo = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Get { request, is_lease, waits }, wait).await;
        match asked.map_err(SharedError::of_wait)? {
            messages::Got::Item { value, deaths } => Ok(Some(Taken { request, value, deaths, undo })),
            messages::Got::Empty => Ok(None),
            messages::Got::Closed => Err(QueueError::Closed),
        }
    }

    /// From here on the item is this process's.
    fn receive(&self, taken: Option<Taken>) -> Result<Option<T>, QueueError> {
        let Some(Taken { request, value, undo, .. }) = taken else { return Ok(None) };
        undo.disarm();
        insist(self.keeper.recipient(), messages::Received { request });
        Ok(Some(value.read().map_err(SharedError::Value)?))
    }

    fn lend(&self, taken: Option<Taken>) -> Result<Option<Leased<T>>, QueueError> {
        let Some(Taken { request, value, deaths, undo }) = taken else { return Ok(None) };
        let item = value.read().map_err(SharedError::Value)?;
        Ok(Some(Leased { keeper: self.keeper.clone(), item, request, deaths, undo }))
    }

    async fn wait_for_all(&self, wait: Option<Duration>) -> Result<Account, SharedError> {
        let request = request_number();
        let leave = OnDrop::tell(&self.keeper, Cancel { request });
        let joined = waiting::ask(&self.keeper, messages::Join { request }, wait).await;
        let account = joined.map_err(SharedError::of_wait)?;
        leave.disarm();
        Ok(account)
    }
}

/// Granted, and taken back if this is dropped.
struct Taken {
    request: u64,
    value: Encoded,
    deaths: u8,
    undo: OnDrop<Cancel>,
}

/// An item that goes back to the front of its queue unless it is [done](Leased::done).
#[must_use = "the item goes back to the queue when this is dropped"]
pub struct Leased<T> {
    keeper: Address<Keeper>,
    item: T,
    request: u64,
    deaths: u8,
    undo: OnDrop<Cancel>,
}

impl<T> Leased<T> {
    /// How many consumers have died that had borrowed it before.
    pub fn deaths(&self) -> u8 {
        self.deaths
    }

    /// It is done: it does not go back.
    ///
    /// # Errors
    /// [`QueueError::NotTaken`] if the queue was restarted meanwhile; [`SharedError`].
    pub async fn done(self) -> Result<(), QueueError> {
        let Leased { keeper, request, undo, .. } = self;
        // Before the word is sent, a drop would put it back; afterwards, it says so behind this.
        let is_done = keeper.ask(messages::Done { request }).await?;
        undo.disarm();
        if is_done { Ok(()) } else { Err(QueueError::NotTaken) }
    }
}

impl<T> Deref for Leased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Leased<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leased({:?})", self.item)
    }
}
