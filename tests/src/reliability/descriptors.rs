//! Descriptors that run out, in the supervisor's process and in an actor's.

use std::time::Duration;

use rustix::process::Signal;
use watertight::prelude::*;
use watertight::{Event, Exit, Output};

use super::parts::signal;
use super::{Effort, Score, machine, progress};
use crate::Specimen;
use crate::specimen::{Add, Pid, Setup};
use crate::starved::Starved;

/// Of a processor, while nothing can be done: beyond it somebody tries again and again.
const SPIN: f64 = 0.2;
/// A start with so many descriptors left succeeds.
const FEW: u64 = 16;
/// Larger than what travels in the message itself.
const BLOB: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let rounds = effort.of(64, 4);
    in_the_supervisor(sys, rounds, score).await?;
    in_an_actor(sys, rounds, score).await
}

fn own_processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

async fn in_the_supervisor(sys: &System, rounds: u64, score: &mut Score) -> Result<()> {
    let spec = || {
        let spec = Spec::<Specimen>::new(Setup::default()).output(Output::Silent);
        spec.intensity(u32::MAX, Duration::from_secs(1))
    };
    let actor = sys.spawn_with(spec()).await?;
    let (mut handled, mut unresolved, mut unlinked) = (0_i64, 0, 0);
    let (mut started, mut late, mut failed, mut half_way, mut processor) = (0, 0, 0, 0, 0.0_f64);
    let mut said = String::new();
    for round in 0..rounds {
        let pid = actor.ask(Pid).deadline(PATIENCE).await?;
        let before = sys.info(&actor).await?.incarnation;
        let mut events = sys.events().await?;
        let unknown = sys.spawn_with(spec()).await?;
        // A start needs a dozen: one after another is refused.
        let few = Starved::with(round % FEW)?;
        match tokio::time::timeout(PATIENCE, sys.spawn_with(spec())).await? {
            Ok(started) => sys.stop(&started).await?,
            Err(_) => half_way += 1,
        }
        drop(few);
        let starved = Starved::begin()?;
        // The first message on the way to an actor makes a link, which needs descriptors.
        let asked =
            tokio::time::timeout(PATIENCE, unknown.ask(Add(1)).deadline(Duration::from_secs(1))).await;
        unresolved += u64::from(asked.is_err());
        match sys.spawn_with(spec()).await {
            Err(error) => said = error.to_string(),
            Ok(_) => started += 1,
        }
        // Whoever runs does not notice.
        handled += i64::from(actor.ask(Add(0)).deadline(PATIENCE).await.is_ok());
        signal(pid, Signal::KILL);
        let refused = events.wait_for(|event| match event {
            Event::Exited(report) if report.actor == actor.actor() => {
                matches!(report.exit, Exit::NotStarted(_)).then_some(true)
            }
            Event::Started { actor: it, incarnation, .. } if it == actor.actor() => {
                (incarnation > before).then_some(false)
            }
            _ => None,
        });
        failed += u64::from(tokio::time::timeout(PATIENCE, refused).await??);
        for _ in 0..100 {
            actor.tell(Add(1)).await?;
        }
        let (begun, used) = (std::time::Instant::now(), own_processor_time());
        // Not a wait for something: the processor time of a span is what is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let share = (own_processor_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64();
        processor = processor.max(share);
        drop(starved);
        let answer = actor.ask(Add(0)).deadline(PATIENCE).await;
        late += u64::from(answer.ok().is_none_or(|sum| sum < 100));
        unlinked += u64::from(unknown.ask(Add(1)).deadline(PATIENCE).await.is_err());
        sys.stop(&unknown).await?;
        progress(&format!("supervisor, round {}", round + 1));
    }
    let again = sys.spawn_with(spec()).await;
    score.zero("actors that were started without descriptors", started, rounds);
    score.same("rounds, and those in which who ran still answered", rounds, handled.unsigned_abs());
    score.zero(
        "first asks on a new link without descriptors that did not end by their deadline",
        unresolved,
        rounds,
    );
    score.zero("the same asks that did not succeed afterwards", unlinked, rounds);
    score.at_most("processors' share taken while there were none, worst", processor, SPIN);
    score.zero("actors that did not come back with all that was accepted for them", late, rounds);
    score.zero("refusals to start when there were some again", u64::from(again.is_err()), 1);
    let ledger = sys.balance(PATIENCE).await?;
    score.same("the ledger's difference", ledger.waiting().unsigned_abs(), 0);
    score.same("messages in doubt", ledger.in_doubt, 0);
    score.figure("starts refused with 0 to 15 descriptors left", format!("{half_way} of {rounds}"));
    score.same("rounds, and those in which the restart was refused and tried again", rounds, failed);
    score.figure("what a start says", said);
    Ok(())
}

/// Fasts all descriptors that it may have, and lets them go again.
#[derive(Default)]
struct Fasting {
    starved: Option<Starved>,
}

/// May open nothing any more.
#[message]
struct Fast;

#[message]
struct LetGo;

/// The length of a blob.
#[message(reply = u64)]
struct Carry(Blob);

#[message(reply = u64)]
struct Echo(u64);

/// Asks another one for an echo and says how that ended.
#[message(reply = Option<u64>)]
struct AskFor(Address<Fasting>, u64);

impl Actor for Fasting {
    type Args = ();
    type Messages = (Fast, LetGo, Carry, Echo, AskFor);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Fasting::default())
    }
}

impl Handler<Fast> for Fasting {
    async fn handle(&mut self, _: Fast, _: &mut Context<Self>) -> Result<()> {
        self.starved = Some(Starved::begin()?);
        Ok(())
    }
}

impl Handler<LetGo> for Fasting {
    async fn handle(&mut self, _: LetGo, _: &mut Context<Self>) -> Result<()> {
        self.starved = None;
        Ok(())
    }
}

impl Handler<Carry> for Fasting {
    async fn handle(&mut self, Carry(blob): Carry, _: &mut Context<Self>) -> Result<u64> {
        Ok(blob.len() as u64)
    }
}

impl Handler<Echo> for Fasting {
    async fn handle(&mut self, Echo(number): Echo, _: &mut Context<Self>) -> Result<u64> {
        Ok(number)
    }
}

impl Handler<AskFor> for Fasting {
    async fn handle(&mut self, AskFor(of, number): AskFor, _: &mut Context<Self>) -> Result<Option<u64>> {
        Ok(of.ask(Echo(number)).deadline(PATIENCE).await.ok())
    }
}

async fn in_an_actor(sys: &System, rounds: u64, score: &mut Score) -> Result<()> {
    let spec = || Spec::<Fasting>::new(()).output(Output::Silent).intensity(u32::MAX, Duration::from_secs(1));
    let (mut untold, mut unwell, mut late, mut unheard, mut processor) = (0, 0, 0, 0, 0.0_f64);
    let mut deaths = 0;
    for round in 0..rounds {
        let (starved, stranger) = (sys.spawn_with(spec()).await?, sys.spawn_with(spec()).await?);
        let pid = sys.info(&starved).await?.pid.ok_or_else(|| Error::new("it has no process"))?;
        starved.ask(Fast).deadline(PATIENCE).await?;
        let carried = starved.ask(Carry(Blob::from_bytes(&vec![7; BLOB])?)).deadline(PATIENCE).await;
        untold += u64::from(!matches!(carried, Err(AskError::NoDescriptors { .. })));
        unwell += u64::from(starved.ask(Echo(round)).deadline(PATIENCE).await.ok() != Some(round));
        let (begun, used) = (std::time::Instant::now(), machine::processor_time(pid)?);
        // Not a wait for something: the processor time of a span is what is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let share = (machine::processor_time(pid)? - used).as_secs_f64() / begun.elapsed().as_secs_f64();
        processor = processor.max(share);
        // Somebody who has never sent to it: their link needs a descriptor there.
        let asked = tokio::spawn({
            let (stranger, starved) = (stranger.clone(), starved.clone());
            async move { stranger.ask(AskFor(starved, 7)).deadline(2 * PATIENCE).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        starved.ask(LetGo).deadline(PATIENCE).await?;
        unheard += u64::from(asked.await?.ok().flatten() != Some(7));
        deaths += sys.info(&starved).await?.restarts;
        let carried = starved.ask(Carry(Blob::from_bytes(&vec![7; BLOB])?)).deadline(PATIENCE).await;
        late += u64::from(carried.ok() != Some(BLOB as u64));
        sys.stop(&starved).await?;
        sys.stop(&stranger).await?;
        progress(&format!("actor, round {}", round + 1));
    }
    score.zero("blobs for an actor without descriptors whose loss was not told", untold, rounds);
    score.zero("messages without descriptors that it did not handle", unwell, rounds);
    score.at_most("a processor's share that it took, worst", processor, SPIN);
    score.zero("asks of strangers that were not answered in the end", unheard, rounds);
    score.zero("blobs that it could not take when there were some again", late, rounds);
    score.zero("actors that died of a stranger's link", deaths, rounds);
    Ok(())
}
