//! A reader beside the real one: what a hostile peer writes is read along by the same code.

use crate::delivery::frame_buffer::FrameBuffer;
use crate::delivery::inbox::Inbox;
use crate::wire::control::ToSupervisor;
use crate::wire::conversation::Listener;
use crate::wire::frame::{BODY_LIMIT, Header, Kind, Status};
use crate::wire::hello::{self, Hello, Role};
use crate::wire::ids::{MessageKey, Sequence, SystemId};

use super::hostile::frame;

/// Reads along what a hostile peer writes, by the code that reads it at the other end, so that the peer knows how much of
/// it was read before it was refused.
pub struct Reader(Reading);

enum Reading {
    Control(Listener),
    Data { hello: Vec<u8>, inbox: Inbox },
    Answers { buffer: FrameBuffer, sent: Sequence },
}

/// What was read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// What was written ends with a whole frame.
    Whole,
    /// More has to come.
    Part,
    /// The reader will have no more.
    Refused,
}

impl Reader {
    /// Of a program's control link; with its hello, unless that was said.
    pub fn control(hello: bool) -> Reader {
        let mut listener = Listener::new(Role::Outside, SystemId(0));
        if !hello {
            listener.heard(&Hello { role: Role::Outside, system: SystemId(0) }.encode());
        }
        Reader(Reading::Control(listener))
    }

    /// Of a data link on which so many messages were sent; with its hello, if none were.
    pub fn data(sent: u64) -> Reader {
        let mut inbox = Inbox::new(Sequence::ZERO, BODY_LIMIT);
        let mut hello = Vec::new();
        if sent > 0 {
            hello = Hello { role: Role::Link, system: SystemId(0) }.encode().to_vec();
            feed(&mut inbox, &frame(1, 0, sent, MessageKey(0), &[]));
            assert!(matches!(inbox.next(), Ok(Some(_))));
        }
        Reader(Reading::Data { hello, inbox })
    }

    /// Of the answers on a data link on which so many messages were sent.
    pub fn answers(sent: u64) -> Reader {
        Reader(Reading::Answers { buffer: FrameBuffer::new(), sent: Sequence(sent) })
    }

    /// Reads these bytes too.
    pub fn read(&mut self, bytes: &[u8]) -> Read {
        match &mut self.0 {
            Reading::Control(listener) => {
                listener.heard(bytes);
                loop {
                    match listener.next::<ToSupervisor>() {
                        Ok(Some(_)) => {}
                        Ok(None) if listener.is_introduced() && listener.is_at_end() => return Read::Whole,
                        Ok(None) => return Read::Part,
                        Err(_) => return Read::Refused,
                    }
                }
            }
            Reading::Data { hello, inbox } => {
                feed(inbox, bytes);
                inbox.take_raw(hello::LENGTH - hello.len(), hello);
                let Some(said) = hello.first_chunk::<{ hello::LENGTH }>() else { return Read::Part };
                if Hello::check(said, Role::Link, SystemId(0)).is_err() {
                    return Read::Refused;
                }
                loop {
                    match inbox.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Read::Refused,
                    }
                }
                if inbox.buffered() == 0 { Read::Whole } else { Read::Part }
            }
            Reading::Answers { buffer, sent } => {
                feed_buffer(buffer, bytes);
                loop {
                    match buffer.next_frame(BODY_LIMIT) {
                        Ok(Some((frame, _))) if !is_answer(&frame.header, *sent) => return Read::Refused,
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Read::Refused,
                    }
                }
                if buffer.buffered() == 0 { Read::Whole } else { Read::Part }
            }
        }
    }
}

fn is_answer(header: &Header, sent: Sequence) -> bool {
    let known = match header.kind {
        Kind::Ack | Kind::Forwarded => true,
        Kind::Reply => Status::from_byte(header.flags).is_some(),
        _ => false,
    };
    known && header.sequence <= sent
}

fn feed(inbox: &mut Inbox, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = inbox.space();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        inbox.filled(length);
        bytes = &bytes[length..];
    }
}

fn feed_buffer(buffer: &mut FrameBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = buffer.space();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        buffer.filled(length);
        bytes = &bytes[length..];
    }
}
