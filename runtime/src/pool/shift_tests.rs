#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use super::*;
use crate::process::board::{Board, Progress, ROOM};

/// Runs `f` on `inputs`; returns what the board then says, its results as texts, and what is beyond it.
fn run<S, T, R>(
    inputs: &[S],
    block: u32,
    most: u32,
    f: impl Fn(T) -> R,
) -> (Progress, Vec<String>, Option<usize>)
where
    S: Serialize,
    T: DeserializeOwned,
    R: Serialize + DeserializeOwned + std::fmt::Debug,
{
    let mut bytes = Vec::new();
    for input in inputs {
        let start = row::begin(&mut bytes);
        codec::encode_into(input, &mut bytes, 1 << 20).unwrap();
        row::end(&mut bytes, start, false);
    }
    let (mut board, _) = Board::create().unwrap();
    board.lay_out(0, u32::try_from(inputs.len()).unwrap());
    let progress = Cell::new(0);
    let terms =
        Terms { context: None, block, most, timed: true, progress: &|| progress.set(progress.get() + 1) };
    let mut shift = Shift::new(board.desk(0), &bytes, terms);
    shift.work(f);
    let (begun, beyond) = shift.end();
    assert!(progress.get() > 0);
    let at = board.progress(0);
    assert_eq!(at.begun, begun);
    let results = board.copy_results(0, at.bytes);
    let (mut rest, mut texts) = (&results[..], Vec::new());
    while let Some((item, behind)) = row::next(rest) {
        rest = behind;
        texts.push(match item {
            Ok(bytes) => format!("{:?}", codec::decode::<R>(bytes).unwrap()),
            Err(text) => String::from_utf8_lossy(text).into_owned(),
        });
    }
    assert_eq!(texts.len(), at.done as usize);
    (at, texts, beyond.map(|(row, _)| row.len()))
}

#[test]
fn each_result_stands_on_the_board_in_its_order() {
    for block in [1, 3, 64] {
        let (at, results, beyond) = run(&[1_u64, 20, 300], block, 100, |x: u64| x * x);
        assert_eq!(results, ["1", "400", "90000"]);
        assert_eq!((at.begun, at.claimed, at.end, beyond), (3, 3, 3, None));
    }
}

#[test]
fn no_more_are_claimed_than_may_be_run() {
    let (at, results, _) = run(&[1_u8, 2, 3, 4, 5], 2, 3, |x: u8| x);
    assert_eq!(results, ["1", "2", "3"]);
    assert_eq!((at.begun, at.claimed, at.end), (3, 3, 5));
}

#[test]
fn results_of_every_length_fit_behind_their_length() {
    for length in [0, 61, 62, 63, 64, 65, 8_190, 8_192, 60_000] {
        let (_, results, beyond) = run(&[length, 1], 2, 2, |length: usize| "x".repeat(length));
        assert_eq!(results, [format!("{:?}", "x".repeat(length)), "\"x\"".into()], "{length}");
        assert_eq!(beyond, None);
    }
}

#[test]
fn what_does_not_fit_the_board_is_kept_beyond_it() {
    let (at, results, beyond) = run(&[1, ROOM, 1], 1, 3, |length: usize| "x".repeat(length));
    assert_eq!((results.len(), at.begun, at.done), (1, 2, 1), "it ends there");
    // Its length, and then text behind the length of that.
    assert_eq!(beyond, Some(ROOM + 6));
}

#[test]
fn what_cannot_be_read_or_written_fails_alone() {
    let (_, results, _) = run(&[(1_u8, 2_u8), (3, 2)], 2, 2, |x: (bool, u8)| x.1);
    // The second is no truth value.
    assert_eq!(results[0], "2");
    assert!(results[1].starts_with("the input does not decode"), "{results:?}");

    #[derive(Debug, serde::Deserialize)]
    struct Refuses(bool);
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                true => Err(serde::ser::Error::custom("no")),
                false => serializer.serialize_newtype_struct("Refuses", &self.0),
            }
        }
    }
    let (_, results, _) = run(&[true, false], 2, 2, Refuses);
    assert!(results[0].starts_with("the result does not encode"), "{results:?}");
    assert_eq!(results[1], "Refuses(false)");
}
