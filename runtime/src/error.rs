//! The error that handlers and programs return, and the outcomes of sending.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::harmless::SetIn;
use crate::report::CrashReport;
use crate::spec::{NAME_LIMIT, SpecError};

/// What a handler, a `start` or a program gives up with: a message, and the messages of its causes.
///
/// It travels: a handler's error is a reply. So it keeps texts, not values. Any `std::error::Error` turns into it by `?`.
///
/// ```
/// fn parse(text: &str) -> watertight::Result<i64> {
///     Ok(text.parse::<i64>()?)
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    message: String,
    causes: Vec<String>,
    kind: Kind,
}

/// What an error means to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Error,
    /// Somebody will answer later.
    Deferred,
    /// There is nothing to start.
    Declined,
}

/// `Ok`, or a [`struct@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Deepest chain of causes that is kept: what a reader still reads.
const CAUSES: usize = 16;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Error {
        Error { message: message.to_string(), causes: Vec::new(), kind: Kind::Error }
    }

    /// The same error, introduced by what was attempted.
    #[must_use]
    pub fn context(mut self, attempted: impl fmt::Display) -> Error {
        self.causes.insert(0, std::mem::replace(&mut self.message, attempted.to_string()));
        self.causes.truncate(CAUSES);
        self
    }

    /// The messages of the causes, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What a handler returns when somebody will answer later.
    pub(crate) fn deferred() -> Error {
        Error { message: "answered later".into(), causes: Vec::new(), kind: Kind::Deferred }
    }

    /// What `start` returns when there is nothing to run.
    pub(crate) fn declined(reason: impl fmt::Display) -> Error {
        Error { message: reason.to_string(), causes: Vec::new(), kind: Kind::Declined }
    }

    pub(crate) fn is_declined(&self) -> bool {
        self.kind == Kind::Declined
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.kind == Kind::Deferred
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next.filter(|_| causes.len() < CAUSES) {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Error { message: error.to_string(), causes, kind: Kind::Error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the handler ran, as far as anybody can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Executed {
    /// It was not entered: asking again is safe.
    No,
    /// It was entered and its process died in it, or nobody knows.
    Maybe,
    /// It returned; only its reply is lost.
    Yes,
}

/// Why nothing more can be sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The actor has ended and will not come back.
    #[error("the actor {0} has ended")]
    Ended(String),
    /// It failed more often than its intensity allows.
    #[error("the actor {0} failed too often and was given up")]
    GivenUp(String),
    /// No such actor in this system.
    #[error("no such actor in this system")]
    NoSuchActor,
    /// The capability in the address is not the actor's.
    #[error("the address was forged or belongs to another actor: its capability is not accepted")]
    Forged,
    /// The address belongs to another system or another run of it.
    #[error("the address belongs to another system")]
    OtherSystem,
    /// The address was made for another version of the actor.
    #[error("the actor speaks another protocol than the address was made for")]
    OtherProtocol,
    /// This process holds as many links as it may.
    #[error("this process holds as many links as it may")]
    TooManyLinks,
    /// The system is shutting down, or this process has lost it.
    #[error("the system is shutting down")]
    ShuttingDown,
}

/// Why a `tell` was not accepted; the message comes back with it.
#[derive(Error)]
#[non_exhaustive]
pub enum TellError<M> {
    /// The mailbox is full (from `try_tell`).
    #[error("the mailbox is full")]
    Full(M),
    /// No room until the deadline.
    #[error("the mailbox stayed full until the deadline")]
    Deadline(M),
    /// There is nobody to send to.
    #[error("{1}")]
    Unreachable(M, Unreachable),
    /// It does not encode, or is larger than a frame may be.
    #[error("{1}")]
    Encode(M, crate::wire::codec::EncodeError),
}

impl<M> TellError<M> {
    /// The message that was not accepted.
    pub fn into_message(self) -> M {
        match self {
            TellError::Full(m)
            | TellError::Deadline(m)
            | TellError::Unreachable(m, _)
            | TellError::Encode(m, _) => m,
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How an ask can end other than with its reply. Every ask ends, exactly once, by its deadline.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The handler returned this error. It is a reply: the actor is well.
    #[error("{}", SetIn(&.0.to_string()))]
    Failed(Error),
    /// No reply by the deadline.
    #[error("no reply by the deadline")]
    Deadline {
        /// [`Executed::No`] if the message was skipped or never left.
        executed: Executed,
    },
    /// The process died.
    #[error("{} died (the message {}): {}", report.name, match executed { Executed::Yes => "was handled, its reply is lost", Executed::No => "was not started", Executed::Maybe => "was in hand" }, report.exit)]
    Died {
        /// Whether the handler ran.
        executed: Executed,
        /// What is known of the death.
        report: Box<CrashReport>,
    },
    /// The message has killed as many incarnations as it may, and is put aside.
    #[error("the message killed {attempts} incarnations of {} and is quarantined: {}", report.name, report.exit)]
    Quarantined {
        /// How many times it was tried.
        attempts: u8,
        /// What is known of the last death.
        report: Box<CrashReport>,
    },
    /// There is nobody to ask.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// Answering would wait for this very ask.
    #[error("the ask was refused: the actor it would wait for is waiting for this one")]
    WouldDeadlock,
    /// The actor does not know this message: it is of another build.
    #[error("the actor does not know the message {0}")]
    Incompatible(&'static str),
    /// The actor could not read the message.
    #[error("the actor could not read the message: {}", SetIn(.0))]
    Undecodable(String),
    /// The reply could not be read here.
    #[error("the reply could not be read: {0}")]
    BadReply(String),
    /// What came with the message or its reply, such as a [`Blob`](crate::Blob), is lost, because a process has as many
    /// descriptors open as it may: the actor if it was not executed, else this one, or all of this user's together.
    #[error("what came with the {} is lost: let blobs go, or raise the limit of open files", match executed { Executed::No => "message", _ => "reply" })]
    NoDescriptors {
        /// [`Executed::No`] if it was the message's.
        executed: Executed,
    },
    /// Whoever held the right to answer gave it up.
    #[error("nobody will answer: the right to reply was dropped")]
    NoReply,
    /// The message does not encode, or is larger than a frame may be.
    #[error("{0}")]
    Encode(crate::wire::codec::EncodeError),
}

impl AskError {
    /// Whether the handler ran, as far as anybody can know.
    pub fn executed(&self) -> Executed {
        match self {
            AskError::Died { executed, .. }
            | AskError::Deadline { executed }
            | AskError::NoDescriptors { executed } => *executed,
            AskError::Failed(_) | AskError::BadReply(_) => Executed::Yes,
            AskError::Quarantined { .. } | AskError::NoReply => Executed::Maybe,
            _ => Executed::No,
        }
    }

    /// The report of the death that ended the ask, if one did.
    pub fn report(&self) -> Option<&CrashReport> {
        match self {
            AskError::Died { report, .. } | AskError::Quarantined { report, .. } => Some(report),
            _ => None,
        }
    }
}

/// Why an actor was not started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The spec contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Another actor has the name.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// Its process died, failed or hung before `start` returned.
    #[error("{} did not start: {}", .0.name, .0.exit)]
    Start(Box<CrashReport>),
    /// The operating system started no process.
    #[error("the operating system started no process for {name}: {error}")]
    Process {
        /// The actor.
        name: String,
        /// The system's own words.
        error: String,
    },
    /// The actor's code cannot be named to another process.
    #[error("{0}")]
    Code(String),
    /// Its arguments do not encode.
    #[error("the arguments do not encode: {0}")]
    Arguments(String),
    /// Its `start` said that there is nothing to run, and why.
    #[error("it declined to start: {}", SetIn(.0))]
    Declined(String),
    /// The actor that it would stand under is being stopped.
    #[error("what it would stand under is being stopped")]
    Stopping,
    /// The limit of actors in a system is reached.
    #[error("the system has as many actors as it may: {0}")]
    TooMany(u32),
    /// The system is shutting down.
    #[error("the system is shutting down")]
    ShuttingDown,
    /// The program has as many descriptors open as it may, and those that its arguments own did not get in: nothing was
    /// started. Later it may be.
    #[error("the program has too many descriptors open to take in those of the arguments")]
    NoDescriptors,
}

/// Why something about the supervision tree was not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// A spec contradicts itself; nothing was started.
    #[error("{path}: {error}")]
    Spec {
        /// Of the child at fault.
        path: String,
        /// What does not fit.
        error: SpecError,
    },
    /// A child did not start; what had been started with it has been stopped again.
    #[error("{path}: {error}")]
    Start {
        /// The child.
        path: String,
        /// Why.
        error: Box<SpawnError>,
    },
    /// A child of this name runs; its number comes with it.
    #[error("{path} runs already, as actor {holder}")]
    AlreadyStarted {
        /// The name.
        path: String,
        /// Who has it.
        holder: crate::ActorId,
    },
    /// The spec of a child of this name is kept: restart or delete it.
    #[error("the spec of {0} is kept: restart or delete that one")]
    AlreadyPresent(String),
    /// It runs, starts or stops.
    #[error("{0} runs")]
    Running(String),
    /// It waits for its restart.
    #[error("{0} is being restarted")]
    Restarting(String),
    /// Nothing has this name.
    #[error("nothing is named {0:?}")]
    NotFound(String),
    /// It is no group.
    #[error("{0} is no group")]
    NotAGroup(String),
    /// A group whose children have specs of their own has no instances.
    #[error("{0} is no dynamic group: start a child with a spec of its own")]
    NotDynamic(String),
    /// It has no spec of its own that could be restarted, deleted or added to: it stands alone or in a dynamic group,
    /// or is one.
    #[error("{0} is in a dynamic group, is one, or stands alone: only its instances are started and stopped")]
    Dynamic(String),
    /// The instances of this dynamic group are of another type.
    #[error("the instances of {0} are of another type")]
    OtherType(String),
    /// It would stand under something that is not running.
    #[error("{0} does not run or is being stopped")]
    Stopping(String),
    /// Only the program that holds the system may do this.
    #[error("only the program that started the system may do this")]
    NotAllowed,
    /// The system is shutting down.
    #[error("the system is shutting down")]
    ShuttingDown,
}

/// Why a question to the supervisor has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum SystemError {
    /// No actor has the name.
    #[error("no actor is named {0:?}")]
    NoSuchName(String),
    /// The actor with the name speaks another protocol.
    #[error("the actor named {0:?} is of another type")]
    OtherType(String),
    /// The actor has no process right now that could share a fate.
    #[error("{0} does not run right now")]
    NotRunning(String),
    /// No actor had the name by the deadline of `wait_for`, or the one that had it was still starting.
    #[error("no actor named {name:?} was ready within {waited:?}")]
    NotInTime {
        /// The name.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A name, of an actor or of a group, that is empty, too long, or has characters that do not print.
    #[error("the name {0:?} is empty, longer than {NAME_LIMIT} bytes, or has characters that do not print")]
    BadName(String),
    /// A fault plan that is not possible.
    #[error("failed to take a fault plan: {0}")]
    Plan(#[from] crate::fault::PlanError),
    /// Another actor has the name.
    #[error("the name {name:?} is taken by the actor {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// The first name of the actor that has it.
        holder: String,
    },
    /// The name that an actor was started with stays with it.
    #[error("the name {0:?} came with the actor's spec: it stays until the actor ends")]
    NameStays(String),
    /// The name is another actor's.
    #[error(
        "the name {name:?} belongs to the actor {holder}: only that actor or the program may take it back"
    )]
    NotYourName {
        /// The name.
        name: String,
        /// The first name of the actor that has it.
        holder: String,
    },
    /// The group has members of another actor type.
    #[error("the group {0:?} has members of another type")]
    OtherGroupType(String),
    /// A limit is reached.
    #[error("there may be at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// The limit.
        limit: u32,
    },
    /// The address does not lead to an actor.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// Only the program that holds the system may ask for this.
    #[error("only the program that started the system may do this")]
    NotAllowed,
    /// The system cannot listen.
    #[error("{0}")]
    Listen(String),
    /// No system to attach to.
    #[error("{0}")]
    Attach(String),
    /// The system is shutting down, or this process has lost it.
    #[error("the system is shutting down")]
    ShuttingDown,
}
