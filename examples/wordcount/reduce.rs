//! Adds up what the mappers counted, each chunk exactly once. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use watertight::prelude::*;

use crate::read::Digest;
use crate::words::{self, Seed};

/// The counts so far.
#[derive(Default)]
pub struct Reducer {
    /// How often each word was seen.
    pub counts: HashMap<Box<[u8]>, u64, Seed>,
    /// How many words, not distinct ones.
    pub words: u64,
    /// For each file, the sum of its words' fingerprints, each as often as the word comes; only for a check.
    pub files: Option<Vec<u64>>,
    /// Which chunks are in.
    done: Vec<bool>,
}

/// A word and how often it was seen.
pub type Counted<'a> = (&'a [u8], u64);

impl Reducer {
    /// Nothing counted yet; `for_a_check` if a check will want to know each file's words.
    pub fn new(for_a_check: bool) -> Self {
        Reducer { files: for_a_check.then(Vec::new), ..Reducer::default() }
    }

    /// Takes the counts of one chunk.
    ///
    /// # Errors
    /// A chunk that is in already, or counts that are no counts.
    pub fn add(&mut self, chunk: u64, file: usize, pairs: &[u8]) -> Result<()> {
        let place = usize::try_from(chunk)?;
        if self.done.len() <= place {
            self.done.resize(place + 1, false);
        }
        if std::mem::replace(&mut self.done[place], true) {
            return Err(Error::new(format!("chunk {chunk} was counted twice")));
        }
        if let Some(files) = &mut self.files
            && files.len() <= file
        {
            files.resize(file + 1, 0);
        }
        let Reducer { counts, words, files, .. } = self;
        words::unpack(pairs, |word, count| {
            match counts.get_mut(word) {
                Some(sum) => *sum += count,
                None => {
                    counts.insert(word.into(), count);
                }
            }
            *words += count;
            if let Some(files) = files {
                files[file] = files[file].wrapping_add(fingerprint(word, count));
            }
        })
    }

    /// How many chunks are in.
    pub fn chunks(&self) -> u64 {
        self.done.iter().filter(|done| **done).count() as u64
    }

    /// The most frequent words, highest count first, ties by word.
    pub fn top(&self, length: usize) -> Vec<Counted<'_>> {
        let mut all: Vec<Counted<'_>> = self.counts.iter().map(|(word, count)| (&**word, *count)).collect();
        if length < all.len() {
            // In a large vocabulary only the few at the top need sorting.
            all.select_nth_unstable_by(length, |a, b| rank(a).cmp(&rank(b)));
            all.truncate(length);
        }
        all.sort_unstable_by(|a, b| rank(a).cmp(&rank(b)));
        all
    }
}

/// Where a word stands: the smallest first.
fn rank<'a>(&(word, count): &Counted<'a>) -> (Reverse<u64>, &'a [u8]) {
    (Reverse(count), word)
}

/// What a word that comes so often adds to the fingerprint of its file.
pub fn fingerprint(word: &[u8], count: u64) -> u64 {
    Digest::of(word).wrapping_mul(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::words::tests::{Dice, naive};

    fn reduced(text: &[u8]) -> Reducer {
        let mut reducer = Reducer::new(false);
        reducer.add(0, 0, &words::count(&mut text.to_vec())).unwrap();
        reducer
    }

    #[test]
    fn the_top_is_ordered_by_count_and_ties_by_word() {
        let reducer = reduced(b"b a c C a d D d e");
        let top: Vec<Counted<'_>> = vec![(b"d", 3), (b"a", 2), (b"c", 2), (b"b", 1), (b"e", 1)];
        for length in 0..8 {
            assert_eq!(reducer.top(length), top[..length.min(5)]);
        }
    }

    #[test]
    fn the_top_is_what_sorting_everything_gives() {
        let mut dice = Dice(6);
        for _ in 0..300 {
            let size = dice.below(500);
            let bytes = dice.bytes(size);
            let reducer = reduced(&bytes);
            let mut all: Vec<(Vec<u8>, u64)> = naive(&bytes).into_iter().collect();
            all.sort_by_key(|(word, count)| (Reverse(*count), word.clone()));
            let length = dice.below(20);
            let top: Vec<(Vec<u8>, u64)> =
                reducer.top(length).into_iter().map(|(w, n)| (w.to_vec(), n)).collect();
            assert_eq!(top, all[..length.min(all.len())]);
        }
    }

    #[test]
    fn a_chunk_is_taken_once_in_any_order() {
        let mut reducer = Reducer::new(true);
        let pairs = words::count(&mut b"one two two".to_vec());
        for chunk in [5, 0, 3] {
            reducer.add(chunk, 1, &pairs).unwrap();
        }
        assert!(reducer.add(0, 1, &pairs).is_err());
        assert_eq!((reducer.chunks(), reducer.words, reducer.counts.len()), (3, 9, 2));
        assert_eq!(reducer.top(1), [(b"two".as_slice(), 6)]);
        let file = fingerprint(b"one", 3).wrapping_add(fingerprint(b"two", 6));
        assert_eq!(reducer.files.unwrap(), [0, file]);
    }
}
