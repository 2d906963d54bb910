//! The rows: what each end of a link notes about its messages, and what is believed of it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use super::page::{CELLS, Recorder};
use crate::wire::ids::{ActorId, MessageKey, Sequence};

/// A cell's place in its row.
type Column = usize;

/// Set in the checksums of outgoing rows, so that a row is never read as one of the other kind.
const OUTGOING: Column = CELLS;

/// Sequences are kept in 48 bits: at a million messages a second on one link, nine years.
const SEQUENCE_BITS: u32 = 48;
const VALUE_BITS: u32 = 50;
const VALUE: u64 = (1 << VALUE_BITS) - 1;

/// A value with its checksum, in one word so that it is stored at once.
///
/// The factor is odd, so that any two slots, and any two values that differ in one bit, have different checksums.
fn seal(slot: u32, role: Column, value: u64) -> u64 {
    let value = value & VALUE;
    let mixed = (value ^ (u64::from(slot) << VALUE_BITS)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let check = (mixed >> VALUE_BITS) ^ (role as u64 * 0x421); // Below 14 bits for all 16 roles.
    value | (check << VALUE_BITS)
}

/// The check of a message key: all of its 64 bits, tied to the message that it belongs to.
///
/// The factor is odd, so that no two keys have the same check.
fn key_check(slot: u32, sequence: u64, key: u64) -> u64 {
    (key ^ sequence.rotate_left(16) ^ (u64::from(slot) << 2)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// One row of the page: what both kinds of rows do.
#[derive(Clone, Debug)]
struct Row {
    page: Arc<Recorder>,
    slot: u32,
    /// 0, or [`OUTGOING`].
    kind: Column,
}

impl Row {
    fn new(page: &Arc<Recorder>, slot: u32, kind: Column) -> Option<Row> {
        (slot < Recorder::SLOTS).then(|| Row { page: Arc::clone(page), slot, kind })
    }

    fn cell(&self, column: Column) -> &AtomicU64 {
        &self.page.row(self.slot)[column]
    }

    fn store_raw(&self, column: Column, bits: u64) {
        #[cfg(test)]
        if tests::is_killed() {
            return;
        }
        self.cell(column).store(bits, Ordering::Release);
    }

    fn store(&self, column: Column, value: u64) {
        self.store_raw(column, seal(self.slot, self.kind + column, value));
    }

    /// The value of a cell, for the process that alone writes it.
    fn value(&self, column: Column) -> u64 {
        self.cell(column).load(Ordering::Relaxed) & VALUE
    }

    fn add(&self, column: Column, count: u64) {
        self.store(column, self.value(column).saturating_add(count).min(VALUE));
    }

    /// A copy of the row, to be judged at leisure while the original may go on changing.
    fn copy(&self) -> Snapshot<'_> {
        Snapshot { row: self, cells: std::array::from_fn(|column| self.cell(column).load(Ordering::Acquire)) }
    }
}

struct Snapshot<'a> {
    row: &'a Row,
    cells: [u64; CELLS],
}

impl Snapshot<'_> {
    fn value(&self, column: Column, name: &'static str) -> Result<u64, Scribbled> {
        let Row { slot, kind, .. } = *self.row;
        let value = self.cells[column] & VALUE;
        let sealed = self.cells[column] == seal(slot, kind + column, value);
        sealed.then_some(value).ok_or(Scribbled::Checksum { slot, cell: name })
    }
}

/// How a row was found to hold what its process would never have written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Scribbled {
    /// A cell does not match its checksum.
    #[error("row {slot} of the flight recorder was overwritten: the checksum of `{cell}` is wrong")]
    Checksum {
        /// The row.
        slot: u32,
        /// What the cell stands for.
        cell: &'static str,
    },
    /// Each cell is sound, but together they cannot be.
    #[error(
        "row {slot} of the flight recorder was overwritten: its cells contradict each other ({rule} does not hold)"
    )]
    Contradiction {
        /// The row.
        slot: u32,
        /// The rule that does not hold.
        rule: &'static str,
    },
}

const SETTLED: Column = 0;
const STARTED: Column = 1;
const KEY: Column = 2;
const KEY_CHECK: Column = 3;
const PROCESSED: Column = 4;
const SKIPPED: Column = 5;
const RESUMED_AFTER: Column = 6;
/// Who sends, for the notes of tests; without a checksum.
const SENDER: Column = 7;

/// How far the next message may be ahead of the last one that was settled: those between were settled by the sender,
/// and there are never more of them than a sender's credit, which is far below a million.
const WIDEST_GAP: u64 = 1 << 20;

/// What the receiving end of a link has done with its messages.
///
/// The receiver, one thread at a time, calls `start` and then `finish` for each message, or `skip`; sequences only
/// rise. Nothing is skipped while a message is in hand.
#[derive(Clone, Debug)]
pub struct IncomingRow(Row);

impl IncomingRow {
    /// The row of a slot that the supervisor has assigned, or `None` when there is no such slot.
    pub fn new(page: &Arc<Recorder>, slot: u32) -> Option<Self> {
        Row::new(page, slot, 0).map(IncomingRow)
    }

    /// Makes the row ready for a link on which all messages up to `resume_after` are settled.
    ///
    /// For the supervisor, before it hands out the slot; an unprepared row reads as scribbled.
    pub fn prepare(&self, resume_after: Sequence) {
        let row = &self.0;
        row.store_raw(KEY, 0);
        row.store_raw(KEY_CHECK, 0);
        row.store(PROCESSED, 0);
        row.store(SKIPPED, 0);
        row.store(RESUMED_AFTER, resume_after.0);
        row.store(STARTED, resume_after.0);
        self.settle(resume_after, 0, 0);
    }

    /// Says who sends on this link. For the supervisor, too.
    pub fn set_sender(&self, sender: ActorId) {
        self.0.store_raw(SENDER, sender.0);
    }

    /// Apart, so that a message that is not noted pays for a look and not for the room that noting needs.
    #[cold]
    #[inline(never)]
    fn note_begin(&self, sequence: Sequence, key: MessageKey) {
        let sender = ActorId(self.0.cell(SENDER).load(Ordering::Relaxed));
        self.0.page.note_begin(sender, sequence, key);
    }

    /// Takes a message in hand, before its body is decoded: the decoder may be what it kills.
    #[inline]
    pub fn start(&self, sequence: Sequence, key: MessageKey) {
        if self.0.page.keeps_messages {
            self.note_begin(sequence, key);
        }
        self.take_in_hand(sequence, key);
    }

    /// The same, without a look whether messages are noted.
    #[inline]
    pub(crate) fn take_in_hand(&self, sequence: Sequence, key: MessageKey) {
        let row = &self.0;
        row.store_raw(KEY, key.0);
        row.store_raw(KEY_CHECK, key_check(row.slot, sequence.0, key.0));
        row.store(STARTED, sequence.0);
    }

    /// Settles the message in hand, after its handler, its drop and its reply.
    #[inline]
    pub fn finish(&self, sequence: Sequence) {
        self.let_go(sequence);
        if self.0.page.keeps_messages {
            self.0.page.note_end(false);
        }
    }

    /// The same, without a look whether messages are noted.
    #[inline]
    pub(crate) fn let_go(&self, sequence: Sequence) {
        let processed = self.0.value(PROCESSED).wrapping_add(1);
        self.0.store(PROCESSED, processed);
        self.settle(sequence, processed, self.0.value(SKIPPED));
    }

    /// Settles a message that is never started, as one that has expired or is refused.
    pub fn skip(&self, sequence: Sequence) {
        if self.0.page.keeps_messages {
            if self.0.value(STARTED) < sequence.0 {
                // It was not even taken in hand.
                self.note_begin(sequence, MessageKey(0));
            }
            self.0.page.note_end(true);
        }
        let skipped = self.0.value(SKIPPED).wrapping_add(1);
        self.0.store(SKIPPED, skipped);
        self.settle(sequence, self.0.value(PROCESSED), skipped);
        // Only so that the two stay close, which `read` checks.
        self.0.store(STARTED, sequence.0);
    }

    /// How many of the last messages of the page are noted on it.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn noted(&self) -> usize {
        self.0.page.noted_last(usize::MAX).len()
    }

    /// Seals these values, as no process would have written them.
    #[cfg(feature = "fuzzing")]
    pub fn write_sealed(&self, cells: [u64; 7]) {
        for (column, value) in cells.into_iter().enumerate() {
            if column == KEY || column == KEY_CHECK {
                self.0.store_raw(column, value)
            } else {
                self.0.store(column, value)
            }
        }
        let started = cells[STARTED] & VALUE;
        self.0.store_raw(KEY_CHECK, key_check(self.0.slot, started, cells[KEY]));
    }

    fn settle(&self, sequence: Sequence, processed: u64, skipped: u64) {
        self.0.store(SETTLED, (sequence.0 << 2) | ((processed & 1) << 1) | (skipped & 1));
    }

    /// What the process had done when it ended.
    ///
    /// Of a process that still runs, the cells may belong to different moments: the answer may be one message off,
    /// and `Scribbled` means nothing.
    ///
    /// # Errors
    ///
    /// [`Scribbled`] when the process, dying, wrote over the row. Then nothing in it is to be believed.
    pub fn read(&self) -> Result<IncomingState, Scribbled> {
        let copy = self.0.copy();
        let settled = copy.value(SETTLED, "settled")?;
        let started = copy.value(STARTED, "started")?;
        let processed = copy.value(PROCESSED, "processed")?;
        let skipped = copy.value(SKIPPED, "skipped")?;
        let resumed_after = copy.value(RESUMED_AFTER, "resumed after")?;
        let slot = self.0.slot;
        let must = |holds, rule| if holds { Ok(()) } else { Err(Scribbled::Contradiction { slot, rule }) };

        // One of the two counts, and never both, is one ahead when the process was killed before the commit.
        let (ahead, skip_ahead) = ((processed ^ (settled >> 1)) & 1, (skipped ^ settled) & 1);
        let cursor = settled >> 2;
        let counted = processed.checked_sub(ahead).zip(skipped.checked_sub(skip_ahead));
        must(ahead + skip_ahead < 2 && counted.is_some(), "processed and skipped match settled")?;
        let (processed, skipped) = counted.unwrap_or_default();
        must(started >> SEQUENCE_BITS == 0, "started is a sequence")?;
        must(started.abs_diff(cursor) <= WIDEST_GAP, "started is near settled")?;
        must(ahead == 0 || started > cursor, "what is being finished was started")?;
        must(resumed_after <= cursor.min(started), "resumed after <= settled, started")?;
        must(
            processed + skipped <= cursor - resumed_after,
            "processed + skipped <= settled - resumed after",
        )?;
        let in_hand = if started > cursor {
            let key = copy.cells[KEY];
            if copy.cells[KEY_CHECK] != key_check(slot, started, key) {
                return Err(Scribbled::Checksum { slot, cell: "key" });
            }
            Some((Sequence(started), MessageKey(key)))
        } else {
            None
        };
        Ok(IncomingState { cursor: Sequence(cursor), in_hand, processed, skipped })
    }
}

/// What an [`IncomingRow`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingState {
    /// All messages up to here are settled: processed, skipped, or settled before this process began.
    pub cursor: Sequence,
    /// The message that was started and not finished.
    pub in_hand: Option<(Sequence, MessageKey)>,
    /// How many messages this process has finished, counted apart from the cursor.
    pub processed: u64,
    /// How many messages this process has skipped.
    pub skipped: u64,
}

const APPENDED: Column = 0;
const SENT: Column = 1;
const IN_DOUBT: Column = 2;
const DEAD_LETTERED: Column = 3;
const REDELIVERED: Column = 4;

/// What the sending end of a link has accepted and handed on.
///
/// Written by one thread at a time. Each store stands alone, so there is nothing to tear.
#[derive(Clone, Debug)]
pub struct OutgoingRow(Row);

impl OutgoingRow {
    /// The row of a slot that the supervisor has assigned, or `None` when there is no such slot.
    pub fn new(page: &Arc<Recorder>, slot: u32) -> Option<Self> {
        Row::new(page, slot, OUTGOING).map(OutgoingRow)
    }

    /// Makes the row ready for a link on which nothing was sent; for the supervisor, before it hands out the slot.
    pub fn prepare(&self) {
        for column in [APPENDED, SENT, IN_DOUBT, DEAD_LETTERED, REDELIVERED] {
            self.0.store(column, 0);
        }
    }

    /// All messages up to this one have been accepted.
    pub fn appended(&self, sequence: Sequence) {
        self.0.store(APPENDED, sequence.0);
    }

    /// All messages up to this one have been handed to the kernel; it goes back when they have to be sent again.
    pub fn sent(&self, sequence: Sequence) {
        self.0.store(SENT, sequence.0);
    }

    /// Counts messages that the receiver had in hand when it died.
    pub fn add_in_doubt(&self, count: u64) {
        self.0.add(IN_DOUBT, count);
    }

    /// Counts messages that became dead letters.
    pub fn add_dead_lettered(&self, count: u64) {
        self.0.add(DEAD_LETTERED, count);
    }

    /// Counts messages that were sent once more because the receiver had died with them in hand.
    pub fn add_redelivered(&self, count: u64) {
        self.0.add(REDELIVERED, count);
    }

    /// What the process had sent when it ended.
    ///
    /// # Errors
    ///
    /// [`Scribbled`] when the process, dying, wrote over the row. Then nothing in it is to be believed.
    pub fn read(&self) -> Result<OutgoingState, Scribbled> {
        let copy = self.0.copy();
        let appended = copy.value(APPENDED, "appended")?;
        let sent = copy.value(SENT, "sent")?;
        if sent > appended || appended >> SEQUENCE_BITS != 0 {
            return Err(Scribbled::Contradiction { slot: self.0.slot, rule: "sent <= appended" });
        }
        Ok(OutgoingState {
            appended: Sequence(appended),
            sent: Sequence(sent),
            in_doubt: copy.value(IN_DOUBT, "in doubt")?,
            dead_lettered: copy.value(DEAD_LETTERED, "dead-lettered")?,
            redelivered: copy.value(REDELIVERED, "redelivered")?,
        })
    }
}

/// What an [`OutgoingRow`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingState {
    /// The last message that was accepted.
    pub appended: Sequence,
    /// The last message that is known to have reached the kernel; a few more may have, just before the end.
    pub sent: Sequence,
    /// How many messages the receiver had in hand when it died.
    pub in_doubt: u64,
    /// How many messages became dead letters.
    pub dead_lettered: u64,
    /// How many messages were sent once more.
    pub redelivered: u64,
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
