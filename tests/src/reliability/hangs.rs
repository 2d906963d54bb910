//! Actors that hang, which must be found in time; and actors that only work, which must be left alone.

use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{Event, Exit, Output};

use super::machine::Times;
use super::parts::spinners;
use super::{Effort, Score, progress};
use crate::specimen::{Commit, Pid, Setup, Work};
use crate::{Fault, Specimen};

const LIMIT: Duration = Duration::from_millis(500);
/// How long the supervisor waits for the stack of what hangs before it kills it anyway.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// What a small version may take more: it runs beside others, on a machine that may be busy.
const BUSY: Duration = Duration::from_secs(10);
/// The limit under full load. One step of work is a two-hundredth of it.
const LOADED_LIMIT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let mut events = sys.events().await?;
    let spec = Spec::<Specimen>::new(Setup::default())
        .backoff(Backoff::NONE)
        .output(Output::Silent)
        .intensity(u32::MAX, Duration::from_secs(1));
    let victim = sys.spawn_with(spec.hang_limit(LIMIT)).await?;
    for (fault, name) in
        [(Fault::StopSelf, "stopped"), (Fault::Loop, "looping"), (Fault::Deadlock, "locked out")]
    {
        let (mut times, mut other) = (Vec::new(), 0);
        let rounds = effort.of(100, 2);
        for _ in 0..rounds {
            victim.ask(Pid).deadline(PATIENCE).await?;
            let begun = Instant::now();
            victim.tell(Commit(fault)).await?;
            let death = events.exited("*");
            let report = tokio::time::timeout(PATIENCE, death).await??;
            times.push(begun.elapsed());
            other += u64::from(!matches!(report.exit, Exit::Hung(_)));
        }
        progress(&format!("{name}: {rounds} hangs"));
        // The limit, and a fifth of it: half of that for the sampling, the rest for the ways of the message and of the
        // report. And its stack, where it can say it.
        let found_by = LIMIT.mul_f64(1.2) + if fault == Fault::StopSelf { Duration::ZERO } else { LAST_LOOK };
        let bound = found_by + effort.of(Duration::ZERO, BUSY);
        let times = Times::of(times);
        let what = format!("{name}: seconds from the fault to its report, worst");
        score.at_most(what, times.worst().as_secs_f64(), bound.as_secs_f64());
        score.zero(format!("{name}: hangs taken for something else"), other, rounds);
        score.figure(format!("{name}: limit 500 ms, to its report"), times);
    }
    sys.stop(&victim).await?;
    leaves_workers_alone(sys, effort, score).await
}

/// Eight processes that want a processor for each that there is, and actors that make progress among them.
async fn leaves_workers_alone(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let lasts = effort.seconds(600.0, 5.0);
    let mut workers = Vec::new();
    for _ in 0..2 * cores {
        let spec = Spec::<Specimen>::new(Setup::default()).output(Output::Silent).mailbox(64, 1 << 16);
        let worker = sys.spawn_with(spec.hang_limit(LOADED_LIMIT)).await?;
        // Before its link is made, a sender does not know how small the mailbox is.
        worker.ask(Pid).deadline(PATIENCE).await?;
        workers.push(worker);
    }
    let mut events = sys.events().await?;
    let load = spinners(8 * cores)?;
    progress(&format!("{} spinners and {} workers for {lasts:?}", load.len(), workers.len()));
    let end = Instant::now() + lasts;
    let work = u64::try_from(STEP.as_micros())?;
    let (mut told, mut killed) = (0_u64, 0);
    while Instant::now() < end {
        for worker in &workers {
            while worker.try_tell(Work(work)).is_ok() {
                told += 1;
            }
        }
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(20), events.next()).await {
            if let Event::Exited(report) = event {
                progress(&format!("{report}"));
                killed += 1;
            }
        }
    }
    drop(load);
    let mut answered = 0;
    for worker in &workers {
        answered += u64::from(worker.ask(Pid).deadline(PATIENCE).await.is_ok());
    }
    let windows = workers.len() as u64 * (lasts.as_secs() / LOADED_LIMIT.as_secs());
    score.zero("workers killed as hung under full load, among their limits that went by", killed, windows);
    score.same("workers that answer afterwards", answered, workers.len() as u64);
    let what = format!("{} spinners beside {} workers", 8 * cores, workers.len());
    score.figure(what, format!("{:.0} s, {told} steps of 5 ms, limit 1 s", lasts.as_secs_f64()));
    Ok(())
}
