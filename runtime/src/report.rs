//! What is known of an exit: the crash report.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Injection;
use crate::harmless::{self, SetIn};
pub use crate::process::exit::Usage;
use crate::process::exit::signal_name;
use crate::wire::ids::{ActorId, Incarnation, Sequence};

/// How a process ended, by what was seen of it and of its last words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// It was asked to stop, and did.
    Stopped,
    /// It stopped of its own accord, by `cx.stop()`.
    Finished,
    /// Its `start` returned an error.
    StartFailed(String),
    /// Its `start` did not return by the start deadline; the supervisor killed it.
    StartDeadline,
    /// It left with this exit code and without a goodbye; abnormal whatever the code.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// It panicked.
    Panicked(String),
    /// It could not allocate under its memory limit.
    OutOfMemory,
    /// It overflowed a stack.
    StackOverflow,
    /// It had used all its processor time.
    CpuTime,
    /// It would have made a file larger than it may.
    FileSize,
    /// It could not be shut in as its spec asks, and says why; no code of its own has run.
    Unconfined(String),
    /// It made no progress for its hang limit; the supervisor killed it.
    Hung(Hang),
    /// It did not stop within its grace; the supervisor killed it.
    StopDeadline,
    /// The supervisor killed it because it was told to.
    Killed,
    /// Its `start` said that there is nothing to run.
    Declined(String),
    /// The actor of this name, to which it was linked, had ended abnormally; the supervisor killed it.
    Linked(String),
    /// A group that stood under it was given up because of the actor of this name; the supervisor killed it.
    Escalated(String),
    /// It sent what is no frame; the supervisor killed it.
    BadPeer(String),
    /// Its process could not be started.
    NotStarted(String),
}

/// What a hung actor was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hang {
    /// Its thread ran or was blocked, and finished nothing.
    NoProgress,
    /// Its process was stopped by a signal.
    StoppedBySignal(i32),
    /// Its handler waited for something that did not come.
    Waiting,
}

impl Exit {
    /// Whether the actor ended as it meant to: a transient actor is then not restarted.
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Stopped | Exit::Finished | Exit::Declined(_))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Stopped => f.write_str("stopped"),
            Exit::Finished => f.write_str("finished"),
            Exit::StartFailed(e) => write!(f, "start failed: {}", SetIn(e)),
            Exit::StartDeadline => f.write_str("start did not return by its deadline"),
            Exit::Code(code) => write!(f, "exit code {code} without a goodbye"),
            Exit::Signal(number) => f.write_str(signal_name(*number)),
            Exit::Panicked(message) => write!(f, "panic: {}", SetIn(message)),
            Exit::OutOfMemory => f.write_str("out of memory"),
            Exit::StackOverflow => f.write_str("stack overflow"),
            Exit::CpuTime => f.write_str("used all its processor time (SIGXCPU)"),
            Exit::FileSize => f.write_str("a file larger than it may make (SIGXFSZ)"),
            Exit::Unconfined(reason) => {
                write!(f, "cannot be shut in as its spec asks: {}", SetIn(reason))
            }
            Exit::Hung(Hang::NoProgress) => f.write_str("hung: no progress"),
            Exit::Hung(Hang::StoppedBySignal(number)) => {
                write!(f, "hung: stopped by {}", signal_name(*number))
            }
            Exit::Hung(Hang::Waiting) => f.write_str("hung: its handler waited too long"),
            Exit::StopDeadline => f.write_str("killed: did not stop within its grace"),
            Exit::Killed => f.write_str("killed on request"),
            Exit::Declined(reason) => write!(f, "declined to start: {}", SetIn(reason)),
            Exit::Linked(name) => write!(f, "killed: it was linked to {name}, which has ended"),
            Exit::Escalated(name) => write!(f, "killed: a group under it was given up because of {name}"),
            Exit::BadPeer(reason) => write!(f, "killed: {}", SetIn(reason)),
            Exit::NotStarted(error) => write!(f, "no process: {error}"),
        }
    }
}

/// The message that a process was handling when it died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHandMessage {
    /// Its type's name, or its key where the actor never told its protocol.
    pub message: String,
    /// Who sent it.
    pub sender: ActorId,
    /// That actor's name.
    pub sender_name: String,
    /// Its place among all that this sender's incarnation sent to this actor.
    pub sequence: Sequence,
    /// The length of its body in bytes, where the sender is still there to tell.
    pub bytes: Option<u64>,
}

/// What the supervisor decided after an exit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// A new incarnation is started.
    Restart {
        /// After so long.
        after: Duration,
        /// It is the n-th restart within the intensity's period,
        nth: u32,
        /// of so many allowed
        of: u32,
        /// within this period.
        within: Duration,
    },
    /// It had failed as often as it may.
    GivenUp {
        /// So many restarts were allowed
        of: u32,
        /// within this period.
        within: Duration,
    },
    /// Its policy asks for no restart, or somebody stopped it.
    Ended,
    /// It was stopped because of another in its group, and is started again with it.
    WithGroup,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Restart { after, nth, of, within } => {
                let (ending, within, after) = (ordinal_ending(*nth), within.as_secs(), after.as_millis());
                write!(f, "restarted: {nth}{ending} of {of} in {within} s, after {after} ms")
            }
            Verdict::GivenUp { of, within } => {
                write!(f, "given up: more than {of} restarts in {} s", within.as_secs())
            }
            Verdict::Ended => f.write_str("not restarted"),
            Verdict::WithGroup => f.write_str("restarted with its group"),
        }
    }
}

fn ordinal_ending(number: u32) -> &'static str {
    match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// Everything that is known of one exit. Each abnormal exit writes exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrashReport {
    /// The actor.
    pub actor: ActorId,
    /// Its name.
    pub name: String,
    /// Its Rust type.
    pub actor_type: String,
    /// Which of its lives ended.
    pub incarnation: Incarnation,
    /// The process that it was; 0 if there was none.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
    /// Where it panicked, and the backtrace if `RUST_BACKTRACE` asked for one.
    pub panic: Option<Panic>,
    /// What it was handling.
    pub in_hand: Option<InHandMessage>,
    /// The last lines of its standard error.
    pub stderr: Vec<String>,
    /// What its thread was doing when it was found to hang: a line for each function, innermost first. `None` if
    /// it was not found to hang, and where its process could not say it.
    pub stack: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// How long it lived.
    pub uptime: Duration,
    /// The fault of the plan that was injected into this process last, if it is one that ends or hangs a process.
    pub injected: Option<Box<Injection>>,
    /// What was decided then.
    pub verdict: Verdict,
}

/// The first panic of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// File, line and column.
    pub location: String,
    /// The name of the thread.
    pub thread: String,
    /// The backtrace, if `RUST_BACKTRACE` asked for one.
    pub backtrace: Option<String>,
}

impl Panic {
    /// What a dying process said of itself, as it may be shown.
    pub(crate) fn harmless(self) -> Panic {
        Panic {
            message: harmless::text(&self.message, harmless::MESSAGE),
            location: harmless::name(&self.location),
            thread: harmless::name(&self.thread),
            backtrace: self.backtrace.map(|trace| harmless::text(&trace, harmless::BACKTRACE)),
        }
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} (pid {}): {}", self.name, self.incarnation, self.pid, self.exit)?;
        if let Some(m) = &self.in_hand {
            write!(f, "; in hand: {} {} from {}", m.message, m.sequence, m.sender_name)?;
        }
        if let Some(injection) = &self.injected {
            write!(f, "; injected: {injection}")?;
        }
        write!(f, "; {}", self.verdict)?;
        if let Some(stack) = &self.stack {
            f.write_str("\n  its thread was here, innermost first:")?;
            for line in stack.lines() {
                write!(f, "\n  {}", SetIn(line))?;
            }
        }
        Ok(())
    }
}
