#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::super::IncomingRow;
use super::*;

fn page(notes: bool) -> (Recorder, Arc<Recorder>) {
    let (supervisor, file) = Recorder::create().unwrap();
    if notes {
        supervisor.keep_messages();
    }
    (supervisor, Arc::new(Recorder::open(file).unwrap()))
}

fn row(page: &Arc<Recorder>, slot: u32, sender: u64) -> IncomingRow {
    let row = IncomingRow::new(page, slot).unwrap();
    row.prepare(Sequence::ZERO);
    row.set_sender(ActorId(sender));
    row
}

#[test]
fn what_is_handled_refused_and_in_hand_is_read_by_the_other_process() {
    let (supervisor, process) = page(true);
    let (one, two) = (row(&process, 0, 7), row(&process, 1, 8));
    one.start(Sequence(1), MessageKey(100));
    one.finish(Sequence(1));
    two.skip(Sequence(1));
    two.start(Sequence(2), MessageKey(101));
    two.skip(Sequence(2));
    one.start(Sequence(2), MessageKey(102));
    let seen = supervisor.noted_last(100);
    let told: Vec<_> = seen.iter().map(|n| (n.sender.0, n.sequence.0, n.key.0, n.refused)).collect();
    // One that is refused before it is taken in hand has no key.
    assert_eq!(told, [(7, 1, 100, false), (8, 1, 0, true), (8, 2, 101, true), (7, 2, 102, false)]);
    let ended: Vec<_> = seen.iter().map(|n| n.ended.is_some()).collect();
    assert_eq!(ended, [true, true, true, false]);
    assert!(seen.iter().all(|n| n.ended.is_none_or(|ended| ended >= n.began)));
    assert_eq!(supervisor.noted_last(1), seen[3..]);
}

#[test]
fn the_last_are_kept() {
    let (supervisor, process) = page(true);
    let row = row(&process, 3, 7);
    for n in 1..=KEPT as u64 + 10 {
        row.start(Sequence(n), MessageKey(n));
        row.finish(Sequence(n));
    }
    let seen = supervisor.noted_last(usize::MAX);
    assert_eq!((seen.len(), seen[0].sequence.0), (KEPT, 11));
    assert_eq!(seen[KEPT - 1].sequence.0, KEPT as u64 + 10);
}

#[test]
fn nothing_is_noted_unless_asked_for() {
    let (supervisor, process) = page(false);
    let row = row(&process, 0, 7);
    row.start(Sequence(1), MessageKey(100));
    row.finish(Sequence(1));
    row.skip(Sequence(2));
    assert_eq!(supervisor.noted_last(100), []);
}

#[test]
fn whatever_a_process_scribbles_is_read_without_harm() {
    let (supervisor, process) = page(true);
    for count in [u64::MAX, KEPT as u64 - 1, 1] {
        for n in 0..KEPT {
            for cell in process.note(n) {
                cell.store(u64::MAX - n as u64, Ordering::Release);
            }
        }
        process.noted_cell().store(count, Ordering::Release);
        assert!(supervisor.noted_last(usize::MAX).len() <= KEPT);
        row(&process, 0, 7).start(Sequence(1), MessageKey(1));
    }
}
