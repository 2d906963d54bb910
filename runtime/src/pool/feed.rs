//! Items in, outcomes out: what all maps have in common.
//!
//! Items are taken from the iterator only while few of them are under way, so an endless iterator takes no memory. It is
//! done in the caller's own task, so neither the items nor the results need be `Send`.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::Pool;
use super::chunk::{self, Chunk, Inputs};
use super::error::{PoolError, TaskError};
use super::job::{Job, Outcome, Shared};
use super::results::Results;
use super::stats::Progress;
use crate::process::code_reference::CodeReference;
use crate::sync::lock;
use crate::wire::passing;

/// How often a progress callback is called at most.
const REPORT: Duration = Duration::from_millis(100);

/// A job that is being fed.
pub(super) struct Feed<I, R> {
    pool: Pool,
    job: Option<Arc<Job>>,
    items: I,
    exhausted: bool,
    /// Why nothing is sent.
    refused: Option<PoolError>,
    total: Option<u64>,
    /// Items taken so far.
    taken: u64,
    done: u64,
    failed: u64,
    chunk: Option<u64>,
    /// Results that have come and are not given out yet.
    results: Results<R>,
    /// A failure behind a row of results.
    stashed: Option<(u64, TaskError)>,
    began: Instant,
    on_progress: Option<Box<dyn FnMut(Progress) + Send>>,
    reported: Instant,
}

/// What has come.
pub(super) enum Row {
    /// Results from this item on: [`Feed::take_row`] takes them.
    Results(u64),
    /// This item has none.
    Failed(u64, TaskError),
}

impl<I: Iterator, R> Feed<I, R> {
    pub(super) fn new(pool: &Pool, code: CodeReference, context: Option<Shared>, items: I) -> Feed<I, R> {
        let options = &pool.keeper.options;
        let (refused, before) = {
            let state = lock(&pool.crew.state);
            (state.refuses(), state.took.of(code))
        };
        let job = Job::new(code, context, options.deadline, options.retries, before);
        let mut feed = Feed::with(pool, refused, items);
        feed.job = Some(job);
        feed
    }

    /// A job that cannot be done.
    pub(super) fn refused(pool: &Pool, error: PoolError, items: I) -> Feed<I, R> {
        Feed::with(pool, Some(error), items)
    }

    fn with(pool: &Pool, refused: Option<PoolError>, items: I) -> Feed<I, R> {
        let total = match items.size_hint() {
            (least, Some(most)) if least == most => Some(least as u64),
            _ => None,
        };
        Feed {
            pool: pool.clone(),
            job: None,
            items,
            exhausted: false,
            refused,
            total,
            taken: 0,
            done: 0,
            failed: 0,
            chunk: None,
            results: Results::default(),
            stashed: None,
            began: Instant::now(),
            on_progress: None,
            reported: Instant::now(),
        }
    }

    pub(super) fn set_chunk(&mut self, tasks: usize) {
        self.chunk = Some(tasks.max(1) as u64);
    }

    pub(super) fn set_on_progress(&mut self, call: Box<dyn FnMut(Progress) + Send>) {
        self.on_progress = Some(call);
    }

    /// Why nothing more is sent, if so.
    pub(super) fn refusal(&self) -> Option<PoolError> {
        self.refused.clone()
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    fn report(&mut self, last: bool) {
        if let Some(call) = &mut self.on_progress
            && (last || self.reported.elapsed() >= REPORT)
        {
            self.reported = Instant::now();
            let (done, failed, total) = (self.done, self.failed, self.total);
            call(Progress { done, failed, total, elapsed: self.began.elapsed() });
        }
    }
}

impl<I, R> Feed<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// The next outcomes, as many as there are: in a row, or a single failure. As [`poll`](Self::poll) else.
    pub(super) fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Option<Row>> {
        if let Some((task, error)) = self.stashed.take() {
            self.count(1, true);
            return Poll::Ready(Some(Row::Failed(task, error)));
        }
        if self.results.len() == 0 {
            return self.poll_more(cx, u64::MAX);
        }
        Poll::Ready(Some(Row::Results(self.results.next)))
    }

    /// How many results a row may have now.
    pub(super) fn waiting(&self) -> usize {
        self.results.len()
    }

    /// Gives the results that have come to `put`, in order, up to the first failure; that comes next.
    pub(super) fn take_row(&mut self, put: impl FnMut(R)) {
        let first = self.results.next;
        self.stashed = self.results.take_row(put);
        let failures = u64::from(self.stashed.is_some());
        self.count(self.results.next - first - failures, false);
    }

    /// The next outcome, and the number of its item. Takes items as long as fewer than `most` of them are under way or
    /// wait to be given out.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        most: u64,
    ) -> Poll<Option<(u64, Result<R, TaskError>)>> {
        loop {
            if let Some(result) = self.results.take_one() {
                self.count(1, result.1.is_err());
                return Poll::Ready(Some(result));
            }
            match std::task::ready!(self.poll_more(cx, most)) {
                Some(Row::Results(_)) => {}
                Some(Row::Failed(task, error)) => return Poll::Ready(Some((task, Err(error)))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Feeds the workers, and takes what has come. A failure has been counted.
    fn poll_more(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<Option<Row>> {
        if let Some(error) = self.refusal()
            && !self.exhausted
            && self.done >= self.taken
            && let Some(_) = self.items.next()
        {
            // Every item has an outcome, also those that nobody will run.
            let task = self.taken;
            self.taken += 1;
            self.count(1, true);
            return Poll::Ready(Some(Row::Failed(task, error.into())));
        }
        self.take_items(most);
        if self.exhausted && self.done >= self.taken {
            self.report(true);
            return Poll::Ready(None);
        }
        let Some(job) = &self.job else { return Poll::Ready(None) };
        self.results = match std::task::ready!(job.poll_take(cx)) {
            Outcome::Results { first, tasks, bytes } => Results::new(first, tasks, bytes, Vec::new()),
            Outcome::Single { task, bytes, descriptors } => Results::new(task, 1, bytes, descriptors),
            Outcome::Failed { task, error } => {
                self.count(1, true);
                return Poll::Ready(Some(Row::Failed(task, error)));
            }
        };
        Poll::Ready(Some(Row::Results(self.results.next)))
    }

    fn count(&mut self, outcomes: u64, failed: bool) {
        self.done += outcomes;
        self.failed += if failed { outcomes } else { 0 };
        self.report(false);
    }

    /// Sends chunks until enough is under way.
    fn take_items(&mut self, most: u64) {
        if self.refused.is_some() {
            self.exhausted |= self.done >= self.taken;
            return;
        }
        let Some(job) = self.job.clone() else { return };
        let workers = self.pool.workers().max(1);
        loop {
            let left = self.total.map(|total| total.saturating_sub(self.taken));
            let mean = job.mean();
            let size = self.chunk.unwrap_or_else(|| chunk::size(mean, job.before, left, workers));
            let window = most.min(chunk::window(mean, size, workers));
            if self.exhausted || self.refused.is_some() || self.taken - self.done >= window {
                return;
            }
            self.take_chunk(&job, size.min(window));
        }
    }

    fn take_chunk(&mut self, job: &Arc<Job>, size: u64) {
        let first = self.taken;
        let mut inputs = Inputs::with_room(size);
        let (added, beside) = passing::collecting(|| inputs.add_some(&mut self.items, size));
        self.taken += u64::from(inputs.tasks());
        let broken = match added {
            Ok(ended) => {
                self.exhausted = ended;
                None
            }
            Err(error) => {
                self.taken += 1;
                Some(error)
            }
        };
        if let Some(error) = broken {
            let error = TaskError::Input(error.to_string());
            job.put(Outcome::Failed { task: self.taken - 1, error });
        } else if !beside.is_empty() {
            // What owns descriptors travels alone.
            let last = inputs.split_last().with_descriptors(beside);
            self.put(Chunk::new(job, self.taken - 1, last));
        }
        if inputs.tasks() > 0 {
            self.put(Chunk::new(job, first, inputs));
        }
    }

    fn put(&mut self, chunk: Chunk) {
        let (job, first, tasks) = (Arc::clone(&chunk.job), chunk.first, chunk.tasks());
        if let Err(error) = self.pool.crew.put(chunk) {
            self.refused = Some(error.clone());
            for task in first..first + u64::from(tasks) {
                job.put(Outcome::Failed { task, error: error.clone().into() });
            }
        }
    }
}

impl<I, R> Drop for Feed<I, R> {
    /// Nobody wants the rest: what is not begun is taken back.
    fn drop(&mut self) {
        let Some(job) = &self.job else { return };
        let mut state = lock(&self.pool.crew.state);
        state.took.note(job.code, job.mean());
        if !self.exhausted || self.done < self.taken {
            job.cancel();
            state.withdraw(job);
            self.pool.crew.give_out(&mut state);
        }
    }
}
