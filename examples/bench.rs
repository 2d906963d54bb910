//! What actors in processes cost, each number beside the plain thing that does the same, measured in the same run.
//!
//! ```text
//! cargo run --release --example bench                     # everything, about a minute
//! cargo run --release --example bench -- --quick          # everything, roughly, in about ten seconds
//! cargo run --release --example bench -- ask restart      # some of it: ask, tell, blob, start, restart, memory, many, pool, faults
//! cargo run --release --example bench -- --json           # a JSON object per line instead of a table
//! cargo run --release --example bench -- --assert         # exit code 1 if a bound is missed
//! ```
//!
//! Watch for the column `ratio`: ours against the plain thing, the median over rounds in which both took turns. What
//! each row means stands in `docs/benchmarks.md`. It kills actors, so the runtime warns of that on standard error;
//! `RUST_LOG=error` silences it.

#[path = "bench/ask.rs"]
mod ask;
#[path = "bench/blob.rs"]
mod blob;
#[path = "bench/cores.rs"]
mod cores;
#[path = "bench/faults.rs"]
mod faults;
#[path = "bench/in_process.rs"]
mod in_process;
#[path = "bench/memory.rs"]
mod memory;
#[path = "bench/plain.rs"]
mod plain;
#[path = "bench/pool.rs"]
mod pool;
#[path = "bench/start.rs"]
mod start;
#[path = "bench/subjects.rs"]
mod subjects;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/tell.rs"]
mod tell;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, ValueEnum};
use watertight::prelude::*;

/// Measures what actors in processes cost, beside the plain thing that does the same.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// Fewer rounds: about ten seconds, and rougher
    #[arg(long)]
    quick: bool,
    /// A JSON object per row instead of a table
    #[arg(long)]
    json: bool,
    /// Exit code 1 if a bound is missed
    #[arg(long)]
    assert: bool,
    /// What to measure; everything if none is named
    names: Vec<Subject>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Ask,
    Tell,
    Blob,
    Start,
    Restart,
    Memory,
    Many,
    Pool,
    /// Last: a process that has once had a plan looks at each cut whether it still has.
    Faults,
}

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    quick: bool,
}

impl Effort {
    /// `full`, or `quick` if asked for.
    pub fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

static MISSED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    // Not an actor, but a plain process that this program has started to compare with: it says so by its argument.
    if let Some(role) = plain::role() {
        return plain::run(role);
    }
    let code = watertight::run(measure);
    if MISSED.load(Ordering::Relaxed) { ExitCode::FAILURE } else { code }
}

async fn measure(sys: System) -> Result<()> {
    let options = Options::parse();
    let effort = Effort { quick: options.quick };
    let load_before = table::load();
    let mut rows = Vec::new();
    for &subject in Subject::value_variants() {
        if !options.names.is_empty() && !options.names.contains(&subject) {
            continue;
        }
        let name = subject.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("measuring: {name}");
        let measured = match subject {
            Subject::Ask => ask::measure(&sys, effort).await,
            Subject::Tell => tell::measure(&sys, effort).await,
            Subject::Blob => blob::measure(&sys, effort).await,
            Subject::Start => start::measure_start(&sys, effort).await,
            Subject::Restart => start::measure_restart(&sys, effort).await,
            Subject::Memory => memory::measure(&sys).await,
            Subject::Many => start::measure_many(&sys, effort).await,
            Subject::Pool => pool::measure(&sys, effort).await,
            Subject::Faults => faults::measure(&sys, effort).await,
        };
        rows.extend(measured.map_err(|error| error.context(format!("failed to measure {name}")))?);
    }
    if options.json {
        table::print_json(&rows)
    } else {
        table::print(&rows)
    }
    let cores = std::thread::available_parallelism()?;
    eprintln!("on {cores} cores; load average {load_before} before, {} after", table::load());
    MISSED.store(options.assert && rows.iter().any(|row| row.holds() == Some(false)), Ordering::Relaxed);
    Ok(())
}
