//! A limit on elements that take no bytes.
//!
//! Some values are written as nothing: `()`, a unit struct, an array without elements. A sequence of them is a length
//! alone, so that ten bytes could ask for 2^64 steps, and a set of them for as many allocations. How many bytes a body has
//! bounds everything else in it; this bounds these.

use std::cell::Cell;

use serde::de::Error;

/// Most elements of one body that took no bytes, in all its sequences and maps together: far more than anybody counts
/// with, and read within a millisecond.
pub const WEIGHTLESS: usize = 1 << 16;

/// What a body has taken while it is read: bytes, and elements without any.
#[derive(Debug, Default)]
pub struct Weight {
    taken: Cell<usize>,
    weightless: Cell<usize>,
}

impl Weight {
    /// Of a body of which nothing has been read.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many bytes were read.
    #[inline]
    pub fn take(&self, bytes: usize) {
        self.taken.set(self.taken.get().wrapping_add(bytes));
    }

    /// How many bytes have been read.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Counts an element that was begun when `before` bytes had been read.
    ///
    /// # Errors
    /// When it took none, and was one too many.
    pub fn count<E: Error>(&self, before: usize) -> Result<(), E> {
        if self.taken.get() != before {
            return Ok(());
        }
        self.weightless.set(self.weightless.get() + 1);
        if self.is_exceeded() { Err(E::custom("too many elements that take no bytes")) } else { Ok(()) }
    }

    /// Whether there were too many.
    pub fn is_exceeded(&self) -> bool {
        self.weightless.get() > WEIGHTLESS
    }
}
