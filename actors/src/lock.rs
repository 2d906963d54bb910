//! A lock between processes: one holder at a time, and nobody wedges it by dying. Python's `multiprocessing.Lock`.
//!
//! # Promise
//! - One guard at a time, given in the order in which it was asked for. It is released when it is dropped, when its
//!   process dies, whatever killed it, and when its lease ends, if the lock was started with one.
//! - A wait that is over leaves nothing behind: no place in the line, no lock that nobody has.
//! - What survives a restart of the lock's own process: nothing. It is free, and an earlier guard is void:
//!   [`Guard::is_held`] and [`Guard::release`] say so, and the next guard has a higher token.
//!
//! # A lock alone excludes nobody
//! A holder may be stopped for an hour, and go on when its lease has ended, or when the lock has been restarted and
//! another one holds it. Where that matters, let what is protected look at the guard's [token](Guard::token), which
//! rises with every grant: it refuses a write whose token is lower than one it has seen.
//!
//! # Why it is not reentrant
//! A holder is a guard, not a task or a process: one actor may have many tasks, and nothing tells a call of the holder
//! from a call of its neighbour. Who has the guard hands on `&guard`. Asked for again by its holder, the lock is waited
//! for until the deadline.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{SenderEnded, SpawnError, Timer};

use crate::handle::{Home, SharedError, places};
use crate::permits::{Granted, Permits};
use crate::waiting::{self, Cancel, OnDrop, Who, request_number};

/// A handle to a lock; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::lock::Lock;
///
/// # async fn f(sys: System) -> Result<()> {
/// let lock = Lock::start(&sys).await?;
/// let guard = lock.acquire().await?;      // waits for 5 s at most
/// println!("nobody else, by token {}", guard.token());
/// drop(guard);
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    keeper: Address<Keeper>,
}

/// What a lock is started with.
#[data]
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// How long one may hold it, unless it [renews](Guard::renew) its lease; without one, as long as it lives.
    pub lease: Option<Duration>,
}

places!(Lock, Keeper);

impl Lock {
    /// Starts a lock without a lease.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home) -> Result<Lock, SpawnError> {
        Lock::start_with(home, Lock::spec(Setup::default())).await
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(setup: Setup) -> Spec<Keeper> {
        Spec::new(setup)
    }

    /// Waits until it is one's own: 5 s, and in a handler never longer than the message in hand has left.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the lock is restarted meanwhile.
    pub async fn acquire(&self) -> Result<Guard, SharedError> {
        self.take(None).await
    }

    /// Waits for it for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the lock is restarted meanwhile.
    pub async fn acquire_within(&self, wait: Duration) -> Result<Guard, SharedError> {
        self.take(Some(wait)).await
    }

    /// Takes it only if it is free; `None` if it is not.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, SharedError> {
        self.ask(false, None).await
    }

    /// How many wait for it now.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn waiting(&self) -> Result<u64, SharedError> {
        Ok(self.keeper.ask(messages::Waiting).await?)
    }

    async fn take(&self, wait: Option<Duration>) -> Result<Guard, SharedError> {
        // The keeper answers a wait only with a grant.
        self.ask(true, wait).await?.ok_or(SharedError::Deadline)
    }

    async fn ask(&self, waits: bool, wait: Option<Duration>) -> Result<Option<Guard>, SharedError> {
        let request = request_number();
        // From here on, whatever ends this future but a guard gives back what it may have been given.
        let undo = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Acquire { request, waits }, wait).await;
        let token = asked.map_err(SharedError::of_wait)?;
        undo.disarm();
        Ok(token.map(|token| {
            let release = OnDrop::tell(&self.keeper, messages::Release { token });
            Guard { lock: self.clone(), token, release }
        }))
    }
}

/// The lock is held as long as this lives, and no longer than its process, its lease and the lock's own process.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    lock: Lock,
    token: u64,
    release: OnDrop<messages::Release>,
}

impl Guard {
    /// The fencing token: higher than that of every guard of this lock before, also across its restarts.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Releases it, and says whether it was still held. Dropping it releases it too, and says nothing.
    ///
    /// # Errors
    /// [`SharedError`]; it is released all the same, as soon as the lock hears of it.
    pub async fn release(self) -> Result<bool, SharedError> {
        let Guard { lock, token, release } = self;
        let held = lock.keeper.ask(messages::Release { token }).await?;
        release.disarm();
        Ok(held)
    }

    /// Whether it is still held: not if its lease has ended, or the lock was restarted. As with everything that is
    /// asked, it may have changed when the answer is here.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn is_held(&self) -> Result<bool, SharedError> {
        Ok(self.lock.keeper.ask(messages::IsHeld { token: self.token }).await?)
    }

    /// Begins the lease anew; `false` if it had ended. Without a lease, as [`is_held`](Self::is_held).
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn renew(&self) -> Result<bool, SharedError> {
        Ok(self.lock.keeper.ask(messages::Renew { token: self.token }).await?)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({:?}, {:x})", self.lock.keeper, self.token)
    }
}

mod messages {
    use watertight::prelude::*;

    /// The token, or `None` if it is not free and not waited for.
    #[message(reply = Option<u64>)]
    pub struct Acquire {
        pub(super) request: u64,
        pub(super) waits: bool,
    }

    /// Whether it was held.
    #[message(reply = bool)]
    pub struct Release {
        pub(super) token: u64,
    }

    #[message(reply = bool, idempotent)]
    pub struct IsHeld {
        pub(super) token: u64,
    }

    #[message(reply = bool)]
    pub struct Renew {
        pub(super) token: u64,
    }

    #[message(reply = u64, idempotent)]
    pub struct Waiting;

    /// The lock to itself: a lease has ended.
    #[message]
    pub struct Expire {
        pub(super) token: u64,
        pub(super) until: u64,
    }
}

/// The actor behind a lock.
pub struct Keeper {
    setup: Setup,
    permits: Permits<ReplyTo<Option<u64>>>,
    leases: BTreeMap<u64, Lease>,
    last_lease: u64,
}

struct Lease {
    /// A renewed lease has another number, so that the end of the one before does not count.
    number: u64,
    timer: Timer,
}

impl Keeper {
    /// Whoever is next, if it is free now.
    fn serve(&mut self, cx: &mut Context<Self>) {
        // What was released, taken back or lost has no lease any more.
        let held = &self.permits;
        self.leases.retain(|token, lease| {
            let stays = held.has(*token);
            if !stays {
                lease.timer.cancel();
            }
            stays
        });
        for Granted { token, reply } in self.permits.grant(Instant::now()) {
            self.lend(token, cx);
            reply.send(Some(token));
        }
    }

    fn lend(&mut self, token: u64, cx: &mut Context<Self>) {
        let Some(lease) = self.setup.lease else { return };
        self.last_lease += 1;
        let number = self.last_lease;
        let timer = cx.send_after(lease, messages::Expire { token, until: number });
        if let Some(before) = self.leases.insert(token, Lease { number, timer }) {
            before.timer.cancel();
        }
    }
}

impl Actor for Keeper {
    type Args = Setup;
    type Messages = (
        messages::Acquire,
        messages::Release,
        messages::IsHeld,
        messages::Renew,
        messages::Expire,
        messages::Waiting,
        Cancel,
        SenderEnded,
    );

    async fn start(setup: Setup, cx: &mut Context<Self>) -> Result<Self> {
        let permits = Permits::new(1, cx.incarnation());
        Ok(Keeper { setup, permits, leases: BTreeMap::new(), last_lease: 0 })
    }
}

impl Handler<messages::Acquire> for Keeper {
    async fn handle(&mut self, asked: messages::Acquire, cx: &mut Context<Self>) -> Result<Option<u64>> {
        let who = Who { client: cx.watch_sender(), request: asked.request };
        if !asked.waits {
            let token = self.permits.try_acquire(who, 1, Instant::now());
            token.into_iter().for_each(|token| self.lend(token, cx));
            return Ok(token);
        }
        self.permits.admit()?;
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.permits.acquire(who, 1, deadline, reply));
        self.serve(cx);
        deferred
    }
}

impl Handler<messages::Release> for Keeper {
    async fn handle(&mut self, released: messages::Release, cx: &mut Context<Self>) -> Result<bool> {
        let was_held = self.permits.release(cx.watch_sender(), released.token);
        self.serve(cx);
        Ok(was_held)
    }
}

impl Handler<messages::IsHeld> for Keeper {
    async fn handle(&mut self, asked: messages::IsHeld, cx: &mut Context<Self>) -> Result<bool> {
        Ok(self.permits.is_held(cx.watch_sender(), asked.token))
    }
}

impl Handler<messages::Renew> for Keeper {
    async fn handle(&mut self, renewed: messages::Renew, cx: &mut Context<Self>) -> Result<bool> {
        let is_held = self.permits.is_held(cx.watch_sender(), renewed.token);
        if is_held {
            self.lend(renewed.token, cx);
        }
        Ok(is_held)
    }
}

impl Handler<messages::Expire> for Keeper {
    async fn handle(&mut self, expired: messages::Expire, cx: &mut Context<Self>) -> Result<()> {
        if self.leases.get(&expired.token).is_some_and(|lease| lease.number == expired.until) {
            self.permits.revoke(expired.token);
            self.serve(cx);
        }
        Ok(())
    }
}

impl Handler<messages::Waiting> for Keeper {
    async fn handle(&mut self, _: messages::Waiting, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.permits.waiting())
    }
}

impl Handler<Cancel> for Keeper {
    async fn handle(&mut self, Cancel { request }: Cancel, cx: &mut Context<Self>) -> Result<()> {
        self.permits.cancel(Who { client: cx.watch_sender(), request });
        self.serve(cx);
        Ok(())
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, cx: &mut Context<Self>) -> Result<()> {
        self.permits.end(ended.sender);
        self.serve(cx);
        Ok(())
    }
}
