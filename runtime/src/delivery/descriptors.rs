//! Descriptors on a link: which frame's first byte they go with, and which frame they came with.
//!
//! The kernel hands descriptors over with the first byte that was written together with them, and never two such
//! writes in one read. So a write begins with a frame that has descriptors, and each read that brings some brings those
//! of exactly one frame, which begins among its bytes.

use std::collections::VecDeque;
use std::ops::Range;

use crate::wire::frame::{Frame, FrameError};
use crate::wire::ids::Sequence;
use crate::wire::passing::{Arrived, Beside, LIMIT};

/// Most frames of one link that may wait for their turn with descriptors: one whose descriptors no frame announces must
/// not fill this process's table. A socket holds fewer frames than that, and reading stops long before.
const WAITING: usize = 1024;

/// The sending half: kept until the message is settled, for the next incarnation.
#[derive(Debug, Default)]
pub struct Outgoing {
    frames: VecDeque<Attached>,
}

#[derive(Debug)]
struct Attached {
    sequence: Sequence,
    /// Where the frame begins, in bytes ever appended.
    at: u64,
    beside: Beside,
}

impl Outgoing {
    /// The message of this sequence, younger than all others, whose frame begins there.
    pub fn attach(&mut self, sequence: Sequence, at: u64, beside: Beside) {
        self.frames.push_back(Attached { sequence, at, beside });
    }

    /// How many bytes may be written next, from there on, and what must go with the first of them.
    pub fn next_write(&self, from: u64) -> (usize, &Beside) {
        static NOTHING: Beside = Vec::new();
        let next = self.frames.partition_point(|frame| frame.at < from);
        let begins_here = self.frames.get(next).filter(|frame| frame.at == from);
        let stop = self.frames.get(next + usize::from(begins_here.is_some()));
        let most = stop.map_or(usize::MAX, |frame| usize::try_from(frame.at - from).unwrap_or(usize::MAX));
        (most, begins_here.map_or(&NOTHING, |frame| &frame.beside))
    }

    /// Everything up to this sequence needs its descriptors no longer.
    pub fn settled(&mut self, upto: Sequence) {
        while self.frames.front().is_some_and(|frame| frame.sequence <= upto) {
            self.frames.pop_front();
        }
    }
}

/// The receiving half: what came, until its frame is taken.
#[derive(Debug, Default)]
pub struct Incoming {
    reads: VecDeque<(Range<u64>, Arrived)>,
    held: usize,
}

impl Incoming {
    /// A read brought these bytes of the stream, and that beside them.
    ///
    /// # Errors
    /// [`FrameError::Unannounced`] when more wait for their frames than there can be.
    pub fn came(&mut self, bytes: Range<u64>, beside: Arrived) -> Result<(), FrameError> {
        if self.reads.len() >= WAITING {
            return Err(FrameError::Unannounced);
        }
        self.held += beside.descriptors.len();
        self.reads.push_back((bytes, beside));
        Ok(())
    }

    /// How many descriptors wait for their frames.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether the oldest frame, which begins there in the stream, came with what it announces, and nothing came
    /// within it that no frame can announce any more.
    ///
    /// # Errors
    /// [`FrameError::Descriptors`], [`FrameError::Unannounced`].
    pub fn check(&self, at: u64, frame: &Frame<'_>) -> Result<(), FrameError> {
        let announced = frame.header.descriptors;
        if announced == 0 && self.reads.is_empty() {
            return Ok(());
        }
        let mut reads = self.reads.iter();
        if announced > 0 {
            let own = reads.next().filter(|(bytes, _)| bytes.contains(&at));
            let came = own.map_or(0, |(_, beside)| beside.descriptors.len());
            // What was cut off is no fault of the peer's.
            let is_cut = own.is_some_and(|(_, beside)| beside.cut);
            if usize::from(announced) > LIMIT || (came != usize::from(announced) && !is_cut) {
                return Err(FrameError::Descriptors { announced, came });
            }
        }
        match reads.next() {
            Some((bytes, _)) if bytes.end <= at + frame.length as u64 => Err(FrameError::Unannounced),
            _ => Ok(()),
        }
    }

    /// What came with the oldest frame, which has been [checked](Self::check).
    pub fn take(&mut self, frame: &Frame<'_>) -> Arrived {
        if frame.header.descriptors == 0 {
            return Arrived::default();
        }
        let Some((_, beside)) = self.reads.pop_front() else { return Arrived::default() };
        self.held -= beside.descriptors.len();
        beside
    }
}

#[cfg(test)]
#[path = "descriptors_tests.rs"]
mod tests;
