//! Frames that are nearly right, on every kind of link of a system: nobody but their sender is disturbed.

use std::time::{Duration, Instant};

use watertight::prelude::*;

use super::{Effort, Score, machine, parts, progress};
use crate::siege::ammunition::Draw;
use crate::siege::{Besieged, Link, Told};

/// How much more memory the supervisor may have in the end, in bytes.
const GROWTH: u64 = 10 << 20;
/// After so many frames it is said how far it has come.
const STEP: u64 = 100_000;
/// So many seconds are measured without an attack.
const CALM: &str = "1";

pub fn run(effort: Effort, score: &mut Score) -> Result<()> {
    let silent = |_| {};
    let frames = number("WATERTIGHT_FRAMES")?.unwrap_or(effort.of(1_000_000, 500));
    let only = std::env::var("WATERTIGHT_LINK").ok();
    let links: Vec<Link> = Link::ALL.into_iter().filter(|link| is_chosen(*link, only.as_deref())).collect();
    if links.is_empty() {
        return Err(Error::new(format!(
            "WATERTIGHT_LINK={only:?} is no kind of link; they are {:?}",
            Link::ALL
        )));
    }
    let seed = effort.seed;
    let mut besieged = Besieged::start(&mut parts::program("besieged"))?;
    // What is touched for the first time is no growth: first everything once.
    for link in Link::ALL {
        besieged.under(link, Draw::new(seed + 1), seed + 1, frames.min(100), &silent)?;
    }
    besieged.say("measure 0.2")?;
    let before = machine::memory(besieged.process())?;
    let calm = besieged.say(&format!("measure {CALM}"))?;
    score.figure("answers in calm, p99, of an actor and of the one that is fired at", times(&calm));
    // The same load from a good program: what it costs the others is no harm.
    let good = besieged.under(Link::FromOutside, Draw::honest(), 0, frames, &silent)?;
    score.figure("under as many good frames", times(&good));
    let (mut asks, mut worst) = (good.asks, 0);
    for link in links {
        let begun = Instant::now();
        let fired = |so_far: u64| {
            if so_far == frames || so_far.is_multiple_of(STEP) {
                progress(&format!("{so_far} frames on {link:?} in {:.1?}", begun.elapsed()));
            }
        };
        let told = besieged.under(link, Draw::new(seed), seed, frames, &fired)?;
        let took = begun.elapsed();
        score.figure(format!("{link:?}: {frames} frames in {took:.1?}, answers meanwhile"), times(&told));
        score.zero(format!("{link:?}: good messages misdelivered"), told.wrong, told.asks - asks);
        (asks, worst) = (told.asks, worst.max(told.peer).max(told.victim));
    }
    let after = besieged.say(&format!("measure {CALM}"))?;
    score.figure("in calm again", times(&after));
    let memory = machine::memory(besieged.process())?;
    let grown = memory.saturating_sub(before);
    score.at_most(
        format!("memory of the supervisor, from {before} to {memory} bytes"),
        grown as f64,
        GROWTH as f64,
    );
    // If nothing of all this is ever a message, it is no fuzzing of messages.
    score.at_most("victims to which no frame was a message", f64::from(u8::from(after.foreign == 0)), 0.0);
    score.figure("frames that were messages", after.foreign);
    // Only where nothing else runs: another program's turn on a core takes longer than an answer.
    if std::env::var_os("WATERTIGHT_STRICT").is_some() {
        let usual = good.peer.max(good.victim).max(calm.peer).max(calm.victim);
        score.at_most("the worst p99 of answers, in nanoseconds", worst as f64, 2.0 * usual as f64);
    }
    Ok(())
}

fn is_chosen(link: Link, only: Option<&str>) -> bool {
    only.is_none_or(|only| only == format!("{link:?}"))
}

fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    let number = text.parse().map_err(|error| Error::new(format!("{name}={text}: {error}")))?;
    Ok(Some(number))
}

fn times(told: &Told) -> String {
    let shown = |nanoseconds| format!("{:.1?}", Duration::from_nanos(nanoseconds));
    format!("{}, {}", shown(told.peer), shown(told.victim))
}
