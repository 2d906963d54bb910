//! Random SIGKILLs under load, judged from the journals of the actors; the runtime's ledger is then compared with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watertight::prelude::*;
use watertight::{ActorId, Event, Output};

use super::traffic::{Burst, Listener, PATIENCE, Talker, TalkerSetup};
use super::verdict::{Found, find, read};
use super::{Effort, Random, Score, progress};
use crate::history::{Fate, Sent};

const RECEIVERS: usize = 3;
const SENDERS: u32 = 4;
/// Messages that a talker sends before it writes its journal.
const BURST: u32 = 480;
/// Microseconds from an incarnation's start within which it is killed.
const WITHIN: u64 = 5000;

/// What senders say of one receiver's messages.
#[derive(Default)]
struct Told {
    sent: BTreeMap<u32, Sent>,
    asks: u64,
    refused: u64,
    unresolved: u64,
    mislabelled: u64,
    in_doubt: u64,
}

impl Told {
    fn is_answered(&self, (sender, number): &(u32, u64)) -> bool {
        self.sent.get(sender).and_then(|sent| sent.get(number)) == Some(&Fate::Answered)
    }
}

/// What reports say: for each receiver, the messages that were in hand.
struct Named {
    by_receiver: BTreeMap<ActorId, BTreeSet<(u32, u64)>>,
    /// Kills at which nothing was in hand.
    idle: u64,
    /// Named twice: a message that ran again was in hand again.
    again: u64,
}

pub async fn run(sys: &System, effort: Effort, idempotent: bool, score: &mut Score) -> Result<()> {
    let (kills, messages) = (effort.of(1000, 60), effort.of(1_000_000, 20_000));
    let folder = tempfile::tempdir()?;
    let mut events = sys.events().await?;
    let mut receivers = Vec::new();
    for nth in 0..RECEIVERS {
        let spec = Spec::<Listener>::new(path(folder.path(), "receiver", nth))
            .backoff(Backoff::NONE)
            .output(Output::Silent)
            .redelivery(u8::MAX)
            .mailbox(256, 64 << 10)
            .intensity(u32::MAX, Duration::from_secs(1));
        receivers.push(sys.spawn_with(spec).await?);
    }
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let journal = path(folder.path(), "sender", sender as usize);
        let setup = TalkerSetup { sender, to: receivers.clone(), journal, idempotent };
        senders.push(sys.spawn_with(Spec::<Talker>::new(setup).output(Output::Silent)).await?);
    }
    let (ending, end) = tokio::sync::watch::channel(false);
    let sent = Arc::new(AtomicU64::new(0));
    let talking: Vec<_> =
        senders.iter().map(|it| tokio::spawn(talk(it.clone(), sent.clone(), end.clone()))).collect();

    let number_of: BTreeMap<ActorId, u32> = (0..).zip(&senders).map(|(n, it)| (it.actor(), n)).collect();
    let mut named = Named { by_receiver: BTreeMap::new(), idle: 0, again: 0 };
    let mut random = Random::new(effort.seed);
    let begun = Instant::now();
    for nth in 0..kills {
        // Spread over all messages.
        while sent.load(Ordering::Relaxed) * kills < nth * messages {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let victim = &receivers[random.index(RECEIVERS)];
        let report = kill(sys, victim, &mut events, Duration::from_micros(random.below(WITHIN))).await?;
        match report.in_hand {
            Some(in_hand) => {
                let sender = number_of.get(&in_hand.sender).copied().unwrap_or(u32::MAX);
                let of = named.by_receiver.entry(victim.actor()).or_default();
                named.again += u64::from(!of.insert((sender, in_hand.sequence.0)));
            }
            None => named.idle += 1,
        }
        if nth % 100 == 99 {
            progress(&format!("{} kills, {} messages", nth + 1, sent.load(Ordering::Relaxed)));
        }
    }
    let under_kills = begun.elapsed();
    let during = sent.load(Ordering::Relaxed);
    while sent.load(Ordering::Relaxed) < messages {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ending.send(true)?;
    for talking in talking {
        talking.await??;
    }
    sys.balance(PATIENCE).await?;
    score.figure("kills", kills);
    score.figure("kills with a message in hand", kills - named.idle);
    score.figure("kills that hit no handler", named.idle);
    score.figure(
        "messages sent while it was killed",
        format!("{during} in {:.1} s", under_kills.as_secs_f64()),
    );
    judge(sys, folder.path(), &receivers, &named, (kills, idempotent), score).await
}

/// Lets a talker talk until it is to end.
async fn talk(
    talker: Address<Talker>,
    sent: Arc<AtomicU64>,
    end: tokio::sync::watch::Receiver<bool>,
) -> Result<()> {
    while !*end.borrow() {
        talker.ask(Burst(BURST)).deadline(10 * PATIENCE).await?;
        sent.fetch_add(u64::from(BURST), Ordering::Relaxed);
    }
    Ok(())
}

/// Kills an actor at a moment of this incarnation, and waits for its next; the report of its death.
async fn kill(
    sys: &System,
    victim: &Address<Listener>,
    events: &mut watertight::Events,
    after: Duration,
) -> Result<watertight::CrashReport> {
    let info = sys.info(victim).await?;
    let pid = info.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| Error::new("the victim has no process"))?;
    let moment = Instant::now() + after;
    while Instant::now() < moment {
        tokio::task::yield_now().await;
    }
    kill_process(pid, Signal::KILL)?;
    let mut death = None;
    let back = events.wait_for(|event| {
        match event {
            Event::Exited(report) if report.actor == victim.actor() => death = Some(*report),
            Event::Started { actor, incarnation, .. } if actor == victim.actor() => {
                return (incarnation > info.incarnation).then_some(Ok(()));
            }
            Event::Missed(count) => return Some(Err(Error::new(format!("{count} events are missing")))),
            _ => {}
        }
        None
    });
    tokio::time::timeout(PATIENCE, back).await???;
    death.ok_or_else(|| Error::new("it was started again, and no exit was told"))
}

async fn judge(
    sys: &System,
    folder: &Path,
    receivers: &[Address<Listener>],
    named: &Named,
    (kills, idempotent): (u64, bool),
    score: &mut Score,
) -> Result<()> {
    let (mut all, mut totals, mut torn) = (Found::default(), Told::default(), 0);
    let (mut messages, mut reported, mut answers_that_won) = (0, 0, 0);
    let none = BTreeSet::new();
    for (nth, receiver) in receivers.iter().enumerate() {
        let told = told(folder, nth)?;
        let (entries, unreadable) = read(&std::fs::read_to_string(path(folder, "receiver", nth))?);
        let named = named.by_receiver.get(&receiver.actor()).unwrap_or(&none);
        let found = find(&told.sent, &entries, named, idempotent);
        let sent: usize = told.sent.values().map(BTreeMap::len).sum();
        // A reply that was out before the death has won over it.
        let answered = named.iter().filter(|it| told.is_answered(it)).count() as u64;
        let in_doubt = if idempotent { 0 } else { named.len() as u64 - answered };
        let ledger = sys.ledger_of(receiver).await?;
        score.same(format!("accepted by receiver {nth}, files and ledger"), sent as u64, ledger.accepted);
        score.same(format!("in doubt at receiver {nth}, reports and ledger"), in_doubt, ledger.in_doubt);
        let processed = sent as u64 - in_doubt;
        score.same(format!("processed by receiver {nth}, files and ledger"), processed, ledger.processed);
        (messages, reported) = (messages + sent as u64, reported + in_doubt);
        answers_that_won += answered;
        torn += unreadable;
        add(&mut all, found);
        totals.asks += told.asks;
        totals.refused += told.refused;
        totals.unresolved += told.unresolved;
        totals.mislabelled += told.mislabelled;
        totals.in_doubt += told.in_doubt;
    }
    score.zero("messages lost", all.lost, messages);
    score.zero(
        if idempotent { "duplicates untold or unexplained" } else { "messages duplicated" },
        all.duplicated,
        messages,
    );
    score.zero("messages unexpected", all.unexpected, messages);
    score.zero("messages misordered", all.misordered, messages);
    score.zero("messages refused", totals.refused, messages);
    score.zero("asks unresolved", totals.unresolved, totals.asks);
    score.zero("asks with the answer to another", totals.mislabelled, totals.asks);
    score.zero("asks in doubt that no report names", all.unnamed, totals.asks);
    score.zero("lines of journals that are none", torn, all.handled);
    if idempotent {
        score.zero("asks in doubt", totals.in_doubt, totals.asks);
        score.figure("duplicates, each told to its handler and named by a report", all.flagged);
        score.figure("in hand at more than one death", named.again);
    } else {
        score.zero("messages in hand at two deaths", named.again, kills);
        score.at_most("in doubt per kill", reported as f64 / kills as f64, 1.0);
        score.figure("in doubt", format!("{reported}, of them asks {}", totals.in_doubt));
        score.figure("in hand at a death, and answered before it", answers_that_won);
    }
    score.figure("messages", format!("{messages}, of them asks {}", totals.asks));
    Ok(())
}

fn add(all: &mut Found, one: Found) {
    all.lost += one.lost;
    all.duplicated += one.duplicated;
    all.flagged += one.flagged;
    all.unexpected += one.unexpected;
    all.misordered += one.misordered;
    all.unnamed += one.unnamed;
    all.handled += one.handled;
}

/// What all senders wrote of one receiver.
fn told(folder: &Path, receiver: usize) -> Result<Told> {
    let mut told = Told::default();
    for sender in 0..SENDERS {
        let sent = told.sent.entry(sender).or_default();
        for line in std::fs::read_to_string(path(folder, "sender", sender as usize))?.lines() {
            let mut words = line.split(' ');
            let mut next = || words.next().ok_or_else(|| Error::new(format!("torn line {line:?}")));
            let (to, number, fate) = (next()?.parse::<usize>()?, next()?.parse::<u64>()?, next()?);
            if to != receiver {
                continue;
            }
            told.asks += u64::from(number.is_multiple_of(8));
            let fate = match fate {
                "accepted" => Fate::Accepted,
                "answered" => Fate::Answered,
                other => {
                    match other {
                        "in-doubt" => told.in_doubt += 1,
                        "unresolved" => told.unresolved += 1,
                        "mislabelled" => told.mislabelled += 1,
                        _ => told.refused += 1,
                    }
                    // What was refused or never resolved is counted as such, whatever became of it.
                    Fate::InDoubt
                }
            };
            sent.insert(number, fate);
        }
    }
    Ok(told)
}

fn path(folder: &Path, what: &str, nth: usize) -> String {
    folder.join(format!("{what}-{nth}")).display().to_string()
}
