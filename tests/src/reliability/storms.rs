//! Signals without end, to the supervisor and its actors, while actors die and are started again.
//!
//! Only signals that end nobody: SIGCHLD, which says that a child has changed; SIGURG, with which a hung actor is asked
//! for its stack; SIGWINCH, which terminals send. What ends a process by default (SIGTERM, SIGUSR1) is a kill, and is
//! told as one; `kills` is about those.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use watertight::prelude::*;
use watertight::{Event, Output};

use super::parts::signal;
use super::{Effort, Random, Score, progress};
use crate::Specimen;
use crate::specimen::{Add, Pid, Setup};

const HARMLESS: [Signal; 3] = [Signal::CHILD, Signal::URG, Signal::WINCH];
const ACTORS: usize = 3;
/// So many signals, then a pause: the kernel merges signals that wait, and these are to arrive.
const VOLLEY: u64 = 25;
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// To whom signals go; 0 is nobody.
#[derive(Default)]
struct Targets {
    pids: [AtomicU32; ACTORS],
    sent: AtomicU64,
    over: AtomicBool,
}

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let signals = effort.of(100_000, 4000);
    let mut events = sys.events().await?;
    let mut actors = Vec::new();
    let targets = Arc::new(Targets::default());
    for at in &targets.pids {
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE).output(Output::Silent);
        let actor = sys.spawn_with(spec.intensity(u32::MAX, Duration::from_secs(1))).await?;
        at.store(actor.ask(Pid).await?, Ordering::Relaxed);
        actors.push(actor);
    }
    let (to, seed) = (targets.clone(), effort.seed);
    let storm = std::thread::spawn(move || storm(&to, signals, seed));
    let (mut kills, mut exits, mut wrong, mut spawned, mut answers) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    while !targets.over.load(Ordering::Relaxed) || kills < 20 {
        let at = usize::try_from(kills)? % ACTORS;
        let pid = targets.pids[at].load(Ordering::Relaxed);
        let before = sys.info(&actors[at]).await?.incarnation;
        for _ in 0..20 {
            actors[at].ask(Add(1)).deadline(PATIENCE).await?;
            answers += 1;
        }
        signal(pid, Signal::KILL);
        kills += 1;
        let back = events.wait_for(|event| match event {
            Event::Exited(report) => {
                exits += 1;
                wrong += u64::from(report.exit != watertight::Exit::Signal(Signal::KILL.as_raw()));
                None
            }
            Event::Started { actor, incarnation, pid, .. } if actor == actors[at].actor() => {
                (incarnation > before).then_some(pid)
            }
            _ => None,
        });
        let pid = tokio::time::timeout(PATIENCE, back).await??;
        targets.pids[at].store(pid, Ordering::Relaxed);
        if kills % 10 == 0 {
            // One more beside them: it starts, and it stops.
            let spec = Spec::<Specimen>::new(Setup::default()).output(Output::Silent);
            let passing = tokio::time::timeout(PATIENCE, sys.spawn_with(spec)).await??;
            tokio::time::timeout(PATIENCE, sys.stop(&passing)).await??;
            spawned += 1;
            gone(&mut events, &passing).await?;
        }
    }
    let sent = targets.sent.load(Ordering::Relaxed);
    storm.join().map_err(|_| Error::new("the storm has panicked"))?;
    progress(&format!("{sent} signals, {kills} kills"));
    score.same("signals that were to be sent, and were", signals, sent);
    score.same("kills, and exits told", kills, exits);
    score.zero("exits told as something else", wrong, exits);
    let ledger = sys.balance(PATIENCE).await?;
    score.same("the ledger's difference", ledger.waiting().unsigned_abs(), 0);
    score.zero("in doubt: none had a message in hand", ledger.in_doubt, answers);
    score.figure("restarts; others started and stopped; answers", format!("{kills}; {spawned}; {answers}"));
    Ok(())
}

/// Waits until the exit of what was stopped was told; nobody else dies meanwhile.
async fn gone(events: &mut watertight::Events, stopped: &Address<Specimen>) -> Result<()> {
    let gone = events.wait_for(|event| match event {
        Event::Exited(report) => (report.actor == stopped.actor()).then_some(()),
        _ => None,
    });
    tokio::time::timeout(PATIENCE, gone).await?
}

/// Sends so many signals, half of them to the own process, the others to the actors.
fn storm(to: &Targets, signals: u64, seed: u64) {
    let mut random = Random::new(seed);
    for nth in 1..=signals {
        let chosen = HARMLESS[random.index(HARMLESS.len())];
        let at = random.index(2 * ACTORS);
        let pid = to.pids.get(at).map_or(std::process::id(), |pid| pid.load(Ordering::Relaxed));
        // An actor that has just been killed may be gone.
        signal(pid, chosen);
        to.sent.fetch_add(1, Ordering::Relaxed);
        if nth % VOLLEY == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    to.over.store(true, Ordering::Relaxed);
}
