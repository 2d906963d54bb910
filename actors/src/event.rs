//! An event between processes: set once, seen by all who wait for it. Python's `multiprocessing.Event`.
//!
//! # Promise
//! - Whoever waits is told once it is set, and at once if it is set already. Setting it again changes nothing.
//! - Nobody holds it, so no death changes it. A wait that is over leaves nothing behind.
//! - What survives a restart of the event's own process: how it was started, set or not. Those who wait are told that it
//!   died: whoever waits on looks whether it should be set.

use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{SenderEnded, SpawnError};

use crate::handle::{Home, SharedError, places};
use crate::waiting::{self, Cancel, Line, OnDrop, Waiter, Who, request_number};

/// A handle to an event; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::event::Event;
///
/// # async fn f(sys: System) -> Result<()> {
/// let ready = Event::start(&sys).await?;
/// assert!(!ready.is_set().await?);
/// ready.set().await?;
/// ready.wait().await?;                // waits for 5 s at most; here, not at all
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    keeper: Address<Keeper>,
}

places!(Event, Keeper);

impl Event {
    /// Starts an event that is not set.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home) -> Result<Event, SpawnError> {
        Event::start_with(home, Event::spec(false)).await
    }

    /// A spec to add a name, a place in a group or limits to; `is_set`: how each of its lives begins.
    pub fn spec(is_set: bool) -> Spec<Keeper> {
        Spec::new(is_set)
    }

    /// Sets it: all who wait go on.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn set(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Set).await?)
    }

    /// Sets it back: from here on one waits again.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn clear(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Clear).await?)
    }

    /// Whether it is set.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn is_set(&self) -> Result<bool, SharedError> {
        Ok(self.keeper.ask(messages::IsSet).await?)
    }

    /// Waits until it is set: 5 s, and in a handler never longer than the message in hand has left.
    ///
    /// # Errors
    /// [`SharedError::Deadline`], [`SharedError::Died`] when the event is restarted meanwhile.
    pub async fn wait(&self) -> Result<(), SharedError> {
        self.ask(None).await
    }

    /// Waits until it is set for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_within(&self, wait: Duration) -> Result<(), SharedError> {
        self.ask(Some(wait)).await
    }

    async fn ask(&self, wait: Option<Duration>) -> Result<(), SharedError> {
        let request = request_number();
        let leave = OnDrop::tell(&self.keeper, Cancel { request });
        let asked = waiting::ask(&self.keeper, messages::Wait { request }, wait).await;
        asked.map_err(SharedError::of_wait)?;
        leave.disarm();
        Ok(())
    }
}

mod messages {
    use watertight::prelude::*;

    #[message(idempotent)]
    pub struct Set;

    #[message(idempotent)]
    pub struct Clear;

    #[message(reply = bool, idempotent)]
    pub struct IsSet;

    #[message]
    pub struct Wait {
        pub(super) request: u64,
    }
}

/// The actor behind an event.
pub struct Keeper {
    is_set: bool,
    line: Line<ReplyTo<()>>,
}

impl Actor for Keeper {
    type Args = bool;
    type Messages = (messages::Set, messages::Clear, messages::IsSet, messages::Wait, Cancel, SenderEnded);

    async fn start(is_set: bool, _: &mut Context<Self>) -> Result<Self> {
        Ok(Keeper { is_set, line: Line::new() })
    }
}

impl Handler<messages::Set> for Keeper {
    async fn handle(&mut self, _: messages::Set, _: &mut Context<Self>) -> Result<()> {
        self.is_set = true;
        let now = Instant::now();
        while let Some(waiter) = self.line.next(now) {
            waiter.wants.send(());
        }
        Ok(())
    }
}

impl Handler<messages::Clear> for Keeper {
    async fn handle(&mut self, _: messages::Clear, _: &mut Context<Self>) -> Result<()> {
        self.is_set = false;
        Ok(())
    }
}

impl Handler<messages::IsSet> for Keeper {
    async fn handle(&mut self, _: messages::IsSet, _: &mut Context<Self>) -> Result<bool> {
        Ok(self.is_set)
    }
}

impl Handler<messages::Wait> for Keeper {
    async fn handle(&mut self, asked: messages::Wait, cx: &mut Context<Self>) -> Result<()> {
        if self.is_set {
            return Ok(());
        }
        self.line.admit()?;
        let who = Who { client: cx.watch_sender(), request: asked.request };
        let deadline = cx.deadline();
        cx.defer(|reply| self.line.join(Waiter { who, deadline, wants: reply }))
    }
}

impl Handler<Cancel> for Keeper {
    async fn handle(&mut self, Cancel { request }: Cancel, cx: &mut Context<Self>) -> Result<()> {
        self.line.leave(Who { client: cx.watch_sender(), request });
        Ok(())
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.line.leave_all(ended.sender);
        Ok(())
    }
}
