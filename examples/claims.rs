//! What processes are said to give over threads, and what they cost, measured in one run. Watch for where they lose.
//!
//! ```text
//! cargo run --release --example claims                   # a minute
//! cargo run --release --example claims -- --quick        # some seconds, and rougher
//! cargo run --release --example claims -- --svg claims.svg --json
//! ```
//!
//! The four claims: work runs on all cores; a crash costs one task; memory is limited and given back; a crash is
//! explained, and one may look at one worker while the others go on. The costs: starting, memory, messages, and
//! everything that has to be copied. Beside each stands the same work on threads, in turns, or in a process of its own
//! where threads would take this one with them ([`threads`]).

#[path = "claims/chart.rs"]
mod chart;
#[path = "claims/costs.rs"]
mod costs;
#[path = "claims/crash.rs"]
mod crash;
#[path = "claims/debugger.rs"]
mod debugger;
#[path = "claims/debugging.rs"]
mod debugging;
#[path = "claims/memory.rs"]
mod memory;
#[path = "claims/performance.rs"]
mod performance;
#[path = "claims/row.rs"]
mod row;
#[path = "claims/stopped.rs"]
mod stopped;
#[path = "claims/table.rs"]
mod table;
#[path = "claims/threads.rs"]
mod threads;
#[path = "claims/work.rs"]
mod work;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use watertight::prelude::*;

/// Measures what processes give over threads, and what they cost.
#[derive(Parser)]
#[command(name = "claims")]
struct Options {
    /// Fewer rounds and less work: some seconds, and rougher
    #[arg(long)]
    quick: bool,
    /// A JSON object per row instead of tables
    #[arg(long)]
    json: bool,
    /// Write the chart here too, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// How much to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    quick: bool,
    /// Workers, or threads, where as many as possible are to help: one per core, and two at least.
    pub many: usize,
    /// What makes [`work::crunch`] take one task's time.
    pub turns: u64,
}

impl Effort {
    /// `full`, or `quick` if asked for.
    pub fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    // Not a worker, but a plain process full of threads that this program has started to compare with.
    if let Some(role) = threads::role() {
        return threads::play(&role);
    }
    watertight::run(measure)
}

async fn measure(sys: System) -> Result<()> {
    let options = Options::parse();
    // Found out now, not after a minute.
    let svg = options.svg.as_deref().map(Chart::create).transpose()?;
    let cores = std::thread::available_parallelism()?.get();
    let task = Duration::from_micros(if options.quick { 300 } else { 1_000 });
    let effort = Effort { quick: options.quick, many: cores.clamp(2, 64), turns: work::turns_in(task) };

    eprintln!("measuring: performance");
    let mut rows = performance::measure(&sys, effort).await?;
    eprintln!("measuring: stability");
    rows.push(crash::measure(&sys, effort).await?);
    eprintln!("measuring: debugging");
    let (explained, facts) = debugging::measure(&sys, effort).await?;
    rows.extend(explained);
    rows.extend(stopped::measure(&sys, effort).await?);
    eprintln!("measuring: memory");
    rows.extend(memory::measure(&sys, effort).await?);
    eprintln!("measuring: costs");
    rows.extend(costs::measure(&sys, effort).await?);

    if let Some(svg) = svg {
        svg.write(&rows)?;
    }
    if options.json {
        table::print_json(&rows, &facts);
    } else {
        table::print(&rows, &facts);
        print!("\n{}", chart::text(&rows));
        println!("\n{}", table::IN_WORDS);
    }
    eprintln!("on {cores} cores");
    Ok(())
}

/// The file of the chart.
struct Chart {
    path: PathBuf,
    file: File,
}

impl Chart {
    fn create(path: &Path) -> Result<Chart> {
        let file = File::create(path).map_err(|error| failed_to_write(path, error))?;
        Ok(Chart { path: path.to_owned(), file })
    }

    fn write(mut self, rows: &[row::Row]) -> Result<()> {
        self.file.write_all(chart::svg(rows).as_bytes()).map_err(|error| failed_to_write(&self.path, error))
    }
}

fn failed_to_write(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).context(format!("failed to write {}", path.display()))
}
