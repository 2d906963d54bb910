//! How a task can end without a result, and why a pool takes no more.

use std::time::Duration;

use thiserror::Error;

use crate::error::SpawnError;
use crate::report::CrashReport;

/// How one task can end without a result. The other tasks do not notice.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Its worker died while it ran: what it did until then is done.
    #[error("the task killed its worker {}: {}", report.name, report.exit)]
    Died {
        /// What is known of the death.
        report: Box<CrashReport>,
        /// How often it was tried: more than once only if the pool [retries](crate::pool::Options::retries).
        attempts: u8,
    },
    /// It ran longer than it may, and its worker was killed.
    #[error("the task ran longer than {limit:?} and its worker was killed")]
    Deadline {
        /// How long it may run.
        limit: Duration,
        /// What is known of the death of its worker.
        report: Option<Box<CrashReport>>,
    },
    /// It was cancelled.
    #[error("the task was cancelled")]
    Cancelled,
    /// The input does not encode, or is larger than 15 MiB.
    #[error("the input does not encode: {0}; send large data as a Blob")]
    Input(String),
    /// The function ran, but its result does not encode, or is larger than 15 MiB; or the worker could not read the
    /// input.
    #[error("{0}")]
    Result(String),
    /// The worker was asked for what it does not have.
    #[error("the worker refused the task: {0}")]
    Refused(String),
    /// The pool took or runs no more.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl TaskError {
    /// The report of the death that ended the task, if one did.
    pub fn report(&self) -> Option<&CrashReport> {
        match self {
            TaskError::Died { report, .. } | TaskError::Deadline { report: Some(report), .. } => Some(report),
            _ => None,
        }
    }
}

/// Why a pool takes or runs no more tasks.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// It was closed.
    #[error("the pool is closed")]
    Closed,
    /// It was terminated while the task waited or ran.
    #[error("the pool was terminated")]
    Terminated,
    /// None of its workers is left: each failed too often.
    #[error("the pool has no workers left: {0}")]
    NoWorkers(String),
    /// More tasks wait than a pool keeps.
    #[error("{0} tasks are waiting already; await some of them first, or use map")]
    Full(usize),
    /// The function cannot be named to another process.
    #[error("{0}")]
    Code(String),
    /// What all tasks share does not encode, or is too large.
    #[error("the context does not encode: {0}; send large data as a Blob")]
    Context(String),
    /// A worker did not start.
    #[error("a worker did not start: {0}")]
    Start(#[from] SpawnError),
    /// A pool of nobody, or of more than there can be.
    #[error("a pool has from 1 to {MOST_WORKERS} workers, not {0}")]
    Size(usize),
    /// The operating system gave no memory or descriptors for a worker.
    #[error("no shared memory for a worker: {0}")]
    Memory(String),
}

/// Most workers of one pool: each is a process.
pub const MOST_WORKERS: usize = 1024;

/// The first failure of a [map](crate::pool::Pool::map), and which item it was.
#[derive(Clone, Debug, Error)]
#[error("item {index}: {error}")]
pub struct MapError {
    /// Which item, counted from 0.
    pub index: u64,
    /// What happened to it.
    #[source]
    pub error: TaskError,
}
