//! What happens in a system, as it is told to programs, tests and monitors.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use crate::Message;
use crate::actor::Actor;
use crate::address::{Address, IntoRaw};
use crate::error::{Error, Result};
use crate::fault::{self, Injection};
use crate::message::Protocol;
use crate::node::Node;
use crate::profile::Confinement;
use crate::report::{CrashReport, Exit, Verdict};
pub use crate::wire::control::DeadLetterReason;
use crate::wire::control::Refusal;
use crate::wire::ids::{ActorId, Incarnation, MessageKey, RawAddress};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// An incarnation is ready: its `start` has returned.
    Started {
        /// The actor.
        actor: ActorId,
        /// Its name.
        name: String,
        /// Which life this is.
        incarnation: Incarnation,
        /// Its process.
        pid: u32,
        /// From the order to start it until it was ready.
        took: Duration,
    },
    /// An incarnation has ended, abnormally or not.
    Exited(Box<CrashReport>),
    /// An actor has ended for good.
    Ended {
        /// The actor.
        actor: ActorId,
        /// Its name.
        name: String,
        /// Whether it had failed too often.
        given_up: bool,
    },
    /// Messages were accepted and will not be handled.
    DeadLetters {
        /// Who sent them.
        sender: ActorId,
        /// Who should have had them.
        receiver: ActorId,
        /// Why.
        reason: DeadLetterReason,
        /// The type of the first, or its key in hexadecimal.
        message: String,
        /// How many.
        count: u64,
    },
    /// All that is in a group has been started.
    GroupStarted {
        /// Its number.
        group: ActorId,
        /// Its path.
        path: String,
    },
    /// All that was in a group has ended.
    GroupEnded {
        /// Its number.
        group: ActorId,
        /// Its path.
        path: String,
        /// Why.
        why: GroupEnd,
        /// What was decided about it.
        verdict: Verdict,
    },
    /// A fault of the plan is being injected.
    Injected(Box<Injection>),
    /// So many events were dropped because this listener was too slow.
    Missed(u64),
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Started { name, incarnation, pid, took, .. } => {
                write!(f, "{name}#{incarnation} started: pid {pid}, ready after {took:.1?}")
            }
            Event::Exited(report) => write!(f, "{report}"),
            Event::Ended { name, given_up: true, .. } => write!(f, "{name} was given up"),
            Event::Ended { name, given_up: false, .. } => write!(f, "{name} ended for good"),
            Event::DeadLetters { sender, receiver, reason, message, count } => {
                write!(
                    f,
                    "{count} dead letters ({reason:?}), {message} first, from actor {sender} to actor {receiver}"
                )
            }
            Event::GroupStarted { path, .. } => write!(f, "group {path} started"),
            Event::GroupEnded { path, why, verdict, .. } => write!(f, "group {path} ended: {why}; {verdict}"),
            Event::Injected(injection) => write!(f, "injected: {injection}"),
            Event::Missed(count) => write!(f, "{count} events were missed"),
        }
    }
}

/// The events of a system, in order; from [`System::events`](crate::System::events).
///
/// Up to 65,536 wait here for whoever is slow; what is more is dropped, and an [`Event::Missed`] says how many. Once it is
/// dropped, nothing is kept for it or sent because of it.
pub struct Events {
    receiver: mpsc::Receiver<(u64, Event)>,
    number: u64,
    node: Weak<Node>,
}

impl Events {
    pub(crate) async fn begin(node: &Arc<Node>) -> Result<Events, Refusal> {
        let (number, receiver) = node.listen().await?;
        Ok(Events { receiver, number, node: Arc::downgrade(node) })
    }

    /// The next one; `None` once the system is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.next_timed().await.map(|(_, event)| event)
    }

    /// The same, and when it was, in nanoseconds of the machine's monotonic clock.
    pub(crate) async fn next_timed(&mut self) -> Option<(u64, Event)> {
        self.receiver.recv().await
    }

    /// The next one, if it is here.
    pub(crate) fn try_next_timed(&mut self) -> Option<(u64, Event)> {
        self.receiver.try_recv().ok()
    }

    /// Waits until this incarnation of an actor is ready, and returns its process.
    ///
    /// # Errors
    /// When the system is gone before.
    pub async fn started(&mut self, wanted: &(impl Whom + ?Sized), incarnation: u32) -> Result<u32> {
        self.wait_for(|event| match event {
            Event::Started { actor, name, incarnation: this, pid, .. } => {
                (wanted.is(actor, &name) && this.0 == incarnation).then_some(pid)
            }
            _ => None,
        })
        .await
    }

    /// Waits for the next exit of an actor, and returns what is known of it.
    ///
    /// # Errors
    /// When the system is gone before.
    pub async fn exited(&mut self, wanted: &(impl Whom + ?Sized)) -> Result<Box<CrashReport>> {
        self.wait_for(|event| match event {
            Event::Exited(report) if wanted.is(report.actor, &report.name) => Some(report),
            _ => None,
        })
        .await
    }

    /// The first from now on of which `pick` makes something.
    ///
    /// # Errors
    /// When the system is gone before.
    pub async fn wait_for<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> Result<T> {
        while let Some(event) = self.next().await {
            if let Some(picked) = pick(event) {
                return Ok(picked);
            }
        }
        Err(Error::new("the system ended before the event came"))
    }
}

/// Whose events are waited for: an address, an [`ActorId`], or a name in which `*` stands for any characters.
pub trait Whom {
    /// Whether it is this one.
    fn is(&self, actor: ActorId, name: &str) -> bool;
}

impl<A: IntoRaw> Whom for A {
    fn is(&self, actor: ActorId, _: &str) -> bool {
        self.actor() == actor
    }
}

impl Whom for ActorId {
    fn is(&self, actor: ActorId, _: &str) -> bool {
        *self == actor
    }
}

impl Whom for str {
    fn is(&self, _: ActorId, name: &str) -> bool {
        fault::matches(self, name)
    }
}

impl Whom for String {
    fn is(&self, actor: ActorId, name: &str) -> bool {
        self.as_str().is(actor, name)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            node.end_listening(self.number);
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("waiting", &self.receiver.len()).finish()
    }
}

/// How a group came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupEnd {
    /// Somebody stopped it, or its own group did.
    Stopped,
    /// This child did not start.
    StartFailed(String),
    /// There were more restarts than it bears, the last because of this child.
    GaveUp(String),
    /// Its significant children have ended.
    AutoShutdown,
}

impl std::fmt::Display for GroupEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GroupEnd::Stopped => f.write_str("stopped"),
            GroupEnd::StartFailed(child) => write!(f, "{child} did not start"),
            GroupEnd::GaveUp(child) => write!(f, "given up because of {child}"),
            GroupEnd::AutoShutdown => f.write_str("its significant children have ended"),
        }
    }
}

/// An actor that was monitored has ended this incarnation. Delivered once per monitor, behind everything it sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// The number that `monitor` returned.
    pub monitor: u64,
    /// The actor.
    pub actor: ActorId,
    /// Its name.
    pub name: String,
    /// Which of its lives ended; 0 if it had ended before it was monitored.
    pub incarnation: Incarnation,
    /// How.
    pub exit: Exit,
}

impl Message for Down {
    type Reply = ();
    const NAME: &'static str = "watertight.Down";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
    const DESCRIPTORS: bool = false;
    const REPLY_DESCRIPTORS: bool = false;
}

/// A member has joined or left a group that is watched by `cx.watch_members`. Whoever left by dying comes behind
/// everything that it had sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The number that `watch_members` returned.
    pub watch: u64,
    /// The group.
    pub group: String,
    /// The member.
    pub actor: ActorId,
    /// Its name.
    pub name: String,
    /// Which of its lives is, or was, the member.
    pub incarnation: Incarnation,
    /// Whether it joined; else it left.
    pub joined: bool,
    pub(crate) address: RawAddress,
}

impl Membership {
    /// The member's address; `None` if it is no `A`.
    pub fn address<A: Actor>(&self) -> Option<Address<A>> {
        let is_that = self.address.protocol == <A::Messages as Protocol<A>>::FINGERPRINT;
        is_that.then(|| Address::new(self.address))
    }
}

impl Message for Membership {
    type Reply = ();
    const NAME: &'static str = "watertight.Membership";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
    const DESCRIPTORS: bool = false;
    const REPLY_DESCRIPTORS: bool = false;
}

/// What an actor is doing, as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its process runs, `start` has not returned.
    Starting,
    /// It takes messages.
    Running,
    /// It has died and waits for its restart.
    Restarting,
    /// It has been asked to stop.
    Stopping,
    /// It does not run; its group keeps its spec, and can start it again.
    Stopped,
    /// It has ended for good.
    Ended,
}

/// One actor, as the supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorInfo {
    /// The actor.
    pub actor: ActorId,
    /// Its name.
    pub name: String,
    /// Its Rust type.
    pub actor_type: String,
    /// The actor that started it; [`ActorId::PROGRAM`] for the program.
    pub parent: ActorId,
    /// What it is doing.
    pub phase: Phase,
    /// Which life this is.
    pub incarnation: Incarnation,
    /// Its process, if it has one now.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u64,
    /// The path of the group that it stands in, if it stands in one.
    pub group: Option<String>,
    /// What its `start` has made known with [`Context::announce`](crate::Context::announce), encoded.
    pub start_info: Option<Vec<u8>>,
    /// How its process is shut in, while it runs.
    pub confinement: Option<Confinement>,
    /// The directory of the control group in which its process and all that it starts are, if it has one: what they use is in
    /// files there. See [`Run::cgroup`](crate::Run::cgroup).
    pub control_group: Option<PathBuf>,
    /// How many monitors wait for this life to end: each ends in a [`Down`], unless it is ended before.
    pub monitors: usize,
}

impl ActorInfo {
    /// What its `start` has made known with [`Context::announce`](crate::Context::announce); OTP's start info.
    ///
    /// # Errors
    /// When it is no `T`.
    pub fn start_info<T: DeserializeOwned>(&self) -> crate::Result<Option<T>> {
        Ok(self.start_info.as_deref().map(crate::wire::codec::decode_nested).transpose()?)
    }
}
