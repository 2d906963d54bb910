//! Starting actors, one and many, and starting them again after a kill; beside a bare tokio child that answers a byte.

use std::time::Instant;

use rustix::process::{Signal, kill_process};
use watertight::Error;
use watertight::prelude::*;

use crate::Effort;
use crate::cores::pid;
use crate::plain::{Plain, Role};
use crate::subjects::{Process, Receiver, start};
use crate::table::{Bound, Row, beside, row_of_times, turns};

/// What a bare child is called in the table.
const BARE: &str = "bare tokio child";
/// Before the count begins.
const WARM_UP: usize = 3;

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// One actor: until `start` has returned, and until its first reply.
pub async fn measure_start(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let (mut started, mut answered, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + effort.of(100, 20) {
        for ours in turns(round, &[true, false]) {
            let begun = Instant::now();
            if ours {
                let actor = start::<Receiver>(sys).await?;
                let first = milliseconds(begun);
                actor.ask(Process).await?;
                answered.push(milliseconds(begun));
                started.push(first);
                sys.stop(&actor).await?;
            } else {
                let mut child = Plain::start(Role::Answer)?;
                child.greet()?;
                bare.push(milliseconds(begun));
            }
        }
    }
    let [started, answered, bare] = [&started, &answered, &bare].map(|times| &times[WARM_UP..]);
    Ok(vec![
        Row {
            bound: Some(Bound::AtMost(2.0)),
            ..compared("start of an actor to its first reply", answered, bare)
        },
        Row { beside: None, ..compared("  of which until its start has returned", started, bare) },
    ])
}

/// One actor, killed: until its next incarnation has handled a message.
pub async fn measure_restart(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let (mut ours_took, mut bare_took) = (Vec::new(), Vec::new());
    let actor = start::<Receiver>(sys).await?;
    let mut child = Plain::start(Role::Answer)?;
    child.greet()?;
    for round in 0..WARM_UP + effort.of(100, 20) {
        for ours in turns(round, &[true, false]) {
            if ours {
                let before =
                    sys.info(&actor).await?.pid.ok_or_else(|| Error::new("the actor has no process"))?;
                let victim = pid(before).ok_or_else(|| Error::new("a process number out of range"))?;
                let begun = Instant::now();
                kill_process(victim, Signal::KILL)?;
                while actor.ask(Process).await? == before {}
                ours_took.push(milliseconds(begun));
            } else {
                let begun = Instant::now();
                child.kill()?;
                child = Plain::start(Role::Answer)?;
                child.greet()?;
                bare_took.push(milliseconds(begun));
            }
        }
    }
    sys.stop(&actor).await?;
    let row = compared("SIGKILL to the next handled message", &ours_took[WARM_UP..], &bare_took[WARM_UP..]);
    Ok(vec![Row { bound: Some(Bound::AtMost(3.0)), ..row }])
}

/// 1, 10 and 100 actors at once.
pub async fn measure_many(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, rounds) in [(1, effort.of(20, 5)), (10, effort.of(9, 3)), (100, effort.of(5, 2))] {
        let (mut ours_took, mut bare_took) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for ours in turns(round, &[true, false]) {
                if ours {
                    ours_took.push(start_actors(sys, count).await? / count as f64);
                } else {
                    bare_took.push(start_bare(count)? / count as f64);
                }
            }
        }
        let what = format!("start of {count} at once to the last reply, per actor");
        rows.push(compared(&what, &ours_took, &bare_took));
    }
    Ok(rows)
}

fn compared(what: &str, ours: &[f64], bare: &[f64]) -> Row {
    Row { beside: Some(beside(BARE, ours, bare)), ..row_of_times(what, "ms", ours) }
}

async fn start_actors(sys: &System, count: usize) -> Result<f64> {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let sys = sys.clone();
        tasks.push(tokio::spawn(async move {
            let actor = start::<Receiver>(&sys).await?;
            actor.ask(Process).await?;
            Ok::<_, Error>(actor)
        }));
    }
    let mut actors = Vec::new();
    for task in tasks {
        actors.push(task.await??);
    }
    let took = milliseconds(begun);
    for actor in &actors {
        sys.stop(actor).await?;
    }
    Ok(took)
}

fn start_bare(count: usize) -> Result<f64> {
    let begun = Instant::now();
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(Plain::start(Role::Answer)?);
    }
    for child in &mut children {
        child.greet()?;
    }
    Ok(milliseconds(begun))
}
