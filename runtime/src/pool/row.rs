//! Inputs and results in a row, each behind its length; pure.
//!
//! The length is a variable number of bytes, lowest seven bits first, of twice the length, plus one for a result that is
//! the text of an error: for what is small, as most inputs and results are, a single byte.

/// What stands in a row: a value, or the text of an error.
pub(super) type Item<'a> = Result<&'a [u8], &'a [u8]>;

/// Longest item: far more than a frame holds, so that doubling cannot overflow.
const LONGEST: usize = u32::MAX as usize / 2;

/// Begins an item at the end of `out`; what follows is the item itself.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len() - 1
}

/// Ends the item that was begun at `start`.
#[allow(clippy::cast_possible_truncation)] // Seven bits at a time.
pub(super) fn end(out: &mut Vec<u8>, start: usize, failed: bool) {
    let length = out.len().saturating_sub(start + 1).min(LONGEST);
    let mut rest = length << 1 | usize::from(failed);
    if rest < 0x80 {
        out[start] = rest as u8;
        return;
    }
    let mut bytes = Vec::with_capacity(5);
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    out.splice(start..=start, bytes);
}

/// The first item of `row`, and what follows it.
#[inline]
pub(super) fn next(row: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&first, mut rest) = row.split_first()?;
    let mut number = usize::from(first & 0x7f);
    if first >= 0x80 {
        let mut shift = 7;
        loop {
            let (&byte, behind) = rest.split_first()?;
            number |= usize::from(byte & 0x7f) << shift;
            rest = behind;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    }
    let (item, behind) = rest.split_at_checked(number >> 1)?;
    Some((if number & 1 == 1 { Err(item) } else { Ok(item) }, behind))
}

/// Whether `row` is exactly so many items.
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
