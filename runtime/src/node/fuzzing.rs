//! What a receiver says to its sender, on any bytes: an outbox and the asks that wait, beside a naive account of both.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::outgoing::State;
use super::pending::Outcome;
use crate::fuzzing::{Choices, Seeds};
use crate::wire::codec::EncodeError;
use crate::wire::frame::{self, BODY_LIMIT, ExtensionSet, Header, Kind, Status, WITHDRAWN};
use crate::wire::ids::{MessageKey, Sequence};
use crate::wire::passing::Arrived;
use crate::wire::transport::Received;

/// First the messages that were sent and how much of them, then how the answers are cut, then the answers.
pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    let mut sender = Sender::new(&mut choices);
    let (answers, pieces) = choices.pieces();
    let expected = naive_ends(answers, &sender);
    let refused = pieces.map(|piece| sender.hear(piece)).any(|heard| !heard);
    assert_eq!(refused, expected.refused);
    assert_eq!(sender.state.outbox.acked(), expected.acked);
    sender.has_ends(&expected.ends);
    sender.gives_whole_frames();
    sender.loses_the_rest(&expected);
}

struct Sender {
    state: State,
    asks: BTreeMap<Sequence, oneshot::Receiver<Outcome>>,
    /// What the socket was given.
    given: Vec<u8>,
}

impl Sender {
    fn new(choices: &mut Choices<'_>) -> Sender {
        let mut sender = Sender { state: State::new(), asks: BTreeMap::new(), given: Vec::new() };
        for _ in 0..choices.byte() % 32 {
            let how = choices.byte();
            sender.append(if how & 1 == 1 { Kind::Ask } else { Kind::Tell }, usize::from(how >> 1));
        }
        let first = choices.number();
        sender.write(first);
        // Another socket to the same incarnation: it gets all of it once more, and may know some already.
        if choices.byte() & 1 == 1 {
            sender.state.outbox.link_lost();
            sender.given.clear();
            let second = choices.number();
            sender.write(second);
        }
        sender
    }

    fn append(&mut self, kind: Kind, length: usize) {
        let appended =
            self.state.outbox.append(kind, 0, MessageKey(7), &ExtensionSet::default(), |out, _| {
                out.resize(out.len() + length, 9);
                Ok::<_, EncodeError>(())
            });
        let Ok(sequence) = appended else { panic!("it fits") };
        if kind == Kind::Ask {
            self.asks.insert(sequence, self.state.pending.add(sequence, u64::MAX));
        }
    }

    /// Gives the socket a part of what waits.
    fn write(&mut self, choice: u64) {
        let unsent = self.state.outbox.unsent();
        let length = usize::try_from(choice % (unsent.len() as u64 + 1)).unwrap_or_default();
        self.given.extend_from_slice(&unsent[..length]);
        self.state.outbox.wrote(length);
    }

    /// Whether the receiver was believed.
    fn hear(&mut self, mut piece: &[u8]) -> bool {
        let before = self.state.outbox.acked();
        while !piece.is_empty() {
            let space = self.state.answers.space();
            let bytes = space.len().min(piece.len());
            space[..bytes].copy_from_slice(&piece[..bytes]);
            piece = &piece[bytes..];
            if self.state.take_answers(Received { bytes, beside: Arrived::default() }).is_err() {
                return false;
            }
        }
        let outbox = &self.state.outbox;
        assert!(
            before <= outbox.acked() && outbox.acked() <= outbox.sent() && outbox.sent() <= outbox.appended()
        );
        assert_eq!(outbox.waiting(), outbox.appended().0 - outbox.acked().0);
        true
    }

    /// Every ask has the end that the first word about it gave it, and no other has any.
    fn has_ends(&mut self, expected: &BTreeMap<Sequence, (Status, Vec<u8>)>) {
        for (sequence, ask) in &mut self.asks {
            match (ask.try_recv(), expected.get(sequence)) {
                (Ok(Outcome::Reply(status, body, _)), Some(end)) => assert_eq!((status, body), *end),
                (Err(oneshot::error::TryRecvError::Empty), None) => {}
                (end, expected) => panic!("ask {sequence} has {end:?} instead of {expected:?}"),
            }
        }
    }

    /// What the socket gets in all are whole frames in order, whatever was acknowledged in between.
    fn gives_whole_frames(&mut self) {
        let mut all = self.given.clone();
        all.extend_from_slice(self.state.outbox.unsent());
        let (mut rest, mut last) = (&all[..], Sequence::ZERO);
        while !rest.is_empty() {
            let Ok(Some(frame)) = frame::parse(rest, BODY_LIMIT) else {
                panic!("no frame at {}", rest.len())
            };
            assert!(frame.header.sequence > last, "out of order");
            assert!(frame.body.iter().all(|byte| *byte == 9), "another body");
            last = frame.header.sequence;
            rest = &rest[frame.length..];
        }
    }

    /// When it is all over, what was never settled is named, each message once.
    fn loses_the_rest(&mut self, expected: &Ends) {
        let appended = self.state.outbox.appended();
        let withdrawn = self.withdrawn();
        assert!(withdrawn.iter().all(|sequence| expected.withdrawn.contains(sequence)));
        let lost: Vec<u64> = self.state.outbox.discard().iter().map(|lost| lost.sequence.0).collect();
        assert_eq!(lost, (expected.acked.0 + 1..=appended.0).collect::<Vec<_>>());
    }

    fn withdrawn(&mut self) -> Vec<Sequence> {
        self.state.outbox.link_lost();
        let (mut rest, mut found) = (self.state.outbox.unsent(), Vec::new());
        while let Some((length, header)) = frame::peek(rest) {
            if header.flags & WITHDRAWN != 0 {
                found.push(header.sequence);
            }
            rest = &rest[length..];
        }
        found
    }
}

struct Ends {
    acked: Sequence,
    refused: bool,
    ends: BTreeMap<Sequence, (Status, Vec<u8>)>,
    withdrawn: Vec<Sequence>,
}

fn naive_ends(mut answers: &[u8], sender: &Sender) -> Ends {
    let sent = sender.state.outbox.sent();
    let mut all =
        Ends { acked: Sequence::ZERO, refused: false, ends: BTreeMap::new(), withdrawn: Vec::new() };
    loop {
        let frame = match frame::parse(answers, BODY_LIMIT) {
            Ok(Some(frame)) if frame.header.descriptors == 0 => frame,
            Ok(None) => return all,
            _ => break,
        };
        let Header { kind, flags, sequence, .. } = frame.header;
        let status = Status::from_byte(flags);
        let known = matches!(kind, Kind::Ack | Kind::Forwarded) || (kind == Kind::Reply && status.is_some());
        // What is old is no lie.
        if !known || sequence > sent {
            break;
        }
        if kind == Kind::Reply && status == Some(Status::WouldDeadlock) {
            all.withdrawn.push(sequence);
        } else {
            all.acked = all.acked.max(sequence);
        }
        if let (Kind::Reply, Some(status)) = (kind, status)
            && sender.asks.contains_key(&sequence)
        {
            all.ends.entry(sequence).or_insert_with(|| (status, frame.body.to_vec()));
        }
        answers = &answers[frame.length..];
    }
    all.refused = true;
    all
}

pub(crate) fn seeds() -> Seeds {
    let answer = |kind: Kind, flags: u8, sequence: u64, body: &[u8]| {
        let sequence = Sequence(sequence);
        let header = Header { kind, flags, attempt: 0, descriptors: 0, sequence, key: MessageKey(0) };
        let mut bytes = Vec::new();
        let _ = frame::append(&mut bytes, &header, &ExtensionSet::default(), |out| {
            out.extend_from_slice(body);
            Ok::<_, EncodeError>(())
        });
        bytes
    };
    // Six messages, asks and tells in turn, all of them sent: 28 and 4 bytes each.
    let all_sent = [vec![6, 9, 8, 9, 8, 9, 8], 192_u64.to_le_bytes().to_vec(), vec![0]].concat();
    let half_sent = [vec![6, 9, 8, 9, 8, 9, 8], 100_u64.to_le_bytes().to_vec(), vec![0]].concat();
    let again = [&all_sent[..15], &[1], &40_u64.to_le_bytes()].concat();
    let seed = |begin: &[u8], answers: &[Vec<u8>]| [begin, &[7, 1, 40, 250], &answers.concat()].concat();
    let reply = |sequence, body: &[u8]| answer(Kind::Reply, 0, sequence, body);
    let ack = |sequence| answer(Kind::Ack, 0, sequence, b"");
    vec![
        ("replies", seed(&all_sent, &[reply(1, b"one"), reply(3, b"three"), reply(5, b"five")])),
        ("acknowledgements", seed(&all_sent, &[ack(2), ack(4), ack(6)])),
        ("late", seed(&all_sent, &[ack(4), ack(2), reply(1, b"one"), reply(1, b"again")])),
        ("reply-to-a-tell", seed(&all_sent, &[reply(2, b"two")])),
        ("out-of-order", seed(&all_sent, &[reply(5, b"five"), reply(1, b"one")])),
        ("would-deadlock", seed(&all_sent, &[answer(Kind::Reply, 4, 3, b""), ack(2)])),
        ("forwarded", seed(&all_sent, &[answer(Kind::Forwarded, 0, 3, b""), ack(6)])),
        ("statuses", seed(&all_sent, &[answer(Kind::Reply, 1, 1, b"x"), answer(Kind::Reply, 9, 3, b"y")])),
        ("unknown-status", seed(&all_sent, &[answer(Kind::Reply, 99, 1, b"")])),
        ("never-sent", seed(&half_sent, &[ack(3), ack(4)])),
        ("never-made", seed(&all_sent, &[ack(1 << 40)])),
        ("withdraws-what-was-never-sent", seed(&half_sent, &[answer(Kind::Reply, 4, 6, b"")])),
        ("sequence-zero", seed(&all_sent, &[ack(0), reply(0, b"")])),
        ("another-socket", seed(&again, &[ack(1), ack(2), reply(3, b"three"), ack(6)])),
        ("a-message", seed(&all_sent, &[answer(Kind::Tell, 0, 1, b"")])),
        (
            "descriptors",
            seed(
                &all_sent,
                &[{
                    let mut bytes = reply(1, b"");
                    bytes[7] = 2;
                    bytes
                }],
            ),
        ),
        ("claims-4-gib", seed(&all_sent, &[vec![0xff; 28]])),
    ]
}
