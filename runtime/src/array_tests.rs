#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;

use super::*;
use crate::blob::Blob;
use crate::wire::codec;

/// What a value becomes in another process.
fn arrived<T: DeserializeOwned>(value: &impl Serialize) -> Result<T, String> {
    let (body, beside) = passing::collecting(|| codec::encode(value, 1000));
    let beside: Vec<OwnedFd> = beside.iter().map(|one| one.try_clone().unwrap()).collect();
    passing::with(beside, || codec::decode(&body.unwrap())).map_err(|error| error.to_string())
}

#[test]
fn what_a_part_writes_there_is_read_here() {
    let (array, whole) = Array::<f64>::new(1000).unwrap();
    let reader: Array<f64> = arrived(&array).unwrap();
    let mut parts = whole.split(4).into_iter().map(|part| arrived::<ArrayPart<f64>>(&part).unwrap());
    let mut second = parts.nth(1).unwrap();
    assert_eq!((second.range(), second.len()), (250..500, 250));
    second.set(0, 1.5).unwrap();
    second.copy_from_slice(248, &[2.5, 3.5]).unwrap();
    assert_eq!((reader.get(250), reader.get(498), reader.get(499)), (Ok(1.5), Ok(2.5), Ok(3.5)));
    assert_eq!((second.get(249), array.get(499), array.get(500)), (Ok(3.5), Ok(3.5), Ok(0.0)));
    parts.last().unwrap().fill(-1.0);
    let all = array.to_vec();
    assert!(all[750..].iter().all(|number| *number == -1.0) && all[500..750].iter().all(|n| *n == 0.0));
    let mut some = [0.0; 3];
    second.array().copy_to_slice(498, &mut some).unwrap();
    assert_eq!(some, [2.5, 3.5, 0.0]);
}

#[test]
fn every_number_type_keeps_its_values() {
    fn check<T: Plain>(values: &[T]) {
        let (array, mut part) = Array::<T>::new(values.len()).unwrap();
        part.copy_from_slice(0, values).unwrap();
        assert_eq!(array.to_vec(), values);
        let mut copy = vec![T::default(); values.len()];
        part.copy_to_slice(0, &mut copy).unwrap();
        assert_eq!(copy, values);
    }
    check(&[0, 1, u8::MAX]);
    check(&[0, 1, u16::MAX]);
    check(&[0, 1, u32::MAX]);
    check(&[0, 1, u64::MAX]);
    check(&[i8::MIN, -1, i8::MAX]);
    check(&[i16::MIN, -1, i16::MAX]);
    check(&[i32::MIN, -1, i32::MAX]);
    check(&[i64::MIN, -1, i64::MAX]);
    check(&[f32::MIN, -0.5, f32::INFINITY]);
    check(&[f64::MIN, -0.5, f64::INFINITY]);
}

#[test]
fn parts_are_disjoint_and_cover_all() {
    for (length, count) in [(10, 3), (3, 5), (1, 1), (64, 64), (7, 0)] {
        let ranges: Vec<_> =
            Array::<u8>::new(length).unwrap().1.split(count).iter().map(ArrayPart::range).collect();
        assert_eq!(ranges.len(), count);
        let covered: Vec<usize> = ranges.into_iter().flatten().collect();
        assert_eq!(covered, (0..if count > 0 { length } else { 0 }).collect::<Vec<_>>());
    }
    let (first, rest) = Array::<u8>::new(10).unwrap().1.split_at(99);
    assert_eq!((first.range(), rest.range(), rest.is_empty()), (0..10, 10..10, true));
}

#[test]
fn what_is_out_of_range_is_refused_and_nothing_is_written() {
    let (array, whole) = Array::<u32>::new(10).unwrap();
    let (mut first, _) = whole.split_at(4);
    assert_eq!(first.set(4, 1), Err(OutOfRange { from: 4, to: 5, length: 4 }));
    assert!(first.copy_from_slice(3, &[1, 1]).is_err());
    assert!(first.copy_from_slice(usize::MAX, &[1]).is_err());
    assert!(first.get(4).is_err() && array.get(10).is_err());
    assert!(array.copy_to_slice(9, &mut [0, 0]).is_err());
    assert!(array.reclaim(4..11).is_err());
    assert_eq!(array.to_vec(), [0; 10]);
    assert!(Array::<u32>::new(0).is_err() && Array::<u32>::new(usize::MAX).is_err());
}

#[test]
fn a_part_can_be_reclaimed_after_a_death() {
    let (array, part) = Array::<u16>::new(10).unwrap();
    // Its holder received it, and is no more.
    drop(arrived::<ArrayPart<u16>>(&part).unwrap());
    let reader: Array<u16> = arrived(&array).unwrap();
    let mut again = reader.reclaim(2..5).unwrap();
    again.fill(7);
    assert_eq!(array.to_vec(), [0, 0, 7, 7, 7, 0, 0, 0, 0, 0]);
}

#[test]
fn forged_parts_and_foreign_memory_are_refused() {
    /// A part of whatever memory this is.
    struct Forged<'a>(&'a std::sync::Arc<OwnedFd>, u64, u64);
    impl Serialize for Forged<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (passing::put(self.0).unwrap(), self.1, self.2).serialize(serializer)
        }
    }
    let (array, _whole) = Array::<u64>::new(10).unwrap();
    let file = array.memory.file();
    assert!(arrived::<ArrayPart<u64>>(&Forged(file, 3, 10)).is_ok());
    for (start, end) in [(0, 11), (11, 12), (5, 4), (u64::MAX, u64::MAX), (0, u64::MAX)] {
        let why = arrived::<ArrayPart<u64>>(&Forged(file, start, end)).unwrap_err();
        assert!(why.contains("does not have"), "{start} {end}: {why}");
    }
    let unsealed = std::sync::Arc::new(
        rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap(),
    );
    rustix::fs::ftruncate(&*unsealed, 80).unwrap();
    let why = arrived::<ArrayPart<u64>>(&Forged(&unsealed, 0, 10)).unwrap_err();
    assert!(why.contains("not sealed"), "{why}");
    // A blob that somebody hopes to write to.
    let blob = Blob::from_bytes(&[1; 100_000]).unwrap();
    let (body, beside) = passing::collecting(|| codec::encode(&blob, 1000));
    body.unwrap();
    let why = arrived::<ArrayPart<u64>>(&Forged(&beside[0], 0, 10)).unwrap_err();
    assert!(why.contains("cannot be mapped"), "{why}");
}
