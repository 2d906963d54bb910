//! The same work on threads; in a process of its own, this executable started again, where it may end the process.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use watertight::prelude::*;

use crate::work::{self, Deed};

/// What stands before the role in the arguments of such a process.
const MARK: &str = "claims-threads";

/// What a process full of threads does.
#[derive(Clone, Serialize, Deserialize)]
pub enum Role {
    /// Does these, and prints the number of each as soon as it is done.
    Deeds {
        threads: usize,
        deeds: Vec<Deed>,
        /// The most memory that it may have, in bytes.
        memory: Option<u64>,
        /// It may leave a core file where it was started.
        core: bool,
    },
    /// Prints by how many bytes it has grown when these are done.
    Growth { threads: usize, deeds: Vec<Deed> },
    /// Does tasks of so many turns until its standard input ends, and prints which thread has done one, and when.
    Ends { threads: usize, turns: u64 },
    /// Prints how many bytes each of so many idle threads takes.
    Idle { threads: usize },
}

/// How such a process has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<String>,
    pub stderr: String,
}

/// Does the same with every item, on so many threads, and gives the results in any order.
pub fn map<T: Sync, R: Send>(threads: usize, items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = || items.get(next.fetch_add(1, Ordering::Relaxed));
                let made: Vec<R> = std::iter::from_fn(take).map(&f).collect();
                results.lock().unwrap_or_else(|broken| broken.into_inner()).extend(made);
            });
        }
    });
    results.into_inner().unwrap_or_else(|broken| broken.into_inner())
}

/// Lets a process of its own play the role.
///
/// # Errors
/// It could not be started.
pub fn run(role: &Role) -> Result<Ended> {
    ended(command(role)?.stdin(Stdio::null()))
}

/// The same, in this folder.
///
/// # Errors
/// It could not be started.
pub fn run_in(folder: &Path, role: &Role) -> Result<Ended> {
    ended(command(role)?.stdin(Stdio::null()).current_dir(folder))
}

/// Starts one that plays the role until its standard input is closed; it, and what it prints.
///
/// # Errors
/// It could not be started.
pub fn start(role: &Role) -> Result<(Child, ChildStdout)> {
    let mut program = command(role)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let said = program.stdout.take().ok_or_else(|| Error::new("a program with threads has no output"))?;
    Ok((program, said))
}

fn command(role: &Role) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([MARK, &serde_json::to_string(role)?]).env("RUST_BACKTRACE", "0");
    Ok(command)
}

fn ended(command: &mut Command) -> Result<Ended> {
    let output = command.output()?;
    let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    Ok(Ended { status: output.status, lines, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}

/// The one number that it prints.
///
/// # Errors
/// It could not be started, or printed something else.
pub fn number(role: &Role) -> Result<f64> {
    let ended = run(role)?;
    let number = ended.lines.first().and_then(|line| line.parse().ok());
    number.ok_or_else(|| Error::new(format!("a process with threads gave no number: {}", ended.status)))
}

/// The role of this process, if it is such a one.
pub fn role() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == MARK).then(|| arguments.next()).flatten()
}

/// Plays it.
pub fn play(role: &str) -> ExitCode {
    let role = serde_json::from_str(role);
    // What it does on purpose needs no core file, unless that is asked for.
    let hard = getrlimit(Resource::Core).maximum;
    let most = if matches!(role, Ok(Role::Deeds { core: true, .. })) { hard } else { Some(0) };
    let _ = setrlimit(Resource::Core, Rlimit { current: most, maximum: hard });
    match role {
        Ok(Role::Deeds { threads, deeds, memory, core: _ }) => {
            if memory.is_some() {
                let _ = setrlimit(Resource::Data, Rlimit { current: memory, maximum: memory });
            }
            let deeds: Vec<(usize, Deed)> = deeds.into_iter().enumerate().collect();
            map(threads, &deeds, |(number, deed)| {
                work::act(*deed);
                // One write a line, so that none is lost in a buffer when it dies.
                let _ = std::io::stdout().lock().write_all(format!("{number}\n").as_bytes());
            });
        }
        Ok(Role::Growth { threads, deeds }) => {
            let before = work::resident();
            map(threads, &deeds, |deed| work::act(*deed));
            println!("{}", (work::resident() - before).max(0.0));
        }
        Ok(Role::Ends { threads, turns }) => ends(threads, turns),
        Ok(Role::Idle { threads }) => println!("{}", idle(threads)),
        Err(error) => {
            eprintln!("no role: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn ends(threads: usize, turns: u64) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..threads {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::black_box(work::crunch(turns));
                    let line = format!("{number} {}\n", work::clock());
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
        // Whatever ends it, it has ended.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        over.store(true, Ordering::Relaxed);
    });
}

/// Bytes of each of so many threads that have done a little and now wait.
fn idle(threads: usize) -> f64 {
    let (all_there, seen) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let before = work::resident();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (all_there, seen) = (&all_there, &seen);
            scope.spawn(move || {
                std::hint::black_box(vec![7_u8; 1_000]);
                all_there.wait();
                seen.wait();
            });
        }
        all_there.wait();
        let each = (work::resident() - before) / threads as f64;
        seen.wait();
        each.max(0.0)
    })
}
