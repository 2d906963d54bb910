//! Small messages per second, in one direction, until the last one is handled.

use std::time::{Duration, Instant};

use watertight::Error;
use watertight::prelude::*;

use crate::Effort;
use crate::in_process::{self, Runtime};
use crate::plain::{Plain, Role};
use crate::subjects::{Count, Counted, Echo, ROUND, Receiver, Sample, Sender, TellMany, start};
use crate::table::{Beside, Bound, Row, beside, median, turns};

/// Asks that wait for their reply at the same time.
const UNDER_WAY: u64 = 64;
/// Actors that tell one.
const SENDERS: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours,
    OurAsks,
    OurActor,
    OurActors,
    WriteEach,
    Kameo,
    KameoOneThread,
    KameoAsks,
    KameoSenders,
}

const ALL: [Contender; 9] = [
    Contender::WriteEach,
    Contender::Ours,
    Contender::Kameo,
    Contender::KameoOneThread,
    Contender::OurActor,
    Contender::OurAsks,
    Contender::KameoAsks,
    Contender::OurActors,
    Contender::KameoSenders,
];

struct Stage {
    plain: Plain,
    receiver: Address<Receiver>,
    senders: Vec<Address<Sender>>,
    effort: Effort,
}

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(start::<Sender>(sys).await?);
    }
    let receiver = start::<Receiver>(sys).await?;
    let mut stage = Stage { plain: Plain::start(Role::Drain)?, receiver, senders, effort };
    let mut rates = vec![Vec::new(); ALL.len()];
    let rounds = effort.of(9, 3);
    // The first round is for warming up.
    for round in 0..=rounds {
        for at in turns(round, &[0, 1, 2, 3, 4, 5, 6, 7, 8]) {
            let rate = stage.run(ALL[at]).await?;
            if round > 0 {
                rates[at].push(rate);
            }
        }
    }
    for sender in &stage.senders {
        sys.stop(sender).await?;
    }
    sys.stop(&stage.receiver).await?;
    let of = |contender: Contender| -> &[f64] {
        ALL.iter().position(|&other| other == contender).map_or(&[], |at| &rates[at])
    };
    let against = |what, ours: Contender, theirs: Contender| beside(what, of(ours), of(theirs));
    use Contender::*;
    Ok(vec![
        row("tell, program to actor", of(Ours), against("a write per message", Ours, WriteEach), 2.0),
        row("tell, program to actor", of(Ours), against("kameo in-process", Ours, Kameo), 1.0),
        row("tell, program to actor", of(Ours), against("kameo, one thread", Ours, KameoOneThread), 0.0),
        row("tell, actor to actor", of(OurActor), against("kameo in-process", OurActor, Kameo), 0.0),
        row("tell, 4 actors to 1", of(OurActors), against("kameo, 4 tasks", OurActors, KameoSenders), 0.0),
        row("ask, 64 under way", of(OurAsks), against("kameo in-process", OurAsks, KameoAsks), 0.0),
    ])
}

fn row(what: &str, rates: &[f64], beside: Beside, at_least: f64) -> Row {
    Row {
        what: what.to_owned(),
        unit: "k/s",
        median: median(rates),
        p99: None,
        worst: rates.iter().copied().fold(f64::INFINITY, f64::min),
        beside: Some(beside),
        bound: (at_least > 0.0).then_some(Bound::RatioAtLeast(at_least)),
    }
}

impl Stage {
    /// Thousands a second.
    async fn run(&mut self, contender: Contender) -> Result<f64> {
        let effort = self.effort;
        let (many, fewer) = (effort.of(1_000_000, 250_000), effort.of(300_000, 80_000));
        let (count, took) = match contender {
            Contender::Ours => (many, self.tell(many).await?),
            Contender::OurActor => (many, self.tell_from(1, many).await?),
            Contender::OurActors => (many, self.tell_from(SENDERS, many).await?),
            Contender::OurAsks => (fewer, self.ask(fewer).await?),
            Contender::WriteEach => (fewer, self.plain.pour(fewer)?),
            Contender::Kameo => (fewer, in_process::tell(Runtime::MultiThread, 1, fewer).await?),
            Contender::KameoOneThread => (fewer, in_process::tell(Runtime::CurrentThread, 1, fewer).await?),
            Contender::KameoSenders => (fewer, in_process::tell(Runtime::MultiThread, SENDERS, fewer).await?),
            Contender::KameoAsks => (fewer, in_process::ask(Runtime::MultiThread, UNDER_WAY, fewer).await?),
        };
        Ok(count as f64 / took.as_secs_f64() / 1e3)
    }

    async fn tell(&self, count: u64) -> Result<Duration> {
        let begun = Instant::now();
        for number in 0..count {
            self.receiver.tell(Count(Sample::new(number))).await?;
        }
        self.all_counted(count).await?;
        Ok(begun.elapsed())
    }

    async fn tell_from(&self, senders: u64, count: u64) -> Result<Duration> {
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for sender in self.senders.iter().zip(0..senders).map(|(sender, _)| sender.clone()) {
            let many = TellMany { to: self.receiver.clone(), count: count / senders };
            tasks.push(tokio::spawn(async move { sender.ask(many).deadline(ROUND).await }));
        }
        for task in tasks {
            task.await??;
        }
        let took = begun.elapsed();
        self.all_counted(count / senders * senders).await?;
        Ok(took)
    }

    async fn ask(&self, count: u64) -> Result<Duration> {
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..UNDER_WAY {
            let receiver = self.receiver.clone();
            tasks.push(tokio::spawn(async move {
                for number in 0..count / UNDER_WAY {
                    receiver.ask(Echo(Sample::new(number))).await?;
                }
                Ok::<_, Error>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(begun.elapsed())
    }

    /// Behind everything that this program has told: when it is answered, all of that is handled.
    async fn all_counted(&self, count: u64) -> Result<()> {
        let counted = self.receiver.ask(Counted).deadline(ROUND).await?;
        if counted == count {
            Ok(())
        } else {
            Err(Error::new(format!("{counted} of {count} messages were counted")))
        }
    }
}
