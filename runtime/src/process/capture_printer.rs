//! The printer thread: what children print, written to our own stdout and stderr.
//!
//! It alone touches the terminal and may block there. Those who hand it lines never do: when the terminal is paused and
//! the queue is full, lines are refused. It belongs to the whole operating-system process and is started on first use.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes may wait for the printer: a second's worth of what one child may print.
const QUEUE_BYTES: usize = 4 << 20;

/// How many of these may be one child's, so that one that prints much leaves room for the others.
const QUEUE_BYTES_PER_CHILD: usize = QUEUE_BYTES / 4;

/// What a waiting line costs beside its text; keeps empty lines from being free.
const LINE_OVERHEAD: usize = 64;

/// How long the printer waits before it tries a terminal again that was made non-blocking and is full.
const RETRY: Duration = Duration::from_millis(5);

/// Which of a child's streams a line came by; it goes to ours of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line to be written, its newline included.
pub struct Line {
    /// Where to.
    pub stream: Stream,
    /// What.
    pub text: String,
    /// How many bytes of the same child wait for the printer; only the printer changes it.
    pub child_bytes: Arc<AtomicUsize>,
}

impl Line {
    fn cost(&self) -> usize {
        self.text.len() + LINE_OVERHEAD
    }
}

/// On which of our streams labels are coloured.
#[derive(Clone, Copy, Default)]
pub struct Colours {
    /// Those of stdout.
    pub stdout: bool,
    /// Those of stderr.
    pub stderr: bool,
}

/// The queue before the printer thread.
pub struct Printer {
    queue: Mutex<Queue>,
    arrived: Condvar,
    written: Condvar,
    colours: Colours,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many lines were ever taken, and how many of these are written.
    queued: u64,
    written: u64,
    /// Dropped by children that have ended while there was no room to say so.
    untold: u64,
}

static PRINTER: Mutex<Option<Arc<Printer>>> = Mutex::new(None);

/// Blocks until everything queued so far was written, and says whether it was before the time was up.
///
/// For the program's end, after each child's [`drained`](super::capture::Captured::drained).
pub fn flush(within: Duration) -> bool {
    let printer = PRINTER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    printer.is_none_or(|printer| printer.flush(within))
}

impl Printer {
    /// The one that writes to this process's own stdout and stderr.
    ///
    /// # Errors
    /// If its thread could not be started; the next call tries again.
    pub fn shared() -> io::Result<Arc<Self>> {
        let mut printer = PRINTER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(printer) = &*printer {
            return Ok(printer.clone());
        }
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colours = Colours {
            stdout: wanted && io::stdout().is_terminal(),
            stderr: wanted && io::stderr().is_terminal(),
        };
        Ok(printer.insert(Self::start(io::stdout(), io::stderr(), colours)?).clone())
    }

    /// Starts one that writes to these two.
    ///
    /// # Errors
    /// If its thread could not be started.
    pub fn start(
        stdout: impl Write + Send + 'static,
        stderr: impl Write + Send + 'static,
        colours: Colours,
    ) -> io::Result<Arc<Self>> {
        let (arrived, written) = (Condvar::new(), Condvar::new());
        let printer = Arc::new(Self { queue: Mutex::default(), arrived, written, colours });
        let thread = std::thread::Builder::new().name("actor-printer".into());
        let this = printer.clone();
        thread.spawn(move || this.run(stdout, stderr))?;
        Ok(printer)
    }

    /// Whether labels are coloured on this stream.
    pub fn is_coloured(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.colours.stdout,
            Stream::Stderr => self.colours.stderr,
        }
    }

    /// Takes a line to be written, or refuses it for lack of room; never blocks.
    pub fn push(&self, line: Line) -> bool {
        let mut queue = self.queue();
        let cost = line.cost();
        let from_child = line.child_bytes.load(Ordering::Relaxed) + cost;
        if queue.bytes + cost > QUEUE_BYTES || from_child > QUEUE_BYTES_PER_CHILD {
            return false;
        }
        // Only ever changed under the queue's lock.
        line.child_bytes.store(from_child, Ordering::Relaxed);
        queue.bytes += cost;
        queue.queued += 1;
        queue.lines.push_back(line);
        self.arrived.notify_one();
        true
    }

    /// Has dropped lines announced when there is room again, by a line that names no child.
    pub fn tell_later(&self, dropped: u64) {
        self.queue().untold += dropped;
        self.arrived.notify_one();
    }

    /// Blocks until everything queued so far was written, and says whether it was before the time was up.
    pub fn flush(&self, within: Duration) -> bool {
        let queue = self.queue();
        // The notice of untold lines counts as one more line.
        let all = queue.queued + u64::from(queue.untold > 0);
        let (_queue, waited) = self
            .written
            .wait_timeout_while(queue, within, |queue| queue.written < all)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// The life of the printer thread. Only the writing itself may block, and no lock is held meanwhile.
    fn run(&self, mut stdout: impl Write, mut stderr: impl Write) {
        loop {
            let (stream, text) = self.next();
            match stream {
                Stream::Stdout => write_whole(&mut stdout, text.as_bytes()),
                Stream::Stderr => write_whole(&mut stderr, text.as_bytes()),
            }
            self.queue().written += 1;
            self.written.notify_all();
        }
    }

    fn next(&self) -> (Stream, String) {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.cost();
                line.child_bytes.fetch_sub(line.cost(), Ordering::Relaxed);
                return (line.stream, line.text);
            }
            if queue.untold > 0 {
                queue.queued += 1;
                return (Stream::Stderr, dropped_text(std::mem::take(&mut queue.untold)) + "\n");
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How dropped lines are announced.
pub fn dropped_text(lines: u64) -> String {
    format!("… {lines} {} dropped", if lines == 1 { "line" } else { "lines" })
}

/// Writes it all, or gives up when nobody can read it: there is nowhere to complain.
fn write_whole(to: &mut impl Write, mut text: &[u8]) {
    loop {
        let result = if text.is_empty() { to.flush().map(|()| 0) } else { to.write(text) };
        match result {
            Ok(0) => return,
            Ok(length) => text = &text[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program sharing the terminal may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}
