//! The conversation of a process with its supervisor, on its control link.
//!
//! Each side begins with a [`Hello`](super::hello::Hello). Then come frames: `u32 length of the body, u8 descriptors,
//! 3 zero bytes, body`, the body a [`ToSupervisor`] or a [`ToPeer`] in postcard. None of these types is recursive, so
//! reading one needs no more stack than its size.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::codec::{self, DecodeError, EncodeError};
use super::frame::{BODY_LIMIT, Status};
use super::ids::{ActorId, Capability, Incarnation, LinkId, MessageKey, RawAddress, Sequence, SystemId};
use super::passing::{self, Passed, PassedIfRoom};
use crate::administration::{NodeInfo, SpecInfo};
use crate::error::{AdministrationError, SpawnError, SystemError, Unreachable};
use crate::event::{ActorInfo, Down, Event, Membership};
use crate::fault::{Injection, Injector, Plan, PlanError};
use crate::group::Flags;
use crate::ledger::Ledger;
use crate::process::child::Limits;
use crate::process::code_reference::{CodeReference, Image};
use crate::profile::{Confinement, Profile};
use crate::recent::Recent;
use crate::report::{CrashReport, Panic};
use crate::spec::{Backoff, Options, Restart, Window};

/// Bytes before the body of a control frame.
pub const HEADER: usize = 8;
/// Largest body of a control frame: an actor's arguments and a little.
pub const LIMIT: usize = BODY_LIMIT + (64 << 10);
/// Most descriptors in one control frame: those beside an actor's arguments, and one of the message itself.
pub const DESCRIPTORS: usize = passing::LIMIT + 1;

/// Longest description of a stack, in bytes: sixty-four frames with a line each, and a report is to be read. A longer
/// one is not taken.
pub const STACK: usize = 16 << 10;

/// A process speaks to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// `start` has returned; messages may come. Carries the names of the protocol's messages, for reports,
    /// what `start` wants known, and how the process is shut in.
    Ready { protocol: Vec<(MessageKey, String)>, info: Option<Vec<u8>>, confinement: Confinement },
    /// It could not be shut in as its spec asks, and has not run its actor's code.
    Unconfined { reason: String },
    /// `start` returned an error, or could not be entered.
    StartFailed { error: String },
    /// `start` said that there is nothing to run.
    Declined { reason: String },
    /// A thread has panicked; the process is about to abort.
    Panicked(Panic),
    /// The process is about to leave as it should.
    Goodbye { finished: bool },
    /// A question; the answer carries the number.
    Request { number: u64, request: Request },
    /// Everything that a dead sender had sent on this link has been handled.
    LinkDrained { link: LinkId },
    /// The message that a dead receiver had in hand on this link had been answered: it counts as processed.
    AnsweredInHand { link: LinkId },
    /// So many messages on this link had been acknowledged by a dead receiver whose recorder could not be believed.
    ProcessedUntold { link: LinkId, processed: u64 },
    /// The receiver of this link has ended, and everything that waited for it is settled here.
    LinkForgotten { link: LinkId },
    /// The peer on this link sent what is no frame.
    BadPeer { link: LinkId, reason: String },
    /// The socket of this link has ended, or could not be taken up, and its peer is not known to have died.
    LinkBroken { link: LinkId },
    /// Messages were accepted and will not be handled.
    DeadLetters { link: LinkId, receiver: ActorId, reason: DeadLetterReason, key: MessageKey, count: u64 },
    /// What the actor's thread is doing, as asked for; `None` if that could not be seen. Said by the control thread.
    Stack { text: Option<String> },
    /// A fault of the plan is about to be injected here.
    Injected(Box<Injection>),
}

/// Why accepted messages were not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// The receiver died while it was handling the message.
    InDoubt,
    /// The message has killed as many incarnations as it may.
    Quarantined,
    /// The receiver has ended for good.
    ReceiverEnded,
    /// The deadline had passed before its handler was entered.
    Expired,
    /// The receiver does not know the message, or cannot read it.
    Refused,
    /// A fault plan said so.
    Injected,
}

/// Questions to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start an actor under the one who asks.
    Spawn(Box<SpawnRequest>),
    /// A link to this address.
    Link { address: RawAddress },
    /// Tell me when this incarnation ends. The monitor's number is the request's.
    Monitor { address: RawAddress },
    /// Stop telling me.
    Demonitor { monitor: u64 },
    /// Stop the actor for good; answered when it has ended.
    Stop { address: RawAddress },
    /// Kill the actor's process, as if it had crashed.
    Kill { address: RawAddress },
    /// The address of a name.
    Find { name: String, protocol: u64 },
    /// The address of a name, as soon as its actor is ready, for so long.
    WaitFor { name: String, protocol: u64, wait: Duration },
    /// Answer the question of this number now: nobody waits for its name any more.
    StopWaiting { number: u64 },
    /// Give this actor one more name.
    Register { name: String, address: RawAddress },
    /// Take such a name back.
    Unregister { name: String },
    /// Take the asking process into a group, until it ends.
    Join { group: String },
    /// Let it out.
    Leave { group: String },
    /// Tell me of the members of a group, under a number of mine: first of those that there are, then answer, then of
    /// every change. With a protocol, only of members that speak it, as `Member`; else of all, as `Membership`.
    Watch { group: String, watch: u64, protocol: Option<u64> },
    /// Stop telling me.
    Unwatch { watch: u64 },
    /// What is known of one actor.
    Info { actor: ActorId },
    /// What is known of all.
    List,
    /// The ledger of one actor, or of all.
    Ledger { actor: Option<ActorId> },
    /// Send me every event from now on.
    Events,
    /// Let programs attach by this name.
    Listen { name: String },
    /// Stop everything, in reverse order; answered when all have ended.
    Shutdown,
    /// Start a group; answered when all that is in it is up.
    StartGroup(Box<GroupRequest>),
    /// Start one more child in the group of this name.
    StartChild { group: String, child: Box<SpawnRequest> },
    /// Start one more of its kind in a dynamic group.
    StartInstance {
        group: String,
        name: Option<String>,
        actor_type: String,
        protocol: u64,
        arguments: Arguments,
    },
    /// Something about what has this name.
    Administer { path: String, act: Administration },
    /// The tree under this name, or all of it.
    Tree { path: Option<String> },
    /// End me when that one ends abnormally, and the other way round.
    FateLink { address: RawAddress },
    /// No longer.
    FateUnlink { address: RawAddress },
    /// The address of the asker's own child of this name.
    OwnChild { name: String, protocol: u64 },
    /// Inject these faults from now on, and none of an earlier plan.
    Inject(Box<Plan>),
    /// What has been injected.
    Injections,
    /// Send me no more events.
    EndEvents,
    /// What this actor's thread is doing now.
    Stack { actor: ActorId },
    /// The last events and messages, and what every process has in hand.
    Recent,
}

/// What is done about one node of the supervision tree.
#[derive(Debug, Serialize, Deserialize)]
pub enum Administration {
    /// Stop it, keep its spec.
    Terminate,
    /// Start it again.
    Restart,
    /// Forget its spec.
    Delete,
    /// Give a group new flags.
    SetFlags(Flags),
    /// Tell its spec.
    Spec,
}

/// A group with all that is in it, flat: parents stand before their children, so that reading it needs no deep stack.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GroupRequest {
    /// The group that it shall stand in.
    pub(crate) under: Option<String>,
    pub(crate) nodes: Vec<GroupNode>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GroupNode {
    /// Its place in the list; `None` for the first.
    pub(crate) parent: Option<u32>,
    pub(crate) name: Option<String>,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NodeKind {
    Group(GroupOptions),
    /// In a dynamic group: what all its children are made from.
    Actor(Box<SpawnRequest>),
}

/// Everything about a group but its name and its children.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupOptions {
    pub(crate) flags: Flags,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) backoff: Backoff,
    /// It is dynamic: its only child in the list is the template.
    pub(crate) template: Option<()>,
}

/// What to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    pub(crate) name: Option<String>,
    pub(crate) actor_type: String,
    pub(crate) code: CodeReference,
    pub(crate) arguments: Arguments,
    pub(crate) protocol: u64,
    pub(crate) options: Options,
}

/// What an actor is started with: in postcard, with the descriptors that stand beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arguments {
    bytes: Vec<u8>,
    descriptors: PassedIfRoom,
}

impl Arguments {
    /// Writes them.
    pub(crate) fn write(value: &impl Serialize) -> Result<Arguments, EncodeError> {
        let (bytes, descriptors) = passing::collecting(|| codec::encode(value, BODY_LIMIT));
        Ok(Arguments { bytes: bytes?, descriptors: PassedIfRoom(Some(Passed(descriptors))) })
    }

    /// Whether everything that belongs to them is here: a process that had no room for a descriptor has lost it.
    pub(crate) fn arrived_whole(&self) -> bool {
        self.descriptors.0.is_some()
    }

    /// Reads them, once in each process.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        let Passed(descriptors) = self.descriptors.0.unwrap_or_default();
        let owned: Vec<OwnedFd> = descriptors.into_iter().filter_map(Arc::into_inner).collect();
        passing::offering(owned, || codec::decode_nested(&self.bytes)).0
    }
}

/// The supervisor speaks to a process.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// Who you are and what you run. Carries the recorder's descriptor.
    Start(Box<Ticket>),
    /// To a request.
    Answer { number: u64, answer: Result<Answer, Refusal> },
    /// Your link has a socket now, to this incarnation of the receiver. Carries it.
    LinkUp { link: LinkId, incarnation: Incarnation },
    /// The receiver has died.
    LinkDown { link: LinkId, told: Option<Told>, report: Box<CrashReport> },
    /// The receiver will not come back; ends the link.
    LinkGone { link: LinkId, reason: Unreachable },
    /// Somebody sends to you. Carries the socket.
    IncomingUp {
        link: LinkId,
        sender: ActorId,
        slot: u32,
        resume_after: Sequence,
        window: Window,
        /// Where answers to asks on this link may be sent by others.
        reply_address: RawAddress,
        /// The link may only carry answers.
        answers_only: bool,
    },
    /// That sender has died: handle what it had sent, then report the link as drained.
    IncomingClosed { link: LinkId },
    /// An actor that you monitor has ended. To be seen behind all that it sent on `after`.
    Down { down: Down, after: Option<LinkId> },
    /// A group that you watch has got or lost this member.
    Member { watch: u64, address: RawAddress, incarnation: Incarnation, joined: bool },
    /// The same as a message, to be seen behind all that its earlier lives had sent on `after`.
    Membership { membership: Box<Membership>, after: Option<LinkId> },
    /// Handle what has arrived, then leave.
    Stop,
    /// Something happened in the system, at this time of the machine's monotonic clock.
    Event { at: u64, event: Box<Event> },
    /// Say what your thread is doing: you hang and are about to be killed, or somebody wants to know. Heard by the control
    /// thread.
    DumpStack,
    /// These faults concern you, and none of an earlier plan.
    Faults(Box<Injector>),
}

/// What the dead receiver's recorder told of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Everything up to here is settled.
    pub processed: Sequence,
    /// It was handling this one.
    pub in_hand: Option<Sequence>,
}

/// Who a process is and what it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) system: SystemId,
    pub(crate) actor: ActorId,
    pub(crate) incarnation: Incarnation,
    pub(crate) capability: Capability,
    pub(crate) name: String,
    pub(crate) parent_process: u32,
    pub(crate) image: Image,
    /// Standard output begins with somebody else's words; say where they end.
    pub(crate) heading: bool,
    pub(crate) code: Option<CodeReference>,
    pub(crate) arguments: Arguments,
    pub(crate) protocol: u64,
    pub(crate) limits: Limits,
    /// What is to be injected into this incarnation.
    pub(crate) faults: Option<Box<Injector>>,
    pub(crate) profile: Profile,
}

/// Answers to questions.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// The address.
    Address(RawAddress),
    /// A link, for now without a socket.
    Link { link: LinkId, slot: u32, window: Window, redelivery: u8 },
    /// One actor.
    Info(Box<ActorInfo>),
    /// All actors, in start order.
    List(Vec<ActorInfo>),
    /// The ledger.
    Ledger(Ledger),
    /// A part of the supervision tree, each parent before its children.
    Tree(Vec<NodeInfo>),
    /// One spec.
    Spec(Box<SpecInfo>),
    /// What has been injected, oldest first.
    Injections(Vec<Injection>),
    /// A line for each function, innermost first; `None` if it could not be seen.
    Stack(Option<String>),
    /// What was last.
    Recent(Box<Recent>),
}

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// To a spawn.
    Spawn(SpawnError),
    /// To anything about an address.
    Unreachable(Unreachable),
    /// To anything about the supervision tree.
    Administration(Box<AdministrationError>),
    /// To a fault plan.
    Plan(PlanError),
    /// To the rest.
    System(SystemError),
}

/// The head of a third party's answer; the reply's body follows it in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThirdPartyReply {
    /// The link on which the asker sent its ask.
    pub link: LinkId,
    /// The ask.
    pub sequence: Sequence,
    /// How it ended.
    pub status: Status,
}

impl ThirdPartyReply {
    const LENGTH: usize = 17;

    /// Appends the head.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.link.0.to_le_bytes());
        out.extend_from_slice(&self.sequence.0.to_le_bytes());
        out.push(self.status as u8);
    }

    /// Reads the head; `None` if it is none.
    pub fn read(body: &[u8]) -> Option<(ThirdPartyReply, &[u8])> {
        let (head, rest) = body.split_first_chunk::<{ Self::LENGTH }>()?;
        let number = |at: usize| head[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let status = Status::from_byte(head[16])?;
        Some((ThirdPartyReply { link: LinkId(number(0)), sequence: Sequence(number(8)), status }, rest))
    }
}
