//! The actors that are measured, and their messages.

use std::time::{Duration, Instant};

use watertight::Output;
use watertight::prelude::*;

/// A small typed message: 64 bytes in memory and on the wire.
#[data]
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// A number and seven readings.
    pub values: [f64; 8],
}

impl Sample {
    /// The sample of that number.
    pub fn new(number: u64) -> Sample {
        Sample { values: [number as f64, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5] }
    }
}

/// Comes back as it is.
#[message(reply = Sample)]
pub struct Echo(pub Sample);

/// Is counted.
#[message]
pub struct Count(pub Sample);

/// How many have been counted since the last time this was asked.
#[message(reply = u64)]
pub struct Counted;

/// Which process it is.
#[message(reply = u32)]
pub struct Process;

/// Answers and counts.
pub struct Receiver {
    counted: u64,
    sum: f64,
}

impl Actor for Receiver {
    type Args = ();
    type Messages = (Count, Echo, Counted, Process);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Receiver { counted: 0, sum: 0.0 })
    }
}

impl Handler<Count> for Receiver {
    async fn handle(&mut self, Count(sample): Count, _: &mut Context<Self>) -> Result<()> {
        self.counted += 1;
        self.sum += sample.values[0];
        Ok(())
    }
}

impl Handler<Echo> for Receiver {
    async fn handle(&mut self, Echo(sample): Echo, _: &mut Context<Self>) -> Result<Sample> {
        Ok(sample)
    }
}

impl Handler<Counted> for Receiver {
    async fn handle(&mut self, _: Counted, _: &mut Context<Self>) -> Result<u64> {
        std::hint::black_box(std::mem::take(&mut self.sum));
        Ok(std::mem::take(&mut self.counted))
    }
}

impl Handler<Process> for Receiver {
    async fn handle(&mut self, _: Process, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// Asks `to` so often, one after another; replies with the time of each in nanoseconds.
#[message(reply = Vec<u32>)]
pub struct AskOften {
    pub to: Address<Receiver>,
    pub count: u32,
}

/// Tells `to` so many samples.
#[message]
pub struct TellMany {
    pub to: Address<Receiver>,
    pub count: u64,
}

/// Sends when told to.
pub struct Sender;

impl Actor for Sender {
    type Args = ();
    type Messages = (AskOften, TellMany, Process);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Sender)
    }
}

impl Handler<AskOften> for Sender {
    async fn handle(&mut self, AskOften { to, count }: AskOften, _: &mut Context<Self>) -> Result<Vec<u32>> {
        let mut times = Vec::new();
        for _ in 0..count {
            let begun = Instant::now();
            to.ask(Echo(Sample::new(1))).await?;
            times.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        Ok(times)
    }
}

impl Handler<TellMany> for Sender {
    async fn handle(&mut self, TellMany { to, count }: TellMany, _: &mut Context<Self>) -> Result<()> {
        for number in 0..count {
            to.tell(Count(Sample::new(number))).await?;
        }
        // Behind all of them on the same link: when it is answered, they are handled.
        to.ask(Process).await?;
        Ok(())
    }
}

impl Handler<Process> for Sender {
    async fn handle(&mut self, _: Process, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// For one whole round: far longer than any takes.
pub const ROUND: Duration = Duration::from_secs(120);

/// Starts an actor to be measured.
pub async fn start<A: Actor<Args = ()>>(sys: &System) -> Result<Address<A>> {
    let spec = Spec::<A>::new(()).backoff(Backoff::NONE).intensity(1_000_000, ROUND).output(Output::Silent);
    Ok(sys.spawn_with(spec).await?)
}
