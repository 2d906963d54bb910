//! Bytes from a socket, until they are frames.

use super::descriptors::Incoming;
use crate::wire::frame::{self, Frame, FrameError};
use crate::wire::passing::Arrived;

/// Most bytes asked of a socket at once: what a socket holds by default is about three times as much, and a larger
/// read no longer saves a noticeable part of its cost.
pub const READ: usize = 64 << 10;
/// The first allocation: most actors are idle most of the time, and there are many.
const FIRST: usize = 16 << 10;
/// With less room than this, the buffer moves its bytes or grows before the next read; small against [`FIRST`].
const LEAST: usize = 4 << 10;
/// A buffer that has grown beyond this for a large frame is given back once it is empty.
const KEEP: usize = 1 << 20;

/// A byte buffer that is used again and again, and hands out frames in place.
///
/// It starts without memory, takes 16 KiB at the first read and more once a read has filled what was offered. It
/// grows in proportion to the bytes that have arrived, never for a length that a frame claims.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    /// All of it initialised; `start..end` is what arrived and is not consumed.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Length of the last [`space`](Self::space).
    offered: usize,
    /// A read has filled its space: the next ones are offered [`READ`].
    busy: bool,
    /// Bytes that have ever arrived: `end` in the stream.
    arrived: u64,
    descriptors: Incoming,
}

impl FrameBuffer {
    /// An empty one, without memory.
    pub fn new() -> Self {
        FrameBuffer::default()
    }

    /// Where to read next; never empty, at most [`READ`] long.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        self.offered = (self.bytes.len() - self.end).min(READ);
        &mut self.bytes[self.end..self.end + self.offered]
    }

    /// Says that so many bytes were read into the last [`space`](Self::space).
    pub fn filled(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.offered, "more was read than there was space");
        let bytes = bytes.min(self.offered);
        self.busy |= bytes > 0 && bytes == self.offered;
        self.end += bytes;
        self.offered -= bytes;
        self.arrived += bytes as u64;
    }

    /// Says what came beside the last so many bytes, which one read brought.
    ///
    /// # Errors
    /// [`FrameError::Unannounced`] when more wait for a frame than there can be frames.
    pub fn came_beside(&mut self, bytes: usize, beside: Arrived) -> Result<(), FrameError> {
        self.descriptors.came(self.arrived - bytes as u64..self.arrived, beside)
    }

    /// Descriptors that wait for the frames that announce them.
    pub fn descriptors(&self) -> usize {
        self.descriptors.held()
    }

    /// The next complete frame, consumed, and what came beside it; `limit` bounds its extensions plus body, in bytes.
    ///
    /// # Errors
    /// What [`frame::parse`] finds wrong, or descriptors that do not fit. The bytes stay, so that the answer stays the
    /// same.
    pub fn next_frame(&mut self, limit: usize) -> Result<Option<(Frame<'_>, Arrived)>, FrameError> {
        self.next_where(limit, |_| Ok(true))
    }

    /// Bytes that arrived and are not consumed.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Moves up to `count` bytes to the end of `into`.
    pub(super) fn take_raw(&mut self, count: usize, into: &mut Vec<u8>) {
        let count = count.min(self.buffered());
        into.extend_from_slice(&self.bytes[self.start..self.start + count]);
        self.start += count;
    }

    /// The next complete frame that `judge` wants, consumed together with those that it does not want.
    pub(super) fn next_where(
        &mut self,
        limit: usize,
        mut judge: impl FnMut(&Frame<'_>) -> Result<bool, FrameError>,
    ) -> Result<Option<(Frame<'_>, Arrived)>, FrameError> {
        loop {
            let at = self.arrived - self.buffered() as u64;
            let Some(frame) = frame::parse(&self.bytes[self.start..self.end], limit)? else {
                return Ok(None);
            };
            self.descriptors.check(at, &frame)?;
            let wanted = judge(&frame)?;
            let beside = self.descriptors.take(&frame);
            self.start += frame.length;
            if wanted {
                return Ok(Some((frame, beside)));
            }
        }
    }

    /// The complete frame that begins so many bytes behind the first one that is not consumed.
    pub(super) fn frame_at(&self, offset: usize, limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
        frame::parse(self.bytes[self.start..self.end].get(offset..).unwrap_or_default(), limit)
    }

    fn make_room(&mut self) {
        let pending = self.buffered();
        if pending == 0 {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEEP {
                (self.bytes, self.busy) = (Vec::new(), false);
            }
        }
        let needed = if self.busy { READ } else { LEAST };
        if self.bytes.len() - self.end >= needed {
            return;
        }
        // Moving costs no more than what was consumed since the last move, so it is free in the long run.
        if self.start >= pending && self.bytes.len() - pending >= needed {
            self.bytes.copy_within(self.start..self.end, 0);
        } else {
            let first = if self.busy { 2 * READ } else { FIRST };
            let mut larger = vec![0; first.max(2 * pending + needed)];
            larger[..pending].copy_from_slice(&self.bytes[self.start..self.end]);
            self.bytes = larger;
        }
        (self.start, self.end) = (0, pending);
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}
