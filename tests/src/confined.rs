//! An actor that uses up what it is given, says what it was refused, and starts processes of its own.

// `fork`, which is how such processes are made.
#![allow(unsafe_code)]

use std::io::{Read, Write as _};
use std::os::fd::AsRawFd;

use watertight::prelude::*;

/// Does one thing a message.
pub struct Worker;

/// Opens a file, to write (and make it) or to read; the error's number, if it is refused.
#[message(reply = Option<i32>)]
pub struct Opens {
    pub path: String,
    pub write: bool,
}

/// Uses a processor for ever.
#[message]
pub struct Burn;

/// Writes a file of so many bytes.
#[message]
pub struct Write {
    pub path: String,
    pub bytes: u64,
}

/// Opens so many descriptors, or as many as it gets: how many that were.
#[message(reply = u64)]
pub struct Hoard(pub u64);

/// A process of its own.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launched {
    /// In its group, and its child.
    Child,
    /// In a session of its own, nobody's child, and another program.
    Daemon,
    /// The same, but a copy of the actor that executes nothing.
    Copy,
    /// As a daemon, and without a variable: nothing that it has says whose it was.
    Stray,
}

/// Starts such a process, which would live for an hour; its number.
#[message(reply = u32)]
pub struct Launch(pub Launched);

/// Fills so many bytes of memory that is no process's own: a file without a name.
#[message]
pub struct Fill(pub u64);

/// Works for so many milliseconds: how many of them it had a processor.
#[message(reply = u64)]
pub struct Work(pub u64);

/// Ends by a signal.
#[message]
pub struct Fall;

impl Actor for Worker {
    type Args = ();
    type Messages = (Opens, Burn, Write, Hoard, Launch, Fill, Work, Fall);
    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Worker)
    }
}

impl Handler<Opens> for Worker {
    async fn handle(&mut self, Opens { path, write }: Opens, _: &mut Context<Self>) -> Result<Option<i32>> {
        let opened = std::fs::OpenOptions::new().read(!write).write(write).create(write).open(path);
        Ok(opened.err().and_then(|error| error.raw_os_error()))
    }
}

impl Handler<Burn> for Worker {
    async fn handle(&mut self, _: Burn, _: &mut Context<Self>) -> Result<()> {
        loop {
            std::hint::spin_loop();
        }
    }
}

impl Handler<Write> for Worker {
    async fn handle(&mut self, Write { path, bytes }: Write, _: &mut Context<Self>) -> Result<()> {
        let mut file = std::fs::File::create(path)?;
        let block = vec![7; usize::try_from(bytes)?];
        file.write_all(&block)?;
        Ok(())
    }
}

impl Handler<Hoard> for Worker {
    async fn handle(&mut self, Hoard(most): Hoard, _: &mut Context<Self>) -> Result<u64> {
        let hoard: Vec<_> = (0..most).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
        Ok(hoard.len() as u64)
    }
}

impl Handler<Launch> for Worker {
    async fn handle(&mut self, Launch(kind): Launch, _: &mut Context<Self>) -> Result<u32> {
        match kind {
            Launched::Child => Ok(std::process::Command::new("sleep").arg("3600").spawn()?.id()),
            Launched::Daemon => daemon(Some(true)),
            Launched::Stray => daemon(Some(false)),
            Launched::Copy => daemon(None),
        }
    }
}

impl Handler<Fill> for Worker {
    async fn handle(&mut self, Fill(bytes): Fill, _: &mut Context<Self>) -> Result<()> {
        let memory = rustix::fs::memfd_create("filled", rustix::fs::MemfdFlags::CLOEXEC)?;
        let (mut memory, block) = (std::fs::File::from(memory), vec![7; 1 << 20]);
        for _ in 0..bytes >> 20 {
            memory.write_all(&block)?;
        }
        Ok(())
    }
}

impl Handler<Work> for Worker {
    async fn handle(&mut self, Work(milliseconds): Work, _: &mut Context<Self>) -> Result<u64> {
        let used = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (began, before) = (std::time::Instant::now(), used());
        while began.elapsed() < std::time::Duration::from_millis(milliseconds) {
            std::hint::spin_loop();
        }
        let used = used();
        let nanoseconds = (used.tv_sec - before.tv_sec) * 1_000_000_000 + used.tv_nsec - before.tv_nsec;
        Ok(u64::try_from(nanoseconds / 1_000_000)?)
    }
}

impl Handler<Fall> for Worker {
    async fn handle(&mut self, _: Fall, _: &mut Context<Self>) -> Result<()> {
        std::process::abort()
    }
}

/// `keeps`: whether it executes another program with the actor's variables or with none; `None`: it executes nothing.
fn daemon(keeps: Option<bool>) -> Result<u32> {
    let (mut reader, writer) = std::io::pipe()?;
    let (program, hour) = (c"/bin/sleep", c"3600");
    let arguments = [program.as_ptr(), hour.as_ptr(), std::ptr::null()];
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: after each fork only calls that may be made there, on what was prepared before.
    unsafe {
        match libc::fork() {
            -1 => return Err(std::io::Error::last_os_error().into()),
            0 => {
                libc::setsid();
                if libc::fork() == 0 {
                    let number = libc::getpid().to_ne_bytes();
                    libc::write(writer.as_raw_fd(), number.as_ptr().cast(), number.len());
                    match keeps {
                        Some(true) => libc::execv(program.as_ptr(), arguments.as_ptr()),
                        Some(false) => libc::execve(program.as_ptr(), arguments.as_ptr(), nothing.as_ptr()),
                        None => 0,
                    };
                    loop {
                        libc::pause();
                    }
                }
                libc::_exit(0)
            }
            child => libc::waitpid(child, std::ptr::null_mut(), 0),
        };
    }
    drop(writer);
    let mut number = [0; 4];
    reader.read_exact(&mut number)?;
    Ok(u32::from_ne_bytes(number))
}
