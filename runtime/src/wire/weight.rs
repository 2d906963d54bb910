//! A limit on elements that take no bytes.
//!
//! Some values are written as nothing: `()`, a unit struct, an array without elements. A sequence of them is a length
//! alone, so that ten bytes could ask for 2^64 steps, and a set of them for as many allocations. How many bytes a body has
//! bounds everything else in it; this bounds these.

use std::cell::Cell;

use serde::de::Error;

use super::number;

/// Most elements of one body that took no bytes, in all its sequences and maps together: far more than anybody counts
/// with, and read within a millisecond.
pub const WEIGHTLESS: usize = 1 << 16;

/// What is left of a body while it is read, and how many elements without bytes it has had.
///
/// Whoever reads keeps its place here and nowhere else: a second count of the same bytes would cost each of them.
#[derive(Debug)]
pub struct Weight<'a> {
    rest: Cell<&'a [u8]>,
    weightless: Cell<usize>,
}

impl<'a> Weight<'a> {
    /// Of a body of which nothing has been read.
    pub fn new(body: &'a [u8]) -> Self {
        Weight { rest: Cell::new(body), weightless: Cell::new(0) }
    }

    /// What has not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest.get()
    }

    /// The next byte.
    #[inline]
    pub fn pop(&self) -> Option<u8> {
        let (byte, rest) = self.rest.get().split_first()?;
        self.rest.set(rest);
        Some(*byte)
    }

    /// The next so many.
    #[inline]
    pub fn take(&self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.get().split_at_checked(bytes)?;
        self.rest.set(rest);
        Some(taken)
    }

    /// The number that comes next, if it takes at most `most` bytes, and fewer than [`number::LONGEST`].
    #[inline]
    pub fn number(&self, most: usize) -> Option<u64> {
        let (number, rest) = number::read(self.rest.get(), most)?;
        self.rest.set(rest);
        Some(number)
    }

    /// Counts an element that was begun when `before` bytes were left.
    ///
    /// # Errors
    /// When it took none, and was one too many.
    pub fn count<E: Error>(&self, before: usize) -> Result<(), E> {
        if self.rest.get().len() != before {
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
