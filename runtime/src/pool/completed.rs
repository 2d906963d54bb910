//! Several tasks, each as soon as it is done.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::error::TaskError;
use super::submit::Task;

/// What a task gave, behind its number among those that were given.
type Numbered<R> = (usize, Result<R, TaskError>);

/// The results of some tasks, each as soon as it is there; a stream. From [`as_completed`].
#[must_use = "without it nobody learns of the tasks' failures"]
pub struct Completed<R> {
    results: mpsc::UnboundedReceiver<Numbered<R>>,
}

/// The numbers of these tasks and their results, in the order in which they are done. Python's `as_completed`.
///
/// Where one function is called on many items, [`Pool::map_unordered`](super::Pool::map_unordered) costs less. Dropped,
/// the tasks run on; for some that may have to be cancelled, take [`wait_any`](super::wait_any).
///
/// ```no_run
/// # use watertight::prelude::*;
/// # async fn f(sys: System) -> Result<()> {
/// # let pool = sys.pool(2).await?;
/// let tasks = [pool.submit(|x: u32| x + 1, 1), pool.submit(|x: u32| x * 7, 6)];
/// let mut completed = watertight::pool::as_completed(tasks);
/// while let Some((number, result)) = completed.next().await {
///     println!("task {number} gave {}", result?);
/// }
/// # Ok(()) }
/// ```
pub fn as_completed<R>(tasks: impl IntoIterator<Item = Task<R>>) -> Completed<R>
where
    R: DeserializeOwned + Send + 'static,
{
    // Never holds more than there are tasks, and a pool keeps no more than it takes.
    let (tell, results) = mpsc::unbounded_channel();
    for (number, task) in tasks.into_iter().enumerate() {
        let tell = tell.clone();
        // Nobody may want them any more.
        task.then(move |result| drop(tell.send((number, result))));
    }
    Completed { results }
}

impl<R> Completed<R> {
    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<(usize, Result<R, TaskError>)> {
        self.results.recv().await
    }
}

impl<R> Stream for Completed<R> {
    type Item = Numbered<R>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.results.poll_recv(cx)
    }
}

impl<R> std::fmt::Debug for Completed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Completed").field("waiting", &self.results.len()).finish_non_exhaustive()
    }
}
