//! One task in the background, and the handle on it.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::Pool;
use super::chunk::{Chunk, Inputs};
use super::error::{PoolError, TaskError};
use super::job::{Job, Outcome};
use super::results::Results;
use crate::process::code_reference::{CodeError, CodeReference};
use crate::sync::lock;
use crate::wire::passing;

/// A task in the background; await it for its result, once. Dropped, it runs on.
#[must_use = "a task runs on without its handle, but nobody learns of its failure"]
pub struct Task<R> {
    pool: Pool,
    job: Option<Arc<Job>>,
    refused: Option<TaskError>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Task<R> {
    pub(super) fn start<T: Serialize>(
        pool: &Pool,
        code: Result<CodeReference, CodeError>,
        item: &T,
        deadline: Option<Duration>,
    ) -> Task<R> {
        let started = code.map_err(|error| PoolError::Code(error.to_string()).into()).and_then(|code| {
            let job = Job::new(code, None, deadline, pool.keeper.options.retries, 0);
            let mut inputs = Inputs::default();
            let (added, beside) = passing::collecting(|| inputs.add(item));
            added.map_err(|error| TaskError::Input(error.to_string()))?;
            if let Some(error) = lock(&pool.crew.state).refuses() {
                return Err(error.into());
            }
            pool.crew.put(Chunk::new(&job, 0, inputs.with_descriptors(beside)))?;
            Ok(job)
        });
        let (job, refused) = match started {
            Ok(job) => (Some(job), None),
            Err(error) => (None, Some(error)),
        };
        Task { pool: pool.clone(), job, refused, result: PhantomData }
    }

    /// Whether it is done, well or not: then awaiting it takes no time. Python's `AsyncResult.ready` and `Future.done`.
    pub fn is_done(&self) -> bool {
        self.job.as_ref().is_none_or(|job| job.has_outcome())
    }

    /// Waits until it is done, and leaves the result where it is. Python's `AsyncResult.wait`.
    ///
    /// It takes the task for itself because only one can wait for it at a time.
    pub async fn done(&mut self) {
        poll_fn(|cx| self.poll_done(cx)).await;
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.job.as_ref().map_or(Poll::Ready(()), |job| job.poll_done(cx))
    }

    /// Waits at most so long; then gives the task back, still running.
    ///
    /// # Errors
    /// The task itself, to be awaited again or [cancelled](Self::cancel).
    pub async fn within(mut self, wait: Duration) -> Result<Result<R, TaskError>, Task<R>> {
        match tokio::time::timeout(wait, &mut self).await {
            Ok(result) => Ok(result),
            Err(_) => Err(self),
        }
    }

    /// Calls `call` with the result as soon as it is there.
    pub fn then(self, call: impl FnOnce(Result<R, TaskError>) + Send + 'static)
    where
        R: Send + 'static,
    {
        let runtime = self.pool.crew.node.runtime.clone();
        drop(runtime.spawn(async move { call(self.await) }));
    }

    /// Ends the task: if it is not begun it never runs; if it runs, its worker is killed. Awaiting it then gives
    /// [`TaskError::Cancelled`], unless it was done before.
    pub fn cancel(&self) {
        let Some(job) = &self.job else { return };
        job.cancel();
        let kill = {
            let mut state = lock(&self.pool.crew.state);
            state.withdraw(job);
            state.condemn_of(job, &TaskError::Cancelled)
        };
        if let Some(address) = kill {
            self.pool.crew.kill(&address);
        }
    }
}

/// Waits until one of these tasks is done, and says which: the first of them that is. Python's `wait` with
/// `FIRST_COMPLETED`. Of none it waits for ever; a task whose result was taken counts as done.
///
/// The others may then be awaited or [cancelled](Task::cancel). Each call looks at all of them: for the results of many
/// tasks, one after the other, take [`as_completed`](super::as_completed).
///
/// ```no_run
/// # use watertight::prelude::*;
/// # async fn f(sys: System) -> Result<()> {
/// # let pool = sys.pool(2).await?;
/// # fn depth_first(x: u64) -> u64 { x }
/// # fn breadth_first(x: u64) -> u64 { x }
/// let mut race = vec![pool.submit(depth_first, 17), pool.submit(breadth_first, 17)];
/// let winner = watertight::pool::wait_any(&mut race).await;
/// println!("{}", race.swap_remove(winner).await?);
/// race[0].cancel();
/// # Ok(()) }
/// ```
pub async fn wait_any<R: DeserializeOwned>(tasks: &mut [Task<R>]) -> usize {
    poll_fn(|cx| {
        let done = tasks.iter_mut().position(|task| task.poll_done(cx).is_ready());
        done.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

impl<R> std::fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl<R> Unpin for Task<R> {}

impl<R: DeserializeOwned> Future for Task<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let Some(job) = &self.job else {
            return Poll::Ready(Err(TaskError::Result(
                "the result was taken already: await a task once".into(),
            )));
        };
        let outcome = std::task::ready!(job.poll_take(cx));
        self.job = None;
        Poll::Ready(match outcome {
            Outcome::Failed { error, .. } => Err(error),
            Outcome::Results { bytes, .. } => read(bytes, Vec::new()),
            Outcome::Single { bytes, descriptors, .. } => read(bytes, descriptors),
        })
    }
}

fn read<R: DeserializeOwned>(bytes: Vec<u8>, descriptors: Vec<Arc<OwnedFd>>) -> Result<R, TaskError> {
    let one = Results::new(0, 1, bytes, descriptors).take_one();
    one.map_or_else(|| Err(TaskError::Result("there is no result".into())), |(_, result)| result)
}
