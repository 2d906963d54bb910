//! The plain thing beside each number: this executable, started again without any of the runtime, with a socket as its
//! standard input.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watertight::Result;

/// Bytes of a small message.
pub const SIZE: usize = 64;

/// What a plain process does.
#[derive(Clone, Copy)]
pub enum Role {
    /// Reads a message and writes it back, blocking.
    Echo,
    /// Reads a number, then so many messages, then writes one byte.
    Drain,
    /// Answers every byte with one, on a current-thread tokio runtime.
    Answer,
    /// Reads a length and so many bytes of numbers, and writes back their squares in the same way.
    Square,
}

const ROLES: [(&str, Role); 4] = [
    ("bench-plain:echo", Role::Echo),
    ("bench-plain:drain", Role::Drain),
    ("bench-plain:answer", Role::Answer),
    ("bench-plain:square", Role::Square),
];

/// The role of this process, if it was started as a plain one.
pub fn role() -> Option<Role> {
    let argument = std::env::args_os().nth(1)?;
    ROLES.iter().find(|(name, _)| argument == *name).map(|(_, role)| *role)
}

/// Plays it until the other end of the socket closes.
pub fn run(role: Role) -> ExitCode {
    let played = std::io::stdin().as_fd().try_clone_to_owned().and_then(|socket| {
        let socket = UnixStream::from(socket);
        match role {
            Role::Echo => echo(socket),
            Role::Drain => drain(socket),
            Role::Answer => answer(socket),
            Role::Square => square(socket),
        }
    });
    match played {
        // The end of the socket is how it is told to go.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            eprintln!("a plain process failed: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn echo(mut socket: UnixStream) -> std::io::Result<()> {
    let mut message = [0; SIZE];
    loop {
        socket.read_exact(&mut message)?;
        socket.write_all(&message)?;
    }
}

fn drain(mut socket: UnixStream) -> std::io::Result<()> {
    let (mut count, mut buffer) = ([0; 8], vec![0; 64 << 10]);
    loop {
        socket.read_exact(&mut count)?;
        let mut left = u64::from_le_bytes(count) * SIZE as u64;
        while left > 0 {
            let read = socket.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            left = left.saturating_sub(read as u64);
        }
        socket.write_all(&[1])?;
    }
}

fn answer(socket: UnixStream) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        loop {
            let byte = socket.read_u8().await?;
            socket.write_u8(byte).await?;
        }
    })
}

fn square(mut socket: UnixStream) -> std::io::Result<()> {
    let (mut numbers, mut squares) = (Vec::new(), Vec::new());
    loop {
        read_numbers(&mut socket, &mut numbers)?;
        squares.clear();
        for number in numbers.drain(..) {
            squares.push(number * number);
        }
        write_numbers(&mut socket, &squares)?;
    }
}

fn write_numbers(socket: &mut UnixStream, numbers: &[u64]) -> std::io::Result<()> {
    // Each as the same bytes that a message would have.
    let mut bytes = vec![0; 4];
    for &number in numbers {
        let mut rest = number;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push((rest & 0x7f) as u8);
    }
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    socket.write_all(&bytes)
}

fn read_numbers(socket: &mut UnixStream, numbers: &mut Vec<u64>) -> std::io::Result<()> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut bytes)?;
    let (mut number, mut shift) = (0, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    Ok(())
}

/// A plain process and the socket to it; it ends when dropped.
pub struct Plain {
    child: Child,
    socket: UnixStream,
}

impl Plain {
    /// Starts one.
    pub fn start(role: Role) -> Result<Plain> {
        let (socket, theirs) = UnixStream::pair()?;
        let name =
            ROLES.iter().find(|(_, other)| std::mem::discriminant(other) == std::mem::discriminant(&role));
        let mut command = Command::new("/proc/self/exe");
        command.args(name.map(|(name, _)| name)).stdin(Stdio::from(OwnedFd::from(theirs)));
        Ok(Plain { child: command.spawn()?, socket })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// To an [`Role::Echo`]: `count` messages there and back, one after another, each timed, in microseconds.
    pub fn ping(&mut self, count: usize) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        let mut message = [7; SIZE];
        for _ in 0..count {
            let begun = Instant::now();
            self.socket.write_all(&message)?;
            self.socket.read_exact(&mut message)?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    }

    /// To a [`Role::Drain`]: `count` messages, each written alone, until the last one is read.
    pub fn pour(&mut self, count: u64) -> Result<Duration> {
        let message = [7; SIZE];
        self.socket.write_all(&count.to_le_bytes())?;
        let begun = Instant::now();
        for _ in 0..count {
            self.socket.write_all(&message)?;
        }
        self.socket.read_exact(&mut [0])?;
        Ok(begun.elapsed())
    }

    /// To a [`Role::Answer`]: one byte there and back.
    pub fn greet(&mut self) -> Result<()> {
        self.socket.write_all(&[1])?;
        Ok(self.socket.read_exact(&mut [0])?)
    }

    /// To a [`Role::Square`]: these numbers.
    pub fn send_chunk(&mut self, numbers: &[u64]) -> Result<()> {
        Ok(write_numbers(&mut self.socket, numbers)?)
    }

    /// From a [`Role::Square`]: the squares of the oldest numbers that were sent.
    pub fn take_chunk(&mut self, squares: &mut Vec<u64>) -> Result<()> {
        Ok(read_numbers(&mut self.socket, squares)?)
    }

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // Its socket ends with it here; should it not heed that, it is killed. What is dead already stays so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
