//! What an actor's process does to itself before anything else, while it still has a single thread.
//!
//! In this order: [`is_marked`] says that it is one, [`take_control`] brings its link to safety, [`die_with_parent`]
//! ties its life to the supervisor's, and [`harden`] gives up what it does not need. All of it happens in the child
//! and not between fork and exec, because that would force the supervisor to fork.
#![allow(unsafe_code)] // `_exit`, which the safe libraries do not offer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

/// How the name under which a process was started (its `argv[0]`) begins when it is an actor's, up to its end or a colon.
///
/// A name and not a variable: variables would be inherited by what the actor starts in turn.
pub const MARK: &str = "watertight-actor";

/// Whether this process was started to be an actor's.
pub fn is_marked() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    name.as_bytes()
        .strip_prefix(MARK.as_bytes())
        .is_some_and(|rest| matches!(rest.first(), None | Some(b':')))
}

/// Takes the control link, with which the process was started as its standard input.
///
/// It moves to a descriptor that nothing which this process starts can inherit, and `/dev/null` takes its place.
/// Otherwise a grandchild would hold the link open after its parent's death.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] when standard input is no Unix stream socket: nobody started this process as an
/// actor's. Other kinds when descriptors have run out or there is no `/dev/null`.
pub fn take_control() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    let stdin = stdin.as_fd();
    let is_link = || -> Result<bool, Errno> {
        Ok(sockopt::socket_domain(stdin)? == AddressFamily::UNIX
            && sockopt::socket_type(stdin)? == SocketType::STREAM)
    };
    match is_link() {
        Ok(true) => {}
        Ok(false) | Err(Errno::NOTSOCK | Errno::BADF) => {
            let message =
                "standard input is not a control link: an actor's process is started by its supervisor only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Err(error) => return Err(error.into()),
    }
    let control = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(control)
}

/// Asks the kernel to kill this process when its supervisor dies.
///
/// More exactly: when the supervisor's thread that spawned it ends. `expected_parent` is the supervisor's process id;
/// it is compared afterwards, since one that died before the call cannot be noticed by it.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] when the supervisor is gone already.
pub fn die_with_parent(expected_parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
    if parent == Some(expected_parent) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "the supervisor is gone"))
    }
}

/// How much of the machine an actor's process may take; nothing is limited by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most private memory, in bytes; a process that asks for more aborts.
    ///
    /// It counts what can be written (heap, stacks of threads, private mappings), used or not, by `RLIMIT_DATA`. What
    /// the allocator only reserves does not count, nor do files and blobs that are mapped to be shared. `RLIMIT_AS`
    /// counts all of these too, and the allocator alone reserves 64 MiB for each thread.
    pub memory: Option<u64>,
    /// The highest number of open descriptors; a runtime takes about ten.
    pub descriptors: Option<u64>,
    /// The most processor time, in seconds, over its whole life; then it gets SIGXCPU, and a second later SIGKILL.
    pub cpu_seconds: Option<u64>,
    /// The largest file that it may make, in bytes; one that would be larger gets it SIGXFSZ. Blobs are files.
    pub file_size: Option<u64>,
    /// It starts no processes: a filter of system calls refuses it, because `RLIMIT_NPROC` counts all processes of a user
    /// together, and none of root's.
    pub no_processes: bool,
    /// The most processes and threads of it and all that it starts, together; a control group keeps it.
    pub processes: Option<u64>,
    /// How much of a processor it and all that it starts get, in hundredths; a control group keeps it.
    pub cpu_share: Option<u32>,
}

/// Gives up what an actor does not need: new privileges, core dumps, being read by others, and more than `limits`.
///
/// None of it can be taken back by the process. It must have a single thread: not gaining privileges concerns only the
/// calling thread and those that it starts. Limits above those of the supervisor have no effect.
///
/// Not dumpable means that no core file is written, also not by a collector, and that no process of the same
/// user reads its memory; debuggers therefore need privileges too.
///
/// # Errors
///
/// When the kernel refuses, which it does not unless a sandbox makes it.
pub fn harden(limits: &Limits) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    hide()?;
    limit(Resource::Core, 0)?;
    let limited = [
        (Resource::Data, limits.memory),
        (Resource::Nofile, limits.descriptors),
        (Resource::Fsize, limits.file_size),
    ];
    for (resource, most) in limited {
        if let Some(most) = most {
            limit(resource, most)?;
        }
    }
    if let Some(seconds) = limits.cpu_seconds {
        limit(Resource::Cpu, seconds.saturating_add(1))?;
        // At the hard limit the kernel only kills; a second below it says why.
        let hard = rustix::process::getrlimit(Resource::Cpu).maximum;
        rustix::process::setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: hard })?;
    }
    Ok(())
}

/// No process of the same user reads this one's memory, nor does the kernel write it to a core file.
///
/// # Errors
///
/// As above.
pub fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Lowers a limit for good; the hard limit is never raised, which only a privileged process may.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let most = Some(hard.map_or(most, |hard| hard.min(most)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Ends the process at once, with all its threads: nothing is dropped, flushed or allocated.
///
/// For when the control link has ended, whatever the other threads are doing and whichever locks they hold.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it only ends the process. Nothing runs afterwards that could find anything half done.
    unsafe { libc::_exit(code) }
}

/// The same, with everything in this process's group: what an actor has started and not sent away.
///
/// For when the supervisor is gone and cannot do it.
pub fn exit_with_group(code: i32) -> ! {
    // Only of a group that it leads, which an actor does, and so nobody else's.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        // It ends this process too. In a sandbox it is refused, and there is nobody else.
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    exit_now(code)
}

/// How many threads this process has; 1 means that the caller is the only one.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn thread_count() -> io::Result<usize> {
    let mut count = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        thread?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Output, Stdio};
    use std::sync::{Arc, Barrier, mpsc};
    use std::time::Duration;

    use super::*;

    const ROLE: &str = "WATERTIGHT_TEST_CHILD_ROLE";
    /// For what takes milliseconds.
    const WATCHDOG: Duration = Duration::from_secs(30);

    /// This test executable once more, to do nothing but play a role below.
    fn child(role: &str) -> Command {
        let path = module_path!().split_once("::").unwrap().1;
        let mut command = Command::new("/proc/self/exe");
        command.args([&format!("{path}::plays_its_role"), "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).stdin(Stdio::null());
        command
    }

    fn printed(output: &Output) -> String {
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn plays_its_role() {
        let Ok(role) = std::env::var(ROLE) else { return };
        match role.as_str() {
            "marked" => println!("marked: {}", is_marked()),
            "control" => {
                let mut control = UnixStream::from(take_control().unwrap());
                assert!(control.as_raw_fd() >= 3);
                let flags = rustix::io::fcntl_getfd(&control).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                assert_eq!(std::fs::read_link("/proc/self/fd/0").unwrap().as_os_str(), "/dev/null");
                assert_eq!(take_control().unwrap_err().kind(), io::ErrorKind::InvalidInput);
                control.write_all(b"taken").unwrap();
            }
            "supervisor" => {
                // The spawning thread must outlive its child, so that only the kill below can end this.
                child("orphan").env("PARENT", std::process::id().to_string()).status().unwrap();
            }
            "orphan" => {
                die_with_parent(std::env::var("PARENT").unwrap().parse().unwrap()).unwrap();
                println!("\ntied to its parent");
                std::thread::park_timeout(2 * WATCHDOG);
            }
            "hardened" => {
                let limits = Limits { descriptors: Some(50), ..Limits::default() };
                harden(&limits).unwrap();
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                assert!(status.contains("NoNewPrivs:\t1"), "{status}");
                assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
                for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, 50)] {
                    let now = rustix::process::getrlimit(resource);
                    assert_eq!((now.current, now.maximum), (Some(most), Some(most)));
                }
                harden(&Limits { descriptors: Some(1 << 40), ..limits }).unwrap();
                assert_eq!(rustix::process::getrlimit(Resource::Nofile).maximum, Some(50));
                assert!(thread_count().is_ok(), "it can still look at itself");
                println!("hardened");
            }
            "runaway" => {
                harden(&Limits { memory: Some(32 << 20), descriptors: Some(20), ..Limits::default() })
                    .unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let blocking = (0..4).map(|_| tokio::task::spawn_blocking(|| vec![1_u8; 1 << 20].len()));
                    for task in blocking.collect::<Vec<_>>() {
                        assert_eq!(task.await.unwrap(), 1 << 20);
                    }
                });
                println!("the runtime works");
                let mut hoard = Vec::new();
                for i in 1..=128 {
                    hoard.push(vec![1_u8; 1 << 20]);
                    println!("hoarded {i}");
                }
            }
            "exit" => {
                struct Loud;
                impl Drop for Loud {
                    fn drop(&mut self) {
                        println!("dropped");
                    }
                }
                let _loud = Loud;
                exit_now(42);
            }
            other => panic!("no such role: {other}"),
        }
    }

    #[test]
    fn only_the_name_under_which_it_was_started_marks_an_actor() {
        let marked = |name: &str| {
            let output = child("marked").arg0(name).env("MARK", MARK).output().unwrap();
            printed(&output).contains("marked: true")
        };
        assert!(
            marked("watertight-actor") && marked("watertight-actor:counter.3") && marked("watertight-actor:")
        );
        for other in
            ["watertight-actors", "/bin/watertight-actor", "watertight-acto", "", "watertight-actor3"]
        {
            assert!(!marked(other), "{other}");
        }
    }

    #[test]
    fn the_control_link_is_taken_once_and_nothing_is_left_on_standard_input() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let output = child("control").stdin(OwnedFd::from(theirs)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut received = String::new();
        ours.read_to_string(&mut received).unwrap();
        assert_eq!(received, "taken");
    }

    #[test]
    fn a_process_without_a_control_link_is_refused() {
        let datagrams = std::os::unix::net::UnixDatagram::pair().unwrap().0;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let strangers: [Stdio; 4] =
            [Stdio::piped(), Stdio::null(), OwnedFd::from(datagrams).into(), OwnedFd::from(listener).into()];
        for stranger in strangers {
            let output = child("control").stdin(stranger).output().unwrap();
            assert!(!output.status.success());
            assert!(String::from_utf8_lossy(&output.stderr).contains("is not a control link"), "{output:?}");
        }
    }

    #[test]
    fn a_process_dies_with_the_one_that_started_it() {
        let mut supervisor = child("supervisor").stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(supervisor.stdout.take().unwrap());
        let (lines, seen) = mpsc::channel();
        std::thread::spawn(move || output.lines().try_for_each(|line| lines.send(line.unwrap())));
        while seen.recv_timeout(WATCHDOG).unwrap() != "tied to its parent" {}
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        // The orphan holds the other end of the pipe for as long as it lives.
        while seen
            .recv_timeout(WATCHDOG)
            .map_err(|end| assert_eq!(end, mpsc::RecvTimeoutError::Disconnected))
            .is_ok()
        {}
    }

    #[test]
    fn a_process_whose_supervisor_is_gone_is_told() {
        let output = child("orphan").env("PARENT", "1").output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("the supervisor is gone"), "{output:?}");
    }

    #[test]
    fn a_hardened_process_keeps_to_its_limits() {
        let output = child("hardened").output().unwrap();
        assert!(output.status.success() && printed(&output).contains("hardened"), "{output:?}");
    }

    #[test]
    fn a_runaway_process_is_stopped_but_a_runtime_fits_into_the_same_limit() {
        let output = child("runaway").output().unwrap();
        assert!(printed(&output).contains("the runtime works"), "{output:?}");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        assert!(!output.status.core_dumped());
        assert!(String::from_utf8_lossy(&output.stderr).contains("memory allocation"), "{output:?}");
        let most = printed(&output).lines().filter_map(|it| it.strip_prefix("hoarded ")?.parse().ok()).max();
        assert!((10..32).contains(&most.unwrap_or(0)), "it got {most:?} MiB");
    }

    #[test]
    fn leaving_at_once_drops_nothing() {
        let output = child("exit").output().unwrap();
        assert_eq!(output.status.code(), Some(42));
        assert!(!printed(&output).contains("dropped"));
    }

    #[test]
    fn other_threads_are_counted() {
        let both = Arc::new(Barrier::new(6));
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let both = Arc::clone(&both);
                std::thread::spawn(move || {
                    both.wait();
                    both.wait();
                })
            })
            .collect();
        both.wait();
        assert!(thread_count().unwrap() >= 6);
        both.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
