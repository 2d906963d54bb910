//! Pools: plain functions on many items, in many processes.
//!
//! ```no_run
//! use watertight::prelude::*;
//!
//! fn square(x: u64) -> u64 { x * x }
//!
//! fn main() -> std::process::ExitCode {
//!     watertight::run(async |sys: System| {
//!         let pool = sys.pool(4).await?;
//!         println!("{:?}", pool.map(square, 1..=5).await?); // [1, 4, 9, 16, 25]
//!         Ok(())
//!     })
//! }
//! ```
//!
//! A function runs in a worker process, so it may be anything that captures nothing: a `fn`, or a closure that uses only
//! its arguments. What it needs beside them goes in as the context of [`map_with`](Pool::map_with).
//!
//! A task that panics, aborts, exits or is killed ends its worker, and only itself fails: results that the worker had are
//! kept, what it had not begun runs elsewhere, and no task runs twice unless the pool [retries](Options::retries).
//!
//! # Reading order
//!
//! `options.rs` starts a pool. `map.rs` and `submit.rs` turn items into chunks (`chunk.rs`) of a job (`job.rs`) and
//! outcomes into results, of which `completed.rs` gives the first that is there. `crew.rs` sends chunks to workers, as
//! `state.rs` decides, and `member.rs` reads what has become of them (`reading.rs`) from their boards. `worker.rs` and
//! `shift.rs` run in the worker. `watch.rs` ends tasks that take too long, `starts.rs` workers that do not start any more.

#[cfg(feature = "progress-bar")]
mod bar;
mod chunk;
mod completed;
mod crew;
mod error;
mod feed;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod job;
mod map;
mod member;
mod options;
mod reading;
mod results;
mod row;
pub(crate) mod shift;
mod starts;
mod state;
mod stats;
mod submit;
mod watch;
pub(crate) mod worker;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

pub use self::completed::{Completed, as_completed};
pub use self::error::{MOST_WORKERS, MapError, PoolError, TaskError};
pub use self::map::{Each, Map, Ordered, Unordered};
pub use self::options::Options;
pub use self::stats::{Progress, WorkerStats};
pub use self::submit::{Task, wait_any};
pub use crate::task::Spread;

use self::crew::Crew;
use self::feed::Feed;
use self::job::Shared;
use crate::System;
use crate::actor::{Actor, Context};
use crate::address::IntoRaw;
use crate::process::code_reference::{CodeError, CodeReference, assert_captures_nothing};
use crate::sync::lock;
use crate::task::{self, Piece};
use crate::wire::control::Request;
use crate::wire::passing::Passed;
use crate::wire::{codec, passing};

impl System {
    /// A pool of so many worker processes, to be awaited; as it is, or with [`Options`].
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # use std::time::Duration;
    /// # async fn f(sys: System) -> Result<()> {
    /// let pool = sys.pool(8).recycle_after(1_000).deadline(Duration::from_secs(10)).await?;
    /// # Ok(()) }
    /// ```
    pub fn pool(&self, workers: usize) -> Options {
        Options::new(self, workers)
    }
}

impl<A: Actor> Context<A> {
    /// A pool of so many worker processes, which stand under this actor and end with it: see [`System::pool`].
    pub fn pool(&self, workers: usize) -> Options {
        Options::new(&System::new(Arc::clone(&self.node)), workers)
    }
}

/// Worker processes that run functions on items; cheap to clone. When the last clone is dropped, the workers end.
#[derive(Clone)]
pub struct Pool {
    crew: Arc<Crew>,
    keeper: Arc<Keeper>,
}

/// Ends the workers when nobody has the pool any more.
struct Keeper {
    crew: Arc<Crew>,
    options: Options,
}

impl Pool {
    /// Calls `f` on every item, and collects the results in the order of the items; the first failure ends it.
    ///
    /// Dropping it takes back what is not begun. Python's `Pool.map`. What the tasks share beside their items goes through
    /// [`map_with`](Self::map_with):
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # fn main() -> std::process::ExitCode { watertight::run(async |sys: System| {
    /// # let pool = sys.pool(2).await?;
    /// let by = 3_u64;
    /// let products = pool.map_with(&by, |by: &u64, x: u64| x * by, 0..5).await?;
    /// # drop(products); Ok(()) }) }
    /// ```
    ///
    /// A closure that captures it is refused when the program is compiled, with words on what to do:
    ///
    /// ```compile_fail,E0080
    /// # use watertight::prelude::*;
    /// # fn main() -> std::process::ExitCode { watertight::run(async |sys: System| {
    /// # let pool = sys.pool(2).await?;
    /// let by = 3_u64;
    /// let products = pool.map(move |x: u64| x * by, 0..5).await?;
    /// # drop(products); Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// [`MapError`]: which item failed first, and how.
    pub fn map<F, T, R, I>(&self, f: F, items: I) -> Map<I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        Map::new(self.feed(task::code(f), None, items))
    }

    /// As [`map`](Self::map), of a function that takes the parts of each item as its arguments. Python's `Pool.starmap`.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # async fn f(sys: System) -> Result<()> {
    /// # let pool = sys.pool(2).await?;
    /// let products: Vec<u32> = pool.starmap(|a: u32, b: u32| a * b, [(1, 2), (3, 4)]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`MapError`].
    pub fn starmap<F, T, R, I>(&self, f: F, items: I) -> Map<I::IntoIter, R>
    where
        F: Spread<T, R>,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        Map::new(self.feed(task::code_star(f), None, items))
    }

    /// As [`map`](Self::map), of a function that also takes a `context`, which is sent once to each worker; a
    /// [`Blob`](crate::Blob) in it is there once for all of them.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn map_with<F, C, T, R, I>(&self, context: &C, f: F, items: I) -> Map<I::IntoIter, R>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        C: Serialize + DeserializeOwned + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        let (encoded, beside) = passing::collecting(|| codec::encode(context, task::RESULT_LIMIT));
        match encoded {
            Ok(bytes) => {
                let content = Some((Piece(bytes), Passed(beside)));
                let context = Shared { number: self.crew.next_context(), content };
                Map::new(self.feed(task::code_with(f), Some(context), items))
            }
            Err(error) => {
                let error = PoolError::Context(error.to_string());
                Map::new(Feed::refused(self, error, items.into_iter()))
            }
        }
    }

    /// Calls `f` on every item, and collects a result or an error for each, in the order of the items.
    pub fn map_each<F, T, R, I>(&self, f: F, items: I) -> Each<I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        Each::new(self.feed(task::code(f), None, items))
    }

    /// A stream of the items' numbers and results, each as soon as it is there. Items are taken from the iterator as
    /// results are taken from the stream, so both may be endless. Python's `Pool.imap_unordered`.
    pub fn map_unordered<F, T, R, I>(&self, f: F, items: I) -> Unordered<I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        Unordered::new(self.feed(task::code(f), None, items))
    }

    /// A stream of the results in the order of the items. Items are taken from the iterator as results are taken from
    /// the stream, so both may be endless. Python's `Pool.imap`.
    pub fn map_ordered<F, T, R, I>(&self, f: F, items: I) -> Ordered<I::IntoIter, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = T>,
    {
        const { assert_captures_nothing::<F>() }
        Ordered::new(self.feed(task::code(f), None, items))
    }

    /// Calls `f` on one item, in the background: await the [`Task`] for the result, or drop it and let it run. Python's
    /// `Pool.apply_async`, and `submit` of its executors.
    pub fn submit<F, T, R>(&self, f: F, item: T) -> Task<R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        const { assert_captures_nothing::<F>() }
        Task::start(self, task::code(f), &item, self.keeper.options.deadline)
    }

    fn feed<I: IntoIterator, R>(
        &self,
        code: Result<CodeReference, CodeError>,
        context: Option<Shared>,
        items: I,
    ) -> Feed<I::IntoIter, R> {
        match code {
            Ok(code) => Feed::new(self, code, context, items.into_iter()),
            Err(error) => Feed::refused(self, PoolError::Code(error.to_string()), items.into_iter()),
        }
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        lock(&self.crew.state).members.iter().filter(|member| !member.leaving).count()
    }

    /// What each worker has done.
    pub fn stats(&self) -> Vec<WorkerStats> {
        lock(&self.crew.state).members.iter().map(|member| member.stats.clone()).collect()
    }

    /// Starts or ends workers until there are so many. Those that end give back what they have not begun, and finish
    /// what they have.
    ///
    /// # Errors
    /// [`PoolError::Size`], [`PoolError::Start`].
    pub async fn resize(&self, workers: usize) -> Result<(), PoolError> {
        options::check_size(workers)?;
        let now = self.workers();
        if workers > now {
            self.keeper.options.hire(&self.crew, workers - now).await?;
            return Ok(());
        }
        let leaving = {
            let mut state = lock(&self.crew.state);
            let staying = |index: &usize| !state.members[*index].leaving;
            let indices: Vec<usize> = (0..state.members.len()).filter(staying).skip(workers).collect();
            for &index in &indices {
                state.members[index].leaving = true;
                state.relieve(index);
            }
            self.crew.give_out(&mut state);
            indices.iter().map(|&index| state.members[index].number).collect::<Vec<_>>()
        };
        self.crew.wait_until(|state| leaving.iter().all(|number| state.is_done(*number))).await;
        let gone = lock(&self.crew.state).dismiss(&leaving);
        self.crew.stop_all(&gone).await;
        Ok(())
    }

    /// Takes no more tasks. Those that it has go on.
    pub fn close(&self) {
        lock(&self.crew.state).closed = true;
    }

    /// Waits until nothing waits or runs. Tasks may still be added, unless the pool is [closed](Self::close).
    pub async fn drain(&self) {
        self.crew.wait_until(state::State::is_idle).await;
    }

    /// Takes no more tasks, waits for those that it has, and ends the workers. Python's `close` and `join`.
    pub async fn join(&self) {
        self.close();
        self.drain().await;
        let gone = lock(&self.crew.state).dismiss_all();
        self.crew.stop_all(&gone).await;
    }

    /// Kills the workers. Tasks that wait or run fail.
    pub async fn terminate(&self) {
        self.crew.end(&PoolError::Terminated);
        let gone = lock(&self.crew.state).dismiss_all();
        for address in &gone {
            // One that has ended already needs no killing.
            let _ = self.crew.node.request(Request::Kill { address: address.raw() }).await;
        }
        self.crew.stop_all(&gone).await;
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.crew.state);
        f.debug_struct("Pool")
            .field("workers", &state.members.len())
            .field("waiting", &state.waiting())
            .finish()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.crew.end(&PoolError::Closed);
        let gone = lock(&self.crew.state).dismiss_but_unread();
        let crew = Arc::clone(&self.crew);
        drop(self.crew.node.runtime.spawn(async move {
            let stopped = crew.stop_all(&gone);
            let read = tokio::time::timeout(options::GRACE, crew.wait_until(state::State::is_idle));
            // Whoever has not read it by then is stopped all the same.
            let ((), _) = tokio::join!(stopped, read);
            let gone = lock(&crew.state).dismiss_all();
            crew.stop_all(&gone).await;
        }));
    }
}
