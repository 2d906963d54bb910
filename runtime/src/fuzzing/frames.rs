//! Data frames in the sender's direction: the bytes of a link, cut anywhere, beside a naive reading of them.

use super::{Choices, Seeds};
use crate::delivery::inbox::Inbox;
use crate::wire::frame::{self, BODY_LIMIT, ChainLink, ExtensionSet, HEADER, Header, Kind};
use crate::wire::ids::{ActorId, LinkId, MessageKey, Sequence};

/// A frame that was taken, as far as a handler could see it.
#[derive(Debug, PartialEq)]
struct Taken {
    header: Header,
    deadline: Option<u64>,
    chain: Vec<ChainLink>,
    body: Vec<u8>,
}

/// The frames that were taken, and whether the peer is refused then.
type Reading = (Vec<Taken>, bool);

/// First what the receiver has had and how much it takes, then how the stream is cut, then the stream.
pub(super) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    let resume_after = Sequence(u64::from(choices.byte()));
    let limit = match choices.byte() {
        0 => BODY_LIMIT,
        small => usize::from(small) * 8,
    };
    let scans = choices.byte();
    let (stream, pieces) = choices.pieces();
    let naive = read_naively(stream, resume_after, limit);
    assert_eq!(read_cut(pieces, resume_after, limit, scans), naive);
    for taken in &naive.0 {
        is_read_back(taken);
    }
}

fn read_cut<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    resume_after: Sequence,
    limit: usize,
    scans: u8,
) -> Reading {
    let mut inbox = Inbox::new(resume_after, limit);
    let mut all = Vec::new();
    // Seen by a look ahead, and not taken yet.
    let mut seen = std::collections::VecDeque::new();
    for (number, mut piece) in pieces.enumerate() {
        while !piece.is_empty() {
            let space = inbox.space();
            assert!(!space.is_empty(), "a read without room would be taken for the end");
            let length = space.len().min(piece.len());
            space[..length].copy_from_slice(&piece[..length]);
            inbox.filled(length);
            piece = &piece[length..];
        }
        if scans >> (number % 8) & 1 == 1 {
            while let Ok(Some(frame)) = inbox.scan() {
                seen.push_back(frame.header);
            }
        }
        loop {
            match inbox.next() {
                Ok(Some((frame, beside))) => {
                    assert!(beside.is_empty());
                    if let Some(seen) = seen.pop_front() {
                        assert_eq!(seen, frame.header, "what was looked at is what comes next");
                    }
                    all.push(Taken {
                        header: frame.header,
                        deadline: frame.extensions.deadline(),
                        chain: frame.extensions.chain().collect(),
                        body: frame.body.to_vec(),
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(inbox.next().err(), Some(error), "a refusal stays");
                    return (all, true);
                }
            }
        }
    }
    (all, false)
}

/// The same by the words of `docs/protocol.md`, with all bytes at hand.
fn read_naively(mut bytes: &[u8], resume_after: Sequence, limit: usize) -> Reading {
    let mut all = Vec::new();
    let mut last = None;
    loop {
        let (length, taken) = match naive_frame(bytes, limit) {
            Naive::Incomplete => return (all, false),
            Naive::Wrong => return (all, true),
            Naive::Frame(length, taken) => (length, taken),
        };
        let Header { kind, sequence, descriptors, .. } = taken.header;
        if (kind as u8) >= 16 || sequence.0 == 0 || descriptors > 0 {
            return (all, true);
        }
        bytes = &bytes[length..];
        match last {
            None if sequence <= resume_after => continue,
            Some(last) if sequence <= last => return (all, true),
            _ => last = Some(sequence),
        }
        all.push(taken);
    }
}

enum Naive {
    Incomplete,
    Wrong,
    Frame(usize, Taken),
}

fn naive_frame(bytes: &[u8], limit: usize) -> Naive {
    let number = |at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    if bytes.len() < 4 {
        return Naive::Incomplete;
    }
    let length = usize::try_from(number(0, 4)).unwrap_or(usize::MAX);
    if length < 28 || length > limit + 28 {
        return Naive::Wrong;
    }
    if bytes.len() < 28 {
        return Naive::Incomplete;
    }
    let kinds = [Kind::Tell, Kind::Ask, Kind::Answer, Kind::Adopt, Kind::Ack, Kind::Reply, Kind::Forwarded];
    let Some(kind) = kinds.into_iter().find(|kind| *kind as u8 == bytes[4]) else { return Naive::Wrong };
    let body_at = 28 + usize::try_from(number(24, 2)).unwrap_or(usize::MAX);
    if number(26, 2) != 0 || body_at > length {
        return Naive::Wrong;
    }
    if bytes.len() < length {
        return Naive::Incomplete;
    }
    let Some((deadline, chain)) = naive_extensions(&bytes[28..body_at]) else { return Naive::Wrong };
    let header = Header {
        kind,
        flags: bytes[5],
        attempt: bytes[6],
        descriptors: bytes[7],
        sequence: Sequence(number(8, 8)),
        key: MessageKey(number(16, 8)),
    };
    Naive::Frame(length, Taken { header, deadline, chain, body: bytes[body_at..length].to_vec() })
}

fn naive_extensions(mut bytes: &[u8]) -> Option<(Option<u64>, Vec<ChainLink>)> {
    let (mut deadline, mut chain) = (None, None);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    while !bytes.is_empty() {
        let length = usize::try_from(number(bytes.get(2..4)?)).ok()?;
        let value = bytes.get(4..4 + length)?;
        match (bytes[0], bytes[1]) {
            (_, 2..) => return None,
            (1, _) if length == 8 => deadline = deadline.or(Some(number(value))),
            (2, _) if length % 24 == 0 && length <= 64 * 24 => {
                let links = value.chunks(24).map(|link| ChainLink {
                    actor: ActorId(number(&link[..8])),
                    link: LinkId(number(&link[8..16])),
                    sequence: Sequence(number(&link[16..])),
                });
                // The first one counts.
                chain = chain.or(Some(links.collect()));
            }
            (1 | 2, _) | (_, 1) => return None,
            _ => {}
        }
        bytes = &bytes[4 + length..];
    }
    Some((deadline, chain.unwrap_or_default()))
}

/// What was read, written again, is the same frame.
fn is_read_back(taken: &Taken) {
    let extensions = ExtensionSet { deadline: taken.deadline, chain: &taken.chain };
    let bytes = written(&taken.header, &extensions, &taken.body);
    match naive_frame(&bytes, BODY_LIMIT) {
        Naive::Frame(length, again) => assert_eq!((length, &again), (bytes.len(), taken)),
        _ => panic!("what was written is no frame: {bytes:?}"),
    }
}

/// A frame as a sender writes it.
pub(super) fn written(header: &Header, extensions: &ExtensionSet<'_>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = frame::append(&mut bytes, header, extensions, |out| {
        out.extend_from_slice(body);
        Ok::<_, ()>(())
    });
    assert_eq!(length, Ok(bytes.len()));
    bytes
}

fn message(kind: Kind, sequence: u64, body: &[u8]) -> Vec<u8> {
    let chain = [ChainLink { actor: ActorId(3), link: LinkId(4), sequence: Sequence(5) }];
    let extensions = match kind {
        Kind::Ask => ExtensionSet { deadline: Some(1 << 40), chain: &chain },
        _ => ExtensionSet::default(),
    };
    let key = MessageKey(0x1234_5678_9abc_def0);
    let header = Header { kind, flags: 1, attempt: 1, descriptors: 0, sequence: Sequence(sequence), key };
    written(&header, &extensions, body)
}

pub(super) fn seeds() -> Seeds {
    let begin = |resume_after: u8, limit: u8| vec![resume_after, limit, 0b0101_0101, 9, 1, 40, 200];
    let seed =
        |resume_after, limit, frames: &[Vec<u8>]| [begin(resume_after, limit), frames.concat()].concat();
    let with = |at: usize, value: u8| {
        let mut bytes = message(Kind::Tell, 1, b"body");
        bytes[at] = value;
        seed(0, 0, &[bytes])
    };
    let extended = |extension: &[u8]| {
        let mut bytes = message(Kind::Tell, 1, extension);
        bytes[24] = u8::try_from(extension.len()).unwrap_or(u8::MAX);
        seed(0, 0, &[bytes])
    };
    let tells: Vec<Vec<u8>> = (1..9).map(|n| message(Kind::Tell, n, &[7; 30])).collect();
    let mut cut_off = message(Kind::Ask, 1, b"body");
    cut_off.truncate(HEADER + 3);
    vec![
        ("tells", seed(0, 0, &tells)),
        (
            "all-kinds",
            seed(
                0,
                0,
                &[Kind::Tell, Kind::Ask, Kind::Answer, Kind::Adopt]
                    .map(|kind| message(kind, kind as u64, b"body")),
            ),
        ),
        ("duplicates", seed(4, 0, &tells)),
        ("gap", seed(0, 0, &[message(Kind::Tell, 1, b""), message(Kind::Tell, 1 << 40, b"")])),
        ("last-sequence", seed(0, 0, &[message(Kind::Tell, u64::MAX, b""), message(Kind::Tell, 1, b"")])),
        ("back-in-order", seed(0, 0, &[message(Kind::Tell, 7, b""), message(Kind::Tell, 7, b"")])),
        ("duplicate-late", seed(4, 0, &[message(Kind::Tell, 5, b""), message(Kind::Tell, 3, b"")])),
        ("acknowledgement", seed(0, 0, &[message(Kind::Ack, 1, b"")])),
        ("sequence-zero", seed(0, 0, &[message(Kind::Tell, 0, b"")])),
        ("small-limit", seed(0, 3, &[message(Kind::Tell, 1, &[7; 24]), message(Kind::Tell, 2, &[7; 25])])),
        ("claims-4-gib", with(3, 0xff)),
        ("claims-16-mib", with(3, 1)),
        ("too-short", seed(0, 0, &[vec![3, 0, 0, 0]])),
        ("unknown-kind", with(4, 99)),
        ("descriptors-that-do-not-come", with(7, 2)),
        ("reserved", with(26, 1)),
        ("extensions-too-long", with(25, 0xff)),
        ("extension-overruns", extended(&[1, 0, 9, 0, 1])),
        ("extension-skipped", extended(&[9, 0, 1, 0, 1])),
        ("extension-critical", extended(&[9, 1, 1, 0, 1])),
        (
            "chain-torn",
            extended(&[
                2, 0, 23, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                23,
            ]),
        ),
        ("cut-off", seed(0, 0, &[cut_off])),
        ("text", seed(0, 0, &[b"GET / HTTP/1.1\r\n\r\n".repeat(4)])),
        ("ones", seed(0, 0, &[vec![0xff; 200]])),
    ]
}
