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
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::capture_lines::{LineSplitter, Piece, RateLimit, Tail, Verdict, escape};

/// How much is read at once: what a pipe holds unless someone enlarged it.
const READ_SIZE: usize = 64 << 10;

/// How many bytes may wait for the printer: a second's worth of what one child may print.
const QUEUE_BYTES: usize = 4 << 20;

/// How many of these may be one child's, so that one that prints much leaves room for the others.
const QUEUE_BYTES_PER_CHILD: usize = QUEUE_BYTES / 4;

/// What a waiting line costs beside its text; keeps empty lines from being free.
const LINE_OVERHEAD: usize = 64;

/// How long the printer waits before it tries a terminal again that was made non-blocking and is full.
const RETRY: Duration = Duration::from_millis(5);

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
    attach_to(Printer::shared()?, &label, sink, heading, stdout, stderr)
}

/// A line of stdout that ends so ends the heading: what a test harness prints before it lets the child begin.
pub const HEADING_END: &str = "watertight: the actor begins";

/// Blocks until everything queued so far was written, and says whether it was before the time was up.
///
/// For the program's end, after each child's [`Captured::drained`].
pub fn flush(within: Duration) -> bool {
    let printer = PRINTER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    printer.is_none_or(|printer| printer.flush(within))
}

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

    /// How many lines, or pieces of very long ones, were read but not shown, for their number or because the terminal was slow.
    pub fn dropped_lines(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// What a child's reader and its [`Captured`] share.
#[derive(Debug)]
struct Shared {
    errors: Mutex<Errors>,
    dropped: AtomicU64,
    requests: watch::Sender<u64>,
    /// How many bytes of this child wait for the printer.
    queued_bytes: AtomicUsize,
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
        dropped: AtomicU64::new(0),
        requests: watch::Sender::new(0),
        queued_bytes: AtomicUsize::new(0),
    });
    // Subscribed before the reader runs, or a request made until then would count as seen.
    let requests = shared.requests.subscribe();
    let (serve, served) = watch::channel(0);
    let label: String = escape(label.as_bytes()).chars().take(LABEL_CHARACTERS).collect();
    let now = Instant::now();
    let limits = Limits { stdout: RateLimit::new(now), stderr: RateLimit::new(now) };
    let gate = Gate { limits, lines: LineSplitter::default(), shared: shared.clone(), printer, label, sink, heading };
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
            Verdict::Drop => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let line = match self.sink {
            Sink::Labelled => format!("{} {}\n", self.bracketed(stream, ""), piece.shown()),
            Sink::Plain | Sink::Silent => piece.shown() + "\n",
        };
        if !self.print(stream, line) {
            self.limits.of(stream).refuse(now);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
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
        self.printer.push(Line { stream, text, from: self.shared.clone() })
    }
}

fn dropped_text(lines: u64) -> String {
    format!("… {lines} {} dropped", if lines == 1 { "line" } else { "lines" })
}

/// One of green, yellow, blue, magenta and cyan; the same one for the same label.
fn colour(label: &str) -> u32 {
    32 + label.bytes().map(u32::from).sum::<u32>() % 5
}

struct Line {
    stream: Stream,
    text: String,
    from: Arc<Shared>,
}

impl Line {
    fn cost(&self) -> usize {
        self.text.len() + LINE_OVERHEAD
    }
}

/// The queue before the printer thread.
struct Printer {
    queue: Mutex<Queue>,
    arrived: Condvar,
    written: Condvar,
    colours: Colours,
}

/// On which of our streams labels are coloured.
#[derive(Clone, Copy, Default)]
struct Colours {
    stdout: bool,
    stderr: bool,
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

impl Printer {
    /// The one that writes to this process's own stdout and stderr.
    fn shared() -> io::Result<Arc<Self>> {
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

    fn start(
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

    fn is_coloured(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.colours.stdout,
            Stream::Stderr => self.colours.stderr,
        }
    }

    /// Takes a line to be written, or refuses it for lack of room; never blocks.
    fn push(&self, line: Line) -> bool {
        let mut queue = self.queue();
        let cost = line.cost();
        let from_child = line.from.queued_bytes.load(Ordering::Relaxed) + cost;
        if queue.bytes + cost > QUEUE_BYTES || from_child > QUEUE_BYTES_PER_CHILD {
            return false;
        }
        // Only ever changed under the queue's lock.
        line.from.queued_bytes.store(from_child, Ordering::Relaxed);
        queue.bytes += cost;
        queue.queued += 1;
        queue.lines.push_back(line);
        self.arrived.notify_one();
        true
    }

    /// Has dropped lines announced when there is room again, by a line that names no child.
    fn tell_later(&self, dropped: u64) {
        self.queue().untold += dropped;
        self.arrived.notify_one();
    }

    fn flush(&self, within: Duration) -> bool {
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
                line.from.queued_bytes.fetch_sub(line.cost(), Ordering::Relaxed);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, kill_process_group};

    const WATCHDOG: Duration = Duration::from_secs(30);

    /// A terminal in memory, which can be paused.
    #[derive(Clone, Default)]
    struct Screen(Arc<ScreenState>);

    #[derive(Default)]
    struct ScreenState {
        text: Mutex<Vec<u8>>,
        paused: Mutex<bool>,
        unpaused: Condvar,
    }

    impl Screen {
        fn pause(&self, paused: bool) {
            *self.0.paused.lock().unwrap() = paused;
            self.0.unpaused.notify_all();
        }

        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.text.lock().unwrap().clone()).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'));
            text.lines().map(str::to_owned).collect()
        }
    }

    impl Write for Screen {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            drop(self.0.unpaused.wait_while(self.0.paused.lock().unwrap(), |paused| *paused).unwrap());
            self.0.text.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Terminal {
        printer: Arc<Printer>,
        stdout: Screen,
        stderr: Screen,
    }

    fn terminal(colours: Colours) -> Terminal {
        let (stdout, stderr) = (Screen::default(), Screen::default());
        Terminal { printer: Printer::start(stdout.clone(), stderr.clone(), colours).unwrap(), stdout, stderr }
    }

    impl Terminal {
        fn run(&self, label: &str, sink: Sink, script: &str) -> (Child, Captured) {
            let (stdout, their_stdout) = io::pipe().unwrap();
            let (stderr, their_stderr) = io::pipe().unwrap();
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).process_group(0).stdout(their_stdout).stderr(their_stderr);
            let child = command.spawn().unwrap();
            let captured =
                attach_to(self.printer.clone(), label, sink, false, stdout.into(), stderr.into()).unwrap();
            (child, captured)
        }

        /// Runs it to its end; the pipes are read to theirs.
        async fn run_whole(&self, label: &str, sink: Sink, script: &str) -> Captured {
            let (child, captured) = self.run(label, sink, script);
            self.end((child, &captured)).await;
            captured
        }

        async fn end(&self, (mut child, captured): (Child, &Captured)) {
            tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
            let mut served = captured.served.clone();
            tokio::time::timeout(WATCHDOG, served.wait_for(|_| false)).await.unwrap().unwrap_err();
            assert!(self.printer.flush(WATCHDOG));
        }
    }

    async fn drained(captured: &Captured) {
        tokio::time::timeout(WATCHDOG, captured.drained()).await.unwrap();
    }

    /// The number in "[label … 12 lines dropped]", or 0 for any other line.
    fn announced(line: &str) -> u64 {
        let Some((_, notice)) = line.split_once("… ") else { return 0 };
        notice.split_once(" line").and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
    }

    #[tokio::test]
    async fn the_lines_of_four_processes_never_interleave() {
        let terminal = terminal(Colours::default());
        // Each line arrives in two writes, and on both streams in turn.
        let script = "i=0; while [ $i -lt 500 ]; do printf \"out $i \"; printf \"err $i \" >&2; \
                      echo end; echo end >&2; i=$((i+1)); done";
        let names = ["a", "b", "c", "d"];
        let all = names.map(|name| terminal.run(name, Sink::Labelled, script));
        for (child, captured) in all {
            terminal.end((child, &captured)).await;
            assert_eq!(captured.dropped_lines(), 0);
        }
        for (screen, word) in [(&terminal.stdout, "out"), (&terminal.stderr, "err")] {
            let lines = screen.lines();
            assert_eq!(lines.len(), 2_000);
            for name in names {
                let own = lines.iter().filter(|line| line.starts_with(&format!("[{name}] ")));
                let expected = (0..500).map(|number| format!("[{name}] {word} {number} end"));
                assert!(own.cloned().eq(expected), "{name} {word}");
            }
        }
    }

    #[tokio::test]
    async fn a_flood_does_not_block_and_every_line_is_shown_or_counted_and_announced() {
        let terminal = terminal(Colours::default());
        let captured =
            terminal.run_whole("flood", Sink::Labelled, "yes | head -c 4000000; echo last >&2").await;
        let lines: Vec<_> = terminal.stdout.lines().into_iter().chain(terminal.stderr.lines()).collect();
        let shown =
            lines.iter().filter(|line| ["[flood] y", "[flood] last"].contains(&line.as_str())).count() as u64;
        let told: u64 = lines.iter().map(|line| announced(line)).sum();
        assert!(shown >= 4_001, "{shown}");
        assert_eq!(terminal.stderr.lines(), ["[flood] last"], "not hidden by the flood in stdout");
        assert!(told > 0);
        assert_eq!(told, captured.dropped_lines());
        assert_eq!(shown + told, 2_000_001);
        assert_eq!(captured.stderr_tail(), ["last"], "remembered, whether shown or not");
    }

    #[tokio::test]
    async fn a_flood_in_one_child_leaves_another_ones_lines_alone() {
        let terminal = terminal(Colours::default());
        let (mut noisy, noise) = terminal.run("noisy", Sink::Labelled, "exec yes");
        let quiet = terminal.run_whole("quiet", Sink::Labelled, "for i in 1 2 3; do echo $i; done").await;
        assert_eq!(quiet.dropped_lines(), 0);
        let quiet_lines = terminal.stdout.lines().into_iter().filter(|line| line.starts_with("[quiet]"));
        assert!(quiet_lines.eq(["[quiet] 1", "[quiet] 2", "[quiet] 3"]));
        noisy.kill().unwrap();
        terminal.end((noisy, &noise)).await;
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_or_floods_the_pipe_does_not_hang_drained() {
        for grandchild in ["sleep 1000", "yes"] {
            let terminal = terminal(Colours::default());
            let script = format!("printf 'no newline' >&2; {grandchild} & exit 0");
            let (mut child, captured) = terminal.run("parent", Sink::Labelled, &script);
            let group = Pid::from_child(&child);
            child.wait().unwrap();
            drained(&captured).await;
            assert_eq!(captured.stderr_tail(), ["no newline"]);
            drained(&captured).await;
            kill_process_group(group, Signal::KILL).unwrap();
            terminal.end((child, &captured)).await;
            assert_eq!(terminal.stderr.lines()[0], "[parent] no newline");
            drained(&captured).await;
        }
    }

    #[tokio::test]
    async fn what_a_dead_child_wrote_is_in_its_tail_once_drained() {
        let terminal = terminal(Colours::default());
        for round in 0..50 {
            let (mut child, captured) =
                terminal.run("x", Sink::Silent, &format!("echo {round} >&2; kill -KILL $$"));
            child.wait().unwrap();
            drained(&captured).await;
            assert_eq!(captured.stderr_tail(), [round.to_string()]);
        }
    }

    #[tokio::test]
    async fn reading_all_that_is_there_ends_although_more_keeps_coming() {
        let (reader, mut writer) = io::pipe().unwrap();
        let pipe = Receiver::from_owned_fd(reader.into()).unwrap();
        writer.write_all(b"there").unwrap();
        let mut reads = Vec::new();
        let open = read_all(&pipe, |bytes| {
            reads.push(bytes.to_vec());
            assert!(reads.len() < 10, "it never becomes empty");
            writer.write_all(b"more").unwrap();
        });
        assert!(open);
        assert_eq!(reads, [b"there"]);
    }

    #[tokio::test]
    async fn a_request_made_before_the_reader_runs_is_served() {
        let terminal = terminal(Colours::default());
        let ((stdout, _writer), (stderr, _other_writer)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (holding, is_held) = std::sync::mpsc::channel();
        capture_thread().unwrap().spawn(async move {
            holding.send(()).unwrap();
            let _ = held.recv();
        });
        is_held.recv_timeout(WATCHDOG).unwrap();
        let captured = attach_to(terminal.printer, "x", Sink::Silent, false, stdout.into(), stderr.into()).unwrap();
        let mut request = std::pin::pin!(drained(&captured));
        tokio::select! {
            biased;
            () = &mut request => panic!("the capture thread is held"),
            () = std::future::ready(()) => drop(release),
        }
        request.await;
    }

    #[tokio::test]
    async fn a_paused_terminal_never_stops_the_draining() {
        let terminal = terminal(Colours::default());
        terminal.stdout.pause(true);
        terminal.stderr.pause(true);
        // More bytes than the queue takes, in fewer lines than the rate does.
        let script =
            "i=0; while [ $i -lt 30 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done";
        let (mut child, captured) = terminal.run("big", Sink::Labelled, script);
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        drained(&captured).await;
        assert!(captured.dropped_lines() > 0);
        assert!(!terminal.printer.flush(Duration::ZERO));
        terminal.stdout.pause(false);
        terminal.stderr.pause(false);
        let mut served = captured.served.clone();
        served.wait_for(|_| false).await.unwrap_err();
        assert!(terminal.printer.flush(WATCHDOG));
        let lines: Vec<_> = terminal.stdout.lines().into_iter().chain(terminal.stderr.lines()).collect();
        let told: u64 = lines.iter().map(|line| announced(line)).sum();
        let shown = lines.iter().filter(|line| announced(line) == 0).count() as u64;
        assert_eq!(told, captured.dropped_lines());
        // 100,000 bytes are seven pieces.
        assert_eq!(shown + told, 30 * 7);
        assert_eq!(captured.shared.queued_bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn sinks_differ_in_label_and_visibility_and_all_make_text_harmless() {
        let terminal = terminal(Colours { stdout: true, stderr: false });
        let script = "printf 'a\\033[2J\\rb\\nno newline'; echo oops >&2";
        for sink in [Sink::Plain, Sink::Silent, Sink::Labelled] {
            let captured = terminal.run_whole("na\x1bme", sink, script).await;
            assert_eq!(captured.stderr_tail(), ["oops"]);
        }
        let label = format!("\x1b[{}m[na\\x1bme]\x1b[0m", colour("na\\x1bme"));
        let expected = ["a\\x1b[2J\\x0db", "no newline"];
        let labelled = expected.map(|line| format!("{label} {line}"));
        assert_eq!(terminal.stdout.lines(), [&expected.map(str::to_owned)[..], &labelled].concat());
        assert_eq!(terminal.stderr.lines(), ["oops", "[na\\x1bme] oops"]);
    }

    #[test]
    fn only_pipes_are_taken_and_an_unused_printer_is_flushed() {
        let file = || OwnedFd::from(std::fs::File::open("/proc/self/status").unwrap());
        assert!(attach("x".into(), Sink::Silent, false, file(), file()).is_err());
        assert!(flush(Duration::ZERO));
    }
}
