//! The process that outlives its program, by a moment.
//!
//! A program that ends as it should ends what its actors have started; see [`orphans`](super::orphans). One that is killed
//! cannot: the kernel ends its actors, and nobody ends what they had started. So a program whose actors may start processes
//! has one process more, in a group of its own, that does nothing but wait for the program's death. Then it kills
//!
//! - the process groups of all actors that were alive, whose numbers the supervisor has told it: while anybody is in a
//!   group, no other gets its number;
//! - all that is in the [control groups](super::cgroup) of the system's actors, if they have any, and removes those;
//! - whatever is found to be of the same system, by the variable or the name that `orphans` knows it by.
//!
//! It sees the death twice: by the pidfd of its parent, and by the end of the pipe on which it is told numbers. One alone
//! could fail: a copy of the program may hold the pipe, and a program that dies at once is no longer the parent.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::cgroup;
use super::child::{self, Limits};
use super::orphans::VARIABLE;
use super::spawner::{self, Order, Spawned, SpawnerGone};
use super::table::{self, Process};
use crate::fault::{self, Call};

/// How the name begins under which a survivor is started; behind it stands its system.
const MARK: &str = "watertight-survivor: ";

/// How long it looks for what is left, at most: what makes processes as fast as they are killed is not followed for ever.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two looks: what was killed is dead by then.
const AGAIN: Duration = Duration::from_millis(10);
/// So many looks that find nothing are the end: a process that was being made during the first is seen by the second.
const QUIET: u32 = 2;

/// The variable in its environment that says where the system's control groups are, if it has any.
const GROUPS: &str = "WATERTIGHT_GROUPS";

/// The system whose survivor this process was started to be, if it was.
pub fn marked() -> Option<String> {
    let name = std::env::args_os().next()?;
    let system = name.as_bytes().strip_prefix(MARK.as_bytes())?;
    Some(String::from_utf8_lossy(system).into_owned())
}

/// Waits for the death of the program that has started this process, ends what its actors have left, and exits.
pub fn outlive(system: &str) -> ! {
    match wait() {
        Ok(groups) => {
            let path = std::env::var_os(GROUPS);
            let path = path.as_deref().map(Path::new);
            // Nobody reads what it would say. What is not killed or removed now is by the next program there.
            let _ = path.map(cgroup::kill);
            clear(system, &groups);
            let _ = path.map(cgroup::remove_soon);
            child::exit_now(0)
        }
        // Nobody reads what it says. Its supervisor sees the exit.
        Err(_) => child::exit_now(1),
    }
}

/// The supervisor's side.
#[derive(Debug)]
pub struct Survivor {
    pipe: OwnedFd,
    process: Option<(Pid, OwnedFd)>,
    is_silent: bool,
}

impl Survivor {
    /// Has one started for this system; `done` is told what became of that, on the spawner's thread.
    ///
    /// # Errors
    /// When there are no descriptors for its pipe, or nobody to start it.
    pub fn begin(
        system: &str,
        arguments: Vec<std::ffi::OsString>,
        groups: Option<&Path>,
        done: impl FnOnce(io::Result<Spawned>) + Send + 'static,
    ) -> io::Result<Survivor> {
        fault::call(Call::StartSurvivor)?;
        let (theirs, pipe) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        // A test harness prints there, and nobody reads it.
        let null = || std::fs::File::options().write(true).open("/dev/null").map(OwnedFd::from);
        let groups = groups.map(|path| (GROUPS.into(), path.as_os_str().to_owned()));
        let order = Order {
            arg0: format!("{MARK}{system}"),
            arguments,
            environment: spawner::environment(&[]).into_iter().chain(groups).collect(),
            control: theirs,
            stdout: null()?,
            stderr: null()?,
        };
        spawner::spawn(order, done).map_err(|error: SpawnerGone| io::Error::other(error.to_string()))?;
        Ok(Survivor { pipe, process: None, is_silent: false })
    }

    /// Its process is there.
    pub fn started(&mut self, Spawned { pid, pidfd }: Spawned) {
        self.process = Some((pid, pidfd));
    }

    /// Whether its process is not there yet.
    pub fn is_starting(&self) -> bool {
        self.process.is_none()
    }

    /// The process of an actor was started, and leads a group.
    pub fn tell_started(&mut self, pid: u32) {
        self.tell(pid.cast_signed());
    }

    /// It was reaped.
    pub fn tell_ended(&mut self, pid: u32) {
        self.tell(-pid.cast_signed());
    }

    fn tell(&mut self, number: i32) {
        // Never half of it: a pipe takes what is so short whole, or not at all.
        if let Err(error) = rustix::io::write(&self.pipe, &number.to_le_bytes())
            && !std::mem::replace(&mut self.is_silent, true)
        {
            tracing::warn!(%error, "the program's survivor does not listen; it will look for what it was not told");
        }
    }

    /// The system has ended as it should, and with it everything: so does its survivor.
    pub fn dismiss(self) {
        let Some((_, pidfd)) = self.process else { return };
        // It may have been killed. It is this process's child, and not reaped by anybody else.
        let _ = rustix::process::pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Listens until the program is dead. The groups of the actors that were alive.
fn wait() -> io::Result<HashSet<i32>> {
    child::harden(&Limits::default())?;
    // If it is dead already, this is somebody else's, who may live on; but the pipe has ended.
    let parent = rustix::process::getppid();
    let parent = parent.and_then(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty()).ok());
    let stdin = io::stdin();
    let mut heard = Told::default();
    let mut buffer = [0; 4096];
    loop {
        let mut watched = vec![PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        watched.extend(parent.iter().map(|parent| PollFd::new(parent, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let parent_died = watched.get(1).is_some_and(|parent| !parent.revents().is_empty());
        if !watched[0].revents().is_empty() {
            // Past the buffer of the standard library, into which `poll` does not see.
            match rustix::io::read(stdin.as_fd(), &mut buffer)? {
                0 => return Ok(heard.groups),
                read => heard.hear(&buffer[..read]),
            }
        } else if parent_died {
            return Ok(heard.groups);
        }
    }
}

/// What the supervisor has told: numbers of four bytes, of an actor that has begun, or negative of one that has ended.
#[derive(Debug, Default)]
struct Told {
    groups: HashSet<i32>,
    rest: Vec<u8>,
}

impl Told {
    fn hear(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / 4 * 4;
        for number in self.rest.drain(..whole).as_slice().chunks_exact(4) {
            let number = i32::from_le_bytes([number[0], number[1], number[2], number[3]]);
            // 1 is everybody's.
            if number > 1 {
                self.groups.insert(number);
            } else {
                self.groups.remove(&number.saturating_neg());
            }
        }
    }
}

/// Kills these groups, and then whatever is of this system, until nothing is.
fn clear(system: &str, groups: &HashSet<i32>) {
    for group in groups.iter().filter_map(|group| Pid::from_raw(*group)) {
        // Most of them are empty: the kernel has ended their actors.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let (began, mut quiet) = (Instant::now(), 0);
    while quiet < QUIET && began.elapsed() < LIMIT {
        // Without a look nobody can be found: there is nothing else to try, and nobody to tell.
        let Ok(all) = table::all() else { return };
        let mut left = 0;
        for process in all.iter().filter(|process| is_of(process, system)) {
            left += u32::from(process.kill().is_ok());
        }
        quiet = if left == 0 { quiet + 1 } else { 0 };
        std::thread::sleep(AGAIN);
    }
}

/// Whether a process was started by an actor of this system, or is one.
fn is_of(process: &Process, system: &str) -> bool {
    !process.is_dead
        && (process.variable(VARIABLE).is_some_and(|life| is_life_of(&life, system))
            || process.arg0().is_some_and(|arg0| is_actor_of(&arg0, system)))
}

/// A life is named by its system, its actor and its incarnation.
fn is_life_of(life: &[u8], system: &str) -> bool {
    life.strip_prefix(system.as_bytes()).is_some_and(|rest| rest.starts_with(b"."))
}

/// An actor's process, and a copy that it has made of itself, are named by what they are and the life.
fn is_actor_of(arg0: &[u8], system: &str) -> bool {
    arg0.starts_with(child::MARK.as_bytes())
        && arg0.rsplit(|byte| *byte == b' ').next().is_some_and(|life| is_life_of(life, system))
}

#[cfg(test)]
#[path = "survivor_tests.rs"]
mod tests;
