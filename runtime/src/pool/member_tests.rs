#![allow(clippy::unwrap_used)]

use super::*;
use crate::pool::chunk::Inputs;
use crate::pool::job::Job;
use crate::task;
use crate::wire::ids::{ActorId, Capability, RawAddress, SystemId};

fn member() -> Member {
    let raw = RawAddress {
        version: RawAddress::VERSION,
        system: SystemId(1),
        actor: ActorId(2),
        capability: Capability(3),
        protocol: 4,
    };
    Member::new(1, Address::new(raw), Board::create().unwrap().0)
}

fn chunk(tasks: u64) -> Chunk {
    let job = Job::new(task::code(|x: u64| x).unwrap(), None, None, 0, 0);
    let mut inputs = Inputs::default();
    for item in 0..tasks {
        inputs.add(&item).unwrap();
    }
    Chunk::new(&job, 0, inputs)
}

fn with_flight(tasks: u64) -> Member {
    let mut member = member();
    let chunk = chunk(tasks);
    member.board.lay_out(0, chunk.tasks());
    member.slots[0] = Some(Flight::new(chunk));
    member
}

impl Member {
    /// As its worker would: claims and finishes tasks with these results, and then begins another one.
    fn work(&mut self, results: &[&[u8]], in_hand: bool) {
        let board = Arc::get_mut(&mut self.board).unwrap();
        let mut desk = board.desk(0);
        for result in results {
            assert!(desk.claim(1) && desk.begin().is_some());
            desk.room()[..result.len()].copy_from_slice(result);
            desk.publish(result.len());
        }
        if in_hand {
            assert!(desk.claim(2) && desk.begin().is_some());
        }
    }
}

#[test]
fn what_an_idle_worker_has_just_been_sent_is_not_taken_from_it() {
    let mut one = with_flight(1);
    let now = one.slots[0].as_ref().unwrap().sent;
    assert_eq!(one.left(0, now), 0);
    assert_eq!(one.left(0, now + WAITS), WORTH_TAKING, "it does not come to it");
    assert_eq!(with_flight(3).left(0, now), 2 * WORTH_TAKING, "but what waits behind its next task");
    one.work(&[], true);
    one.board.lay_out(1, 1);
    one.slots[1] = Some(Flight::new(chunk(1)));
    assert_eq!(
        one.left(1, now),
        WORTH_TAKING,
        "it waits behind a task of which nobody knows how long it takes"
    );
}

#[test]
fn a_worker_whose_task_was_done_before_the_signal_came_is_pardoned() {
    let mut idle = member();
    idle.condemn(TaskError::Cancelled);
    idle.may_be_pardoned();
    assert!(idle.condemned.is_some(), "the signal may still come");
    idle.was_killed();
    assert!(idle.condemned.is_none());

    let mut busy = with_flight(1);
    busy.condemn(TaskError::Cancelled);
    busy.was_killed();
    assert!(busy.condemned.is_some(), "its death is still to be told");
    busy.slots[0] = None;
    busy.may_be_pardoned();
    assert!(busy.condemned.is_none());
}

#[test]
fn what_is_taken_back_from_a_chunk_is_no_longer_its_workers() {
    let mut member = with_flight(10);
    member.work(&[&[2, 7], &[2, 8]], false);
    let taken = member.take_back(0, 4).unwrap();
    assert_eq!((taken.first, taken.tasks()), (6, 4));
    assert_eq!(member.slots[0].as_ref().unwrap().end, 6);
    assert!(member.take_back(0, 4).is_none());
    let rest = member.take_back(0, 0).unwrap();
    assert_eq!((rest.first, rest.tasks()), (2, 4));
    let at = member.board.progress(0);
    assert_eq!((at.begun, at.claimed, at.end), (2, 2, 2));
}

#[test]
fn a_dead_worker_costs_the_task_in_hand_and_what_it_had_not_begun_is_run_again() {
    let mut member = with_flight(5);
    member.work(&[&[2, 7], &[2, 8]], true);
    let flight = member.slots[0].take().unwrap();
    let settled = settle(
        &mut member,
        0,
        &flight,
        None,
        Some(Death { report: None, error: Some(TaskError::Cancelled) }),
    );
    assert_eq!(settled.ran, 2);
    assert_eq!(settled.again.iter().map(|chunk| (chunk.first, chunk.tasks())).collect::<Vec<_>>(), [(3, 2)]);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut outcomes = Vec::new();
    while let std::task::Poll::Ready(outcome) = flight.chunk.job.poll_take(&mut cx) {
        outcomes.push(match outcome {
            Outcome::Results { first, tasks, bytes } => format!("{tasks} from {first}: {bytes:?}"),
            Outcome::Failed { task, error } => format!("{task}: {error}"),
            Outcome::Single { task, .. } => format!("single {task}"),
        });
    }
    outcomes.sort();
    assert_eq!(outcomes, ["2 from 0: [2, 7, 2, 8]", "2: the task was cancelled"]);
}
