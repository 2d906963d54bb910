//! Finding actors by name, and giving them names beside the one in their spec.
//!
//! A name leads to an address. It is unique in its system, belongs to one actor across its restarts, and is free again
//! before anybody is told that the actor has ended for good.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, Context};
use crate::address::{Address, IntoRaw};
use crate::error::SystemError;
use crate::message::Protocol;
use crate::node::Node;
use crate::spec::is_path;
use crate::system::{System, done, system_error};
use crate::wire::control::{Answer, Request};

impl System {
    /// The address of the actor with this name.
    ///
    /// # Errors
    /// [`SystemError::NoSuchName`], [`SystemError::OtherType`].
    pub async fn find<A: Actor>(&self, name: &str) -> Result<Address<A>, SystemError> {
        find(&self.node, name).await
    }

    /// The address of the actor with this name, as soon as its first `start` has returned; waits for that for at most
    /// `deadline`.
    ///
    /// For programs whose parts come up in any order, and for programs from outside. A name that is free and given to
    /// another actor meanwhile is waited for too. Dropping the future ends the wait.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # use std::time::Duration;
    /// # struct Till;
    /// # impl Actor for Till { type Args = (); type Messages = (); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Till) } }
    /// # async fn f() -> Result<()> {
    /// let sys = watertight::attach("shop").await?;
    /// let till = sys.wait_for::<Till>("till", Duration::from_secs(10)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::NotInTime`] at the deadline, [`SystemError::OtherType`], [`SystemError::BadName`],
    /// [`SystemError::TooMany`] when more are waiting than may, [`SystemError::ShuttingDown`].
    pub async fn wait_for<A: Actor>(
        &self,
        name: &str,
        deadline: Duration,
    ) -> Result<Address<A>, SystemError> {
        wait_for(&self.node, name, deadline).await
    }

    /// Gives an actor one more name, by which it is found as by its first.
    ///
    /// The name stays with the actor across restarts until it ends for good, or until it is
    /// [taken back](System::unregister). Giving it again to the actor that has it changes nothing. An actor may have 16
    /// names beside its first.
    ///
    /// ```no_run
    /// # use watertight::prelude::*;
    /// # struct Till;
    /// # impl Actor for Till { type Args = (); type Messages = (); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Till) } }
    /// # async fn f(sys: System) -> Result<()> {
    /// let till = sys.spawn::<Till>(()).await?;
    /// sys.register("open till", &till).await?;
    /// assert_eq!(sys.find::<Till>("open till").await?, till);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::NameTaken`], [`SystemError::BadName`], [`SystemError::TooMany`], [`SystemError::Unreachable`] if
    /// the actor has ended or is stopping, [`SystemError::NotAllowed`] in a program from outside.
    pub async fn register(&self, name: &str, actor: &impl IntoRaw) -> Result<(), SystemError> {
        check(name)?;
        done(&self.node, Request::Register { name: name.to_owned(), address: actor.raw() }).await
    }

    /// Takes a name back that was given with `register`; it is free at once.
    ///
    /// # Errors
    /// [`SystemError::NoSuchName`], [`SystemError::NameStays`] for the name in a spec, [`SystemError::NotAllowed`] in a
    /// program from outside.
    pub async fn unregister(&self, name: &str) -> Result<(), SystemError> {
        unregister(&self.node, name).await
    }
}

impl<A: Actor> Context<A> {
    /// The address of the actor with this name; as [`System::find`].
    ///
    /// # Errors
    /// [`SystemError::NoSuchName`], [`SystemError::OtherType`].
    pub async fn find<B: Actor>(&mut self, name: &str) -> Result<Address<B>, SystemError> {
        find(&self.node, name).await
    }

    /// The address of the actor with this name, as soon as its first `start` has returned; as [`System::wait_for`].
    ///
    /// An actor that waits in its own `start` must be done within its start deadline, and does not find itself.
    ///
    /// # Errors
    /// [`SystemError::NotInTime`] at the deadline, [`SystemError::OtherType`], [`SystemError::BadName`],
    /// [`SystemError::TooMany`] when more are waiting than may, [`SystemError::ShuttingDown`].
    pub async fn wait_for<B: Actor>(
        &mut self,
        name: &str,
        deadline: Duration,
    ) -> Result<Address<B>, SystemError> {
        wait_for(&self.node, name, deadline).await
    }

    /// Gives this actor one more name; as [`System::register`]. Said in `start`, it is said again by every incarnation,
    /// which changes nothing.
    ///
    /// # Errors
    /// [`SystemError::NameTaken`], [`SystemError::BadName`], [`SystemError::TooMany`], [`SystemError::Unreachable`] if
    /// the actor is stopping.
    pub async fn register(&mut self, name: &str) -> Result<(), SystemError> {
        check(name)?;
        done(&self.node, Request::Register { name: name.to_owned(), address: self.own }).await
    }

    /// Takes a name of this actor back; it is free at once.
    ///
    /// # Errors
    /// [`SystemError::NoSuchName`], [`SystemError::NotYourName`], [`SystemError::NameStays`] for the name in its spec.
    pub async fn unregister(&mut self, name: &str) -> Result<(), SystemError> {
        unregister(&self.node, name).await
    }
}

/// Here already, because what is longer than a control frame could not even be asked.
pub(crate) fn check(name: &str) -> Result<(), SystemError> {
    if is_path(name) { Ok(()) } else { Err(SystemError::BadName(name.to_owned())) }
}

async fn find<A: Actor>(node: &Node, name: &str) -> Result<Address<A>, SystemError> {
    if check(name).is_err() {
        return Err(SystemError::NoSuchName(name.to_owned()));
    }
    let protocol = <A::Messages as Protocol<A>>::FINGERPRINT;
    match node.request(Request::Find { name: name.to_owned(), protocol }).await {
        Ok(Answer::Address(raw)) => Ok(Address::new(raw)),
        other => Err(system_error(other)),
    }
}

async fn wait_for<A: Actor>(node: &Arc<Node>, name: &str, wait: Duration) -> Result<Address<A>, SystemError> {
    check(name)?;
    let protocol = <A::Messages as Protocol<A>>::FINGERPRINT;
    let request = Request::WaitFor { name: name.to_owned(), protocol, wait };
    let (number, answer) = node.request_numbered(request);
    let mut waiting = Waiting { node, number, is_over: false };
    let answer = answer.await;
    waiting.is_over = true;
    match answer {
        Ok(Ok(Answer::Address(raw))) => Ok(Address::new(raw)),
        Ok(other) => Err(system_error(other)),
        Err(_) => Err(SystemError::ShuttingDown),
    }
}

async fn unregister(node: &Node, name: &str) -> Result<(), SystemError> {
    if check(name).is_err() {
        return Err(SystemError::NoSuchName(name.to_owned()));
    }
    done(node, Request::Unregister { name: name.to_owned() }).await
}

/// A wait that is told to the supervisor as given up if its future is dropped before the answer.
struct Waiting<'a> {
    node: &'a Arc<Node>,
    number: u64,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The answer is not waited for.
            drop(self.node.request_numbered(Request::StopWaiting { number: self.number }));
        }
    }
}
