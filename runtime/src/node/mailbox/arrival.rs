//! What a mailbox is told beside what comes over data links: by the supervisor, and by this process itself.

use std::os::fd::OwnedFd;

use crate::event::{Down, Membership};
use crate::sender::SenderEnded;
use crate::spec::Window;
use crate::wire::frame::Status;
use crate::wire::ids::{ActorId, LinkId, MessageKey, RawAddress, Sequence};
use crate::wire::passing::Beside;

/// Something for the mailbox that did not come over a data link.
pub(crate) enum Arrival {
    LinkUp(Box<NewLink>),
    LinkClosed(LinkId),
    Notice(Notice, Option<LinkId>),
    Stop,
    /// An answer that was deferred, given now.
    Reply {
        link: LinkId,
        sequence: Sequence,
        /// The type of the message that it answers.
        key: MessageKey,
        status: Status,
        body: Vec<u8>,
        beside: Beside,
    },
    /// The right to answer has been passed on.
    Forwarded {
        link: LinkId,
        sequence: Sequence,
    },
}

/// What the supervisor has to say to the actor itself, as a message.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A monitored actor has ended.
    Down(Down),
    /// A watched group has got or lost a member.
    Membership(Box<Membership>),
    /// The life that sent on a watched link has ended.
    SenderEnded(SenderEnded),
}

/// A link that a sender has been given to this process.
pub(crate) struct NewLink {
    pub(crate) link: LinkId,
    pub(crate) sender: ActorId,
    pub(crate) slot: u32,
    pub(crate) resume_after: Sequence,
    pub(crate) window: Window,
    pub(crate) reply_address: RawAddress,
    pub(crate) answers_only: bool,
    pub(crate) socket: OwnedFd,
}
