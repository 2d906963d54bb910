//! How a pool is made.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::crew::Crew;
use super::error::{MOST_WORKERS, PoolError};
use super::member::Member;
use super::worker::{Equipment, InputRow, Run, Worker};
use super::{Keeper, Pool, starts, watch};
use crate::System;
use crate::error::{Result, SpawnError};
use crate::node::Node;
use crate::process::board::Board;
use crate::process::code_reference::{CodeReference, assert_captures_nothing};
use crate::spec::{Backoff, Output, Spec};
use crate::sync::lock;
use crate::system;
use crate::task::{self, Piece};
use crate::wire::ids::ActorId;
use crate::wire::passing::Passed;

/// A worker that dies more often than this is given up. A death and the start that follows take 2 ms at least, so that
/// only one that dies at once, again and again, comes near it.
const RESTARTS: u32 = 2_000;
const WITHIN: Duration = Duration::from_secs(5);
/// How long an idle worker may take to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How a pool is made; await it to make it.
#[derive(Clone)]
#[must_use = "a pool is made when this is awaited"]
pub struct Options {
    system: System,
    workers: usize,
    name: Option<String>,
    initializer: Option<std::result::Result<(CodeReference, Piece), String>>,
    pub(super) deadline: Option<Duration>,
    pub(super) retries: u8,
    recycle_after: Option<u64>,
    recycle_above: Option<u64>,
    memory: Option<u64>,
    output: Output,
    environment: Vec<String>,
}

impl Options {
    pub(super) fn new(system: &System, workers: usize) -> Options {
        Options {
            system: system.clone(),
            workers,
            name: None,
            initializer: None,
            deadline: None,
            retries: 0,
            recycle_after: None,
            recycle_above: None,
            memory: None,
            output: Output::Plain,
            environment: Vec::new(),
        }
    }

    /// The name that its workers' names begin with. Default: `pool-` and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls `f` with `argument` in every worker before its first task, and again whenever a worker is started anew.
    /// An error there is a worker that does not start.
    pub fn initializer<F, T>(mut self, f: F, argument: &T) -> Self
    where
        F: Fn(T) -> Result<()> + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        const { assert_captures_nothing::<F>() }
        let mut bytes = Vec::new();
        let named = task::code(f).map_err(|error| error.to_string());
        let encoded = task::encode_input(argument, &mut bytes).map_err(|error| error.to_string());
        self.initializer = Some(named.and_then(|code| encoded.map(|()| (code, Piece(bytes)))));
        self
    }

    /// How long each task may run. One that runs longer fails, and its worker is killed. Default: for ever.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How often a task is tried again whose worker died: only for tasks that may run twice. Default: 0.
    pub fn retries(mut self, retries: u8) -> Self {
        self.retries = retries;
        self
    }

    /// Replaces a worker by a fresh one after so many tasks. Python's `maxtasksperchild`.
    pub fn recycle_after(mut self, tasks: u64) -> Self {
        self.recycle_after = Some(tasks.max(1));
        self
    }

    /// Replaces a worker by a fresh one when it has more memory than this after a chunk, in bytes.
    pub fn recycle_above(mut self, bytes: u64) -> Self {
        self.recycle_above = Some(bytes);
        self
    }

    /// The most private memory each worker may have, in bytes: see [`Spec::memory`].
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Where the workers' standard output and error go. Default: [`Output::Plain`].
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Passes these environment variables on too: see [`Spec::environment`].
    pub fn environment<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.environment.extend(names.into_iter().map(Into::into));
        self
    }

    async fn start(self) -> std::result::Result<Pool, PoolError> {
        static POOLS: AtomicUsize = AtomicUsize::new(1);
        check_size(self.workers)?;
        let number = POOLS.fetch_add(1, Ordering::Relaxed);
        let identity = &self.system.node().identity;
        // Each process counts its own pools, and names are unique in the system.
        let owner =
            if identity.actor == ActorId::PROGRAM { String::new() } else { format!("{}.", identity.name) };
        let name = self.name.clone().unwrap_or_else(|| format!("{owner}pool-{number}"));
        let options = Options { name: Some(name), ..self };
        let crew = Crew::new(options.system.node());
        let pool = Pool {
            crew: Arc::clone(&crew),
            keeper: Arc::new(Keeper { crew: Arc::clone(&crew), options: options.clone() }),
        };
        options.hire(&crew, options.workers).await?;
        drop(crew.node.runtime.spawn(watch::watch(Arc::downgrade(&crew))));
        drop(crew.node.runtime.spawn(starts::watch(Arc::downgrade(&crew))));
        Ok(pool)
    }

    /// Adds workers to a crew, started side by side.
    pub(super) async fn hire(&self, crew: &Arc<Crew>, workers: usize) -> std::result::Result<(), PoolError> {
        let first = lock(&crew.state).number(workers);
        let starts: Vec<_> = (first..first + workers)
            .map(|number| {
                Ok(crew.node.runtime.spawn(start(Arc::clone(&crew.node), number, self.spec(number)?)))
            })
            .collect::<std::result::Result<_, PoolError>>()?;
        let mut failed = None;
        for start in starts {
            match start.await {
                Ok(Ok(member)) => lock(&crew.state).members.push(member),
                Ok(Err(error)) => failed = Some(error),
                Err(error) => failed = Some(PoolError::Memory(error.to_string())),
            }
        }
        crew.give_out(&mut lock(&crew.state));
        failed.map_or(Ok(()), Err)
    }

    fn spec(&self, number: usize) -> std::result::Result<(Spec<Worker>, Board), PoolError> {
        let (board, file) = Board::create().map_err(|error| PoolError::Memory(error.to_string()))?;
        let initializer = self.initializer.clone().transpose().map_err(PoolError::Code)?;
        let mut spec = Spec::new(Equipment {
            board: Passed(vec![file]),
            initializer,
            recycle_after: self.recycle_after,
            recycle_above: self.recycle_above,
        })
        .name(format!("{}.{number}", self.name.as_deref().unwrap_or("pool")))
        .intensity(RESTARTS, WITHIN)
        .backoff(Backoff::NONE)
        .hang_limit(None)
        .stop_grace(GRACE)
        .output(self.output)
        .environment(self.environment.iter().cloned());
        if let Some(bytes) = self.memory {
            spec = spec.memory(bytes);
        }
        Ok((spec, board))
    }
}

pub(super) fn check_size(workers: usize) -> std::result::Result<(), PoolError> {
    if (1..=MOST_WORKERS).contains(&workers) { Ok(()) } else { Err(PoolError::Size(workers)) }
}

/// Starts one worker, and sends it a chunk of nothing: then the link stands, and its code has been found.
async fn start(
    node: Arc<Node>,
    number: usize,
    (spec, board): (Spec<Worker>, Board),
) -> std::result::Result<Member, PoolError> {
    let name = spec.name.clone().unwrap_or_default();
    let address = system::spawn(&node, spec).await?;
    let code = task::code(|(): ()| ()).map_err(|error| PoolError::Code(error.to_string()))?;
    let nothing = Run {
        slot: 0,
        code,
        context: None,
        block: 1,
        timed: false,
        inputs: InputRow::Arrived(Piece::default()),
        descriptors: Passed::default(),
    };
    board.lay_out(0, 0);
    let ready = address.ask(nothing).await;
    ready.map_err(|error| PoolError::Start(SpawnError::Code(error.to_string())))?;
    let mut member = Member::new(number, address, board);
    member.stats.name = name;
    Ok(member)
}

impl IntoFuture for Options {
    type Output = std::result::Result<Pool, PoolError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("workers", &self.workers)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
