//! Seeing a child's exit, in the order that loses nothing.
//!
//! 1. [`wait`] until the pidfd is readable: the child is dead but not reaped.
//! 2. Read what `/proc` still has of it.
//! 3. [`finish`]: kill its process group, then reap it with its resource usage.
//!
//! Until it is reaped its pid, and with it the id of its group, cannot be given to anyone else. Reaping first would lose
//! the usage, and the kill could then hit a stranger's group.
//!
//! Elsewhere than on Linux there is neither a pidfd nor `/proc`: an exit would have to be seen by `SIGCHLD`.
#![allow(unsafe_code)]
// The only `unsafe` here is `wait4`: it alone both reaps and tells the usage, and rustix does not offer it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, waitid};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A child's end as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawExit {
    /// How it ended.
    pub status: WaitStatus,
    /// What it used.
    pub usage: Usage,
}

/// How a child ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number; see [`signal_name`].
        number: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
}

/// What a child used in its whole life, together with those of its own children that it waited for.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in its own code.
    pub user: Duration,
    /// Processor time in the kernel on its behalf.
    pub system: Duration,
    /// The most memory that was resident at one time.
    pub peak_memory_bytes: u64,
    /// Whether `peak_memory_bytes` only says "no more than this".
    ///
    /// A freshly started child borrows its parent's memory for a moment, and the kernel counts that parent's own peak
    /// as the child's. A child that stayed below its parent's peak therefore cannot be told from one that reached it.
    pub peak_memory_is_upper_bound: bool,
    /// Page faults that had to wait for a disk.
    pub major_faults: u64,
    /// How often it gave the processor away, to wait for something.
    pub voluntary_switches: u64,
    /// How often the processor was taken from it.
    pub involuntary_switches: u64,
}

/// Registers a pidfd with the current tokio runtime, for [`wait`].
///
/// # Errors
/// What registering told, such as too many descriptors.
///
/// # Panics
/// Outside a tokio runtime with I/O.
// Deprecated in favour of an unsafe constructor, for types that may lie about their descriptor; an `OwnedFd` does not.
#[allow(deprecated)]
pub fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Waits until the child has ended, and leaves it unreaped.
///
/// Dropping the future loses nothing.
///
/// # Errors
/// `ECHILD` if the child was reaped elsewhere, or this process ignores `SIGCHLD`; otherwise what waiting told.
pub async fn wait(pid: Pid, pidfd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut guard = pidfd.readable().await?;
        // Readiness is a hint. The pid is still the child's, since nobody has reaped it.
        if has_exited(pid)? {
            return Ok(());
        }
        guard.clear_ready();
    }
}

/// Ends a child that nobody can watch, and reaps it beside; never blocks.
pub fn discard(pid: Pid) {
    // The group is there unless it was ended already. The child is not reaped, so the number is still its own.
    let _ = kill_group(pid, Signal::KILL);
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let reap = move || {
        // Reaped elsewhere, or reaped here: in the end it is gone.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    };
    if let Err(error) = std::thread::Builder::new().name("reaper".into()).spawn(reap) {
        tracing::error!(%error, pid = pid.as_raw_pid(), "a process that was ended stays as a zombie");
    }
}

/// Kills what is left of the child's process group, then reaps the child; never blocks.
///
/// Call it once, after [`wait`] and after reading `/proc`. Grandchildren that left the group are not reached.
///
/// # Errors
/// `WouldBlock` if the child had not ended yet: it has been killed now, so wait and call again. `ECHILD` if it was reaped
/// elsewhere, or this process ignores `SIGCHLD`.
pub fn finish(pid: Pid) -> io::Result<RawExit> {
    if let Err(error) = kill_group(pid, Signal::KILL) {
        // ESRCH: nobody is left. Anything else must not keep the child from being reaped.
        if error.raw_os_error() != Some(libc::ESRCH) {
            tracing::warn!(pid = pid.as_raw_pid(), %error, "failed to kill the process group of an exited actor");
        }
    }
    reap(pid)
}

/// Sends a signal to every process of the child's group.
///
/// Only for a child that is not reaped yet.
///
/// # Errors
/// `ESRCH` if the group is empty; `EPERM` if none of it may be signalled.
pub fn kill_group(pid: Pid, signal: Signal) -> io::Result<()> {
    Ok(kill_process_group(pid, signal)?)
}

/// Sends a signal to the child alone, and never to a stranger: the pidfd cannot mean another process.
///
/// # Errors
/// `ESRCH` if it was reaped already.
pub fn kill_process(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    Ok(pidfd_send_signal(pidfd, signal)?)
}

/// The signal that has stopped the child (`SIGSTOP` for example), or `None` while it runs, was continued or has ended.
///
/// Asking changes nothing, so it can be asked as often as one likes: while nobody waits for stops without `WNOWAIT`, the
/// kernel reports this one until the child is continued or killed, and forgets it in that instant.
///
/// # Errors
/// What the kernel told, if it could not be asked.
pub fn is_stopped(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(pidfd), options) {
        Ok(status) => Ok(status.and_then(|status| status.stopping_signal())),
        // What is dead, reaped or not, will never stop: to the kernel there is no child left to wait for.
        Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The name of a signal of this machine, such as `SIGSEGV`.
pub fn signal_name(number: i32) -> &'static str {
    match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGCONT => "SIGCONT",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGURG => "SIGURG",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGIO => "SIGIO",
        libc::SIGPWR => "SIGPWR",
        libc::SIGSYS => "SIGSYS",
        // The kernel's range; the C library keeps the first two for itself.
        32..=64 => "a real-time signal",
        _ => "an unknown signal",
    }
}

fn has_exited(pid: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

fn reap(pid: Pid) -> io::Result<RawExit> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live, writable values of the right types, and are not kept by the call.
    let reaped = unsafe { libc::wait4(pid.as_raw_pid(), &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        -1 => return Err(io::Error::last_os_error()),
        0 => return Err(io::ErrorKind::WouldBlock.into()),
        _ => {}
    }
    // SAFETY: it was zeroed, which is a value of this plain struct of integers, and the call filled it.
    let usage = unsafe { usage.assume_init() };
    let status = if libc::WIFSIGNALED(status) {
        WaitStatus::Signal { number: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
    } else {
        WaitStatus::Code(libc::WEXITSTATUS(status))
    };
    let peak_memory_bytes = count(usage.ru_maxrss) * 1024;
    Ok(RawExit {
        status,
        usage: Usage {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            peak_memory_bytes,
            // If the own peak is not known, nothing is claimed.
            peak_memory_is_upper_bound: own_peak_memory_bytes().is_none_or(|own| peak_memory_bytes <= own),
            major_faults: count(usage.ru_majflt),
            voluntary_switches: count(usage.ru_nvcsw),
            involuntary_switches: count(usage.ru_nivcsw),
        },
    })
}

/// The most memory that this process ever had resident; only grows, so it is no less than it was when a child started.
fn own_peak_memory_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Finds a line such as `VmHWM:   123 kB` and gives its number in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(count(time.tv_sec)) + Duration::from_micros(count(time.tv_usec))
}

/// The kernel's counters are signed but never negative.
fn count(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

#[cfg(test)]
#[path = "exit_tests.rs"]
mod tests;
