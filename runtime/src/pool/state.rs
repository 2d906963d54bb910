//! What waits in a pool, and who does what: which chunk goes next, and to whom.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunk;
use super::error::{PoolError, TaskError};
use super::job::Job;
use super::member::{Flight, Member, fail};
use super::worker::Worker;
use crate::address::Address;
use crate::clock;
use crate::process::board::SLOTS;
use crate::process::code_reference::CodeReference;

/// Tasks are only taken from a worker to give them to an idle one if they are worth a message, in nanoseconds.
pub(super) const WORTH_TAKING: u64 = 100_000;
/// Most chunks that wait: each submitted task is one. Maps wait for room instead.
pub(super) const QUEUE: usize = 65_536;

/// The workers, and what waits for them.
#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Chunk>,
    pub(super) members: Vec<Member>,
    pub(super) closed: bool,
    pub(super) ended: Option<PoolError>,
    /// How long tasks took.
    pub(super) took: Took,
    /// Workers that there have been.
    numbered: usize,
}

/// How long tasks of some functions took in the last job that was of them.
#[derive(Default)]
pub(super) struct Took(VecDeque<(CodeReference, u64)>);

impl Took {
    /// Functions that are remembered: more than a program calls in turns.
    const MOST: usize = 16;

    /// In nanoseconds; 0 if that is not known.
    pub(super) fn of(&self, code: CodeReference) -> u64 {
        self.0.iter().find(|(other, _)| *other == code).map_or(0, |(_, mean)| *mean)
    }

    pub(super) fn note(&mut self, code: CodeReference, mean: u64) {
        if mean == 0 {
            return;
        }
        self.0.retain(|(other, _)| *other != code);
        self.0.truncate(Took::MOST - 1);
        self.0.push_front((code, mean));
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

    /// Forgets all workers but those that still have a chunk of which nothing is theirs: it was taken back before they
    /// read it, as a worker that is being replaced has not. To stop them now would make dead letters of such chunks.
    pub(super) fn dismiss_but_unread(&mut self) -> Vec<Address<Worker>> {
        let unread = |member: &Member| member.slots.iter().flatten().any(|flight| flight.end == 0);
        let (unread, others) = std::mem::take(&mut self.members).into_iter().partition(unread);
        self.members = others;
        let gone = self.dismiss_all();
        self.members = unread;
        for member in &mut self.members {
            member.leaving = true;
        }
        gone
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
        member.condemn(error);
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
    pub(super) fn free_place(&self) -> Option<(usize, usize)> {
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
    pub(super) fn next_chunk(&mut self, member: usize) -> Option<Chunk> {
        while let Some(chunk) = self.queue.pop_front() {
            if !chunk.job.is_cancelled() {
                return Some(chunk);
            }
            fail(&chunk, 0..chunk.tasks(), &TaskError::Cancelled);
        }
        if !self.members[member].is_idle() {
            return None;
        }
        let now = clock::now();
        let (_, index, slot) = self
            .members
            .iter()
            .enumerate()
            .flat_map(|(index, member)| (0..SLOTS).map(move |slot| (member.left(slot, now), index, slot)))
            .max()
            .filter(|(worth, ..)| *worth >= WORTH_TAKING)?;
        let member = &mut self.members[index];
        let at = member.board.progress(slot);
        member.take_back(slot, at.end.saturating_sub(at.claimed) / 2)
    }

    /// A worker is gone for good: the others do its work.
    pub(super) fn lose(&mut self, index: usize, reason: &str) {
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
    pub(super) fn put_back(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            self.queue.push_front(chunk);
        }
    }

    pub(super) fn fail_waiting(&mut self, error: &PoolError) {
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
