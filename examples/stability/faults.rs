//! The faults, how each is brought about, and how each must be seen.

// The faults themselves are what no safe program does.
#![allow(unsafe_code)]

use watertight::Exit;
use watertight::prelude::*;
use watertight::report::Hang;

/// What a worker can do to its own process in the middle of a message.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Panic,
    Abort,
    Segfault,
    StackOverflow,
    IllegalInstruction,
    Exit(i32),
    OutOfMemory,
    Loop,
    Deadlock,
    Stop,
    Kill,
}

/// Commits `fault`; returns from none of them.
pub fn commit(fault: Fault) {
    match fault {
        Fault::Panic => panic!("told to panic"),
        Fault::Abort => std::process::abort(),
        // SAFETY: not safe at all; that is the fault.
        Fault::Segfault => unsafe { std::ptr::null_mut::<u64>().write_volatile(7) },
        Fault::StackOverflow => {
            std::hint::black_box(dig(0));
        }
        Fault::IllegalInstruction => illegal_instruction(),
        Fault::Exit(code) => std::process::exit(code),
        Fault::OutOfMemory => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                // Memory counts against the limit when it is given out; writing to it would only take time.
                hoard.push(std::hint::black_box(Vec::with_capacity(1 << 20)));
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
        Fault::Stop => unsafe {
            let _ = libc::raise(libc::SIGSTOP);
        },
        // SAFETY: as above.
        Fault::Kill => unsafe {
            let _ = libc::raise(libc::SIGKILL);
        },
    }
}

#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 512]);
    dig(depth + 1) + pad[7]
}

#[cfg(target_arch = "x86_64")]
fn illegal_instruction() {
    // SAFETY: the processor refuses the instruction; nothing is executed after it.
    unsafe { std::arch::asm!("ud2") }
}

#[cfg(target_arch = "aarch64")]
fn illegal_instruction() {
    // SAFETY: as above.
    unsafe { std::arch::asm!("udf #0") }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn illegal_instruction() {
    // SAFETY: raising a signal in the own process touches no memory.
    unsafe {
        let _ = libc::raise(libc::SIGILL);
    }
}

/// How the victim is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It is asked to commit a fault.
    Asked(Fault),
    /// It is told to.
    Told(Fault),
    /// A message kills every life that handles it.
    Poison,
    /// It is told to abort, and then crashes so many times in its `start`.
    CrashInStart(u32),
    /// It is killed from outside so many times, wherever it is then.
    KillFromOutside(u32),
}

/// One line of the report.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub name: &'static str,
    pub blow: Blow,
    /// How its exits must be seen, each.
    pub seen: fn(&Exit) -> bool,
}

/// Attempts until a poison message is put aside.
pub const ATTEMPTS: u8 = 3;

const fn trial(name: &'static str, blow: Blow, seen: fn(&Exit) -> bool) -> Trial {
    Trial { name, blow, seen }
}

/// All that the victim suffers, in this order.
pub const TRIALS: [Trial; 15] = [
    trial(
        "panic",
        Blow::Asked(Fault::Panic),
        |exit| matches!(exit, Exit::Panicked(m) if m == "told to panic"),
    ),
    trial("abort", Blow::Told(Fault::Abort), |exit| *exit == Exit::Signal(libc::SIGABRT)),
    trial("segfault", Blow::Asked(Fault::Segfault), |exit| *exit == Exit::Signal(libc::SIGSEGV)),
    trial("stack overflow", Blow::Asked(Fault::StackOverflow), |exit| *exit == Exit::StackOverflow),
    trial("illegal instruction", Blow::Asked(Fault::IllegalInstruction), |exit| {
        *exit == Exit::Signal(libc::SIGILL)
    }),
    trial("exit(0) in a message", Blow::Asked(Fault::Exit(0)), |exit| *exit == Exit::Code(0)),
    trial("exit(3) in a message", Blow::Told(Fault::Exit(3)), |exit| *exit == Exit::Code(3)),
    trial("out of memory", Blow::Asked(Fault::OutOfMemory), |exit| *exit == Exit::OutOfMemory),
    trial("infinite loop", Blow::Asked(Fault::Loop), |exit| *exit == Exit::Hung(Hang::NoProgress)),
    trial("self-deadlock", Blow::Told(Fault::Deadlock), |exit| *exit == Exit::Hung(Hang::NoProgress)),
    trial("SIGSTOP", Blow::Asked(Fault::Stop), |exit| {
        *exit == Exit::Hung(Hang::StoppedBySignal(libc::SIGSTOP))
    }),
    trial("SIGKILL in a message", Blow::Asked(Fault::Kill), |exit| *exit == Exit::Signal(libc::SIGKILL)),
    trial("SIGKILL at any moment", Blow::KillFromOutside(10), |exit| *exit == Exit::Signal(libc::SIGKILL)),
    trial("poison message", Blow::Poison, |exit| *exit == Exit::Signal(libc::SIGSEGV)),
    trial("crash in start", Blow::CrashInStart(2), |exit| {
        matches!(*exit, Exit::Signal(libc::SIGABRT | libc::SIGSEGV))
    }),
];

impl Trial {
    /// How many lives of the victim it costs.
    pub fn deaths(&self) -> u32 {
        match self.blow {
            Blow::Asked(_) | Blow::Told(_) => 1,
            Blow::Poison => u32::from(ATTEMPTS),
            Blow::CrashInStart(starts) => 1 + starts,
            Blow::KillFromOutside(times) => times,
        }
    }

    /// Whether the time until the victim is back includes the limit after which it counts as hung.
    pub fn is_hang(&self) -> bool {
        matches!(self.blow, Blow::Asked(f) | Blow::Told(f) if matches!(f, Fault::Loop | Fault::Deadlock | Fault::Stop))
    }
}
