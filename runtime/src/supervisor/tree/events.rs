//! What goes into the tree and what comes out.

use super::{Flags, NodeId, Plan, Ticket};
use crate::report::Verdict;

/// Something has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A timer may be due.
    Tick,
    /// An actor, or a group with all that is in it, is to be started under `parent`. Its numbers are new and rise.
    Start { parent: NodeId, plan: Plan, ticket: Ticket },
    /// The process of an actor runs its own code; another may be spawned.
    Booted(NodeId),
    /// The actor's `start` has returned.
    Ready(NodeId),
    /// The actor's process has ended, or there never was one.
    Exited(NodeId, End),
    /// Stop this; the answer comes when it has ended.
    Terminate(NodeId, Ticket),
    /// Start again what was stopped.
    Restart(NodeId, Ticket),
    /// Forget the spec of what was stopped.
    Delete(NodeId, Ticket),
    /// New flags for a group, all at once.
    SetFlags(NodeId, Flags, Ticket),
    /// Stop everything; the answer comes when all has ended.
    Shutdown(Ticket),
}

/// How a process ended, as far as the decision goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it meant to.
    Normal,
    /// Any other way.
    Abnormal,
    /// Its `start` said that there is nothing to run.
    Declined,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    /// After [`Event::Exited`], always the first: what becomes of the actor.
    Verdict(NodeId, Verdict),
    /// Spawn the actor's next process.
    Launch(NodeId),
    /// Ask its process to stop.
    Ask(NodeId),
    /// Kill its process.
    Kill(NodeId, Why),
    /// This actor or group has ended for good; its name is free.
    Retired { node: NodeId, given_up: bool },
    /// All that is in the group has been started.
    GroupUp(NodeId),
    /// All that is in the group has ended.
    GroupDown { group: NodeId, outcome: Outcome, verdict: Verdict },
    /// A group at the root has failed: the program is to end, and to name this actor.
    Escalate { group: NodeId, cause: NodeId },
    /// To a question.
    Answer(Ticket, Reply),
}

/// Why a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// Its `start` took too long.
    StartDeadline,
    /// It was asked to stop and did not.
    StopDeadline,
    /// Its spec says that it is not asked.
    Brutal,
    /// The life of the actor above has ended.
    Parent,
    /// A group under it has failed, because of this actor.
    Escalated(NodeId),
}

/// How a group came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    /// Somebody stopped it, or its own group did.
    Stopped,
    /// This one in it did not start.
    StartFailed(NodeId),
    /// More restarts than it bears, the last because of this one.
    GaveUp(NodeId),
    /// Its significant children have ended.
    AutoShutdown,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    /// It is up.
    Started,
    /// It runs nothing, by its own word.
    Declined,
    /// Done.
    Done,
    /// It did not start, because of this actor.
    Failed(NodeId),
    /// No.
    Refused(Refused),
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// There is no such node.
    NotFound,
    /// It runs, starts or stops.
    Running,
    /// It waits for its restart.
    Restarting,
    /// It has no spec of its own that could be restarted or deleted: it stands alone, or in a dynamic group.
    Dynamic,
    /// It is no group.
    NotAGroup,
    /// What it would stand under is being stopped.
    Stopping,
    /// This one is significant, and the flags say that nothing is.
    Significant(NodeId),
}
