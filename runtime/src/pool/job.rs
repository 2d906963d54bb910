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
    /// How long a task of the same function took in another job, in nanoseconds; 0 if there was none.
    pub(super) before: u64,
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
        before: u64,
    ) -> Arc<Job> {
        Arc::new(Job {
            code,
            context,
            deadline,
            retries,
            before,
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

    /// A chunk of so many tasks took so long.
    pub(super) fn measured(&self, tasks: u32, nanoseconds: u64) {
        if let Some(mean) = mean_after(self.mean(), tasks, nanoseconds) {
            self.mean.store(mean, Ordering::Relaxed);
        }
    }
}

/// How long a task takes in nanoseconds, by what was known before (0 if nothing was) and by a further chunk of them.
fn mean_after(before: u64, tasks: u32, nanoseconds: u64) -> Option<u64> {
    /// So many tasks tell more than all before them: the first ones of a job are slow, as caches are cold.
    const MANY: u32 = 16;
    let one = nanoseconds.checked_div(u64::from(tasks))?.max(1);
    let replaces = before == 0 || (one < before && tasks >= MANY);
    // Half of each: tasks may change as a job goes on.
    Some(if replaces { one } else { before / 2 + one.div_ceil(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_task_takes_is_found_soon_and_follows_what_changes() {
        assert_eq!(mean_after(0, 1, 3_000), Some(3_000));
        assert_eq!(mean_after(3_000, 1_000, 30_000), Some(30));
        assert_eq!(mean_after(3_000, 1, 1_000), Some(2_000));
        assert_eq!(mean_after(30, 2, 2_000_000_000), Some(500_000_015));
        assert_eq!(mean_after(30, 0, 5), None);
        assert_eq!(mean_after(1, 1_000, 0), Some(1));
    }
}
