//! What it costs a message that the flight recorder can note all messages for the output of a test: for the measurement
//! in `tests/notes.rs`.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::recorder::{IncomingRow, Recorder};
use crate::wire::ids::{ActorId, MessageKey, Sequence};

/// Whether messages are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noting {
    /// Nobody looks: what an actor did before messages could be noted.
    Unknown,
    /// It is looked, and they are not: what every actor does outside of tests.
    Off,
    /// They are.
    On,
}

/// A row of a flight recorder, as an actor has it.
#[derive(Debug)]
pub struct Notes {
    row: IncomingRow,
    noting: Noting,
    last: u64,
}

impl Notes {
    /// A new page, opened as an actor's process opens its own.
    ///
    /// # Errors
    /// When descriptors or memory have run out.
    pub fn begin(noting: Noting) -> io::Result<Notes> {
        let (page, file) = Recorder::create()?;
        if noting == Noting::On {
            page.keep_messages();
        }
        let page = Arc::new(Recorder::open(file)?);
        let row = IncomingRow::new(&page, 0).ok_or(io::ErrorKind::InvalidData)?;
        row.prepare(Sequence(0));
        row.set_sender(ActorId(1));
        Ok(Notes { row, noting, last: 0 })
    }

    /// So many messages are taken in hand and settled, with nothing between; how long that took.
    pub fn pass(&mut self, count: u64) -> Duration {
        let numbers = self.last + 1..=self.last + count;
        self.last += count;
        let begun = Instant::now();
        match self.noting {
            Noting::Unknown => {
                for number in numbers {
                    unlooked(black_box(&self.row), Sequence(number));
                }
            }
            Noting::Off | Noting::On => {
                for number in numbers {
                    looked(black_box(&self.row), Sequence(number));
                }
            }
        }
        begun.elapsed()
    }

    /// How many of the last messages stand on the page.
    pub fn noted(&self) -> usize {
        self.row.noted()
    }
}

/// One message. A function of its own, so that the row is seen anew for each, as it is in an actor, and both ways cost
/// one call.
#[inline(never)]
fn looked(row: &IncomingRow, sequence: Sequence) {
    row.start(sequence, MessageKey(7));
    row.finish(sequence);
}

/// The same without the looks.
#[inline(never)]
fn unlooked(row: &IncomingRow, sequence: Sequence) {
    row.take_in_hand(sequence, MessageKey(7));
    row.let_go(sequence);
}
