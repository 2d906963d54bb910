//! The core file of a program with threads, and what a debugger reads in it or in what still runs.
//!
//! The debugger is gdb, where it is installed. It is not asked to find out more than a person would at first: the stacks
//! of all threads, and the two variables that tell what was in hand.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A core file.
pub struct Core {
    pub path: PathBuf,
    /// What it takes on the disk, which is less than its length: holes take nothing.
    pub on_disk: u64,
    pub length: u64,
}

/// What a debugger has told of a core file.
pub struct Told {
    /// From its start to its end.
    pub took: Duration,
    /// Threads whose stack it has shown.
    pub threads: usize,
    /// The function of this program in which it died, and its line.
    pub place: Option<String>,
    /// The number of the task and the task, if variables are known in this build.
    pub number: Option<String>,
    pub deed: Option<String>,
}

/// Where the kernel puts core files, if it puts them beside the process.
///
/// # Errors
/// It does something else with them, in words.
pub fn cores_can_be_had() -> Result<(), String> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    match () {
        () if pattern.is_empty() => Err("no core file: the kernel makes none (core_pattern is empty)".into()),
        () if pattern.starts_with('|') => Err(format!("no core file: core_pattern gives them to {pattern}")),
        () if pattern.contains('/') => Err(format!("no core file here: core_pattern puts them at {pattern}")),
        () => Ok(()),
    }
}

/// The core file in a folder that was empty before.
///
/// # Errors
/// There is none, in words.
pub fn core_in(folder: &Path) -> Result<Core, String> {
    use std::os::unix::fs::MetadataExt;
    let none = |error: std::io::Error| format!("no core file: {error}");
    let entry = std::fs::read_dir(folder).map_err(none)?.next();
    let entry = entry.ok_or("no core file: the hard limit for them may be 0")?.map_err(none)?;
    let metadata = entry.metadata().map_err(none)?;
    Ok(Core { path: entry.path(), on_disk: metadata.blocks() * 512, length: metadata.len() })
}

/// Reads the stacks of all threads in a core file of this executable.
///
/// # Errors
/// There is no debugger, or it could not read it, in words.
pub fn read_core(core: &Path) -> Result<Told, String> {
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let commands =
        ["thread apply all bt", "frame apply all -q -s print *number", "frame apply all -q -s print *deed"];
    let began = Instant::now();
    let said = gdb(&commands, &[executable.as_path(), core])?;
    let took = began.elapsed();
    // Where variables are not known, something else of that name may be.
    let printed =
        || said.lines().filter(|line| line.starts_with('$')).filter_map(|line| line.split(" = ").nth(1));
    let number = printed().find(|value| value.parse::<u64>().is_ok()).map(str::to_owned);
    let deed = printed().find(|value| value.contains("::Deed::")).map(str::to_owned);
    // Shown first of all is the frame in which the process died.
    let of_thread = said.split("\nThread 1 ").nth(1).unwrap_or(&said);
    let place =
        of_thread.lines().find_map(|line| line.contains("examples/claims/work.rs:").then(|| cut(line)));
    let threads = said.lines().filter(|line| line.starts_with("Thread ")).count();
    if threads == 0 {
        return Err("the debugger could not read the core file".into());
    }
    Ok(Told { took, threads, place, number, deed })
}

/// `act at examples/claims/work.rs:47`, of a line of a stack.
fn cut(line: &str) -> String {
    let line = line.trim_start_matches(|c: char| c == '#' || c.is_ascii_digit() || c == ' ');
    let line = line.split_once(" in ").filter(|(at, _)| at.starts_with("0x")).map_or(line, |(_, rest)| rest);
    let (name, place) = (line.split(" (").next().unwrap_or(line), line.rsplit(" at ").next().unwrap_or(""));
    format!("{name} at {place}")
}

/// Reads the stack of one thread, of a process that runs; says what it has read.
///
/// # Errors
/// There is no debugger, or it may not look, in words.
pub fn look_at(thread: u32) -> Result<String, String> {
    let said = gdb(&["bt"], &[Path::new("-p"), Path::new(&thread.to_string())])?;
    if said.contains("#0 ") {
        Ok(said)
    } else {
        Err("the debugger may not attach; to a worker only that of root may".into())
    }
}

fn gdb(commands: &[&str], arguments: &[&Path]) -> Result<String, String> {
    let mut gdb = Command::new("gdb");
    // Nothing of the user's, and nothing from the network.
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no debugger: gdb is not installed".to_owned(),
        _ => format!("no debugger: {error}"),
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
