//! The outbox, the inbox and their buffer, one promise at a time.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use proptest::prelude::*;

use super::inbox::Inbox;
use super::outbox::{InHand, Lost, Outbox, Window};
use crate::wire::frame::{self, ChainLink, ExtensionSet, FrameError, HEADER, Header, IDEMPOTENT, Kind};
use crate::wire::ids::{ActorId, LinkId, MessageKey, Sequence};

const LIMIT: usize = 16 << 20;
const WIDE: Window = Window { messages: 1_000_000, bytes: u32::MAX };

fn outbox() -> Outbox {
    Outbox::new(WIDE, LIMIT)
}

fn put(outbox: &mut Outbox, kind: Kind, flags: u8, body: &[u8]) -> Sequence {
    let key = MessageKey(9);
    outbox
        .append(kind, flags, key, &ExtensionSet::default(), |log, _| {
            log.extend_from_slice(body);
            Ok::<_, Infallible>(())
        })
        .unwrap()
}

fn tell(outbox: &mut Outbox, body: &[u8]) -> Sequence {
    put(outbox, Kind::Tell, 0, body)
}

fn write_all(outbox: &mut Outbox) -> Vec<u8> {
    let bytes = outbox.unsent().to_vec();
    outbox.wrote(bytes.len());
    bytes
}

fn sequences(bytes: &[u8]) -> Vec<u64> {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    feed(&mut inbox, bytes);
    std::iter::from_fn(|| inbox.next().unwrap().map(|(f, _)| f.header.sequence.0)).collect()
}

fn feed(inbox: &mut Inbox, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = inbox.space();
        let some = space.len().min(bytes.len());
        space[..some].copy_from_slice(&bytes[..some]);
        inbox.filled(some);
        bytes = &bytes[some..];
    }
}

fn frame_of(kind: Kind, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sequence = Sequence(sequence);
    let header = Header { kind, flags: 0, attempt: 1, descriptors: 0, sequence, key: MessageKey(9) };
    frame::append(&mut bytes, &header, &ExtensionSet::default(), |log| {
        log.extend_from_slice(body);
        Ok::<_, Infallible>(())
    })
    .unwrap();
    bytes
}

#[test]
fn an_ack_beyond_what_was_sent_is_refused_and_changes_nothing() {
    let mut outbox = outbox();
    tell(&mut outbox, b"one");
    tell(&mut outbox, b"two");
    // All of the first frame and all but one byte of the second.
    outbox.wrote(outbox.unsent().len() - 1);
    assert_eq!(outbox.sent(), Sequence(1));
    let refused = FrameError::AckBeyondSent { got: Sequence(2), sent: Sequence(1) };
    assert_eq!(outbox.acknowledge(Sequence(2)), Err(refused));
    assert_eq!((outbox.acked(), outbox.waiting(), outbox.unsent().len()), (Sequence::ZERO, 2, 1));
    outbox.wrote(1);
    assert_eq!(outbox.acknowledge(Sequence(2)), Ok(true));
    assert_eq!(outbox.acknowledge(Sequence(1)), Ok(false));
    assert_eq!(outbox.acknowledge(Sequence(2)), Ok(false));
}

#[test]
fn a_message_larger_than_the_window_passes_when_nothing_waits() {
    let mut outbox = Outbox::new(Window { messages: 3, bytes: 100 }, LIMIT);
    assert!(outbox.has_room());
    tell(&mut outbox, &[0; 1000]);
    assert!(!outbox.has_room());
    write_all(&mut outbox);
    outbox.acknowledge(Sequence(1)).unwrap();
    (0..3).for_each(|_| {
        assert!(outbox.has_room());
        tell(&mut outbox, b"");
    });
    assert!(!outbox.has_room(), "three messages wait");
    outbox.set_window(Window { messages: 4, bytes: 3 * 28 });
    assert!(!outbox.has_room(), "the bytes are used up to the last");
    outbox.set_window(Window { messages: 4, bytes: 3 * 28 + 1 });
    assert!(outbox.has_room());
    assert!(!Outbox::new(Window { messages: 0, bytes: 100 }, LIMIT).has_room());
}

#[test]
fn an_append_that_fails_or_panics_leaves_no_trace() {
    let mut outbox = outbox();
    tell(&mut outbox, b"one");
    let before = outbox.unsent().to_vec();
    let mut broken = |panics: bool| {
        let outbox = &mut outbox;
        outbox.append(Kind::Tell, 0, MessageKey(1), &ExtensionSet::default(), |log, _| {
            log.extend_from_slice(b"half a mess");
            assert!(!panics, "planned");
            Err("refused")
        })
    };
    assert_eq!(broken(false), Err("refused"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broken(true))).unwrap_err();
    assert_eq!((outbox.unsent(), outbox.appended()), (&before[..], Sequence(1)));
    assert_eq!(tell(&mut outbox, b"two"), Sequence(2));
    assert_eq!(sequences(outbox.unsent()), [1, 2]);
}

#[test]
fn extensions_are_taken_from_the_limit_so_that_a_reader_with_the_same_limit_takes_the_frame() {
    let mut outbox = Outbox::new(WIDE, 200);
    let link = ChainLink { actor: ActorId(1), link: LinkId(1), sequence: Sequence(1) };
    let extensions = ExtensionSet { deadline: Some(1), chain: &[link] };
    let fill = |log: &mut Vec<u8>, limit: usize| {
        log.resize(log.len() + limit, 5);
        Ok::<_, Infallible>(())
    };
    outbox.append(Kind::Ask, 0, MessageKey(1), &extensions, fill).unwrap();
    let frame = frame::parse(outbox.unsent(), 200).unwrap().unwrap();
    assert_eq!((frame.length, frame.body.len()), (HEADER + 200, 200 - 12 - 28));
}

#[test]
fn a_frame_acknowledged_while_half_written_is_still_written_to_its_end() {
    let mut outbox = outbox();
    (1..=6).for_each(|n| {
        tell(&mut outbox, &[n; 50]);
    });
    write_all(&mut outbox);
    // The socket breaks, the receiver lives and has all six; the new socket has one and a half when it says so.
    outbox.link_lost();
    let mut stream = outbox.unsent()[..100].to_vec();
    outbox.wrote(100);
    assert_eq!(outbox.acknowledge(Sequence(3)), Ok(true));
    assert_eq!((outbox.waiting(), outbox.waiting_bytes(), outbox.unsent().len()), (3, 3 * 78, 56 + 3 * 78));
    stream.extend_from_slice(&outbox.unsent()[..10]);
    outbox.wrote(10);
    assert_eq!(outbox.acknowledge(Sequence(4)), Ok(true));
    assert_eq!((outbox.waiting(), outbox.waiting_bytes(), outbox.unsent().len()), (2, 2 * 78, 46 + 2 * 78));
    stream.extend_from_slice(&write_all(&mut outbox));
    let expected = [1, 2, 5, 6].map(|n| frame_of(Kind::Tell, n, &[u8::try_from(n).unwrap(); 50]));
    assert!(stream == expected.concat());
    assert_eq!(outbox.acknowledge(Sequence(6)), Ok(true));

    // And when nothing else waits, or the next socket breaks too.
    tell(&mut outbox, &[3; 50]);
    write_all(&mut outbox);
    outbox.link_lost();
    outbox.wrote(5);
    assert_eq!(outbox.acknowledge(Sequence(7)), Ok(true));
    assert_eq!((outbox.waiting_bytes(), outbox.unsent().len()), (0, 73));
    assert_eq!(tell(&mut outbox, b""), Sequence(8));
    outbox.link_lost();
    assert_eq!((sequences(outbox.unsent()), outbox.sent()), (vec![8], Sequence(7)));
}

#[test]
fn an_idempotent_message_is_redelivered_until_its_attempts_are_used_up() {
    let mut outbox = outbox();
    put(&mut outbox, Kind::Ask, IDEMPOTENT, b"poison");
    tell(&mut outbox, b"behind");
    let lost = |attempt| Lost { sequence: Sequence(1), key: MessageKey(9), ask: true, attempt, bytes: 6 };
    for attempt in 2..=3 {
        write_all(&mut outbox);
        let result = outbox.receiver_died(Sequence::ZERO, Some(Sequence(1)), 3);
        assert_eq!(result, InHand::Redelivered(lost(attempt)));
        let frame = frame::parse(outbox.unsent(), LIMIT).unwrap().unwrap();
        assert_eq!((frame.header.attempt, frame.header.sequence), (attempt, Sequence(1)));
    }
    let result = outbox.receiver_died(Sequence::ZERO, Some(Sequence(1)), 3);
    assert_eq!(result, InHand::Quarantined(lost(3)), "not sent again, but it had been sent");
    assert_eq!((sequences(outbox.unsent()), outbox.acked()), (vec![2], Sequence(1)));
}

#[test]
fn a_message_in_hand_that_is_not_idempotent_is_in_doubt_and_never_sent_again() {
    let mut outbox = outbox();
    (0..4).for_each(|_| {
        tell(&mut outbox, b"body");
    });
    write_all(&mut outbox);
    let result = outbox.receiver_died(Sequence(1), Some(Sequence(2)), 3);
    let lost = Lost { sequence: Sequence(2), key: MessageKey(9), ask: false, attempt: 1, bytes: 4 };
    assert_eq!(result, InHand::InDoubt(lost));
    assert_eq!((sequences(outbox.unsent()), outbox.sent()), (vec![3, 4], Sequence(4)));
}

#[test]
fn the_status_of_an_answer_does_not_make_it_idempotent() {
    let mut outbox = outbox();
    put(&mut outbox, Kind::Answer, frame::Status::Failed as u8, b"");
    write_all(&mut outbox);
    assert!(matches!(outbox.receiver_died(Sequence::ZERO, Some(Sequence(1)), 3), InHand::InDoubt(_)));
}

#[test]
fn a_recorder_is_believed_only_where_it_can_be_true() {
    let mut outbox = outbox();
    (0..4).for_each(|_| {
        put(&mut outbox, Kind::Tell, IDEMPOTENT, b"");
    });
    outbox.wrote(3 * HEADER);
    outbox.acknowledge(Sequence(1)).unwrap();
    assert_eq!(
        outbox.receiver_died(Sequence::ZERO, Some(Sequence(1)), 3),
        InHand::Nothing,
        "it was acknowledged"
    );
    assert_eq!(
        outbox.receiver_died(Sequence(1), Some(Sequence(3)), 3),
        InHand::Nothing,
        "it is not the first"
    );
    assert_eq!(sequences(outbox.unsent()), [2, 3, 4]);
    assert_eq!(
        outbox.receiver_died(Sequence(u64::MAX), Some(Sequence(4)), 3),
        InHand::Nothing,
        "it was not sent"
    );
    assert_eq!((sequences(outbox.unsent()), outbox.acked()), (vec![4], Sequence(3)));
}

#[test]
fn without_a_recorder_all_that_was_sent_is_in_doubt_and_the_rest_is_sent() {
    let mut outbox = outbox();
    (0..5).for_each(|_| {
        put(&mut outbox, Kind::Tell, IDEMPOTENT, b"");
    });
    outbox.wrote(3 * HEADER + 5);
    outbox.acknowledge(Sequence(1)).unwrap();
    let doubt: Vec<u64> = outbox.receiver_died_untold().iter().map(|lost| lost.sequence.0).collect();
    assert_eq!((doubt, sequences(outbox.unsent())), (vec![2, 3], vec![4, 5]));
    let left: Vec<u64> = outbox.discard().iter().map(|lost| lost.sequence.0).collect();
    assert_eq!((left, outbox.waiting(), outbox.waiting_bytes()), (vec![4, 5], 0, 0));
    assert_eq!(
        (outbox.acked(), outbox.sent(), tell(&mut outbox, b"")),
        (Sequence(5), Sequence(5), Sequence(6))
    );
}

#[test]
fn an_outbox_that_never_empties_does_not_grow_and_an_empty_one_gives_memory_back() {
    let mut outbox = outbox();
    tell(&mut outbox, &[1; 1000]);
    for n in 1..20_000 {
        tell(&mut outbox, &[1; 1000]);
        write_all(&mut outbox);
        outbox.acknowledge(Sequence(n)).unwrap();
        assert!(outbox.memory() <= 64 << 10, "{} bytes for two messages", outbox.memory());
    }
    tell(&mut outbox, &[1; 2 << 20]);
    write_all(&mut outbox);
    assert!(outbox.memory() > 2 << 20);
    outbox.acknowledge(outbox.appended()).unwrap();
    assert_eq!(outbox.memory(), 0);
}

#[test]
fn duplicates_are_skipped_and_gaps_are_taken() {
    let mut inbox = Inbox::new(Sequence(2), LIMIT);
    for sequence in [1, 2, 4, 7] {
        feed(&mut inbox, &frame_of(Kind::Tell, sequence, b"x"));
    }
    assert_eq!(inbox.scan().unwrap().unwrap().header.sequence, Sequence(4));
    assert_eq!(inbox.next().unwrap().unwrap().0.header.sequence, Sequence(4));
    assert_eq!(inbox.next().unwrap().unwrap().0.header.sequence, Sequence(7));
    assert!(inbox.next().unwrap().is_none() && inbox.scan().unwrap().is_none());
    assert_eq!((inbox.duplicates(), inbox.last(), inbox.buffered()), (2, Sequence(7), 0));
}

#[test]
fn a_sequence_that_does_not_rise_ends_the_conversation() {
    for (sequences, last, got) in [([5, 5], 5, 5), ([5, 4], 5, 4), ([5, 1], 5, 1)] {
        let mut inbox = Inbox::new(Sequence(2), LIMIT);
        sequences.into_iter().for_each(|s| feed(&mut inbox, &frame_of(Kind::Tell, s, b"")));
        assert!(inbox.next().unwrap().is_some());
        let error = FrameError::Order { last: Sequence(last), got: Sequence(got) };
        assert_eq!(inbox.next().unwrap_err(), error);
        assert_eq!(inbox.next().unwrap_err(), error, "and it stays so");
    }
}

#[test]
fn what_a_sender_may_not_say_is_refused() {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    feed(&mut inbox, &frame_of(Kind::Ask, 0, b""));
    assert_eq!(inbox.scan().unwrap_err(), FrameError::Reserved);
    assert_eq!(inbox.next().unwrap_err(), FrameError::Reserved);
    for kind in [Kind::Ack, Kind::Reply, Kind::Forwarded] {
        let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
        feed(&mut inbox, &frame_of(kind, 1, b""));
        assert_eq!(inbox.scan().unwrap_err(), FrameError::Unexpected(kind));
        assert_eq!(inbox.next().unwrap_err(), FrameError::Unexpected(kind));
    }
}

#[test]
fn a_scan_sees_each_frame_once_and_consumes_none() {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    (1..=3).for_each(|s| feed(&mut inbox, &frame_of(Kind::Ask, s, b"body")));
    assert!(inbox.next().unwrap().is_some());
    let scan = |inbox: &mut Inbox| inbox.scan().unwrap().map(|f| f.header.sequence.0);
    assert_eq!((scan(&mut inbox), inbox.buffered()), (Some(2), 64));
    assert!(inbox.next().unwrap().is_some());
    assert_eq!((scan(&mut inbox), scan(&mut inbox)), (Some(3), None));
    feed(&mut inbox, &frame_of(Kind::Ask, 4, b"body"));
    assert_eq!((scan(&mut inbox), inbox.buffered()), (Some(4), 64));
    assert_eq!(inbox.next().unwrap().unwrap().0.header.sequence, Sequence(3));
    assert_eq!(inbox.next().unwrap().unwrap().0.header.sequence, Sequence(4));
    assert_eq!(scan(&mut inbox), None);
}

#[test]
fn the_end_of_a_socket_within_a_frame_is_noticed() {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    assert!(inbox.at_frame_boundary());
    let frame = frame_of(Kind::Tell, 1, b"body");
    feed(&mut inbox, &frame);
    assert!(inbox.at_frame_boundary(), "with a whole frame in it");
    feed(&mut inbox, &frame[..3]);
    assert!(!inbox.at_frame_boundary());
    assert!(inbox.next().unwrap().is_some());
    assert!(!inbox.at_frame_boundary());
}

#[test]
fn an_idle_inbox_is_small_and_a_claimed_length_takes_no_memory() {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    assert_eq!(inbox.memory(), 0);
    for sequence in 1..1000 {
        feed(&mut inbox, &frame_of(Kind::Tell, sequence, &[0; 100]));
        assert!(inbox.next().unwrap().is_some());
    }
    assert_eq!(inbox.memory(), 16 << 10);
    let claims = frame_of(Kind::Tell, 1000, &[0; 10 << 20]);
    feed(&mut inbox, &claims[..1000]);
    assert!(inbox.next().unwrap().is_none());
    assert_eq!((inbox.space().is_empty(), inbox.memory()), (false, 16 << 10));
    feed(&mut inbox, &claims[1000..]);
    assert!(inbox.memory() <= 3 * claims.len());
    assert_eq!(inbox.next().unwrap().unwrap().0.body.len(), 10 << 20);
    assert!(!inbox.space().is_empty());
    assert_eq!(inbox.memory(), 16 << 10, "given back");
}

#[test]
fn a_busy_inbox_reads_64_kilobytes_at_once() {
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT);
    assert_eq!(inbox.space().len(), 16 << 10);
    let mut stream: Vec<u8> = (1..).flat_map(|s| frame_of(Kind::Tell, s, &[0; 900])).take(4 << 20).collect();
    while !stream.is_empty() {
        let space = inbox.space();
        let some = space.len().min(stream.len());
        space[..some].copy_from_slice(&stream[..some]);
        inbox.filled(some);
        stream.drain(..some);
        while inbox.next().unwrap().is_some() {}
        assert_eq!(inbox.space().len(), 64 << 10);
        assert_eq!(inbox.memory(), 128 << 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_pieces_are_judged_without_panic_and_within_memory(
        garbage in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => 0..40_u8, 1 => any::<u8>()], 0..3000),
        good in 0..5_u64,
        piece in 1..700_usize,
        scans in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> = (1..=good).flat_map(|s| frame_of(Kind::Tell, s, b"good")).collect();
        bytes.extend_from_slice(&garbage);
        let mut inbox = Inbox::new(Sequence::ZERO, 1 << 20);
        let mut taken = 0;
        for piece in bytes.chunks(piece) {
            feed(&mut inbox, piece);
            while scans && matches!(inbox.scan(), Ok(Some(_))) {}
            while let Ok(Some(_)) = inbox.next() {
                taken += 1;
            }
            inbox.at_frame_boundary();
        }
        prop_assert!(taken >= good);
        prop_assert!(inbox.memory() <= 16 << 10);
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        sizes in prop::collection::vec(prop_oneof![9 => 0..300_usize, 1 => 0..200_000_usize], 1..30),
        pieces in prop::collection::vec(1..100_000_usize, 1..20),
        greedy in any::<bool>(),
    ) {
        let bodies: Vec<Vec<u8>> = (1..).zip(&sizes).map(|(n, size)| vec![n; *size]).collect();
        let stream: Vec<u8> = (1..).zip(&bodies).flat_map(|(s, b)| frame_of(Kind::Tell, s, b)).collect();
        let (mut inbox, mut got, mut rest) = (Inbox::new(Sequence::ZERO, LIMIT), Vec::new(), &stream[..]);
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            feed(&mut inbox, now);
            rest = later;
            while let Some((frame, _)) = inbox.next().unwrap() {
                got.push(frame.body.to_vec());
                if !greedy {
                    break;
                }
            }
        }
        while let Some((frame, _)) = inbox.next().unwrap() {
            got.push(frame.body.to_vec());
        }
        prop_assert!(got == bodies);
        prop_assert!(inbox.at_frame_boundary() && inbox.buffered() == 0);
        prop_assert!(inbox.memory() <= (256 << 10) + 3 * stream.len());
    }
}
