//! A producer at ten times its consumer's rate: what it costs in memory, and whether every refusal was told.

use std::time::{Duration, Instant};

use watertight::Output;
use watertight::prelude::*;

use super::{Effort, Score, machine, progress};

/// Of the mailbox: messages, and bytes.
const MAILBOX: (u32, u32) = (1000, 1 << 20);
/// Bytes of a message.
const BODY: usize = 1000;
/// How many messages the producer offers in each of its milliseconds; the consumer handles one.
const TIMES: u64 = 10;
/// Beyond the mailbox: a fifth.
const BEYOND: f64 = 1.2;
const PATIENCE: Duration = Duration::from_secs(60);

#[message]
struct Load(Vec<u8>);

/// How many have arrived.
#[message(reply = u64)]
struct Arrived;

/// Takes a millisecond for each message.
#[derive(Default)]
struct Consumer {
    arrived: u64,
}

impl Actor for Consumer {
    type Args = ();
    type Messages = (Load, Arrived);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Consumer::default())
    }
}

impl Handler<Load> for Consumer {
    async fn handle(&mut self, Load(bytes): Load, _: &mut Context<Self>) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.arrived += u64::from(bytes.len() == BODY);
        Ok(())
    }
}

impl Handler<Arrived> for Consumer {
    async fn handle(&mut self, _: Arrived, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.arrived)
    }
}

struct Producer;

/// What a producer was told: offered, accepted, `Full`, and anything else.
#[data]
#[derive(Clone, Copy, Default)]
struct Offered {
    offered: u64,
    accepted: u64,
    full: u64,
    other: u64,
}

/// Offer ten a millisecond for so many milliseconds.
#[message(reply = Offered)]
struct Produce(Address<Consumer>, u64);

impl Actor for Producer {
    type Args = ();
    type Messages = (Produce,);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Producer)
    }
}

impl Handler<Produce> for Producer {
    async fn handle(&mut self, Produce(to, milliseconds): Produce, _: &mut Context<Self>) -> Result<Offered> {
        let mut told = Offered::default();
        let end = Instant::now() + Duration::from_millis(milliseconds);
        let mut beat = tokio::time::interval(Duration::from_millis(1));
        while Instant::now() < end {
            beat.tick().await;
            for _ in 0..TIMES {
                told.offered += 1;
                match to.try_tell(Load(vec![7; BODY])) {
                    Ok(()) => told.accepted += 1,
                    Err(TellError::Full(_)) => told.full += 1,
                    Err(_) => told.other += 1,
                }
            }
        }
        Ok(told)
    }
}

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let lasts = effort.seconds(60.0, 3.0);
    let spec = Spec::<Consumer>::new(()).output(Output::Silent).mailbox(MAILBOX.0, MAILBOX.1);
    let consumer = sys.spawn_with(spec).await?;
    let producer = sys.spawn_with(Spec::<Producer>::new(()).output(Output::Silent)).await?;
    // The first of everything: a full mailbox has been seen once, and is empty again.
    let first = producer.ask(Produce(consumer.clone(), 200)).deadline(PATIENCE).await?;
    sys.balance(PATIENCE).await?;
    let before = consumer.ask(Arrived).deadline(PATIENCE).await?;
    score.same("arrived of the first few", before, first.accepted);
    let mut processes = Vec::new();
    for (name, pid) in [
        ("sender", sys.info(&producer).await?.pid),
        ("receiver", sys.info(&consumer).await?.pid),
        ("supervisor", Some(std::process::id())),
    ] {
        let pid = pid.ok_or_else(|| Error::new("an actor has no process"))?;
        let now = machine::memory(pid)?;
        processes.push((name, pid, now, now));
    }
    progress(&format!("ten times too much for {lasts:?}"));
    let milliseconds = u64::try_from(lasts.as_millis())?;
    let asked = producer.ask(Produce(consumer.clone(), milliseconds)).deadline(lasts + PATIENCE);
    let mut asked = std::pin::pin!(asked);
    let told = loop {
        tokio::select! {
            told = &mut asked => break told?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                for (_, pid, _, most) in &mut processes {
                    *most = machine::memory(*pid)?.max(*most);
                }
            }
        }
    };
    // What waits in the mailbox is handled.
    let ledger = sys.balance(PATIENCE).await?;
    let arrived = consumer.ask(Arrived).deadline(PATIENCE).await? - before;
    score.same("accepted by the producer, arrived at the consumer", told.accepted, arrived);
    score.same("`Full` told, offered and not arrived", told.full, told.offered - arrived);
    score.zero("refused in another way", told.other, told.offered);
    score.at_most(
        "messages that were not refused, of those offered",
        told.accepted as f64 / told.offered as f64,
        0.5,
    );
    for (name, _, first, most) in processes {
        let bound = (first + u64::from(MAILBOX.1)) as f64 * BEYOND / 1024.0;
        score.at_most(
            format!("{name}: most KiB of memory (before it: {})", first >> 10),
            (most >> 10) as f64,
            bound,
        );
    }
    score
        .figure("offered", format!("{} in {:.0} s, {} `Full`", told.offered, lasts.as_secs_f64(), told.full));
    score.same("the ledger's difference", ledger.waiting().unsigned_abs(), 0);
    Ok(())
}
