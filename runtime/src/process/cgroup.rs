//! Control groups: one for each life of an actor, with all that it starts. The only file that touches their hierarchy.
//!
//! ```text
//! DIRECTORY/                     ours to write, asked for or found
//!   watertight-supervisor/       the program itself, only if DIRECTORY held it and has controllers to hand down
//!   watertight-PID-SYSTEM/       this system's, locked while its program lives
//!     ACTOR.INCARNATION/         an actor's process and whatever it starts
//! ```
//!
//! An actor's process enters its group itself, before anything of the actor's has run: nothing that it starts can be
//! outside. Whoever wants to end a group says so in one file, and the kernel kills all that is in it or below it. A
//! directory whose lock is free is of a program that is dead: its survivor, or the next program here, removes it.
//!
//! What is written, and what texts mean, is decided in [`rules`](super::cgroup_rules). Elsewhere than on Linux there is
//! none of this.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, FlockOperation};
use rustix::process::{Pid, PidfdFlags, Signal};
use thiserror::Error;

use super::cgroup_rules::{self as rules, Cgroup, Controllers, Meaningless};
use super::child::Limits;

/// How long whoever removes groups waits until what was killed in them is dead.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(5);
/// Most groups that are removed at once below one: whoever makes more keeps them, empty.
const MOST: usize = 10_000;

/// Why a program that asks for control groups has none.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// The variable says nothing.
    #[error("{0}")]
    Meaningless(#[from] Meaningless),
    /// This process is in no mounted hierarchy of version 2.
    #[error(
        "no control group of version 2 was found for this process in /proc/self/cgroup and /proc/self/mountinfo: mount a \
         hierarchy (mount -t cgroup2 none DIRECTORY), or go without control groups"
    )]
    NoHierarchy,
    /// The directory is something else.
    #[error("{0} is no directory of a control group hierarchy of version 2: give one, or say `auto`")]
    NoGroup(PathBuf),
    /// It is not this program's to write.
    #[error(
        "failed to {attempted} {path}: {error}; give the program a part of the hierarchy that is its own to write \
         (systemd-run --user --scope -p Delegate=yes PROGRAM, or Delegate=yes in its unit), or go without control groups"
    )]
    Refused {
        /// What was tried.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

fn refused(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |error| CgroupError::Refused { attempted, path, error }
}

/// The groups of one system.
#[derive(Debug)]
pub struct Groups {
    path: PathBuf,
    controllers: Controllers,
    /// Why there are no more of them.
    without: String,
    /// Says that this program lives: the kernel lets go of it with the last descriptor.
    _lock: File,
}

impl Groups {
    /// Makes the directory of a system in which its actors get their groups, and clears away those of dead programs.
    ///
    /// The program's variable takes the place of `wanted`. Why there are none, without a wish, and with `Auto` where that
    /// cannot be had.
    ///
    /// # Errors
    /// When a directory was named in which that cannot be done.
    pub fn begin(wanted: &Cgroup, system: &str) -> Result<Result<Groups, String>, CgroupError> {
        let variable = std::env::var_os(rules::VARIABLE);
        let said = Cgroup::said(variable.map(|it| it.to_string_lossy().into_owned()).as_deref())?;
        let groups = match said.as_ref().unwrap_or(wanted) {
            Cgroup::Off => return Ok(Err("control groups were not asked for".to_owned())),
            Cgroup::At(directory) => Groups::make(directory, system)?,
            Cgroup::Auto => match own_directory().and_then(|directory| Groups::make(&directory, system)) {
                Ok(groups) => groups,
                Err(error) => {
                    tracing::warn!(%error, "actors have no control groups");
                    return Ok(Err(error.to_string()));
                }
            },
        };
        let controllers = groups.controllers.names().collect::<Vec<_>>().join(" ");
        tracing::info!(directory = %groups.path.display(), controllers, "actors have control groups");
        Ok(Ok(groups))
    }

    fn make(directory: &Path, system: &str) -> Result<Groups, CgroupError> {
        const CGROUP2: i64 = 0x6367_7270;
        let directory = directory.canonicalize().map_err(refused("find", directory))?;
        let kind = rustix::fs::statfs(&directory).map_err(|e| refused("look at", &directory)(e.into()))?;
        // Its type is not the same on all machines.
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        if kind.f_type as i64 != CGROUP2 {
            return Err(CgroupError::NoGroup(directory));
        }
        check_that_processes_may_move(&directory)?;
        sweep(&directory);
        let path = directory.join(format!("{}{}-{system}", rules::PREFIX, std::process::id()));
        let lock = claim(&path).map_err(refused("make the group", &path))?;
        let (controllers, without) = hand_down(&directory, &path);
        check_type(&path)?;
        Ok(Groups { path, controllers, without, _lock: lock })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which limit only a group could keep and these cannot, and why.
    pub fn lack(&self, limits: &Limits) -> Option<(&'static str, String)> {
        self.controllers.lack(limits).map(|what| (what, self.without.clone()))
    }

    /// Makes the group of one life of an actor. With the descriptor in which its process says that it enters.
    ///
    /// # Errors
    /// When the kernel refuses it, or a limit of it. There is no group then.
    pub fn group(&self, life: &str, limits: &Limits) -> io::Result<(Group, OwnedFd)> {
        let path = self.path.join(rules::name_of_life(life));
        let failed = |what: &Path, error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("failed to make its control group: {}: {error}", what.display()),
            )
        };
        std::fs::create_dir(&path).map_err(|error| failed(&path, error))?;
        // From here on it is removed where it is not used.
        let group = Group { mark: mark(&path), path };
        for setting in rules::settings(limits, self.controllers) {
            let file = group.path.join(setting.file);
            match write(&file, &setting.value) {
                Err(error) if error.kind() == ErrorKind::NotFound && setting.is_optional => {}
                written => written.map_err(|error| failed(&file, error))?,
            }
        }
        let door = group.path.join("cgroup.procs");
        let door = File::options().write(true).open(&door).map_err(|error| failed(&door, error))?;
        Ok((group, door.into()))
    }

    /// The system has ended: kills whatever is left in its groups and removes them, within a second.
    pub fn finish(&self) {
        if let Err(error) = remove_soon(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the control groups of this system are still there");
        }
    }
}

/// One life of an actor, with all that it has started.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// How the path ends, which names no other group on this machine.
    mark: String,
}

impl Group {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills all that is in it. The kernel needs a moment for that.
    ///
    /// # Errors
    /// As the kernel.
    pub fn kill(&self) -> io::Result<()> {
        kill(&self.path)
    }

    /// Removes it, if all that was in it is dead; else kills that again. Whether it is gone.
    ///
    /// # Errors
    /// As the kernel.
    pub fn remove(&self) -> io::Result<bool> {
        remove(&self.path)
    }

    /// Whether the kernel has killed something in it because its memory was used up.
    pub fn has_run_out_of_memory(&self) -> bool {
        // Without the controller there is no such file.
        let events = std::fs::read_to_string(self.path.join("memory.events"));
        events.is_ok_and(|events| rules::killed_for_memory(&events) > 0)
    }

    /// Whether a process is in it, also one that is dead and not reaped, and then also where the group is gone.
    pub fn holds(&self, pid: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|cgroup| rules::is_within(&cgroup, &self.mark))
    }
}

impl Drop for Group {
    /// One that nobody has entered is gone with its last owner. Any other was removed, or is with its system.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The calling process enters the group that this descriptor belongs to, with all its threads.
///
/// # Errors
/// As the kernel: `EACCES` where it may not leave the group that it is in.
pub fn enter(door: OwnedFd) -> io::Result<()> {
    File::from(door).write_all(b"0")
}

/// Kills all that is in a group of a dead program, or below it, and removes it, within a second.
///
/// # Errors
/// As the kernel, and `TimedOut` if something in it does not die.
pub fn remove_soon(path: &Path) -> io::Result<()> {
    let began = Instant::now();
    while !remove(path)? {
        if began.elapsed() > LIMIT {
            return Err(io::Error::new(ErrorKind::TimedOut, "what was killed in it is not dead yet"));
        }
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

/// The directory of the group in which this process is, or below which it has put itself.
fn own_directory() -> Result<PathBuf, CgroupError> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(refused("read", Path::new(path)));
    let (cgroup, mountinfo) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let own = rules::place(&cgroup).and_then(|place| rules::directory(&mountinfo, place));
    own.map(|own| rules::outside_own_leaf(&own).to_owned()).ok_or(CgroupError::NoHierarchy)
}

/// A process is moved by whoever may write the group that holds both its old place and its new one.
fn check_that_processes_may_move(directory: &Path) -> Result<(), CgroupError> {
    // Where this process is cannot be seen: then the first actor sees whether it may move.
    let Ok(own) = own_directory() else { return Ok(()) };
    let door = rules::common(&own, directory).join("cgroup.procs");
    if !door.exists() {
        return Ok(());
    }
    rustix::fs::access(&door, Access::WRITE_OK)
        .map_err(|error| refused("get leave to move processes by", &door)(error.into()))
}

/// Removes what dead programs have left here.
fn sweep(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(rules::is_of_a_program)) {
        let path = entry.path();
        // Who holds the lock is alive; who cannot be asked is another user's.
        let Ok(_lock) = lock(&path) else { continue };
        if let Err(error) = remove_soon(&path) {
            tracing::warn!(%error, path = %path.display(), "a dead program's control groups are still there");
        }
    }
}

/// Makes the directory of a system, and takes its lock.
fn claim(path: &Path) -> io::Result<File> {
    let began = Instant::now();
    loop {
        let claimed = std::fs::create_dir(path).and_then(|()| lock(path));
        match claimed {
            // A program that starts at this moment has taken it for a dead one's, and is removing it.
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::NotFound, ErrorKind::AlreadyExists]
                    .contains(&error.kind())
                    && path.parent().is_some_and(Path::exists)
                    && began.elapsed() < LIMIT =>
            {
                std::thread::sleep(AGAIN);
            }
            claimed => return claimed,
        }
    }
}

/// # Errors
/// `WouldBlock` if somebody else has it, `NotFound` if it was removed meanwhile.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
    // Between making and locking it, another program may have taken it for a dead one's.
    std::fs::metadata(path)?;
    Ok(file)
}

/// Lets the groups in `path` have the controllers that `directory` has: which, and why there are no more.
fn hand_down(directory: &Path, path: &Path) -> (Controllers, String) {
    let read =
        |path: &Path| std::fs::read_to_string(path).map(|text| Controllers::of(&text)).unwrap_or_default();
    let there = read(&directory.join("cgroup.controllers"));
    let mut reasons = Vec::new();
    if there.names().next().is_some() {
        match make_room(directory) {
            Ok(()) => {
                for name in there.names() {
                    let enable =
                        |path: &Path| write(&path.join("cgroup.subtree_control"), &format!("+{name}"));
                    let enabled = enable(directory).and_then(|()| enable(path));
                    reasons.extend(enabled.err().map(|error| format!("{name} was not enabled: {error}")));
                }
            }
            Err(error) => reasons.push(format!("none was enabled: {error}")),
        }
    }
    let have = read(&path.join("cgroup.subtree_control"));
    let names = |of: Controllers| of.names().collect::<Vec<_>>().join(" ");
    let (has, gives) = (names(there), names(have));
    reasons.insert(0, format!("{} has the controllers [{has}] and gives [{gives}]", directory.display()));
    (have, reasons.join("; "))
}

/// Sees to it that no process is in a group that is to hand controllers down: this one moves into a leaf.
///
/// The kernel would refuse some controllers only, and with the others make every group below one for threads.
fn make_room(directory: &Path) -> io::Result<()> {
    // The root has no type, and may hold whatever it likes.
    if !directory.join("cgroup.type").exists() {
        return Ok(());
    }
    let others = || -> io::Result<Vec<String>> {
        let pids = std::fs::read_to_string(directory.join("cgroup.procs"))?;
        let own = std::process::id().to_string();
        Ok(pids.lines().filter(|pid| *pid != own).map(str::to_owned).collect())
    };
    let others = others()?;
    if !others.is_empty() {
        return Err(io::Error::other(format!("other processes are in it: {}", others.join(" "))));
    }
    if own_directory().is_ok_and(|own| own.canonicalize().is_ok_and(|own| own == directory)) {
        let leaf = directory.join(rules::OWN_LEAF);
        match std::fs::create_dir(&leaf) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        write(&leaf.join("cgroup.procs"), "0")?;
        tracing::info!(leaf = %leaf.display(), "this program has moved out of the control group that it divides");
    }
    Ok(())
}

/// Whether processes may be in a group, and not only threads.
fn check_type(path: &Path) -> Result<(), CgroupError> {
    let attempted = "have processes in the group";
    let kind = std::fs::read_to_string(path.join("cgroup.type")).map_err(refused(attempted, path))?;
    match kind.trim() {
        "domain" => Ok(()),
        other => Err(refused(attempted, path)(io::Error::other(format!("its type is {other}")))),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    // Not made where it is not there.
    File::options().write(true).open(file)?.write_all(text.as_bytes())
}

/// Parent and name: what a group's place ends with, wherever the hierarchy is mounted.
fn mark(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("/{}/{}", path.parent().map(name).unwrap_or_default(), name(path))
}

/// Kills all that is in a group or below it.
///
/// # Errors
/// As the kernel.
pub fn kill(path: &Path) -> io::Result<()> {
    match write(&path.join("cgroup.kill"), "1") {
        // Kernels before 5.14 have no such file; or the group has gone, and nobody is found.
        Err(error) if is_gone(&error) => kill_each(path),
        killed => killed,
    }
}

/// Without the kernel's help: nothing in it runs any more, so nothing new is made, and each is killed.
fn kill_each(path: &Path) -> io::Result<()> {
    match write(&path.join("cgroup.freeze"), "1") {
        // Gone, with all that was in it; or a kernel before 5.2, where the next look finds what was missed.
        Err(error) if is_gone(&error) => {}
        frozen => frozen?,
    }
    let mark = mark(path);
    for group in groups_below(path)? {
        // A group that has gone meanwhile had nobody in it.
        let Ok(pids) = std::fs::read_to_string(group.join("cgroup.procs")) else { continue };
        for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // The descriptor cannot mean another process; the number could have by now.
            let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
            if cgroup.is_ok_and(|cgroup| rules::is_within(&cgroup, &mark)) {
                match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
                    Err(rustix::io::Errno::SRCH) => {}
                    killed => killed?,
                }
            }
        }
    }
    Ok(())
}

/// Removes a group and all below it if nobody in them is alive, and kills them otherwise. Whether it is gone.
fn remove(path: &Path) -> io::Result<bool> {
    let events = match std::fs::read_to_string(path.join("cgroup.events")) {
        Err(error) if is_gone(&error) => return Ok(true),
        events => events?,
    };
    if rules::is_populated(&events) {
        return kill(path).map(|()| false);
    }
    for group in groups_below(path)?.iter().rev() {
        match std::fs::remove_dir(group) {
            // Somebody has entered it, or made another in it: the next look sees that.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(false),
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

/// The group is not there any more, or went while its file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// A group and those below it, each before what is in it.
fn groups_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(group) = all.get(next).filter(|_| all.len() < MOST) {
        match std::fs::read_dir(group) {
            Ok(entries) => {
                let groups =
                    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                let groups: Vec<_> = groups.map(|entry| entry.path()).collect();
                all.extend(groups);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        next += 1;
    }
    Ok(all)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
