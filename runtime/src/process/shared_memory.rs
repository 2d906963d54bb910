//! Memory that processes share by its descriptor: memory files whose size, or whose content too, can never change.
#![allow(unsafe_code)] // It maps memory files, and looks at what is mapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;

use super::plain::Plain;
use crate::fault::{self, Call};

/// Nobody can shorten the file, which would end whoever reads the lost part with SIGBUS, nor take the seals for made
/// before they all are.
const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
/// Nobody can change a byte either. The kernel grants it only while no writable mapping exists anywhere.
const CONTENT: SealFlags = SIZE.union(SealFlags::WRITE);

/// Why what came is not taken for shared memory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A file, a socket, anything else.
    #[error("the descriptor is not a memory file")]
    NotMemory,
    /// Somebody could still change it under its reader's hands.
    #[error("the memory is not sealed: its sender could still change it")]
    Unsealed,
    /// It ends before what the message says is in it.
    #[error("the message names a part that the memory does not have")]
    OutOfRange,
    /// It cannot be mapped here.
    #[error("the memory cannot be mapped")]
    Unmapped,
}

/// Bytes that nobody can change any more, in a memory file.
///
/// Mapped when they are first looked at: whoever only passes them on pays nothing.
#[derive(Debug)]
pub struct Sealed {
    file: Arc<OwnedFd>,
    length: usize,
    content: OnceLock<Content>,
}

#[derive(Debug)]
enum Content {
    Mapped(Mapping),
    /// Where no more mappings are to be had.
    Copied(Vec<u8>),
}

impl Sealed {
    /// What `write` puts into a new memory file, which is not empty.
    ///
    /// # Errors
    ///
    /// When descriptors or memory have run out, or as `write`.
    pub fn write(write: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<Sealed> {
        let mut writer = Writer { file: create("watertight-blob")?, length: 0 };
        write(&mut writer)?;
        Sealed::seal(writer.file)
    }

    /// What `fill` puts into that many zeroes, at least one.
    ///
    /// # Errors
    ///
    /// When descriptors or memory have run out.
    pub fn build(length: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Sealed> {
        let file = create("watertight-blob")?;
        allocate(&file, length)?;
        let mut mapping = Mapping::new(&file, length, ProtFlags::READ | ProtFlags::WRITE)?;
        fill(mapping.bytes_mut());
        // With a writable mapping it could not be sealed.
        drop(mapping);
        Sealed::seal(file)
    }

    fn seal(file: OwnedFd) -> io::Result<Sealed> {
        rustix::fs::fcntl_add_seals(&file, CONTENT)?;
        Sealed::open(file).map_err(io::Error::other)
    }

    /// Takes over what another process has sealed.
    ///
    /// # Errors
    ///
    /// [`Unfit`] when the descriptor is anything but a memory file that can never change.
    pub fn open(file: OwnedFd) -> Result<Sealed, Unfit> {
        let length = check(&file, CONTENT)?;
        Ok(Sealed { file: Arc::new(file), length, content: OnceLock::new() })
    }

    /// By this others get it.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// How many bytes; at least one.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The bytes.
    ///
    /// # Panics
    ///
    /// When the kernel neither maps nor reads the file: this process has no memory left.
    pub fn bytes(&self) -> &[u8] {
        match self.content.get_or_init(|| self.look()) {
            Content::Mapped(mapping) => mapping.bytes(),
            Content::Copied(bytes) => bytes,
        }
    }

    fn look(&self) -> Content {
        match Mapping::new(&self.file, self.length, ProtFlags::READ) {
            Ok(mapping) => Content::Mapped(mapping),
            // A process may have some 65,000 mappings.
            Err(error) => match self.copy() {
                Ok(bytes) => Content::Copied(bytes),
                Err(_) => panic!("shared memory can be neither mapped nor read: {error}"),
            },
        }
    }

    fn copy(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(&self.file, &mut bytes[done..], done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }
}

/// Puts bytes into a memory file, past any mapping: out of memory is an error here, and no SIGBUS.
pub struct Writer {
    file: OwnedFd,
    length: u64,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = rustix::io::pwrite(&self.file, bytes, self.length)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers that processes read and write at the same time, in a memory file that can never change its size.
///
/// Nothing here is a reference to a number: another process may write at any time, so each is an atomic.
#[derive(Debug)]
pub struct Shared {
    file: Arc<OwnedFd>,
    mapping: Mapping,
}

impl Shared {
    /// That many bytes of zeroes, at least one.
    ///
    /// # Errors
    ///
    /// When descriptors or memory have run out.
    pub fn create(length: usize) -> io::Result<Shared> {
        let file = create("watertight-array")?;
        allocate(&file, length)?;
        rustix::fs::fcntl_add_seals(&file, SIZE)?;
        Shared::open(file, true).map_err(io::Error::other)
    }

    /// Takes over what another process has created; to read it, or to write it too.
    ///
    /// # Errors
    ///
    /// [`Unfit`] when the descriptor is anything but a memory file that can never change its size.
    pub fn open(file: OwnedFd, writable: bool) -> Result<Shared, Unfit> {
        Shared::map(Arc::new(file), writable)
    }

    /// Another mapping of the same memory, to be written.
    ///
    /// # Errors
    ///
    /// [`Unfit::Unmapped`].
    pub fn writable(&self) -> Result<Shared, Unfit> {
        Shared::map(Arc::clone(&self.file), true)
    }

    fn map(file: Arc<OwnedFd>, writable: bool) -> Result<Shared, Unfit> {
        let length = check(&file, SIZE)?;
        let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let mapping = Mapping::new(&file, length, access).map_err(|_| Unfit::Unmapped)?;
        Ok(Shared { file, mapping })
    }

    /// By this others get it.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// The numbers that are wholly in it. To store is for those who opened it writable.
    pub fn cells<T: Plain>(&self) -> &[T::Atomic] {
        // SAFETY: the mapping is aligned to a page, that long, and stays until `self` is dropped; the file behind it
        // cannot shrink, being sealed. An atomic of a plain number has its size and validity. Others may write at any
        // time: hence the atomics. Relaxed loads of at most eight bytes are sound where writing is forbidden.
        unsafe {
            std::slice::from_raw_parts(
                self.mapping.start.as_ptr().cast(),
                self.mapping.length / size_of::<T::Atomic>(),
            )
        }
    }
}

/// Part of this process's address space that shows a file; unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to no thread; what it gives out follows the rules of references.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: impl AsFd, length: usize, access: ProtFlags) -> io::Result<Mapping> {
        fault::call(Call::MapMemory)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0)? };
        NonNull::new(start.cast())
            .map(|start| Mapping { start, length })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// That much of nothing, which the kernel refuses where it is plainly too much.
    fn probe(length: usize) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, access, MapFlags::PRIVATE)? };
        NonNull::new(start.cast())
            .map(|start| Mapping { start, length })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Only of a file whose content is sealed.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is that long and stays until `self` is dropped. The file behind it is sealed: it cannot
        // shrink, and nobody can write to it, by a mapping or otherwise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// Only of a file that this process has just created, and to which no other mapping leads.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that long and stays until `self` is dropped. Nobody else has the file yet, so this is
        // the only way to it, and nobody can shorten it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping that `new` made, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn create(name: &str) -> io::Result<OwnedFd> {
    fault::call(Call::CreateMemory)?;
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// Gives the file its size and its memory: what could not be had would else end whoever writes there with SIGBUS.
fn allocate(file: &OwnedFd, length: usize) -> io::Result<()> {
    // Of a file the kernel would begin to allocate even what this machine does not have; of private memory it says so.
    drop(Mapping::probe(length)?);
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length as u64) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The length of a memory file that has these seals, in bytes; at least one.
fn check(file: &OwnedFd, seals: SealFlags) -> Result<usize, Unfit> {
    // Only memory files have seals, so this is also the check that it is one.
    let found = rustix::fs::fcntl_get_seals(file).map_err(|_| Unfit::NotMemory)?;
    if !found.contains(seals) {
        return Err(Unfit::Unsealed);
    }
    // Behind the seals: from here on the size stays what it is.
    let size = rustix::fs::fstat(file).map_err(|_| Unfit::NotMemory)?.st_size;
    usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Unfit::OutOfRange)
}

#[cfg(test)]
#[path = "shared_memory_tests.rs"]
mod tests;
