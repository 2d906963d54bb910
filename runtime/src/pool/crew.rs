//! The workers of a pool and what waits for them: which worker gets which chunk, and what has become of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::chunk::Chunk;
use super::error::{PoolError, TaskError};
use super::member::{Death, Flight, fail, settle};
use super::state::{QUEUE, State};
use super::worker::{Ran, Run, Worker};
use crate::address::{Address, IntoRaw, read_outcome};
use crate::clock;
use crate::error::AskError;
use crate::node::Node;
use crate::node::outgoing::Offer;
use crate::sync::lock;
use crate::wire::control::Request;

/// A chunk is waited for as long as it takes: tasks have deadlines of their own.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
        // Its tasks may begin before the offer is over.
        let flight = Flight::new(chunk);
        let chunk = &flight.chunk;
        member.board.lay_out(slot, chunk.tasks());
        let offered = match member.address.link() {
            Ok(link) => link.offer_ask(&run, clock::after(FOR_EVER)),
            Err(reason) => Offer::Gone(reason),
        };
        match offered {
            Offer::Accepted(answer) => {
                if chunk.job.deadline.is_some() {
                    self.timed.notify_one();
                }
                member.slots[slot] = Some(flight);
                let (crew, number) = (Arc::clone(self), member.number);
                drop(self.node.runtime.spawn(async move {
                    let answer = read_outcome::<Run>(answer.await.ok());
                    crew.answered(number, slot, answer);
                }));
                true
            }
            Offer::Encode(error) => {
                let error = TaskError::Input(error.to_string());
                fail(chunk, 0..chunk.tasks(), &error);
                true
            }
            // One that has ended is found so by what it still has, or here.
            Offer::Gone(reason) => {
                state.queue.push_front(flight.chunk);
                state.lose(index, &reason.to_string());
                self.eased.notify_waiters();
                !state.members.is_empty()
            }
            Offer::Full | Offer::NotYet => {
                state.queue.push_front(flight.chunk);
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
                member.may_be_pardoned();
                state.put_back(settled.again);
            }
            Err(AskError::Died { report, .. } | AskError::Quarantined { report, .. }) => {
                member.stats.deaths += 1;
                member.contexts.clear();
                let error = member.condemned.take().map(|condemned| condemned.error);
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
        let (crew, address) = (Arc::clone(self), address.clone());
        drop(self.node.runtime.spawn(async move {
            // One that has ended already needs no killing.
            let _ = crew.node.request(Request::Kill { address: address.raw() }).await;
            let mut state = lock(&crew.state);
            if let Some(member) = state.members.iter_mut().find(|member| member.address == address) {
                member.was_killed();
                crew.give_out(&mut state);
            }
        }));
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
