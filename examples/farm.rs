//! Makes thumbnails of images that nobody vouches for, in worker processes. Watch for: every good image comes out, and
//! each bad one is named with what it did.
//!
//! ```text
//! cargo run --release --example farm                                   # images of its own, good and bad
//! cargo run --release --example farm -- --input DIR --output DIR      # yours
//! cargo run --release --example farm -- --check --json
//! ```
//!
//! The decoders are those of the `image` crate, without its limits, and one that is written as C libraries are
//! ([`runs`]). What keeps them at bay is the process: its memory limit, its deadline, and that it may die. Bad images
//! of its own ([`inputs`]) are cut short, bit-flipped, of 17 GB, endless, and such as make that decoder read wild
//! memory, abort or loop. The exit code is 0 if all was done that could be done.

#[path = "farm/files.rs"]
mod files;
#[path = "farm/inputs.rs"]
mod inputs;
#[path = "farm/report.rs"]
mod report;
#[path = "farm/runs.rs"]
mod runs;
#[path = "farm/thumbnail.rs"]
mod thumbnail;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use watertight::Output;
use watertight::pool::TaskError;
use watertight::prelude::*;

use files::File;
use report::{Fate, Report};
use thumbnail::{Job, Thumbnail};

/// Makes thumbnails in worker processes, which bad images may kill.
#[derive(Parser)]
#[command(name = "farm", after_help = "Exit code: 0 if all was done that could be done, else 1.")]
pub struct Options {
    /// Images here and below, links not followed: .png, .jpg, .jpeg, .gif and .runs [default: images of its own, good and bad]
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// Write the thumbnails here, each under its image's path and `.png`
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// So many worker processes [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// The longest side of a thumbnail, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1024))]
    size: u32,
    /// Seconds that one image may take
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    deadline: Duration,
    /// The most memory of a worker, in MiB: a picture of 50 megapixels needs 200
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(32..=1 << 20))]
    memory: u64,
    /// Then make those that came out once more, one after another in this process, and compare
    #[arg(long)]
    check: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|wait| !wait.is_zero()).ok_or_else(|| "it must be a number of seconds above 0".to_owned())
}

fn main() -> ExitCode {
    watertight::run(farm)
}

async fn farm(sys: System) -> Result<()> {
    let options = Options::parse();
    let own = tempfile::tempdir()?;
    let input = match &options.input {
        Some(folder) => {
            let found = folder.canonicalize();
            found.map_err(|e| Error::from(e).context(format!("failed to open {}", folder.display())))?
        }
        None => {
            inputs::make(own.path()).map_err(|e| e.context("failed to make images"))?;
            own.path().to_owned()
        }
    };
    let files = files::below(&input, options.output.as_deref())?;
    let workers = options
        .workers
        .map_or_else(|| std::thread::available_parallelism().map_or(2, usize::from).min(256), usize::from);

    let began = Instant::now();
    let pool = sys
        .pool(workers)
        .name("farm")
        .memory(options.memory << 20)
        .deadline(options.deadline)
        .output(Output::Silent)
        .await?;
    let jobs: Vec<Job> = files.iter().map(|file| file.job(options.size)).collect();
    // One at a time: an image is worth a message, and who shares a chunk with a bad one need not wait for its deadline.
    let mut made = pool.map_unordered(thumbnail::make, jobs).chunk(1).progress_bar();
    let mut fates: Vec<Option<Fate>> = files.iter().map(|_| None).collect();
    while let Some((index, outcome)) = made.next().await {
        let index = usize::try_from(index)?;
        fates[index] = Some(take(&files[index], outcome, options.output.as_deref()));
    }
    drop(made);
    pool.join().await;
    let took = began.elapsed();

    let mut report = Report::new(&files, fates, workers, took);
    if options.check {
        report.check(&files, options.size);
    }
    report.print(options.json)
}

/// What has become of an image. Its thumbnail is written here, not by the worker: a worker that dies leaves no half of it.
fn take(
    file: &File,
    outcome: Result<Result<Thumbnail, String>, TaskError>,
    output: Option<&std::path::Path>,
) -> Fate {
    match outcome {
        Ok(Ok(thumbnail)) => match output.map_or(Ok(()), |folder| file.write(folder, &thumbnail.png)) {
            Ok(()) => Fate::Done(thumbnail),
            Err(error) => Fate::NotDone(format!("its thumbnail could not be written: {error}")),
        },
        Ok(Err(reason)) => Fate::Damaged(reason),
        Err(error) => Fate::of(error),
    }
}
