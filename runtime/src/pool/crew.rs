//! The workers of a pool and what waits for them: which worker gets which chunk, and what has become of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::chunk::Chunk;
use super::error::{PoolError, TaskError};
use super::job::{Job, Outcome};
use super::reading::{self, Reading};
use super::row;
use super::stats::WorkerStats;
use super::worker::{Beyond, CONTEXTS, Ran, Run, Worker};
use crate::address::{Address, IntoRaw, read_outcome};
use crate::clock;
use crate::error::AskError;
use crate::node::Node;
use crate::node::outgoing::Offer;
use crate::process::board::{Board, SLOTS};
use crate::report::CrashReport;
use crate::sync::lock;
use crate::task::Piece;
use crate::wire::control::Request;
use crate::wire::passing::Passed;

/// A chunk is waited for as long as it takes: tasks have deadlines of their own.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Tasks are only taken from a worker to give them to an idle one if they are worth a message, in nanoseconds.
const WORTH_TAKING: u64 = 100_000;
/// Most chunks that wait: each submitted task is one. Maps wait for room instead.
pub(super) const QUEUE: usize = 65_536;

/// A pool as all its handles share it.
pub(super) struct Crew {
    pub(super) node: Arc<Node>,
    pub(super) state: Mutex<State>,
    /// Something has become less: what waits, or what is under way.
    pub(super) eased: Notify,
    /// A chunk has been sent whose tasks have deadlines.
    pub(super) timed: Notify,
    contexts: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    queue: VecDeque<Chunk>,
    pub(super) members: Vec<Member>,
    pub(super) closed: bool,
    ended: Option<PoolError>,
    /// Workers that there have been.
    numbered: usize,
}

/// A worker as its pool sees it.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) address: Address<Worker>,
    pub(super) board: Arc<Board>,
    pub(super) slots: [Option<Flight>; SLOTS],
    /// Numbers of what it should have of contexts.
    contexts: VecDeque<u64>,
    /// It gets no more chunks.
    pub(super) leaving: bool,
    /// It is being killed, and what its task in hand fails with.
    pub(super) condemned: Option<TaskError>,
    pub(super) stats: WorkerStats,
}

/// A chunk that a worker has.
pub(super) struct Flight {
    pub(super) chunk: Chunk,
    /// How many of its tasks are still the worker's.
    pub(super) end: u32,
    /// When it was sent, in nanoseconds.
    pub(super) sent: u64,
}

impl Crew {
    pub(super) fn new(node: &Arc<Node>) -> Arc<Crew> {
        Arc::new(Crew {
            node: Arc::clone(node),
            state: Mutex::default(),
            eased: Notify::new(),
            timed: Notify::new(),
            contexts: AtomicU64::new(0),
        })
    }

    pub(super) fn next_context(&self) -> u64 {
        self.contexts.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a chunk, and gives it out if a worker is free.
    pub(super) fn put(self: &Arc<Self>, chunk: Chunk) -> Result<(), PoolError> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.queue.len() >= QUEUE {
            return Err(PoolError::Full(QUEUE));
        }
        state.queue.push_back(chunk);
        self.give_out(&mut state);
        Ok(())
    }

    /// Gives out what waits.
    pub(super) fn give_out(self: &Arc<Self>, state: &mut State) {
        while let Some((member, slot)) = state.free_place() {
            let Some(chunk) = state.next_chunk(member) else { return };
            if !self.send(state, member, slot, chunk, false) {
                return;
            }
        }
    }

    /// Sends a chunk to a worker. If it has no room, or has ended, the chunk waits on.
    fn send(
        self: &Arc<Self>,
        state: &mut State,
        index: usize,
        slot: usize,
        chunk: Chunk,
        with_context: bool,
    ) -> bool {
        let member = &mut state.members[index];
        let run = member.run(&chunk, slot, with_context);
        member.board.lay_out(slot, chunk.tasks());
        let offered = match member.address.link() {
            Ok(link) => link.offer_ask(&run, clock::after(FOR_EVER)),
            Err(reason) => Offer::Gone(reason),
        };
        match offered {
            Offer::Accepted(answer) => {
                let end = chunk.tasks();
                let timed = chunk.job.deadline.is_some();
                member.slots[slot] = Some(Flight { chunk, end, sent: clock::now() });
                if timed {
                    self.timed.notify_one();
                }
                let (crew, number) = (Arc::clone(self), member.number);
                drop(self.node.runtime.spawn(async move {
                    let answer = read_outcome::<Run>(answer.await.ok());
                    crew.answered(number, slot, answer);
                }));
                true
            }
            Offer::Encode(error) => {
                let error = TaskError::Input(error.to_string());
                fail(&chunk, 0..chunk.tasks(), &error);
                true
            }
            // One that has ended is found so by what it still has, or here.
            Offer::Gone(reason) => {
                state.queue.push_front(chunk);
                state.lose(index, &reason.to_string());
                self.eased.notify_waiters();
                !state.members.is_empty()
            }
            Offer::Full | Offer::NotYet => {
                state.queue.push_front(chunk);
                false
            }
        }
    }

    /// A worker has answered, or will not.
    fn answered(self: &Arc<Self>, number: usize, slot: usize, answer: Result<Ran, AskError>) {
        let mut state = lock(&self.state);
        let Some(index) = state.members.iter().position(|member| member.number == number) else { return };
        let member = &mut state.members[index];
        let Some(flight) = member.slots[slot].take() else { return };
        match answer {
            Ok(Ran::NeedsContext) => {
                let rest = flight.chunk.part(0, flight.end);
                if !self.send(&mut state, index, slot, rest, true) {
                    tracing::debug!("a worker that asked for its context has no room");
                }
            }
            Ok(Ran::Refused(reason)) => fail(&flight.chunk, 0..flight.end, &TaskError::Refused(reason)),
            Ok(Ran::Done { nanoseconds, beyond }) => {
                member.stats.chunks += 1;
                member.stats.busy += Duration::from_nanos(nanoseconds);
                let settled = settle(member, slot, &flight, beyond, None);
                flight.chunk.job.measured(settled.ran, nanoseconds);
                state.put_back(settled.again);
            }
            Err(AskError::Died { report, .. } | AskError::Quarantined { report, .. }) => {
                member.stats.deaths += 1;
                member.contexts.clear();
                let error = member.condemned.take();
                let death = Death { report: Some(report), error };
                let settled = settle(member, slot, &flight, None, Some(death));
                state.put_back(settled.again);
            }
            Err(error) => {
                let death = Death { report: None, error: Some(TaskError::Refused(error.to_string())) };
                let settled = settle(member, slot, &flight, None, Some(death));
                state.put_back(settled.again);
                state.lose(index, &error.to_string());
            }
        }
        self.give_out(&mut state);
        drop(state);
        self.eased.notify_waiters();
    }

    /// Kills a worker, without waiting for it.
    pub(super) fn kill(self: &Arc<Self>, address: &Address<Worker>) {
        let (node, address) = (Arc::clone(&self.node), address.raw());
        // One that has ended already needs no killing.
        drop(self.node.runtime.spawn(async move { node.request(Request::Kill { address }).await }));
    }

    /// Stops workers for good, and waits until they have.
    pub(super) async fn stop_all(&self, workers: &[Address<Worker>]) {
        let stops: Vec<_> = workers
            .iter()
            .map(|address| {
                let (node, address) = (Arc::clone(&self.node), address.raw());
                self.node.runtime.spawn(async move { node.request(Request::Stop { address }).await })
            })
            .collect();
        for stop in stops {
            // One that has ended already needs no stopping.
            let _ = stop.await;
        }
    }

    /// Waits until `holds`.
    pub(super) async fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            eased.as_mut().enable();
            if holds(&lock(&self.state)) {
                return;
            }
            eased.await;
        }
    }

    /// Whether it has been ended.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).ended.is_some()
    }

    /// Ends everything that waits.
    pub(super) fn end(&self, error: &PoolError) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.ended = Some(error.clone());
        state.fail_waiting(error);
        drop(state);
        self.eased.notify_waiters();
        self.timed.notify_one();
    }
}

impl State {
    /// Numbers for so many new workers: the first of them.
    pub(super) fn number(&mut self, workers: usize) -> usize {
        let first = self.numbered + 1;
        self.numbered += workers;
        first
    }

    /// Whether this worker has nothing left to do.
    pub(super) fn is_done(&self, number: usize) -> bool {
        self.members.iter().all(|member| member.number != number || member.is_idle())
    }

    /// Forgets these workers; returns where they are.
    pub(super) fn dismiss(&mut self, numbers: &[usize]) -> Vec<Address<Worker>> {
        let gone = self.members.extract_if(.., |member| numbers.contains(&member.number));
        gone.map(|member| member.address).collect()
    }

    /// Forgets all workers. What they have fails.
    pub(super) fn dismiss_all(&mut self) -> Vec<Address<Worker>> {
        let members = std::mem::take(&mut self.members);
        let error = TaskError::Pool(self.ended.clone().unwrap_or(PoolError::Closed));
        for flight in members.iter().flat_map(|member| member.slots.iter().flatten()) {
            fail(&flight.chunk, 0..flight.end, &error);
        }
        members.into_iter().map(|member| member.address).collect()
    }

    /// Condemns a worker: its task in hand will fail with `error`, all the rest is taken back. Returns whom to kill.
    pub(super) fn condemn(&mut self, index: usize, error: TaskError) -> Address<Worker> {
        self.relieve(index);
        let member = &mut self.members[index];
        member.condemned = Some(error);
        member.address.clone()
    }

    /// Condemns the worker that has a task of this job in hand, if one has.
    pub(super) fn condemn_of(&mut self, job: &Arc<Job>, error: &TaskError) -> Option<Address<Worker>> {
        let runs = |member: &Member| {
            (0..SLOTS).any(|slot| {
                let of_job = |flight: &Flight| Arc::ptr_eq(&flight.chunk.job, job);
                let at = member.board.progress(slot);
                member.slots[slot].as_ref().is_some_and(of_job) && at.begun > at.done
            })
        };
        let index = self.members.iter().position(|member| member.condemned.is_none() && runs(member))?;
        Some(self.condemn(index, error.clone()))
    }

    /// Why no more can be put in.
    pub(super) fn refuses(&self) -> Option<PoolError> {
        match &self.ended {
            Some(error) => Some(error.clone()),
            None if self.closed => Some(PoolError::Closed),
            None => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.members.iter().all(Member::is_idle)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Where the next chunk goes: to an idle worker, or to wait behind what another has in hand.
    fn free_place(&self) -> Option<(usize, usize)> {
        let takes = |member: &&Member| !member.leaving && member.condemned.is_none();
        let load = |member: &Member| member.slots.iter().flatten().count();
        let (index, member) = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| takes(member))
            .min_by_key(|(_, member)| load(member))?;
        Some((index, member.slots.iter().position(Option::is_none)?))
    }

    /// What waits longest, or for an idle worker a part of what a busy one has not begun.
    fn next_chunk(&mut self, member: usize) -> Option<Chunk> {
        while let Some(chunk) = self.queue.pop_front() {
            if !chunk.job.is_cancelled() {
                return Some(chunk);
            }
            fail(&chunk, 0..chunk.tasks(), &TaskError::Cancelled);
        }
        if !self.members[member].is_idle() {
            return None;
        }
        let (_, index, slot) = self
            .members
            .iter()
            .enumerate()
            .flat_map(|(index, member)| (0..SLOTS).map(move |slot| (member.left(slot), index, slot)))
            .max()
            .filter(|(worth, ..)| *worth >= WORTH_TAKING)?;
        let member = &mut self.members[index];
        let at = member.board.progress(slot);
        member.take_back(slot, at.end.saturating_sub(at.begun) / 2)
    }

    /// A worker is gone for good: the others do its work.
    fn lose(&mut self, index: usize, reason: &str) {
        tracing::warn!(reason, "a pool has lost a worker");
        let member = &mut self.members[index];
        member.leaving = true;
        // What it still has is settled by its own answers.
        if member.is_idle() {
            self.members.swap_remove(index);
        }
        if self.members.iter().all(|member| member.leaving && member.is_idle()) {
            let error = PoolError::NoWorkers(reason.to_owned());
            self.ended = Some(error.clone());
            self.fail_waiting(&error);
        }
    }

    /// Puts chunks in front of what waits, each before the ones before it.
    fn put_back(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            self.queue.push_front(chunk);
        }
    }

    fn fail_waiting(&mut self, error: &PoolError) {
        for chunk in std::mem::take(&mut self.queue) {
            fail(&chunk, 0..chunk.tasks(), &TaskError::Pool(error.clone()));
        }
    }

    /// Takes back what no worker has begun of the cancelled job; what waits of it goes when its turn comes.
    pub(super) fn withdraw(&mut self, job: &Arc<Job>) {
        for member in &mut self.members {
            for slot in 0..SLOTS {
                let is_of_job =
                    member.slots[slot].as_ref().is_some_and(|flight| Arc::ptr_eq(&flight.chunk.job, job));
                if is_of_job && let Some(chunk) = member.take_back(slot, 0) {
                    fail(&chunk, 0..chunk.tasks(), &TaskError::Cancelled);
                }
            }
        }
        self.queue.retain(|chunk| {
            let stays = !Arc::ptr_eq(&chunk.job, job);
            if !stays {
                fail(chunk, 0..chunk.tasks(), &TaskError::Cancelled);
            }
            stays
        });
    }

    /// Takes back all that a worker has not begun: it is about to be killed or stopped.
    pub(super) fn relieve(&mut self, index: usize) {
        for slot in (0..SLOTS).rev() {
            if let Some(chunk) = self.members[index].take_back(slot, 0) {
                self.queue.push_front(chunk);
            }
        }
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
    fn run(&mut self, chunk: &Chunk, slot: usize, with_context: bool) -> Run {
        let context = chunk.job.context.as_ref().map(|(id, bytes)| {
            let known = self.contexts.contains(id) && !with_context;
            if !known {
                self.contexts.truncate(CONTEXTS - 1);
                self.contexts.push_front(*id);
            }
            (*id, (!known).then(|| Piece(bytes.clone())))
        });
        Run {
            slot: u8::try_from(slot).unwrap_or(0),
            code: chunk.job.code,
            context,
            timed: chunk.job.deadline.is_some(),
            inputs: Piece(chunk.bytes().to_vec()),
            descriptors: Passed(chunk.descriptors()),
        }
    }

    /// How long what it has not begun of a chunk will take, in nanoseconds.
    fn left(&self, slot: usize) -> u64 {
        let Some(flight) = &self.slots[slot] else { return 0 };
        let at = self.board.progress(slot);
        let tasks = u64::from(at.end.min(flight.end).saturating_sub(at.begun));
        // Of a job of which nothing is known, each task may be long.
        tasks * Some(flight.chunk.job.mean()).filter(|mean| *mean > 0).unwrap_or(WORTH_TAKING)
    }

    /// Takes back what it has not begun of a chunk, but for the first `keep` tasks of that.
    fn take_back(&mut self, slot: usize, keep: u32) -> Option<Chunk> {
        let flight = self.slots[slot].as_mut()?;
        let taken = self.board.take_rest(slot, keep);
        // A board that says more than the worker was given is read when the worker has answered or died.
        if taken.is_empty() || taken.end > flight.end {
            return None;
        }
        flight.end = taken.start;
        Some(flight.chunk.part(taken.start, taken.end))
    }
}

/// How a worker died.
struct Death {
    report: Option<Box<CrashReport>>,
    /// What the task in hand fails with, if not with the death itself.
    error: Option<TaskError>,
}

struct Settled {
    /// So many tasks have run.
    ran: u32,
    /// To be run elsewhere, last ones first.
    again: Vec<Chunk>,
}

/// Gives out the results of a chunk, and what its other tasks fail with.
fn settle(
    member: &mut Member,
    slot: usize,
    flight: &Flight,
    beyond: Option<Beyond>,
    death: Option<Death>,
) -> Settled {
    let at = member.board.progress(slot);
    let mut reading = reading::read(at, flight.end, death.is_some(), beyond.is_some());
    let results = member.board.copy_results(slot, if reading.done > 0 { at.bytes } else { 0 });
    if !row::has(&results, reading.done) {
        reading = Reading { done: 0, in_doubt: 0..flight.end, rest: flight.end..flight.end };
    }
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
        chunk.job.put(Outcome::Results { first: chunk.first, tasks: reading.done, bytes: results });
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
        (Some(error), _) => error,
        (None, Some(report)) => TaskError::Died { report, attempts: one.attempts },
        (None, None) => TaskError::Refused("its account of what it ran cannot be true".into()),
    };
    fail(&one, 0..1, &error);
    None
}

fn fail(chunk: &Chunk, tasks: std::ops::Range<u32>, error: &TaskError) {
    for task in tasks {
        chunk.job.put(Outcome::Failed { task: chunk.first + u64::from(task), error: error.clone() });
    }
}

impl Beyond {
    fn into_outcome(self, task: u64) -> Outcome {
        Outcome::Single { task, bytes: self.row.0, descriptors: self.descriptors.0 }
    }
}
