//! The decoders of this crate, judged on any bytes: what the fuzzing targets of `tests/fuzz` run. Not there unless the
//! feature `fuzzing` is on, and nothing in it is for users.
//!
//! A target panics when a promise does not hold. It never only looks whether the decoder panics: it compares with a
//! naive reading of the same bytes, or writes what was read and reads it again, and its memory is bounded.

use std::fmt;

mod bodies;
mod control;
mod frames;
mod handles;
mod lines;
mod names;
mod outsider;
mod reader;
mod recorder;
mod records;

pub mod hostile;
pub mod notes;

/// One promise about bytes from outside.
pub struct Target {
    /// The name of its corpus, and of its program in `tests/fuzz`.
    pub name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Seeds,
    /// Most memory that a run may hold at once: so many bytes, and so many more for each byte of input.
    memory: (u64, u64),
}

/// Inputs to begin with, each under the name of its file.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

impl Target {
    /// Runs it on `input`. `measure` runs what it is given, and tells how many bytes that held at most.
    ///
    /// # Panics
    /// When a promise does not hold.
    pub fn judge(&self, input: &[u8], measure: impl FnOnce(&dyn Fn()) -> u64) {
        let held = measure(&|| (self.run)(input));
        let (fixed, each) = self.memory;
        let most = fixed + each * input.len() as u64;
        assert!(held <= most, "{} bytes of input made it hold {held} bytes, more than {most}", input.len());
    }

    /// Valid inputs and hostile ones.
    pub fn seeds(&self) -> Seeds {
        (self.seeds)()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    target("data_frames", frames::run, frames::seeds, (512 << 10, 16)),
    target("answers", crate::node::fuzzing::run, crate::node::fuzzing::seeds, (512 << 10, 16)),
    target("hello", control::hello, control::hello_seeds, (1 << 10, 1)),
    target("control", control::control, control::control_seeds, (2 << 20, 64)),
    target("ticket", control::ticket, control::ticket_seeds, (2 << 20, 64)),
    target("bodies", bodies::run, bodies::seeds, (64 << 10, 1 << 10)),
    target("handles", handles::run, handles::seeds, (256 << 10, 64)),
    target("records", records::run, records::seeds, (4 << 20, 16)),
    target("recorder", recorder::run, recorder::seeds, (16 << 10, 16)),
    target("rows", crate::pool::fuzzing::run, crate::pool::fuzzing::seeds, (512 << 10, 400)),
    target("lines", lines::run, lines::seeds, (12 << 20, 64)),
    target("names", names::run, names::seeds, (4 << 10, 16)),
];

/// Makes one. A run may hold so many bytes of memory at once, and so many more for each byte of input.
pub const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Seeds, memory: (u64, u64)) -> Target {
    Target { name, run, seeds, memory }
}

/// A value as it stands in a message that has nothing beside it.
///
/// # Panics
/// When it does not encode.
pub fn written(value: &impl serde::Serialize) -> Vec<u8> {
    match crate::wire::codec::encode(value, crate::wire::frame::BODY_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{error}"),
    }
}

/// An input, read as choices from its front; zeroes when it has ended.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut eight = [0; 8];
        let bytes = self.bytes(8);
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    }

    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// What is left, in pieces of the sizes that the next four bytes say, in turn.
    pub(crate) fn pieces(&mut self) -> (&'a [u8], impl Iterator<Item = &'a [u8]> + use<'a>) {
        let sizes = self.bytes(4);
        let all = std::mem::take(&mut self.0);
        let mut rest = Choices(all);
        let mut sizes = sizes.iter().cycle();
        let next = move || {
            let size = sizes.next().map_or(usize::MAX, |size| usize::from(*size).max(1));
            Some(rest.bytes(size)).filter(|piece| !piece.is_empty())
        };
        (all, std::iter::from_fn(next))
    }
}
