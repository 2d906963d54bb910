#![allow(clippy::unwrap_used)]

use std::thread;

use super::*;

const NOTHING: Progress = Progress { begun: 0, end: 0, done: 0, bytes: 0 };

#[test]
fn what_the_worker_publishes_the_owner_copies() {
    let (owner, file) = Board::create().unwrap();
    let worker = Board::open(&file).unwrap();
    owner.lay_out(1, 3);
    assert_eq!(worker.claim(1), Some(0));
    let at = worker.publish(1, NOTHING, b"first").unwrap();
    assert_eq!(worker.claim(1), Some(1));
    worker.publish(1, at, b"and second").unwrap();
    assert_eq!(worker.claim(1), Some(2));
    assert_eq!(owner.progress(1), Progress { begun: 3, end: 3, done: 2, bytes: 15 });
    assert_eq!(owner.copy_results(1, 15), b"firstand second");
    assert_eq!(owner.progress(0), NOTHING);
    assert_eq!(worker.claim(1), None);
}

#[test]
fn a_result_that_does_not_fit_is_not_published() {
    let (board, _) = Board::create().unwrap();
    board.lay_out(0, 2);
    let at = board.publish(0, NOTHING, &vec![1; ROOM - 1]).unwrap();
    assert_eq!(board.publish(0, at, b"12"), None);
    assert_eq!(board.publish(0, at, b"1").unwrap().done, 2);
}

#[test]
fn a_task_is_begun_or_taken_away_and_never_both() {
    const TASKS: u32 = 20_000;
    let (board, _) = Board::create().unwrap();
    board.lay_out(0, TASKS);
    let (begun, taken) = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut begun = 0;
            while let Some(at) = board.claim(0) {
                assert_eq!(at, begun);
                begun += 1;
            }
            begun
        });
        let owner = scope.spawn(|| {
            let mut taken = 0;
            while taken < TASKS / 2 {
                let rest =
                    board.take_rest(0, board.progress(0).end.saturating_sub(board.progress(0).begun) / 2);
                if rest.is_empty() {
                    break;
                }
                taken += rest.end - rest.start;
            }
            taken
        });
        (worker.join().unwrap(), owner.join().unwrap())
    });
    assert_eq!(begun + taken, TASKS);
}

#[test]
fn what_is_no_board_is_refused() {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert_eq!(Board::open(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let unsealed = rustix::fs::memfd_create("other", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, size_of::<[Slot; SLOTS]>() as u64).unwrap();
    assert_eq!(Board::open(&unsealed).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
