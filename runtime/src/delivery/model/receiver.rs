//! One life of the receiver.

use std::convert::Infallible;

use super::BODY_LIMIT;
use crate::delivery::inbox::Inbox;
use crate::wire::frame::{self, ExtensionSet, Header, Kind};
use crate::wire::ids::{MessageKey, Sequence};

/// One process of the receiver, and what its recorder says.
pub(super) struct Receiver {
    pub(super) inbox: Inbox,
    pub(super) scanned: Sequence,
    pub(super) processed: Sequence,
    pub(super) in_hand: Option<Sequence>,
    pub(super) replied: bool,
    pub(super) unflushed: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(resume_after: Sequence) -> Self {
        Receiver {
            inbox: Inbox::new(resume_after, BODY_LIMIT),
            scanned: Sequence::ZERO,
            processed: resume_after,
            in_hand: None,
            replied: false,
            unflushed: Vec::new(),
        }
    }

    pub(super) fn answer(&mut self, kind: Kind, sequence: Sequence) {
        let header = Header { kind, flags: 0, attempt: 1, descriptors: 0, sequence, key: MessageKey(0) };
        frame::append(&mut self.unflushed, &header, &ExtensionSet::default(), |_| Ok::<_, Infallible>(()))
            .unwrap();
    }
}
