//! Ends tasks that run longer than they may.

use std::sync::Weak;
use std::time::Duration;

use super::crew::Crew;
use super::error::TaskError;
use super::state::State;
use crate::clock;
use crate::process::board::SLOTS;
use crate::sync::lock;

/// Between the two looks that condemn a task: a worker needs less to note when it has begun another.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// A task that was found to be late once: the worker, its slot, which task, and since when.
type Suspect = (usize, usize, u32, u64);

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
    for (index, member) in state.members.iter().enumerate() {
        for slot in 0..SLOTS {
            let Some(flight) = &member.slots[slot] else { continue };
            let Some(limit) = flight.chunk.job.deadline else { continue };
            let at = member.board.progress(slot);
            // Not what the worker says, where that cannot be.
            let begun = Some(member.board.begun_at(slot)).filter(|begun| (flight.sent..=now).contains(begun));
            let ran = Duration::from_nanos(if at.begun > at.done { now - begun.unwrap_or(now) } else { 0 });
            let mut again = limit.saturating_sub(ran);
            if at.begun > at.done && ran >= limit && member.condemned.is_none() {
                let suspect = (member.number, slot, at.begun, begun.unwrap_or(0));
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
