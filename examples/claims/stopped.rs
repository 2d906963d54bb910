//! The fourth claim, live: what the others do while one is looked at.
//!
//! A stop or a debugger stops a whole process: of a pool one worker, of a program with threads all of them. Measured is
//! the longest time in which none of the others finished a task of a third of a millisecond or one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use watertight::prelude::*;

use crate::Effort;
use crate::debugger;
use crate::row::{Claim, Row};
use crate::threads::{self, Role};
use crate::work;

/// How long one is stopped.
const STOP: Duration = Duration::from_millis(200);
/// Ends of tasks before anything is done to one: then all are at work.
const WARM: usize = 50;

/// Who has ended a task, and when: a process or a thread, and its clock.
type End = (u32, u64);
/// What is done to one of them while the others work; returns when it is over.
type Meddling = fn(u32) -> std::result::Result<(), String>;

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let stop = format!("longest pause of the others, one stopped for {} ms", STOP.as_millis());
    let mut rows = Vec::new();
    for (what, meddling) in [
        (stop.as_str(), stopped as Meddling),
        ("the same, a debugger reading the stack of one", |id| debugger::look_at(id).map(drop)),
    ] {
        let (mut ours, mut theirs, mut note) = (Vec::new(), Vec::new(), None);
        for _ in 0..effort.of(3, 1) {
            for (pauses, measured) in [
                (&mut ours, of_processes(sys, effort, meddling).await?),
                (&mut theirs, of_threads(effort, meddling)?),
            ] {
                match measured {
                    Ok(pause) => pauses.push(pause),
                    Err(why) => note = Some(why),
                }
            }
        }
        rows.push(Row::of_rounds(Claim::Debugging, what, "ms", &ours, &theirs).note(note));
    }
    Ok(rows)
}

fn stopped(process: u32) -> std::result::Result<(), String> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or("no such process")?;
    kill_process(pid, Signal::STOP).map_err(|error| format!("it cannot be stopped: {error}"))?;
    std::thread::sleep(STOP);
    kill_process(pid, Signal::CONT).map_err(|error| format!("it cannot go on: {error}"))
}

/// The meddling in a thread of its own, and when it began and ended.
struct Meddled(std::thread::JoinHandle<std::result::Result<[u64; 2], String>>);

impl Meddled {
    fn with(id: u32, meddling: Meddling, over: Arc<AtomicBool>) -> Meddled {
        Meddled(std::thread::spawn(move || {
            let began = work::clock();
            let done = meddling(id);
            let ended = work::clock();
            over.store(true, Ordering::Release);
            done.map(|()| [began, ended])
        }))
    }

    /// The longest pause of all but `one` while it lasted, in milliseconds.
    fn pause(self, one: u32, mut ends: Vec<End>) -> std::result::Result<f64, String> {
        let [began, ended] = self.0.join().map_err(|_| "the meddling panicked")??;
        ends.sort_unstable_by_key(|(_, at)| *at);
        let of_others = ends.into_iter().filter(|(who, _)| *who != one).map(|(_, at)| at);
        let within = of_others.filter(|at| (began..=ended).contains(at));
        let marks: Vec<u64> = [began].into_iter().chain(within).chain([ended]).collect();
        let longest = marks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        Ok(longest as f64 / 1e6)
    }
}

async fn of_processes(
    sys: &System,
    effort: Effort,
    meddling: Meddling,
) -> Result<std::result::Result<f64, String>> {
    let pool = sys.pool(effort.many).await?;
    let over = Arc::new(AtomicBool::new(false));
    let goes_on = Arc::clone(&over);
    let items = std::iter::from_fn(|| (!goes_on.load(Ordering::Acquire)).then_some(effort.turns));
    let task = |turns: u64| {
        std::hint::black_box(work::crunch(turns));
        (std::process::id(), work::clock())
    };
    let mut results = pool.map_unordered(task, items).chunk(1);
    let (mut ends, mut meddled) = (Vec::new(), None);
    let mut workers: HashMap<u32, usize> = HashMap::new();
    while let Some((_, end)) = results.next().await {
        let end: End = end?;
        *workers.entry(end.0).or_default() += 1;
        ends.push(end);
        if meddled.is_none() && workers.len() == effort.many && ends.len() >= WARM {
            meddled = Some((end.0, Meddled::with(end.0, meddling, Arc::clone(&over))));
        }
    }
    pool.join().await;
    let (one, meddled) = meddled.ok_or_else(|| Error::new("the tasks ended before their end"))?;
    Ok(meddled.pause(one, ends))
}

fn of_threads(effort: Effort, meddling: Meddling) -> Result<std::result::Result<f64, String>> {
    let role = Role::Ends { threads: effort.many, turns: effort.turns };
    let (mut program, said) = threads::start(&role)?;
    let mut lines = BufReader::new(said).lines();
    let over = Arc::new(AtomicBool::new(false));
    let (mut ends, mut meddled) = (Vec::new(), None);
    while !over.load(Ordering::Acquire) {
        ends.push(next_end(&mut lines)?);
        if meddled.is_none() && ends.len() >= WARM {
            meddled = Some(Meddled::with(program.id(), meddling, Arc::clone(&over)));
        }
    }
    // It ends with its standard input.
    drop(program.stdin.take());
    while let Ok(end) = next_end(&mut lines) {
        ends.push(end);
    }
    program.wait()?;
    let meddled = meddled.ok_or_else(|| Error::new("the threads ended before their end"))?;
    // Any of them may be the one that is looked at.
    Ok(meddled.pause(u32::MAX, ends))
}

/// A line that one of the threads has printed: its number and when.
fn next_end(lines: &mut std::io::Lines<BufReader<ChildStdout>>) -> Result<End> {
    let line = lines.next().ok_or_else(|| Error::new("a program with threads ended"))??;
    let end = line.split_once(' ').and_then(|(who, at)| Some((who.parse().ok()?, at.parse().ok()?)));
    end.ok_or_else(|| Error::new(format!("a program with threads said {line}")))
}
