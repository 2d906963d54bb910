//! A worker as its pool sees it: what it has, and what has become of that.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::{self, Chunk};
use super::error::TaskError;
use super::job::{Outcome, Shared};
use super::reading;
use super::state::WORTH_TAKING;
use super::stats::WorkerStats;
use super::worker::{Beyond, CONTEXTS, InputRow, Run, Worker};
use crate::address::Address;
use crate::clock;
use crate::process::board::{Board, SLOTS};
use crate::report::CrashReport;
use crate::wire::passing::Passed;

/// A chunk that is with a worker for so long is behind a task that is not like the others, in nanoseconds: several times
/// what two chunks should take.
const WAITS: u64 = 40_000_000;

/// A worker as its pool sees it.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) address: Address<Worker>,
    pub(super) board: Arc<Board>,
    pub(super) slots: [Option<Flight>; SLOTS],
    /// Numbers of what it should have of contexts.
    pub(super) contexts: VecDeque<u64>,
    /// It gets no more chunks.
    pub(super) leaving: bool,
    /// It is being killed, and what its task in hand fails with.
    pub(super) condemned: Option<Condemned>,
    pub(super) stats: WorkerStats,
}

/// A worker that is about to die of a task that must end.
pub(super) struct Condemned {
    /// What the task fails with.
    pub(super) error: TaskError,
    /// Its process has been sent the signal: what is sent to the worker now goes to its next life.
    killed: bool,
}

/// A chunk that a worker has.
pub(super) struct Flight {
    pub(super) chunk: Chunk,
    /// How many of its tasks are still the worker's.
    pub(super) end: u32,
    /// When it was sent, in nanoseconds.
    pub(super) sent: u64,
    /// The task that was in hand when a look was last taken, and since when that look finds it there, in nanoseconds.
    pub(super) seen: (u32, u64),
}

impl Flight {
    /// A chunk that is sent now.
    pub(super) fn new(chunk: Chunk) -> Flight {
        Flight { end: chunk.tasks(), chunk, sent: clock::now(), seen: (0, 0) }
    }
}

impl Member {
    pub(super) fn new(number: usize, address: Address<Worker>, board: Board) -> Member {
        Member {
            number,
            address,
            board: Arc::new(board),
            slots: std::array::from_fn(|_| None),
            contexts: VecDeque::new(),
            leaving: false,
            condemned: None,
            stats: WorkerStats::default(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The message for a chunk. What its tasks share goes along unless the worker should have it.
    pub(super) fn run(&mut self, chunk: &Chunk, slot: usize, with_context: bool) -> Run {
        let context = chunk.job.context.as_ref().map(|shared| {
            if self.contexts.contains(&shared.number) && !with_context {
                return Shared { number: shared.number, content: None };
            }
            self.contexts.truncate(CONTEXTS - 1);
            self.contexts.push_front(shared.number);
            shared.clone()
        });
        let timed = chunk.job.deadline.is_some();
        Run {
            slot: u8::try_from(slot).unwrap_or(0),
            code: chunk.job.code,
            context,
            block: chunk::block(chunk.job.mean(), timed),
            timed,
            inputs: InputRow::Of(chunk.clone()),
            descriptors: Passed(chunk.descriptors()),
        }
    }

    /// How long what could be taken back of a chunk will take, in nanoseconds.
    pub(super) fn left(&self, slot: usize, now: u64) -> u64 {
        let Some(flight) = &self.slots[slot] else { return 0 };
        let at = self.board.progress(slot);
        let unclaimed = u64::from(at.end.min(flight.end).saturating_sub(at.claimed));
        let mean = flight.chunk.job.mean();
        let waits = now.saturating_sub(flight.sent) >= WAITS;
        // What has just been sent to an idle worker begins there before it could anywhere else.
        let is_next = at.claimed == 0 && self.slots.iter().flatten().all(|other| flight.sent <= other.sent);
        let tasks = if is_next && !waits { unclaimed.saturating_sub(1) } else { unclaimed };
        // Of a job of which nothing is known, each task may be long; and nobody knows how long the one in hand will take
        // for which they wait already.
        if mean == 0 || waits { tasks * mean.max(WORTH_TAKING) } else { tasks * mean }
    }

    /// Takes back what it has not claimed of a chunk, but for the first `keep` tasks of that.
    pub(super) fn take_back(&mut self, slot: usize, keep: u32) -> Option<Chunk> {
        let flight = self.slots[slot].as_mut()?;
        let taken = self.board.take_rest(slot, keep);
        // A board that says more than the worker was given is read when the worker has answered or died.
        if taken.is_empty() || taken.end > flight.end {
            return None;
        }
        flight.end = taken.start;
        Some(flight.chunk.part(taken.start, taken.end))
    }

    /// Its task in hand will fail with `error`.
    pub(super) fn condemn(&mut self, error: TaskError) {
        self.condemned = Some(Condemned { error, killed: false });
    }

    /// Its process has been sent the signal.
    pub(super) fn was_killed(&mut self) {
        if let Some(condemned) = &mut self.condemned {
            condemned.killed = true;
        }
        self.may_be_pardoned();
    }

    /// If its last task was done before the signal came, no death will be told: it goes on in its next life.
    pub(super) fn may_be_pardoned(&mut self) {
        if self.is_idle() && self.condemned.as_ref().is_some_and(|condemned| condemned.killed) {
            self.condemned = None;
        }
    }
}

/// How a worker died.
pub(super) struct Death {
    pub(super) report: Option<Box<CrashReport>>,
    /// What the task in hand fails with, if not with the death itself.
    pub(super) error: Option<TaskError>,
}

/// What a chunk has come to.
pub(super) struct Settled {
    /// So many tasks have run.
    pub(super) ran: u32,
    /// To be run elsewhere, last ones first.
    pub(super) again: Vec<Chunk>,
}

/// Gives out the results of a chunk, and what its other tasks fail with.
pub(super) fn settle(
    member: &mut Member,
    slot: usize,
    flight: &Flight,
    beyond: Option<Beyond>,
    death: Option<Death>,
) -> Settled {
    let at = member.board.progress(slot);
    let reading = reading::read(at, flight.end, death.is_some(), beyond.is_some());
    let chunk = &flight.chunk;
    let mut again = Vec::new();
    if !reading.rest.is_empty() {
        again.push(chunk.part(reading.rest.start, reading.rest.end));
    }
    if let Some(beyond) = beyond.filter(|_| reading.in_doubt.is_empty()) {
        member.stats.tasks += 1;
        chunk.job.put(beyond.into_outcome(chunk.first + u64::from(reading.done)));
    }
    for task in reading.in_doubt.clone() {
        member.stats.failed += 1;
        again.extend(failed(chunk, task, death.as_ref()));
    }
    member.stats.tasks += u64::from(reading.done);
    if reading.done > 0 {
        // Whether these bytes are so many results is found as they are read.
        let bytes = member.board.copy_results(slot, at.bytes);
        chunk.job.put(Outcome::Results { first: chunk.first, tasks: reading.done, bytes });
    }
    Settled { ran: reading.done, again }
}

/// A task has no result: it is tried again, or fails.
fn failed(chunk: &Chunk, task: u32, death: Option<&Death>) -> Option<Chunk> {
    let mut one = chunk.part(task, task + 1);
    one.attempts = one.attempts.saturating_add(1);
    let own = death.and_then(|death| death.error.clone());
    let report = death.and_then(|death| death.report.clone());
    if own.is_none() && report.is_some() && one.attempts <= chunk.job.retries && !chunk.job.is_cancelled() {
        return Some(one);
    }
    let error = match (own, report) {
        (Some(TaskError::Deadline { limit, .. }), report) => TaskError::Deadline { limit, report },
        (Some(error), _) => error,
        (None, Some(report)) => TaskError::Died { report, attempts: one.attempts },
        (None, None) => TaskError::Refused("its account of what it ran cannot be true".into()),
    };
    fail(&one, 0..1, &error);
    None
}

/// These tasks of a chunk have no result.
pub(super) fn fail(chunk: &Chunk, tasks: std::ops::Range<u32>, error: &TaskError) {
    for task in tasks {
        chunk.job.put(Outcome::Failed { task: chunk.first + u64::from(task), error: error.clone() });
    }
}

impl Beyond {
    fn into_outcome(self, task: u64) -> Outcome {
        Outcome::Single { task, bytes: self.row.0, descriptors: self.descriptors.0 }
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
