//! The board of a pool's worker: which of its tasks are claimed, which are done, and the results of those.
//!
//! A sealed memory file that the worker and the owner of the pool have mapped, kept through all lives of the worker. So
//! what a worker had finished survives it, and of what it had not begun nothing is run twice: tasks are claimed by moving
//! a number in one atomic word, and whoever wants the rest of a chunk (to give it to an idle worker, to cancel it, to run
//! it elsewhere after a death) moves another number in the same word.
//!
//! Such an exchange costs more than a tiny task, so a worker may claim several tasks at once. Which of them it has begun
//! it only notes: nobody else touches them while it lives, and after its death the note tells which one it had in hand.
//!
//! | word | meaning | written by |
//! |---|---|---|
//! | `claim` | tasks claimed, in the low half; where the chunk ends, in the high half | both, by compare and exchange |
//! | `begun` | tasks begun, of those claimed | the worker, before each |
//! | `done` | results written, in the low half; the bytes they take, in the high half | the worker, after each |
//! | `since` | when the last task was begun, for deadlines | the worker |
//!
//! A worker may have scribbled on all of it: the owner copies before it reads, and believes nothing that cannot be true.
#![allow(unsafe_code)] // It maps shared memory, and copies results into and out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::fault::{self, Call};

/// Chunks that a worker may have at once: one in hand, and one that waits, so that it never waits for its owner.
pub const SLOTS: usize = 2;
/// Bytes for the results of one chunk; only what is used takes memory. A result that does not fit travels as a reply.
pub const ROOM: usize = 256 << 10;

const WORDS: usize = ROOM / 8;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// One slot: a cache line of words, then results.
#[repr(C, align(64))]
struct Slot {
    claim: AtomicU64,
    begun: AtomicU64,
    done: AtomicU64,
    since: AtomicU64,
    unused: [AtomicU64; 4],
    results: [AtomicU64; WORDS],
}

/// The shared memory of one worker.
pub struct Board {
    slots: NonNull<[Slot; SLOTS]>,
}

// SAFETY: it owns a mapping that belongs to no thread. The words are atomics; results are written by one worker, and
// copied by atomic loads.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

/// What a slot says of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tasks begun.
    pub begun: u32,
    /// Tasks that the worker will begin, whatever others want; those begun are among them.
    pub claimed: u32,
    /// Where the chunk ends: what lies behind is somebody else's.
    pub end: u32,
    /// Results written.
    pub done: u32,
    /// The bytes that they take.
    pub bytes: u32,
}

impl Board {
    /// A new board, and the descriptor by which its worker opens it.
    ///
    /// # Errors
    /// When descriptors or memory have run out.
    pub fn create() -> io::Result<(Board, Arc<OwnedFd>)> {
        fault::call(Call::CreateMemory)?;
        let file =
            rustix::fs::memfd_create("watertight-board", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, size_of::<[Slot; SLOTS]>() as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok((Board::map(&file)?, Arc::new(file)))
    }

    /// Opens a board that another process created.
    ///
    /// # Errors
    /// `InvalidData` when the descriptor is anything but a board that can never change its size.
    pub fn open(file: &OwnedFd) -> io::Result<Board> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| invalid("the board is no memory file"))?;
        let size = rustix::fs::fstat(file)?.st_size;
        if !seals.contains(SEALS) || usize::try_from(size) != Ok(size_of::<[Slot; SLOTS]>()) {
            return Err(invalid("the board could be cut off while it is read"));
        }
        Board::map(file)
    }

    fn map(file: impl AsFd) -> io::Result<Board> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let length = size_of::<[Slot; SLOTS]>();
        fault::call(Call::MapMemory)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0)? };
        NonNull::new(start.cast())
            .map(|slots| Board { slots })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn slot(&self, slot: usize) -> &Slot {
        // SAFETY: the mapping is as long as all slots, aligned to a page, and stays until `self` is dropped; the file
        // behind it cannot shrink, being sealed. Everything in it is an atomic, because others write to it.
        let slots = unsafe { self.slots.as_ref() };
        &slots[slot % SLOTS]
    }

    /// Owner: makes a slot ready for a chunk of so many tasks, before the worker is told of it.
    pub fn lay_out(&self, slot: usize, tasks: u32) {
        let slot = self.slot(slot);
        slot.done.store(0, Ordering::Relaxed);
        slot.begun.store(0, Ordering::Relaxed);
        slot.since.store(0, Ordering::Relaxed);
        slot.claim.store(pack(0, tasks), Ordering::Release);
    }

    /// Worker: begins to work on the chunk of a slot.
    pub fn desk(&mut self, slot: usize) -> Desk<'_> {
        Desk { slot: self.slot(slot), claimed: 0, begun: 0, done: 0, bytes: 0 }
    }

    /// Owner: when the last task was begun, in nanoseconds; 0 if that was not noted.
    pub fn begun_at(&self, slot: usize) -> u64 {
        self.slot(slot).since.load(Ordering::Acquire)
    }

    /// Either: takes away what is not claimed yet, but for the first `keep` of it. Returns the places taken.
    pub fn take_rest(&self, slot: usize, keep: u32) -> std::ops::Range<u32> {
        let word = &self.slot(slot).claim;
        let mut now = word.load(Ordering::Acquire);
        loop {
            let (claimed, end) = unpack(now);
            let new_end = claimed.saturating_add(keep).min(end);
            if new_end >= end {
                return end..end;
            }
            match word.compare_exchange_weak(now, pack(claimed, new_end), Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return new_end..end,
                Err(other) => now = other,
            }
        }
    }

    /// What the slot says now.
    pub fn progress(&self, slot: usize) -> Progress {
        let slot = self.slot(slot);
        // Against the order in which they are written: then nothing can be done that is not begun, nor begun unclaimed.
        let (done, bytes) = unpack(slot.done.load(Ordering::Acquire));
        // A number of tasks, unless the worker scribbles: then it is far too large.
        let begun = u32::try_from(slot.begun.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        let (claimed, end) = unpack(slot.claim.load(Ordering::Acquire));
        Progress { begun, claimed, end, done, bytes }
    }

    /// Owner: copies the first `bytes` of the results, at most as many as there can be.
    pub fn copy_results(&self, slot: usize, bytes: u32) -> Vec<u8> {
        let bytes = (bytes as usize).min(ROOM);
        let words = &self.slot(slot).results[..bytes.div_ceil(8)];
        let mut copy = Vec::<u8>::with_capacity(words.len() * 8);
        let start = copy.as_mut_ptr();
        for (place, word) in words.iter().enumerate() {
            // SAFETY: there is room for as many words as are read, and none of it is read before it is written.
            unsafe { start.cast::<u64>().add(place).write_unaligned(word.load(Ordering::Relaxed)) };
        }
        // SAFETY: no more than the words above.
        unsafe { copy.set_len(bytes) };
        copy
    }
}

/// A slot of the board as its worker has it, while it works on the chunk there.
///
/// A loop over tiny tasks works on a copy of it, which the processor's registers hold; of two copies, one is used.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    slot: &'a Slot,
    claimed: u32,
    begun: u32,
    done: u32,
    bytes: usize,
}

impl Desk<'_> {
    /// Claims at most so many further tasks; whether there are any.
    pub fn claim(&mut self, most: u32) -> bool {
        let word = &self.slot.claim;
        let mut now = word.load(Ordering::Relaxed);
        loop {
            let (claimed, end) = unpack(now);
            let new = claimed.saturating_add(most).min(end);
            if new <= claimed {
                return false;
            }
            match word.compare_exchange_weak(now, pack(new, end), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.claimed = new;
                    return true;
                }
                Err(other) => now = other,
            }
        }
    }

    /// Begins the next of the tasks that are claimed; `None` if all of them are begun.
    #[inline]
    pub fn begin(&mut self) -> Option<u32> {
        let task = self.begun;
        if task >= self.claimed {
            return None;
        }
        self.begun = task + 1;
        self.slot.begun.store(u64::from(self.begun), Ordering::Release);
        // Noted before anything of the task happens.
        compiler_fence(Ordering::SeqCst);
        Some(task)
    }

    /// Notes when it began the last task, in nanoseconds.
    pub fn note_since(&self, now: u64) {
        self.slot.since.store(now, Ordering::Release);
    }

    /// Tasks begun so far.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Where the next result goes.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        let results = self.slot.results.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: `bytes` is never more than the room there is, see `publish`. The worker is the only writer of results,
        // and has no other desk for this slot; the owner reads nothing that `done` does not cover.
        unsafe { std::slice::from_raw_parts_mut(results.add(self.bytes), ROOM - self.bytes) }
    }

    /// So many bytes of the [`room`](Self::room) are the result of the task that was begun last.
    #[inline]
    pub fn publish(&mut self, length: usize) {
        self.done += 1;
        self.bytes = (self.bytes + length).min(ROOM);
        // No more than the room, which 32 bits hold.
        self.slot.done.store(u64::from(self.done) | (self.bytes as u64) << 32, Ordering::Release);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping that `map` made, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.slots.as_ptr().cast(), size_of::<[Slot; SLOTS]>()) };
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..SLOTS).map(|slot| self.progress(slot))).finish()
    }
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Desk { claimed, begun, done, bytes, .. } = self;
        write!(f, "Desk({claimed} claimed, {begun} begun, {done} done, {bytes} bytes)")
    }
}

fn pack(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[allow(clippy::cast_possible_truncation)] // Each half is 32 bits.
fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
