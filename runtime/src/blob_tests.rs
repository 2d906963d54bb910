#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::de::DeserializeOwned;

use super::*;
use crate::wire::codec::{self, DecodeError};

/// What a value becomes in a body, with its descriptors as the kernel would hand them over.
fn written(value: &impl Serialize) -> (Vec<u8>, Vec<OwnedFd>) {
    let (body, beside) = passing::collecting(|| codec::encode(value, 1 << 20));
    (body.unwrap(), beside.iter().map(|one| one.try_clone().unwrap()).collect())
}

fn read<T: DeserializeOwned>(body: &[u8], beside: Vec<OwnedFd>) -> Result<T, DecodeError> {
    let nested = passing::with(beside.iter().map(|one| one.try_clone().unwrap()).collect(), || {
        codec::decode_nested::<T>(body).map(drop)
    });
    let plain = passing::with(beside, || codec::decode(body));
    assert_eq!(nested.is_ok(), plain.is_ok());
    plain
}

fn arrived<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let (body, beside) = written(value);
    read(&body, beside).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn large() -> Blob {
    Blob::from_bytes(&pattern(1 << 20)).unwrap()
}

#[test]
fn whatever_it_is_made_of_it_has_the_same_bytes_there_as_here() {
    for length in [0, 1, 7, 8, INLINE - 1, INLINE, INLINE + 1, PIECE, 3 * PIECE + 5] {
        let bytes = pattern(length);
        let blobs = [
            Blob::from_bytes(&bytes).unwrap(),
            Blob::build(length, |room| room.copy_from_slice(&bytes)).unwrap(),
            Blob::read_from(&bytes[..]).unwrap(),
        ];
        for blob in blobs {
            assert_eq!((blob.len(), blob.is_empty()), (length, length == 0));
            assert_eq!(blob.as_slice(), bytes);
            assert_eq!(matches!(blob.storage, Storage::Shared(_)), length > INLINE);
            assert_eq!(arrived(&blob), blob);
            assert_eq!(arrived(&(1_u8, vec![blob.clone()], Some(blob.clone()))).2.unwrap().as_slice(), bytes);
        }
    }
}

#[test]
fn a_small_one_needs_no_descriptor_and_a_large_one_no_room_in_the_body() {
    let (body, beside) = written(&Blob::from_bytes(&pattern(INLINE)).unwrap());
    assert_eq!((body.len() > INLINE, beside.len()), (true, 0));
    let (body, beside) = written(&large());
    assert_eq!((body.len() < 16, beside.len()), (true, 1));
    // A small part of a large one keeps nothing of it alive over there.
    let (body, beside) = written(&large().slice(1000..1010).unwrap());
    assert_eq!((body.len() < 16, beside.len()), (true, 0));
}

#[test]
fn a_part_is_in_the_same_memory_there_and_here() {
    let whole = large();
    let part = whole.slice(100_000..200_000).unwrap().slice(1..).unwrap();
    assert_eq!(part.as_ptr(), &raw const whole[100_001]);
    assert_eq!(arrived(&part).as_slice(), &whole[100_001..200_000]);
    assert_eq!(whole.slice(..).unwrap(), whole);
    assert_eq!(whole.slice(5..=5).unwrap().as_slice(), &whole[5..6]);
    assert!(whole.slice(whole.len()..).unwrap().is_empty());
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 2..1;
    assert!(part.slice(..100_000).is_none() && part.slice(backwards).is_none());
    assert!(part.slice(usize::MAX..).is_none() && part.slice(..=usize::MAX).is_none());
}

#[test]
fn numbers_are_seen_in_place_and_what_is_misaligned_is_refused() {
    for count in [10, 100_000] {
        let numbers: Vec<f64> = (0..count).map(|n| f64::from(n) / 2.0).collect();
        let blob = arrived(&Blob::from_values(&numbers).unwrap());
        assert_eq!(blob.view::<f64>().unwrap(), numbers);
        assert_eq!(blob.view::<u8>().unwrap(), blob.as_slice());
        assert_eq!(blob.slice(8..24).unwrap().view::<f64>().unwrap(), &numbers[1..3]);
        assert_eq!(blob.slice(4..12).unwrap().view::<f64>(), Err(ViewError::Misaligned(8)));
        assert_eq!(blob.slice(..12).unwrap().view::<i64>(), Err(ViewError::Length { bytes: 12, size: 8 }));
    }
}

/// A body that names this part of the file at this place.
fn forged(place: u8, start: u64, length: u64, file: OwnedFd) -> Result<Blob, DecodeError> {
    let body = codec::encode(&Written::Shared { place, start, length }, 100).unwrap();
    read(&body, vec![file])
}

fn file_of(blob: &Blob) -> OwnedFd {
    let Storage::Shared(memory) = &blob.storage else { panic!("it is not shared") };
    memory.file().try_clone().unwrap()
}

fn refused(blob: Result<Blob, DecodeError>) -> String {
    blob.unwrap_err().to_string()
}

#[test]
fn a_forged_part_is_refused() {
    let whole = large();
    let size = whole.len() as u64;
    assert_eq!(forged(0, 5, size - 5, file_of(&whole)).unwrap().as_slice(), &whole[5..]);
    for (start, length) in
        [(0, size + 1), (1, size), (size, 1), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
    {
        let why = refused(forged(0, start, length, file_of(&whole)));
        assert!(why.contains("does not have"), "{start} {length}: {why}");
    }
    let why = refused(forged(1, 0, 1, file_of(&whole)));
    assert!(why.contains("did not come"), "{why}");
}

#[test]
fn memory_that_its_sender_could_still_change_or_has_cut_is_refused() {
    let file = rustix::fs::memfd_create("loose", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, 1 << 20).unwrap();
    let why = refused(forged(0, 0, 1 << 20, file.try_clone().unwrap()));
    assert!(why.contains("not sealed"), "{why}");
    // Cut behind the sender's back, then sealed: the size counts, not what the message says.
    rustix::fs::ftruncate(&file, 1 << 10).unwrap();
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all).unwrap();
    let why = refused(forged(0, 0, 1 << 20, file));
    assert!(why.contains("does not have"), "{why}");
    let why = refused(forged(0, 0, 1, std::fs::File::open("/dev/zero").unwrap().into()));
    assert!(why.contains("not a memory file"), "{why}");
}

#[test]
fn outside_of_a_message_a_large_one_does_not_encode_and_says_why() {
    let why = codec::encode(&large(), 1000).unwrap_err().to_string();
    assert!(why.contains("travels only in messages"), "{why}");
    assert!(codec::encode(&Blob::from_bytes(b"small").unwrap(), 1000).is_ok());
    let many = vec![large(); passing::LIMIT + 1];
    let why = passing::collecting(|| codec::encode(&many, 1000)).0.unwrap_err().to_string();
    assert!(why.contains("at most 16"), "{why}");
    // An error of another kind is not taken for that one.
    #[derive(Deserialize, Debug)]
    struct Two(#[allow(dead_code)] u8, #[allow(dead_code)] u8);
    let why = codec::decode::<Two>(&[1]).unwrap_err().to_string();
    assert!(!why.contains("travels"), "{why}");
}

#[test]
fn its_content_is_compared_and_never_printed() {
    let (one, other) = (large(), large());
    assert_eq!(one, other);
    assert_ne!(one, one.slice(1..).unwrap());
    assert_eq!(one.clone(), one);
    assert_eq!(format!("{one:?}"), "Blob(1048576 bytes)");
}

#[test]
fn the_schema_is_of_what_is_written() {
    // Variants in the order in which they are declared: the first byte says which.
    assert_eq!(written(&Blob::from_bytes(b"ab").unwrap()).0, [0, 2, b'a', b'b']);
    assert_eq!(written(&large()).0[..3], [1, 0, 0]);
    let DataModelType::Enum([copied, shared]) = Blob::SCHEMA.ty else { panic!("{:?}", Blob::SCHEMA) };
    assert_eq!((copied.name, shared.name), ("Copied", "Shared"));
}

#[test]
fn what_owns_a_descriptor_is_found_in_every_corner_of_a_schema() {
    use crate::schema::owns_descriptors;
    use std::collections::BTreeMap;
    #[derive(postcard_schema::Schema)]
    #[allow(dead_code)]
    struct Named<T> {
        number: u8,
        inner: T,
    }
    #[derive(postcard_schema::Schema)]
    #[allow(dead_code)]
    enum Variants<A, B, C> {
        Nothing,
        One(A),
        Two(u8, B),
        Named { inner: C },
    }
    const FOUND: [bool; 13] = [
        owns_descriptors::<Blob>(),
        owns_descriptors::<crate::Array<f32>>(),
        owns_descriptors::<crate::ArrayPart<u8>>(),
        owns_descriptors::<Option<Blob>>(),
        owns_descriptors::<Vec<Vec<Blob>>>(),
        owns_descriptors::<(u8, Blob)>(),
        owns_descriptors::<[Blob; 2]>(),
        owns_descriptors::<BTreeMap<u8, Blob>>(),
        owns_descriptors::<Named<Named<Blob>>>(),
        owns_descriptors::<Variants<Blob, u8, u8>>(),
        owns_descriptors::<Variants<u8, Blob, u8>>(),
        owns_descriptors::<Variants<u8, u8, Blob>>(),
        owns_descriptors::<Result<u8, Blob>>(),
    ];
    assert_eq!(FOUND, [true; 13]);
    const NONE: [bool; 5] = [
        owns_descriptors::<()>(),
        owns_descriptors::<Named<Option<String>>>(),
        owns_descriptors::<Variants<Vec<u8>, [u64; 3], BTreeMap<u8, f32>>>(),
        owns_descriptors::<crate::ReplyTo<Blob>>(),
        owns_descriptors::<Result<(), (bool, char)>>(),
    ];
    assert_eq!(NONE, [false; 5]);
}
