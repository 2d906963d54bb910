//! What users write: plans, rules, faults, cuts.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::refusal::{self, PlanError};
use crate::Message;
use crate::wire::ids::{Incarnation, MessageKey};

/// Error numbers for [`Fault::Error`], as Linux has them.
pub mod errno {
    /// Input or output error.
    pub const EIO: i32 = libc::EIO;
    /// Try again: no process, or no room, right now.
    pub const EAGAIN: i32 = libc::EAGAIN;
    /// Out of memory.
    pub const ENOMEM: i32 = libc::ENOMEM;
    /// Too many open descriptors.
    pub const EMFILE: i32 = libc::EMFILE;
    /// No space left on the device.
    pub const ENOSPC: i32 = libc::ENOSPC;
    /// The other end is gone.
    pub const EPIPE: i32 = libc::EPIPE;
}

/// What happens.
///
/// The first group is committed by the process in which the cut lies, on its own thread, and nobody else notices but by
/// its consequences. The second changes what becomes of one message. The third changes the bytes of one frame, which no
/// socket of the kernel ever does: the runtime ends whoever sent what is no frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// It panics with this message.
    Panic(String),
    /// It aborts.
    Abort,
    /// It writes to address 0.
    Segfault,
    /// It overflows its stack.
    StackOverflow,
    /// It leaves with this code, without a goodbye.
    Exit(i32),
    /// It is killed by SIGKILL.
    Kill,
    /// It is stopped by SIGSTOP, and goes on after so long, unless it was killed for that.
    Stop(Duration),
    /// Its thread computes for ever.
    Loop,
    /// Its thread waits for a lock that it holds itself.
    Deadlock,
    /// It takes memory until its limit stops it; without a limit, a gigabyte.
    Allocate,
    /// It opens descriptors until it has none left, and keeps them.
    ExhaustDescriptors,
    /// It forks so many processes that wait for ever, 64 at most.
    Fork(u32),
    /// From now on no file of its grows: such a write fails with `EFBIG`, because a limit of the process is all that one
    /// process alone can be given. A file system that is full says `ENOSPC`, and to everybody; mount a small one where code
    /// tells the two apart. What the runtime itself makes fails so by
    /// [`Error`](Fault::Error)[`(errno::ENOSPC)`](crate::fault::errno) at a [`Cut::Call`].
    FullDisk,
    /// From now on its runtime's clock, by which deadlines are judged, is so many milliseconds ahead, or behind if negative.
    ClockJump(i64),
    /// Its thread is blocked for so long: a call that takes its time.
    Block(Duration),

    /// It waits for so long before it goes on; its event loop does not stand still. At [`Cut::Arrived`] that is a slow reader.
    Delay(Duration),
    /// The message is not handled: it is a dead letter, with the reason `Injected`. At [`Cut::Answered`] the reply is
    /// never sent, and its asker waits until the deadline.
    Drop,

    /// The frame is sent twice.
    Duplicate,
    /// The frame changes places with the one that waits behind it; if none waits, it is no occasion.
    Reorder,
    /// One bit of the frame, header or body, is turned over. Bodies carry no checksum: it may go unnoticed.
    Corrupt,
    /// The end of the frame is missing.
    Truncate,
    /// The socket of the link is closed. The link is made again, and nothing that was accepted is lost.
    Close,

    /// The call fails with this error number; see [`errno`].
    Error(i32),
}

impl Fault {
    /// A rule for this fault: at every occasion of this cut, in every actor, until something is said about that.
    pub fn at(self, cut: Cut) -> Rule {
        let name = None;
        let message = None;
        Rule {
            fault: self,
            cut,
            actor: name,
            incarnation: None,
            message,
            when: When::Always,
            times: None,
            after: None,
        }
    }
}

/// Where it happens: the places of a process's life, and of a message's way, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cut {
    /// In the supervisor: the process of this actor is about to be started.
    Spawn,
    /// The process has read what it is to be, and has introduced itself; nothing of the user's has run.
    Handshake,
    /// Before `start`.
    Start,
    /// A link on which it is sent to is about to be taken up.
    LinkSetup,
    /// In the sender, the program included: the frame of a message is about to be written.
    Sent,
    /// In the receiver: a message is next, but not recorded as started.
    Arrived,
    /// It is recorded as started and decoded; the handler is about to be entered.
    Started,
    /// The handler waits for something, for the first time.
    Suspended,
    /// The handler has returned; its reply is not written.
    Handled,
    /// A reply is about to be written, a deferred one too. One that another actor gives is a frame of that actor's: `Sent`.
    Answered,
    /// The reply is written; the message is not recorded as processed.
    Replied,
    /// It is recorded as processed; what is not acknowledged by a reply is not acknowledged.
    Processed,
    /// It has been asked to stop, and has handled what had arrived; `stopped` is not entered.
    Stop,
    /// [`point`](super::point) was called with this name.
    Point(String),
    /// The runtime itself is about to make this call, in the supervisor (`supervisor`), the program (`program`) or an actor.
    Call(Call),
}

impl Cut {
    /// A place that a program has named itself, by [`point`](super::point).
    pub fn point(name: impl Into<String>) -> Cut {
        Cut::Point(name.into())
    }
}

/// Calls of the runtime that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Call {
    /// A pair of sockets is made: for a child's control link, or for a link between two.
    SocketPair,
    /// A pipe is made for what a child prints.
    Pipe,
    /// A flight recorder is made.
    CreateRecorder,
    /// A flight recorder is mapped.
    OpenRecorder,
    /// The output of a child is about to be captured.
    Capture,
    /// A control link is registered with the event loop.
    WatchControl,
    /// The end of a process is about to be watched for.
    WatchExit,
    /// A descriptor is copied.
    CopyDescriptor,
    /// A data link is registered with the event loop.
    WatchLink,
    /// A full data link is watched for room.
    WatchRoom,
    /// A data link is read.
    ReadLink,
    /// A data link is written.
    WriteLink,
    /// The kernel is asked for random bytes: a capability.
    Random,
    /// Memory that is shared is made: for a blob, an array, a lock or a pool's board.
    CreateMemory,
    /// Memory that is shared is mapped.
    MapMemory,
    /// The two ends of a channel or a byte stream are made.
    OpenChannel,
    /// The process that outlives the program is about to be started.
    StartSurvivor,
    /// A program that attaches is about to be let in.
    Accept,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 18] = [
        Call::SocketPair,
        Call::Pipe,
        Call::CreateRecorder,
        Call::OpenRecorder,
        Call::Capture,
        Call::WatchControl,
        Call::WatchExit,
        Call::CopyDescriptor,
        Call::WatchLink,
        Call::WatchRoom,
        Call::ReadLink,
        Call::WriteLink,
        Call::Random,
        Call::CreateMemory,
        Call::MapMemory,
        Call::OpenChannel,
        Call::StartSurvivor,
        Call::Accept,
    ];
}

/// How often a rule fires.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum When {
    Always,
    Nth(u64),
    Every(u64),
    /// Out of 2^32.
    Chance(u64),
}

/// One rule: what, where, to whom, how often. Made by [`Fault::at`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use = "a rule does nothing until it stands in a plan"]
pub struct Rule {
    pub(super) fault: Fault,
    pub(super) cut: Cut,
    pub(super) actor: Option<String>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) message: Option<(MessageKey, String)>,
    pub(super) when: When,
    pub(super) times: Option<u32>,
    pub(super) after: Option<Duration>,
}

impl Rule {
    /// Only in actors of this name, in which `*` stands for any characters. `program` is the program and `supervisor`
    /// the supervisor, which are meant by no pattern.
    pub fn actor(mut self, pattern: impl Into<String>) -> Rule {
        self.actor = Some(pattern.into());
        self
    }

    /// Only in this incarnation, counted from 1.
    pub fn incarnation(mut self, incarnation: u32) -> Rule {
        self.incarnation = Some(Incarnation(incarnation));
        self
    }

    /// Only with messages of this type.
    pub fn message<M: Message>(mut self) -> Rule {
        self.message = Some((M::KEY, M::NAME.to_owned()));
        self
    }

    /// At the n-th occasion, counted from 1 in each incarnation. Unless [`times`](Self::times) says otherwise, once under
    /// each name, not again in the next incarnation.
    pub fn nth(mut self, n: u64) -> Rule {
        self.when = When::Nth(n);
        self.times.get_or_insert(1);
        self
    }

    /// At every n-th occasion.
    pub fn every(mut self, n: u64) -> Rule {
        self.when = When::Every(n);
        self
    }

    /// At each occasion with this probability, by the plan's seed.
    pub fn chance(mut self, probability: f64) -> Rule {
        self.when = When::Chance(share(probability));
        self
    }

    /// So often at most under each name, all incarnations together.
    pub fn times(mut self, times: u32) -> Rule {
        self.times = Some(times);
        self
    }

    /// So much later, from another thread of the process: in the middle of what it is doing by then. Only for what ends
    /// or stops a process.
    pub fn after(mut self, wait: Duration) -> Rule {
        self.after = Some(wait);
        self
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped first; a number that is none becomes 0.
fn share(probability: f64) -> u64 {
    (probability.clamp(0.0, 1.0) * 4_294_967_296.0) as u64
}

/// Rules, and the seed of their chances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use = "a plan does nothing until it is given to a system"]
pub struct Plan {
    pub(super) seed: u64,
    pub(super) rules: Vec<Rule>,
}

/// Most rules of a plan: each is looked at, at each of its cuts.
pub(super) const RULES: usize = 1024;

impl Plan {
    /// A plan without rules. The seed decides what is left to chance.
    pub fn seeded(seed: u64) -> Plan {
        Plan { seed, rules: Vec::new() }
    }

    /// With one rule more.
    pub fn with(mut self, rule: Rule) -> Plan {
        self.rules.push(rule);
        self
    }

    /// With the rules of another plan behind its own; its own seed counts.
    pub fn and(mut self, other: Plan) -> Plan {
        self.rules.extend(other.rules);
        self
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether every rule is possible.
    ///
    /// # Errors
    /// [`PlanError`], with the place of the first that is not.
    pub fn check(&self) -> Result<(), PlanError> {
        refusal::check(self)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Panic(text) => write!(f, "panic ({text})"),
            Fault::Abort => f.write_str("abort"),
            Fault::Segfault => f.write_str("segfault"),
            Fault::StackOverflow => f.write_str("stack overflow"),
            Fault::Exit(code) => write!(f, "exit with {code}"),
            Fault::Kill => f.write_str("SIGKILL"),
            Fault::Stop(time) => write!(f, "SIGSTOP for {time:?}"),
            Fault::Loop => f.write_str("endless loop"),
            Fault::Deadlock => f.write_str("deadlock"),
            Fault::Allocate => f.write_str("all memory"),
            Fault::ExhaustDescriptors => f.write_str("all descriptors"),
            Fault::Fork(many) => write!(f, "{many} forks"),
            Fault::FullDisk => f.write_str("full disk"),
            Fault::ClockJump(by) => write!(f, "clock {by:+} ms"),
            Fault::Block(time) => write!(f, "block for {time:?}"),
            Fault::Delay(time) => write!(f, "delay of {time:?}"),
            Fault::Drop => f.write_str("drop"),
            Fault::Duplicate => f.write_str("duplicate"),
            Fault::Reorder => f.write_str("reorder"),
            Fault::Corrupt => f.write_str("corrupt"),
            Fault::Truncate => f.write_str("truncate"),
            Fault::Close => f.write_str("close the link"),
            Fault::Error(number) => write!(f, "{}", std::io::Error::from_raw_os_error(*number)),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Point(name) => write!(f, "point {name}"),
            Cut::Call(call) => write!(f, "call {call:?}"),
            other => write!(f, "{}", format!("{other:?}").to_lowercase()),
        }
    }
}
