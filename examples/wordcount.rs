//! Counts words in real files, with mappers that may die. Watch for: the counts are the same whatever is killed.
//!
//! ```text
//! wordcount [PATHS…] [--workers N] [--kill N] [--segv P] [--top K] [--check] [--json]
//! ```
//!
//! One thread finds and reads files ([`walk`], [`read`]) and cuts them between words ([`chunk`]). Mappers, each a
//! process of its own, count ([`mapper`], [`words`]). The program hands out the chunks ([`work`]) and adds up
//! ([`reduce`]); meanwhile it may kill mappers ([`kill`]). Then it may count again without any of this ([`check`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::sync::{mpsc, oneshot};
use watertight::prelude::*;

#[path = "wordcount/arguments.rs"]
mod arguments;
#[path = "wordcount/check.rs"]
mod check;
#[path = "wordcount/chunk.rs"]
mod chunk;
#[path = "wordcount/kill.rs"]
mod kill;
#[path = "wordcount/mapper.rs"]
mod mapper;
#[path = "wordcount/read.rs"]
mod read;
#[path = "wordcount/reduce.rs"]
mod reduce;
#[path = "wordcount/report.rs"]
mod report;
#[path = "wordcount/walk.rs"]
mod walk;
#[path = "wordcount/words.rs"]
mod words;
#[path = "wordcount/work.rs"]
mod work;

use arguments::Arguments;
use kill::{Dice, Killer, Schedule};
use reduce::Reducer;
use report::{Report, note};
use walk::Plan;
use work::Work;

/// How the program went, beyond what `run` knows.
enum Outcome {
    /// It was interrupted before it ended.
    Unfinished,
    /// It ended.
    Finished,
    /// The user asked for something else than counting, or for something impossible.
    Usage(u8),
}

fn main() -> ExitCode {
    report_only_errors();
    let mut outcome = None;
    let ended = watertight::run(async |system: System| {
        outcome = Some(Outcome::Unfinished);
        let result = program(system).await;
        outcome = Some(match &result {
            Ok(Outcome::Usage(code)) => Outcome::Usage(*code),
            _ => Outcome::Finished,
        });
        result.map(|_| ())
    });
    match outcome {
        Some(Outcome::Usage(code)) => ExitCode::from(code),
        Some(Outcome::Unfinished) => {
            note("interrupted: not everything is counted, so no counts are printed");
            ended
        }
        _ => ended,
    }
}

/// Deaths are what this example is about: it counts them itself, and the runtime need not warn of each. Who sets
/// `RUST_LOG` sees them.
fn report_only_errors() {
    if std::env::var_os("RUST_LOG").is_none() {
        let logging =
            tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::ERROR);
        logging.with_writer(std::io::stderr).with_target(false).init();
    }
}

async fn program(system: System) -> Result<Outcome> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Whoever does not want to read the help need not.
            let _ = error.print();
            return Ok(Outcome::Usage(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    match arguments.roots() {
        Ok(roots) => count(&system, &arguments, roots).await.map(|()| Outcome::Finished),
        Err(error) => {
            note(format_args!("error: {error}"));
            Ok(Outcome::Usage(2))
        }
    }
}

/// Pieces that are read and wait for a mapper: enough that reading never stops, and a bound on memory.
const READ_AHEAD: usize = 16;
/// How long the ledger may take to balance when all answers are in: far more than it does.
const BALANCE: Duration = Duration::from_secs(5);

async fn count(system: &System, arguments: &Arguments, roots: Vec<PathBuf>) -> Result<()> {
    let began = Instant::now();
    let walked = on_a_thread("walk", move || walk::walk(&roots))?;
    let events = system.events().await?;
    let mut mappers = Vec::new();
    for number in 1..=arguments.workers() {
        mappers.push(system.spawn_with(mapper::spec(number)).await?);
    }
    let Plan { files, bytes, chunks, skipped, unreadable } = walked.await?;

    let mut dice = Dice::new();
    let schedule = Arc::new(Schedule::new(arguments.kill.unwrap_or(0), chunks, &mut dice));
    let reducer = Reducer::new(arguments.check);
    let (sender, jobs) = mpsc::channel(READ_AHEAD);
    let bar = progress_bar(bytes);
    let work = Work::new(jobs, mappers, arguments.segv, Arc::clone(&schedule), reducer, bar.clone());
    let killer =
        Killer { system: system.clone(), events, work: Arc::clone(&work), schedule, dice, bar: bar.clone() };
    let deaths = tokio::spawn(killer.run());
    let for_a_check = arguments.check;
    let read = on_a_thread("read", move || read::read_all(files, for_a_check, &sender))?;
    work.run().await?;
    let mut reading = read.await?;
    bar.finish_and_clear();

    if work.reducer().chunks() != reading.jobs {
        return Err(Error::new(format!(
            "{} of {} chunks were reduced",
            work.reducer().chunks(),
            reading.jobs
        )));
    }
    let took = began.elapsed();
    let ledger = system.balance(BALANCE).await?;
    for mapper in work.mappers() {
        system.stop(mapper).await?;
    }
    let deaths = deaths.await?;
    reading.unreadable.join(unreadable);

    let fingerprints = work.reducer().files.take();
    let recount = match fingerprints {
        Some(fingerprints) => {
            let began = Instant::now();
            let files = std::mem::take(&mut reading.files);
            let again = on_a_thread("check", move || (check::recount(&files, &fingerprints), files))?;
            let (mut recount, files) = again.await?;
            reading.files = files;
            recount.compare(&work.reducer());
            Some((recount, began.elapsed()))
        }
        None => None,
    };
    let (resubmitted, workers) = (work.resubmitted(), arguments.workers());
    let report = Report { reading, skipped, deaths, ledger, resubmitted, workers, took, recount };
    report.print_summary(&work.reducer(), arguments);
    report.print_results(&work.reducer(), arguments)?;
    if report.is_wrong() {
        return Err(Error::new("the check found other counts"));
    }
    match report.deaths.error {
        Some(error) => Err(error.context("not every kill was done")),
        None => Ok(()),
    }
}

/// Runs what blocks beside the program, so that Ctrl-C is heeded meanwhile.
fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits for it any more if the program was interrupted.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}

/// Shows itself on a terminal only.
fn progress_bar(bytes: u64) -> ProgressBar {
    let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_finish(ProgressFinish::AndClear)
}
