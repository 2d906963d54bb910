//! What fault plans cost those who have none: a cut that is passed, and messages while somebody else has a plan.

use std::hint::black_box;
use std::time::Instant;

use watertight::Error;
use watertight::fault::{self, Cut, Fault, Plan};
use watertight::prelude::*;

use crate::Effort;
use crate::subjects::{Count, Counted, ROUND, Receiver, Sample, start};
use crate::table::{Bound, Row, beside, largest, median, turns};

/// Cuts in a row.
const CUTS: u64 = 1_000_000;

/// Measures. It must come last: a process that has once had a plan looks at each cut whether it still has.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    Ok(vec![cuts(effort), messages(sys, effort).await?])
}

/// A cut without a plan, beside a loop without cuts, in nanoseconds.
fn cuts(effort: Effort) -> Row {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..effort.of(41, 11) {
        for has_cut in turns(round, &[true, false]) {
            let begun = Instant::now();
            for number in 0..CUTS {
                black_box(number);
                if has_cut {
                    fault::point("never");
                }
            }
            let each = begun.elapsed().as_secs_f64() * 1e9 / CUTS as f64;
            if has_cut { &mut with } else { &mut without }.push(each);
        }
    }
    Row {
        what: "a cut without a plan, in a loop".into(),
        unit: "ns",
        median: median(&with),
        p99: None,
        worst: largest(&with),
        beside: Some(beside("the loop alone", &with, &without)),
        bound: Some(Bound::AtMost(2.0)),
    }
}

/// Tells a second to a receiver that no plan concerns, while there is one, beside the same before.
async fn messages(sys: &System, effort: Effort) -> Result<Row> {
    let receiver = start::<Receiver>(sys).await?;
    let count = effort.of(500_000, 100_000);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=effort.of(9, 3) {
        for has_plan in turns(round, &[true, false]) {
            let plan = Plan::seeded(1);
            let elsewhere = Fault::Abort.at(Cut::Started).actor("somebody else");
            sys.inject(if has_plan { plan.with(elsewhere) } else { plan }).await?;
            let begun = Instant::now();
            for number in 0..count {
                receiver.tell(Count(Sample::new(number))).await?;
            }
            let counted = receiver.ask(Counted).deadline(ROUND).await?;
            if counted != count {
                return Err(Error::new(format!("{counted} of {count} messages were counted")));
            }
            // The first round is for warming up.
            if round > 0 {
                let rate = count as f64 / begun.elapsed().as_secs_f64() / 1e3;
                if has_plan { &mut with } else { &mut without }.push(rate);
            }
        }
    }
    sys.stop(&receiver).await?;
    Ok(Row {
        what: "tell, with a plan for somebody else".into(),
        unit: "k/s",
        median: median(&with),
        p99: None,
        worst: with.iter().copied().fold(f64::INFINITY, f64::min),
        beside: Some(beside("with an empty plan", &with, &without)),
        bound: Some(Bound::RatioAtLeast(0.9)),
    })
}
