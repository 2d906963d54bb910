//! A topology under torment: four workers are fed by two feeders while actors are killed and stopped at random. Watch
//! for the line of the messages: it adds up, whatever was done, and everybody is back at the end.
//!
//! ```text
//! cargo run --release --example chaos -- --seconds 10 --rate 20 --seed 7 [--only 'worker-*'] [--json]
//! ```
//!
//! Exit code 1 if somebody is not back or a message is unaccounted for. In a program of your own it is one line:
//! `Chaos::seeded(7).run(&sys).await?`.

use std::time::Duration;

use clap::Parser;
use watertight::prelude::*;
use watertight::testing::Chaos;

/// Torments a small topology and prints how it bore that.
#[derive(Parser)]
#[command(name = "chaos")]
struct Options {
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Faults a second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Decides whom, when and how
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Only actors of this name; * stands for any characters
    #[arg(long, default_value = "*")]
    only: String,
    /// A JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// Counts what it is given.
struct Worker(u64);

#[message]
struct Job(u64);

impl Actor for Worker {
    type Args = ();
    type Messages = (Job,);
    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Worker(0))
    }
}
impl Handler<Job> for Worker {
    async fn handle(&mut self, Job(size): Job, _: &mut Context<Self>) -> Result<()> {
        self.0 += (0..size).map(std::hint::black_box).sum::<u64>();
        Ok(())
    }
}

/// How often the workers get jobs.
const EVERY: Duration = Duration::from_millis(1);

/// Gives the workers jobs, again and again.
struct Feeder(Vec<Address<Worker>>);

#[message]
struct Feed;

impl Actor for Feeder {
    type Args = Vec<Address<Worker>>;
    type Messages = (Feed,);
    async fn start(workers: Vec<Address<Worker>>, cx: &mut Context<Self>) -> Result<Self> {
        cx.send_after(EVERY, Feed);
        Ok(Feeder(workers))
    }
}
impl Handler<Feed> for Feeder {
    async fn handle(&mut self, _: Feed, cx: &mut Context<Self>) -> Result<()> {
        cx.send_after(EVERY, Feed);
        for worker in &self.0 {
            // A full mailbox is no reason to stop feeding the others.
            let _ = worker.try_tell(Job(1_000));
        }
        Ok(())
    }
}

fn hardy<A: Actor>(name: String, arguments: A::Args) -> Spec<A> {
    Spec::new(arguments).name(name).backoff(Backoff::NONE).intensity(10_000, Duration::from_secs(60))
}

fn main() -> std::process::ExitCode {
    watertight::run(async |sys: System| {
        let options = Options::parse();
        let mut workers = Vec::new();
        for n in 1..=4 {
            workers.push(sys.spawn_with(hardy::<Worker>(format!("worker-{n}"), ())).await?);
        }
        let mut feeders = Vec::new();
        for n in 1..=2 {
            feeders.push(sys.spawn_with(hardy::<Feeder>(format!("feeder-{n}"), workers.clone())).await?);
        }
        let chaos = Chaos::seeded(options.seed).rate(options.rate).only(options.only);
        let time = Duration::try_from_secs_f64(options.seconds)?;
        let mut verdict = chaos.lasting(time).run(&sys).await?;
        // Nobody feeds any more: the ledger of a moment that is truly quiet.
        for feeder in &feeders {
            sys.stop(feeder).await?;
        }
        verdict.ledger = sys.balance(Duration::from_secs(10)).await?;
        if options.json {
            println!("{}", serde_json::to_string(&verdict)?);
        } else {
            println!("{verdict}");
        }
        if verdict.is_good() { Ok(()) } else { Err(Error::new("the system did not bear it")) }
    })
}
