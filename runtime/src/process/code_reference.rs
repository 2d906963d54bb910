//! How one process names code to another that runs the same executable.
//!
//! A child is the same executable started again, but at other addresses: a function pointer means nothing there.
//! What means the same in both is a distance inside the image, so code is named by the offset of a constant
//! [`Entry`] from where the main executable is mapped. Nothing is registered: a generic impl that owns a
//! `const ENTRY: &'static Entry<fn(…)>` has one for every actor or task that the program uses.
//!
//! A reference comes from outside and may be anything. Before [`CodeReference::resolve`] makes a Rust reference of
//! it, let alone lets anybody call it, it asks in this order:
//!
//! 1. Does the whole entry lie in memory of the main executable that is readable and can never be written?
//!    Then nobody, a scribbling actor included, can have forged or changed it.
//! 2. Is it aligned, does it begin with the magic number, is it of the expected size: is it an entry at all?
//! 3. Is its fingerprint the one that the sender named?
//! 4. Is the function in it of the type that the caller is about to call?
//!
//! Whether both processes run the same executable is [`Image`]'s question, to be asked first of all.
#![allow(unsafe_code)] // It asks the loader where the image is, and makes references from checked addresses.

use std::any::TypeId;
use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Drawn at random once: no other constant begins with it by accident.
const MAGIC: u64 = 0x7b1e_93c5_d04a_f826;

/// The longest build id that is looked at, in bytes; linkers write 8, 16 or 20.
const LONGEST_BUILD_ID: usize = 64;

/// A piece of code that another process may name: a function pointer with what it takes to recognise it.
///
/// It must be a constant of the main executable, such as `const ENTRY: &'static Entry<fn()> = &Entry::new(…)` in a
/// generic impl. `M` is meant to be a plain function pointer type.
#[derive(Debug)]
#[repr(C)]
pub struct Entry<M: Copy + 'static> {
    magic: u64,
    size: u64,
    fingerprint: u64,
    /// Names `M`. A function, because a type's id cannot be put into a constant before Rust 1.91.
    kind: fn() -> TypeId,
    /// What to run.
    pub main: M,
}

impl<M: Copy + 'static> Entry<M> {
    /// An entry for `main`, recognised by a fingerprint of what it stands for.
    pub const fn new(fingerprint: u64, main: M) -> Self {
        Entry { magic: MAGIC, size: size_of::<Self>() as u64, fingerprint, kind: TypeId::of::<M>, main }
    }
}

/// The name of an [`Entry`], valid in every process that runs the same executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeReference {
    /// In bytes, from where the executable was linked to begin to where the entry is.
    offset: i64,
    fingerprint: u64,
}

impl CodeReference {
    /// Names an entry of this executable.
    ///
    /// # Errors
    ///
    /// [`CodeError::OutsideImage`] when the entry is not a constant of the main executable: it lies in a shared
    /// library, on the heap, or in memory that can be written.
    pub fn to<M: Copy + 'static>(entry: &'static Entry<M>) -> Result<CodeReference, CodeError> {
        let distance = ptr::from_ref(entry).addr().wrapping_sub(mapped()?.bias);
        let reference =
            CodeReference { offset: distance.cast_signed() as i64, fingerprint: entry.fingerprint };
        reference.resolve::<M>().map(|_| reference)
    }

    /// Finds the entry in this process.
    ///
    /// # Errors
    ///
    /// One for every way in which the reference may be wrong; no wrong reference is ever followed.
    pub fn resolve<M: Copy + 'static>(self) -> Result<&'static Entry<M>, CodeError> {
        let image = mapped()?;
        let address = isize::try_from(self.offset)
            .ok()
            .and_then(|offset| image.bias.checked_add_signed(offset))
            .ok_or(CodeError::OutsideImage)?;
        let end = address.checked_add(size_of::<Entry<M>>()).ok_or(CodeError::OutsideImage)?;
        if !image.constant.iter().any(|range| range.start <= address && end <= range.end) {
            return Err(CodeError::OutsideImage);
        }
        let pointer = ptr::with_exposed_provenance::<Entry<M>>(address);
        if !pointer.is_aligned() {
            return Err(CodeError::Misaligned);
        }
        // SAFETY: all of `*pointer` is aligned, readable and never written for as long as the process lives (it is
        // constant memory of the main executable, checked above), and every value of these bytes is a number.
        let (magic, size, found) = unsafe { ((*pointer).magic, (*pointer).size, (*pointer).fingerprint) };
        if magic != MAGIC || size != size_of::<Entry<M>>() as u64 {
            return Err(CodeError::NotAnEntry);
        }
        if found != self.fingerprint {
            return Err(CodeError::OtherCode { expected: self.fingerprint, found });
        }
        // SAFETY: as above; and constant memory that begins with the magic number was made by `Entry::new`, for some
        // `M` of the same size. `kind` stands at the same place for all of them, so it is a function pointer.
        let kind = unsafe { (*pointer).kind };
        if kind() != TypeId::of::<M>() {
            return Err(CodeError::OtherFunctionType);
        }
        // SAFETY: as above, and it was made for this very `M`.
        Ok(unsafe { &*pointer })
    }
}

/// Refuses, when the program is compiled, a closure that captures variables.
///
/// Used as `const { assert_captures_nothing::<F>() }` wherever a closure or function is handed to another process:
/// its code is there too, but what it captured is not.
pub const fn assert_captures_nothing<F>() {
    assert!(
        size_of::<F>() == 0,
        "this closure captures variables; an actor or task runs in another process: pass what it needs as its argument"
    );
}

/// A function or closure that captures nothing, in a process that was given only its type.
pub fn conjure<F: Copy>() -> F {
    const { assert_captures_nothing::<F>() }
    // SAFETY: `F` has no size, so reading it reads no memory and any aligned address will do. That there is a value of
    // it was shown by the process that named it: it had one, and `Copy` makes one as good as another.
    unsafe { ptr::NonNull::<F>::dangling().read() }
}

/// Which executable a process runs, so that a child can see that it is its parent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    device: u64,
    inode: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
    /// What the linker wrote into the executable to tell it from every other; not all linkers do.
    build_id: Option<Vec<u8>>,
}

impl Image {
    /// The executable of this process: the file it was started from, even if that has been replaced or deleted since.
    ///
    /// # Errors
    ///
    /// When `/proc/self/exe` cannot be read, as where `/proc` is not mounted.
    pub fn of_this_process() -> io::Result<Image> {
        let file = std::fs::metadata("/proc/self/exe")?;
        Ok(Image {
            device: file.dev(),
            inode: file.ino(),
            changed_seconds: file.ctime(),
            changed_nanoseconds: file.ctime_nsec(),
            build_id: mapped().map_err(io::Error::other)?.build_id.clone(),
        })
    }

    /// Checks that `other` runs the same executable as this.
    ///
    /// A file whose change time differs is accepted when both carry the same build id: a new hard link or a `chmod`
    /// changes the time, but not the code.
    ///
    /// # Errors
    ///
    /// [`CodeError::OtherImage`] says in what they differ.
    pub fn check(&self, other: &Image) -> Result<(), CodeError> {
        let changed = |image: &Image| (image.changed_seconds, image.changed_nanoseconds);
        let difference = if self.build_id != other.build_id {
            "its build id"
        } else if (self.device, self.inode) != (other.device, other.inode) {
            "its device or inode"
        } else if self.build_id.is_none() && changed(self) != changed(other) {
            "its change time, and there is no build id to compare"
        } else {
            return Ok(());
        };
        Err(CodeError::OtherImage { difference })
    }
}

/// Why a piece of code cannot be named, or a name cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// The reference points outside the constants of the main executable.
    #[error(
        "the code is not a constant of the main executable: link it statically into the program instead of loading it \
         from a shared library, and do not turn RELRO off"
    )]
    OutsideImage,
    /// No entry can be where the reference points.
    #[error("the code reference is misaligned: it was damaged, or made by another executable")]
    Misaligned,
    /// There is something else where the reference points.
    #[error("the code reference does not lead to an entry: it was damaged, or made by another executable")]
    NotAnEntry,
    /// There is an entry, but of other code.
    #[error(
        "the code reference leads to other code (fingerprint {found:016x} instead of {expected:016x}): it was made by \
         another build; restart the whole program"
    )]
    OtherCode {
        /// What the reference names.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// There is the expected entry, but its function takes or gives something else than the caller expects.
    #[error("the code reference leads to a function of another type: resolve it as what it was made from")]
    OtherFunctionType,
    /// The two processes do not run the same executable.
    #[error(
        "the child runs another executable than its parent ({difference} differs): if the program was replaced while it \
         ran, restart all of it; actors of another executable are started by path and public name"
    )]
    OtherImage {
        /// In what they differ.
        difference: &'static str,
    },
    /// The loader does not say where the executable is.
    #[error(
        "the loader does not say where the executable is mapped: this platform cannot start actors from code"
    )]
    Unmapped,
}

/// Where the main executable is in this process.
struct Mapped {
    /// What the loader added to every address in the file.
    bias: usize,
    /// The addresses that are readable and that nobody can write.
    constant: Vec<Range<usize>>,
    build_id: Option<Vec<u8>>,
}

/// Asks the loader once; the main executable never moves.
fn mapped() -> Result<&'static Mapped, CodeError> {
    static MAPPED: OnceLock<Option<Mapped>> = OnceLock::new();
    MAPPED
        .get_or_init(|| main_program().map(|(bias, headers)| survey(bias, headers)))
        .as_ref()
        .ok_or(CodeError::Unmapped)
}

#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;

/// The load address and the program headers of the main executable.
fn main_program() -> Option<(usize, &'static [ProgramHeader])> {
    type Found = Option<(usize, &'static [ProgramHeader])>;

    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid `info` for the time of this call, and `found` is what was passed to
        // `dl_iterate_phdr` below. It describes the main executable first, which is never unloaded.
        unsafe {
            let info = &*info;
            if !info.dlpi_phdr.is_null() {
                let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
                *found.cast::<Found>() = usize::try_from(info.dlpi_addr).ok().map(|bias| (bias, headers));
            }
        }
        1 // Enough: only the first object is the main executable.
    }

    let mut found: Found = None;
    // SAFETY: `first` matches what the loader calls, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}

fn survey(bias: usize, headers: &[ProgramHeader]) -> Mapped {
    let of_type = |kind| headers.iter().filter(move |header| header.p_type == kind);
    let loaded = |wanted: u32, unwanted: u32| {
        of_type(libc::PT_LOAD)
            .filter(move |header| header.p_flags & wanted == wanted && header.p_flags & unwanted == 0)
            .filter_map(move |header| addresses(bias, header))
    };
    // Constants that hold addresses are written by the loader and then locked ("relocated, then read-only").
    let locked = of_type(libc::PT_GNU_RELRO).filter_map(|header| addresses(bias, header)).flat_map(|inner| {
        loaded(libc::PF_R, 0).filter_map(move |outer| {
            let both = inner.start.max(outer.start)..inner.end.min(outer.end);
            (!both.is_empty()).then_some(both)
        })
    });
    let constant: Vec<_> = loaded(libc::PF_R, libc::PF_W).chain(locked).collect();
    let build_id = of_type(libc::PT_NOTE)
        .filter_map(|header| Some((addresses(bias, header)?, usize::try_from(header.p_align).ok()?)))
        .filter(|(notes, _)| {
            constant.iter().any(|range| range.start <= notes.start && notes.end <= range.end)
        })
        .find_map(|(notes, align)| {
            let start = ptr::with_exposed_provenance::<u8>(notes.start);
            // SAFETY: the notes lie within memory of the main executable that is readable and never written.
            build_id_in(unsafe { std::slice::from_raw_parts(start, notes.len()) }, align)
        });
    Mapped { bias, constant, build_id }
}

/// Where the loader put what a header describes.
fn addresses(bias: usize, header: &ProgramHeader) -> Option<Range<usize>> {
    let start = bias.checked_add(usize::try_from(header.p_vaddr).ok()?)?;
    Some(start..start.checked_add(usize::try_from(header.p_memsz).ok()?)?)
}

/// Looks for the build id among ELF notes: each has three numbers (length of its name, of its content, its type), the
/// name, and the content, both padded.
fn build_id_in(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    const BUILD_ID: u32 = 3;
    let align = if align == 8 { 8 } else { 4 };
    loop {
        let number = |at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let name_length = usize::try_from(number(0)?).ok()?;
        let length = usize::try_from(number(4)?).ok()?;
        let kind = number(8)?;
        let content_at = 12usize.checked_add(name_length)?.checked_next_multiple_of(align)?;
        let content_end = content_at.checked_add(length)?;
        let name = notes.get(12..12 + name_length)?;
        let content = notes.get(content_at..content_end)?;
        if kind == BUILD_ID && name == b"GNU\0" && (1..=LONGEST_BUILD_ID).contains(&length) {
            return Some(content.to_vec());
        }
        notes = notes.get(content_end.checked_next_multiple_of(align)?..)?;
    }
}

#[cfg(test)]
#[path = "code_reference_tests.rs"]
mod tests;
