#![allow(clippy::unwrap_used)]

use super::*;

use std::convert::Infallible;

use proptest::prelude::*;

const LIMIT: usize = 4096;
const KINDS: [Kind; 7] =
    [Kind::Tell, Kind::Ask, Kind::Answer, Kind::Adopt, Kind::Ack, Kind::Reply, Kind::Forwarded];

fn header(kind: Kind, sequence: u64) -> Header {
    Header {
        kind,
        flags: 1,
        attempt: 2,
        descriptors: 3,
        sequence: Sequence(sequence),
        key: MessageKey(!sequence),
    }
}

fn written(header: &Header, extensions: &ExtensionSet<'_>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = append(&mut bytes, header, extensions, |log| {
        log.extend_from_slice(body);
        Ok::<_, Infallible>(())
    });
    assert_eq!(length, Ok(bytes.len()));
    bytes
}

/// A frame whose extensions are these very bytes.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let mut bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"");
    bytes.extend_from_slice(extensions);
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[24..26].copy_from_slice(&u16::try_from(extensions.len()).unwrap().to_le_bytes());
    bytes
}

fn error_of(bytes: &[u8]) -> FrameError {
    parse(bytes, LIMIT).unwrap_err()
}

fn chain(links: u64) -> Vec<ChainLink> {
    let link = |n| ChainLink { actor: ActorId(n), link: LinkId(n + 1), sequence: Sequence(n + 2) };
    (0..links).map(link).collect()
}

#[test]
fn the_layout_is_the_documented_one() {
    let header = Header { sequence: Sequence(0x0102), key: MessageKey(0x0304), ..header(Kind::Ask, 0) };
    let bytes = written(&header, &ExtensionSet { deadline: Some(5), chain: &[] }, b"body");
    let expected = [
        &[44, 0, 0, 0, 2, 1, 2, 3][..],
        &[2, 1, 0, 0, 0, 0, 0, 0],
        &[4, 3, 0, 0, 0, 0, 0, 0],
        &[12, 0, 0, 0],
        &[1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        b"body",
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_length_beyond_the_limit_is_refused_from_its_four_bytes_alone() {
    let too_long = u32::try_from(LIMIT + HEADER + 1).unwrap();
    let error = FrameError::TooLong { length: LIMIT + HEADER + 1, limit: LIMIT };
    assert_eq!(error_of(&too_long.to_le_bytes()), error);
    assert!(matches!(error_of(&[0xff; 4]), FrameError::TooLong { .. }));
    assert!(matches!(parse(&(too_long - 1).to_le_bytes(), LIMIT), Ok(None)));
}

#[test]
fn a_length_below_the_header_is_refused_from_its_four_bytes_alone() {
    for length in 0..HEADER {
        let bytes = u32::try_from(length).unwrap().to_le_bytes();
        assert_eq!(error_of(&bytes), FrameError::TooShort(length));
    }
}

#[test]
fn the_longest_frame_is_taken() {
    let bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), &[7; LIMIT]);
    assert_eq!(parse(&bytes, LIMIT).unwrap().unwrap().body, [7; LIMIT]);
    assert!(matches!(parse(&bytes, LIMIT - 1), Err(FrameError::TooLong { .. })));
}

#[test]
fn every_kind_is_read_back_and_every_other_is_refused() {
    let mut bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"");
    for byte in 0..=u8::MAX {
        bytes[4] = byte;
        match KINDS.into_iter().find(|kind| *kind as u8 == byte) {
            Some(kind) => {
                assert_eq!(parse(&bytes, LIMIT).unwrap().unwrap().header.kind, kind);
                assert_eq!(peek(&bytes).unwrap().1.kind, kind);
            }
            None => {
                assert_eq!(error_of(&bytes), FrameError::UnknownKind(byte));
                assert!(peek(&bytes).is_none());
            }
        }
    }
    let data = [Kind::Tell, Kind::Ask, Kind::Answer, Kind::Adopt];
    assert!(KINDS.into_iter().all(|kind| kind.is_data() == data.contains(&kind)));
}

#[test]
fn a_reply_that_is_cut_says_so_and_announces_nothing() {
    let header = Header {
        kind: Kind::Reply,
        flags: 0,
        attempt: 0,
        descriptors: 3,
        sequence: Sequence(9),
        key: MessageKey(0),
    };
    let mut bytes = Vec::new();
    append(&mut bytes, &header, &ExtensionSet::default(), |body| {
        body.extend_from_slice(b"places");
        Ok::<_, ()>(())
    })
    .unwrap();
    cut_reply(&mut bytes);
    let frame = parse(&bytes, 100).unwrap().unwrap();
    assert_eq!((frame.header.descriptors, frame.header.flags), (0, Status::ReplyCut as u8));
    assert_eq!((frame.header.sequence, frame.body), (Sequence(9), &b"places"[..]));
}

#[test]
fn every_status_is_read_back_and_every_other_is_refused() {
    let known: Vec<u8> = (0..=u8::MAX).filter(|byte| Status::from_byte(*byte).is_some()).collect();
    assert_eq!(known, (0..10).collect::<Vec<u8>>());
    assert!(known.iter().all(|byte| Status::from_byte(*byte).is_some_and(|s| s as u8 == *byte)));
}

#[test]
fn a_reserved_field_that_is_set_is_refused() {
    for at in [26, 27] {
        let mut bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"");
        bytes[at] = 1;
        assert_eq!(error_of(&bytes), FrameError::Reserved);
    }
}

#[test]
fn extensions_longer_than_their_frame_are_refused_before_the_frame_is_there() {
    let mut bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"four");
    bytes[24] = 5;
    assert_eq!(error_of(&bytes), FrameError::TooShort(32));
    assert_eq!(error_of(&bytes[..HEADER]), FrameError::TooShort(32));
    bytes[24] = 4;
    bytes[28..].copy_from_slice(&[99, 0, 0, 0]);
    assert_eq!(parse(&bytes, LIMIT).unwrap().unwrap().body, b"");
}

#[test]
fn an_unknown_extension_is_skipped_unless_it_is_critical() {
    let unknown = [99, 0, 2, 0, 1, 2];
    let deadline = [1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    let bytes = with_extensions(&[&unknown[..], &deadline].concat());
    let frame = parse(&bytes, LIMIT).unwrap().unwrap();
    assert_eq!((frame.extensions.deadline(), frame.extensions.chain().count()), (Some(5), 0));
    let critical = [&deadline[..], &[99, 1, 2, 0, 1, 2]].concat();
    assert_eq!(error_of(&with_extensions(&critical)), FrameError::UnknownCritical(99));
    let known_and_critical = [1, 1, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    assert!(parse(&with_extensions(&known_and_critical), LIMIT).is_ok());
}

#[test]
fn malformed_extensions_are_refused() {
    let malformed: [&[u8]; 7] = [
        &[1],
        &[1, 0, 8],
        &[99, 0, 3, 0, 1, 2],
        &[99, 2, 0, 0],
        &[1, 0, 4, 0, 1, 2, 3, 4],
        &[2, 0, 2, 0, 1, 2],
        &[99, 0, 0xff, 0xff],
    ];
    for extensions in malformed {
        assert_eq!(error_of(&with_extensions(extensions)), FrameError::Extensions, "{extensions:?}");
    }
    let mut chain = vec![2, 0];
    chain.extend_from_slice(&u16::try_from((CHAIN_LIMIT + 1) * CHAIN_LINK).unwrap().to_le_bytes());
    chain.resize(4 + (CHAIN_LIMIT + 1) * CHAIN_LINK, 0);
    assert_eq!(error_of(&with_extensions(&chain)), FrameError::Extensions);
}

#[test]
fn a_chain_is_written_up_to_its_limit() {
    for links in [0, 1, 2, CHAIN_LIMIT, CHAIN_LIMIT + 1] {
        let chain = chain(links as u64);
        let bytes = written(&header(Kind::Ask, 1), &ExtensionSet { deadline: None, chain: &chain }, b"");
        let read: Vec<ChainLink> = parse(&bytes, LIMIT).unwrap().unwrap().extensions.chain().collect();
        assert_eq!(read, chain[..links.min(CHAIN_LIMIT)]);
    }
}

#[test]
fn a_body_that_fails_leaves_the_log_as_it_was() {
    let mut log = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"before");
    let before = log.clone();
    let extensions = ExtensionSet { deadline: Some(1), chain: &chain(3) };
    let result = append(&mut log, &header(Kind::Ask, 2), &extensions, |log| {
        log.extend_from_slice(b"half");
        Err("refused")
    });
    assert_eq!((result, log), (Err("refused"), before));
}

#[test]
fn the_attempt_is_rewritten_in_place_and_nothing_else_is() {
    let mut bytes = written(&header(Kind::Tell, 1), &ExtensionSet::default(), b"body");
    let mut expected = bytes.clone();
    expected[6] = 9;
    set_attempt(&mut bytes, 9);
    assert_eq!(bytes, expected);
    assert_eq!(parse(&bytes, LIMIT).unwrap().unwrap().header.attempt, 9);
    set_attempt(&mut [], 9);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    (0..KINDS.len()).prop_map(|n| KINDS[n])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_and_every_truncation_of_it_is_only_incomplete(
        kind in any_kind(),
        (flags, attempt, descriptors) in any::<(u8, u8, u8)>(),
        (sequence, key) in any::<(u64, u64)>(),
        deadline in any::<Option<u64>>(),
        links in 0..5_u64,
        body in prop::collection::vec(any::<u8>(), 0..300),
        behind in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (sequence, key, chain) = (Sequence(sequence), MessageKey(key), chain(links));
        let header = Header { kind, flags, attempt, descriptors, sequence, key };
        let mut bytes = written(&header, &ExtensionSet { deadline, chain: &chain }, &body);
        let length = bytes.len();
        for end in 0..length {
            prop_assert!(matches!(parse(&bytes[..end], LIMIT), Ok(None)), "cut at {}", end);
        }
        bytes.extend_from_slice(&behind);
        let frame = parse(&bytes, LIMIT).unwrap().unwrap();
        prop_assert_eq!((frame.header, frame.body, frame.length), (header, &body[..], length));
        prop_assert_eq!(frame.extensions.deadline(), deadline);
        prop_assert_eq!(frame.extensions.chain().collect::<Vec<_>>(), chain);
        prop_assert_eq!(peek(&bytes), Some((length, header)));
    }

    #[test]
    fn garbage_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        length in 0..300_u32,
        kind in 0..20_u8,
        extensions in 0..100_u16,
        plausible in any::<bool>(),
    ) {
        if plausible && bytes.len() >= HEADER {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[4] = kind;
            bytes[24..26].copy_from_slice(&extensions.to_le_bytes());
            bytes[26..28].fill(0);
        }
        if let Ok(Some(frame)) = parse(&bytes, LIMIT) {
            prop_assert!(frame.length <= bytes.len() && frame.body.len() <= LIMIT);
            let _ = (frame.extensions.deadline(), frame.extensions.chain().count());
        }
        let _ = peek(&bytes);
    }

    #[test]
    fn garbage_for_extensions_never_panics(
        extensions in prop::collection::vec(prop_oneof![2 => 0..4_u8, 1 => 0..30_u8, 1 => any::<u8>()], 0..60),
    ) {
        if let Ok(Some(frame)) = parse(&with_extensions(&extensions), LIMIT) {
            prop_assert!(frame.extensions.chain().count() <= CHAIN_LIMIT);
            let _ = frame.extensions.deadline();
        }
    }
}
