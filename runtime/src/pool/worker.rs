//! A worker of a pool, in its own process: an actor that runs chunks of tasks, whatever function they are of.

use std::any::Any;
use std::collections::VecDeque;
use std::time::Instant;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk::Chunk;
use super::job::Shared;
use super::shift::{Shift, Terms};
use crate::actor::{Actor, Context, Handler};
use crate::error::{Error, Result};
use crate::message::{Message, MessageKey};
use crate::process::batch;
use crate::process::board::Board;
use crate::process::code_reference::{CodeReference, Entry};
use crate::task::{Piece, TaskCode};
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
}

/// Runs a chunk; the results appear on the board.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(super) slot: u8,
    pub(super) code: CodeReference,
    pub(super) context: Option<Shared>,
    /// Tasks that are claimed at a time.
    pub(super) block: u32,
    /// Tasks have a deadline: note when each begins.
    pub(super) timed: bool,
    pub(super) inputs: InputRow,
    /// Beside the one input that needs them.
    pub(super) descriptors: Passed,
}

/// Inputs, each behind its length.
pub(super) enum InputRow {
    /// As they go: they stay where their chunk has them.
    Of(Chunk),
    /// As they come.
    Arrived(Piece),
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

impl InputRow {
    fn bytes(&self) -> &[u8] {
        match self {
            InputRow::Of(chunk) => chunk.bytes(),
            InputRow::Arrived(piece) => &piece.0,
        }
    }
}

impl Serialize for InputRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for InputRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InputRow, D::Error> {
        Piece::deserialize(deserializer).map(InputRow::Arrived)
    }
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
            (code.resolve::<TaskCode>()?.main.call)(&input.0, &mut output)?;
            let outcome: Result<()> = crate::wire::codec::decode(&output)?;
            outcome.map_err(|error| error.context("the pool's initializer failed"))?;
        }
        if let Err(error) = batch::be_batch_work() {
            tracing::debug!(%error, "a worker may interrupt whoever gives it work");
        }
        Ok(Worker {
            board: Board::open(file)?,
            contexts: VecDeque::new(),
            recycle_after: equipment.recycle_after,
            recycle_above: equipment.recycle_above,
            ran: 0,
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
        let (beyond, _) = passing::collecting(|| self.work(code, &mut run, cx));
        if self.has_run_enough() || self.is_too_large() {
            self.board.take_rest(usize::from(run.slot), 0);
            cx.stop();
        }
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Ran::Done { nanoseconds, beyond })
    }
}

impl Worker {
    /// Runs tasks until none is left; returns the last result if it is not on the board.
    fn work(&mut self, code: &Entry<TaskCode>, run: &mut Run, cx: &Context<Self>) -> Option<Beyond> {
        let context = run.context.as_ref().and_then(|shared| {
            self.contexts.iter().find(|(other, _)| *other == shared.number).map(|(_, context)| &**context)
        });
        // One at least: who comes here has not run enough, or is about to be told to stop.
        let most = self.recycle_after.map_or(u64::MAX, |most| most.saturating_sub(self.ran).max(1));
        let terms = Terms {
            context,
            block: run.block.max(1),
            most: u32::try_from(most).unwrap_or(u32::MAX),
            timed: run.timed,
            progress: &|| cx.progress(),
        };
        let desk = self.board.desk(usize::from(run.slot));
        let mut shift = Shift::new(desk, run.inputs.bytes(), terms);
        let descriptors = std::mem::take(&mut run.descriptors.0);
        // They came with this message, and nobody else has them.
        passing::with(descriptors.into_iter().filter_map(Arc::into_inner).collect(), || {
            (code.main.work)(&mut shift);
        });
        let (begun, beyond) = shift.end();
        self.ran += u64::from(begun);
        beyond.map(|(row, beside)| Beyond { row: Piece(row), descriptors: Passed(beside) })
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
