//! Process groups: actors of one type join under a name, others send to them without knowing them.
//!
//! A membership belongs to the incarnation: whoever dies or ends has left all its groups before anybody is told of the
//! end, and the next incarnation joins again in its `start`. [`Members`] is a view of a group that stays up to date;
//! [`Context::watch_members`] tells an actor of changes by messages.

use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use thiserror::Error;

use crate::actor::{Actor, Context};
use crate::address::{Address, DEFAULT_DEADLINE, read_outcome, wait_to_tell};
use crate::clock;
use crate::error::{AskError, Executed, SystemError, TellError};
use crate::event::Membership;
use crate::message::{Includes, Message, Protocol};
use crate::names::check;
use crate::node::outgoing::Offer;
use crate::node::watched::{self, Watched};
use crate::node::{Node, call};
use crate::system::{System, done};
use crate::wire::control::Request;

mod turns;

use turns::NotTaken;

impl System {
    /// The members of a group, from now on: the view follows who joins and leaves.
    ///
    /// Nobody need have joined yet. While the group's members are of another type than `A`, no view can be made, and
    /// one that was made before is empty. Programs from outside see groups too.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # struct Reader;
    /// # #[message(reply = u64)] struct Read { line: u64 }
    /// # impl Actor for Reader { type Args = (); type Messages = (Read,); async fn start(_: (), cx: &mut Context<Self>) -> Result<Self> { cx.join("readers").await?; Ok(Reader) } }
    /// # impl Handler<Read> for Reader { async fn handle(&mut self, Read { line }: Read, _: &mut Context<Self>) -> Result<u64> { Ok(line) } }
    /// # async fn f(sys: System) -> Result<()> {
    /// sys.spawn::<Reader>(()).await?; // joins in its `start`
    /// sys.spawn::<Reader>(()).await?;
    /// let readers = sys.members::<Reader>("readers").await?;
    /// assert_eq!(readers.len(), 2);
    /// for line in 1..=10 {
    ///     readers.ask_one(Read { line }).await?; // by turns
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::OtherGroupType`], [`SystemError::BadName`], [`SystemError::TooMany`],
    /// [`SystemError::ShuttingDown`].
    pub async fn members<A: Actor>(&self, group: &str) -> Result<Members<A>, SystemError> {
        Members::watch(&self.node, group).await
    }
}

impl<A: Actor> Context<A> {
    /// Makes this incarnation of the actor a member of a group, until it leaves, dies or ends.
    ///
    /// Usually said in `start`, so that every incarnation joins. What members are sent before their `start` has
    /// returned waits for that. Joining twice counts once: OTP's `pg` counts, so that parts of a process that know
    /// nothing of each other may join and leave on their own, and a member may then be there several times; here the
    /// actor is one part, and a member that is there once gets its fair turn.
    ///
    /// # Errors
    /// [`SystemError::OtherGroupType`] while the group has members with another protocol, [`SystemError::BadName`],
    /// [`SystemError::TooMany`] (4,096 groups, 4,096 members each).
    pub async fn join(&mut self, group: &str) -> Result<(), SystemError> {
        check(group)?;
        done(&self.node, Request::Join { group: group.to_owned() }).await
    }

    /// Takes this actor out of a group. What was sent to it before still comes. Leaving a group that it is not in
    /// changes nothing.
    ///
    /// # Errors
    /// [`SystemError::BadName`], [`SystemError::ShuttingDown`].
    pub async fn leave(&mut self, group: &str) -> Result<(), SystemError> {
        check(group)?;
        done(&self.node, Request::Leave { group: group.to_owned() }).await
    }

    /// The members of a group, from now on; as [`System::members`]. The actor itself is among them if it has joined.
    ///
    /// # Errors
    /// [`SystemError::OtherGroupType`], [`SystemError::BadName`], [`SystemError::TooMany`],
    /// [`SystemError::ShuttingDown`].
    pub async fn members<B: Actor>(&mut self, group: &str) -> Result<Members<B>, SystemError> {
        Members::watch(&self.node, group).await
    }

    /// Asks for a [`Membership`] message whenever somebody joins or leaves the group, of whatever type; first of all for
    /// one for each member that is there now. Returns the watch's number, which the messages carry. `Membership` must
    /// be among this actor's messages.
    ///
    /// Whoever left by dying is seen to leave behind everything that it had sent here, as with a
    /// [`Down`](crate::Down). The watch ends with this incarnation.
    ///
    /// # Errors
    /// [`SystemError::BadName`], [`SystemError::TooMany`] (1,024 watchers of one group).
    pub async fn watch_members<P>(&mut self, group: &str) -> Result<u64, SystemError>
    where
        A::Messages: Includes<Membership, P>,
    {
        check(group)?;
        let watch = self.node.watch_number();
        done(&self.node, Request::Watch { group: group.to_owned(), watch, protocol: None }).await?;
        Ok(watch)
    }

    /// Ends such a watch. A [`Membership`] that is already on its way may still come.
    pub async fn unwatch_members(&mut self, watch: u64) {
        // Without a supervisor there are no watches either.
        let _ = self.node.request(Request::Unwatch { watch }).await;
    }
}

/// The members of a group, kept up to date by the supervisor; from [`System::members`] or [`Context::members`].
///
/// What the supervisor says of a group comes in order, but beside what actors say: an actor's word that it has joined
/// may arrive a moment before the view shows it. Another view of the same group, made by calling those again, has its own turns and its own changes.
pub struct Members<A: Actor> {
    node: Arc<Node>,
    group: String,
    watch: u64,
    watched: Arc<Watched>,
    /// What `changed` has told so far.
    told: Vec<watched::Member>,
    turn: AtomicUsize,
    deadline: Option<Duration>,
    actor: PhantomData<fn(A)>,
}

/// Somebody has joined or left.
pub enum Change<A> {
    /// This actor is a member now.
    Joined(Address<A>),
    /// This one is a member no more, or this incarnation of it is not.
    Left(Address<A>),
}

// Written out, because a derive would want the same of the actor type.
impl<A> Clone for Change<A> {
    fn clone(&self) -> Self {
        match self {
            Change::Joined(address) => Change::Joined(address.clone()),
            Change::Left(address) => Change::Left(address.clone()),
        }
    }
}

impl<A> PartialEq for Change<A> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Change::Joined(this), Change::Joined(that)) | (Change::Left(this), Change::Left(that)) => {
                this == that
            }
            _ => false,
        }
    }
}

impl<A> Eq for Change<A> {}

impl<A> fmt::Debug for Change<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Joined(address) => write!(f, "Joined({address:?})"),
            Change::Left(address) => write!(f, "Left({address:?})"),
        }
    }
}

/// What became of a message to all members.
#[must_use = "some members may not have accepted the message"]
pub struct ToldAll<A, M> {
    /// So many have accepted it.
    pub accepted: usize,
    /// These have not, each with the reason and the message.
    pub failures: Vec<(Address<A>, TellError<M>)>,
}

impl<A, M> fmt::Debug for ToldAll<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToldAll").field("accepted", &self.accepted).field("failures", &self.failures).finish()
    }
}

/// Why no member was told; the message comes back with it.
#[derive(Error)]
#[non_exhaustive]
pub enum TellOneError<M> {
    /// There is nobody in the group.
    #[error("the group {1:?} has no members")]
    Empty(M, String),
    /// There are members, and the message was accepted by none.
    #[error("{0}")]
    Tell(TellError<M>),
}

impl<M> TellOneError<M> {
    /// The message that was not accepted.
    pub fn into_message(self) -> M {
        match self {
            TellOneError::Empty(message, _) => message,
            TellOneError::Tell(error) => error.into_message(),
        }
    }
}

impl<M> fmt::Debug for TellOneError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why no member has answered.
#[derive(Error)]
#[non_exhaustive]
pub enum AskOneError<M> {
    /// There is nobody in the group; the message comes back.
    #[error("the group {1:?} has no members")]
    Empty(M, String),
    /// The ask ended as any other may.
    #[error("{0}")]
    Ask(AskError),
}

impl<M> fmt::Debug for AskOneError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<A: Actor> Members<A> {
    async fn watch(node: &Arc<Node>, group: &str) -> Result<Self, SystemError> {
        check(group)?;
        let (watch, watched) = node.begin_watch();
        // From here on dropping it ends the watch, however far it has come.
        let mut members = Members {
            node: Arc::clone(node),
            group: group.to_owned(),
            watch,
            watched,
            told: Vec::new(),
            turn: AtomicUsize::new(0),
            deadline: None,
            actor: PhantomData,
        };
        let protocol = Some(<A::Messages as Protocol<A>>::FINGERPRINT);
        // The members that there are come before the answer.
        done(node, Request::Watch { group: group.to_owned(), watch, protocol }).await?;
        members.told = members.watched.members().to_vec();
        Ok(members)
    }

    /// Lets [`tell_one`](Members::tell_one), [`ask_one`](Members::ask_one) and [`tell_all`](Members::tell_all) of this
    /// view wait for at most `deadline` instead of 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How many members there are now.
    pub fn len(&self) -> usize {
        self.watched.count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members that there are now, in the order in which they joined.
    pub fn addresses(&self) -> Vec<Address<A>> {
        self.watched.members().iter().map(|(raw, _)| Address::new(*raw)).collect()
    }

    /// Sends `message` to the member whose turn it is; members take turns. Waits for no reply.
    ///
    /// A member that has ended is passed over, and so is one whose mailbox is full if another has room. If all are
    /// full, the first with room gets it, within 5 s or this view's [`deadline`](Members::deadline).
    ///
    /// # Errors
    /// [`TellOneError`], with the message.
    pub async fn tell_one<M: Message, P>(&self, message: M) -> Result<(), TellOneError<M>>
    where
        A::Messages: Includes<M, P>,
    {
        let deadline = clock::after(self.deadline.unwrap_or(DEFAULT_DEADLINE));
        let offered = self.give(message, deadline, |link, message| link.offer_tell(message, false)).await;
        offered.map_err(|(message, reason)| {
            TellOneError::Tell(match reason {
                NotTaken::Empty => return TellOneError::Empty(message, self.group.clone()),
                NotTaken::Full => TellError::Full(message),
                NotTaken::Deadline => TellError::Deadline(message),
                NotTaken::Unreachable(reason) => TellError::Unreachable(message, reason),
                NotTaken::Encode(error) => TellError::Encode(message, error),
            })
        })
    }

    /// Asks the member whose turn it is, as [`tell_one`](Members::tell_one) chooses it, and waits for its reply: at most
    /// 5 s or this view's [`deadline`](Members::deadline), and in a handler never longer than the message in hand has
    /// left, unless the view says so.
    ///
    /// Once a member has accepted the message it is an ask like any other, and no second member is asked.
    ///
    /// # Errors
    /// [`AskOneError`]; with the message if the group is empty.
    pub async fn ask_one<M: Message, P>(&self, message: M) -> Result<M::Reply, AskOneError<M>>
    where
        A::Messages: Includes<M, P>,
    {
        let deadline = match self.deadline {
            Some(deadline) => clock::after(deadline),
            None => {
                let own = clock::after(DEFAULT_DEADLINE);
                call::deadline().map_or(own, |inherited| inherited.min(own))
            }
        };
        let offered = self.give(message, deadline, |link, message| link.offer_ask(message, deadline)).await;
        let reply = offered.map_err(|(message, reason)| {
            AskOneError::Ask(match reason {
                NotTaken::Empty => return AskOneError::Empty(message, self.group.clone()),
                NotTaken::Full => AskError::WouldDeadlock,
                NotTaken::Deadline => AskError::Deadline { executed: Executed::No },
                NotTaken::Unreachable(reason) => AskError::Unreachable(reason),
                NotTaken::Encode(error) => AskError::Encode(error),
            })
        })?;
        read_outcome::<M>(reply.await.ok()).map_err(AskOneError::Ask)
    }

    /// Sends `message` to every member that there is now, and waits for no reply.
    ///
    /// All with room have it before any is waited for; then each full one is waited for, all together for at most 5 s
    /// or this view's [`deadline`](Members::deadline). An empty group is no error: nobody has accepted it.
    pub async fn tell_all<M: Message + Clone, P>(&self, message: M) -> ToldAll<A, M>
    where
        A::Messages: Includes<M, P>,
    {
        let deadline = clock::after(self.deadline.unwrap_or(DEFAULT_DEADLINE));
        let mut told = ToldAll { accepted: 0, failures: Vec::new() };
        let mut full = Vec::new();
        for &(raw, _) in self.watched.members().iter() {
            let refused = match self.node.link_to(raw) {
                Err(reason) => TellError::Unreachable(message.clone(), reason),
                Ok(link) => match link.offer_tell(&message, false) {
                    Offer::Accepted(()) => {
                        told.accepted += 1;
                        continue;
                    }
                    // Only this process could make room, and it is waiting here.
                    Offer::Full if link.to_self => TellError::Full(message.clone()),
                    Offer::Full | Offer::NotYet => {
                        full.push((raw, link));
                        continue;
                    }
                    Offer::Gone(reason) => TellError::Unreachable(message.clone(), reason),
                    Offer::Encode(error) => TellError::Encode(message.clone(), error),
                },
            };
            told.failures.push((Address::new(raw), refused));
        }
        for (raw, link) in full {
            match wait_to_tell(&link, message.clone(), clock::until(deadline)).await {
                Ok(()) => told.accepted += 1,
                Err(error) => told.failures.push((Address::new(raw), error)),
            }
        }
        told
    }

    /// The next change of the membership since the last one that this has told, or since the view was made; `None` once
    /// the system is gone.
    ///
    /// Somebody who came and went between two calls is left out, so nothing piles up if it is called rarely. A member
    /// that died and joined again in its next incarnation is told of as left, then as joined, with the same address.
    /// May be dropped while it waits: no change is lost.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # struct Reader;
    /// # impl Actor for Reader { type Args = (); type Messages = (); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Reader) } }
    /// # async fn f(sys: System) -> Result<()> {
    /// let mut readers = sys.members::<Reader>("readers").await?;
    /// while readers.len() < 3 {
    ///     readers.changed().await.ok_or(Error::new("the system ended"))?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn changed(&mut self) -> Option<Change<A>> {
        let watched = Arc::clone(&self.watched);
        loop {
            let mut changed = pin!(watched.changed.notified());
            changed.as_mut().enable();
            let is_over = watched.is_over();
            if let Some(change) = self.difference() {
                return Some(change);
            }
            if is_over {
                return None;
            }
            changed.await;
        }
    }

    /// The first difference between what there is and what was told: first who left, then who joined.
    fn difference(&mut self) -> Option<Change<A>> {
        let now = self.watched.members();
        if let Some(place) = self.told.iter().position(|member| !now.contains(member)) {
            return Some(Change::Left(Address::new(self.told.remove(place).0)));
        }
        let joined = *now.iter().find(|member| !self.told.contains(member))?;
        self.told.push(joined);
        Some(Change::Joined(Address::new(joined.0)))
    }
}

impl<A: Actor> Drop for Members<A> {
    fn drop(&mut self) {
        self.node.end_watch(self.watch);
    }
}

impl<A: Actor> fmt::Debug for Members<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("group", &self.group).field("members", &self.addresses()).finish()
    }
}
