//! The flight recorder: what a process had in hand when it died, to be read by its supervisor afterwards.
//!
//! One sealed memory file per process, mapped by the process and by its supervisor. The process notes what it does
//! with plain stores; the kernel keeps what was stored whatever kills the process. The first row is about the
//! process; the supervisor hands out each of the others to one end of a link.
//!
//! **Killed between any two stores.** Each operation has one store that commits it. All of them are `Release`, so
//! they happen in the order in which they are written here (on x86-64 that costs nothing), and what was stored when
//! the process died is a prefix of that order:
//!
//! | operation | stores | commit |
//! |---|---|---|
//! | `start`   | key, key's check, `started` | `started`: it is ahead of `settled`, so a message is in hand |
//! | `finish`  | `processed`, `settled`      | `settled`: it has caught up, so no message is in hand |
//! | `skip`    | `skipped`, `settled`, `started` | `settled` |
//!
//! A count is stored one operation before it counts. `settled` holds the lowest bit of both counts, so a reader sees
//! by them that a count is one ahead, and takes one off.
//!
//! **Scribbled on.** A process that dies of a stray pointer may have written anything here. Each cell that matters
//! is a `seal`: 50 bits of value and 14 of checksum over the value, the row and the cell's role. What was stored
//! by accident passes once in 16384 times, and then has to agree with the other cells.
#![allow(unsafe_code)] // It maps the shared page and reads it through raw pointers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;

use crate::wire::ids::{MessageKey, Sequence};

/// The size of the file. Only what is touched takes memory, 4 KiB (64 rows) at a time.
const BYTES: usize = 1 << 20;
/// Eight cells fill a cache line, so no two links ever wait for each other's.
const CELLS: usize = 8;
const ROWS: usize = BYTES / size_of::<Cells>();
type Cells = [AtomicU64; CELLS];
/// With it nobody can shorten the file, which would end whoever reads the lost part with SIGBUS.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The first cells of the row about the process.
const MAGIC: usize = 0;
const PROGRESS: usize = 1;
const PARKED: usize = 2;
/// Names this layout; another one gets another number.
const LAYOUT: u64 = 0x5741_5445_5254_0001;

/// The shared page of one process.
///
/// Everything in it is an atomic: it changes while it is read, and nothing in it is to be believed unchecked.
pub struct Recorder {
    rows: NonNull<[Cells; ROWS]>,
}

// SAFETY: it owns a mapping that belongs to no thread, and gives access to it through atomics only.
unsafe impl Send for Recorder {}
// SAFETY: as above.
unsafe impl Sync for Recorder {}

impl Recorder {
    /// How many rows there are for link ends; slots are counted from 0.
    #[allow(clippy::cast_possible_truncation)] // 16383.
    pub const SLOTS: u32 = (ROWS - 1) as u32;

    /// A new page, and the descriptor by which its process opens it.
    ///
    /// # Errors
    ///
    /// When descriptors or memory have run out.
    pub fn create() -> io::Result<(Recorder, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("watertight-recorder", flags)?;
        rustix::fs::ftruncate(&file, BYTES as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        let recorder = Self::map(&file)?;
        recorder.cell(MAGIC).store(LAYOUT, Ordering::Release);
        Ok((recorder, file))
    }

    /// Opens a page that another process created; the descriptor is not needed afterwards.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] when the descriptor is anything but a recorder that can never change its size.
    pub fn open(file: OwnedFd) -> io::Result<Recorder> {
        let not_a_recorder = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        // Only memory files have seals, so this is also the check that it is one.
        let seals = rustix::fs::fcntl_get_seals(&file)
            .map_err(|_| not_a_recorder("the recorder's descriptor is not a memory file"))?;
        if !seals.contains(SEALS) {
            return Err(not_a_recorder("the recorder is not sealed: it could be cut off while it is read"));
        }
        if usize::try_from(rustix::fs::fstat(&file)?.st_size) != Ok(BYTES) {
            return Err(not_a_recorder("the recorder is of another size: it was made by another build"));
        }
        let recorder = Self::map(&file)?;
        if recorder.cell(MAGIC).load(Ordering::Acquire) != LAYOUT {
            return Err(not_a_recorder("the recorder has another layout: it was made by another build"));
        }
        Ok(recorder)
    }

    fn map(file: impl AsFd) -> io::Result<Recorder> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), BYTES, access, MapFlags::SHARED, file, 0)? };
        NonNull::new(start.cast())
            .map(|rows| Recorder { rows })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn rows(&self) -> &[Cells; ROWS] {
        // SAFETY: the mapping is `BYTES` long, aligned to a page, and stays until `self` is dropped; the file behind
        // it cannot shrink, being sealed. Others may write to it at any time: hence the atomics.
        unsafe { self.rows.as_ref() }
    }

    /// A cell of the row about the process.
    fn cell(&self, column: usize) -> &AtomicU64 {
        &self.rows()[0][column]
    }

    /// How often the process has said that it goes on.
    pub fn progress(&self) -> u64 {
        self.cell(PROGRESS).load(Ordering::Relaxed)
    }

    /// Says that the process goes on; called by its runtime thread only, once for each message or turn.
    pub fn add_progress(&self) {
        // One writer, so no read-modify-write, which would cost more than all the rest.
        self.cell(PROGRESS).store(self.progress().wrapping_add(1), Ordering::Relaxed);
    }

    /// Says whether the runtime thread sleeps until something happens, and so is not expected to make progress.
    pub fn set_parked(&self, parked: bool) {
        self.cell(PARKED).store(u64::from(parked), Ordering::Release);
    }

    /// Whether the runtime thread sleeps until something happens.
    pub fn is_parked(&self) -> bool {
        self.cell(PARKED).load(Ordering::Acquire) == 1
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping that `map` made, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.rows.as_ptr().cast(), BYTES) };
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("progress", &self.progress())
            .field("parked", &self.is_parked())
            .finish()
    }
}

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
        &self.page.rows()[self.slot as usize + 1][column] // Row 0 is about the process.
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

    /// Takes a message in hand, before its body is decoded: the decoder may be what it kills.
    pub fn start(&self, sequence: Sequence, key: MessageKey) {
        let row = &self.0;
        row.store_raw(KEY, key.0);
        row.store_raw(KEY_CHECK, key_check(row.slot, sequence.0, key.0));
        row.store(STARTED, sequence.0);
    }

    /// Settles the message in hand, after its handler, its drop and its reply.
    pub fn finish(&self, sequence: Sequence) {
        let processed = self.0.value(PROCESSED).wrapping_add(1);
        self.0.store(PROCESSED, processed);
        self.settle(sequence, processed, self.0.value(SKIPPED));
    }

    /// Settles a message that is never started, as one that has expired or is refused.
    pub fn skip(&self, sequence: Sequence) {
        let skipped = self.0.value(SKIPPED).wrapping_add(1);
        self.0.store(SKIPPED, skipped);
        self.settle(sequence, self.0.value(PROCESSED), skipped);
        // Only so that the two stay close, which `read` checks.
        self.0.store(STARTED, sequence.0);
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
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use std::cell::Cell;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        /// How many more stores this thread may make before it counts as killed.
        static STORES_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub(super) fn is_killed() -> bool {
        let left = STORES_LEFT.get();
        STORES_LEFT.set(left.saturating_sub(1));
        left == 0
    }

    fn key(sequence: u64) -> MessageKey {
        MessageKey(sequence.wrapping_mul(0x1234_5678_9abc_def1))
    }

    fn fresh(resume_after: u64) -> IncomingRow {
        let (page, _) = Recorder::create().unwrap();
        let row = IncomingRow::new(&Arc::new(page), 7).unwrap();
        row.prepare(Sequence(resume_after));
        row
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Start(u64),
        Finish(u64),
        Skip(u64),
    }

    fn perform(row: &IncomingRow, step: Step) {
        match step {
            Step::Start(n) => row.start(Sequence(n), key(n)),
            Step::Finish(n) => row.finish(Sequence(n)),
            Step::Skip(n) => row.skip(Sequence(n)),
        }
    }

    /// What the row must say after `steps`, from their meaning alone.
    fn meaning(resume_after: u64, steps: &[Step]) -> IncomingState {
        let begin = IncomingState { cursor: Sequence(resume_after), in_hand: None, processed: 0, skipped: 0 };
        steps.iter().fold(begin, |state, step| match *step {
            Step::Start(n) => IncomingState { in_hand: Some((Sequence(n), key(n))), ..state },
            Step::Finish(n) => {
                IncomingState { cursor: Sequence(n), in_hand: None, processed: state.processed + 1, ..state }
            }
            Step::Skip(n) => IncomingState { cursor: Sequence(n), skipped: state.skipped + 1, ..state },
        })
    }

    /// Messages from 11 on, some of them skipped, with a gap now and then.
    fn some_steps() -> Vec<Step> {
        let mut steps = Vec::new();
        let mut n = 10;
        for i in 0..40 {
            n += if i % 7 == 3 { 5 } else { 1 };
            match i % 5 {
                1 | 2 => steps.push(Step::Skip(n)),
                _ => steps.extend([Step::Start(n), Step::Finish(n)]),
            }
        }
        steps
    }

    #[test]
    fn killed_between_any_two_stores_a_step_is_either_done_or_not() {
        let steps = some_steps();
        let mut seen_both = [false; 2];
        for killed_at in 0.. {
            let row = fresh(10);
            STORES_LEFT.set(killed_at);
            let mut reached = None;
            for (i, step) in steps.iter().enumerate() {
                perform(&row, *step);
                if STORES_LEFT.get() == 0 {
                    reached = Some(i);
                    break;
                }
            }
            STORES_LEFT.set(usize::MAX);
            let Some(i) = reached else { break };
            let (before, after) = (meaning(10, &steps[..i]), meaning(10, &steps[..=i]));
            let found = row.read().unwrap();
            assert!(found == before || found == after, "{:?} after {killed_at}: {found:?}", steps[i]);
            seen_both[usize::from(found == after)] = true;
        }
        assert_eq!(seen_both, [true; 2]);
    }

    #[test]
    fn a_row_that_was_blanked_filled_or_never_prepared_is_refused_in_every_slot() {
        let (page, _file) = Recorder::create().unwrap();
        let page = Arc::new(page);
        for slot in 0..Recorder::SLOTS {
            let (row, out) = (IncomingRow::new(&page, slot).unwrap(), OutgoingRow::new(&page, slot).unwrap());
            for bits in [0, u64::MAX] {
                (0..CELLS).for_each(|column| row.0.cell(column).store(bits, Ordering::Relaxed));
                assert!(row.read().is_err() && out.read().is_err(), "{bits:x} in {slot}");
            }
        }
        assert!(IncomingRow::new(&page, Recorder::SLOTS).is_none());
        assert!(OutgoingRow::new(&page, u32::MAX).is_none());
    }

    #[test]
    fn a_row_is_not_believed_in_another_place_or_as_the_other_kind() {
        let row = fresh(0);
        let page = Arc::clone(&row.0.page);
        let as_outgoing = OutgoingRow::new(&page, 7).unwrap().read();
        assert_eq!(as_outgoing, Err(Scribbled::Checksum { slot: 7, cell: "appended" }));
        let other = IncomingRow::new(&page, 8).unwrap();
        for column in 0..CELLS {
            other.0.store_raw(column, row.0.cell(column).load(Ordering::Relaxed));
        }
        assert!(matches!(other.read(), Err(Scribbled::Checksum { slot: 8, cell: "settled" })));
    }

    #[test]
    fn a_single_flipped_bit_never_changes_what_is_read() {
        for steps in
            [&[Step::Start(1)][..], &[Step::Start(1), Step::Finish(1)], &[Step::Skip(3), Step::Start(9)]]
        {
            let row = fresh(0);
            steps.iter().for_each(|step| perform(&row, *step));
            let truth = row.read().unwrap();
            for bit in 0..64 * CELLS {
                let cell = row.0.cell(bit / 64);
                let sound = cell.load(Ordering::Relaxed);
                cell.store(sound ^ (1 << (bit % 64)), Ordering::Relaxed);
                assert!(row.read().is_err() || row.read() == Ok(truth), "bit {bit}");
                cell.store(sound, Ordering::Relaxed);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn what_was_scribbled_is_refused_or_changes_nothing(
            steps in 0_usize..70,
            scribbles in prop::collection::vec((0..CELLS, prop_oneof![any::<u64>(), 0_u64..1000]), 1..6),
        ) {
            let row = fresh(10);
            let all = some_steps();
            let steps = &all[..steps.min(all.len())];
            steps.iter().for_each(|step| perform(&row, *step));
            let truth = row.read().unwrap();
            for (column, bits) in scribbles {
                row.0.store_raw(column, bits);
            }
            prop_assert!(row.read().is_err() || row.read() == Ok(truth), "{:?}", row.read());
        }
    }

    #[test]
    fn cells_that_contradict_each_other_are_refused() {
        let refused = |spoil: fn(&IncomingRow)| {
            let row = fresh(10);
            some_steps().iter().for_each(|step| perform(&row, *step));
            spoil(&row);
            matches!(row.read(), Err(Scribbled::Contradiction { slot: 7, .. }))
        };
        assert!(refused(|row| row.0.store(STARTED, 1 << SEQUENCE_BITS)));
        assert!(refused(|row| row.0.store(STARTED, 1 << 30)), "far ahead");
        assert!(refused(|row| row.0.store(STARTED, 3)), "before the beginning");
        assert!(refused(|row| row.0.store(RESUMED_AFTER, 1 << 40)));
        assert!(refused(|row| row.0.store(PROCESSED, row.0.value(PROCESSED) + 100)), "more than there were");
        assert!(refused(|row| row.0.store(PROCESSED, row.0.value(PROCESSED) + 1)), "with nothing in hand");
        assert!(refused(|row| {
            perform(row, Step::Start(90));
            [PROCESSED, SKIPPED].into_iter().for_each(|it| row.0.store(it, row.0.value(it) + 1));
        }));
        assert!(refused(|row| [PROCESSED, SKIPPED]
            .into_iter()
            .for_each(|it| row.0.store(it, row.0.value(it) + 1))));
    }

    #[test]
    fn an_outgoing_row_reads_as_it_was_written() {
        let (page, file) = Recorder::create().unwrap();
        let row = OutgoingRow::new(&Arc::new(page), 0).unwrap();
        row.prepare();
        row.appended(Sequence(9));
        row.sent(Sequence(4));
        row.add_in_doubt(1);
        row.add_dead_lettered(2);
        row.add_dead_lettered(1);
        row.add_redelivered(u64::MAX);
        let same = OutgoingRow::new(&Arc::new(Recorder::open(file).unwrap()), 0).unwrap().read().unwrap();
        assert_eq!((same.appended, same.sent), (Sequence(9), Sequence(4)));
        assert_eq!((same.in_doubt, same.dead_lettered, same.redelivered), (1, 3, VALUE));
        row.sent(Sequence(10));
        assert_eq!(row.read(), Err(Scribbled::Contradiction { slot: 0, rule: "sent <= appended" }));
    }

    #[test]
    fn nobody_can_cut_off_the_page_and_nothing_else_is_opened_as_one() {
        let (page, file) = Recorder::create().unwrap();
        let opened = Recorder::open(file.try_clone().unwrap()).unwrap();
        for size in [0, BYTES as u64 - 1, BYTES as u64 * 2] {
            assert_eq!(rustix::fs::ftruncate(&file, size), Err(rustix::io::Errno::PERM));
        }
        opened.add_progress();
        opened.set_parked(true);
        assert_eq!((page.progress(), page.is_parked()), (1, true));

        let memory = |size, seals| {
            let file = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
            rustix::fs::ftruncate(&file, size).unwrap();
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            file
        };
        let refusal = |file| Recorder::open(file).unwrap_err().to_string();
        assert!(refusal(memory(BYTES as u64, SealFlags::GROW)).contains("not sealed"));
        assert!(refusal(memory(4096, SEALS)).contains("another size"));
        assert!(refusal(memory(BYTES as u64, SEALS)).contains("another layout"));
        assert!(refusal(rustix::pipe::pipe().unwrap().0).contains("not a memory file"));
    }

    #[test]
    fn a_process_killed_in_the_middle_leaves_a_readable_page() {
        const NAME: &str = "a_process_killed_in_the_middle_leaves_a_readable_page";
        const WRITER: &str = "WATERTIGHT_TEST_RECORDER_WRITER";
        if std::env::var_os(WRITER).is_some() {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
            let page = Recorder::open(io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
            let row = IncomingRow::new(&Arc::new(page), 3).unwrap();
            for n in 1.. {
                perform(&row, if n % 8 == 0 { Step::Skip(n) } else { Step::Start(n) });
                if n % 8 != 0 {
                    perform(&row, Step::Finish(n));
                }
                row.0.page.add_progress();
            }
        }
        let path = module_path!().split_once("::").unwrap().1;
        let mut in_hand = 0;
        for round in 0..50 {
            let (page, file) = Recorder::create().unwrap();
            let page = Arc::new(page);
            let row = IncomingRow::new(&page, 3).unwrap();
            row.prepare(Sequence::ZERO);
            let mut child = Command::new("/proc/self/exe")
                .args([&format!("{path}::{NAME}"), "--exact", "--nocapture", "--test-threads=1"])
                .env(WRITER, "1")
                .stdin(file)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while page.progress() < 1000 + round * 37 {
                assert!(Instant::now() < deadline, "the writer does not write");
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let found = row.read().unwrap();
            let settled = found.cursor.0;
            assert_eq!((found.processed, found.skipped), (settled - settled / 8, settled / 8));
            if let Some((sequence, its_key)) = found.in_hand {
                assert_eq!((sequence, its_key), (found.cursor.next(), key(sequence.0)));
                in_hand += 1;
            }
        }
        assert!(in_hand > 0, "not one of 50 was killed with a message in hand");
    }
}
