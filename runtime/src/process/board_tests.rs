#![allow(clippy::unwrap_used)]

use std::thread;

use super::*;

const NOTHING: Progress = Progress { begun: 0, claimed: 0, end: 0, done: 0, bytes: 0 };

fn publish(desk: &mut Desk<'_>, result: &[u8]) {
    desk.room()[..result.len()].copy_from_slice(result);
    desk.publish(result.len());
}

#[test]
fn what_the_worker_publishes_the_owner_copies() {
    let (owner, file) = Board::create().unwrap();
    let mut worker = Board::open(&file).unwrap();
    owner.lay_out(1, 3);
    let mut desk = worker.desk(1);
    assert_eq!(desk.begin(), None, "nothing is claimed");
    assert!(desk.claim(2));
    assert_eq!(desk.begin(), Some(0));
    publish(&mut desk, b"first");
    assert_eq!(owner.progress(1), Progress { begun: 1, claimed: 2, end: 3, done: 1, bytes: 5 });
    assert_eq!(desk.begin(), Some(1));
    publish(&mut desk, b"and second");
    assert_eq!(desk.begin(), None);
    assert!(desk.claim(2));
    assert_eq!(desk.begin(), Some(2));
    assert_eq!(owner.progress(1), Progress { begun: 3, claimed: 3, end: 3, done: 2, bytes: 15 });
    assert_eq!(owner.copy_results(1, 15), b"firstand second");
    assert_eq!(owner.progress(0), NOTHING);
    assert!(!desk.claim(1));
    assert_eq!(desk.begin(), None);
}

#[test]
fn results_end_where_the_room_does() {
    let (mut board, _) = Board::create().unwrap();
    board.lay_out(0, 2);
    let mut desk = board.desk(0);
    assert_eq!(desk.room().len(), ROOM);
    desk.publish(ROOM - 1);
    assert_eq!(desk.room().len(), 1);
    desk.publish(2);
    assert!(desk.room().is_empty());
    assert_eq!(board.progress(0).bytes as usize, ROOM);
}

#[test]
fn a_task_is_begun_or_taken_away_and_never_both() {
    const TASKS: u32 = 20_000;
    for most in [1, 7] {
        let (owner, file) = Board::create().unwrap();
        let mut worker = Board::open(&file).unwrap();
        owner.lay_out(0, TASKS);
        let (begun, taken) = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut desk = worker.desk(0);
                let mut begun = 0;
                while desk.claim(most) {
                    while let Some(at) = desk.begin() {
                        assert_eq!(at, begun);
                        begun += 1;
                    }
                }
                begun
            });
            let owner = scope.spawn(|| {
                let mut taken = 0;
                while taken < TASKS / 2 {
                    let at = owner.progress(0);
                    assert!(at.done <= at.begun && at.begun <= at.claimed, "{at:?}");
                    let rest = owner.take_rest(0, at.end.saturating_sub(at.claimed) / 2);
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
}

#[test]
fn what_is_no_board_is_refused() {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert_eq!(Board::open(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let unsealed = rustix::fs::memfd_create("other", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, size_of::<[Slot; SLOTS]>() as u64).unwrap();
    assert_eq!(Board::open(&unsealed).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
