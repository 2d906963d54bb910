//! The asks of one link that wait for their replies; no I/O, no clock.
//!
//! Sequences rise, so the list is sorted without sorting, and replies mostly come in order.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use crate::error::{AskError, Unreachable};
use crate::report::CrashReport;
use crate::wire::frame::Status;
use crate::wire::ids::{ActorId, Sequence};

/// How an ask ended, for the one who awaits it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A reply came, and these descriptors with it.
    Reply(Status, Vec<u8>, Vec<OwnedFd>),
    /// None will.
    Failed(Box<AskError>),
}

#[derive(Debug)]
struct Ask {
    sequence: Sequence,
    deadline: u64,
    /// `None` once it has ended; the place is given up when all before it have.
    waiter: Option<oneshot::Sender<Outcome>>,
    /// The receiver has passed the right to answer on, to this actor if it has said so.
    forwarded: Option<Option<ActorId>>,
}

/// The waiting asks, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    asks: VecDeque<Ask>,
    /// Replies that nobody waited for any more: late, or second ones.
    pub(crate) late: u64,
}

impl Pending {
    /// A new ask, younger than all others.
    pub(crate) fn add(&mut self, sequence: Sequence, deadline: u64) -> oneshot::Receiver<Outcome> {
        let (waiter, receiver) = oneshot::channel();
        self.asks.push_back(Ask { sequence, deadline, waiter: Some(waiter), forwarded: None });
        receiver
    }

    /// Its end has come; a second end is counted and dropped.
    pub(crate) fn end(&mut self, sequence: Sequence, outcome: Outcome) {
        match self.find(sequence).and_then(|ask| ask.waiter.take()) {
            Some(waiter) => {
                // Nobody waits any more if the asker dropped its ask: a late reply too.
                if waiter.send(outcome).is_err() {
                    self.late += 1;
                }
            }
            None => self.late += 1,
        }
        self.trim();
    }

    /// The receiver says that somebody else will answer.
    pub(crate) fn forwarded(&mut self, sequence: Sequence) {
        if let Some(ask) = self.find(sequence) {
            ask.forwarded.get_or_insert(None);
        }
    }

    /// Whether somebody else than the receiver will answer.
    pub(crate) fn is_forwarded(&mut self, sequence: Sequence) -> bool {
        self.find(sequence).is_some_and(|ask| ask.forwarded.is_some())
    }

    /// `holder` says that it will answer.
    pub(crate) fn adopted(&mut self, sequence: Sequence, holder: ActorId) {
        if let Some(ask) = self.find(sequence) {
            ask.forwarded = Some(Some(holder));
        }
    }

    /// The holder of some rights to answer has died.
    pub(crate) fn holder_died(&mut self, holder: ActorId, error: impl Fn() -> AskError) {
        self.end_where(|ask| ask.forwarded == Some(Some(holder)), error);
    }

    /// The receiver has died and had handled everything up to `processed`: what is not answered now never will be,
    /// unless somebody else holds the right.
    pub(crate) fn receiver_died(&mut self, processed: Sequence, report: &CrashReport) {
        self.end_where(
            |ask| ask.sequence <= processed && ask.forwarded.is_none(),
            || AskError::Died { executed: crate::Executed::Yes, report: Box::new(report.clone()) },
        );
    }

    /// The receiver is gone for good.
    pub(crate) fn receiver_gone(&mut self, reason: &Unreachable) {
        self.end_where(|ask| ask.forwarded.is_none(), || AskError::Unreachable(reason.clone()));
    }

    /// Ends what has waited long enough; says when the next deadline is.
    pub(crate) fn expire(&mut self, now: u64, executed: impl Fn(Sequence) -> crate::Executed) -> Option<u64> {
        for ask in &mut self.asks {
            if ask.deadline <= now
                && let Some(waiter) = ask.waiter.take()
            {
                let error = AskError::Deadline { executed: executed(ask.sequence) };
                // An asker that has gone needs no word.
                let _ = waiter.send(Outcome::Failed(Box::new(error)));
            }
        }
        self.trim();
        self.asks.iter().filter(|ask| ask.waiter.is_some()).map(|ask| ask.deadline).min()
    }

    fn end_where(&mut self, ends: impl Fn(&Ask) -> bool, error: impl Fn() -> AskError) {
        for ask in &mut self.asks {
            if ends(ask)
                && let Some(waiter) = ask.waiter.take()
            {
                // An asker that has gone needs no word.
                let _ = waiter.send(Outcome::Failed(Box::new(error())));
            }
        }
        self.trim();
    }

    fn find(&mut self, sequence: Sequence) -> Option<&mut Ask> {
        if self.asks.front()?.sequence == sequence {
            return self.asks.front_mut();
        }
        let at = self.asks.binary_search_by_key(&sequence, |ask| ask.sequence).ok()?;
        self.asks.get_mut(at)
    }

    fn trim(&mut self) {
        while self.asks.front().is_some_and(|ask| ask.waiter.is_none()) {
            self.asks.pop_front();
        }
    }
}
