//! A pool's rows, and the board of a worker that may have scribbled on it, on any bytes.

use super::reading::{self, Reading};
use super::row;
use crate::fuzzing::{Choices, Seeds};
use crate::process::board::{Progress, ROOM};

/// First which of the two, then what it says.
pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    match choices.byte() % 3 {
        0 => row_of(choices.byte(), choices.0),
        1 => written_row(&mut choices),
        _ => board(&mut choices),
    }
}

fn row_of(items: u8, bytes: &[u8]) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((item, behind)) = row::next(rest) {
        assert!(behind.len() < rest.len(), "an item takes something, so a row ends");
        found.push(item);
        rest = behind;
    }
    let items = u32::from(items);
    let is_row = rest.is_empty() && found.len() == items as usize;
    assert_eq!(row::has(bytes, items), is_row);
    assert!(found.iter().map(|item| item.unwrap_or_else(|error| error).len()).sum::<usize>() <= bytes.len());
    // What was found, written again, is found again.
    let mut again = Vec::new();
    for item in &found {
        add(&mut again, item.unwrap_or_else(|error| error), item.is_err());
    }
    assert!(row::has(&again, u32::try_from(found.len()).unwrap_or(u32::MAX)) || found.is_empty());
}

fn written_row(choices: &mut Choices<'_>) {
    let (mut items, mut written) = (Vec::new(), Vec::new());
    while !choices.0.is_empty() {
        let (length, failed) = (usize::from(choices.byte()), choices.byte() & 1 == 1);
        let times = if length == 255 { 80 } else { 1 };
        let item = choices.bytes(length).repeat(times);
        add(&mut written, &item, failed);
        items.push((item, failed));
    }
    let mut rest = &written[..];
    for (item, failed) in &items {
        let Some((found, behind)) = row::next(rest) else { panic!("an item is missing") };
        assert_eq!(found, if *failed { Err(&item[..]) } else { Ok(&item[..]) });
        rest = behind;
    }
    assert!(rest.is_empty());
}

fn add(row: &mut Vec<u8>, item: &[u8], failed: bool) {
    let start = row::begin(row);
    row.extend_from_slice(item);
    row::end(row, start, failed);
}

/// Every task of a chunk has exactly one fate, and what may have run is not run again.
fn board(choices: &mut Choices<'_>) {
    let wide = choices.byte();
    let mut number = |bit: u8| {
        let narrow = u32::from(choices.byte());
        if wide >> bit & 1 == 1 { u32::try_from(choices.number() >> 32).unwrap_or(u32::MAX) } else { narrow }
    };
    let (begun, end, done, bytes) = (number(0), number(1), number(2), number(3));
    let (chunk_end, ahead) = (number(4), number(5));
    let at = Progress { begun, claimed: begun.saturating_add(ahead), end, done, bytes };
    let end = chunk_end;
    let (dead, beyond) = (wide >> 6 & 1 == 1, wide >> 7 & 1 == 1);
    let Reading { done, in_doubt, rest } = reading::read(at, end, dead, beyond);
    assert!(done <= in_doubt.start && in_doubt.start <= in_doubt.end);
    assert_eq!((in_doubt.end, rest.end), (rest.start, end), "what is not settled is in doubt or not begun");
    let settled = done.saturating_add(u32::from(beyond));
    let disbelieved = done == 0 && in_doubt == (0..end) && rest.is_empty();
    if !disbelieved {
        assert_eq!(in_doubt.start, settled);
        assert!(in_doubt.len() <= usize::from(dead), "one task is run at a time");
        assert!(at.bytes as usize <= ROOM && at.done <= at.begun && at.begun <= at.claimed);
        assert!(at.claimed <= at.end && at.end <= end);
        assert_eq!(rest, at.begun..end, "what was begun is not begun again");
    }
}

pub(crate) fn seeds() -> Seeds {
    let seed = |begin: &[u8], rest: &[u8]| [begin, rest].concat();
    let mut row = Vec::new();
    for (length, failed) in [(0, false), (5, true), (63, false), (64, false), (300, true)] {
        add(&mut row, &vec![9; length], failed);
    }
    vec![
        ("row", seed(&[0, 5], &row)),
        ("row-of-fewer", seed(&[0, 6], &row)),
        ("cut-off", seed(&[0, 5], &row[..row.len() - 1])),
        ("endless-length", seed(&[0, 1], &[0xff; 40])),
        ("claims-4-gib", seed(&[0, 1], &[0xfe, 0xff, 0xff, 0xff, 0x1f, 1, 2, 3])),
        ("long-form", seed(&[0, 1], &[0x82, 0x80, 0x00, 7])),
        ("empty", seed(&[0, 0], &[])),
        ("written", seed(&[1], &[3, 0, 1, 2, 3, 0, 1, 64, 0])),
        ("written-long", seed(&[1, 255, 1], &[7; 255])),
        ("board", seed(&[2, 0], &[3, 5, 3, 0, 5])),
        ("board-of-the-dead", seed(&[2, 0x40], &[3, 5, 2, 0, 5])),
        ("board-beyond", seed(&[2, 0x80], &[3, 5, 2, 0, 5])),
        ("board-cannot-be", seed(&[2, 0x40], &[9, 5, 2, 0, 5])),
        ("board-beyond-its-chunk", seed(&[2, 0x40], &[3, 9, 3, 0, 5])),
        ("board-wide", seed(&[2, 0x5f], &[0xff; 45])),
    ]
}
