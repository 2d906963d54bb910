//! The sending half of a link: what was accepted and is not known to be processed.

use serde::{Deserialize, Serialize};

use super::descriptors::Outgoing;
use crate::wire::frame::{self, ExtensionSet, FrameError, HEADER, Header, IDEMPOTENT, Kind, WITHDRAWN};
use crate::wire::ids::{MessageKey, Sequence};
use crate::wire::passing::Beside;

/// Memory beyond this is given back when the log is empty: a burst should not be paid for ever.
const KEEP: usize = 1 << 20;
/// Less than this in front of the waiting bytes is not worth moving them.
const WORTH_MOVING: usize = 16 << 10;

/// How much may be under way to a receiver at once: sent or not, but not yet processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Messages.
    pub messages: u32,
    /// Bytes of frames, headers included. One message that is larger than this may pass when nothing else waits.
    pub bytes: u32,
}

/// A message that leaves the outbox without being known to be processed, or is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its place on the link.
    pub sequence: Sequence,
    /// Its type.
    pub key: MessageKey,
    /// Whether somebody waits for its reply.
    pub ask: bool,
    /// Which delivery it was, counted from 1; of a redelivered one, which it will be.
    pub attempt: u8,
    /// Length of its body in bytes.
    pub bytes: usize,
}

/// What became of the message that a receiver was handling when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InHand {
    /// It was handling none of this link.
    Nothing,
    /// It is idempotent and stays first in line, with its next attempt.
    Redelivered(Lost),
    /// It may have been executed; it is removed and never sent again.
    InDoubt(Lost),
    /// It is idempotent, but has taken as many receivers with it as it may; it is removed.
    Quarantined(Lost),
}

/// One log of encoded frames between acked ≤ sent ≤ appended, like the send buffer of a TCP connection.
///
/// It outlives its receiver: a new incarnation makes it rewind. Every message in it lies between [`acked`](Self::acked)
/// and [`appended`](Self::appended), without gaps, because what is removed is always the first one waiting.
#[derive(Debug)]
pub struct Outbox {
    log: Log,
    /// Bytes at the front that finish a frame which was acknowledged while this socket had half of it: they belong to
    /// no waiting message, but without them the stream would break. Only after a rewind, when the receiver still
    /// lived and had that frame from an earlier socket.
    remainder: usize,
    /// Bytes of waiting frames that the kernel took, counted from the first waiting one.
    written: usize,
    /// Where the first frame begins that the kernel did not take to its end; at most `written`.
    whole: usize,
    acked: Sequence,
    sent: Sequence,
    appended: Sequence,
    /// Bytes that were ever appended: what is unsent always ends there.
    total: u64,
    /// Of which so many were the last frame.
    last: usize,
    descriptors: Outgoing,
    window: Window,
    body_limit: usize,
}

impl Outbox {
    /// An empty one, without memory; `body_limit` bounds the extensions plus body of a frame, in bytes.
    pub fn new(window: Window, body_limit: usize) -> Self {
        Outbox {
            log: Log::default(),
            remainder: 0,
            written: 0,
            whole: 0,
            acked: Sequence::ZERO,
            sent: Sequence::ZERO,
            appended: Sequence::ZERO,
            total: 0,
            last: 0,
            descriptors: Outgoing::default(),
            window,
            body_limit,
        }
    }

    /// What the receiver grants from now on; what is under way already stays.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Whether the window has room for one more message, of whatever size.
    pub fn has_room(&self) -> bool {
        let waiting = self.waiting();
        let bytes = u32::try_from(self.waiting_bytes()).unwrap_or(u32::MAX);
        waiting < u64::from(self.window.messages) && (waiting == 0 || bytes < self.window.bytes)
    }

    /// Encodes a message at the end; `body` is told how many bytes it may write.
    ///
    /// It does not look for room: the caller does, under the same lock.
    ///
    /// # Errors
    /// Whatever `body` returns; nothing is appended then, and no sequence is used.
    pub fn append<E>(
        &mut self,
        kind: Kind,
        flags: u8,
        key: MessageKey,
        extensions: &ExtensionSet<'_>,
        body: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>,
    ) -> Result<Sequence, E> {
        let sequence = self.appended.next();
        let header = Header { kind, flags, attempt: 1, descriptors: 0, sequence, key };
        let limit = self.body_limit;
        self.last = self.log.append(|log| {
            let start = log.len() + HEADER;
            // Readers bound extensions and body together, so the extensions are taken from the body's share.
            frame::append(log, &header, extensions, |log| {
                let rest = limit.saturating_sub(log.len() - start);
                body(log, rest)
            })
        })?;
        self.total += self.last as u64;
        self.appended = sequence;
        Ok(sequence)
    }

    /// Gives the message that was appended last, and of which nothing is written yet, these descriptors: they go with
    /// its first byte to every incarnation, and are kept until it is settled.
    pub fn attach(&mut self, beside: Beside) {
        let at = self.log.len() - self.last;
        // There are at most as many as fit in one body.
        frame::set_descriptors(
            &mut self.log.bytes_mut()[at..],
            u8::try_from(beside.len()).unwrap_or(u8::MAX),
        );
        self.descriptors.attach(self.appended, self.total - self.last as u64, beside);
    }

    /// What is not with the kernel yet.
    pub fn unsent(&self) -> &[u8] {
        &self.log.bytes()[self.written..]
    }

    /// The next whole frame that is not with the kernel; `None` if there is none, or half of it is.
    pub fn whole_frame(&self) -> Option<&[u8]> {
        if self.remainder > 0 || self.whole != self.written {
            return None;
        }
        let (length, _) = frame::peek(self.unsent())?;
        self.unsent().get(..length)
    }

    /// What the socket should be given next, and the descriptors that must go with the first byte of it.
    pub fn next_write(&self) -> (&[u8], &Beside) {
        let unsent = self.unsent();
        let (most, beside) = self.descriptors.next_write(self.total - unsent.len() as u64);
        (&unsent[..unsent.len().min(most)], beside)
    }

    /// Says that the kernel took so many bytes of [`unsent`](Self::unsent); they may end within a frame.
    pub fn wrote(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.unsent().len(), "more was written than there was");
        let finished = bytes.min(self.remainder);
        if finished > 0 {
            self.log.trim(finished);
            self.remainder -= finished;
        }
        self.written = (self.written + bytes - finished).min(self.waiting_bytes());
        if self.written == self.waiting_bytes() && self.remainder == 0 {
            self.whole = self.written;
            self.sent = self.appended;
            return;
        }
        while let Some((length, header)) = frame::peek(&self.log.bytes()[self.remainder + self.whole..])
            && self.whole + length <= self.written
        {
            self.whole += length;
            self.sent = self.sent.max(header.sequence);
        }
    }

    /// The last message that was accepted.
    pub fn appended(&self) -> Sequence {
        self.appended
    }

    /// The last one of which a socket ever took the whole frame.
    ///
    /// It stays where it is when the outbox rewinds: the receiver may know everything up to it. What is discarded counts
    /// as sent.
    pub fn sent(&self) -> Sequence {
        self.sent
    }

    /// The last one that is settled, as are all before it.
    pub fn acked(&self) -> Sequence {
        self.acked
    }

    /// Messages that are not settled.
    pub fn waiting(&self) -> u64 {
        self.appended.0 - self.acked.0
    }

    /// Bytes of the frames of those messages.
    pub fn waiting_bytes(&self) -> usize {
        self.log.len() - self.remainder
    }

    /// Takes the receiver's word that everything up to `upto` is processed; whether that freed anything.
    ///
    /// Acknowledgements may come late and again: those that say nothing new are `Ok(false)`.
    ///
    /// # Errors
    /// [`FrameError::AckBeyondSent`] for what was never sent; nothing changes then.
    pub fn acknowledge(&mut self, upto: Sequence) -> Result<bool, FrameError> {
        if upto <= self.acked {
            return Ok(false);
        }
        if upto > self.sent {
            return Err(FrameError::AckBeyondSent { got: upto, sent: self.sent });
        }
        let settled = self.bytes_up_to(upto);
        if self.whole < self.written && self.written < settled {
            self.keep_rest_of_half_written(settled);
        } else if self.remainder > 0 {
            // The frame that is being finished stays in front; what is settled goes from behind it.
            let front = self.remainder;
            self.log.bytes_mut().copy_within(..front, settled);
            self.log.trim(settled);
        } else {
            self.log.trim(settled);
        }
        self.written = self.written.saturating_sub(settled);
        self.whole = self.whole.saturating_sub(settled);
        self.settled(upto);
        Ok(true)
    }

    /// The receiver has refused the ask of this sequence before its turn, and its asker knows: it must not be run by a
    /// later incarnation. It still waits for its turn, to be passed over.
    ///
    /// # Errors
    /// [`FrameError::AckBeyondSent`] for what was never sent.
    pub fn withdraw(&mut self, sequence: Sequence) -> Result<(), FrameError> {
        if sequence > self.sent {
            return Err(FrameError::AckBeyondSent { got: sequence, sent: self.sent });
        }
        if sequence > self.acked {
            let at = self.remainder + self.bytes_up_to(Sequence(sequence.0 - 1));
            frame::add_flag(&mut self.log.bytes_mut()[at..], WITHDRAWN);
        }
        Ok(())
    }

    /// Makes ready for a new socket to the same incarnation, which knows what it has from the old one.
    pub fn link_lost(&mut self) {
        self.log.trim(self.remainder);
        (self.remainder, self.written, self.whole) = (0, 0, 0);
    }

    /// Makes ready for the next incarnation, after what the last one left in its recorder.
    ///
    /// What was `processed` is trimmed, the message that was `in_hand` is decided, and [`unsent`](Self::unsent) starts at
    /// the first one waiting. The recorder is believed only where it can be true: `processed` is taken to lie between
    /// acked and sent, and only the first message after it can have been in hand. An idempotent message is
    /// delivered `redelivery_limit` times at most.
    pub fn receiver_died(
        &mut self,
        processed: Sequence,
        in_hand: Option<Sequence>,
        redelivery_limit: u8,
    ) -> InHand {
        self.link_lost();
        let processed = processed.clamp(self.acked, self.sent);
        self.log.trim(self.bytes_up_to(processed));
        self.settled(processed);

        if in_hand != Some(processed.next()) || processed == self.sent {
            return InHand::Nothing;
        }
        let Some((header, mut lost)) = self.first() else { return InHand::Nothing };
        // The flags of an answer are a status, so the kind is asked first.
        let idempotent = matches!(header.kind, Kind::Tell | Kind::Ask) && header.flags & IDEMPOTENT != 0;
        if idempotent && header.attempt < redelivery_limit {
            lost.attempt = header.attempt + 1;
            frame::set_attempt(self.log.bytes_mut(), lost.attempt);
            return InHand::Redelivered(lost);
        }
        self.remove_first();
        if idempotent { InHand::Quarantined(lost) } else { InHand::InDoubt(lost) }
    }

    /// Makes ready for the next incarnation when the last one's recorder cannot be believed.
    ///
    /// Everything that was sent and not acknowledged is in doubt: it is removed and returned, in order.
    pub fn receiver_died_untold(&mut self) -> Vec<Lost> {
        self.link_lost();
        self.remove_up_to(self.sent)
    }

    /// Empties the outbox because there will be no receiver any more, and returns what waited, in order.
    pub fn discard(&mut self) -> Vec<Lost> {
        self.link_lost();
        self.sent = self.appended;
        self.remove_up_to(self.appended)
    }

    /// Bytes of the waiting frames up to and including that of `upto`.
    fn bytes_up_to(&self, upto: Sequence) -> usize {
        if upto == self.appended {
            return self.waiting_bytes();
        }
        let waiting = &self.log.bytes()[self.remainder..];
        let mut offset = 0;
        for _ in self.acked.0..upto.0 {
            let Some((length, _)) = frame::peek(&waiting[offset..]) else { break };
            offset += length;
        }
        offset
    }

    /// Trims `settled` bytes, but keeps in front what completes the frame that the socket has half of.
    fn keep_rest_of_half_written(&mut self, settled: usize) {
        let length = frame::peek(&self.log.bytes()[self.whole..]).map_or(0, |(length, _)| length);
        let frame_end = self.whole + length;
        self.log.bytes_mut().copy_within(self.written..frame_end, settled - (frame_end - self.written));
        self.remainder = frame_end - self.written;
        self.log.trim(settled - self.remainder);
    }

    /// The first waiting message; the outbox is rewound.
    fn first(&self) -> Option<(Header, Lost)> {
        // What it wrote itself needs no limit; the header is added to this one.
        let frame = frame::parse(self.log.bytes(), usize::MAX - HEADER).ok()??;
        let Header { sequence, key, attempt, kind, .. } = frame.header;
        let lost = Lost { sequence, key, ask: kind == Kind::Ask, attempt, bytes: frame.body.len() };
        Some((frame.header, lost))
    }

    fn remove_first(&mut self) {
        let next = self.acked.next();
        self.log.trim(self.bytes_up_to(next));
        self.settled(next);
    }

    fn settled(&mut self, upto: Sequence) {
        self.acked = upto;
        self.descriptors.settled(upto);
    }

    fn remove_up_to(&mut self, upto: Sequence) -> Vec<Lost> {
        let mut removed = Vec::new();
        while self.acked < upto {
            removed.extend(self.first().map(|(_, lost)| lost));
            self.remove_first();
        }
        removed
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.log.memory()
    }
}

/// Bytes in a row: appended behind, trimmed in front. Apart, so that it can later live in memory that outlives the
/// sender.
#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    /// Where the bytes begin that are not trimmed.
    head: usize,
    /// Where they end. What a panic in the middle of an append left behind it is cut off by the next one.
    end: usize,
}

impl Log {
    /// What is in it, oldest first.
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.head..self.end]
    }

    /// The same, for rewriting in place.
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.head..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.head
    }

    /// Lets `write` add bytes at the end; on an error there are none.
    fn append<T, E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) -> Result<T, E> {
        self.bytes.truncate(self.end);
        let result = write(&mut self.bytes)?;
        self.end = self.bytes.len();
        Ok(result)
    }

    /// Forgets the first `bytes`.
    fn trim(&mut self, bytes: usize) {
        self.head = (self.head + bytes).min(self.end);
        if self.head == self.end {
            self.clear();
        } else if self.head >= WORTH_MOVING && self.head >= self.len() {
            // Moves no more than was trimmed since the last move: constant per byte in the long run.
            self.bytes.truncate(self.end);
            self.bytes.copy_within(self.head.., 0);
            (self.head, self.end) = (0, self.len());
            self.bytes.truncate(self.end);
        }
    }

    fn clear(&mut self) {
        (self.head, self.end) = (0, 0);
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}
