#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

thread_local! {
    /// How many more stores this thread may make before it counts as killed.
    static STORES_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub(super) fn is_killed() -> bool {
    let left = STORES_LEFT.get();
    STORES_LEFT.set(left.saturating_sub(1));
    left == 0
}

fn key(sequence: u64) -> MessageKey {
    MessageKey(sequence.wrapping_mul(0x1234_5678_9abc_def1))
}

fn fresh(resume_after: u64) -> IncomingRow {
    let (page, _) = Recorder::create().unwrap();
    let row = IncomingRow::new(&Arc::new(page), 7).unwrap();
    row.prepare(Sequence(resume_after));
    row
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(u64),
    Finish(u64),
    Skip(u64),
}

fn perform(row: &IncomingRow, step: Step) {
    match step {
        Step::Start(n) => row.start(Sequence(n), key(n)),
        Step::Finish(n) => row.finish(Sequence(n)),
        Step::Skip(n) => row.skip(Sequence(n)),
    }
}

/// What the row must say after `steps`, from their meaning alone.
fn meaning(resume_after: u64, steps: &[Step]) -> IncomingState {
    let begin = IncomingState { cursor: Sequence(resume_after), in_hand: None, processed: 0, skipped: 0 };
    steps.iter().fold(begin, |state, step| match *step {
        Step::Start(n) => IncomingState { in_hand: Some((Sequence(n), key(n))), ..state },
        Step::Finish(n) => {
            IncomingState { cursor: Sequence(n), in_hand: None, processed: state.processed + 1, ..state }
        }
        Step::Skip(n) => IncomingState { cursor: Sequence(n), skipped: state.skipped + 1, ..state },
    })
}

/// Messages from 11 on, some of them skipped, with a gap now and then.
fn some_steps() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut n = 10;
    for i in 0..40 {
        n += if i % 7 == 3 { 5 } else { 1 };
        match i % 5 {
            1 | 2 => steps.push(Step::Skip(n)),
            _ => steps.extend([Step::Start(n), Step::Finish(n)]),
        }
    }
    steps
}

#[test]
fn killed_between_any_two_stores_a_step_is_either_done_or_not() {
    let steps = some_steps();
    let mut seen_both = [false; 2];
    for killed_at in 0.. {
        let row = fresh(10);
        STORES_LEFT.set(killed_at);
        let mut reached = None;
        for (i, step) in steps.iter().enumerate() {
            perform(&row, *step);
            if STORES_LEFT.get() == 0 {
                reached = Some(i);
                break;
            }
        }
        STORES_LEFT.set(usize::MAX);
        let Some(i) = reached else { break };
        let (before, after) = (meaning(10, &steps[..i]), meaning(10, &steps[..=i]));
        let found = row.read().unwrap();
        assert!(found == before || found == after, "{:?} after {killed_at}: {found:?}", steps[i]);
        seen_both[usize::from(found == after)] = true;
    }
    assert_eq!(seen_both, [true; 2]);
}

#[test]
fn a_row_that_was_blanked_filled_or_never_prepared_is_refused_in_every_slot() {
    let (page, _file) = Recorder::create().unwrap();
    let page = Arc::new(page);
    for slot in 0..Recorder::SLOTS {
        let (row, out) = (IncomingRow::new(&page, slot).unwrap(), OutgoingRow::new(&page, slot).unwrap());
        for bits in [0, u64::MAX] {
            (0..CELLS).for_each(|column| row.0.cell(column).store(bits, Ordering::Relaxed));
            assert!(row.read().is_err() && out.read().is_err(), "{bits:x} in {slot}");
        }
    }
    assert!(IncomingRow::new(&page, Recorder::SLOTS).is_none());
    assert!(OutgoingRow::new(&page, u32::MAX).is_none());
}

#[test]
fn a_row_is_not_believed_in_another_place_or_as_the_other_kind() {
    let row = fresh(0);
    let page = Arc::clone(&row.0.page);
    let as_outgoing = OutgoingRow::new(&page, 7).unwrap().read();
    assert_eq!(as_outgoing, Err(Scribbled::Checksum { slot: 7, cell: "appended" }));
    let other = IncomingRow::new(&page, 8).unwrap();
    for column in 0..CELLS {
        other.0.store_raw(column, row.0.cell(column).load(Ordering::Relaxed));
    }
    assert!(matches!(other.read(), Err(Scribbled::Checksum { slot: 8, cell: "settled" })));
}

#[test]
fn a_single_flipped_bit_never_changes_what_is_read() {
    for steps in [&[Step::Start(1)][..], &[Step::Start(1), Step::Finish(1)], &[Step::Skip(3), Step::Start(9)]]
    {
        let row = fresh(0);
        steps.iter().for_each(|step| perform(&row, *step));
        let truth = row.read().unwrap();
        for bit in 0..64 * CELLS {
            let cell = row.0.cell(bit / 64);
            let sound = cell.load(Ordering::Relaxed);
            cell.store(sound ^ (1 << (bit % 64)), Ordering::Relaxed);
            assert!(row.read().is_err() || row.read() == Ok(truth), "bit {bit}");
            cell.store(sound, Ordering::Relaxed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn what_was_scribbled_is_refused_or_changes_nothing(
        steps in 0_usize..70,
        scribbles in prop::collection::vec((0..CELLS, prop_oneof![any::<u64>(), 0_u64..1000]), 1..6),
    ) {
        let row = fresh(10);
        let all = some_steps();
        let steps = &all[..steps.min(all.len())];
        steps.iter().for_each(|step| perform(&row, *step));
        let truth = row.read().unwrap();
        for (column, bits) in scribbles {
            row.0.store_raw(column, bits);
        }
        prop_assert!(row.read().is_err() || row.read() == Ok(truth), "{:?}", row.read());
    }
}

#[test]
fn cells_that_contradict_each_other_are_refused() {
    let refused = |spoil: fn(&IncomingRow)| {
        let row = fresh(10);
        some_steps().iter().for_each(|step| perform(&row, *step));
        spoil(&row);
        matches!(row.read(), Err(Scribbled::Contradiction { slot: 7, .. }))
    };
    assert!(refused(|row| row.0.store(STARTED, 1 << SEQUENCE_BITS)));
    assert!(refused(|row| row.0.store(STARTED, 1 << 30)), "far ahead");
    assert!(refused(|row| row.0.store(STARTED, 3)), "before the beginning");
    assert!(refused(|row| row.0.store(RESUMED_AFTER, 1 << 40)));
    assert!(refused(|row| row.0.store(PROCESSED, row.0.value(PROCESSED) + 100)), "more than there were");
    assert!(refused(|row| row.0.store(PROCESSED, row.0.value(PROCESSED) + 1)), "with nothing in hand");
    assert!(refused(|row| {
        perform(row, Step::Start(90));
        [PROCESSED, SKIPPED].into_iter().for_each(|it| row.0.store(it, row.0.value(it) + 1));
    }));
    assert!(refused(|row| [PROCESSED, SKIPPED]
        .into_iter()
        .for_each(|it| row.0.store(it, row.0.value(it) + 1))));
}

#[test]
fn an_outgoing_row_reads_as_it_was_written() {
    let (page, file) = Recorder::create().unwrap();
    let row = OutgoingRow::new(&Arc::new(page), 0).unwrap();
    row.prepare();
    row.appended(Sequence(9));
    row.sent(Sequence(4));
    row.add_in_doubt(1);
    row.add_dead_lettered(2);
    row.add_dead_lettered(1);
    row.add_redelivered(u64::MAX);
    let same = OutgoingRow::new(&Arc::new(Recorder::open(file).unwrap()), 0).unwrap().read().unwrap();
    assert_eq!((same.appended, same.sent), (Sequence(9), Sequence(4)));
    assert_eq!((same.in_doubt, same.dead_lettered, same.redelivered), (1, 3, VALUE));
    row.sent(Sequence(10));
    assert_eq!(row.read(), Err(Scribbled::Contradiction { slot: 0, rule: "sent <= appended" }));
}

#[test]
fn a_process_killed_in_the_middle_leaves_a_readable_page() {
    const NAME: &str = "a_process_killed_in_the_middle_leaves_a_readable_page";
    const WRITER: &str = "WATERTIGHT_TEST_RECORDER_WRITER";
    if std::env::var_os(WRITER).is_some() {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
        let page = Recorder::open(io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        let row = IncomingRow::new(&Arc::new(page), 3).unwrap();
        for n in 1.. {
            perform(&row, if n % 8 == 0 { Step::Skip(n) } else { Step::Start(n) });
            if n % 8 != 0 {
                perform(&row, Step::Finish(n));
            }
            row.0.page.add_progress();
        }
    }
    let path = module_path!().split_once("::").unwrap().1;
    let mut in_hand = 0;
    for round in 0..50 {
        let (page, file) = Recorder::create().unwrap();
        let page = Arc::new(page);
        let row = IncomingRow::new(&page, 3).unwrap();
        row.prepare(Sequence::ZERO);
        let mut child = Command::new("/proc/self/exe")
            .args([&format!("{path}::{NAME}"), "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITER, "1")
            .stdin(file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while page.progress() < 1000 + round * 37 {
            assert!(Instant::now() < deadline, "the writer does not write");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = row.read().unwrap();
        let settled = found.cursor.0;
        assert_eq!((found.processed, found.skipped), (settled - settled / 8, settled / 8));
        if let Some((sequence, its_key)) = found.in_hand {
            assert_eq!((sequence, its_key), (found.cursor.next(), key(sequence.0)));
            in_hand += 1;
        }
    }
    assert!(in_hand > 0, "not one of 50 was killed with a message in hand");
}
