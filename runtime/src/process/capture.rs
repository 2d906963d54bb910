//! What children print: drained always, shown in whole lines that say who wrote them.
//!
//! ```text
//! child ── stdout, stderr ──▶ capture thread ── lines, bounded ──▶ printer thread ──▶ our stdout, stderr
//!                             splits, limits, remembers           may block
//! ```
//!
//! A full pipe blocks the child that writes to it, so the capture thread waits for nothing but pipes. Only the printer
//! thread touches the terminal, and when that is paused, lines are dropped and counted. Both threads belong to the whole
//! operating-system process and are started on first use.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::{Errno, ioctl_fionread};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use super::capture_lines::escape;
use super::capture_lines::{LineSplitter, Piece, RateLimit, Tail, Verdict};
pub use super::capture_printer::flush;
use super::capture_printer::{Line, Printer, Stream, dropped_text};
use crate::fault::{self, Call};

/// How much is read at once: what a pipe holds unless someone enlarged it.
const READ_SIZE: usize = 64 << 10;

/// How much of a label is shown: enough for a name, and a line still has room for its text.
const LABEL_CHARACTERS: usize = 64;

/// Where a child's lines go. They are remembered for its crash report in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// As `[label] text`, stdout to our stdout and stderr to our stderr.
    Labelled,
    /// The same without a label; text is made harmless all the same.
    Plain,
    /// Nowhere.
    Silent,
}

/// One child's captured output.
///
/// Dropping it ends nothing: its pipes are drained until every process that can write to them is gone.
#[derive(Debug)]
pub struct Captured {
    shared: Arc<Shared>,
    /// The highest request that was served; closed when both pipes have ended.
    served: watch::Receiver<u64>,
}

/// Begins to capture what a child writes into these pipes; takes their read ends. With `heading`, stdout is not shown up
/// to the line that ends with [`HEADING_END`].
///
/// # Errors
/// If they are not pipes, or the capture threads could not be started.
pub fn attach(
    label: String,
    sink: Sink,
    heading: bool,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<Captured> {
    fault::call(Call::Capture)?;
    attach_to(Printer::shared()?, &label, sink, heading, stdout, stderr)
}

/// A line of stdout that ends so ends the heading: what a test harness prints before it lets the child begin.
pub const HEADING_END: &str = "watertight: the actor begins";

impl Captured {
    /// The last lines the child wrote to its stderr, oldest first, as they may be shown on a terminal.
    ///
    /// At most 20 of 500 characters each and 4 KiB together. A last line without a newline is among them.
    pub fn stderr_tail(&self) -> Vec<String> {
        let errors = self.shared.errors();
        errors.tail.shown(errors.splitter.unfinished())
    }

    /// Waits until at least everything that was in the pipes when this was called has been read.
    ///
    /// After a child's death this ends too while a grandchild still holds the pipes, and even writes to them.
    pub async fn drained(&self) {
        let mut request = 0;
        self.shared.requests.send_modify(|last| {
            *last += 1;
            request = *last;
        });
        // An error says that both pipes have ended.
        let _ = self.served.clone().wait_for(|served| *served >= request).await;
    }
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// What a child's reader and its [`Captured`] share.
#[derive(Debug)]
struct Shared {
    errors: Mutex<Errors>,
    requests: watch::Sender<u64>,
    /// How many bytes of this child wait for the printer.
    queued_bytes: Arc<AtomicUsize>,
}

/// A child's stderr, as far as it is also remembered.
#[derive(Debug, Default)]
struct Errors {
    splitter: LineSplitter,
    tail: Tail,
}

impl Shared {
    fn errors(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attach_to(
    printer: Arc<Printer>,
    label: &str,
    sink: Sink,
    heading: bool,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<Captured> {
    let capture = capture_thread()?;
    let _inside = capture.enter();
    // Checks that it is a pipe, and makes it non-blocking.
    let (stdout, stderr) = (Receiver::from_owned_fd(stdout)?, Receiver::from_owned_fd(stderr)?);
    let shared = Arc::new(Shared {
        errors: Mutex::default(),
        requests: watch::Sender::new(0),
        queued_bytes: Arc::default(),
    });
    // Subscribed before the reader runs, or a request made until then would count as seen.
    let requests = shared.requests.subscribe();
    let (serve, served) = watch::channel(0);
    let label: String = escape(label.as_bytes()).chars().take(LABEL_CHARACTERS).collect();
    let now = Instant::now();
    let limits = Limits { stdout: RateLimit::new(now), stderr: RateLimit::new(now) };
    let gate = Gate {
        limits,
        lines: LineSplitter::default(),
        shared: shared.clone(),
        printer,
        label,
        sink,
        heading,
    };
    capture.spawn(read_child(gate, stdout, stderr, requests, serve));
    Ok(Captured { shared, served })
}

/// The runtime of the thread that reads all pipes.
fn capture_thread() -> io::Result<Handle> {
    static CAPTURE: Mutex<Option<Handle>> = Mutex::new(None);
    let mut capture = CAPTURE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*capture {
        return Ok(handle.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("actor-capture".into());
    thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(capture.insert(handle).clone())
}

/// The life of one child's pipes.
async fn read_child(
    mut gate: Gate,
    stdout: Receiver,
    stderr: Receiver,
    mut requests: watch::Receiver<u64>,
    serve: watch::Sender<u64>,
) {
    let (mut stdout_open, mut stderr_open) = (true, true);
    while stdout_open || stderr_open {
        let announce_at = gate.announce_at();
        // In no fixed order: a flood in one pipe must not starve the other one.
        tokio::select! {
            // The sender is in what the gate shares, so this never fails.
            _ = requests.changed() => {
                let request = *requests.borrow_and_update();
                stdout_open = stdout_open && read_all(&stdout, |bytes| gate.take_stdout(bytes));
                stderr_open = stderr_open && read_all(&stderr, |bytes| gate.take_stderr(bytes));
                serve.send_replace(request);
            }
            _ = stdout.readable(), if stdout_open => {
                stdout_open = read_once(&stdout, |bytes| gate.take_stdout(bytes));
            }
            _ = stderr.readable(), if stderr_open => {
                stderr_open = read_once(&stderr, |bytes| gate.take_stderr(bytes));
            }
            () = until(announce_at), if announce_at.is_some() => gate.announce(),
        }
        // A child that never stops writing leaves the thread to the others after each piece.
        tokio::task::yield_now().await;
    }
    gate.end();
    // Dropping `serve` now tells everyone who waits that all was read.
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

thread_local! {
    /// One for all pipes: the capture thread hands on what it read before it reads again.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// Reads what one read gives. `false` says that the pipe has ended.
fn read_once(pipe: &Receiver, take: impl FnOnce(&[u8])) -> bool {
    BUFFER.with_borrow_mut(|buffer| match pipe.try_read(buffer) {
        Ok(0) => false,
        Ok(length) => {
            take(&buffer[..length]);
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    })
}

/// Reads at least what is in the pipe now. `false` says that the pipe has ended.
///
/// Asks the pipe itself, since tokio may not have been told yet that it is readable; and asks for an amount, since someone
/// who keeps writing would never let it become empty.
fn read_all(pipe: &Receiver, mut take: impl FnMut(&[u8])) -> bool {
    let mut left = ioctl_fionread(pipe).unwrap_or(0);
    BUFFER.with_borrow_mut(|buffer| {
        while left > 0 {
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    take(&buffer[..length]);
                    left = left.saturating_sub(length as u64);
                }
                Err(Errno::INTR) => {}
                Err(error) => return error == Errno::AGAIN,
            }
        }
        true
    })
}

/// Between one child's pipes and the printer: decides what is shown.
struct Gate {
    limits: Limits,
    /// Of stdout; those of stderr are shared with the tail.
    lines: LineSplitter,
    shared: Arc<Shared>,
    printer: Arc<Printer>,
    label: String,
    sink: Sink,
    /// Stdout has not come to its [`HEADING_END`] yet.
    heading: bool,
}

/// One for each stream: a flood in stdout must not hide what a dying child says on stderr.
struct Limits {
    stdout: RateLimit,
    stderr: RateLimit,
}

impl Limits {
    fn of(&mut self, stream: Stream) -> &mut RateLimit {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Gate {
    fn take_stdout(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(bytes, |piece| self.show(Stream::Stdout, piece, now));
        self.lines = lines;
    }

    fn take_stderr(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        let shared = self.shared.clone();
        let Errors { splitter, tail } = &mut *shared.errors();
        splitter.push(bytes, |piece| {
            tail.push(piece);
            self.show(Stream::Stderr, piece, now);
        });
    }

    /// Both pipes have ended: shows last lines without a newline, and what was dropped.
    fn end(&mut self) {
        let now = Instant::now();
        let shared = self.shared.clone();
        let Errors { splitter, tail } = &mut *shared.errors();
        splitter.finish(|piece| {
            tail.push(piece);
            self.show(Stream::Stderr, piece, now);
        });
        std::mem::take(&mut self.lines).finish(|piece| self.show(Stream::Stdout, piece, now));
        for stream in STREAMS {
            let dropped = self.limits.of(stream).announce_now();
            if dropped > 0 && !self.print(stream, self.notice(stream, dropped)) {
                self.printer.tell_later(dropped);
            }
        }
    }

    fn announce_at(&self) -> Option<Instant> {
        [&self.limits.stdout, &self.limits.stderr].into_iter().filter_map(RateLimit::announce_at).min()
    }

    fn announce(&mut self) {
        let now = Instant::now();
        for stream in STREAMS {
            if let Some(dropped) = self.limits.of(stream).announce(now) {
                self.tell_dropped(stream, dropped, now);
            }
        }
    }

    fn show(&mut self, stream: Stream, piece: Piece<'_>, now: Instant) {
        if self.heading && stream == Stream::Stdout {
            self.heading = !piece.bytes.ends_with(HEADING_END.as_bytes());
            return;
        }
        if self.sink == Sink::Silent {
            return;
        }
        match self.limits.of(stream).admit(piece.bytes.len(), now) {
            Verdict::Print => {}
            Verdict::PrintAfterDropped(dropped) => self.tell_dropped(stream, dropped, now),
            Verdict::Drop => return,
        }
        let line = match self.sink {
            Sink::Labelled => format!("{} {}\n", self.bracketed(stream, ""), piece.shown()),
            Sink::Plain | Sink::Silent => piece.shown() + "\n",
        };
        if !self.print(stream, line) {
            self.limits.of(stream).refuse(now);
        }
    }

    fn tell_dropped(&mut self, stream: Stream, dropped: u64, now: Instant) {
        if !self.print(stream, self.notice(stream, dropped)) {
            self.limits.of(stream).not_announced(dropped, now);
        }
    }

    fn notice(&self, stream: Stream, dropped: u64) -> String {
        match self.sink {
            // Inside the brackets, where the child itself cannot write.
            Sink::Labelled => self.bracketed(stream, &format!(" {}", dropped_text(dropped))) + "\n",
            Sink::Plain | Sink::Silent => dropped_text(dropped) + "\n",
        }
    }

    fn bracketed(&self, stream: Stream, notice: &str) -> String {
        let label = &self.label;
        if self.printer.is_coloured(stream) {
            format!("\x1b[{}m[{label}{notice}]\x1b[0m", colour(label))
        } else {
            format!("[{label}{notice}]")
        }
    }

    fn print(&self, stream: Stream, text: String) -> bool {
        self.printer.push(Line { stream, text, child_bytes: self.shared.queued_bytes.clone() })
    }
}

/// One of green, yellow, blue, magenta and cyan; the same one for the same label.
fn colour(label: &str) -> u32 {
    32 + label.bytes().map(u32::from).sum::<u32>() % 5
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
