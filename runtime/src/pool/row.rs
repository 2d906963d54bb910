//! Inputs and results in a row, each behind its length; pure.
//!
//! The length is a variable number of bytes, lowest seven bits first, of twice the length, plus one for a result that is
//! the text of an error: for what is small, as most inputs and results are, a single byte.

use serde::Serialize;

use crate::wire::codec;

/// What stands in a row: a value, or the text of an error.
pub(super) type Item<'a> = Result<&'a [u8], &'a [u8]>;

/// Longest item: far more than a frame holds, so that doubling cannot overflow.
const LONGEST: usize = u32::MAX as usize / 2;
/// What is shorter has its length in one byte.
const ONE_BYTE: usize = 0x40;

/// Begins an item at the end of `out`; what follows is the item itself.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len() - 1
}

/// Ends the item that was begun at `start`.
pub(super) fn end(out: &mut Vec<u8>, start: usize, failed: bool) {
    let length = out.len().saturating_sub(start + 1).min(LONGEST);
    match Head::of(length, failed) {
        Head { bytes: [byte, ..], length: 1 } => out[start] = byte,
        head => drop(out.splice(start..=start, head.as_slice().iter().copied())),
    }
}

/// Writes a value behind its length to the beginning of `room`, and returns how many bytes both take. `None` if there is no
/// room for it, or it does not encode.
#[inline]
pub(super) fn place<T: Serialize>(room: &mut [u8], value: &T) -> Option<usize> {
    let (first, rest) = room.split_first_mut()?;
    let length = codec::encode_within(value, rest)?;
    if length < ONE_BYTE {
        *first = Head::of(length, false).bytes[0];
        return Some(1 + length);
    }
    make_way(room, length)
}

/// The length of what stands behind the first byte of `room` takes more than that.
fn make_way(room: &mut [u8], length: usize) -> Option<usize> {
    let head = Head::of(length, false);
    let taken = head.length + length;
    if taken > room.len() {
        return None;
    }
    room.copy_within(1..=length, head.length);
    room[..head.length].copy_from_slice(head.as_slice());
    Some(taken)
}

/// The length of an item, as it is written in front of it.
struct Head {
    bytes: [u8; 5],
    length: usize,
}

impl Head {
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Seven bits at a time.
    fn of(length: usize, failed: bool) -> Head {
        let mut rest = length.min(LONGEST) << 1 | usize::from(failed);
        let mut head = Head { bytes: [0; 5], length: 1 };
        while rest >= 0x80 && head.length < 5 {
            head.bytes[head.length - 1] = rest as u8 | 0x80;
            head.length += 1;
            rest >>= 7;
        }
        head.bytes[head.length - 1] = rest as u8;
        head
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The first item of `row`, and what follows it.
#[inline]
pub(super) fn next(row: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&first, rest) = row.split_first()?;
    let (number, rest) = if first < 0x80 { (usize::from(first), rest) } else { long_number(first, rest)? };
    let (item, behind) = rest.split_at_checked(number >> 1)?;
    Some((if number & 1 == 1 { Err(item) } else { Ok(item) }, behind))
}

/// A number of more than one byte, of which the first has been taken; and what follows it.
#[inline(never)]
fn long_number(first: u8, mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let (mut number, mut shift) = (usize::from(first & 0x7f), 7);
    loop {
        let (&byte, behind) = rest.split_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        rest = behind;
        if byte < 0x80 {
            return Some((number, rest));
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

/// Whether `row` is exactly so many items.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn has(mut row: &[u8], items: u32) -> bool {
    for _ in 0..items {
        match next(row) {
            Some((_, behind)) => row = behind,
            None => return false,
        }
    }
    row.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(row: &mut Vec<u8>, item: &[u8], failed: bool) {
        let start = begin(row);
        row.extend_from_slice(item);
        end(row, start, failed);
    }

    #[test]
    fn what_is_put_in_comes_out_in_order() {
        let items: Vec<Vec<u8>> = [0, 1, 63, 64, 65, 8_191, 8_192, 2_000_000].map(|n| vec![9; n]).into();
        let mut row = Vec::new();
        for (number, item) in items.iter().enumerate() {
            add(&mut row, item, number % 3 == 1);
        }
        assert!(has(&row, 8) && !has(&row, 7) && !has(&row, 9));
        let mut rest = &row[..];
        for (number, item) in items.iter().enumerate() {
            let (found, behind) = next(rest).unwrap();
            assert_eq!(found, if number % 3 == 1 { Err(&item[..]) } else { Ok(&item[..]) });
            rest = behind;
        }
        assert_eq!(next(rest), None);
    }

    #[test]
    fn what_is_cut_off_or_scribbled_on_is_no_row() {
        let mut row = Vec::new();
        add(&mut row, &[7; 200], false);
        for cut in 0..row.len() {
            assert!(!has(&row[..cut], 1), "{cut}");
        }
        assert_eq!(next(&[0xff; 40]), None);
        row[0] ^= 0x10;
        assert!(!has(&row, 1));
    }
}
