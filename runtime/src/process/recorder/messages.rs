//! The last messages that a process has taken in hand, one after another, for the failure output of tests.
//!
//! They stand at the end of the page, in a ring, and only where the supervisor has asked for it as it made the page:
//! without that, a message costs one look at a flag that never changes. Nothing is decided by them, so they have no
//! checksums: a process that scribbles on them spoils a test's output and no more.

use std::sync::atomic::Ordering;

use super::page::{Cells, Recorder};
use crate::clock;
use crate::wire::ids::{ActorId, MessageKey, Sequence};

/// Messages that are kept of each process: what a person may want to read, and eight pages of memory.
pub(super) const KEPT: usize = 512;

/// Which message of this process it is, counted from 1; the commit: 0 while the others are written.
const NUMBER: usize = 0;
const SENDER: usize = 1;
const SEQUENCE: usize = 2;
const KEY: usize = 3;
const BEGAN: usize = 4;
const ENDED: usize = 5;
const REFUSED: usize = 6;

/// A message as its receiver has noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Who sent it.
    pub sender: ActorId,
    /// Its place on its link.
    pub sequence: Sequence,
    /// What it is.
    pub key: MessageKey,
    /// When it was taken in hand, in nanoseconds of the machine's monotonic clock.
    pub began: u64,
    /// When it was settled, if it was.
    pub ended: Option<u64>,
    /// It was settled without having been handled.
    pub refused: bool,
}

impl Recorder {
    /// Notes a message that is taken in hand. By the process's runtime thread, as everything below.
    pub(super) fn note_begin(&self, sender: ActorId, sequence: Sequence, key: MessageKey) {
        let number = self.noted_cell().load(Ordering::Relaxed).wrapping_add(1);
        let place = self.place_of(number);
        place[NUMBER].store(0, Ordering::Release);
        let began = clock::now();
        let cells = [(SENDER, sender.0), (SEQUENCE, sequence.0), (KEY, key.0), (BEGAN, began)];
        for (column, value) in cells.into_iter().chain([(ENDED, 0), (REFUSED, 0)]) {
            place[column].store(value, Ordering::Release);
        }
        place[NUMBER].store(number, Ordering::Release);
        self.noted_cell().store(number, Ordering::Release);
    }

    /// Notes how the message ended that was begun last: there is never more than one in hand.
    #[cold]
    #[inline(never)]
    pub(super) fn note_end(&self, refused: bool) {
        let place = self.place_of(self.noted_cell().load(Ordering::Relaxed));
        place[REFUSED].store(u64::from(refused), Ordering::Release);
        place[ENDED].store(clock::now(), Ordering::Release);
    }

    /// The last messages, at most `most`, oldest first. The process may be writing, or may have written anything.
    pub fn noted_last(&self, most: usize) -> Vec<Noted> {
        let last = self.noted_cell().load(Ordering::Acquire);
        let most = u64::try_from(most.min(KEPT)).unwrap_or(0);
        (last.saturating_sub(most)..last).filter_map(|before| self.read_noted(before + 1)).collect()
    }

    fn read_noted(&self, number: u64) -> Option<Noted> {
        let place = self.place_of(number);
        let load = |column: usize| place[column].load(Ordering::Acquire);
        let is_there = || load(NUMBER) == number;
        if !is_there() {
            return None;
        }
        let noted = Noted {
            sender: ActorId(load(SENDER)),
            sequence: Sequence(load(SEQUENCE)),
            key: MessageKey(load(KEY)),
            began: load(BEGAN),
            ended: Some(load(ENDED)).filter(|ended| *ended > 0),
            refused: load(REFUSED) == 1,
        };
        // It may have been overwritten meanwhile.
        is_there().then_some(noted)
    }

    #[allow(clippy::cast_possible_truncation)] // Below `KEPT`.
    fn place_of(&self, number: u64) -> &Cells {
        self.note((number % KEPT as u64) as usize)
    }
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
