//! Frames that are nearly right: valid ones, changed in one of six ways by a seeded draw; pure.

use watertight::Message;
use watertight::fuzzing::{hostile, written};

use super::{Payload, Ping};

/// Numbers from a seed, by xorshift: the same ones each time.
pub struct Draw {
    state: u64,
    honest: bool,
}

impl Draw {
    pub fn new(seed: u64) -> Draw {
        // Neighbouring seeds give nothing alike, and none gives zero, in which it would stay.
        Draw { state: seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, honest: false }
    }

    /// Changes nothing: the load that good peers would be.
    pub fn honest() -> Draw {
        Draw { honest: true, ..Draw::new(0) }
    }

    pub fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 16).unwrap_or_default() % end.max(1)
    }

    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[2]
    }

    /// Whether a link is to fail at its first bytes.
    pub fn spoils_hello(&mut self) -> bool {
        !self.honest && self.below(20) == 0
    }

    fn pick<'a>(&mut self, from: &'a [Vec<u8>]) -> &'a [u8] {
        from.get(self.below(from.len())).map_or(&[], Vec::as_slice)
    }
}

/// How a frame was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// One to three bits are flipped.
    Bits,
    /// Its end is missing.
    Cut,
    /// It says that it is longer or shorter than it is.
    Length,
    /// It begins as one frame and ends as another.
    Splice,
    /// It comes again, or where it does not belong.
    Order,
    /// It is no frame at all.
    Garbage,
}

/// The next thing to say: one of `frames`, changed.
pub fn changed(draw: &mut Draw, frames: &[Vec<u8>]) -> (Change, Vec<u8>) {
    if draw.honest {
        return (Change::Order, frames.first().cloned().unwrap_or_default());
    }
    let mut frame = draw.pick(frames).to_vec();
    match draw.below(6) {
        0 => {
            for _ in 0..=draw.below(3) {
                let at = draw.below(frame.len());
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << draw.below(8);
                }
            }
            (Change::Bits, frame)
        }
        1 => {
            frame.truncate(draw.below(frame.len()));
            (Change::Cut, frame)
        }
        2 => {
            let any = u32::from_le_bytes([draw.byte(), draw.byte(), draw.byte(), draw.byte()]);
            let lies = [0, 1, 27, 28, 29, 1 << 16, 1 << 24, (1 << 24) + 29, u32::MAX, any];
            let near = u32::try_from(frame.len() + draw.below(9)).unwrap_or(u32::MAX).wrapping_sub(4);
            let lie = if draw.below(2) == 0 { near } else { lies[draw.below(lies.len())] };
            if let Some(length) = frame.first_chunk_mut() {
                *length = lie.to_le_bytes();
            }
            (Change::Length, frame)
        }
        3 => {
            frame.truncate(draw.below(frame.len()));
            let other = draw.pick(frames);
            frame.extend_from_slice(&other[draw.below(other.len())..]);
            (Change::Splice, frame)
        }
        // Neither is new: one was there before, and the other comes too early or too late.
        4 => (Change::Order, frame),
        _ => {
            frame.clear();
            frame.resize_with(1 + draw.below(64), || draw.byte());
            (Change::Garbage, frame)
        }
    }
}

/// Messages to a [`Victim`](super::Victim) from this sequence on, as a sender writes them, and what else may stand on its
/// link.
pub fn messages(from: u64) -> Vec<Vec<u8>> {
    let payload = |n: usize| Payload { numbers: vec![7; n], text: "x".repeat(n), perhaps: Some(true) };
    let small = written(&Ping(9));
    let large = written(&payload(20));
    // Of a reply on behalf of another: link, sequence, status; then the reply.
    let third = [&[1; 16][..], &[0], &written(&9_u64)].concat();
    (from..from + 8)
        .map(|sequence| match sequence % 8 {
            0 | 3 => hostile::frame(2, 0, sequence, Ping::KEY, &small),
            1 | 4 => hostile::frame(1, 1, sequence, Payload::KEY, &large),
            2 => hostile::frame(1, 0, sequence, Ping::KEY, &large),
            5 => hostile::frame(2, 2, sequence, Payload::KEY, &written(&payload(0))),
            6 => hostile::frame(3, 0, sequence, Ping::KEY, &third),
            _ => hostile::frame(4, 0, sequence, Ping::KEY, &third),
        })
        .collect()
}

/// What a receiver of so many messages says to their sender.
pub fn answers(sent: u64) -> Vec<Vec<u8>> {
    let key = watertight::MessageKey::named("");
    let number = written(&9_u64);
    let mut all = Vec::new();
    for sequence in [1, sent / 2, sent.saturating_sub(1), sent, sent + 1] {
        // The last one waits for a true reply, and would wait in vain.
        if sequence != sent {
            all.push(hostile::frame(16, 0, sequence, key, &[]));
        }
        if sequence < sent {
            all.extend((0..10).map(|status| hostile::frame(17, status, sequence, key, &number)));
            all.push(hostile::frame(18, 0, sequence, key, &[]));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_says_everything_and_all_six_changes_come() {
        let draw = |seed| {
            let mut draw = Draw::new(seed);
            (0..600).map(|_| changed(&mut draw, &messages(1))).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        let mut count: BTreeMap<Change, u32> = BTreeMap::new();
        for (change, _) in draw(5) {
            *count.entry(change).or_default() += 1;
        }
        assert_eq!(count.len(), 6);
        assert!(count.values().all(|n| *n > 60), "{count:?}");
    }

    #[test]
    fn unchanged_frames_are_taken() {
        let mut reader = hostile::Reader::data(4);
        for message in messages(5) {
            assert_eq!(reader.read(&message), hostile::Read::Whole);
        }
        let mut reader = hostile::Reader::answers(9);
        for answer in answers(8) {
            assert_eq!(reader.read(&answer), hostile::Read::Whole);
        }
    }
}
