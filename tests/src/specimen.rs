//! An actor that misbehaves on demand, in every way that a process can.

// The faults themselves: this crate exists to commit them.
#![allow(unsafe_code)]

use watertight::ActorId;
use watertight::prelude::*;
use watertight::testing::history::Journal;

/// Ways to misbehave.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Panic,
    PanicInTask,
    PanicInThread,
    Abort,
    Segfault,
    StackOverflow,
    IllegalInstruction,
    Exit(i32),
    OutOfMemory,
    /// Panics, and does not come to its end.
    PanicForEver,
    Loop,
    Deadlock,
    StopSelf,
    KillSelf,
    /// Handles the message and dies as soon as the reply is out.
    ReplyThenExit,
    /// Reads from a pipe into which nobody writes.
    BlockedRead,
    /// Sleeps, and the event loop with it.
    Sleep,
    /// Closes every descriptor that it has but the standard ones.
    CloseDescriptors,
    /// Loops, deaf to the signal that asks for its stack.
    LoopUnseen,
    /// Loops, after having made sure that the control thread does nothing any more either.
    LoopUnheard,
}

/// Commits `fault`. Most never return.
pub fn commit(fault: Fault) {
    match fault {
        Fault::Panic => panic!("told to panic"),
        Fault::PanicInTask => {
            tokio::spawn(async { panic!("told to panic in a task") });
        }
        Fault::PanicInThread => {
            let _ = std::thread::spawn(|| panic!("told to panic in a thread")).join();
        }
        Fault::Abort => std::process::abort(),
        // SAFETY: not safe at all; that is the fault.
        Fault::Segfault => unsafe { std::ptr::null_mut::<u64>().write_volatile(7) },
        Fault::StackOverflow => {
            std::hint::black_box(dig(0));
        }
        // SAFETY: raises the signal that an illegal instruction raises, at a place the compiler cannot move.
        Fault::IllegalInstruction => unsafe {
            libc::raise(libc::SIGILL);
        },
        Fault::Exit(code) => std::process::exit(code),
        Fault::OutOfMemory => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
            }
        }
        Fault::PanicForEver => {
            extern "C" fn handler(_: libc::c_int) {
                loops_for_ever();
            }
            // SAFETY: a handler that never returns keeps the process from aborting; that is the fault.
            unsafe { libc::signal(libc::SIGABRT, handler as *const () as usize) };
            panic!("told to panic for ever");
        }
        Fault::Loop => loops_for_ever(),
        Fault::Deadlock => locks_itself_out(),
        // SAFETY: raising a signal in the own process touches no memory.
        Fault::StopSelf => unsafe {
            libc::raise(libc::SIGSTOP);
        },
        // SAFETY: as above.
        Fault::KillSelf => unsafe {
            libc::raise(libc::SIGKILL);
        },
        Fault::ReplyThenExit => {
            std::thread::spawn(|| std::process::exit(0));
        }
        Fault::BlockedRead => reads_what_never_comes(),
        Fault::Sleep => sleeps_for_ever(),
        // SAFETY: not safe at all: the runtime's own are among them; that is the fault.
        Fault::CloseDescriptors => unsafe {
            libc::close_range(3, libc::c_uint::MAX, 0);
        },
        Fault::LoopUnseen => {
            // SAFETY: a zeroed set is a valid one; the calls write to it and block a signal for this thread.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&raw mut set, libc::SIGURG);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            }
            loops_for_ever();
        }
        Fault::LoopUnheard => {
            occupy_the_control_thread();
            loops_for_ever();
        }
    }
}

// Functions of their own, and never inlined, so that a stack can name them.

#[inline(never)]
fn loops_for_ever() {
    loop {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn locks_itself_out() {
    let lock = std::sync::Mutex::new(());
    let first = lock.lock();
    let second = lock.lock();
    drop((first, second));
}

#[inline(never)]
fn reads_what_never_comes() {
    use std::io::Read;
    let Ok((mut reader, writer)) = std::io::pipe() else { return };
    // Whatever comes of it is not what was asked for.
    let _ = reader.read(&mut [0]);
    drop(writer);
}

#[inline(never)]
fn sleeps_for_ever() {
    std::thread::sleep(std::time::Duration::MAX);
    // Else the call above is the last thing it does, and need not come back to it.
    std::hint::black_box(());
}

/// Leaves the control thread in a signal handler that never returns.
fn occupy_the_control_thread() {
    extern "C" fn wait_for_ever(_: i32) {
        loop {
            std::thread::park();
        }
    }
    let handler: extern "C" fn(i32) = wait_for_ever;
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if let ("control", Ok(number)) = (name.trim(), thread.file_name().to_string_lossy().parse::<i32>()) {
            // SAFETY: a handler that never returns breaks what it interrupts; that is the fault.
            unsafe {
                libc::signal(libc::SIGUSR2, handler as *const () as usize);
                libc::syscall(libc::SYS_tgkill, libc::getpid(), number, libc::SIGUSR2);
            }
        }
    }
}

#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 512]);
    dig(depth + 1) + pad[7]
}

/// Adds numbers up, and misbehaves when told to. Writes a line to its journal for everything it handles.
pub struct Specimen {
    total: i64,
    journal: Option<Journal>,
}

/// What a specimen is started with.
#[data]
#[derive(Clone, Default)]
pub struct Setup {
    /// Where it appends a line per message.
    pub journal: Option<String>,
    /// Commits this fault in `start` from this incarnation on.
    pub fault_in_start: Option<(u32, Fault)>,
}

#[message(reply = i64)]
pub struct Add(pub i64);

/// A number from a sender, for the journal.
#[message(reply = u64)]
pub struct Number {
    pub sender: u32,
    pub number: u64,
}

#[message]
pub struct Commit(pub Fault);

/// May be handled more than once: kills every incarnation in which the attempt is below the number.
#[message(reply = u8, idempotent)]
pub struct KillUntil(pub u8);

#[message(reply = u32)]
pub struct Pid;

#[message(reply = Vec<String>)]
pub struct Environment;

/// What its descriptors lead to.
#[message(reply = Vec<String>)]
pub struct OpenFiles;

/// Starts a process of its own, in its group, that would live for an hour; its number.
#[message(reply = u32)]
pub struct Grandchild;

/// Keeps its thread busy until this file exists.
#[message]
pub struct Hold(pub String);

/// Sends its reply, lets it leave, and then crashes with the message still in hand.
#[message(reply = u32)]
pub struct ReplyThenCrash;

/// Answers after so many milliseconds.
#[message(reply = ())]
pub struct Slowly(pub u64);

/// Asks that actor to tell this one a number and to ask it something, and says how that ended; then commits the fault.
#[message(reply = String)]
pub struct AskBack(pub Option<Address<Specimen>>, pub Option<Fault>);

/// Writes these bytes to its sockets: the first one, which is its control link, or all others.
#[message]
pub struct Garbage {
    pub control: bool,
    pub bytes: Vec<u8>,
}

/// Something large.
#[message(reply = u64)]
pub struct Bytes(pub Vec<u8>);

/// Tells another specimen a number.
#[message]
pub struct Relay(pub Address<Specimen>, pub u64);

impl Actor for Specimen {
    type Args = Setup;
    type Messages = (
        Add,
        Number,
        Commit,
        KillUntil,
        Pid,
        Environment,
        OpenFiles,
        Grandchild,
        Hold,
        ReplyThenCrash,
        Slowly,
        AskBack,
        Garbage,
        Relay,
        Bytes,
        Work,
    );

    async fn start(setup: Setup, cx: &mut Context<Self>) -> Result<Self> {
        if let Some((from, fault)) = setup.fault_in_start
            && cx.incarnation().0 >= from
        {
            commit(fault);
        }
        let journal = match setup.journal {
            Some(path) => Some(Journal::open(path)?),
            None => None,
        };
        Ok(Specimen { total: 0, journal })
    }
}

impl Handler<Add> for Specimen {
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Result<i64> {
        self.total += n;
        watertight::fault::point("counted");
        Ok(self.total)
    }
}

impl Handler<Number> for Specimen {
    async fn handle(&mut self, Number { sender, number }: Number, cx: &mut Context<Self>) -> Result<u64> {
        if let Some(journal) = &mut self.journal {
            journal.note(sender, number, cx.incarnation().0)?;
        }
        Ok(number)
    }
}

impl Handler<Commit> for Specimen {
    async fn handle(&mut self, Commit(fault): Commit, _: &mut Context<Self>) -> Result<()> {
        commit(fault);
        // A panicking task has its turn before this message counts as handled.
        if fault == Fault::PanicInTask {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Handler<KillUntil> for Specimen {
    async fn handle(&mut self, KillUntil(attempt): KillUntil, cx: &mut Context<Self>) -> Result<u8> {
        if cx.attempt() < attempt {
            commit(Fault::KillSelf);
        }
        Ok(cx.attempt())
    }
}

impl Handler<Pid> for Specimen {
    async fn handle(&mut self, _: Pid, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

impl Handler<Environment> for Specimen {
    async fn handle(&mut self, _: Environment, _: &mut Context<Self>) -> Result<Vec<String>> {
        Ok(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect())
    }
}

impl Handler<OpenFiles> for Specimen {
    async fn handle(&mut self, _: OpenFiles, _: &mut Context<Self>) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            // The directory's own descriptor is gone by the time it is looked at.
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let name = target.display().to_string();
            files.push(name.split(':').next().unwrap_or_default().to_owned());
        }
        files.sort();
        Ok(files)
    }
}

impl Handler<Grandchild> for Specimen {
    async fn handle(&mut self, _: Grandchild, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::Command::new("sleep").arg("3600").spawn()?.id())
    }
}

impl Handler<Hold> for Specimen {
    async fn handle(&mut self, Hold(path): Hold, cx: &mut Context<Self>) -> Result<()> {
        while !std::path::Path::new(&path).exists() {
            cx.progress();
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Handler<ReplyThenCrash> for Specimen {
    async fn handle(&mut self, _: ReplyThenCrash, cx: &mut Context<Self>) -> Result<u32> {
        let _: Result<u32> = cx.defer(|reply| reply.send(7));
        // The reply leaves while this is suspended.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        commit(Fault::Segfault);
        Ok(0)
    }
}

impl Handler<Slowly> for Specimen {
    async fn handle(&mut self, Slowly(milliseconds): Slowly, _: &mut Context<Self>) -> Result<()> {
        tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
        Ok(())
    }
}

impl Handler<AskBack> for Specimen {
    async fn handle(&mut self, AskBack(other, fault): AskBack, cx: &mut Context<Self>) -> Result<String> {
        let Some(other) = other else { return Ok("asked".into()) };
        let back = cx.address();
        if cx.sender() == ActorId::PROGRAM {
            // Asks the other to ask this one, which waits here.
            let said = format!("{:?}", other.ask(AskBack(Some(back), None)).await);
            if let Some(fault) = fault {
                commit(fault);
            }
            return Ok(said);
        }
        other.tell(Number { sender: 7, number: 1 }).await?;
        Ok(other.ask(AskBack(None, None)).await?)
    }
}

impl Handler<Garbage> for Specimen {
    async fn handle(&mut self, Garbage { control, bytes }: Garbage, _: &mut Context<Self>) -> Result<()> {
        let mut sockets = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let is_socket = std::fs::read_link(entry.path())
                .is_ok_and(|target| target.display().to_string().starts_with("socket:"));
            if let (true, Ok(number)) = (is_socket, entry.file_name().to_string_lossy().parse::<i32>()) {
                sockets.push(number);
            }
        }
        sockets.sort_unstable();
        let chosen = if control { &sockets[..1] } else { &sockets[1..] };
        for &socket in chosen {
            // SAFETY: writes bytes to a socket of this process, which is the fault.
            unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        }
        // It is ended for it, here.
        std::future::pending().await
    }
}

impl Handler<Relay> for Specimen {
    async fn handle(&mut self, Relay(to, number): Relay, _: &mut Context<Self>) -> Result<()> {
        to.tell(Number { sender: 99, number }).await.map_err(Error::from)
    }
}

impl Handler<Bytes> for Specimen {
    async fn handle(&mut self, Bytes(bytes): Bytes, _: &mut Context<Self>) -> Result<u64> {
        Ok(bytes.len() as u64)
    }
}

/// Keeps its thread busy for so many microseconds.
#[message]
pub struct Work(pub u64);

impl Handler<Work> for Specimen {
    async fn handle(&mut self, Work(microseconds): Work, _: &mut Context<Self>) -> Result<()> {
        let end = std::time::Instant::now() + std::time::Duration::from_micros(microseconds);
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    }
}
