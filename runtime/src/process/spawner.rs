//! The immortal spawner thread: the only one that starts processes.
//!
//! A child asks the kernel to end it when its parent dies (`PR_SET_PDEATHSIG`). For the kernel "the parent" is the
//! *thread* that spawned it, not the process, so a child started from a short-lived worker would be killed as soon as
//! that worker ended. Hence one thread that never ends, shared by all systems in this operating-system process.
//!
//! A child is this executable started again through `/proc/self/exe`, which stays right after the file was replaced or
//! deleted. Nothing here uses `pre_exec`: it would force a fork, which copies the page tables of a large supervisor.
//! `process_group`, `arg0` and a cleared environment all keep the standard library on `posix_spawn`.
//!
//! Elsewhere than on Linux there is neither `/proc/self/exe` nor a pidfd.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How many orders may wait for the spawner thread.
///
/// A start takes about a millisecond, so this is some four seconds of work: more than any sensible group starts at
/// once, and yet each order holds three descriptors, so the limit also keeps a runaway caller from eating them all.
const QUEUE_LIMIT: usize = 4096;

/// What to start: everything that differs between one child and the next.
#[derive(Debug)]
pub struct Order {
    /// The name the child sees as its first argument; marks it as an actor process.
    pub arg0: String,
    /// The arguments after it.
    pub arguments: Vec<OsString>,
    /// The whole environment of the child; nothing else is inherited. See [`environment`].
    pub environment: Vec<(OsString, OsString)>,
    /// The child's end of its control link; becomes its descriptor 0.
    pub control: OwnedFd,
    /// The write end that becomes its standard output.
    pub stdout: OwnedFd,
    /// The write end that becomes its standard error.
    pub stderr: OwnedFd,
}

/// A child that was started and is not yet reaped.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id, which is also the id of its process group.
    pub pid: Pid,
    /// Becomes readable when it exits.
    pub pidfd: OwnedFd,
}

/// Why an order was not taken; `done` is then never called.
#[derive(Debug, thiserror::Error)]
pub enum SpawnerGone {
    /// Too many orders are waiting already; try again when some are done.
    #[error("{QUEUE_LIMIT} processes are waiting to be started already")]
    Full,
    /// The spawner thread could not be started; the next order tries again.
    #[error("the spawner thread could not be started: {0}")]
    NotStarted(#[source] io::Error),
    /// The spawner thread is gone, and with it every child that it had started.
    #[error("the spawner thread has ended")]
    Ended,
}

/// Starts a process on the spawner thread and tells `done` what became of it; never blocks.
///
/// `done` runs on the spawner thread and should only hand the result on. The descriptors of the order are closed in
/// this process before it is called, so that the other ends see end-of-file when the child ends. A failed start,
/// `EAGAIN` at a process limit for example, is passed to `done` as it is: whether to try again is the caller's decision.
///
/// # Errors
/// See [`SpawnerGone`].
pub fn spawn(
    order: Order,
    done: impl FnOnce(io::Result<Spawned>) + Send + 'static,
) -> Result<(), SpawnerGone> {
    // Not a OnceLock: a thread that could not be started once may be startable later.
    static SPAWNER: Mutex<Option<SyncSender<Job>>> = Mutex::new(None);

    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = match &mut *spawner {
        Some(jobs) => jobs,
        none => none.insert(start_thread().map_err(SpawnerGone::NotStarted)?),
    };
    submit(jobs, Job { order, done: Box::new(done) })
}

/// The part of this process's environment that children get: a short list of names, and those in `allowed_extra`.
///
/// An entry of `allowed_extra` is a name, or a prefix followed by `*`. Everything else stays here: environments hold
/// tokens and passwords, and an actor may run code that should not see them.
pub fn environment(allowed_extra: &[String]) -> Vec<(OsString, OsString)> {
    let names = || ALWAYS_ALLOWED.iter().copied().chain(allowed_extra.iter().map(String::as_str));
    std::env::vars_os().filter(|(name, _)| names().any(|allowed| matches(allowed, name))).collect()
}

/// What every child gets, since ordinary code breaks without it.
const ALWAYS_ALLOWED: &[&str] = &[
    "PATH",               // actors start programs by name
    "HOME",               // configuration and caches of libraries
    "USER",               // the same, and log lines
    "LANG",               // text and number formats
    "LC_*",               // the same, one by one
    "TZ",                 // local time agrees with the supervisor's
    "TMPDIR",             // temporary files go where the administrator wants them
    "TERM",               // libraries ask it before colouring their output
    "NO_COLOR",           // the user's wish holds for children too
    "RUST_LOG",           // one setting for the logs of the whole program
    "RUST_BACKTRACE",     // crash reports carry backtraces if asked for
    "RUST_LIB_BACKTRACE", // the same, for errors
    "LD_LIBRARY_PATH",    // the same executable must find the same libraries again
];

struct Job {
    order: Order,
    done: Box<dyn FnOnce(io::Result<Spawned>) + Send>,
}

fn submit(jobs: &SyncSender<Job>, job: Job) -> Result<(), SpawnerGone> {
    jobs.try_send(job).map_err(|refused| match refused {
        TrySendError::Full(_) => SpawnerGone::Full,
        TrySendError::Disconnected(_) => SpawnerGone::Ended,
    })
}

fn start_thread() -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel(QUEUE_LIMIT);
    std::thread::Builder::new().name("actor-spawner".into()).spawn(move || run(&jobs))?;
    Ok(sender)
}

/// The whole life of the thread. The sender stands in a static and is never dropped, so this never returns.
fn run(jobs: &Receiver<Job>) {
    while let Ok(Job { order, done }) = jobs.recv() {
        // If this thread ended, the kernel would kill every child: no panic may get out, not even one from dropping
        // what was thrown.
        if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| done(start(order)))) {
            std::mem::forget(thrown);
        }
    }
}

fn start(order: Order) -> io::Result<Spawned> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(order.arg0)
        .args(order.arguments)
        .env_clear()
        .envs(order.environment)
        .stdin(Stdio::from(order.control))
        .stdout(Stdio::from(order.stdout))
        .stderr(Stdio::from(order.stderr))
        .process_group(0);
    let child = command.spawn()?;
    // The child's ends are closed here first, or an early death would not be seen as end-of-file.
    drop(command);
    // The child was not reaped yet, so its pid cannot belong to anyone else.
    let pid = Pid::from_child(&child);
    match pidfd_open(pid, PidfdFlags::empty()) {
        // Dropping the standard library's handle neither kills nor reaps.
        Ok(pidfd) => Ok(Spawned { pid, pidfd }),
        Err(error) => {
            discard(child);
            Err(error.into())
        }
    }
}

/// Ends a child that nobody could watch. It has only just been executed, so waiting for its death is short.
fn discard(mut child: Child) {
    if child.kill().is_ok() {
        let _ = child.wait();
    }
}

/// Also used for names that are not UTF-8, hence bytes.
fn matches(allowed: &str, name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    match allowed.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == allowed.as_bytes(),
    }
}

#[cfg(test)]
#[path = "spawner_tests.rs"]
mod tests;
