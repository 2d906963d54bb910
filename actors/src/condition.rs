//! A condition between processes: a lock, and a wait for what its holders change. Python's `multiprocessing.Condition`.
//!
//! # Promise
//! - A wait lets the lock go and joins those who wait, in one step; it ends with the lock held again. Whoever is notified
//!   asks for the lock behind those who ask for it already, so look at what you wait for in a loop.
//! - A notification is not lost with its receiver: if that dies, or its wait is over, before it has the lock, the next
//!   one is notified.
//! - The lock is released when its guard is dropped or its process dies; a wait that is over leaves nothing behind.
//! - What survives a restart of the condition's own process: nothing. The lock is free, earlier guards are void, and
//!   those who wait are told that it died.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use thiserror::Error;
use watertight::prelude::*;
use watertight::{SenderEnded, SpawnError};

use crate::handle::{Home, SharedError, places};
use crate::permits::{Granted, Permits};
use crate::waiting::{self, Cancel, Line, OnDrop, Waiter, Who, request_number};

/// A handle to a condition; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::condition::Condition;
/// use watertight_actors::counter::Counter;
///
/// # async fn f(condition: Condition, stock: Counter) -> Result<()> {
/// // Whoever takes:
/// let mut guard = condition.acquire().await?;
/// while stock.get().await? == 0 {
///     guard = guard.wait().await?;        // the lock is free meanwhile
/// }
/// stock.add(-1).await?;
/// drop(guard);
///
/// // Whoever brings, in another process:
/// let guard = condition.acquire().await?;
/// stock.add(1).await?;
/// guard.notify(1).await?;
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    keeper: Address<Keeper>,
}

/// Why something was not done with a condition.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// The guard is void: the condition was restarted since. Acquire it again, and look at everything anew.
    #[error("the lock is not held any more: the condition was restarted; acquire it again")]
    NotHeld,
    /// As with every shared thing.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

places!(Condition, Keeper);

impl Condition {
    /// Starts a condition.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home) -> Result<Condition, SpawnError> {
        Condition::start_with(home, Condition::spec()).await
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec() -> Spec<Keeper> {
        Spec::new(())
    }

    /// Waits for the lock: 5 s, and in a handler never longer than the message in hand has left.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the condition is restarted meanwhile.
    pub async fn acquire(&self) -> Result<Guard, SharedError> {
        self.ask(None).await
    }

    /// Waits for the lock for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, wait: Duration) -> Result<Guard, SharedError> {
        self.ask(Some(wait)).await
    }

    /// How many wait to be notified now.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn waiting(&self) -> Result<u64, SharedError> {
        Ok(self.keeper.ask(messages::Waiting).await?)
    }

    async fn ask(&self, wait: Option<Duration>) -> Result<Guard, SharedError> {
        let request = request_number();
        let undo = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Acquire { request }, wait).await;
        let token = asked.map_err(SharedError::of_wait)?.ok_or(SharedError::Deadline)?;
        undo.disarm();
        Ok(self.guard(token))
    }

    fn guard(&self, token: u64) -> Guard {
        let release = OnDrop::tell(&self.keeper, messages::Release { token });
        Guard { condition: self.clone(), token, release }
    }
}

/// The condition's lock is held as long as this lives.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    condition: Condition,
    token: u64,
    release: OnDrop<messages::Release>,
}

impl Guard {
    /// Lets the lock go until it is notified, then has it again: 5 s in all, and in a handler never longer than the
    /// message in hand has left. Unlike Python's, a wait that is over does not have the lock.
    ///
    /// # Errors
    /// [`ConditionError`]; the lock is then not held.
    pub async fn wait(self) -> Result<Guard, ConditionError> {
        self.ask(None).await
    }

    /// The same, for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// [`ConditionError`]; the lock is then not held.
    pub async fn wait_within(self, wait: Duration) -> Result<Guard, ConditionError> {
        self.ask(Some(wait)).await
    }

    /// Wakes at most so many of those who wait, those who have waited longest first, and returns how many. They have the
    /// lock once this guard is gone.
    ///
    /// # Errors
    /// [`ConditionError`].
    pub async fn notify(&self, count: u32) -> Result<u32, ConditionError> {
        let asked = self.condition.keeper.ask(messages::Notify { token: self.token, count }).await;
        asked.map_err(SharedError::from)?.ok_or(ConditionError::NotHeld)
    }

    /// Wakes all who wait, and returns how many.
    ///
    /// # Errors
    /// [`ConditionError`].
    pub async fn notify_all(&self) -> Result<u32, ConditionError> {
        self.notify(u32::MAX).await
    }

    /// Releases the lock, and says whether it was still held. Dropping the guard releases it too, and says nothing.
    ///
    /// # Errors
    /// [`SharedError`]; it is released all the same, as soon as the condition hears of it.
    pub async fn release(self) -> Result<bool, SharedError> {
        let Guard { condition, token, release } = self;
        let held = condition.keeper.ask(messages::Release { token }).await?;
        release.disarm();
        Ok(held)
    }

    async fn ask(self, wait: Option<Duration>) -> Result<Guard, ConditionError> {
        let (keeper, token) = (&self.condition.keeper, self.token);
        let request = request_number();
        let undo = OnDrop::tell(keeper, Cancel { request });
        // This guard stays armed: should the keeper never start this ask, then it releases; if it does, the release of
        // its old token changes nothing.
        let asked = waiting::ask(keeper, messages::Wait { token, request }, wait).await;
        let token = asked.map_err(SharedError::of_wait)?.ok_or(ConditionError::NotHeld)?;
        undo.disarm();
        self.release.disarm();
        Ok(self.condition.guard(token))
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({:?}, {:x})", self.condition.keeper, self.token)
    }
}

mod messages {
    use watertight::prelude::*;

    #[message(reply = Option<u64>)]
    pub struct Acquire {
        pub(super) request: u64,
    }

    /// Whether it was held.
    #[message(reply = bool)]
    pub struct Release {
        pub(super) token: u64,
    }

    /// The new token; `None` if the old one is not held.
    #[message(reply = Option<u64>)]
    pub struct Wait {
        pub(super) token: u64,
        pub(super) request: u64,
    }

    #[message(reply = u64, idempotent)]
    pub struct Waiting;

    /// How many were woken; `None` if the token is not held.
    #[message(reply = Option<u32>)]
    pub struct Notify {
        pub(super) token: u64,
        pub(super) count: u32,
    }
}

/// The actor behind a condition.
pub struct Keeper {
    permits: Permits<ReplyTo<Option<u64>>>,
    /// Those who wait to be notified.
    sleeping: Line<ReplyTo<Option<u64>>>,
    /// Those who were, and have not been heard of since.
    notified: BTreeSet<Who>,
}

impl Keeper {
    fn serve(&mut self) {
        for Granted { token, reply } in self.permits.grant(Instant::now()) {
            reply.send(Some(token));
        }
    }

    /// From those who sleep to those who want the lock.
    fn notify(&mut self, count: u32) -> u32 {
        let now = Instant::now();
        let mut notified = 0;
        while notified < count {
            let Some(Waiter { who, deadline, wants }) = self.sleeping.next(now) else { break };
            self.permits.acquire(who, 1, deadline, wants);
            self.notified.insert(who);
            notified += 1;
        }
        notified
    }

    fn release(&mut self, client: u64, token: u64) -> bool {
        if let Some(who) = self.permits.holder(token) {
            self.notified.remove(&who);
        }
        self.permits.release(client, token)
    }
}

impl Actor for Keeper {
    type Args = ();
    type Messages = (
        messages::Acquire,
        messages::Release,
        messages::Wait,
        messages::Notify,
        messages::Waiting,
        Cancel,
        SenderEnded,
    );

    async fn start(_: (), cx: &mut Context<Self>) -> Result<Self> {
        let permits = Permits::new(1, cx.incarnation());
        Ok(Keeper { permits, sleeping: Line::new(), notified: BTreeSet::new() })
    }
}

impl Handler<messages::Acquire> for Keeper {
    async fn handle(&mut self, asked: messages::Acquire, cx: &mut Context<Self>) -> Result<Option<u64>> {
        let who = Who { client: cx.watch_sender(), request: asked.request };
        self.permits.admit()?;
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.permits.acquire(who, 1, deadline, reply));
        self.serve();
        deferred
    }
}

impl Handler<messages::Release> for Keeper {
    async fn handle(&mut self, released: messages::Release, cx: &mut Context<Self>) -> Result<bool> {
        let was_held = self.release(cx.watch_sender(), released.token);
        self.serve();
        Ok(was_held)
    }
}

impl Handler<messages::Wait> for Keeper {
    async fn handle(&mut self, asked: messages::Wait, cx: &mut Context<Self>) -> Result<Option<u64>> {
        let client = cx.watch_sender();
        self.sleeping.admit()?;
        if !self.release(client, asked.token) {
            return Ok(None);
        }
        let who = Who { client, request: asked.request };
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.sleeping.join(Waiter { who, deadline, wants: reply }));
        self.serve();
        deferred
    }
}

impl Handler<messages::Notify> for Keeper {
    async fn handle(&mut self, asked: messages::Notify, cx: &mut Context<Self>) -> Result<Option<u32>> {
        if !self.permits.is_held(cx.watch_sender(), asked.token) {
            return Ok(None);
        }
        Ok(Some(self.notify(asked.count)))
    }
}

impl Handler<messages::Waiting> for Keeper {
    async fn handle(&mut self, _: messages::Waiting, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.sleeping.len() as u64)
    }
}

impl Handler<Cancel> for Keeper {
    async fn handle(&mut self, Cancel { request }: Cancel, cx: &mut Context<Self>) -> Result<()> {
        let who = Who { client: cx.watch_sender(), request };
        self.sleeping.leave(who);
        self.permits.cancel(who);
        if self.notified.remove(&who) {
            // It was notified and does not know it.
            self.notify(1);
        }
        self.serve();
        Ok(())
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.sleeping.leave_all(ended.sender);
        let waited = self.permits.end(ended.sender);
        // Those who had the lock may have acted on it; those who waited for it have not.
        let unused = waited.into_iter().filter(|who| self.notified.contains(who)).count();
        self.notified.retain(|who| who.client != ended.sender);
        self.notify(u32::try_from(unused).unwrap_or(u32::MAX));
        self.serve();
        Ok(())
    }
}
