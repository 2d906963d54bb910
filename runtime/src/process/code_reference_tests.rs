#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Stands for any generic type of a user: one entry for each instantiation.
struct Size<T>(T);

impl<T: 'static> Size<T> {
    const ENTRY: &'static Entry<fn() -> usize> = &Entry::new(0xabc0 + size_of::<T>() as u64, size_of::<T>);
}

// A static, so that there is exactly one of it.
static ONLY: Entry<fn() -> u32> = Entry::new(0x5eed, || 42);

fn moved(by: i64) -> CodeReference {
    let valid = CodeReference::to(&ONLY).unwrap();
    CodeReference { offset: valid.offset.wrapping_add(by), ..valid }
}

#[test]
fn each_instantiation_of_a_generic_has_a_reference_of_its_own() {
    let narrow = CodeReference::to(Size::<u8>::ENTRY).unwrap();
    let wide = CodeReference::to(Size::<[u64; 3]>::ENTRY).unwrap();
    assert_ne!(narrow, wide);
    assert_eq!((narrow.resolve::<fn() -> usize>().unwrap().main)(), 1);
    assert_eq!((wide.resolve::<fn() -> usize>().unwrap().main)(), 24);
}

#[test]
fn every_offset_around_a_valid_one_is_refused() {
    assert_eq!((moved(0).resolve::<fn() -> u32>().unwrap().main)(), 42);
    for by in (-70_000..70_000).filter(|by| *by != 0) {
        assert!(moved(by).resolve::<fn() -> u32>().is_err(), "{by} bytes off");
    }
    for by in [1, 2, 4, 7] {
        assert_eq!(moved(by).resolve::<fn() -> u32>().unwrap_err(), CodeError::Misaligned);
    }
    assert_eq!(moved(8).resolve::<fn() -> u32>().unwrap_err(), CodeError::NotAnEntry);
}

#[test]
fn an_entry_that_would_reach_past_its_segment_is_refused() {
    let image = mapped().unwrap();
    for range in &image.constant {
        for missing in 1..size_of::<Entry<fn()>>().min(range.len()) {
            let start = range.end - size_of::<Entry<fn()>>() + missing;
            let reference =
                CodeReference { offset: start.wrapping_sub(image.bias) as i64, fingerprint: 0x5eed };
            assert_eq!(reference.resolve::<fn()>().unwrap_err(), CodeError::OutsideImage);
        }
        for edge in [range.start, range.end] {
            for by in -100_i64..100 {
                let offset = edge.wrapping_sub(image.bias) as i64 + by;
                let reference = CodeReference { offset, fingerprint: 0x5eed };
                assert!(reference.resolve::<fn() -> u32>().is_err() || offset == moved(0).offset);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_wrong_offset_is_refused_and_none_crashes(far in any::<i64>(), near in -20_000_000_i64..20_000_000) {
        for offset in [far, near, i64::MAX - near.abs(), i64::MIN + near.abs()] {
            let reference = CodeReference { offset, fingerprint: 0x5eed };
            prop_assert!(reference.resolve::<fn() -> u32>().is_err() || offset == moved(0).offset);
        }
    }

    #[test]
    fn notes_may_hold_anything(notes in prop::collection::vec(any::<u8>(), 0..64), align in 0_usize..10) {
        build_id_in(&notes, align);
    }
}

#[test]
fn another_fingerprint_or_function_type_is_refused() {
    let other = CodeReference { fingerprint: 1, ..moved(0) };
    let refused = other.resolve::<fn() -> u32>().unwrap_err();
    assert_eq!(refused, CodeError::OtherCode { expected: 1, found: 0x5eed });
    assert_eq!(moved(0).resolve::<fn() -> u64>().unwrap_err(), CodeError::OtherFunctionType);
    assert_eq!(moved(0).resolve::<u64>().unwrap_err(), CodeError::OtherFunctionType);
    assert_eq!(moved(0).resolve::<u32>().unwrap_err(), CodeError::OtherFunctionType);
    assert_eq!(moved(0).resolve::<[u64; 2]>().unwrap_err(), CodeError::NotAnEntry);
}

#[test]
fn a_constant_with_another_magic_number_is_no_entry() {
    static ALMOST: Entry<fn()> = Entry { magic: MAGIC ^ 1, ..Entry::new(0x5eed, || ()) };
    assert_eq!(CodeReference::to(&ALMOST), Err(CodeError::NotAnEntry));
}

#[test]
fn an_entry_that_is_not_a_constant_cannot_be_named() {
    static WRITABLE: OnceLock<Entry<fn() -> u32>> = OnceLock::new();
    let in_writable_memory = WRITABLE.get_or_init(|| Entry::new(0x5eed, || 1));
    let on_the_heap = Box::leak(Box::new(Entry::<fn() -> u32>::new(0x5eed, || 2)));
    assert_eq!(CodeReference::to(in_writable_memory), Err(CodeError::OutsideImage));
    assert_eq!(CodeReference::to(on_the_heap), Err(CodeError::OutsideImage));
}

#[test]
fn the_executable_started_again_resolves_the_same_reference() {
    const NAME: &str = "the_executable_started_again_resolves_the_same_reference";
    const TOLD: &str = "WATERTIGHT_TEST_CODE_REFERENCE";
    let (here, image) =
        (CodeReference::to(Size::<[u8; 77]>::ENTRY).unwrap(), Image::of_this_process().unwrap());
    let as_text = format!("{here:?} {image:?}");
    let Some(told) = std::env::var_os(TOLD) else {
        let path = module_path!().split_once("::").unwrap().1;
        let child = Command::new("/proc/self/exe")
            .args([&format!("{path}::{NAME}"), "--exact", "--nocapture", "--test-threads=1"])
            .env(TOLD, as_text)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && printed.contains("resolved to 77"), "{child:?}");
        return;
    };
    assert_eq!(told.to_str().unwrap(), as_text);
    println!("resolved to {}", (here.resolve::<fn() -> usize>().unwrap().main)());
}

#[test]
fn images_are_the_same_only_when_nothing_that_matters_differs() {
    let image = |inode, changed_seconds, build_id: Option<&[u8]>| Image {
        device: 1,
        inode,
        changed_seconds,
        changed_nanoseconds: 5,
        build_id: build_id.map(<[u8]>::to_vec),
    };
    let same = |one: Image, other: Image| one.check(&other).is_ok() && other.check(&one).is_ok();
    assert!(same(image(2, 3, None), image(2, 3, None)));
    assert!(same(image(2, 3, Some(b"a")), image(2, 4, Some(b"a"))), "a new hard link changes the time");
    assert!(!same(image(2, 3, None), image(2, 4, None)));
    assert!(!same(image(2, 3, Some(b"a")), image(2, 3, Some(b"b"))));
    assert!(!same(image(2, 3, Some(b"a")), image(2, 3, None)));
    assert!(!same(image(2, 3, Some(b"a")), image(7, 3, Some(b"a"))));
}

#[test]
fn the_build_id_is_found_behind_other_notes() {
    let note = |kind: u32, name: &[u8], content: &[u8]| {
        let lengths = [name.len() as u32, content.len() as u32, kind];
        let mut bytes: Vec<u8> = lengths.iter().flat_map(|n| n.to_ne_bytes()).collect();
        for part in [name, content] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    };
    let notes =
        [note(1, b"GNU\0", &[0; 16]), note(3, b"Go\0\0", b"xy"), note(3, b"GNU\0", b"an id")].concat();
    assert_eq!(build_id_in(&notes, 4).unwrap(), b"an id");
    assert_eq!(build_id_in(&notes[..notes.len() - 5], 4), None);
    assert_eq!(build_id_in(&note(3, b"GNU\0", &[1; 65]), 4), None);
}
