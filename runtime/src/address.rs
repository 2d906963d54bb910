//! Addresses: where messages are sent. They survive restarts, travel in messages, and are all that a sender needs.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::actor::Actor;
use crate::clock;
use crate::error::{AskError, Executed, TellError, Unreachable};
use crate::message::{Includes, Message};
use crate::node::outgoing::{Offer, OutLink, failure};
use crate::node::{Node, Outcome, call};
use crate::wire::frame::Status;
use crate::wire::ids::{ActorId, RawAddress};
use crate::wire::passing;

/// How long `tell` waits for room and `ask` for a reply, unless told otherwise: OTP's five seconds.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Where an actor of type `A` is sent messages.
///
/// Cheap to clone; can be a field of a message; stays valid across the actor's restarts. It carries the right to send:
/// an address cannot be guessed.
pub struct Address<A> {
    raw: RawAddress,
    link: OnceLock<Arc<OutLink>>,
    actor: PhantomData<fn(A)>,
}

/// Where any actor that handles `M` is sent that message.
pub struct Recipient<M> {
    raw: RawAddress,
    link: OnceLock<Arc<OutLink>>,
    message: PhantomData<fn(M)>,
}

/// Something that leads to an actor: [`Address`] and [`Recipient`].
pub trait IntoRaw {
    #[doc(hidden)]
    fn raw(&self) -> RawAddress;
    /// The actor that it leads to.
    fn actor(&self) -> ActorId {
        self.raw().actor
    }
}

macro_rules! address {
    ($name:ident<$parameter:ident>, $field:ident) => {
        impl<$parameter> $name<$parameter> {
            pub(crate) fn new(raw: RawAddress) -> Self {
                $name { raw, link: OnceLock::new(), $field: PhantomData }
            }

            /// The actor that it leads to, the same across its restarts.
            pub fn actor(&self) -> ActorId {
                self.raw.actor
            }

            pub(crate) fn link(&self) -> Result<&Arc<OutLink>, Unreachable> {
                if let Some(link) = self.link.get() {
                    return Ok(link);
                }
                let node = Node::of(self.raw.system).ok_or(Unreachable::OtherSystem)?;
                let link = node.link_to(self.raw)?;
                Ok(self.link.get_or_init(|| link))
            }
        }

        impl<$parameter> IntoRaw for $name<$parameter> {
            fn raw(&self) -> RawAddress {
                self.raw
            }
        }

        impl<$parameter> Clone for $name<$parameter> {
            fn clone(&self) -> Self {
                $name { raw: self.raw, link: self.link.clone(), $field: PhantomData }
            }
        }

        impl<$parameter> PartialEq for $name<$parameter> {
            fn eq(&self, other: &Self) -> bool {
                self.raw == other.raw
            }
        }

        impl<$parameter> Eq for $name<$parameter> {}

        impl<$parameter> std::hash::Hash for $name<$parameter> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.raw.hash(state);
            }
        }

        impl<$parameter> fmt::Debug for $name<$parameter> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.raw.actor)
            }
        }

        impl<$parameter> Serialize for $name<$parameter> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.raw.serialize(serializer)
            }
        }

        impl<'de, $parameter> Deserialize<'de> for $name<$parameter> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                RawAddress::deserialize(deserializer).map(Self::new)
            }
        }

        impl<$parameter> postcard_schema::Schema for $name<$parameter> {
            const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
                name: stringify!($name),
                ty: &postcard_schema::schema::DataModelType::Tuple(&[
                    u8::SCHEMA,
                    u64::SCHEMA,
                    u64::SCHEMA,
                    u128::SCHEMA,
                    u64::SCHEMA,
                ]),
            };
        }
    };
}

address!(Address<A>, actor);
address!(Recipient<M>, message);

impl<A: Actor> Address<A> {
    /// Sends `message` and waits for no reply. Waits for room in the mailbox, at most 5 s or
    /// [`deadline`](Tell::deadline); it is accepted once this has returned `Ok`, and not if it is dropped before.
    pub fn tell<M: Message, P>(&self, message: M) -> Tell<'_, M>
    where
        A::Messages: Includes<M, P>,
    {
        self.tell_any(message)
    }

    /// Sends `message` if there is room now; else gives it back. Until the first link to the actor is there, room is for
    /// 1,024 messages and 1 MiB, whatever its mailbox has.
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub fn try_tell<M: Message, P>(&self, message: M) -> Result<(), TellError<M>>
    where
        A::Messages: Includes<M, P>,
    {
        try_tell(self.link(), message)
    }

    /// Sends `message` and waits for its reply, at most 5 s or [`deadline`](Ask::deadline), and in a handler never
    /// longer than the message in hand has left.
    pub fn ask<M: Message, P>(&self, message: M) -> Ask<'_, M>
    where
        A::Messages: Includes<M, P>,
    {
        Ask::new(self.link(), message)
    }

    /// This address for one of its messages only.
    pub fn recipient<M: Message, P>(&self) -> Recipient<M>
    where
        A::Messages: Includes<M, P>,
    {
        Recipient { raw: self.raw, link: self.link.clone(), message: PhantomData }
    }

    pub(crate) fn tell_any<M: Message>(&self, message: M) -> Tell<'_, M> {
        Tell { link: self.link(), state: TellState::Fresh(message), deadline: None }
    }
}

impl<M: Message> Recipient<M> {
    /// Sends the message and waits for no reply; as [`Address::tell`].
    pub fn tell(&self, message: M) -> Tell<'_, M> {
        Tell { link: self.link(), state: TellState::Fresh(message), deadline: None }
    }

    /// Sends the message if there is room now; as [`Address::try_tell`].
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        try_tell(self.link(), message)
    }

    /// Sends the message and waits for its reply; as [`Address::ask`].
    pub fn ask(&self, message: M) -> Ask<'_, M> {
        Ask::new(self.link(), message)
    }
}

fn try_tell<M: Message>(link: Result<&Arc<OutLink>, Unreachable>, message: M) -> Result<(), TellError<M>> {
    match link {
        Err(reason) => Err(TellError::Unreachable(message, reason)),
        Ok(link) => match link.offer_tell(&message, true) {
            Offer::Accepted(()) => Ok(()),
            Offer::Full | Offer::NotYet => Err(TellError::Full(message)),
            Offer::Gone(reason) => Err(TellError::Unreachable(message, reason)),
            Offer::Encode(error) => Err(TellError::Encode(message, error)),
        },
    }
}

/// A message on its way into a mailbox; await it.
#[must_use = "a message is sent when this is awaited"]
pub struct Tell<'a, M: Message> {
    link: Result<&'a Arc<OutLink>, Unreachable>,
    state: TellState<'a, M>,
    deadline: Option<Duration>,
}

enum TellState<'a, M> {
    Fresh(M),
    Waiting(Pin<Box<dyn Future<Output = Result<(), TellError<M>>> + Send + 'a>>),
    Done,
}

impl<M: Message> Tell<'_, M> {
    /// Waits for room for at most `deadline` instead of 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

// The state is only ever moved as a whole; nothing in it is pinned in place.
impl<M: Message> Unpin for Tell<'_, M> {}

impl<'a, M: Message> Future for Tell<'a, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let TellState::Fresh(_) = this.state {
            let TellState::Fresh(message) = std::mem::replace(&mut this.state, TellState::Done) else {
                return Poll::Pending;
            };
            let link: &'a Arc<OutLink> = match &this.link {
                Ok(link) => link,
                Err(reason) => return Poll::Ready(Err(TellError::Unreachable(message, reason.clone()))),
            };
            match link.offer_tell(&message, false) {
                Offer::Accepted(()) => return Poll::Ready(Ok(())),
                Offer::Gone(reason) => return Poll::Ready(Err(TellError::Unreachable(message, reason))),
                Offer::Encode(error) => return Poll::Ready(Err(TellError::Encode(message, error))),
                // Only this process could make room, and it is waiting here.
                Offer::Full if link.to_self => return Poll::Ready(Err(TellError::Full(message))),
                Offer::Full | Offer::NotYet => {
                    let deadline = this.deadline.unwrap_or(DEFAULT_DEADLINE);
                    this.state = TellState::Waiting(Box::pin(wait_to_tell(link, message, deadline)));
                }
            }
        }
        match &mut this.state {
            TellState::Waiting(waiting) => waiting.as_mut().poll(cx),
            // Polled again after it was ready: as for any future, there is nothing to say.
            _ => Poll::Pending,
        }
    }
}

pub(crate) async fn wait_to_tell<M: Message>(
    link: &Arc<OutLink>,
    message: M,
    deadline: Duration,
) -> Result<(), TellError<M>> {
    let wait = tokio::time::sleep(deadline);
    tokio::pin!(wait);
    loop {
        let changed = link.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match link.offer_tell(&message, false) {
            Offer::Accepted(()) => return Ok(()),
            Offer::Gone(reason) => return Err(TellError::Unreachable(message, reason)),
            Offer::Encode(error) => return Err(TellError::Encode(message, error)),
            Offer::Full | Offer::NotYet => {}
        }
        tokio::select! {
            () = changed => {}
            () = &mut wait => return Err(TellError::Deadline(message)),
        }
    }
}

/// A question on its way; await it for the reply. It ends exactly once, by its deadline.
#[must_use = "a question is asked when this is awaited"]
pub struct Ask<'a, M: Message> {
    state: AskState<'a, M>,
    deadline: Option<Duration>,
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<oneshot::Receiver<Outcome>, AskError>> + Send + 'a>>;

enum AskState<'a, M> {
    Fresh(Result<&'a Arc<OutLink>, Unreachable>, M),
    /// For room, or for the link.
    Entering(Waiting<'a>),
    /// For the reply.
    Asked(oneshot::Receiver<Outcome>),
    Done,
}

// The state is only ever moved as a whole; nothing in it is pinned in place.
impl<M: Message> Unpin for Ask<'_, M> {}

impl<'a, M: Message> Ask<'a, M> {
    fn new(link: Result<&'a Arc<OutLink>, Unreachable>, message: M) -> Self {
        Ask { state: AskState::Fresh(link, message), deadline: None }
    }

    /// Waits for at most `deadline`, instead of 5 s or what the message in hand has left.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    fn enter(&self, link: &'a Arc<OutLink>, message: M) -> Result<AskState<'a, M>, AskError> {
        let deadline = match self.deadline {
            Some(deadline) => clock::after(deadline),
            None => {
                let own = clock::after(DEFAULT_DEADLINE);
                call::deadline().map_or(own, |inherited| inherited.min(own))
            }
        };
        match link.offer_ask(&message, deadline) {
            Offer::Accepted(reply) => Ok(AskState::Asked(reply)),
            Offer::Gone(reason) => Err(AskError::Unreachable(reason)),
            Offer::Encode(error) => Err(AskError::Encode(error)),
            Offer::Full if link.to_self => Err(AskError::WouldDeadlock),
            Offer::Full | Offer::NotYet => {
                Ok(AskState::Entering(Box::pin(wait_to_ask(link, message, deadline))))
            }
        }
    }
}

impl<'a, M: Message> Future for Ask<'a, M> {
    type Output = Result<M::Reply, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let AskState::Fresh(..) = this.state {
            let AskState::Fresh(link, message) = std::mem::replace(&mut this.state, AskState::Done) else {
                return Poll::Pending;
            };
            let entered = match link {
                Ok(link) => this.enter(link, message),
                Err(reason) => Err(AskError::Unreachable(reason)),
            };
            match entered {
                Ok(state) => this.state = state,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let AskState::Entering(entering) = &mut this.state {
            match entering.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(reply)) => this.state = AskState::Asked(reply),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        let AskState::Asked(reply) = &mut this.state else { return Poll::Pending };
        match Pin::new(reply).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => Poll::Ready(read_outcome::<M>(outcome.ok())),
        }
    }
}

pub(crate) fn read_outcome<M: Message>(outcome: Option<Outcome>) -> Result<M::Reply, AskError> {
    match outcome {
        Some(Outcome::Reply(Status::Ok, body, beside)) => {
            let decoded = passing::with(beside, || M::decode_reply(&body));
            decoded.map_err(|e| AskError::BadReply(e.to_string()))
        }
        Some(Outcome::Reply(status, body, _)) => Err(failure(status, &body, M::NAME)),
        Some(Outcome::Failed(error)) => Err(*error),
        // The link was dropped with the ask in it: this end of the system is closed.
        None => Err(AskError::Unreachable(Unreachable::ShuttingDown)),
    }
}

async fn wait_to_ask<M: Message>(
    link: &Arc<OutLink>,
    message: M,
    deadline: u64,
) -> Result<oneshot::Receiver<Outcome>, AskError> {
    let wait = tokio::time::sleep_until(clock::instant(deadline).into());
    tokio::pin!(wait);
    loop {
        let changed = link.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match link.offer_ask(&message, deadline) {
            Offer::Accepted(reply) => return Ok(reply),
            Offer::Gone(reason) => return Err(AskError::Unreachable(reason)),
            Offer::Encode(error) => return Err(AskError::Encode(error)),
            Offer::Full | Offer::NotYet => {}
        }
        tokio::select! {
            () = changed => {}
            () = &mut wait => return Err(AskError::Deadline { executed: Executed::No }),
        }
    }
}
