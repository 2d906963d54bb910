//! What it costs every message that the flight recorder can note messages for the output of a test, where it does not.
//! In a process of its own: it times. A number worth reading needs a release build and `WATERTIGHT_STRICT`
//! (`docs/testing.md`).

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use watertight::fuzzing::notes::{Notes, Noting};

/// Messages in a row.
const MESSAGES: u64 = 200_000;
/// Rounds in which all take turns, the other way round every second time.
const ROUNDS: usize = 41;
/// What a message may cost more for the look, in nanoseconds, as a cut may (`bench -- faults`).
const LOOK: f64 = 2.0;

fn each(took: Duration) -> f64 {
    took.as_secs_f64() * 1e9 / MESSAGES as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn a_message_that_is_not_noted_costs_no_more_than_a_look() {
    let ways = [Noting::Unknown, Noting::Off, Noting::On];
    let mut rows = ways.map(|noting| Notes::begin(noting).unwrap());
    let mut took = ways.map(|_| Vec::new());
    for round in 0..ROUNDS {
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            took[way].push(each(rows[way].pass(MESSAGES)));
        }
    }
    assert_eq!((rows[0].noted(), rows[1].noted()), (0, 0));
    assert!(rows[2].noted() > 100, "nothing was noted, so nothing was compared");
    let against_first = |way: usize| {
        let pairs = took[way].iter().zip(&took[0]);
        let (mut ratios, mut more): (Vec<f64>, Vec<f64>) =
            pairs.map(|(ours, plain)| (ours / plain, ours - plain)).unzip();
        (median(&mut ratios), median(&mut more))
    };
    let (off, on) = (against_first(1), against_first(2));
    let plain = median(&mut took[0].clone());
    println!(
        "a message in the recorder, in nanoseconds: {plain:.2}, and {:+.2} for the look ({:.2} times)",
        off.1, off.0
    );
    println!("with every message noted {:+.2} ({:.2} times)", on.1, on.0);
    if std::env::var_os("WATERTIGHT_STRICT").is_some() {
        assert!(off.1 <= LOOK, "the look costs {:.2} ns", off.1);
    }
    // What would be seen on any machine: the noting itself, done where nobody has asked for it.
    assert!(off.1 < on.1 / 2.0, "not noting costs {:.2} ns more, noting {:.2} ns", off.1, on.1);
}
