//! What an actor is: state in a process of its own, and a handler for each of its messages.

use std::collections::HashSet;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::AbortHandle;

use crate::address::{Address, IntoRaw};
use crate::administration::administration_error;
use crate::clock;
use crate::error::{AdministrationError, Error, Result, SpawnError, SystemError};
use crate::event::Down;
use crate::group::Group;
use crate::message::{Includes, Message, Protocol};
use crate::monitor;
use crate::node::Node;
use crate::reply::ReplyTo;
use crate::sender::SenderEnded;
use crate::spec::Spec;
use crate::system;
use crate::wire::codec::{self, EncodeError};
use crate::wire::control::{Answer, Request};
use crate::wire::frame::{BODY_LIMIT, Status};
use crate::wire::ids::{ActorId, Incarnation, LinkId, MessageKey, RawAddress, Sequence};
use crate::wire::passing::{self, Beside};

/// State that lives in a process of its own and changes only as messages are handled, one after another.
///
/// A panic, an abort, a fault in C code, an endless loop: each ends this process alone. The next incarnation begins
/// with `start` and the same arguments; what the state was is gone, so keep elsewhere what must outlive a crash.
///
/// ```no_run
/// use watertight::prelude::*;
///
/// struct Counter { total: i64 }
///
/// #[message] struct Add(i64);
/// #[message(reply = i64)] struct Total;
///
/// impl Actor for Counter {
///     type Args = i64;
///     type Messages = (Add, Total);
///     async fn start(total: i64, _: &mut Context<Self>) -> Result<Self> { Ok(Self { total }) }
/// }
/// impl Handler<Add> for Counter {
///     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Result<()> { self.total += n; Ok(()) }
/// }
/// impl Handler<Total> for Counter {
///     async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> Result<i64> { Ok(self.total) }
/// }
/// ```
#[allow(async_fn_in_trait)]
pub trait Actor: Sized + 'static {
    /// What it is started with, at every incarnation again.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// The closed set of its messages, as a tuple.
    type Messages: Protocol<Self>;

    /// Builds the state. The actor takes messages once this has returned; an error is a failed start.
    fn start(arguments: Self::Args, cx: &mut Context<Self>) -> impl Future<Output = Result<Self>>;

    /// Called after the last message when the actor ends as it should: not after a crash.
    fn stopped(&mut self, _cx: &mut Context<Self>) -> impl Future<Output = ()> {
        async {}
    }
}

/// How an actor handles one of its messages.
///
/// An `Err` is a reply: the asker gets [`AskError::Failed`](crate::AskError::Failed), the actor is well. A panic is a
/// crash.
#[diagnostic::on_unimplemented(
    message = "the actor `{Self}` has no `Handler<{M}>`",
    note = "every message in `type Messages` needs a handler"
)]
#[allow(async_fn_in_trait)]
pub trait Handler<M: Message>: Actor {
    /// Handles one message. While it awaits, no other message of this actor is handled.
    fn handle(&mut self, message: M, cx: &mut Context<Self>) -> impl Future<Output = Result<M::Reply>>;
}

/// What an actor knows and can do while it handles a message.
pub struct Context<A: Actor> {
    pub(crate) node: Arc<Node>,
    pub(crate) own: RawAddress,
    pub(crate) current: Current,
    pub(crate) reply: ReplyState,
    /// The encoded reply, kept for its room.
    pub(crate) body: Vec<u8>,
    /// What goes with it.
    pub(crate) beside: Beside,
    pub(crate) stopping: bool,
    /// What `start` wants known.
    pub(crate) info: Option<Vec<u8>>,
    /// The links of which a [`SenderEnded`](crate::SenderEnded) will come.
    pub(crate) watched_senders: HashSet<LinkId>,
    /// Of the message in hand, if its sender was not watched before.
    pub(crate) new_watch: Option<SenderEnded>,
    pub(crate) actor: PhantomData<fn(A)>,
}

/// The message in hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) link: LinkId,
    pub(crate) sender: ActorId,
    pub(crate) sequence: Sequence,
    pub(crate) key: MessageKey,
    pub(crate) attempt: u8,
    pub(crate) deadline: Option<u64>,
    pub(crate) is_ask: bool,
    pub(crate) reply_address: RawAddress,
}

/// What has become of the reply to the message in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyState {
    /// Nothing yet.
    Open,
    /// Somebody holds a [`ReplyTo`].
    Deferred,
    /// It is in `body`.
    Made(Status),
}

/// Largest start info: it is kept for each actor and goes with every listing.
const INFO_LIMIT: usize = 64 << 10;

impl<A: Actor> Context<A> {
    /// This actor's address: to hand to others, or to tell oneself.
    pub fn address(&self) -> Address<A> {
        Address::new(self.own)
    }

    /// This actor's name.
    pub fn name(&self) -> &str {
        &self.node.identity.name
    }

    /// Which of the actor's lives this is: 1 for the first.
    pub fn incarnation(&self) -> Incarnation {
        self.node.identity.incarnation
    }

    /// How many times the message in hand has been tried, this one included. More than 1 only for idempotent messages,
    /// after a crash.
    pub fn attempt(&self) -> u8 {
        self.current.attempt
    }

    /// When the asker of the message in hand stops waiting; `None` for a message that was told.
    pub fn deadline(&self) -> Option<Instant> {
        self.current.deadline.map(clock::instant)
    }

    /// Who sent the message in hand.
    pub fn sender(&self) -> ActorId {
        self.current.sender
    }

    /// Answers the message in hand later, or lets somebody else answer: `keep` puts the right to reply where it is
    /// wanted. The asker's deadline goes on.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # #[message(reply = String)] struct Next;
    /// # struct Desk { waiting: Vec<ReplyTo<String>> }
    /// # impl Actor for Desk { type Args = (); type Messages = (Next,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Desk { waiting: vec![] }) } }
    /// impl Handler<Next> for Desk {
    ///     async fn handle(&mut self, _: Next, cx: &mut Context<Self>) -> Result<String> {
    ///         cx.defer(|reply| self.waiting.push(reply))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Always, with a value that only says "answered later": return it.
    pub fn defer<R>(&mut self, keep: impl FnOnce(ReplyTo<R>)) -> Result<R> {
        self.reply = ReplyState::Deferred;
        keep(ReplyTo::new(&self.node, &self.current));
        Err(Error::deferred())
    }

    /// Starts a child: an actor that stands under this one and ends with it.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn spawn<B: Actor>(&mut self, arguments: B::Args) -> Result<Address<B>, SpawnError> {
        self.spawn_with(Spec::new(arguments)).await
    }

    /// Starts a child as its spec says.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn spawn_with<B: Actor>(&mut self, spec: Spec<B>) -> Result<Address<B>, SpawnError> {
        system::spawn(&self.node, spec).await
    }

    /// Starts a group that stands under this actor and ends with it. If the group is given up, this actor is killed: to
    /// everybody else it has crashed.
    ///
    /// # Errors
    /// [`AdministrationError`], with the path of the child at fault.
    pub async fn start_group(&mut self, group: Group) -> Result<(), AdministrationError> {
        let request = Request::StartGroup(Box::new(group.into_request(None)?));
        match self.node.request(request).await {
            Ok(Answer::Done) => Ok(()),
            other => Err(administration_error(other)),
        }
    }

    /// The address of a child that this actor has spawned by this name: in this life, or in an earlier one if the
    /// child [outlives its parent](crate::Spec::outlives_parent).
    ///
    /// # Errors
    /// [`SystemError::NoSuchName`], [`SystemError::OtherType`].
    pub async fn child<B: Actor>(&mut self, name: &str) -> Result<Address<B>, SystemError> {
        let protocol = <B::Messages as Protocol<B>>::FINGERPRINT;
        match self.node.request(Request::OwnChild { name: name.to_owned(), protocol }).await {
            Ok(Answer::Address(raw)) => Ok(Address::new(raw)),
            other => Err(system::system_error(other)),
        }
    }

    /// Says, from within `start`, that there is nothing to run: no failure, no restart. Return its value. OTP's
    /// `ignore`.
    ///
    /// # Errors
    /// Always, with a value that only says so: return it.
    pub fn decline<T>(&self, reason: impl std::fmt::Display) -> Result<T> {
        Err(Error::declined(reason))
    }

    /// Makes something known about this life, from within `start`: see [`ActorInfo::start_info`](crate::ActorInfo).
    /// OTP's start info.
    ///
    /// # Errors
    /// When it does not encode, or to more than 64 KiB.
    pub fn announce(&mut self, info: &impl Serialize) -> Result<()> {
        self.info = Some(codec::encode(info, INFO_LIMIT)?);
        Ok(())
    }

    /// Shares the fate of `actor` from here on: when this life of one of them ends abnormally, the other's process is
    /// killed. Each is then restarted as its own spec says. An end as it was meant ends only the link. To be told and
    /// stay alive, [monitor](Self::monitor) instead.
    ///
    /// # Errors
    /// [`SystemError::NotRunning`] if it has no process right now; [`SystemError`] when the address leads nowhere.
    pub async fn link(&mut self, actor: &impl IntoRaw) -> Result<(), SystemError> {
        system::done(&self.node, Request::FateLink { address: actor.raw() }).await
    }

    /// Shares it no longer.
    ///
    /// # Errors
    /// [`SystemError`] when the address leads nowhere.
    pub async fn unlink(&mut self, actor: &impl IntoRaw) -> Result<(), SystemError> {
        system::done(&self.node, Request::FateUnlink { address: actor.raw() }).await
    }

    /// Asks for one [`Down`] when this incarnation of `actor` ends, behind everything that it had sent here; at once if
    /// it has ended already. Returns the monitor's number, which the `Down` carries. `Down` must be among this actor's
    /// messages. A monitor lasts until its `Down`, until it is [ended](Self::demonitor), or as long as this incarnation.
    /// If the future is dropped before it is ready, there is no monitor, though a `Down` may be on its way already.
    ///
    /// # Errors
    /// [`SystemError`] when the address leads nowhere.
    pub async fn monitor<P>(&mut self, actor: &impl IntoRaw) -> Result<u64, SystemError>
    where
        A::Messages: Includes<Down, P>,
    {
        monitor::begin_for_actor(&self.node, actor.raw()).await
    }

    /// Ends a monitor. A [`Down`] that is already on its way may still come.
    pub async fn demonitor(&mut self, monitor: u64) {
        // Without a supervisor there are no monitors either.
        let _ = self.node.request(Request::Demonitor { monitor }).await;
    }

    /// Tells this actor `message` after `wait`. The timer ends with this incarnation.
    pub fn send_after<M: Message, P>(&mut self, wait: Duration, message: M) -> Timer
    where
        A::Messages: Includes<M, P>,
    {
        let address = self.address();
        let task = self.node.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            tell_self(&address, message).await;
        });
        Timer(task.abort_handle())
    }

    /// Tells this actor what `message` makes, every `period`. A tick that comes while the last one is still being
    /// waited on is left out, so ticks never pile up. The timer ends with this incarnation.
    pub fn send_every<M: Message, P>(
        &mut self,
        period: Duration,
        mut message: impl FnMut() -> M + Send + 'static,
    ) -> Timer
    where
        A::Messages: Includes<M, P>,
    {
        let address = self.address();
        let task = self.node.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                tell_self(&address, message()).await;
                if let Ok(link) = address.link() {
                    link.settled().await;
                }
            }
        });
        Timer(task.abort_handle())
    }

    /// Says that work goes on: a long computation that calls this is not taken for hung. Costs one store.
    pub fn progress(&self) {
        self.node.recorder.add_progress();
    }

    /// Ends the actor after the message in hand: normally, so that a transient one is not restarted.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Takes what the handler returned. The message has been dropped by now.
    pub(crate) fn set_reply<M: Message>(&mut self, result: Result<M::Reply>) {
        if self.reply == ReplyState::Deferred {
            return;
        }
        if !self.current.is_ask {
            if let Err(error) = &result
                && !error.is_deferred()
            {
                tracing::warn!(message = M::NAME, %error, "a told message failed");
            }
            return;
        }
        self.body.clear();
        self.beside.clear();
        let body = &mut self.body;
        let (status, (encoded, beside)) = match &result {
            Ok(reply) => {
                let write = || codec::encode_into(reply, body, BODY_LIMIT);
                (Status::Ok, passing::collecting_if(M::REPLY_DESCRIPTORS, write))
            }
            Err(error) => (Status::Failed, (codec::encode_into(error, body, BODY_LIMIT), Beside::new())),
        };
        self.reply = ReplyState::Made(match encoded {
            Ok(()) => {
                self.beside = beside;
                status
            }
            Err(EncodeError::TooLarge(_)) => Status::TooLarge,
            Err(error) => {
                let error = Error::from(error).context("the reply does not encode");
                // An error is a few texts: it encodes.
                let _ = codec::encode_into(&error, &mut self.body, BODY_LIMIT);
                Status::Failed
            }
        });
    }
}

async fn tell_self<A: Actor, M: Message>(address: &Address<A>, message: M) {
    if let Err(error) = address.tell_any(message).await {
        tracing::warn!(message = M::NAME, error = %error, "a timer's message was not accepted");
    }
}

/// A running timer; dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Ends the timer. A message that it has already sent still comes.
    pub fn cancel(&self) {
        self.0.abort();
    }
}
