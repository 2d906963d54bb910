//! Words in bytes, and their counts as bytes. Pure.
//!
//! A word is a maximal run of ASCII letters, in lower case; every other byte stands between words.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use watertight::prelude::*;

/// Whether a byte is part of a word.
pub fn is_letter(byte: u8) -> bool {
    lower(byte) != BETWEEN
}

/// What every byte between words becomes.
const BETWEEN: u8 = 0;

/// A letter in lower case, or [`BETWEEN`]. Without a branch, so that a whole chunk takes a few instructions per
/// sixteen bytes.
fn lower(byte: u8) -> u8 {
    let small = byte | 0x20;
    if small.wrapping_sub(b'a') < 26 { small } else { BETWEEN }
}

/// Counts the words of one chunk, which is turned to lower case on the way. The answer is packed pairs.
pub fn count(chunk: &mut [u8]) -> Vec<u8> {
    chunk.iter_mut().for_each(|byte| *byte = lower(*byte));
    let mut counts: HashMap<&[u8], u64, Seed> = HashMap::with_capacity_and_hasher(1024, Seed::default());
    for word in chunk.split(|&byte| byte == BETWEEN).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    let mut packed = Vec::with_capacity(counts.len() * 10);
    for (word, count) in counts {
        put_number(&mut packed, count);
        put_number(&mut packed, word.len() as u64);
        packed.extend_from_slice(word);
    }
    packed
}

/// Reads packed pairs: each is a count, a length and so many bytes. They come from another process, so nothing in
/// them is believed before it is looked at.
///
/// # Errors
/// When they are not what [`count`] writes.
pub fn unpack(mut packed: &[u8], mut each: impl FnMut(&[u8], u64)) -> Result<()> {
    let torn = || Error::new("a mapper's answer is not made of words and counts");
    while !packed.is_empty() {
        let count = take_number(&mut packed).filter(|&count| count > 0).ok_or_else(torn)?;
        let length =
            take_number(&mut packed).and_then(|length| usize::try_from(length).ok()).ok_or_else(torn)?;
        let (word, rest) = packed.split_at_checked(length).ok_or_else(torn)?;
        if word.is_empty() || !word.iter().all(u8::is_ascii_lowercase) {
            return Err(torn());
        }
        packed = rest;
        each(word, count);
    }
    Ok(())
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(packed: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        packed.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    packed.push(number.to_le_bytes()[0]);
}

fn take_number(packed: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = packed.split_first()?;
        *packed = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Starts a hasher for words: a few instructions for eight letters, where the standard one takes dozens. The seed is
/// random, so that nobody can prepare files in which all words collide.
#[derive(Clone)]
pub struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Seed(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seed {
    type Hasher = WordHasher;

    fn build_hasher(&self) -> WordHasher {
        WordHasher { state: self.0 }
    }
}

/// Folds a product of 128 bits for every eight letters.
pub struct WordHasher {
    state: u64,
}

/// An odd number without a pattern in its bits.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl WordHasher {
    fn fold(&mut self, bits: u64) {
        let product = u128::from(self.state ^ bits) * u128::from(ODD);
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        self.state = u64::try_from(low ^ high).unwrap_or_default();
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut eights = bytes.chunks_exact(8);
        for eight in &mut eights {
            self.fold(u64::from_le_bytes(eight.try_into().unwrap_or_default()));
        }
        let rest = eights.remainder().iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        self.fold(rest);
    }

    fn write_usize(&mut self, length: usize) {
        // Lengths only: xor is enough, the letters are folded behind it.
        self.state = self.state.rotate_left(5) ^ length as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The same rule, written as plainly as can be.
    pub fn naive(bytes: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let mut counts = BTreeMap::new();
        let mut word = Vec::new();
        for &byte in bytes.iter().chain(b" ") {
            if byte.is_ascii_alphabetic() {
                word.push(byte.to_ascii_lowercase());
            } else if !word.is_empty() {
                *counts.entry(std::mem::take(&mut word)).or_default() += 1;
            }
        }
        counts
    }

    /// What `count` says, unpacked.
    pub fn counted(bytes: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let mut counts = BTreeMap::new();
        unpack(&count(&mut bytes.to_vec()), |word, n| {
            assert!(counts.insert(word.to_vec(), n).is_none(), "a word comes twice");
        })
        .unwrap();
        counts
    }

    /// Numbers that are the same in every run.
    pub struct Dice(pub u64);

    impl Dice {
        pub fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        /// Bytes of every value, and often letters, so that there are words of many lengths.
        pub fn bytes(&mut self, length: usize) -> Vec<u8> {
            let often = self.below(9);
            (0..length)
                .map(|_| match self.below(10) < often {
                    true => b"aAbzZ"[self.below(5)],
                    false => u8::try_from(self.below(256)).unwrap(),
                })
                .collect()
        }
    }

    #[test]
    fn exactly_the_ascii_letters_are_letters() {
        for byte in 0..=255 {
            assert_eq!(is_letter(byte), byte.is_ascii_alphabetic(), "{byte}");
            assert!(!is_letter(byte) || lower(byte) == byte.to_ascii_lowercase());
        }
    }

    #[test]
    fn arbitrary_bytes_are_counted_as_the_naive_model_counts_them() {
        let mut dice = Dice(1);
        for _ in 0..2000 {
            let length = dice.below(300);
            let bytes = dice.bytes(length);
            assert_eq!(counted(&bytes), naive(&bytes), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_of_every_size_come_back() {
        for number in (0..64).map(|bit| 1_u64 << bit).flat_map(|n| [n - 1, n, n + 1]).chain([u64::MAX]) {
            let mut packed = Vec::new();
            put_number(&mut packed, number);
            assert_eq!(take_number(&mut packed.as_slice()), Some(number));
            packed.pop();
            assert_eq!(take_number(&mut packed.as_slice()), None);
        }
        for tenth in 2..=0xff {
            let number = [[0xff; 9].as_slice(), &[tenth, 0]].concat();
            assert_eq!(take_number(&mut number.as_slice()), None, "it would not fit");
        }
    }

    #[test]
    fn a_torn_answer_is_an_error_and_never_a_panic() {
        let whole = count(&mut b"one two two three three three".to_vec());
        let mut dice = Dice(2);
        for length in 1..whole.len() {
            let mut words = 0;
            let read = unpack(&whole[..length], |_, _| words += 1);
            assert!(read.is_err() || words < 3);
        }
        for _ in 0..20_000 {
            let length = dice.below(20);
            let _ = unpack(&dice.bytes(length), |word, n| assert!(!word.is_empty() && n > 0));
        }
    }

    #[test]
    fn words_that_differ_in_one_letter_or_in_length_hash_differently() {
        let seed = Seed::default();
        let mut hashes = std::collections::HashSet::new();
        let words = (1..40).flat_map(|length| {
            (0..length).map(move |at| {
                let mut word = vec![b'a'; length];
                word[at] = b'b';
                word
            })
        });
        let words: Vec<Vec<u8>> = words.collect();
        hashes.extend(words.iter().map(|word| seed.hash_one(word.as_slice())));
        assert_eq!(hashes.len(), words.len());
    }
}
