//! Waiting for something that others may have: both ends of the protocol that neither loses nor leaks it.
//!
//! A reply may come too late: the asker's wait is over, its future was dropped, its process is dead. So whoever asks
//! for something numbers its request, and says `Cancel` on the same link if it ends in any way but with the reply in its
//! hands. Messages of one link keep their order, so the keeper hears that after the request: it then takes the asker out
//! of the line, or takes back what it had given. A process that dies says nothing; the keeper watches every asker
//! ([`Context::watch_sender`]).
//!
//! ```text
//!  asker                                    keeper
//!    ── Acquire { request: 7 } ──────────────▶  7 stands in line
//!                 ⋮                             7 is granted
//!    ◀───────────────────────── granted ──────
//!  had it in time: it holds                     7 holds, until its release or its end
//!  the wait was over before:
//!    ── Cancel { request: 7 } ───────────────▶  7 is taken back, the next one is granted
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use watertight::TellError;
use watertight::message::Includes;
use watertight::prelude::*;

/// Most requests that wait for one thing: each takes some hundred bytes of its keeper.
pub(crate) const LINE_LIMIT: usize = 1 << 16;
/// How often a message is offered again that found no room and must not be lost.
const AGAIN: Duration = Duration::from_millis(5);

/// The asker of this request will not have the answer, or does not want what it was given.
#[message]
pub struct Cancel {
    pub(crate) request: u64,
}

/// A number for a request, not used before in this process.
pub(crate) fn request_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Asks, with this wait or the default one.
pub(crate) async fn ask<A: Actor, M: Message, P>(
    keeper: &Address<A>,
    message: M,
    wait: Option<Duration>,
) -> Result<M::Reply, AskError>
where
    A::Messages: Includes<M, P>,
{
    let ask = keeper.ask(message);
    match wait {
        Some(wait) => ask.deadline(wait).await,
        None => ask.await,
    }
}

/// A message that is sent when this is dropped: the way in which what is held finds back.
pub(crate) struct OnDrop<M: Message>(Option<(Recipient<M>, M)>);

impl<M: Message> OnDrop<M> {
    pub(crate) fn tell<A: Actor, P>(keeper: &Address<A>, message: M) -> Self
    where
        A::Messages: Includes<M, P>,
    {
        OnDrop(Some((keeper.recipient(), message)))
    }

    /// Sends nothing.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl<M: Message> Drop for OnDrop<M> {
    fn drop(&mut self) {
        if let Some((keeper, message)) = self.0.take() {
            insist(keeper, message);
        }
    }
}

/// Sends a message that must not be lost, from any thread and without waiting: if there is no room now, it is offered
/// again until there is, or until the keeper or this process has ended.
pub(crate) fn insist<M: Message>(keeper: Recipient<M>, message: M) {
    let Err(TellError::Full(message)) = keeper.try_tell(message) else { return };
    let mut message = Some(message);
    let offer = move || {
        let Some(kept) = message.take() else { return true };
        match keeper.try_tell(kept) {
            Err(TellError::Full(kept)) => {
                message = Some(kept);
                false
            }
            // Accepted; or there is nobody who could have anything back.
            _ => true,
        }
    };
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    late.offers.push(Box::new(offer));
    if !late.is_served {
        late.is_served = std::thread::Builder::new().name("late releases".into()).spawn(serve_late).is_ok();
    }
}

/// What found no room. One thread serves it while there is something: a drop may happen on any thread, without a runtime.
/// It holds one entry for each guard and wait that has ended, so it is bounded by how many there were.
struct Late {
    offers: Vec<Box<dyn FnMut() -> bool + Send>>,
    is_served: bool,
}

static LATE: Mutex<Late> = Mutex::new(Late { offers: Vec::new(), is_served: false });

fn serve_late() {
    loop {
        {
            let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
            late.offers.retain_mut(|offer| !offer());
            if late.offers.is_empty() {
                late.is_served = false;
                return;
            }
        }
        std::thread::sleep(AGAIN);
    }
}

/// One request, of one life of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who {
    /// The number from [`Context::watch_sender`].
    pub(crate) client: u64,
    pub(crate) request: u64,
}

/// Those who wait, first come, first served. Pure.
pub(crate) struct Line<W> {
    waiters: VecDeque<Waiter<W>>,
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter<W> {
    pub(crate) who: Who,
    /// After it, nothing is given to this one: its asker has gone, though it has not said so yet.
    pub(crate) deadline: Option<Instant>,
    pub(crate) wants: W,
}

impl<W> Line<W> {
    pub(crate) fn new() -> Self {
        Line { waiters: VecDeque::new() }
    }

    /// Whether one more may join. To be asked before a reply is deferred: afterwards no error reaches the asker.
    ///
    /// # Errors
    /// When as many wait as may.
    pub(crate) fn admit(&self) -> Result<()> {
        if self.waiters.len() < LINE_LIMIT {
            return Ok(());
        }
        Err(Error::new(format_args!("{LINE_LIMIT} wait for it already: try again later")))
    }

    /// Joins the end.
    pub(crate) fn join(&mut self, waiter: Waiter<W>) {
        self.waiters.push_back(waiter);
    }

    /// The first whose wait is not over.
    pub(crate) fn front(&mut self, now: Instant) -> Option<&Waiter<W>> {
        while self.waiters.front()?.deadline.is_some_and(|deadline| deadline <= now) {
            self.waiters.pop_front();
        }
        self.waiters.front()
    }

    /// Takes that one out.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Waiter<W>> {
        self.front(now)?;
        self.waiters.pop_front()
    }

    /// Takes out one that waits no more.
    pub(crate) fn leave(&mut self, who: Who) -> Option<Waiter<W>> {
        let place = self.waiters.iter().position(|waiter| waiter.who == who)?;
        self.waiters.remove(place)
    }

    /// Takes out all of a process that has ended.
    pub(crate) fn leave_all(&mut self, client: u64) -> Vec<Waiter<W>> {
        let (left, stay) =
            std::mem::take(&mut self.waiters).into_iter().partition(|w| w.who.client == client);
        self.waiters = stay;
        Vec::from(left)
    }

    /// Takes out all.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiter<W>> {
        self.waiters.drain(..)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }
}
