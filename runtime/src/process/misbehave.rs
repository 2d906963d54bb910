//! Commits the faults of a plan, in the process to which they are to happen.
#![allow(unsafe_code)] // The faults themselves, and the timer that ends a stop.

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, Signal};

use crate::clock;
use crate::fault::Fault;

/// Taken at once without a limit; more would be the machine's trouble, not the process's.
const HOARD: usize = 1 << 30;
/// Taken in pieces of this size.
const PIECE: usize = 1 << 20;

/// Commits a fault. Those that end the process, or hang it, do not return.
#[allow(clippy::panic)] // It is one of the faults.
pub fn commit(fault: &Fault) {
    match fault {
        Fault::Panic(text) => panic!("{text}"),
        Fault::Abort => std::process::abort(),
        // SAFETY: not safe at all; that is the fault.
        Fault::Segfault => unsafe { std::ptr::null_mut::<u64>().write_volatile(7) },
        Fault::StackOverflow => {
            black_box(dig(0));
        }
        Fault::Exit(code) => std::process::exit(*code),
        Fault::Kill => signal_self(Signal::KILL),
        Fault::Stop(time) => stop(*time),
        Fault::Loop => loop {
            black_box(0);
        },
        Fault::Deadlock => {
            let lock = Mutex::new(());
            let _first = lock.lock();
            let _second = lock.lock();
        }
        Fault::Allocate => allocate(),
        Fault::ExhaustDescriptors => exhaust_descriptors(),
        Fault::Fork(many) => (0..*many).for_each(|_| fork()),
        Fault::FullDisk => full_disk(),
        Fault::ClockJump(by) => clock::jump(*by),
        Fault::Block(time) => std::thread::sleep(*time),
        // The runtime's own to do.
        Fault::Delay(_)
        | Fault::Drop
        | Fault::Duplicate
        | Fault::Reorder
        | Fault::Corrupt
        | Fault::Truncate
        | Fault::Close
        | Fault::Error(_) => {}
    }
}

/// Commits a fault after a while, from a thread of its own.
pub fn commit_later(fault: Fault, wait: Duration) {
    let later = std::thread::Builder::new().name("fault".into()).spawn(move || {
        std::thread::sleep(wait);
        commit(&fault);
    });
    if let Err(error) = later {
        tracing::warn!(%error, "a fault of the plan could not be committed");
    }
}

#[allow(unconditional_recursion)] // Until the stack ends.
fn dig(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    black_box(dig(depth + 1)) + room[0]
}

/// To this very thread: it does not go on before the signal has had its effect.
fn signal_self(signal: Signal) {
    // SAFETY: raising a signal in the own process touches no memory.
    if unsafe { libc::raise(signal.as_raw()) } != 0 {
        tracing::warn!("a process could not be signalled by itself");
    }
}

/// Stops the process. A timer of the kernel continues it: a stopped process does nothing by itself.
fn stop(time: Duration) {
    if let Err(error) = continue_after(time) {
        tracing::warn!(%error, "a process is not stopped, since nothing would continue it");
        return;
    }
    signal_self(Signal::STOP);
}

fn continue_after(time: Duration) -> std::io::Result<()> {
    // SAFETY: an event of zeros is a valid one, and a timer is only a number; both are filled in before they are used.
    let (mut event, mut timer): (libc::sigevent, libc::timer_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGCONT;
    // SAFETY: both references are to what the call expects.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // A zero would disarm the timer.
    let time = time.max(Duration::from_nanos(1));
    let once = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        },
    };
    // SAFETY: the timer was just made, and the time is valid; nobody wants the old one.
    if unsafe { libc::timer_settime(timer, 0, &raw const once, std::ptr::null_mut()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Takes memory until the limit says no, which aborts.
fn allocate() {
    let unlimited = rustix::process::getrlimit(Resource::Data).current.is_none();
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    while !unlimited || hoard.len() < HOARD / PIECE {
        hoard.push(black_box(vec![1; PIECE]));
    }
    // As it ends where there is a limit.
    std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; HOARD]>());
}

/// Opens descriptors until there are none left, and keeps them.
fn exhaust_descriptors() {
    let mut kept: Vec<OwnedFd> = Vec::new();
    while let Ok(one) = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        kept.push(one);
    }
    std::mem::forget(kept);
}

/// A process that does nothing and holds all that its parent has open.
fn fork() {
    // SAFETY: the child calls nothing but `pause`, which is allowed after a fork in a process of several threads.
    unsafe {
        match libc::fork() {
            0 => loop {
                libc::pause();
            },
            -1 => tracing::warn!(error = %std::io::Error::last_os_error(), "a fork of the plan failed"),
            _ => {}
        }
    }
}

/// Files cannot grow any more. Pipes and sockets can.
fn full_disk() {
    // SAFETY: the signal of a file that may not grow is ignored, so that the write fails instead.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let hard = rustix::process::getrlimit(Resource::Fsize).maximum;
    let full = Rlimit { current: Some(0), maximum: hard };
    if let Err(error) = rustix::process::setrlimit(Resource::Fsize, full) {
        tracing::warn!(%error, "files can still grow");
    }
}
