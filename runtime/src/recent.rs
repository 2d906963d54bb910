//! What happened last in a system, and what its processes have in hand: for whoever has to find out why a test failed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::report::InHandMessage;
use crate::wire::ids::{ActorId, Incarnation, Sequence};

/// All of it, at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recent {
    /// That moment, in nanoseconds of the machine's monotonic clock.
    pub(crate) now: u64,
    /// The last events, oldest first, and when they were.
    pub(crate) events: Vec<(u64, Event)>,
    /// The last messages of each process, those that have ended too, oldest first.
    pub(crate) messages: Vec<HandledMessage>,
    /// Those that have a process.
    pub(crate) actors: Vec<Activity>,
}

/// A message that an actor has begun to handle, by its flight recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandledMessage {
    /// When it was begun.
    pub(crate) at: u64,
    pub(crate) receiver: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) sender: String,
    pub(crate) sequence: Sequence,
    /// Its type's name.
    pub(crate) message: String,
    pub(crate) outcome: Outcome,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Its handler has not returned.
    InHand,
    /// Its process has ended before its handler returned.
    Died,
    /// Its handler has returned after so many nanoseconds.
    Handled(u64),
    /// It was not given to the handler: expired, refused or withdrawn.
    Refused,
}

/// What one actor's process is doing, by its flight recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activity {
    pub(crate) actor: ActorId,
    /// Its thread sleeps until something happens.
    pub(crate) parked: bool,
    pub(crate) in_hand: Option<InHandMessage>,
    /// Who has sent how much that is not settled yet.
    pub(crate) waiting: Vec<(String, u64)>,
}

impl fmt::Display for HandledMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receiver, incarnation, sender, sequence, message, .. } = self;
        write!(f, "{receiver}#{incarnation} {message} {sequence} from {sender}: {}", self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::InHand => f.write_str("in hand"),
            Outcome::Died => f.write_str("in hand as the process ended"),
            Outcome::Handled(took) => write!(f, "handled in {:.1?}", Duration::from_nanos(*took)),
            Outcome::Refused => f.write_str("not given to its handler"),
        }
    }
}
