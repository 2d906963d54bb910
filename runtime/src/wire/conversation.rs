//! Control frames in and out of a byte stream; pure.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::codec::{self, DecodeError, EncodeError};
use super::control::{DESCRIPTORS, HEADER, LIMIT};
use super::hello::{self, Hello, HelloError, Role};
use super::ids::SystemId;
use super::passing::{self, InOrder};

/// Why a control link is given up; its peer is ended with this reason.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The first bytes were wrong.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// A length that no control frame has.
    #[error("a control frame claims {length} bytes, at most {LIMIT} are taken")]
    TooLong {
        /// What its header claims.
        length: usize,
    },
    /// A reserved byte is set, or more descriptors are announced than any frame has.
    #[error("the header of a control frame is malformed")]
    Header,
    /// The descriptors that the header announces did not come.
    #[error("a control frame came without its descriptors")]
    NoDescriptors,
    /// The body is no control message.
    #[error("a control frame does not decode: {0}")]
    Body(#[from] DecodeError),
}

/// Appends one control frame to `out`. Returns the descriptors that the message put beside itself; behind them travel
/// as many `descriptors` of the caller's.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn append<T: Serialize>(
    out: &mut Vec<u8>,
    message: &T,
    descriptors: usize,
) -> Result<Vec<Arc<OwnedFd>>, EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let (encoded, beside) = passing::collecting(|| codec::encode_into(message, out, LIMIT));
    if let Err(e) = encoded {
        out.truncate(start);
        return Err(e);
    }
    // There are at most DESCRIPTORS.
    out[start + 4] = u8::try_from(beside.len() + descriptors).unwrap_or(u8::MAX);
    // `encode_into` kept the body below LIMIT, which fits.
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(beside)
}

/// What has been read of a conversation and not taken yet.
#[derive(Debug)]
pub struct Listener {
    expected: Option<(Role, SystemId)>,
    bytes: Vec<u8>,
    start: usize,
    /// Where reads put descriptors, in order: they arrive merged with neighbouring bytes.
    pub descriptors: InOrder,
}

impl Listener {
    /// Expects a hello of `role` first.
    pub fn new(role: Role, system: SystemId) -> Self {
        Listener { expected: Some((role, system)), bytes: Vec::new(), start: 0, descriptors: InOrder::new() }
    }

    /// Whether the hello has come and was right.
    pub fn is_introduced(&self) -> bool {
        self.expected.is_none()
    }

    /// Whether nothing of another message has come.
    #[cfg(feature = "fuzzing")]
    pub fn is_at_end(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Takes in what was read.
    pub fn heard(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > 64 << 10 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it has come, and the descriptors that belong to it but stand in no field. Those are fewer
    /// than they should be when this process had no room for them, and the message is understood without: arguments that
    /// lost some [say so](super::control::Arguments::arrived_whole).
    ///
    /// # Errors
    /// [`ConversationError`]: nothing that follows can be trusted.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, ConversationError> {
        if let Some((role, system)) = self.expected {
            let Some(bytes) = self.bytes[self.start..].first_chunk::<{ hello::LENGTH }>() else {
                return Ok(None);
            };
            Hello::check(bytes, role, system)?;
            self.start += hello::LENGTH;
            self.expected = None;
        }
        let rest = &self.bytes[self.start..];
        let Some(head) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let descriptors = usize::from(head[4]);
        if length > LIMIT {
            return Err(ConversationError::TooLong { length });
        }
        if head[5..] != [0, 0, 0] || descriptors > DESCRIPTORS {
            return Err(ConversationError::Header);
        }
        let Some(body) = rest.get(HEADER..HEADER + length) else { return Ok(None) };
        let own = take(&mut self.descriptors, descriptors)?;
        let (message, rest) = if own.len() < descriptors {
            passing::offering_short(own, || codec::decode(body))
        } else {
            passing::offering(own, || codec::decode(body))
        };
        let message = message?;
        self.start += HEADER + length;
        Ok(Some((message, rest)))
    }
}

/// Those of the next frame, which announces so many; without those that were cut off.
fn take(from: &mut InOrder, announced: usize) -> Result<Vec<OwnedFd>, ConversationError> {
    let mut own = Vec::new();
    while own.len() < announced {
        match from.pop_front() {
            Some(Some(descriptor)) => own.push(descriptor),
            Some(None) => break,
            None => return Err(ConversationError::NoDescriptors),
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(messages: &[u64]) -> Vec<u8> {
        let mut out = Hello { role: Role::Actor, system: SystemId(1) }.encode().to_vec();
        for m in messages {
            append(&mut out, m, 0).unwrap();
        }
        out
    }

    #[test]
    fn messages_are_heard_whole_however_they_are_cut() {
        let bytes = spoken(&[1, 300, 70_000]);
        for size in 1..bytes.len() {
            let mut listener = Listener::new(Role::Actor, SystemId(1));
            let mut heard = Vec::new();
            for part in bytes.chunks(size) {
                listener.heard(part);
                while let Some((m, _)) = listener.next::<u64>().unwrap() {
                    heard.push(m);
                }
            }
            assert_eq!(heard, [1, 300, 70_000]);
        }
    }

    #[test]
    fn garbage_oversize_and_left_over_bytes_are_named() {
        let mut listener = Listener::new(Role::Actor, SystemId(1));
        listener.heard(&[7; 64]);
        assert_eq!(listener.next::<u64>().unwrap_err(), ConversationError::Hello(HelloError::NotOurs));

        let mut bytes = spoken(&[]);
        bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let mut listener = Listener::new(Role::Actor, SystemId(1));
        listener.heard(&bytes);
        assert_eq!(
            listener.next::<u64>().unwrap_err(),
            ConversationError::TooLong { length: u32::MAX as usize }
        );

        let mut bytes = spoken(&[5]);
        let at = hello::LENGTH;
        bytes[at] += 1;
        bytes.push(0);
        let mut listener = Listener::new(Role::Actor, SystemId(1));
        listener.heard(&bytes);
        assert_eq!(listener.next::<u64>().unwrap_err(), ConversationError::Body(DecodeError::LeftOver(1)));
    }

    #[test]
    fn what_was_cut_off_is_missing_in_its_own_frame_and_in_no_other() {
        let null = || Some(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut bytes = Hello { role: Role::Actor, system: SystemId(1) }.encode().to_vec();
        for (message, descriptors) in [(1_u64, 0), (2, 1), (3, 2), (4, 1)] {
            append(&mut bytes, &message, descriptors).unwrap();
        }
        let mut listener = Listener::new(Role::Actor, SystemId(1));
        listener.descriptors.extend([None, null(), None, null()]);
        listener.heard(&bytes);
        let heard: Vec<_> = std::iter::from_fn(|| listener.next::<u64>().unwrap())
            .map(|(message, descriptors)| (message, descriptors.len()))
            .collect();
        assert_eq!(heard, [(1, 0), (2, 0), (3, 1), (4, 1)]);
        assert!(listener.descriptors.is_empty());
    }

    #[test]
    fn announced_descriptors_that_did_not_come_are_an_error() {
        let mut bytes = spoken(&[5]);
        bytes[hello::LENGTH + 4] = 1;
        let mut listener = Listener::new(Role::Actor, SystemId(1));
        listener.heard(&bytes);
        assert_eq!(listener.next::<u64>().unwrap_err(), ConversationError::NoDescriptors);
    }
}
