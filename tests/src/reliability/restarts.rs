//! How long it takes from a kill to the next handled message, beside a bare child that answers a byte, in turns.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight::Output;
use watertight::prelude::*;

use super::machine::Times;
use super::parts::{Bare, signal};
use super::{Effort, Score, progress};
use crate::Specimen;
use crate::specimen::{Pid, Setup};

/// Before the count begins.
const WARM_UP: usize = 3;
/// Our median, in medians of the bare child.
const RATIO: f64 = 3.0;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let rounds = effort.of(1000, 40);
    let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE).output(Output::Silent);
    let actor = sys.spawn_with(spec.intensity(u32::MAX, Duration::from_secs(1))).await?;
    let mut bare = Bare::start()?;
    bare.greet()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let before = actor.ask(Pid).deadline(PATIENCE).await?;
        let begun = Instant::now();
        signal(before, Signal::KILL);
        // The last words of the killed one may still arrive.
        while actor.ask(Pid).deadline(PATIENCE).await? == before {}
        ours.push(begun.elapsed());
        let begun = Instant::now();
        // Killed and waited for as it is dropped.
        drop(std::mem::replace(&mut bare, Bare::start()?));
        bare.greet()?;
        theirs.push(begun.elapsed());
        if round % 250 == 249 {
            progress(&format!("{} kills", round + 1));
        }
    }
    let [ours, theirs] = [ours, theirs].map(|times| Times::of(times[WARM_UP..].to_vec()));
    let ratio = ours.percentile(50).as_secs_f64() / theirs.percentile(50).as_secs_f64();
    score.at_most("our median in medians of a bare tokio child", ratio, effort.of(RATIO, 3.0 * RATIO));
    score.figure("from SIGKILL to the next handled message", ours);
    score.figure("bare tokio child, from SIGKILL to the next byte", theirs);
    Ok(())
}
