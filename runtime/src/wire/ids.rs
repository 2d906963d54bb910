//! Who is who: identities as they travel in frames, addresses and reports.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One run of one supervisor, drawn at random when it starts; an address of another run is refused.
    SystemId(u64)
}
number! {
    /// One actor of a system, for its whole life and across its restarts.
    ActorId(u64)
}
number! {
    /// One life of an actor: 1 for its first process, one more at each restart.
    Incarnation(u32)
}
number! {
    /// Everything that one incarnation of a sender ever sends to one receiver, across that receiver's restarts.
    LinkId(u64)
}
number! {
    /// The place of a message on its link, counted from 1.
    ///
    /// It belongs to (sender incarnation, receiver), never to a socket: a new socket goes on counting.
    Sequence(u64)
}
number! {
    /// The fingerprint of a message type: its explicit name, its schema and its reply's.
    MessageKey(u64)
}
number! {
    /// 128 random bits: who holds them may send to the actor.
    Capability(u128)
}

impl ActorId {
    /// The program that started the system: it has an address for replies, but no process of its own to restart.
    pub const PROGRAM: ActorId = ActorId(0);
}

impl Sequence {
    /// Before the first message.
    pub const ZERO: Sequence = Sequence(0);

    /// The one after this one.
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// An address as it travels: enough to ask the supervisor for a link, and nothing that works outside its system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RawAddress {
    /// The layout of this struct; 1.
    pub version: u8,
    /// The system in which it is valid.
    pub system: SystemId,
    /// The actor.
    pub actor: ActorId,
    /// The right to send to it.
    pub capability: Capability,
    /// The fingerprint of the actor's whole protocol.
    pub protocol: u64,
}

impl RawAddress {
    /// The layout that this build writes and reads.
    pub const VERSION: u8 = 1;
}

// The capability is a secret: it never reaches a log.
impl fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAddress(system {:x}, actor {})", self.system.0, self.actor)
    }
}
