//! Restarts without end: whether anything stays behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight::prelude::*;
use watertight::{Event, Output};

use super::parts::signal;
use super::trend::{growth, slope};
use super::{Effort, Score, machine, progress};
use crate::Specimen;
use crate::specimen::{Add, Pid, Setup};

/// 48 times a production in which an actor dies every minute and a hundred messages a second are sent.
const LEAST: (f64, f64) = (0.8, 4800.0);
const ACTORS: usize = 4;
/// Between two kills.
const BEAT: Duration = Duration::from_millis(50);
/// Told after each kill.
const MESSAGES: i64 = 400;
/// Bytes of memory that a restart may leave behind. In a small version allocators have hardly warmed up.
const LEFT: (f64, f64) = (1024.0, 65_536.0);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let lasts = effort.seconds(1800.0, 6.0);
    let folder = std::env::temp_dir();
    let mut events = sys.events().await?;
    let mut actors = Vec::new();
    for _ in 0..ACTORS {
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE).output(Output::Silent);
        actors.push(sys.spawn_with(spec.intensity(u32::MAX, Duration::from_secs(1))).await?);
    }
    let looks = usize::try_from(lasts.as_millis() / 100)?;
    let mut memory = Vec::with_capacity(looks);
    let (mut open, mut files) = (Vec::with_capacity(looks), Vec::with_capacity(looks));
    let (mut zombies, mut restarts, mut messages) = (0, 0_u64, 0_u64);
    let (begun, mut look_at, mut say_at) = (Instant::now(), Instant::now(), Instant::now());
    while begun.elapsed() < lasts {
        let beat = tokio::time::Instant::now() + BEAT;
        let actor = &actors[usize::try_from(restarts)? % ACTORS];
        let pid = actor.ask(Pid).deadline(PATIENCE).await?;
        signal(pid, Signal::KILL);
        let back = events.wait_for(|event| match event {
            Event::Started { actor: it, .. } => (it == actor.actor()).then_some(()),
            _ => None,
        });
        tokio::time::timeout(PATIENCE, back).await??;
        restarts += 1;
        for _ in 0..MESSAGES {
            actor.tell(Add(1)).await?;
        }
        actor.ask(Add(1)).deadline(PATIENCE).await?;
        messages += MESSAGES as u64 + 2;
        if Instant::now() >= look_at {
            look_at += lasts / u32::try_from(looks.clamp(30, 2000))?;
            memory.push((restarts as f64, machine::memory(std::process::id())? as f64));
            open.push(machine::descriptors(std::process::id())?);
            files.push(std::fs::read_dir(&folder)?.count() as u64);
            zombies = zombies.max(machine::zombies(std::process::id())?);
        }
        if say_at.elapsed() > Duration::from_secs(60) {
            say_at = Instant::now();
            progress(&format!("{restarts} restarts, {messages} messages"));
        }
        tokio::time::sleep_until(beat).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (restart_rate, message_rate) = (restarts as f64 / seconds, messages as f64 / seconds);
    score.zero("dead processes that nobody reaped, at any look", zombies, restarts);
    score.at_most("descriptors gained", growth(&open) as f64, 0.0);
    score.at_most("files gained", growth(&files) as f64, 0.0);
    let left = slope(&memory);
    score.at_most("bytes of memory gained per restart", left, effort.of(LEFT.0, LEFT.1));
    score.at_most("production restarts a second, 48 times, beside ours", LEAST.0, restart_rate);
    // A debug build beside other tests is not measured for speed.
    if !effort.quick {
        score.at_most("production messages a second, 48 times, beside ours", LEAST.1, message_rate);
    }
    score.figure("looks", memory.len());
    score.figure("restarts", format!("{restarts} in {seconds:.0} s, {restart_rate:.1} a second"));
    score.figure("messages", format!("{messages}, {message_rate:.0} a second"));
    let [first, last] = [memory.first(), memory.last()].map(|at| at.map_or(0.0, |at| at.1) / 1024.0);
    score.figure("memory of the supervisor", format!("{first:.0} KiB at first, {last:.0} KiB at last"));
    let ledger = sys.balance(PATIENCE).await?;
    score.same("the ledger's difference", ledger.waiting().unsigned_abs(), 0);
    score.same("accepted, here and by the ledger", messages, ledger.accepted);
    Ok(())
}
