//! The receiving half of a link: frames in order, each once.

use super::frame_buffer::FrameBuffer;
use crate::wire::frame::{Frame, FrameError, Header};
use crate::wire::ids::Sequence;
use crate::wire::passing::Arrived;

/// What has arrived on one socket of a link and is not handled yet.
///
/// A new socket gets a new inbox: `Inbox::new(old.last(), …)` when only the socket was lost, or the sequence that the
/// last incarnation had processed. Frames up to that one are duplicates and are skipped. Behind it sequences must
/// rise; gaps are what was in doubt and is not sent again.
#[derive(Debug)]
pub struct Inbox {
    buffer: FrameBuffer,
    /// Bytes behind the first frame that is not consumed that [`scan`](Self::scan) has seen.
    scanned: usize,
    resume_after: Sequence,
    last: Sequence,
    duplicates: u64,
    body_limit: usize,
}

impl Inbox {
    /// An inbox, without memory yet, that takes frames up to and including `resume_after` for duplicates.
    ///
    /// `body_limit` bounds the extensions plus body of a frame, in bytes.
    pub fn new(resume_after: Sequence, body_limit: usize) -> Self {
        Inbox {
            buffer: FrameBuffer::new(),
            scanned: 0,
            resume_after,
            last: resume_after,
            duplicates: 0,
            body_limit,
        }
    }

    /// Where to read next; see [`FrameBuffer::space`].
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.space()
    }

    /// Says that so many bytes were read into the last [`space`](Self::space).
    pub fn filled(&mut self, bytes: usize) {
        self.buffer.filled(bytes);
    }

    /// Says what came beside the last so many bytes; see [`FrameBuffer::came_beside`].
    ///
    /// # Errors
    /// As there.
    pub fn came_beside(&mut self, bytes: usize, beside: Arrived) -> Result<(), FrameError> {
        self.buffer.came_beside(bytes, beside)
    }

    /// Descriptors that have come with what is not consumed.
    pub fn descriptors(&self) -> usize {
        self.buffer.descriptors()
    }

    /// Moves up to `count` bytes to the end of `into`: what stands before the first frame.
    pub fn take_raw(&mut self, count: usize, into: &mut Vec<u8>) {
        self.buffer.take_raw(count, into);
    }

    /// Drops what has arrived: its sender is not to be believed any more.
    pub fn forget(&mut self) {
        self.buffer = FrameBuffer::new();
        self.scanned = 0;
    }

    /// The next frame in order and what came beside it, consumed; `Ok(None)` when no complete one is here.
    ///
    /// # Errors
    /// [`FrameError`] for what is not a frame, is not a sender's, leaves the order or has other descriptors than it says;
    /// the next call says so again.
    // Not an iterator: the frame borrows the buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(Frame<'_>, Arrived)>, FrameError> {
        let Inbox { buffer, scanned, resume_after, last, duplicates, body_limit } = self;
        buffer.next_where(*body_limit, |frame| {
            judge_data(&frame.header)?;
            let got = frame.header.sequence;
            let duplicate = got <= *resume_after && *last == *resume_after;
            if !duplicate && got <= *last {
                return Err(FrameError::Order { last: *last, got });
            }
            *scanned = scanned.saturating_sub(frame.length);
            if duplicate {
                *duplicates += 1;
            } else {
                *last = got;
            }
            Ok(!duplicate)
        })
    }

    /// The header of what [`next`](Self::next) will give; `None` if no whole frame is here, or nothing of the kind.
    pub fn peek(&self) -> Option<Header> {
        let frame = self.buffer.frame_at(0, self.body_limit).ok()??;
        (frame.header.sequence > self.last).then_some(frame.header)
    }

    /// Looks at the next complete frame that was not looked at yet, and leaves it where it is.
    ///
    /// For refusing call cycles while a handler is suspended. Duplicates are passed over; what leaves the order is left
    /// to [`next`](Self::next).
    ///
    /// # Errors
    /// [`FrameError`] for what is not a frame or not a sender's.
    pub fn scan(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Inbox { buffer, scanned, resume_after, body_limit, .. } = self;
        loop {
            let Some(frame) = buffer.frame_at(*scanned, *body_limit)? else { return Ok(None) };
            judge_data(&frame.header)?;
            *scanned += frame.length;
            if frame.header.sequence > *resume_after {
                return Ok(Some(frame));
            }
        }
    }

    /// Bytes that arrived and are not consumed.
    pub fn buffered(&self) -> usize {
        self.buffer.buffered()
    }

    /// Frames that were skipped because an earlier incarnation, or this one on an earlier socket, had them.
    #[cfg(test)]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The last sequence that [`next`](Self::next) gave; at first the one to resume after.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Whether what arrived ends with a whole frame: if not when the socket ends, the sender died while writing.
    ///
    /// It walks what is buffered, so it is for the end of a link and not for every read.
    #[cfg(test)]
    pub fn at_frame_boundary(&self) -> bool {
        let mut offset = 0;
        while let Ok(Some(frame)) = self.buffer.frame_at(offset, self.body_limit) {
            offset += frame.length;
        }
        offset == self.buffered()
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.buffer.memory()
    }
}

/// Whether a frame may stand in a sender's direction at all.
fn judge_data(header: &Header) -> Result<(), FrameError> {
    if !header.kind.is_data() {
        return Err(FrameError::Unexpected(header.kind));
    }
    if header.sequence.0 == 0 {
        return Err(FrameError::Reserved);
    }
    Ok(())
}
