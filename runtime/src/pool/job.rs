//! One call of a pool: what its tasks run, and where their outcomes are collected.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::TaskError;
use crate::process::code_reference::CodeReference;
use crate::sync::lock;
use crate::task::Piece;
use crate::wire::passing::Passed;

/// A job.
pub(super) struct Job {
    pub(super) code: CodeReference,
    /// What its tasks share.
    pub(super) context: Option<Shared>,
    /// How long each task may run.
    pub(super) deadline: Option<Duration>,
    /// How often a task is tried again after a death.
    pub(super) retries: u8,
    /// Nobody wants its results any more.
    cancelled: AtomicBool,
    /// How long a task takes, in nanoseconds; 0 as long as nothing is known.
    mean: AtomicU64,
    arrived: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    outcomes: VecDeque<Outcome>,
    /// Whoever waits for more.
    waker: Option<Waker>,
}

/// What the tasks of a job share: the workers keep it by its number.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) number: u64,
    /// Nothing for a worker that should have it.
    pub(super) content: Option<(Piece, Passed)>,
}

/// What has become of a row of tasks.
pub(super) enum Outcome {
    /// So many results from this task on, each behind its length.
    Results { first: u64, tasks: u32, bytes: Vec<u8> },
    /// One result, with the descriptors beside it.
    Single { task: u64, bytes: Vec<u8>, descriptors: Vec<Arc<OwnedFd>> },
    /// One task has none.
    Failed { task: u64, error: TaskError },
}

impl Job {
    pub(super) fn new(
        code: CodeReference,
        context: Option<Shared>,
        deadline: Option<Duration>,
        retries: u8,
    ) -> Arc<Job> {
        Arc::new(Job {
            code,
            context,
            deadline,
            retries,
            cancelled: AtomicBool::new(false),
            mean: AtomicU64::new(0),
            arrived: Mutex::default(),
        })
    }

    pub(super) fn put(&self, outcome: Outcome) {
        let waker = {
            let mut arrived = lock(&self.arrived);
            arrived.outcomes.push_back(outcome);
            arrived.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next outcome; when there is none, `cx` is woken by it.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut arrived = lock(&self.arrived);
        match arrived.outcomes.pop_front() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                arrived.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn has_outcome(&self) -> bool {
        !lock(&self.arrived).outcomes.is_empty()
    }

    /// Whether there is an outcome; when there is none, `cx` is woken by it.
    pub(super) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut arrived = lock(&self.arrived);
        if arrived.outcomes.is_empty() {
            arrived.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(super) fn mean(&self) -> u64 {
        self.mean.load(Ordering::Relaxed)
    }

    /// A chunk of so many tasks took so long. The last one counts for half: tasks may change as a job goes on.
    pub(super) fn measured(&self, tasks: u32, nanoseconds: u64) {
        let one = (nanoseconds / u64::from(tasks.max(1))).max(1);
        let before = self.mean();
        let mean = if before == 0 { one } else { before / 2 + one / 2 };
        self.mean.store(mean.max(1), Ordering::Relaxed);
    }
}
