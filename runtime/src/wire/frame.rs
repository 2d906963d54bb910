//! Frames on a data link: a fixed header, checked by hand, then typed extensions, then the body.
//!
//! ```text
//!  0  u32  length of the whole frame, this field included
//!  4  u8   kind
//!  5  u8   flags
//!  6  u8   attempt, counted from 1 (at a fixed place, because redelivery rewrites it)
//!  7  u8   descriptors that go with the first byte
//!  8  u64  sequence
//! 16  u64  message key
//! 24  u16  length of the extensions
//! 26  u16  zero
//! 28  extensions, then the body
//! ```
//!
//! Numbers are little-endian. An extension is `u8 type, u8 critical (0 or 1), u16 length, bytes`; an unknown one is
//! skipped unless it is critical. One direction of a link carries [`Kind::Tell`], [`Kind::Ask`] and the other kinds of
//! a sender; the other carries [`Kind::Ack`], [`Kind::Reply`] and the other answers of the receiver.

use thiserror::Error;

use super::ids::{ActorId, LinkId, MessageKey, Sequence};

/// Bytes before the extensions.
pub const HEADER: usize = 28;
/// Longest body plus extensions that is taken, unless configured: large enough for a picture or a chunk of a file,
/// small enough that one frame cannot fill a machine. Larger things travel as several messages.
pub const BODY_LIMIT: usize = 16 << 20;
/// Most actors in one call chain: a deeper one is refused as a runaway recursion.
pub const CHAIN_LIMIT: usize = 64;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sender to receiver: a message that wants no reply.
    Tell = 1,
    /// Sender to receiver: a message whose sender waits for a reply.
    Ask = 2,
    /// Sender to receiver: the sender of this frame answers an ask of the receiver's, on behalf of another actor.
    /// Body: [`ThirdPartyReply`](super::control::ThirdPartyReply) then the reply's body.
    Answer = 3,
    /// Sender to receiver: the sender of this frame now holds the right to answer that ask.
    Adopt = 4,
    /// Receiver to sender: everything up to this sequence is processed.
    Ack = 16,
    /// Receiver to sender: the reply to the ask of this sequence; acknowledges it too. Flags: [`Status`].
    Reply = 17,
    /// Receiver to sender: somebody else will answer the ask of this sequence.
    Forwarded = 18,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Tell, Kind::Ask, Kind::Answer, Kind::Adopt, Kind::Ack, Kind::Reply, Kind::Forwarded]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }

    /// Whether it runs from the sender of messages to their receiver.
    pub fn is_data(self) -> bool {
        (self as u8) < 16
    }
}

/// How a reply ended; in the flags of a [`Kind::Reply`] and of a third party's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The body is the reply.
    Ok = 0,
    /// The handler returned an error; the body is that error.
    Failed = 1,
    /// The receiver has no such message.
    Unknown = 2,
    /// The body did not decode; the body of the reply says why.
    Undecodable = 3,
    /// Answering would wait for the asker itself.
    WouldDeadlock = 4,
    /// The deadline had passed before the handler was entered.
    Expired = 5,
    /// Whoever held the right to answer gave it up.
    NoReply = 6,
    /// The reply was larger than a frame may be.
    TooLarge = 7,
    /// The receiver has as many descriptors open as it may, so what came with the message is lost; it was not handled.
    NoDescriptors = 8,
    /// The reply was made, but its descriptors could not be sent: as many are under way as may be.
    ReplyCut = 9,
}

impl Status {
    /// The status in a reply's flags.
    pub fn from_byte(byte: u8) -> Option<Status> {
        use Status::*;
        [Ok, Failed, Unknown, Undecodable, WouldDeadlock, Expired, NoReply, TooLarge, NoDescriptors, ReplyCut]
            .into_iter()
            .find(|s| *s as u8 == byte)
    }
}

/// In the flags of [`Kind::Tell`] and [`Kind::Ask`]: the message may be handled more than once.
pub const IDEMPOTENT: u8 = 1;

/// In the flags of [`Kind::Ask`]: an earlier incarnation refused it, and its asker knows; to be passed over.
pub const WITHDRAWN: u8 = 2;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// [`IDEMPOTENT`] and [`WITHDRAWN`] on messages, a [`Status`] on replies, else zero.
    pub flags: u8,
    /// 1, and one more at each redelivery.
    pub attempt: u8,
    /// Descriptors that go with its first byte.
    pub descriptors: u8,
    /// Its place on the link, or the place that it answers.
    pub sequence: Sequence,
    /// The message's type.
    pub key: MessageKey,
}

/// A frame in place: everything borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The fixed part.
    pub header: Header,
    /// The typed extensions.
    pub extensions: Extensions<'a>,
    /// The message itself, or the reply.
    pub body: &'a [u8],
    /// Length of the whole frame in bytes.
    pub length: usize,
}

/// Why bytes are not a frame. The peer that sent them is ended with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length that no frame has.
    #[error("a frame claims {length} bytes, at most {limit} are taken")]
    TooLong {
        /// What the header claims.
        length: usize,
        /// What is taken.
        limit: usize,
    },
    /// Shorter than its own header and extensions.
    #[error("a frame of {0} bytes is shorter than its own header")]
    TooShort(usize),
    /// A kind that this version does not know, or that does not run in this direction.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A field that must be zero was not, or a sequence was zero.
    #[error("a reserved field of a frame is set, or its sequence is zero")]
    Reserved,
    /// An extension that overruns its space.
    #[error("the extensions of a frame are malformed")]
    Extensions,
    /// An extension that must be understood and is not.
    #[error("a frame carries the unknown critical extension {0}")]
    UnknownCritical(u8),
    /// A frame that does not belong in this conversation.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
    /// Not as many descriptors as its header says, or more than any frame has.
    #[error("a frame announces {announced} descriptors, and {came} came with it")]
    Descriptors {
        /// What its header says.
        announced: u8,
        /// What came with its first byte.
        came: usize,
    },
    /// Descriptors that belong to no frame.
    #[error("descriptors came that no frame announces")]
    Unannounced,
    /// A sequence that leaves the order.
    #[error("sequence {got} after {last}")]
    Order {
        /// The last one taken.
        last: Sequence,
        /// The one that came.
        got: Sequence,
    },
    /// An acknowledgement of something never sent.
    #[error("acknowledged {got}, but only {sent} was sent")]
    AckBeyondSent {
        /// What was acknowledged.
        got: Sequence,
        /// The last one sent.
        sent: Sequence,
    },
}

/// Takes the first frame of `bytes` in place; `Ok(None)` when it is not complete yet.
///
/// The length is judged before anything is allocated for it: `limit` bounds extensions plus body.
///
/// # Errors
/// [`FrameError`] when no continuation of `bytes` could be a frame.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(length) = bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize) else {
        return Ok(None);
    };
    if length < HEADER {
        return Err(FrameError::TooShort(length));
    }
    if length > limit.saturating_add(HEADER) {
        return Err(FrameError::TooLong { length, limit });
    }
    let Some(head) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let header = Header {
        kind: Kind::from_byte(head[4]).ok_or(FrameError::UnknownKind(head[4]))?,
        flags: head[5],
        attempt: head[6],
        descriptors: head[7],
        sequence: Sequence(u64_at(head, 8)),
        key: MessageKey(u64_at(head, 16)),
    };
    let extensions = usize::from(u16::from_le_bytes([head[24], head[25]]));
    if head[26] != 0 || head[27] != 0 {
        return Err(FrameError::Reserved);
    }
    if HEADER + extensions > length {
        return Err(FrameError::TooShort(length));
    }
    let Some(frame) = bytes.get(..length) else { return Ok(None) };
    let (extensions, body) = frame[HEADER..].split_at(extensions);
    Ok(Some(Frame { header, extensions: Extensions::check(extensions)?, body, length }))
}

/// Appends a frame to `log`: header and extensions at once, the body by `body`, then the length.
///
/// # Errors
/// Whatever `body` returns; `log` is then as it was.
pub fn append<E>(
    log: &mut Vec<u8>,
    header: &Header,
    extensions: &ExtensionSet<'_>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<usize, E> {
    let start = log.len();
    // The header in one piece; both lengths are filled in behind.
    let mut head = [0; HEADER];
    head[4..8].copy_from_slice(&[header.kind as u8, header.flags, header.attempt, header.descriptors]);
    head[8..16].copy_from_slice(&header.sequence.0.to_le_bytes());
    head[16..24].copy_from_slice(&header.key.0.to_le_bytes());
    log.extend_from_slice(&head);
    extensions.write(log);
    let length = u16::try_from(log.len() - start - HEADER).unwrap_or(u16::MAX);
    log[start + 24..start + 26].copy_from_slice(&length.to_le_bytes());
    if let Err(e) = body(log) {
        log.truncate(start);
        return Err(e);
    }
    let length = log.len() - start;
    // `body` keeps to a limit far below u32; a longer frame would be refused by every reader.
    log[start..start + 4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    Ok(length)
}

/// The length and header of a whole frame that this process wrote itself, without checking the rest again.
///
/// For walking an outbox; `None` at its end.
pub fn peek(bytes: &[u8]) -> Option<(usize, Header)> {
    let head = bytes.first_chunk::<HEADER>()?;
    let header = Header {
        kind: Kind::from_byte(head[4])?,
        flags: head[5],
        attempt: head[6],
        descriptors: head[7],
        sequence: Sequence(u64_at(head, 8)),
        key: MessageKey(u64_at(head, 16)),
    };
    Some((u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize, header))
}

/// Where the frame begins that stands at `at`, in a row of whole frames; `at` itself between two.
pub fn boundary_before(bytes: &[u8], at: usize) -> usize {
    let mut start = 0;
    while let Some((length, _)) = bytes.get(start..).and_then(peek)
        && length > 0
        && start + length <= at
    {
        start += length;
    }
    start
}

/// Rewrites the attempt of the frame that starts at `bytes[0]`.
pub fn set_attempt(bytes: &mut [u8], attempt: u8) {
    if let Some(at) = bytes.get_mut(6) {
        *at = attempt;
    }
}

/// Sets a flag of the frame that starts at `bytes[0]`.
pub fn add_flag(bytes: &mut [u8], flag: u8) {
    if let Some(flags) = bytes.get_mut(5) {
        *flags |= flag;
    }
}

/// Says how many descriptors go with the first byte of the frame that starts at `bytes[0]`.
pub fn set_descriptors(bytes: &mut [u8], count: u8) {
    if let Some(at) = bytes.get_mut(7) {
        *at = count;
    }
}

/// Makes the reply that starts at `bytes[0]` one that says what became of its descriptors.
pub fn cut_reply(bytes: &mut [u8]) {
    set_descriptors(bytes, 0);
    if let Some(flags) = bytes.get_mut(5) {
        *flags = Status::ReplyCut as u8;
    }
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

const DEADLINE: u8 = 1;
const CHAIN: u8 = 2;
const CHAIN_LINK: usize = 24;

/// One message in whose handling a call was made: who handles it, and which message that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// The actor that is waiting.
    pub actor: ActorId,
    /// The link on which the message came that it is handling.
    pub link: LinkId,
    /// The place of that message.
    pub sequence: Sequence,
}

/// The extensions to write on a frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtensionSet<'a> {
    /// When the sender stops waiting, in nanoseconds of the machine's monotonic clock.
    pub deadline: Option<u64>,
    /// The call chain, outermost first; at most [`CHAIN_LIMIT`] long.
    pub chain: &'a [ChainLink],
}

impl ExtensionSet<'_> {
    fn write(&self, log: &mut Vec<u8>) {
        if let Some(deadline) = self.deadline {
            log.extend_from_slice(&[DEADLINE, 0, 8, 0]);
            log.extend_from_slice(&deadline.to_le_bytes());
        }
        let chain = &self.chain[..self.chain.len().min(CHAIN_LIMIT)];
        if !chain.is_empty() {
            log.extend_from_slice(&[CHAIN, 0]);
            let length = u16::try_from(chain.len() * CHAIN_LINK).unwrap_or(u16::MAX);
            log.extend_from_slice(&length.to_le_bytes());
            for link in chain {
                log.extend_from_slice(&link.actor.0.to_le_bytes());
                log.extend_from_slice(&link.link.0.to_le_bytes());
                log.extend_from_slice(&link.sequence.0.to_le_bytes());
            }
        }
    }
}

/// The extensions of a received frame, checked for form and read on demand.
#[derive(Clone, Copy, Debug)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    fn check(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (kind, critical, value, after) = next_extension(rest).ok_or(FrameError::Extensions)?;
            match kind {
                DEADLINE if value.len() != 8 => return Err(FrameError::Extensions),
                CHAIN if value.len() % CHAIN_LINK != 0 || value.len() > CHAIN_LIMIT * CHAIN_LINK => {
                    return Err(FrameError::Extensions);
                }
                DEADLINE | CHAIN => {}
                _ if critical => return Err(FrameError::UnknownCritical(kind)),
                _ => {}
            }
            rest = after;
        }
        Ok(Extensions(bytes))
    }

    fn find(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let Some((kind, _, value, after)) = next_extension(rest) {
            if kind == wanted {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// When the sender stops waiting, in nanoseconds of the machine's monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        let value = self.find(DEADLINE)?;
        Some(u64::from_le_bytes(*value.first_chunk()?))
    }

    /// The call chain that led to this message, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = ChainLink> + 'a {
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        self.find(CHAIN).unwrap_or_default().chunks_exact(CHAIN_LINK).map(move |c| ChainLink {
            actor: ActorId(number(c)),
            link: LinkId(number(&c[8..])),
            sequence: Sequence(number(&c[16..])),
        })
    }
}

fn next_extension(bytes: &[u8]) -> Option<(u8, bool, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
    (head[1] <= 1 && rest.len() >= length).then(|| {
        let (value, after) = rest.split_at(length);
        (head[0], head[1] == 1, value, after)
    })
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
