//! Items in, outcomes out: what all maps have in common.
//!
//! Items are taken from the iterator only while few of them are under way, so an endless iterator takes no memory. It is
//! done in the caller's own task, so neither the items nor the results need be `Send`.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};

use super::Pool;
use super::chunk::{self, Chunk, Inputs};
use super::error::{PoolError, TaskError};
use super::job::{Job, Outcome, Shared};
use super::row;
use super::stats::Progress;
use crate::process::board::SLOTS;
use crate::process::code_reference::CodeReference;
use crate::sync::lock;
use crate::task;
use crate::wire::{codec, passing};

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
    results: Results,
    /// A failure behind a row of results.
    stashed: Option<(u64, TaskError)>,
    began: Instant,
    on_progress: Option<Box<dyn FnMut(Progress) + Send>>,
    reported: Instant,
    result: PhantomData<fn() -> R>,
}

/// What has come.
pub(super) enum Row<R> {
    /// Results from this item on.
    Results(u64, Vec<R>),
    /// This item has none.
    Failed(u64, TaskError),
}

#[derive(Default)]
struct Results {
    next: u64,
    left: u32,
    bytes: Vec<u8>,
    read: usize,
    descriptors: Vec<Arc<OwnedFd>>,
}

impl<I: Iterator, R> Feed<I, R> {
    pub(super) fn new(pool: &Pool, code: CodeReference, context: Option<Shared>, items: I) -> Feed<I, R> {
        let options = &pool.keeper.options;
        let job = Job::new(code, context, options.deadline, options.retries);
        let refused = lock(&pool.crew.state).refuses();
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
            result: PhantomData,
        }
    }

    pub(super) fn set_chunk(&mut self, tasks: usize) {
        self.chunk = Some(tasks.max(1) as u64);
    }

    pub(super) fn set_on_progress(&mut self, call: Box<dyn FnMut(Progress) + Send>) {
        self.on_progress = Some(call);
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
    pub(super) fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Option<Row<R>>> {
        let Some((first, result)) = std::task::ready!(self.poll(cx, u64::MAX)) else {
            return Poll::Ready(None);
        };
        let mut results = Vec::with_capacity(self.results.left as usize + 1);
        match result {
            Ok(result) => results.push(result),
            Err(error) => return Poll::Ready(Some(Row::Failed(first, error))),
        }
        while let Some((task, result)) = self.next_result() {
            self.done += 1;
            match result {
                Ok(result) => results.push(result),
                Err(error) => {
                    self.failed += 1;
                    self.stashed = Some((task, error));
                    break;
                }
            }
        }
        self.report(false);
        Poll::Ready(Some(Row::Results(first, results)))
    }

    /// The next outcome, and the number of its item. Takes items as long as fewer than `most` of them are under way or
    /// wait to be given out.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        most: u64,
    ) -> Poll<Option<(u64, Result<R, TaskError>)>> {
        loop {
            if let Some((task, error)) = self.stashed.take() {
                return Poll::Ready(Some((task, Err(error))));
            }
            if let Some(result) = self.next_result() {
                self.count(result.1.is_err());
                return Poll::Ready(Some(result));
            }
            if let Some(error) = self.refused.take() {
                self.exhausted = true;
                self.taken = self.done;
                // Even a map of nothing tells.
                return Poll::Ready(Some((self.done, Err(error.into()))));
            }
            self.take_items(most);
            if self.exhausted && self.done >= self.taken {
                self.report(true);
                return Poll::Ready(None);
            }
            let Some(job) = &self.job else { return Poll::Ready(None) };
            match std::task::ready!(job.poll_take(cx)) {
                Outcome::Results { first, tasks, bytes } => {
                    self.results =
                        Results { next: first, left: tasks, bytes, read: 0, descriptors: Vec::new() };
                }
                Outcome::Single { task, bytes, descriptors } => {
                    self.results = Results { next: task, left: 1, bytes, read: 0, descriptors };
                }
                Outcome::Failed { task, error } => {
                    self.count(true);
                    return Poll::Ready(Some((task, Err(error))));
                }
            }
        }
    }

    fn count(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        self.report(false);
    }

    /// Sends chunks until enough is under way.
    fn take_items(&mut self, most: u64) {
        let Some(job) = self.job.clone() else { return };
        let workers = self.pool.workers().max(1);
        loop {
            let left = self.total.map(|total| total.saturating_sub(self.taken));
            let size = self.chunk.unwrap_or_else(|| chunk::size(job.mean(), self.taken, left, workers));
            // For each worker what it has, and one more chunk.
            let window = most.min(size.saturating_mul((workers * (SLOTS + 1)) as u64));
            if self.exhausted || self.taken - self.done >= window {
                return;
            }
            self.take_chunk(&job, size.min(window));
        }
    }

    fn take_chunk(&mut self, job: &Arc<Job>, size: u64) {
        let first = self.taken;
        let mut inputs = Inputs::default();
        let mut broken = None;
        let ((), beside) = passing::collecting(|| {
            while (inputs.len() as u64) < size && !inputs.is_full() && passing::collected() == 0 {
                let Some(item) = self.items.next() else {
                    self.exhausted = true;
                    return;
                };
                self.taken += 1;
                if let Err(error) = inputs.add(|out| task::encode_input(&item, out)) {
                    broken = Some(error);
                    return;
                }
            }
        });
        if let Some(error) = broken {
            let error = TaskError::Input(error.to_string());
            job.put(Outcome::Failed { task: self.taken - 1, error });
        } else if !beside.is_empty() {
            // What owns descriptors travels alone.
            let last = inputs.split_last().with_descriptors(beside);
            self.put(Chunk::new(job, self.taken - 1, last));
        }
        if inputs.len() > 0 {
            self.put(Chunk::new(job, first, inputs));
        }
    }

    fn put(&mut self, chunk: Chunk) {
        let (job, first, tasks) = (Arc::clone(&chunk.job), chunk.first, chunk.tasks());
        if let Err(error) = self.pool.crew.put(chunk) {
            self.exhausted = true;
            for task in first..first + u64::from(tasks) {
                job.put(Outcome::Failed { task, error: error.clone().into() });
            }
        }
    }

    fn next_result(&mut self) -> Option<(u64, Result<R, TaskError>)> {
        let results = &mut self.results;
        results.left = results.left.checked_sub(1)?;
        let rest = results.bytes.get(results.read..).unwrap_or_default();
        // That there are as many as there should be was checked when they came.
        let result = match row::next(rest) {
            Some((result, behind)) => {
                results.read += rest.len() - behind.len();
                match result {
                    Ok(bytes) => decode(bytes, &results.descriptors),
                    Err(text) => Err(TaskError::Result(String::from_utf8_lossy(text).into_owned())),
                }
            }
            None => Err(TaskError::Result("the result is cut off".into())),
        };
        let task = results.next;
        results.next += 1;
        Some((task, result))
    }
}

/// Reads a result. It comes from another process, and that may have gone wrong.
pub(super) fn decode<R: DeserializeOwned>(
    bytes: &[u8],
    descriptors: &[Arc<OwnedFd>],
) -> Result<R, TaskError> {
    let read = || codec::decode_nested::<R>(bytes);
    let decoded = if descriptors.is_empty() {
        read()
    } else {
        let owned: std::io::Result<Vec<OwnedFd>> = descriptors.iter().map(|one| one.try_clone()).collect();
        let owned = owned.map_err(|error| TaskError::Result(format!("no descriptor left: {error}")))?;
        passing::offering(owned, read).0
    };
    decoded.map_err(|error| TaskError::Result(format!("the result could not be read: {error}")))
}

impl<I, R> Drop for Feed<I, R> {
    /// Nobody wants the rest: what is not begun is taken back.
    fn drop(&mut self) {
        if let Some(job) = &self.job
            && (!self.exhausted || self.done < self.taken)
        {
            job.cancel();
            let mut state = lock(&self.pool.crew.state);
            state.withdraw(job);
            self.pool.crew.give_out(&mut state);
        }
    }
}
