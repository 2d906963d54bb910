//! What a reply means to whoever has asked.

use crate::error::{AskError, Executed};
use crate::node::Outcome;
use crate::wire::codec;
use crate::wire::frame::Status;
use crate::wire::passing::Arrived;

/// A reply as it is handed to its asker.
pub(super) fn outcome(status: Status, body: &[u8], beside: Arrived) -> Outcome {
    if beside.cut {
        return Outcome::Failed(Box::new(AskError::NoDescriptors { executed: Executed::Yes }));
    }
    Outcome::Reply(status, body.to_vec(), beside.descriptors)
}

/// What a status other than `Ok` means to the asker.
pub(crate) fn failure(status: Status, body: &[u8], name: &'static str) -> AskError {
    let text = || String::from_utf8_lossy(body).into_owned();
    match status {
        Status::Ok => AskError::BadReply("a reply that is none".into()),
        Status::Failed => match codec::decode(body) {
            Ok(error) => AskError::Failed(error),
            Err(e) => AskError::BadReply(e.to_string()),
        },
        Status::Unknown => AskError::Incompatible(name),
        Status::Undecodable => AskError::Undecodable(text()),
        Status::WouldDeadlock => AskError::WouldDeadlock,
        Status::Expired => AskError::Deadline { executed: Executed::No },
        Status::NoReply => AskError::NoReply,
        Status::NoDescriptors => AskError::NoDescriptors { executed: Executed::No },
        Status::ReplyCut => AskError::NoDescriptors { executed: Executed::Yes },
        Status::TooLarge => AskError::BadReply("the reply is larger than a frame may be".into()),
    }
}
