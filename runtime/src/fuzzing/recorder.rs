//! The flight recorder of a dead process: whatever stands in it, what is believed can be true.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Choices, Seeds};
use crate::process::recorder::{IncomingRow, IncomingState, OutgoingRow, OutgoingState, Recorder, Scribbled};
use crate::wire::ids::{MessageKey, Sequence};

thread_local! {
    /// One page for all runs: to make one takes longer than to judge it.
    static PAGE: Arc<Recorder> = match Recorder::create() {
        Ok((page, _)) => Arc::new(page),
        Err(error) => panic!("{error}"),
    };
}

/// First what is done: a row of any cells, or a true one that is scribbled on.
pub(super) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    let how = choices.byte() % 4;
    let slot = u32::from(choices.byte()) * 64 % Recorder::SLOTS;
    PAGE.with(|page| {
        let (Some(incoming), Some(outgoing)) = (IncomingRow::new(page, slot), OutgoingRow::new(page, slot))
        else {
            panic!("there is such a slot")
        };
        match how {
            0 => any_cells(page, slot, &mut choices, &incoming, &outgoing),
            1 => any_sealed_cells(&mut choices, &incoming),
            2 => scribbled_on(page, slot, &mut choices, &incoming),
            _ => sender_scribbled_on(page, slot, &mut choices, &outgoing),
        }
        let none = Recorder::SLOTS.saturating_add(u32::from(choices.byte()));
        assert!(IncomingRow::new(page, none).is_none() && OutgoingRow::new(page, none).is_none());
    });
}

fn any_cells(
    page: &Recorder,
    slot: u32,
    choices: &mut Choices<'_>,
    incoming: &IncomingRow,
    outgoing: &OutgoingRow,
) {
    for cell in page.row(slot) {
        cell.store(choices.number(), Ordering::Release);
    }
    let both = (incoming.read().inspect(can_be_true), outgoing.read().inspect(can_be_sent));
    assert!(both.0.is_err() || both.1.is_err(), "a row is of one kind");
}

/// Each cell has its right checksum, as none that was written by accident has.
fn any_sealed_cells(choices: &mut Choices<'_>, incoming: &IncomingRow) {
    let wide = choices.byte();
    let mut number = |bit: usize| {
        if wide >> bit & 1 == 1 { choices.number() } else { u64::from(choices.byte()) }
    };
    let cells: [u64; 7] = std::array::from_fn(&mut number);
    incoming.write_sealed(cells);
    if let Ok(state) = incoming.read() {
        can_be_true(&state);
        let [settled, started, .., processed, skipped, resumed_after] =
            cells.map(|cell| cell & ((1 << 50) - 1));
        assert_eq!(state.cursor.0, settled >> 2);
        assert!(resumed_after <= state.cursor.0 && started >> 48 == 0);
        assert!(processed - state.processed <= 1 && skipped - state.skipped <= 1);
        assert_eq!(state.processed & 1, settled >> 1 & 1);
        assert_eq!(state.skipped & 1, settled & 1);
    }
}

fn can_be_true(state: &IncomingState) {
    assert!(state.cursor.0 >> 48 == 0);
    assert!(state.processed + state.skipped <= state.cursor.0);
    if let Some((in_hand, _)) = state.in_hand {
        assert!(in_hand > state.cursor && in_hand.0 - state.cursor.0 <= 1 << 20);
    }
}

fn can_be_sent(state: &OutgoingState) {
    assert!(state.sent <= state.appended && state.appended.0 >> 48 == 0);
}

/// A receiver works, is killed, and one of its cells has some bits changed.
fn scribbled_on(page: &Recorder, slot: u32, choices: &mut Choices<'_>, row: &IncomingRow) {
    let mut last = Sequence(u64::from(choices.byte()));
    row.prepare(last);
    let (mut processed, mut skipped, mut in_hand) = (0, 0, None);
    for _ in 0..choices.byte() % 16 {
        let act = choices.byte();
        last = Sequence(last.0 + 1 + u64::from(act >> 2));
        let key = MessageKey(u64::from(act) << 56 | 5);
        match act % 3 {
            0 => {
                row.skip(last);
                skipped += 1;
            }
            _ => {
                row.start(last, key);
                row.finish(last);
                processed += 1;
            }
        }
    }
    let cursor = last;
    if choices.byte() & 1 == 1 {
        let (sequence, key) = (last.next(), MessageKey(choices.number()));
        row.start(sequence, key);
        in_hand = Some((sequence, key));
    }
    let truth = IncomingState { cursor, in_hand, processed, skipped };
    assert_eq!(row.read(), Ok(truth), "what was written is read");
    let read = scribble(page, slot, choices, || row.read());
    if let Some(read) = read {
        is_true_or_refused(read, &truth);
    }
}

fn sender_scribbled_on(page: &Recorder, slot: u32, choices: &mut Choices<'_>, row: &OutgoingRow) {
    row.prepare();
    let appended = choices.number() >> 16;
    let sent = if appended == 0 { 0 } else { choices.number() % appended };
    row.appended(Sequence(appended));
    row.sent(Sequence(sent));
    let counts = [choices.byte(), choices.byte(), choices.byte()].map(u64::from);
    row.add_in_doubt(counts[0]);
    row.add_dead_lettered(counts[1]);
    row.add_redelivered(counts[2]);
    let truth = OutgoingState {
        appended: Sequence(appended),
        sent: Sequence(sent),
        in_doubt: counts[0],
        dead_lettered: counts[1],
        redelivered: counts[2],
    };
    assert_eq!(row.read(), Ok(truth));
    if let Some(read) = scribble(page, slot, choices, || row.read()) {
        is_true_or_refused(read, &truth);
    }
}

/// Flips one bit of one cell, which no checksum may miss, or more, which one in 16,384 does. Then the answer counts only
/// as long as it does not end the process.
fn scribble<T>(page: &Recorder, slot: u32, choices: &mut Choices<'_>, read: impl Fn() -> T) -> Option<T> {
    let cell = &page.row(slot)[usize::from(choices.byte() % 8)];
    let (bit, more) = (choices.byte() % 64, choices.number());
    let old = cell.load(Ordering::Acquire);
    let more = if more.count_ones() % 2 == 0 { 0 } else { more };
    cell.store(old ^ (1 << bit) ^ more, Ordering::Release);
    let answer = read();
    (more == 0).then_some(answer)
}

fn is_true_or_refused<T: PartialEq + std::fmt::Debug>(read: Result<T, Scribbled>, truth: &T) {
    match read {
        // A cell that nothing depends on now.
        Ok(read) => assert_eq!(&read, truth, "one bit was changed, and was believed"),
        Err(scribbled) => assert!(scribbled.to_string().contains("overwritten")),
    }
}

pub(super) fn seeds() -> Seeds {
    let numbers = |cells: &[u64]| cells.iter().flat_map(|cell| cell.to_le_bytes()).collect::<Vec<u8>>();
    let seed = |begin: &[u8], rest: &[u8]| [begin, rest].concat();
    vec![
        ("zeroes", seed(&[0, 1], &[0; 64])),
        ("ones", seed(&[0, 1], &[0xff; 64])),
        ("any", seed(&[0, 2], &numbers(&[1, 1 << 50, 3, u64::MAX, 5, 6, 7, 8]))),
        ("sealed", seed(&[1, 3, 0], &[20 << 2 | 2, 5, 0, 0, 3, 0, 2, 0])),
        ("sealed-in-hand", seed(&[1, 3, 0], &[16, 5, 0, 0, 0, 0, 2, 0])),
        ("sealed-wide", seed(&[1, 3, 0xff], &numbers(&[1 << 49, 1 << 47, 0, 0, 1 << 40, 1 << 40, 1]))),
        ("sealed-highest", seed(&[1, 3, 0xff], &numbers(&[u64::MAX; 7]))),
        ("works", seed(&[2, 4, 10, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0])),
        ("works-in-hand", seed(&[2, 4, 10, 3], &[1, 2, 4, 1, 9, 9, 9, 9, 9, 9, 9, 9, 1, 3])),
        ("key-scribbled", seed(&[2, 4, 10, 1], &[1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 2, 60])),
        ("sender", seed(&[3, 5], &[numbers(&[1 << 40, 77]), vec![1, 2, 3, 0, 5]].concat())),
        ("sender-scribbled", seed(&[3, 5], &[numbers(&[1 << 40, 77]), vec![1, 2, 3, 4, 63]].concat())),
    ]
}
