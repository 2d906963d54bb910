//! What a worker's board says of one chunk, believed only where it can be true; pure.

use std::ops::Range;

use crate::process::board::{Progress, ROOM};

/// What has become of the tasks of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// So many at its beginning have results on the board.
    pub(super) done: u32,
    /// These have none, and may have run: at most one, unless the board cannot be believed.
    pub(super) in_doubt: Range<u32>,
    /// These were not begun.
    pub(super) rest: Range<u32>,
}

/// Reads a board after its worker has answered or died. Of the chunk, the tasks before `end` are the worker's; `beyond`
/// is whether the last result came with the answer.
pub(super) fn read(at: Progress, end: u32, dead: bool, beyond: bool) -> Reading {
    let possible = at.done <= at.begun
        && at.begun <= at.claimed
        && at.claimed <= at.end
        && at.end <= end
        && at.bytes as usize <= ROOM;
    let settled = at.done.saturating_add(u32::from(beyond));
    // One task is run at a time, and a worker that answers has none in hand.
    let in_hand = at.begun.checked_sub(settled);
    let plausible = matches!((in_hand, dead), (Some(0), _) | (Some(1), true));
    if !possible || !plausible {
        // What may have run is not run again.
        return Reading { done: 0, in_doubt: 0..end, rest: end..end };
    }
    Reading { done: at.done, in_doubt: settled..at.begun, rest: at.begun..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: u32, end: u32, done: u32) -> Progress {
        Progress { begun, claimed: begun, end, done, bytes: 0 }
    }

    #[test]
    fn a_worker_that_answers_has_no_task_in_hand() {
        assert_eq!(read(at(5, 5, 5), 5, false, false), Reading { done: 5, in_doubt: 5..5, rest: 5..5 });
        // It gave the rest back.
        assert_eq!(read(at(3, 3, 3), 5, false, false), Reading { done: 3, in_doubt: 3..3, rest: 3..5 });
        // The third result came with the answer.
        assert_eq!(read(at(3, 5, 2), 5, false, true), Reading { done: 2, in_doubt: 3..3, rest: 3..5 });
        // It says that it has answered, but one is missing.
        assert_eq!(read(at(3, 5, 2), 5, false, false), Reading { done: 0, in_doubt: 0..5, rest: 5..5 });
    }

    #[test]
    fn a_dead_worker_leaves_at_most_one_task_in_doubt() {
        assert_eq!(read(at(3, 5, 2), 5, true, false), Reading { done: 2, in_doubt: 2..3, rest: 3..5 });
        assert_eq!(read(at(3, 5, 3), 5, true, false), Reading { done: 3, in_doubt: 3..3, rest: 3..5 });
        assert_eq!(read(at(0, 5, 0), 5, true, false), Reading { done: 0, in_doubt: 0..0, rest: 0..5 });
    }

    #[test]
    fn what_was_claimed_and_not_begun_is_run_elsewhere() {
        let at = Progress { begun: 3, claimed: 4, end: 5, done: 2, bytes: 0 };
        assert_eq!(read(at, 5, true, false), Reading { done: 2, in_doubt: 2..3, rest: 3..5 });
        let at = Progress { begun: 3, claimed: 4, end: 4, done: 3, bytes: 0 };
        assert_eq!(read(at, 4, false, false), Reading { done: 3, in_doubt: 3..3, rest: 3..4 });
    }

    #[test]
    fn a_board_that_cannot_be_true_leaves_everything_in_doubt() {
        let all = Reading { done: 0, in_doubt: 0..5, rest: 5..5 };
        for (begun, end, done) in [(6, 6, 6), (3, 5, 4), (4, 3, 3), (5, 5, 3), (2, 9, 2), (u32::MAX, 5, 0)] {
            assert_eq!(read(at(begun, end, done), 5, true, false), all, "{begun} {end} {done}");
        }
        let bytes = u32::MAX;
        assert_eq!(read(Progress { bytes, ..at(1, 5, 1) }, 5, true, false), all);
        for claimed in [1, 6] {
            assert_eq!(read(Progress { claimed, ..at(2, 5, 2) }, 5, true, false), all, "{claimed}");
        }
    }
}
