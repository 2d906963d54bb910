#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::*;
use crate::delivery::frame_buffer::FrameBuffer;
use crate::delivery::inbox::Inbox;
use crate::delivery::outbox::{InHand, Outbox, Window};
use crate::wire::frame::{ExtensionSet, HEADER, Kind};
use crate::wire::ids::MessageKey;

const LIMIT_BYTES: usize = 4096;
/// Of each message here.
const BODY: usize = 12;
const FRAME: usize = HEADER + BODY;

fn descriptor() -> Arc<OwnedFd> {
    Arc::new(std::fs::File::open("/dev/null").unwrap().into())
}

fn arrived(count: usize) -> Arrived {
    let descriptors = (0..count).map(|_| descriptor().try_clone().unwrap()).collect();
    Arrived { descriptors, cut: false }
}

fn append(outbox: &mut Outbox, beside: Beside) {
    let appended = outbox.append(Kind::Tell, 0, MessageKey(1), &ExtensionSet::default(), |log, _| {
        log.extend_from_slice(&[7; BODY]);
        Ok::<_, std::convert::Infallible>(())
    });
    appended.unwrap();
    if !beside.is_empty() {
        outbox.attach(beside);
    }
}

/// An outbox with messages that have so many descriptors.
fn outbox(counts: &[usize]) -> Outbox {
    let mut outbox = Outbox::new(Window { messages: 100, bytes: 1 << 20 }, LIMIT_BYTES);
    for &count in counts {
        append(&mut outbox, (0..count).map(|_| descriptor()).collect());
    }
    outbox
}

/// What a socket that takes `most` bytes at once is given: bytes and descriptors of each write.
fn writes(outbox: &mut Outbox, most: usize) -> Vec<(Vec<u8>, usize)> {
    let mut writes = Vec::new();
    while !outbox.unsent().is_empty() {
        let (bytes, beside) = outbox.next_write();
        let bytes = bytes[..bytes.len().min(most)].to_vec();
        writes.push((bytes.clone(), beside.len()));
        outbox.wrote(bytes.len());
    }
    writes
}

/// A buffer that has read these writes as the kernel hands them over: as much at once as fits, but nothing behind
/// descriptors.
fn heard(writes: &[(Vec<u8>, usize)], space: usize) -> FrameBuffer {
    let mut buffer = FrameBuffer::new();
    let mut read = (Vec::new(), 0);
    let mut hand_over = |(bytes, count): &mut (Vec<u8>, usize)| {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        if *count > 0 {
            buffer.came_beside(bytes.len(), arrived(*count)).unwrap();
        }
        (*bytes, *count) = (Vec::new(), 0);
    };
    for (bytes, count) in writes {
        read.1 = *count;
        for byte in bytes {
            read.0.push(*byte);
            if read.0.len() == space {
                hand_over(&mut read);
            }
        }
        if *count > 0 && !read.0.is_empty() {
            hand_over(&mut read);
        }
    }
    hand_over(&mut read);
    buffer
}

/// How many came beside each frame.
fn taken(buffer: &mut FrameBuffer) -> Result<Vec<usize>, FrameError> {
    let mut taken = Vec::new();
    while let Some((frame, beside)) = buffer.next_frame(LIMIT_BYTES)? {
        assert_eq!(usize::from(frame.header.descriptors), beside.descriptors.len());
        taken.push(beside.descriptors.len());
    }
    Ok(taken)
}

#[test]
fn each_frame_gets_its_own_descriptors_however_the_stream_is_cut() {
    let counts = [0, 1, 2, 0, 0, 16, 1, 0];
    for most in 1..4 * FRAME {
        for space in [1, 27, 28, FRAME, FRAME + 1, 3 * FRAME + 5, 1 << 12] {
            let mut buffer = heard(&writes(&mut outbox(&counts), most), space);
            assert_eq!(taken(&mut buffer).unwrap(), counts, "{most} bytes a write, {space} a read");
            assert_eq!(buffer.descriptors(), 0);
        }
    }
}

#[test]
fn a_write_begins_with_a_frame_that_has_descriptors_and_ends_before_the_next() {
    let written: Vec<_> = writes(&mut outbox(&[0, 0, 1, 0, 3]), usize::MAX)
        .into_iter()
        .map(|(bytes, count)| (bytes.len() / FRAME, count))
        .collect();
    assert_eq!(written, [(2, 0), (2, 1), (1, 3)]);
}

#[test]
fn descriptors_go_to_the_next_incarnation_too_until_their_message_is_settled() {
    let mut outbox = outbox(&[0]);
    let kept: Vec<_> = (0..3).map(|_| descriptor()).collect();
    for descriptor in &kept {
        append(&mut outbox, vec![Arc::clone(descriptor)]);
    }
    let holders = || kept.iter().map(Arc::strong_count).collect::<Vec<_>>();
    writes(&mut outbox, 50);
    assert_eq!(outbox.receiver_died(Sequence(1), None, 3), InHand::Nothing);
    assert_eq!((writes(&mut outbox, 50).iter().map(|w| w.1).sum::<usize>(), holders()), (3, vec![2, 2, 2]));
    outbox.acknowledge(Sequence(2)).unwrap();
    assert_eq!(holders(), [1, 2, 2]);
    // The third was in hand, and is not sent again.
    assert!(matches!(outbox.receiver_died(Sequence(2), Some(Sequence(3)), 3), InHand::InDoubt(_)));
    assert_eq!(holders(), [1, 1, 2]);
    // Half of the last one is with the kernel when the link is lost: from its first byte again.
    let (bytes, beside) = outbox.next_write();
    assert_eq!((bytes.len(), beside.len()), (FRAME, 1));
    outbox.wrote(10);
    assert_eq!(outbox.next_write().1.len(), 0);
    outbox.link_lost();
    assert_eq!(outbox.next_write().1.len(), 1);
    outbox.discard();
    assert_eq!(holders(), [1, 1, 1]);
}

#[test]
fn an_acknowledged_half_written_frame_does_not_shift_the_descriptors_behind_it() {
    let mut outbox = outbox(&[1, 0, 1]);
    writes(&mut outbox, 1000);
    // A new socket has half of the first one when the receiver, who had it from the old one, acknowledges it.
    outbox.link_lost();
    outbox.wrote(30);
    outbox.acknowledge(Sequence(1)).unwrap();
    let rest: Vec<_> = writes(&mut outbox, 1000).into_iter().map(|(b, n)| (b.len(), n)).collect();
    assert_eq!(rest, [(FRAME - 30 + FRAME, 0), (FRAME, 1)]);
}

/// What a peer writes that does not keep to it: frames that announce so many, and reads that bring so many.
fn misled(reads: &[(&[u8], usize)]) -> Result<Vec<usize>, FrameError> {
    let mut buffer = FrameBuffer::new();
    let mut all = Vec::new();
    for (bytes, count) in reads {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        if *count > 0 {
            buffer.came_beside(bytes.len(), arrived(*count))?;
        }
        all.extend(taken(&mut buffer)?);
    }
    Ok(all)
}

#[test]
fn missing_surplus_and_unannounced_descriptors_are_named() {
    let bytes: Vec<u8> = writes(&mut outbox(&[2, 0]), usize::MAX).remove(0).0;
    let (two, none) = bytes.split_at(FRAME);
    let wrong = |came| Err(FrameError::Descriptors { announced: 2, came });
    assert_eq!(misled(&[(&bytes, 2)]), Ok(vec![2, 0]));
    assert_eq!(misled(&[(&bytes, 0)]), wrong(0));
    assert_eq!(misled(&[(&bytes, 1)]), wrong(1));
    assert_eq!(misled(&[(&bytes, 3)]), wrong(3));
    assert_eq!(misled(&[(none, 1)]), Err(FrameError::Unannounced));
    // With its first byte, not with a later one.
    assert_eq!(misled(&[(&two[..20], 0), (&two[20..], 2)]), wrong(0));
    // Twice within one frame.
    assert_eq!(misled(&[(&two[..20], 2), (&two[20..], 2)]), Err(FrameError::Unannounced));
    assert_eq!(misled(&[(none, 0), (two, 2), (none, 1)]), Err(FrameError::Unannounced));
}

#[test]
fn the_answer_to_wrong_descriptors_stays_the_same() {
    let (bytes, _) = writes(&mut outbox(&[2]), usize::MAX).remove(0);
    let mut inbox = Inbox::new(Sequence::ZERO, LIMIT_BYTES);
    inbox.space()[..bytes.len()].copy_from_slice(&bytes);
    inbox.filled(bytes.len());
    inbox.came_beside(bytes.len(), arrived(1)).unwrap();
    for _ in 0..2 {
        assert_eq!(inbox.next().unwrap_err(), FrameError::Descriptors { announced: 2, came: 1 });
    }
    assert_eq!(inbox.descriptors(), 1);
    inbox.forget();
    assert_eq!(inbox.descriptors(), 0);
}

#[test]
fn what_was_cut_off_costs_its_own_message_and_no_other() {
    let mut buffer = FrameBuffer::new();
    for ((bytes, _), cut) in writes(&mut outbox(&[2, 1]), usize::MAX).into_iter().zip([true, false]) {
        buffer.space()[..bytes.len()].copy_from_slice(&bytes);
        buffer.filled(bytes.len());
        buffer.came_beside(bytes.len(), Arrived { cut, ..arrived(1) }).unwrap();
    }
    let (_, beside) = buffer.next_frame(LIMIT_BYTES).unwrap().unwrap();
    assert!(beside.cut);
    let (_, beside) = buffer.next_frame(LIMIT_BYTES).unwrap().unwrap();
    assert!(!beside.cut && beside.descriptors.len() == 1);
}

#[test]
fn what_is_skipped_as_a_duplicate_closes_what_came_with_it() {
    let (bytes, _) = writes(&mut outbox(&[1]), usize::MAX).remove(0);
    let mut inbox = Inbox::new(Sequence(1), LIMIT_BYTES);
    inbox.space()[..bytes.len()].copy_from_slice(&bytes);
    inbox.filled(bytes.len());
    inbox.came_beside(bytes.len(), arrived(1)).unwrap();
    assert!(inbox.next().unwrap().is_none());
    assert_eq!(inbox.descriptors(), 0);
}

#[test]
fn descriptors_that_no_frame_announces_are_bounded() {
    let mut buffer = FrameBuffer::new();
    let mut flood = || {
        // The first bytes of one long frame, each with something.
        buffer.space()[0] = 0;
        buffer.filled(1);
        buffer.came_beside(1, Arrived::default())
    };
    assert!((0..WAITING).all(|_| flood().is_ok()));
    assert_eq!(flood(), Err(FrameError::Unannounced));
}
