//! A worker of a pool, in its own process: an actor that runs chunks of tasks, whatever function they are of.

use std::any::Any;
use std::collections::VecDeque;
use std::time::Instant;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::job::Shared;
use super::row;
use crate::actor::{Actor, Context, Handler};
use crate::clock;
use crate::error::{Error, Result};
use crate::message::{Message, MessageKey};
use crate::process::board::{Board, Progress};
use crate::process::code_reference::{CodeReference, Entry};
use crate::task::{Call, CallError, Piece, TaskCode};
use crate::wire::passing::{self, Passed};

/// Contexts that a worker keeps: more maps at once than these send theirs again when they take turns.
pub(super) const CONTEXTS: usize = 8;

/// What every incarnation of a worker starts with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Equipment {
    pub(super) board: Passed,
    pub(super) initializer: Option<(CodeReference, Piece)>,
    pub(super) recycle_after: Option<u64>,
    pub(super) recycle_above: Option<u64>,
}

/// A worker.
pub(crate) struct Worker {
    board: Board,
    contexts: VecDeque<(u64, Box<dyn Any>)>,
    recycle_after: Option<u64>,
    recycle_above: Option<u64>,
    ran: u64,
    /// The results of a task, kept for its room.
    result: Vec<u8>,
}

/// Runs a chunk; the results appear on the board.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(super) slot: u8,
    pub(super) code: CodeReference,
    pub(super) context: Option<Shared>,
    /// Tasks have a deadline: note when each begins.
    pub(super) timed: bool,
    /// Inputs, each behind its length.
    pub(super) inputs: Piece,
    /// Beside the one input that needs them.
    pub(super) descriptors: Passed,
}

/// How a chunk ended.
#[derive(Serialize, Deserialize)]
pub(crate) enum Ran {
    /// The board tells how far. The last result may not have fitted there.
    Done { nanoseconds: u64, beyond: Option<Beyond> },
    /// The context was not sent, and is not there.
    NeedsContext,
    /// Nothing was run.
    Refused(String),
}

/// A result that is too large for the board, or owns descriptors.
#[derive(Serialize, Deserialize)]
pub(crate) struct Beyond {
    /// A row of one.
    pub(super) row: Piece,
    pub(super) descriptors: Passed,
}

impl Message for Run {
    type Reply = Ran;
    const NAME: &'static str = "watertight.pool.Run";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
}

impl Actor for Worker {
    type Args = Equipment;
    type Messages = (Run,);

    async fn start(equipment: Equipment, _: &mut Context<Self>) -> Result<Self> {
        let file = equipment.board.0.first().ok_or_else(|| Error::new("a worker came without its board"))?;
        if let Some((code, input)) = equipment.initializer {
            let mut output = Vec::new();
            let call = Call { context: None, input: &input.0, output: &mut output };
            (code.resolve::<TaskCode>()?.main.call)(call)?;
            let outcome: Result<()> = crate::wire::codec::decode(&output)?;
            outcome.map_err(|error| error.context("the pool's initializer failed"))?;
        }
        Ok(Worker {
            board: Board::open(file)?,
            contexts: VecDeque::new(),
            recycle_after: equipment.recycle_after,
            recycle_above: equipment.recycle_above,
            ran: 0,
            result: Vec::new(),
        })
    }
}

impl Handler<Run> for Worker {
    async fn handle(&mut self, mut run: Run, cx: &mut Context<Self>) -> Result<Ran> {
        let code = match run.code.resolve::<TaskCode>() {
            Ok(code) => code,
            Err(error) => return Ok(Ran::Refused(error.to_string())),
        };
        match self.take_context(code, run.context.as_mut()) {
            Ok(true) => {}
            Ok(false) => return Ok(Ran::NeedsContext),
            Err(error) => return Ok(Ran::Refused(format!("the context does not decode: {error}"))),
        }
        let began = Instant::now();
        let (beyond, beside) = passing::collecting(|| self.work(code, &run, cx));
        let beyond = beyond
            .then(|| Beyond { row: Piece(std::mem::take(&mut self.result)), descriptors: Passed(beside) });
        if self.has_run_enough() || self.is_too_large() {
            self.board.take_rest(usize::from(run.slot), 0);
            cx.stop();
        }
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Ran::Done { nanoseconds, beyond })
    }
}

impl Worker {
    /// Runs tasks until none is left. Whether the last result is left in `self.result`: it does not fit the board, or owns
    /// descriptors.
    fn work(&mut self, code: &Entry<TaskCode>, run: &Run, cx: &mut Context<Self>) -> bool {
        let slot = usize::from(run.slot);
        let mut inputs = Inputs { rest: &run.inputs.0, next: 0 };
        let mut at = Progress { begun: 0, end: 0, done: 0, bytes: 0 };
        while !self.has_run_enough()
            && let Some(task) = self.board.claim(slot)
        {
            if run.timed {
                self.board.note_begun(slot, clock::now());
            }
            self.ran += 1;
            cx.progress();
            self.call(code, run, inputs.at(task));
            let fits = passing::collected() == 0;
            let published = if fits { self.board.publish(slot, at, &self.result) } else { None };
            match published {
                Some(now) => at = now,
                None => return true,
            }
        }
        false
    }

    /// Runs one task; its result, or the text of its error, is then a row of one.
    fn call(&mut self, code: &Entry<TaskCode>, run: &Run, input: Option<&[u8]>) {
        self.result.clear();
        let start = row::begin(&mut self.result);
        let context = run.context.as_ref().and_then(|shared| {
            self.contexts.iter().find(|(other, _)| *other == shared.number).map(|(_, context)| &**context)
        });
        let output = &mut self.result;
        let called = match input {
            None => Err(CallError::Input("the chunk is shorter than it says".into())),
            Some(input) if run.descriptors.0.is_empty() => (code.main.call)(Call { context, input, output }),
            Some(input) => match run.descriptors.0.iter().map(|one| one.try_clone()).collect() {
                Ok(owned) => passing::offering(owned, || (code.main.call)(Call { context, input, output })).0,
                Err(error) => Err(CallError::Input(error.to_string())),
            },
        };
        if let Err(error) = &called {
            self.result.truncate(start + 1);
            self.result.extend_from_slice(error.to_string().as_bytes());
        }
        row::end(&mut self.result, start, called.is_err());
    }

    /// Whether the context is there now.
    fn take_context(
        &mut self,
        code: &Entry<TaskCode>,
        context: Option<&mut Shared>,
    ) -> Result<bool, crate::message::DecodeError> {
        let Some(Shared { number, content }) = context else { return Ok(true) };
        if self.contexts.iter().any(|(other, _)| other == number) {
            return Ok(true);
        }
        let Some((Piece(bytes), Passed(descriptors))) = content.take() else { return Ok(false) };
        let owned = descriptors.into_iter().filter_map(Arc::into_inner).collect();
        let read = passing::with(owned, || (code.main.read_context)(&bytes))?;
        self.contexts.truncate(CONTEXTS - 1);
        self.contexts.push_front((*number, read));
        Ok(true)
    }

    /// Whether it is to be replaced by a fresh one.
    fn has_run_enough(&self) -> bool {
        self.ran > 0 && self.recycle_after.is_some_and(|most| self.ran >= most)
    }

    /// The same, by its memory: looked at once a chunk, because a look costs microseconds.
    fn is_too_large(&self) -> bool {
        self.recycle_above.is_some_and(|most| resident().is_some_and(|bytes| bytes > most))
    }
}

/// Memory of this process that is in the machine's, in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The inputs of a chunk, in order.
struct Inputs<'a> {
    rest: &'a [u8],
    next: u32,
}

impl<'a> Inputs<'a> {
    /// The input of this task, which comes behind the last one that was asked for.
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
