//! Watching the process that sent the message in hand, whatever it is: an actor, the program, a program from outside.

use serde::{Deserialize, Serialize};

use crate::actor::{Actor, Context};
use crate::message::{Includes, Message, MessageKey};
use crate::wire::ids::{ActorId, LinkId};

/// The link of what the runtime itself tells.
const NOBODY: LinkId = LinkId(0);

/// A process that was watched with [`Context::watch_sender`] has ended. Handled behind everything that it had sent, and
/// before what a next life of the same actor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderEnded {
    /// The number that `watch_sender` returned.
    pub sender: u64,
    /// The actor whose life it was; it may have another one by now.
    pub actor: ActorId,
}

impl Message for SenderEnded {
    type Reply = ();
    const NAME: &'static str = "watertight.SenderEnded";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
}

impl<A: Actor> Context<A> {
    /// Asks for one [`SenderEnded`] when the process that sent the message in hand ends, and returns the number of that
    /// process.
    ///
    /// For an actor that gives something to those who ask it, and must have it back if they die. Unlike
    /// [`monitor`](Self::monitor) it needs no address, waits for nothing, cannot miss a life that has ended meanwhile,
    /// and sees programs too. The number is the same for everything that one life of a sender sends here, and no other
    /// life ever has it. Saying it again changes nothing. It holds for this incarnation of the receiver: the next one
    /// has to watch anew. What the runtime itself tells, a [`Down`](crate::Down) for one, has no sender: that is 0, which
    /// never ends.
    ///
    /// ```no_run
    /// use std::collections::BTreeSet;
    /// use watertight::SenderEnded;
    /// use watertight::prelude::*;
    ///
    /// struct Cloakroom { coats: BTreeSet<u64> }
    /// #[message] struct Leave;
    ///
    /// impl Actor for Cloakroom {
    ///     type Args = ();
    ///     type Messages = (Leave, SenderEnded);
    ///     async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Cloakroom { coats: BTreeSet::new() }) }
    /// }
    /// impl Handler<Leave> for Cloakroom {
    ///     async fn handle(&mut self, _: Leave, cx: &mut Context<Self>) -> Result<()> {
    ///         self.coats.insert(cx.watch_sender());
    ///         Ok(())
    ///     }
    /// }
    /// impl Handler<SenderEnded> for Cloakroom {
    ///     async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
    ///         self.coats.remove(&ended.sender);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn watch_sender<P>(&mut self) -> u64
    where
        A::Messages: Includes<SenderEnded, P>,
    {
        let link = self.current.link;
        if link != NOBODY && self.watched_senders.insert(link) {
            // When the handler has returned, the loop puts it behind everything that this link carries; and a link ends
            // with the life that sends on it.
            self.new_watch = Some(SenderEnded { sender: link.0, actor: self.current.sender });
        }
        link.0
    }
}
