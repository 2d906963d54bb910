//! The page: a sealed memory file that two processes have mapped, and the row about the process itself.
#![allow(unsafe_code)] // It maps the shared page and reads it through raw pointers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::messages;
use crate::fault::{self, Call};

/// The size of the file. Only what is touched takes memory, 4 KiB (64 rows) at a time.
const BYTES: usize = 1 << 20;
/// Eight cells fill a cache line, so no two links ever wait for each other's.
pub(super) const CELLS: usize = 8;
const ROWS: usize = BYTES / size_of::<Cells>();
/// The first of the rows at the end, in which messages are noted; the others but the first are for link ends.
const NOTES: usize = ROWS - messages::KEPT;
/// One row.
pub(crate) type Cells = [AtomicU64; CELLS];
/// With it nobody can shorten the file, which would end whoever reads the lost part with SIGBUS.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The first cells of the row about the process.
const MAGIC: usize = 0;
const PROGRESS: usize = 1;
const PARKED: usize = 2;
/// 1 if messages are to be noted.
const KEEPS_MESSAGES: usize = 3;
/// How many have been noted.
const NOTED: usize = 4;
/// Names this layout; another one gets another number.
const LAYOUT: u64 = 0x5741_5445_5254_0002;

/// The shared page of one process.
///
/// Everything in it is an atomic: it changes while it is read, and nothing in it is to be believed unchecked.
pub struct Recorder {
    rows: NonNull<[Cells; ROWS]>,
    /// As it was when the page was opened: the process looks at it for every message.
    pub(super) keeps_messages: bool,
}

// SAFETY: it owns a mapping that belongs to no thread, and gives access to it through atomics only.
unsafe impl Send for Recorder {}
// SAFETY: as above.
unsafe impl Sync for Recorder {}

impl Recorder {
    /// How many rows there are for link ends; slots are counted from 0.
    #[allow(clippy::cast_possible_truncation)] // 15871.
    pub const SLOTS: u32 = (NOTES - 1) as u32;

    /// A new page, and the descriptor by which its process opens it.
    ///
    /// # Errors
    ///
    /// When descriptors or memory have run out.
    pub fn create() -> io::Result<(Recorder, OwnedFd)> {
        fault::call(Call::CreateRecorder)?;
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
        fault::call(Call::OpenRecorder)?;
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
        let mut recorder = Self::map(&file)?;
        if recorder.cell(MAGIC).load(Ordering::Acquire) != LAYOUT {
            return Err(not_a_recorder("the recorder has another layout: it was made by another build"));
        }
        recorder.keeps_messages = recorder.cell(KEEPS_MESSAGES).load(Ordering::Acquire) == 1;
        Ok(recorder)
    }

    fn map(file: impl AsFd) -> io::Result<Recorder> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), BYTES, access, MapFlags::SHARED, file, 0)? };
        NonNull::new(start.cast())
            .map(|rows| Recorder { rows, keeps_messages: false })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn rows(&self) -> &[Cells; ROWS] {
        // SAFETY: the mapping is `BYTES` long, aligned to a page, and stays until `self` is dropped; the file behind
        // it cannot shrink, being sealed. Others may write to it at any time: hence the atomics.
        unsafe { self.rows.as_ref() }
    }

    /// The row of a slot, which is below [`Recorder::SLOTS`].
    pub(crate) fn row(&self, slot: u32) -> &Cells {
        &self.rows()[slot as usize + 1] // Row 0 is about the process.
    }

    /// One of the rows in which messages are noted: below [`messages::KEPT`].
    pub(super) fn note(&self, nth: usize) -> &Cells {
        &self.rows()[NOTES + nth]
    }

    pub(super) fn noted_cell(&self) -> &AtomicU64 {
        self.cell(NOTED)
    }

    /// Lets the process that will open this page note its messages.
    pub(crate) fn keep_messages(&self) {
        self.cell(KEEPS_MESSAGES).store(1, Ordering::Release);
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

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
