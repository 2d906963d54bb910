#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

fn sealed(content: &[u8]) -> Sealed {
    Sealed::write(|writer| writer.write_all(content)).unwrap()
}

/// A memory file of that many bytes with these seals, as anybody might send one.
fn forged(length: u64, seals: SealFlags) -> OwnedFd {
    let file = create("forged").unwrap();
    rustix::fs::ftruncate(&file, length).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

fn twin(file: &OwnedFd) -> OwnedFd {
    file.try_clone().unwrap()
}

#[test]
fn what_was_written_is_read_by_whoever_gets_the_descriptor() {
    let ours = sealed(b"content");
    let theirs = Sealed::open(twin(ours.file())).unwrap();
    assert_eq!((theirs.bytes(), theirs.len()), (&b"content"[..], 7));
    let built = Sealed::build(10_000, |bytes| {
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes[9_999] = 9;
    });
    assert_eq!(Sealed::open(twin(built.unwrap().file())).unwrap().bytes()[9_999], 9);
}

#[test]
fn nobody_can_change_cut_extend_or_map_it_for_writing_any_more() {
    let sealed = sealed(b"content");
    let file = sealed.file();
    assert_eq!(rustix::io::pwrite(file, b"x", 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(file, 3), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(file, 30), Err(Errno::PERM));
    assert!(Mapping::new(file, 7, ProtFlags::READ | ProtFlags::WRITE).is_err());
    assert!(Shared::open(twin(file), true).is_err());
}

#[test]
fn a_file_that_lacks_a_seal_is_refused() {
    for seal in [SealFlags::WRITE, SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
        let refused = Sealed::open(forged(4096, CONTENT.difference(seal))).unwrap_err();
        assert!(matches!(refused, Unfit::Unsealed), "without {seal:?}: {refused}");
    }
    assert!(Sealed::open(forged(4096, CONTENT)).is_ok());
    for seal in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
        let refused = Shared::open(forged(4096, SIZE.difference(seal)), true).unwrap_err();
        assert!(matches!(refused, Unfit::Unsealed), "without {seal:?}: {refused}");
    }
    assert!(Shared::open(forged(4096, SIZE), true).is_ok());
}

#[test]
fn a_file_cut_to_nothing_or_none_in_memory_is_refused() {
    assert!(matches!(Sealed::open(forged(0, CONTENT)).unwrap_err(), Unfit::OutOfRange));
    let ordinary: OwnedFd = tempfile::tempfile().unwrap().into();
    assert!(matches!(Sealed::open(ordinary).unwrap_err(), Unfit::NotMemory));
    let socket = crate::process::descriptors::socket_pair().unwrap().0;
    assert!(matches!(Shared::open(socket, true).unwrap_err(), Unfit::NotMemory));
}

#[test]
fn it_is_mapped_when_it_is_looked_at_and_not_before() {
    let sealed = sealed(&[7; 10_000]);
    let received = Sealed::open(twin(sealed.file())).unwrap();
    assert!(received.content.get().is_none());
    assert_eq!(received.bytes()[9_999], 7);
    assert!(matches!(received.content.get(), Some(Content::Mapped(_))));
    assert_eq!(sealed.copy().unwrap(), received.bytes());
}

#[test]
fn a_builder_that_panics_leaves_nothing_behind() {
    let open = || {
        std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("panics"))
        })
    };
    let file = create("panics").unwrap();
    allocate(&file, 4096).unwrap();
    let built = catch_unwind(AssertUnwindSafe(|| {
        let mut mapping = Mapping::new(&file, 4096, ProtFlags::READ | ProtFlags::WRITE).unwrap();
        mapping.bytes_mut()[0] = 1;
        panic!("told to panic");
    }));
    assert!(built.is_err());
    // No writable mapping is left: else this would be refused.
    rustix::fs::fcntl_add_seals(&file, CONTENT).unwrap();
    drop(file);
    assert_eq!(open().count(), 0);
}

#[test]
fn more_than_there_is_memory_for_is_an_error() {
    assert!(Sealed::build(usize::MAX / 2, |_| {}).is_err());
    assert!(Shared::create(usize::MAX / 2).is_err());
}

#[test]
fn numbers_written_by_one_mapping_are_read_by_another() {
    use crate::process::plain::Plain;
    fn store<T: Plain>(cell: &T::Atomic, value: T) {
        value.store(cell);
    }
    let ours = Shared::create(100 * 8).unwrap();
    let theirs = Shared::open(twin(ours.file()), false).unwrap();
    store(&ours.cells::<f64>()[99], 1.5);
    assert_eq!(f64::from_bits(theirs.cells::<u64>()[99].load(std::sync::atomic::Ordering::Relaxed)), 1.5);
    let again = theirs.writable().unwrap();
    store(&again.cells::<i16>()[0], -2_i16);
    assert_eq!(ours.cells::<u8>()[0].load(std::sync::atomic::Ordering::Relaxed), 0xfe);
    assert_eq!((ours.cells::<u64>().len(), ours.cells::<i16>().len()), (100, 400));
}
