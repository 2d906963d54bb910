//! The sending end: numbers its messages per receiver and writes down what it is told of each.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use watertight::message::Includes;
use watertight::prelude::*;

use super::journal::{How, Journal, Line, Mark, Outcome, Party, now_us};
use super::worker::{Answer, Worker};

/// Longer than any fault takes to be noticed, so that an ask that ends by it is worth a look.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks that have been sent and have not ended.
pub type Open = JoinSet<Result<()>>;

/// Everything that one life of a sender sends to one receiver.
#[derive(Debug)]
pub struct Outgoing {
    journal: Arc<Journal>,
    from: Party,
    life: u32,
    to: Party,
    last: u64,
}

/// One message that was offered.
#[derive(Debug)]
pub struct Offered {
    journal: Arc<Journal>,
    to: Party,
    pub mark: Mark,
    began: Instant,
}

impl Outgoing {
    pub fn new(journal: &Arc<Journal>, from: Party, life: u32, to: Party) -> Outgoing {
        Outgoing { journal: Arc::clone(journal), from, life, to, last: 0 }
    }

    /// Numbers the next message and writes it down, before it is sent.
    pub fn offer(&mut self, how: How) -> io::Result<Offered> {
        self.last += 1;
        let mark = Mark { sender: self.from, life: self.life, number: self.last };
        self.journal.write(&Line::Offer { to: self.to, life: self.life, number: self.last, how })?;
        Ok(Offered { journal: Arc::clone(&self.journal), to: self.to, mark, began: Instant::now() })
    }
}

impl Offered {
    /// Writes down what became of a tell.
    pub fn told<M>(self, result: Result<(), TellError<M>>) -> io::Result<()> {
        let (to, Mark { life, number, .. }) = (self.to, self.mark);
        self.journal.write(&match result {
            Ok(()) => Line::Accepted { to, life, number },
            Err(error) => Line::Refused { to, life, number, why: error.to_string() },
        })
    }

    /// Writes down how an ask ended.
    pub fn asked(self, result: &Result<Answer, AskError>) -> io::Result<()> {
        let took_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (to, Mark { life, number, .. }) = (self.to, self.mark);
        let outcome = match result {
            Ok(answer) => {
                Outcome::Replied { number: answer.number, pid: answer.pid, life: answer.life, took_us }
            }
            Err(AskError::Died { executed, .. }) => Outcome::Died { executed: *executed },
            Err(AskError::Quarantined { attempts, .. }) => Outcome::Quarantined { attempts: *attempts },
            Err(AskError::Deadline { executed }) => Outcome::Deadline { executed: *executed },
            Err(error @ (AskError::Unreachable(_) | AskError::WouldDeadlock | AskError::Encode(_))) => {
                return self.journal.write(&Line::Refused { to, life, number, why: error.to_string() });
            }
            Err(error) => Outcome::Failed { why: error.to_string() },
        };
        self.journal.write(&Line::Ended { to, life, number, outcome, at_us: now_us() })
    }
}

/// Sends an ask now, so that it stands before whatever is sent next; its end is written down as it comes.
pub async fn ask<M, P>(open: &mut Open, worker: &Address<Worker>, offered: Offered, message: M) -> Result<()>
where
    M: Message<Reply = Answer>,
    <Worker as Actor>::Messages: Includes<M, P>,
{
    let worker = worker.clone();
    let mut ask = Box::pin(async move {
        let result = worker.ask(message).deadline(DEADLINE).await;
        Ok(offered.asked(&result)?)
    });
    // It is sent when it is polled first.
    match poll_fn(|cx| Poll::Ready(ask.as_mut().poll(cx))).await {
        Poll::Ready(ended) => ended,
        Poll::Pending => {
            open.spawn(ask);
            Ok(())
        }
    }
}

/// Waits until at most `left` asks are open.
pub async fn end(open: &mut Open, left: usize) -> Result<()> {
    while let Some(ended) = open.try_join_next() {
        ended??;
    }
    while open.len() > left {
        if let Some(ended) = open.join_next().await {
            ended??;
        }
    }
    Ok(())
}
