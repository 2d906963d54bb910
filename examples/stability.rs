//! Two drivers keep four workers busy, and one of the workers, the victim, suffers every fault that a process can. Watch
//! the three other workers keep their processes and go on answering, and the count of messages come out even.
//!
//! ```text
//! cargo run --release --example stability [-- --json] [--journals FOLDER]
//! ```
//!
//! Every process writes down for itself what it sends, handles and learns ([`journal`]), and a checker that knows only
//! those files ([`checker`]) says whether the promise was kept: a crash costs the message in hand, and its sender is
//! told; nothing else is lost, handled twice or out of order.

#[path = "stability/checker.rs"]
mod checker;
#[path = "stability/driver.rs"]
mod driver;
#[path = "stability/faults.rs"]
mod faults;
#[path = "stability/journal.rs"]
mod journal;
#[path = "stability/report.rs"]
mod report;
#[path = "stability/sender.rs"]
mod sender;
#[path = "stability/topology.rs"]
mod topology;
#[path = "stability/worker.rs"]
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use watertight::prelude::*;

use faults::TRIALS;
use report::Report;
use topology::Topology;

/// After so long no further trial is begun. Where all is well the whole takes a third of it; where messages are lost,
/// every trial waits for the deadlines of asks.
const LIMIT: Duration = Duration::from_secs(20);

/// Strikes one actor with every fault there is, under load, and checks what it cost the others.
#[derive(Parser)]
struct Options {
    /// Print JSON lines instead of tables.
    #[arg(long)]
    json: bool,
    /// Keep the journals of all processes in this folder, which must be empty or not exist yet.
    #[arg(long, value_name = "FOLDER")]
    journals: Option<PathBuf>,
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let options = Options::parse();
        let began = Instant::now();
        let temporary = tempfile::Builder::new().prefix("stability-").tempdir()?;
        let folder = match &options.journals {
            Some(folder) => empty_folder(folder)?,
            None => temporary.path(),
        };
        let mut report = Report::new(options.json);
        let held = all_trials(sys, folder, &mut report, began).await;
        if matches!(held, Ok(false)) && options.journals.is_none() {
            eprintln!("the journals are kept in {}", temporary.keep().display());
        }
        match held? {
            true => Ok(()),
            false => Err(Error::new("the stability claim does not hold")),
        }
    })
}

fn empty_folder(folder: &Path) -> Result<&Path> {
    let attempted = || format!("failed to use {} for the journals", folder.display());
    std::fs::create_dir_all(folder).map_err(|e| Error::from(e).context(attempted()))?;
    match std::fs::read_dir(folder).map_err(|e| Error::from(e).context(attempted()))?.next() {
        None => Ok(folder),
        Some(_) => {
            Err(Error::new("it is not empty; name an empty folder, or a new one").context(attempted()))
        }
    }
}

async fn all_trials(sys: System, folder: &Path, report: &mut Report, began: Instant) -> Result<bool> {
    let mut topology = Topology::new(sys, folder).await?;
    report.begin(&topology.processes().await?)?;
    for trial in &TRIALS {
        if began.elapsed() > LIMIT {
            report.gave_up(
                trial.name,
                &Error::new(format!("left out, because {} s have passed", LIMIT.as_secs())),
            )?;
            break;
        }
        match topology.suffer(trial).await {
            Ok(row) => report.add(row)?,
            // The fault was never seen, or the victim never came back: what would follow says nothing.
            Err(error) => {
                report.gave_up(trial.name, &error)?;
                break;
            }
        }
    }
    report.end(began.elapsed())
}
