#![allow(clippy::unwrap_used)]

use super::*;

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;
use serde::{Deserialize, Serializer};

const LIMIT: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    New(u64),
    Tuple(i32, String),
    Named { text: Option<String>, bytes: Vec<u8> },
    Nested(Vec<Shape>),
}

type Plain = (BTreeMap<u16, Option<String>>, Vec<(i64, bool)>, char);

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Unit),
        any::<u64>().prop_map(Shape::New),
        (any::<i32>(), ".{0,9}").prop_map(|(n, text)| Shape::Tuple(n, text)),
        (prop::option::of(".{0,9}"), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(text, bytes)| Shape::Named { text, bytes }),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Shape::Nested))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(i16, u16);

/// Each kind of value that serde knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct All {
    small: (bool, i8, u8),
    numbers: (Pair, i32, u32, i64, u64, i128, u128),
    real: (f32, f64),
    text: (char, String),
    nothing: (Nothing, (), Option<u64>),
    something: Option<Option<i64>>,
    new: Shape,
    array: [u32; 3],
    map: BTreeMap<i64, Vec<u16>>,
    shape: Shape,
}

impl All {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // Any number does.
    fn of(n: i64, shape: Shape) -> All {
        let without_sign = n.cast_unsigned();
        All {
            small: (n % 2 == 0, n as i8, without_sign as u8),
            numbers: (
                Pair(n as i16, without_sign as u16),
                n as i32,
                without_sign as u32,
                n,
                without_sign,
                i128::from(n) << 60,
                u128::from(without_sign) << 60,
            ),
            real: (n as f32, n as f64),
            text: (char::from(without_sign as u8), n.to_string()),
            nothing: (Nothing, (), None),
            something: Some(Some(n)),
            new: Shape::New(without_sign),
            array: [0, 127, 128],
            map: BTreeMap::from([(n, vec![without_sign as u16; 3])]),
            shape,
        }
    }
}

/// Writes something, and then refuses.
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element("something")?;
        Err(S::Error::custom("no"))
    }
}

/// Does not know its own length.
struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..3_u8).filter(|n| n % 2 == 0))
    }
}

struct Shown;

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shown")
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn encoding_stops_at_its_limit_and_leaves_the_buffer_as_it_was() {
    let value = vec![7_u8; 100];
    let mut out = b"before".to_vec();
    assert_eq!(encode_into(&value, &mut out, 100), Err(EncodeError::TooLarge(100)));
    assert_eq!(out, b"before");
    encode_into(&value, &mut out, 101).unwrap();
    assert_eq!(out.len(), 6 + 101, "the limit is for the body and not for what is before it");
    assert_eq!(encode(&(), 0), Ok(vec![]));
    assert_eq!(encode(&0_u8, 0), Err(EncodeError::TooLarge(0)));
    assert_eq!(encode("text", usize::MAX).unwrap(), b"\x04text");
}

#[test]
fn a_value_far_beyond_the_limit_takes_no_memory_for_it() {
    let mut out = Vec::new();
    assert_eq!(encode_into(&vec!["0123456789"; 1_000_000], &mut out, 1000), Err(EncodeError::TooLarge(1000)));
    assert!(out.is_empty() && out.capacity() <= 4096);
    let long = "x".repeat(10 << 20);
    assert_eq!(encode_into(&long, &mut out, 1000), Err(EncodeError::TooLarge(1000)));
    assert!(out.is_empty() && out.capacity() <= 4096);
}

#[test]
fn a_value_that_refuses_to_be_written_leaves_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    assert!(matches!(encode_into(&Refuses, &mut out, LIMIT), Err(EncodeError::Unencodable(_))));
    assert!(matches!(encode_into(&Endless, &mut out, LIMIT), Err(EncodeError::Unencodable(_))));
    assert_eq!(out, b"before");
    assert_eq!(decode::<String>(&encode(&Shown, LIMIT).unwrap()).unwrap(), "shown");
}

#[test]
fn what_is_left_over_is_an_error() {
    let mut bytes = encode(&(1_u8, "two"), LIMIT).unwrap();
    assert_eq!(decode::<(u8, String)>(&bytes), Ok((1, "two".into())));
    bytes.extend_from_slice(&[0, 0]);
    assert_eq!(decode::<(u8, String)>(&bytes), Err(DecodeError::LeftOver(2)));
    assert_eq!(decode_nested::<(u8, String)>(&bytes), Err(DecodeError::LeftOver(2)));
    assert_eq!(decode::<()>(&[0]), Err(DecodeError::LeftOver(1)));
    assert_eq!(decode::<()>(&[]), Ok(()));
}

#[test]
fn a_claimed_length_is_an_error_and_no_allocation() {
    // A sequence, string or map of 2^63 elements: allocating for it would end the process here.
    let claim = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2];
    assert!(matches!(decode::<Vec<u64>>(&claim), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode::<Vec<[u64; 16]>>(&claim), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode::<String>(&claim), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode::<BTreeMap<u8, u8>>(&claim), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_nested::<Vec<u64>>(&claim), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_nested::<String>(&claim), Err(DecodeError::Malformed(_))));
}

#[test]
fn a_recursive_type_is_read_to_the_depth_limit() {
    // Each level is the enum and the vector in it.
    let nested = |levels: u16| (0..levels).fold(Shape::Unit, |inner, _| Shape::Nested(vec![inner]));
    let deepest = nested(DEPTH_LIMIT / 2 - 1);
    assert_eq!(decode_nested::<Shape>(&encode(&deepest, LIMIT).unwrap()), Ok(deepest));
    let deeper = encode(&nested(DEPTH_LIMIT / 2), LIMIT).unwrap();
    assert!(matches!(decode_nested::<Shape>(&deeper), Err(DecodeError::Malformed(_))));
    let bomb = [4, 1].repeat(25_000);
    assert!(matches!(decode_nested::<Shape>(&bomb), Err(DecodeError::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_and_every_truncation_of_it_is_an_error(shape in shapes()) {
        let bytes = encode(&shape, LIMIT).unwrap();
        prop_assert_eq!(decode_nested::<Shape>(&bytes), Ok(shape.clone()));
        prop_assert_eq!(decode::<Shape>(&bytes), Ok(shape));
        for end in 0..bytes.len() {
            prop_assert!(matches!(decode_nested::<Shape>(&bytes[..end]), Err(DecodeError::Malformed(_))));
        }
    }

    #[test]
    fn encoding_appends_exactly_within_any_limit(shape in shapes(), limit in 0..300_usize) {
        let bytes = encode(&shape, LIMIT).unwrap();
        let mut out = vec![1, 2, 3];
        let result = encode_into(&shape, &mut out, limit);
        if bytes.len() <= limit {
            prop_assert_eq!((result, &out[..3], &out[3..]), (Ok(()), &[1, 2, 3][..], &bytes[..]));
        } else {
            prop_assert_eq!((result, out), (Err(EncodeError::TooLarge(limit)), vec![1, 2, 3]));
        }
    }

    #[test]
    fn what_is_written_in_place_is_the_same_in_any_room(shape in shapes(), number in any::<i64>(), shift in 0..64_u32, room in 0..300_usize) {
        let all = All::of(number >> shift, shape);
        let bytes = encode(&all, LIMIT).unwrap();
        let mut place = vec![0xee; room];
        let used = encode_within(&all, &mut place);
        prop_assert_eq!(used, (bytes.len() <= room).then_some(bytes.len()));
        if let Some(used) = used {
            prop_assert_eq!(&place[..used], &bytes[..]);
            prop_assert!(place[used..].iter().all(|byte| *byte == 0xee));
        }
        prop_assert_eq!(decode_nested::<All>(&bytes), Ok(all));
    }

    #[test]
    fn numbers_of_any_bytes_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        type Numbers = (u16, i16, u32, i32, u64, i64);
        prop_assert_eq!(decode::<Numbers>(&bytes), decode_nested::<Numbers>(&bytes));
        // Half of all bytes go on: those that end soon are more often numbers.
        let tame: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| if at % 3 == 2 { byte & 0x7f } else { *byte }).collect();
        for end in 0..=tame.len() {
            prop_assert_eq!(decode::<Numbers>(&tame[..end]), decode_nested::<Numbers>(&tame[..end]));
            prop_assert_eq!(decode::<(u16, Vec<u64>)>(&tame[..end]), decode_nested::<(u16, Vec<u64>)>(&tame[..end]));
        }
    }

    #[test]
    fn garbage_never_panics_and_both_readers_agree(bytes in prop::collection::vec(0..9_u8, 0..100)) {
        prop_assert_eq!(decode::<Plain>(&bytes), decode_nested::<Plain>(&bytes));
        prop_assert_eq!(decode::<Shape>(&bytes[..bytes.len().min(60)]), decode_nested::<Shape>(&bytes[..bytes.len().min(60)]));
        let _ = decode::<String>(&bytes);
    }

    #[test]
    fn bytes_of_any_value_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(decode::<Plain>(&bytes), decode_nested::<Plain>(&bytes));
        let _ = decode_nested::<Shape>(&bytes);
    }
}
