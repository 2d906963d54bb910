//! The board of a pool's worker: which of its tasks are claimed, which are done, and the results of those.
//!
//! A sealed memory file that the worker and the owner of the pool have mapped, kept through all lives of the worker. So
//! what a worker had finished survives it, and of what it had not begun nothing is run twice: a task is begun by moving
//! a number in one atomic word, and whoever wants the rest of a chunk (to give it to an idle worker, to cancel it, to run
//! it elsewhere after a death) moves another number in the same word.
//!
//! | word | meaning | written by |
//! |---|---|---|
//! | `claim` | tasks begun, in the low half; where the chunk ends, in the high half | both, by compare and exchange |
//! | `done` | results written, in the low half; the bytes they take, in the high half | the worker, last of all |
//! | `begun` | when the last claim was made, for deadlines | the worker |
//!
//! A worker may have scribbled on all of it: the owner copies before it reads, and believes nothing that cannot be true.
#![allow(unsafe_code)] // It maps shared memory, and copies results into and out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Chunks that a worker may have at once: one in hand, and one that waits, so that it never waits for its owner.
pub const SLOTS: usize = 2;
/// Bytes for the results of one chunk; only what is used takes memory. A result that does not fit travels as a reply.
pub const ROOM: usize = 256 << 10;

/// A result of a number, most often.
const SHORT: usize = 16;
const WORDS: usize = ROOM / 8;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// One slot: a cache line of words, then results.
#[repr(C, align(64))]
struct Slot {
    claim: AtomicU64,
    done: AtomicU64,
    begun: AtomicU64,
    unused: [AtomicU64; 5],
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
        slot.claim.store(pack(0, tasks), Ordering::Release);
    }

    /// Worker: begins the next task of the chunk; `None` if none is left.
    pub fn claim(&self, slot: usize) -> Option<u32> {
        let word = &self.slot(slot).claim;
        let mut now = word.load(Ordering::Relaxed);
        loop {
            let (begun, end) = unpack(now);
            if begun >= end {
                return None;
            }
            match word.compare_exchange_weak(now, pack(begun + 1, end), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(begun),
                Err(other) => now = other,
            }
        }
    }

    /// Worker: notes when it began a task, in nanoseconds.
    pub fn note_begun(&self, slot: usize, now: u64) {
        self.slot(slot).begun.store(now, Ordering::Release);
    }

    /// Owner: when the last task was begun, in nanoseconds; 0 if that was not noted.
    pub fn begun_at(&self, slot: usize) -> u64 {
        self.slot(slot).begun.load(Ordering::Acquire)
    }

    /// Either: takes away what is not begun yet, but for the first `keep` of it. Returns the places taken.
    pub fn take_rest(&self, slot: usize, keep: u32) -> std::ops::Range<u32> {
        let word = &self.slot(slot).claim;
        let mut now = word.load(Ordering::Acquire);
        loop {
            let (begun, end) = unpack(now);
            let new_end = begun.saturating_add(keep).min(end);
            if new_end >= end {
                return end..end;
            }
            match word.compare_exchange_weak(now, pack(begun, new_end), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return new_end..end,
                Err(other) => now = other,
            }
        }
    }

    /// Worker: adds the result of the task that it began last, if there is room for it.
    pub fn publish(&self, slot: usize, at: Progress, result: &[u8]) -> Option<Progress> {
        let start = at.bytes as usize;
        let end = start.checked_add(result.len()).filter(|end| *end <= ROOM)?;
        let results = self.slot(slot).results.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: `start..end` lies within the results. The worker is their only writer, and the owner reads nothing
        // that `done` does not cover, which is stored below, in order.
        unsafe {
            if result.len() <= SHORT {
                // A call to copy it would cost more than the copy.
                for (at, byte) in result.iter().enumerate() {
                    results.add(start + at).write(*byte);
                }
            } else {
                ptr::copy_nonoverlapping(result.as_ptr(), results.add(start), result.len());
            }
        }
        let now = Progress { done: at.done + 1, bytes: u32::try_from(end).ok()?, ..at };
        self.slot(slot).done.store(pack(now.done, now.bytes), Ordering::Release);
        Some(now)
    }

    /// What the slot says now.
    pub fn progress(&self, slot: usize) -> Progress {
        let slot = self.slot(slot);
        // First what is done: then nothing can be done that is not begun.
        let (done, bytes) = unpack(slot.done.load(Ordering::Acquire));
        let (begun, end) = unpack(slot.claim.load(Ordering::Acquire));
        Progress { begun, end, done, bytes }
    }

    /// Owner: copies the first `bytes` of the results, at most as many as there can be.
    pub fn copy_results(&self, slot: usize, bytes: u32) -> Vec<u8> {
        let bytes = (bytes as usize).min(ROOM);
        let words = &self.slot(slot).results[..bytes.div_ceil(8)];
        let mut copy = Vec::with_capacity(words.len() * 8);
        for word in words {
            copy.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        copy.truncate(bytes);
        copy
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
