//! The tasks of one chunk, one after another, in the worker's process: inputs in, results onto the board.
//!
//! It is compiled anew for each function, so that a tiny task costs what it does and little more: nothing here is called
//! through a pointer, and a result is written where its owner will read it. What is rare has a way of its own: a result
//! that does not fit the board, or that owns descriptors.

use std::any::Any;

use serde::{Serialize, de::DeserializeOwned};

use super::row;
use crate::clock;
use crate::process::board::Desk;
use crate::task::{CallError, RESULT_LIMIT};
use crate::wire::codec::{self, Unread};
use crate::wire::passing::{self, Beside};

/// Longest text of an error that is passed on, in bytes.
const TEXT: usize = 16 << 10;

/// A chunk in the hands of its worker.
pub(crate) struct Shift<'a> {
    desk: Desk<'a>,
    inputs: Inputs<'a>,
    terms: Terms<'a>,
    /// The last result, as a row of one: it does not fit the board, or owns descriptors.
    beyond: Option<(Vec<u8>, Beside)>,
}

/// Why [`Shift::work_quickly`] does not go on by itself.
enum Pause<R> {
    /// All tasks that were claimed are done.
    Claim,
    /// An input cannot be read.
    Input(Unread),
    /// There is none.
    NoInput,
    /// A result does not fit, does not encode, or owns descriptors.
    Result(R),
}

/// How a chunk is run.
pub(super) struct Terms<'a> {
    /// What all tasks of the job share.
    pub(super) context: Option<&'a dyn Any>,
    /// Tasks that are claimed at a time.
    pub(super) block: u32,
    /// Most tasks that are run.
    pub(super) most: u32,
    /// Tasks have a deadline: note when each begins.
    pub(super) timed: bool,
    /// Says that the worker goes on.
    pub(super) progress: &'a dyn Fn(),
}

impl<'a> Shift<'a> {
    /// What is to be done with a row of inputs.
    pub(super) fn new(desk: Desk<'a>, inputs: &'a [u8], terms: Terms<'a>) -> Shift<'a> {
        Shift { desk, inputs: Inputs { rest: inputs, next: 0 }, terms, beyond: None }
    }

    /// How many tasks were begun, and the last result if it is not on the board.
    pub(super) fn end(self) -> (u32, Option<(Vec<u8>, Beside)>) {
        (self.desk.begun(), self.beyond)
    }

    /// What all tasks of the job share.
    pub(crate) fn context(&self) -> Option<&'a dyn Any> {
        self.terms.context
    }

    /// Calls `f` on each input, until others have taken the rest.
    #[inline]
    pub(crate) fn work<T: DeserializeOwned, R: Serialize>(&mut self, f: impl Fn(T) -> R) {
        while self.claim() {
            loop {
                let goes_on = match self.work_quickly(&f) {
                    Pause::Claim => break,
                    Pause::Input(unread) => self.put_error(&CallError::Input(unread.explain().to_string())),
                    Pause::NoInput => {
                        self.put_error(&CallError::Input("the chunk is shorter than it says".into()))
                    }
                    Pause::Result(result) => self.put_beyond(&result),
                };
                if !goes_on {
                    return;
                }
            }
        }
    }

    /// Does what is usual to the tasks that are claimed.
    #[inline]
    fn work_quickly<T: DeserializeOwned, R: Serialize>(&mut self, f: &impl Fn(T) -> R) -> Pause<R> {
        let (mut desk, mut inputs) = (self.desk, self.inputs);
        let pause = loop {
            let Some(task) = desk.begin() else { break Pause::Claim };
            if self.terms.timed {
                desk.note_since(clock::now());
            }
            let input = match inputs.at(task).map(codec::read_nested::<T>) {
                Some(Ok(input)) => input,
                Some(Err(unread)) => break Pause::Input(unread),
                None => break Pause::NoInput,
            };
            let result = f(input);
            match row::place(desk.room(), &result) {
                Some(length) if passing::collected() == 0 => desk.publish(length),
                _ => break Pause::Result(result),
            }
        };
        (self.desk, self.inputs) = (desk, inputs);
        pause
    }

    /// No task of the chunk can be run.
    pub(crate) fn refuse(&mut self, error: &CallError) {
        while self.claim() {
            while self.desk.begin().is_some() {
                if !self.put_error(error) {
                    return;
                }
            }
        }
    }

    /// Claims further tasks; whether there are any.
    #[inline(never)]
    fn claim(&mut self) -> bool {
        (self.terms.progress)();
        let left = self.terms.most.saturating_sub(self.desk.begun());
        self.desk.claim(self.terms.block.min(left))
    }

    /// It does not fit, does not encode, or owns descriptors.
    #[cold]
    #[inline(never)]
    fn put_beyond<R: Serialize>(&mut self, result: &R) -> bool {
        let mut row = Vec::new();
        let start = row::begin(&mut row);
        let encode = || codec::encode_into(result, &mut row, RESULT_LIMIT);
        match passing::collecting(encode) {
            (Ok(()), beside) => {
                row::end(&mut row, start, false);
                self.beyond = Some((row, beside));
                false
            }
            (Err(error), _) => self.put_error(&CallError::Output(error.to_string())),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_error(&mut self, error: &CallError) -> bool {
        let text = error.to_string();
        let mut row = Vec::new();
        let start = row::begin(&mut row);
        row.extend_from_slice(&text.as_bytes()[..text.len().min(TEXT)]);
        row::end(&mut row, start, true);
        match self.desk.room().get_mut(..row.len()) {
            Some(room) => {
                room.copy_from_slice(&row);
                self.desk.publish(row.len());
                true
            }
            None => {
                self.beyond = Some((row, Beside::new()));
                false
            }
        }
    }
}

/// The inputs of a chunk, in order.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    rest: &'a [u8],
    next: u32,
}

impl<'a> Inputs<'a> {
    /// The input of this task, which comes behind the last one that was asked for.
    #[inline]
    fn at(&mut self, task: u32) -> Option<&'a [u8]> {
        loop {
            let (input, rest) = row::next(self.rest)?;
            (self.rest, self.next) = (rest, self.next + 1);
            if self.next > task {
                return input.ok();
            }
        }
    }
}

#[cfg(test)]
#[path = "shift_tests.rs"]
mod tests;
