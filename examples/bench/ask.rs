//! One small message there and back, beside the least that the kernel takes for it.

use std::time::Instant;

use watertight::prelude::*;

use crate::Effort;
use crate::cores::Cores;
use crate::plain::{Plain, Role};
use crate::subjects::{AskOften, Echo, Process, ROUND, Receiver, Sample, Sender, start};
use crate::table::{Bound, Row, at_percent, beside, largest, median, turns};

/// Before each round's count begins.
const WARM_UP: usize = 200;

#[derive(Clone, Copy)]
enum Turn {
    Floor,
    Program,
    Actors,
}

/// What one contender took, round by round, in microseconds.
#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    worst: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, times: &[f64]) {
        let times = &times[WARM_UP.min(times.len())..];
        self.p50.push(median(times));
        self.p99.push(at_percent(times, 99));
        self.worst.push(largest(times));
    }

    fn row(&self, what: &str, floor: Option<&Rounds>, bound: Option<Bound>) -> Row {
        Row {
            what: what.to_owned(),
            unit: "µs",
            median: median(&self.p50),
            p99: Some(median(&self.p99)),
            worst: largest(&self.worst),
            beside: floor.map(|floor| beside("blocking socket ping-pong", &self.p50, &floor.p50)),
            bound,
        }
    }
}

/// Measures, first on two cores, then wherever the kernel puts the processes.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let cores = Cores::find()?;
    let mut rows = contest(sys, effort, Some(&cores)).await?;
    rows.extend(contest(sys, effort, None).await?);
    Ok(rows)
}

async fn contest(sys: &System, effort: Effort, cores: Option<&Cores>) -> Result<Vec<Row>> {
    let count = WARM_UP + effort.of(5000, 1000);
    let mut plain = Plain::start(Role::Echo)?;
    let receiver = start::<Receiver>(sys).await?;
    let sender = start::<Sender>(sys).await?;
    let (sender_process, receiver_process) = (sender.ask(Process).await?, receiver.ask(Process).await?);
    if let Some(cores) = cores {
        cores.take_first()?;
        cores.put_first(sender_process)?;
        cores.put_second(receiver_process)?;
        cores.put_second(plain.pid())?;
    }
    let (mut floor, mut program, mut actors) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..effort.of(15, 5) {
        for turn in turns(round, &[Turn::Floor, Turn::Program, Turn::Actors]) {
            match turn {
                Turn::Floor => floor.add(&plain.ping(count)?),
                Turn::Program => program.add(&ask_often(&receiver, count).await?),
                Turn::Actors => {
                    let often = AskOften { to: receiver.clone(), count: u32::try_from(count)? };
                    let times = sender.ask(often).deadline(ROUND).await?;
                    let times: Vec<f64> = times.into_iter().map(|time| f64::from(time) / 1e3).collect();
                    actors.add(&times);
                }
            }
        }
    }
    if let Some(cores) = cores {
        cores.free(None)?;
    }
    sys.stop(&sender).await?;
    sys.stop(&receiver).await?;
    let placed = if cores.is_some() { "two cores" } else { "anywhere" };
    // On two cores, as the bound says; on one, both sides of the ping-pong share a cache and wake nobody.
    let bound = cores.is_some().then_some(Bound::RatioAtMost(1.3));
    Ok(vec![
        program.row(&format!("ask, program to actor, {placed}"), Some(&floor), bound),
        actors.row(&format!("ask, actor to actor, {placed}"), Some(&floor), bound),
        floor.row(&format!("  the ping-pong itself, {placed}"), None, None),
    ])
}

async fn ask_often(receiver: &Address<Receiver>, count: usize) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        receiver.ask(Echo(Sample::new(1))).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
