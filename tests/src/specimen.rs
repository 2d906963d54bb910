//! An actor that misbehaves on demand, in every way that a process can.

// The faults themselves: this crate exists to commit them.
#![allow(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;

use watertight::prelude::*;

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
    Loop,
    Deadlock,
    StopSelf,
    KillSelf,
    /// Handles the message and dies as soon as the reply is out.
    ReplyThenExit,
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
        Fault::Loop => loop {
            std::hint::spin_loop();
        },
        Fault::Deadlock => {
            let lock = std::sync::Mutex::new(());
            let first = lock.lock();
            let second = lock.lock();
            drop((first, second));
        }
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
    journal: Option<std::fs::File>,
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

impl Actor for Specimen {
    type Args = Setup;
    type Messages = (Add, Number, Commit, KillUntil, Pid, Environment);

    async fn start(setup: Setup, cx: &mut Context<Self>) -> Result<Self> {
        if let Some((from, fault)) = setup.fault_in_start
            && cx.incarnation().0 >= from
        {
            commit(fault);
        }
        let journal = match setup.journal {
            Some(path) => {
                Some(std::fs::OpenOptions::new().create(true).append(true).open(PathBuf::from(path))?)
            }
            None => None,
        };
        Ok(Specimen { total: 0, journal })
    }
}

impl Handler<Add> for Specimen {
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Result<i64> {
        self.total += n;
        Ok(self.total)
    }
}

impl Handler<Number> for Specimen {
    async fn handle(&mut self, Number { sender, number }: Number, cx: &mut Context<Self>) -> Result<u64> {
        if let Some(journal) = &mut self.journal {
            // One write, so that lines of a killed process are whole or absent.
            journal.write_all(format!("{sender} {number} {}\n", cx.incarnation()).as_bytes())?;
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
