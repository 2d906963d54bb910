//! A semaphore between processes: so many permits, and none is lost with its holder. Python's `Semaphore`.
//!
//! # Promise
//! - Never more permits out than it was started with, given in the order in which they were asked for; one who waits for
//!   many is not overtaken by those who want few. A permit goes back when it is dropped or its process dies.
//! - It is bounded, as Python's `BoundedSemaphore`: only what was had can be given back.
//! - A wait that is over leaves nothing behind.
//! - What survives a restart of the semaphore's own process: nothing. All permits are free again, while those who had
//!   some may still work: for a while there may be twice as many. [`Permit::release`] tells them.

use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{SenderEnded, SpawnError};

use crate::handle::{Home, SharedError, places};
use crate::permits::{Granted, Permits};
use crate::waiting::{self, Cancel, OnDrop, Who, request_number};

/// A handle to a semaphore; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::semaphore::Semaphore;
///
/// # async fn f(sys: System) -> Result<()> {
/// let licences = Semaphore::start(&sys, 3).await?;
/// let one = licences.acquire().await?;        // waits for 5 s at most
/// let two = licences.acquire_many(2).await?;
/// assert!(licences.try_acquire().await?.is_none());
/// drop((one, two));
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semaphore {
    keeper: Address<Keeper>,
}

places!(Semaphore, Keeper);

impl Semaphore {
    /// Starts a semaphore with so many permits.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home, permits: u32) -> Result<Semaphore, SpawnError> {
        Semaphore::start_with(home, Semaphore::spec(permits)).await
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(permits: u32) -> Spec<Keeper> {
        Spec::new(permits)
    }

    /// Waits for a permit: 5 s, and in a handler never longer than the message in hand has left.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the semaphore is restarted meanwhile.
    pub async fn acquire(&self) -> Result<Permit, SharedError> {
        self.acquire_many(1).await
    }

    /// Waits for so many permits at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); [`SharedError::Ask`] when there are not so many at all.
    pub async fn acquire_many(&self, count: u32) -> Result<Permit, SharedError> {
        self.ask(count, true, None).await?.ok_or(SharedError::Deadline)
    }

    /// Waits for so many permits for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    pub async fn acquire_many_within(&self, count: u32, wait: Duration) -> Result<Permit, SharedError> {
        self.ask(count, true, Some(wait)).await?.ok_or(SharedError::Deadline)
    }

    /// Takes a permit only if one is free and nobody waits; else `None`.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn try_acquire(&self) -> Result<Option<Permit>, SharedError> {
        self.ask(1, false, None).await
    }

    /// How many permits are free now.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn free(&self) -> Result<u32, SharedError> {
        Ok(self.keeper.ask(messages::Free).await?)
    }

    async fn ask(
        &self,
        count: u32,
        waits: bool,
        wait: Option<Duration>,
    ) -> Result<Option<Permit>, SharedError> {
        let request = request_number();
        // From here on, whatever ends this future but a permit gives back what it may have been given.
        let undo = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Acquire { request, count, waits }, wait).await;
        let token = asked.map_err(SharedError::of_wait)?;
        undo.disarm();
        Ok(token.map(|token| {
            let release = OnDrop::tell(&self.keeper, messages::Release { token });
            Permit { semaphore: self.clone(), token, count, release }
        }))
    }
}

/// So many permits, for as long as this lives.
#[must_use = "the permit goes back when it is dropped"]
pub struct Permit {
    semaphore: Semaphore,
    token: u64,
    count: u32,
    release: OnDrop<messages::Release>,
}

impl Permit {
    /// How many permits it stands for.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Gives it back, and says whether it was still held: not if the semaphore was restarted. Dropping it gives it back
    /// too, and says nothing.
    ///
    /// # Errors
    /// [`SharedError`]; it goes back all the same, as soon as the semaphore hears of it.
    pub async fn release(self) -> Result<bool, SharedError> {
        let Permit { semaphore, token, release, .. } = self;
        let held = semaphore.keeper.ask(messages::Release { token }).await?;
        release.disarm();
        Ok(held)
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({:?}, {} of it)", self.semaphore.keeper, self.count)
    }
}

mod messages {
    use watertight::prelude::*;

    /// The token, or `None` if there are none free and they are not waited for.
    #[message(reply = Option<u64>)]
    pub struct Acquire {
        pub(super) request: u64,
        pub(super) count: u32,
        pub(super) waits: bool,
    }

    /// Whether it was held.
    #[message(reply = bool)]
    pub struct Release {
        pub(super) token: u64,
    }

    #[message(reply = u32, idempotent)]
    pub struct Free;
}

/// The actor behind a semaphore.
pub struct Keeper {
    all: u32,
    permits: Permits<ReplyTo<Option<u64>>>,
}

impl Keeper {
    /// Whoever is next, as far as there are permits now.
    fn serve(&mut self) {
        for Granted { token, reply } in self.permits.grant(Instant::now()) {
            reply.send(Some(token));
        }
    }
}

impl Actor for Keeper {
    type Args = u32;
    type Messages = (messages::Acquire, messages::Release, messages::Free, Cancel, SenderEnded);

    async fn start(all: u32, cx: &mut Context<Self>) -> Result<Self> {
        Ok(Keeper { all, permits: Permits::new(all, cx.incarnation()) })
    }
}

impl Handler<messages::Acquire> for Keeper {
    async fn handle(&mut self, asked: messages::Acquire, cx: &mut Context<Self>) -> Result<Option<u64>> {
        let who = Who { client: cx.watch_sender(), request: asked.request };
        if asked.count > self.all {
            return Err(Error::new(format_args!("{} permits, and it has only {}", asked.count, self.all)));
        }
        if !asked.waits {
            return Ok(self.permits.try_acquire(who, asked.count, Instant::now()));
        }
        self.permits.admit()?;
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.permits.acquire(who, asked.count, deadline, reply));
        self.serve();
        deferred
    }
}

impl Handler<messages::Release> for Keeper {
    async fn handle(&mut self, released: messages::Release, cx: &mut Context<Self>) -> Result<bool> {
        let was_held = self.permits.release(cx.watch_sender(), released.token);
        self.serve();
        Ok(was_held)
    }
}

impl Handler<messages::Free> for Keeper {
    async fn handle(&mut self, _: messages::Free, _: &mut Context<Self>) -> Result<u32> {
        Ok(self.permits.free())
    }
}

impl Handler<Cancel> for Keeper {
    async fn handle(&mut self, Cancel { request }: Cancel, cx: &mut Context<Self>) -> Result<()> {
        self.permits.cancel(Who { client: cx.watch_sender(), request });
        self.serve();
        Ok(())
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.permits.end(ended.sender);
        self.serve();
        Ok(())
    }
}
