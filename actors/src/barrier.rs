//! A barrier between processes: so many wait for each other, then all go on. Python's `multiprocessing.Barrier`.
//!
//! # Promise
//! - When as many wait as there are parties, all go on, each with an index from 0 in the order in which they came; then
//!   it can be used again.
//! - A party that dies while it waits, or whose wait is over, breaks the barrier: the others are told at once instead of
//!   waiting for somebody who does not come. It stays broken until it is [reset](Barrier::reset). One that dies before
//!   it waits is not missed until the others' waits are over: nobody knows who the parties are.
//! - Each wait has one end: who is told `Deadline` has not passed, even if the last party came at that very moment.
//! - What survives a restart of the barrier's own process: the number of parties. Those who wait are told that it died,
//!   and wait again.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;
use watertight::prelude::*;
use watertight::{SenderEnded, SpawnError};

use crate::handle::{Home, SharedError, places};
use crate::waiting::{self, Line, OnDrop, Waiter, Who, request_number};

/// How long the barrier may take to say whether one whose wait is over has passed: it does nothing else than answer.
const ANSWER: Duration = Duration::from_secs(1);

/// A handle to a barrier; clone it, send it in messages and arguments.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight_actors::barrier::Barrier;
///
/// # async fn f(sys: System) -> Result<()> {
/// let barrier = Barrier::start(&sys, 3).await?;
/// // In each of three actors:
/// if barrier.wait().await? == 0 {
///     println!("one of them is the first");
/// }
/// # Ok(()) }
/// ```
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    keeper: Address<Keeper>,
}

/// Why one has not passed a barrier.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// Another party died or gave up while it waited, or the barrier was broken before: reset it.
    #[error("the barrier is broken: a party died or gave up while it waited; reset it")]
    Broken,
    /// As with every shared thing. After [`SharedError::Deadline`] the barrier is broken, by this one.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// How a barrier stands.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// So many have to come.
    pub parties: u32,
    /// So many wait.
    pub waiting: u32,
    /// Nobody passes until it is reset.
    pub is_broken: bool,
}

places!(Barrier, Keeper);

impl Barrier {
    /// Starts a barrier for so many parties, at least one.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home, parties: u32) -> Result<Barrier, SpawnError> {
        Barrier::start_with(home, Barrier::spec(parties)).await
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec(parties: u32) -> Spec<Keeper> {
        Spec::new(parties)
    }

    /// Waits for the other parties, and returns this one's index: 5 s, and in a handler never longer than the message in
    /// hand has left.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn wait(&self) -> Result<u32, BarrierError> {
        self.ask(None).await
    }

    /// Waits for the other parties for at most `wait`; with [`FOREVER`](crate::FOREVER), as long as it takes.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn wait_within(&self, wait: Duration) -> Result<u32, BarrierError> {
        self.ask(Some(wait)).await
    }

    /// Makes it new: those who wait are told that it broke.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn reset(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Break { for_good: false }).await?)
    }

    /// Breaks it: those who wait are told, and those who come, until it is reset.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn abort(&self) -> Result<(), SharedError> {
        Ok(self.keeper.ask(messages::Break { for_good: true }).await?)
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn state(&self) -> Result<State, SharedError> {
        Ok(self.keeper.ask(messages::Look).await?)
    }

    async fn ask(&self, wait: Option<Duration>) -> Result<u32, BarrierError> {
        let request = request_number();
        // Said in any case: to one that has passed it only means that this is known.
        let leave = OnDrop::tell(&self.keeper, messages::Leave { request });
        match waiting::ask(&self.keeper, messages::Wait { request }, wait).await {
            Ok(messages::Outcome::Passed(index)) => Ok(index),
            Ok(messages::Outcome::Broken) => Err(BarrierError::Broken),
            Err(AskError::Deadline { .. }) => {
                // The last party may have come meanwhile, and then the others have gone on with this one counted in.
                let left = self.keeper.ask(messages::Leave { request }).deadline(ANSWER).await;
                leave.disarm();
                left.map_err(SharedError::from)?.ok_or(SharedError::Deadline.into())
            }
            Err(error) => Err(SharedError::from(error).into()),
        }
    }
}

mod messages {
    use watertight::prelude::*;

    #[message(reply = Outcome)]
    pub struct Wait {
        pub(super) request: u64,
    }

    #[data]
    #[derive(Clone, Copy)]
    pub enum Outcome {
        Passed(u32),
        Broken,
    }

    /// The wait of this request is over; answers its index if it has passed after all.
    #[message(reply = Option<u32>)]
    pub struct Leave {
        pub(super) request: u64,
    }

    #[message]
    pub struct Break {
        pub(super) for_good: bool,
    }

    #[message(reply = super::State, idempotent)]
    pub struct Look;
}

/// The actor behind a barrier.
pub struct Keeper {
    parties: u32,
    line: Line<ReplyTo<messages::Outcome>>,
    is_broken: bool,
    /// Those who have passed and may not know it yet.
    passed: BTreeMap<Who, u32>,
}

impl Keeper {
    fn break_up(&mut self) {
        self.is_broken = true;
        self.line.drain().for_each(|waiter| waiter.wants.send(messages::Outcome::Broken));
    }
}

impl Actor for Keeper {
    type Args = u32;
    type Messages = (messages::Wait, messages::Leave, messages::Break, messages::Look, SenderEnded);

    async fn start(parties: u32, _: &mut Context<Self>) -> Result<Self> {
        if parties == 0 || parties as usize > waiting::LINE_LIMIT {
            return Err(Error::new(format_args!("a barrier has 1 to {} parties", waiting::LINE_LIMIT)));
        }
        Ok(Keeper { parties, line: Line::new(), is_broken: false, passed: BTreeMap::new() })
    }
}

impl Handler<messages::Wait> for Keeper {
    async fn handle(&mut self, asked: messages::Wait, cx: &mut Context<Self>) -> Result<messages::Outcome> {
        if self.is_broken {
            return Ok(messages::Outcome::Broken);
        }
        self.line.admit()?;
        let who = Who { client: cx.watch_sender(), request: asked.request };
        // Its deadline is not looked at: whoever is in line when the last one comes has passed, and will hear so when it
        // asks to leave.
        let deferred = cx.defer(|reply| self.line.join(Waiter { who, deadline: None, wants: reply }));
        if self.line.len() >= self.parties as usize {
            for (index, waiter) in (0..).zip(self.line.drain()) {
                self.passed.insert(waiter.who, index);
                waiter.wants.send(messages::Outcome::Passed(index));
            }
        }
        deferred
    }
}

impl Handler<messages::Leave> for Keeper {
    async fn handle(&mut self, left: messages::Leave, cx: &mut Context<Self>) -> Result<Option<u32>> {
        let who = Who { client: cx.watch_sender(), request: left.request };
        if self.line.leave(who).is_some() {
            self.break_up();
        }
        Ok(self.passed.remove(&who))
    }
}

impl Handler<messages::Break> for Keeper {
    async fn handle(&mut self, broken: messages::Break, _: &mut Context<Self>) -> Result<()> {
        self.break_up();
        self.is_broken = broken.for_good;
        Ok(())
    }
}

impl Handler<messages::Look> for Keeper {
    async fn handle(&mut self, _: messages::Look, _: &mut Context<Self>) -> Result<State> {
        let waiting = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        Ok(State { parties: self.parties, waiting, is_broken: self.is_broken })
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.passed.retain(|who, _| who.client != ended.sender);
        if !self.line.leave_all(ended.sender).is_empty() {
            self.break_up();
        }
        Ok(())
    }
}
