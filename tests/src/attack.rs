//! An actor that attacks: others of its user, the supervisor, and the machine around it.

// The attacks themselves: this crate exists to commit them.
#![allow(unsafe_code)]

use std::io::{Error as Failed, Read, Seek, SeekFrom};
use std::os::unix::net::UnixStream;

use watertight::prelude::*;

/// What a victim holds in its memory; known beforehand, so that a read can be told from a guess.
pub const CANARY: [u8; 16] = *b"canary in memory";
/// Begins the name of a variable in a victim's environment.
pub const VARIABLE: &str = "WATERTIGHT_TEST_CANARY";

/// Where the canary stands in this process.
pub fn canary() -> u64 {
    static HELD: std::sync::OnceLock<Box<[u8; 16]>> = std::sync::OnceLock::new();
    let held = HELD.get_or_init(|| Box::new(CANARY));
    std::ptr::from_ref::<[u8; 16]>(held) as u64
}

/// Whom an attack is for.
#[data]
#[derive(Clone, Debug)]
pub struct Target {
    pub pid: u32,
    /// The address of its canary.
    pub canary: u64,
    /// The path of the system's socket.
    pub socket: String,
    /// A private file of the user, and a directory in which it may write.
    pub secret: String,
    pub folder: String,
}

/// What is tried.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    Kill,
    SignalByDescriptor,
    ReadMemory,
    ReadMemoryFile,
    StealDescriptor,
    ReadEnvironment,
    ListDescriptors,
    Trace,
    ChangeLimits,
    ConnectToNode,
    OpenSocket,
    StartProgram,
    LeaveGroup,
    ReadSecret,
    WriteFile,
}

impl Attack {
    /// Those that are for another process.
    pub const ON_OTHERS: [Attack; 9] = [
        Attack::Kill,
        Attack::SignalByDescriptor,
        Attack::ReadMemory,
        Attack::ReadMemoryFile,
        Attack::StealDescriptor,
        Attack::ReadEnvironment,
        Attack::ListDescriptors,
        Attack::Trace,
        Attack::ChangeLimits,
    ];
    /// Those that are for the machine.
    pub const ON_MACHINE: [Attack; 6] = [
        Attack::ConnectToNode,
        Attack::OpenSocket,
        Attack::StartProgram,
        Attack::LeaveGroup,
        Attack::ReadSecret,
        Attack::WriteFile,
    ];

    /// As in `docs/security.md`.
    pub fn words(self) -> &'static str {
        match self {
            Attack::Kill => "send it a signal",
            Attack::SignalByDescriptor => "send it a signal by a descriptor's owner",
            Attack::ReadMemory => "read its memory (`process_vm_readv`)",
            Attack::ReadMemoryFile => "read its memory (`/proc/PID/mem`)",
            Attack::StealDescriptor => "take a descriptor (`pidfd_getfd`)",
            Attack::ReadEnvironment => "read its environment (`/proc/PID/environ`)",
            Attack::ListDescriptors => "see where its descriptors lead (`/proc/PID/fd`)",
            Attack::Trace => "trace it (`ptrace`)",
            Attack::ChangeLimits => "change its limits (`prlimit`)",
            Attack::ConnectToNode => "connect to the system's socket",
            Attack::OpenSocket => "open a network socket",
            Attack::StartProgram => "start a program",
            Attack::LeaveGroup => "leave a process behind, in a session of its own",
            Attack::ReadSecret => "read the user's files",
            Attack::WriteFile => "write the user's files",
        }
    }
}

/// Attacks what it is told to.
pub struct Attacker;

/// Tries it; `Ok(())` if it has succeeded, or the name of the error that stopped it.
#[message(reply = std::result::Result<(), String>)]
pub struct Try(pub Attack, pub Target);

/// Starts an attacker of its own, by the supervisor and without a sandbox, that tries it.
#[message(reply = std::result::Result<(), String>)]
pub struct TryByChild(pub Attack, pub Target);

/// Its number, and where its canary is.
#[message(reply = (u32, u64))]
pub struct Whereabouts;

/// Does this many times what any program does, to see that it still can: memory, threads, time, pipes.
#[message(reply = String)]
pub struct OrdinaryWork;

impl Actor for Attacker {
    type Args = ();
    type Messages = (Try, TryByChild, Whereabouts, OrdinaryWork);
    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Attacker)
    }
}

impl Handler<Try> for Attacker {
    async fn handle(
        &mut self,
        Try(attack, target): Try,
        _: &mut Context<Self>,
    ) -> Result<std::result::Result<(), String>> {
        Ok(commit(attack, &target).map_err(|error| match error.raw_os_error() {
            Some(number) => errno_name(number),
            None => error.to_string(),
        }))
    }
}

impl Handler<TryByChild> for Attacker {
    async fn handle(
        &mut self,
        TryByChild(attack, target): TryByChild,
        cx: &mut Context<Self>,
    ) -> Result<std::result::Result<(), String>> {
        let spec = Spec::<Attacker>::new(()).environment([format!("{VARIABLE}*")]);
        let child = cx.spawn_with(spec).await?;
        Ok(child.ask(Try(attack, target)).await?)
    }
}

impl Handler<Whereabouts> for Attacker {
    async fn handle(&mut self, _: Whereabouts, _: &mut Context<Self>) -> Result<(u32, u64)> {
        Ok((std::process::id(), canary()))
    }
}

impl Handler<OrdinaryWork> for Attacker {
    async fn handle(&mut self, _: OrdinaryWork, _: &mut Context<Self>) -> Result<String> {
        use std::io::Write;
        let sums: Vec<u64> = (0..4_u64)
            .map(|n| std::thread::spawn(move || (0..1000).sum::<u64>() + n))
            .map(|thread| thread.join().map_err(|_| Error::new("a thread panicked")))
            .collect::<Result<_>>()?;
        let blocking = tokio::task::spawn_blocking(|| vec![1_u8; 8 << 20].len());
        let size = blocking.await.map_err(|error| Error::new(error.to_string()))?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let (mut reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"through a pipe")?;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let blob = Blob::from_bytes(&vec![7; 100_000])?;
        println!("printed");
        Ok(format!("{} {size} {text} {}", sums.len(), blob.len()))
    }
}

fn check(result: impl Into<i64>) -> Result<i64, Failed> {
    let result = result.into();
    if result < 0 { Err(Failed::last_os_error()) } else { Ok(result) }
}

fn commit(attack: Attack, target: &Target) -> Result<(), Failed> {
    let pid = i32::try_from(target.pid).map_err(Failed::other)?;
    let no = std::ptr::null_mut::<libc::c_void>();
    match attack {
        // SAFETY: a signal that is ignored unless somebody listens.
        Attack::Kill => check(unsafe { libc::kill(pid, libc::SIGWINCH) }).map(drop),
        Attack::SignalByDescriptor => signal_by_descriptor(pid),
        Attack::ReadMemory => {
            let mut found = [0_u8; 16];
            let ours = libc::iovec { iov_base: found.as_mut_ptr().cast(), iov_len: 16 };
            let theirs = libc::iovec { iov_base: target.canary as *mut libc::c_void, iov_len: 16 };
            // SAFETY: it writes to the array that it is given; the other address is another process's.
            check(unsafe { libc::process_vm_readv(pid, &ours, 1, &theirs, 1, 0) } as i64)?;
            is_canary(found)
        }
        Attack::ReadMemoryFile => {
            let mut memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
            memory.seek(SeekFrom::Start(target.canary))?;
            let mut found = [0_u8; 16];
            memory.read_exact(&mut found)?;
            is_canary(found)
        }
        // SAFETY: numbers in, a number out.
        Attack::StealDescriptor => unsafe {
            let process = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
            check(libc::syscall(libc::SYS_pidfd_getfd, process, 0, 0)).map(drop)
        },
        Attack::ReadEnvironment => {
            let found = std::fs::read(format!("/proc/{pid}/environ"))?;
            let found = String::from_utf8_lossy(&found).contains(VARIABLE);
            if found { Ok(()) } else { Err(Failed::other("no canary in its environment")) }
        }
        Attack::ListDescriptors => std::fs::read_link(format!("/proc/{pid}/fd/0")).map(drop),
        // SAFETY: it touches no memory of this process.
        Attack::Trace => check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, no, no) }).map(drop),
        Attack::ChangeLimits => {
            let mut found = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: one structure to fill.
            check(unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, std::ptr::null(), &mut found) })?;
            // SAFETY: what it was before.
            check(unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, &found, std::ptr::null_mut()) }).map(drop)
        }
        Attack::ConnectToNode => UnixStream::connect(&target.socket).map(drop),
        Attack::OpenSocket => std::net::UdpSocket::bind("127.0.0.1:0").map(drop),
        Attack::StartProgram => std::process::Command::new("/bin/true").status().map(drop),
        Attack::LeaveGroup => leave_group(),
        Attack::ReadSecret => std::fs::read(&target.secret).map(drop),
        Attack::WriteFile => std::fs::write(format!("{}/written", target.folder), "by an attacker"),
    }
}

fn is_canary(found: [u8; 16]) -> Result<(), Failed> {
    if found == CANARY { Ok(()) } else { Err(Failed::other("something else was read")) }
}

fn signal_by_descriptor(pid: i32) -> Result<(), Failed> {
    let (reader, writer) = std::io::pipe()?;
    let reader = std::os::fd::AsRawFd::as_raw_fd(&reader);
    // SAFETY: numbers in, a number out; the kernel decides about the signal when there is something to read, so all
    // that this shows is whether it may be asked for.
    unsafe {
        check(libc::fcntl(reader, libc::F_SETOWN, pid))?;
        check(libc::fcntl(reader, 10, libc::SIGWINCH))?; // F_SETSIG
        check(libc::fcntl(reader, libc::F_SETFL, libc::O_ASYNC))?;
    }
    drop(writer);
    Ok(())
}

fn leave_group() -> Result<(), Failed> {
    // SAFETY: the new process does nothing but make a session and end.
    unsafe {
        let child = check(libc::fork())?;
        if child == 0 {
            libc::_exit(i32::from(libc::setsid() < 0));
        }
        let mut status = 0;
        check(libc::waitpid(i32::try_from(child).unwrap_or(-1), &mut status, 0))?;
        if status == 0 { Ok(()) } else { Err(Failed::other("it could not leave")) }
    }
}

/// The names of the errors that attacks meet.
pub fn errno_name(number: i32) -> String {
    match number {
        libc::EPERM => "EPERM".into(),
        libc::EACCES => "EACCES".into(),
        libc::ENOSYS => "ENOSYS".into(),
        libc::ENOENT => "ENOENT".into(),
        libc::EIO => "EIO".into(),
        other => format!("error {other}"),
    }
}
