//! Ends tasks that run longer than they may.

use std::sync::Weak;
use std::time::Duration;

use super::crew::Crew;
use super::error::TaskError;
use super::member::Flight;
use super::state::State;
use crate::clock;
use crate::process::board::Board;
use crate::sync::lock;

/// Between the two looks that condemn a task: a worker needs less to note when it has begun another.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// A task that was found to be late once: the worker, its slot, and which task.
type Suspect = (usize, usize, u32);

/// Looks as often as a task may become late, as long as there is a pool.
pub(super) async fn watch(crew: Weak<Crew>) {
    let mut suspects = Vec::new();
    loop {
        let Some(crew) = crew.upgrade() else { return };
        let (next, late) = look(&mut lock(&crew.state), &mut suspects, clock::now());
        for address in late {
            crew.kill(&address);
        }
        match next {
            Some(next) => {
                let crew = std::sync::Arc::downgrade(&crew);
                tokio::time::sleep(next).await;
                if crew.strong_count() == 0 {
                    return;
                }
            }
            None if crew.is_over() => return,
            None => crew.timed.notified().await,
        }
    }
}

/// Condemns what is late for the second time; says when to look again, and whom to kill.
fn look(
    state: &mut State,
    suspects: &mut Vec<Suspect>,
    now: u64,
) -> (Option<Duration>, Vec<crate::Address<super::worker::Worker>>) {
    let mut next = None::<Duration>;
    let mut found = Vec::new();
    let mut condemned = Vec::new();
    for (index, member) in state.members.iter_mut().enumerate() {
        for (slot, flight) in member.slots.iter_mut().enumerate() {
            let Some(flight) = flight else { continue };
            let Some(limit) = flight.chunk.job.deadline else { continue };
            let ran = in_hand(flight, &member.board, slot, now);
            let mut again = limit.saturating_sub(ran.unwrap_or_default());
            if ran.is_some_and(|ran| ran >= limit) && member.condemned.is_none() {
                let suspect = (member.number, slot, flight.seen.0);
                if suspects.contains(&suspect) {
                    condemned.push((index, limit));
                } else {
                    found.push(suspect);
                }
                again = SECOND_LOOK;
            }
            next = Some(next.map_or(again, |next| next.min(again)).max(SECOND_LOOK));
        }
    }
    *suspects = found;
    let late = condemned
        .into_iter()
        .map(|(index, limit)| state.condemn(index, TaskError::Deadline { limit, report: None }));
    (next, late.collect())
}

/// How long the task in hand has run, if there is one: by what its worker noted, or else, where that cannot be, by how
/// long it is seen there. So a task has an end whatever its worker writes.
fn in_hand(flight: &mut Flight, board: &Board, slot: usize, now: u64) -> Option<Duration> {
    let at = board.progress(slot);
    if at.begun <= at.done {
        return None;
    }
    if flight.seen.0 != at.begun {
        flight.seen = (at.begun, now);
    }
    let noted = Some(board.begun_at(slot)).filter(|begun| (flight.sent..=now).contains(begun));
    Some(Duration::from_nanos(now.saturating_sub(noted.unwrap_or(flight.seen.1))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pool::chunk::{Chunk, Inputs};
    use crate::pool::job::Job;

    #[test]
    fn a_task_has_run_as_long_as_its_worker_says_or_as_it_is_seen_in_hand() {
        let limit = Some(Duration::from_secs(1));
        let job = Job::new(crate::task::code(|x: u64| x).unwrap(), None, limit, 0, 0);
        let mut inputs = Inputs::default();
        (0..3_u64).for_each(|input| inputs.add(&input).unwrap());
        let mut flight = Flight { sent: 1_000, ..Flight::new(Chunk::new(&job, 0, inputs)) };
        let (board, file) = Board::create().unwrap();
        let mut worker = Board::open(&file).unwrap();
        board.lay_out(0, 3);
        let mut ran = |now| in_hand(&mut flight, &board, 0, now).map(|ran| ran.as_nanos());
        assert_eq!(ran(5_000), None, "nothing is begun");

        let mut desk = worker.desk(0);
        assert!(desk.claim(3) && desk.begin().is_some());
        desk.note_since(2_000);
        assert_eq!(ran(5_000), Some(3_000));
        // Noted before it was sent, or in the future: from when it was first seen.
        for noted in [0, 999, u64::MAX] {
            desk.note_since(noted);
            assert_eq!((ran(6_000), ran(9_000)), (Some(1_000), Some(4_000)), "{noted}");
        }
        desk.publish(0);
        assert_eq!(ran(9_500), None);
        assert!(desk.begin().is_some());
        assert_eq!((ran(10_000), ran(10_700)), (Some(0), Some(700)), "another task");
    }
}
