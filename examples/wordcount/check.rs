//! Counts again, on one thread and in another way: byte by byte, with no chunks.
//!
//! Files change. What was counted has a fingerprint per file, so a file whose first bytes are not what they were is
//! reported as changed, and every other file must have the very same words.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::chunk::LONGEST_WORD;
use crate::read::{self, Digest, ReadFile};
use crate::reduce::{Reducer, fingerprint};

/// What counting again gave.
#[derive(Default)]
pub struct Recount {
    /// How often each word was seen.
    counts: HashMap<Vec<u8>, u64>,
    /// Files that have changed since they were counted, or cannot be read any more.
    pub changed: Vec<String>,
    /// What differs although nothing has changed.
    pub wrong: Vec<String>,
}

/// Reads all files again, and compares the words of each with what the mappers counted in it: `fingerprints` holds
/// their sum for each file.
pub fn recount(files: &[ReadFile], fingerprints: &[u64]) -> Recount {
    let mut recount = Recount::default();
    for file in files {
        let (mut tally, mut words) = (Tally::default(), 0_u64);
        let same = read_again(file, |bytes| tally.add(bytes));
        tally.end_word();
        for (word, count) in tally.counts {
            words = words.wrapping_add(fingerprint(&word, count));
            *recount.counts.entry(word).or_default() += count;
        }
        let name = file.path.display();
        match same {
            Ok(true) if words == fingerprints.get(file.file).copied().unwrap_or(0) => {}
            Ok(true) => recount.wrong.push(format!("the words of {name}")),
            Ok(false) => recount.changed.push(name.to_string()),
            Err(error) => recount.changed.push(format!("{name}: {error}")),
        }
    }
    recount
}

impl Recount {
    /// Where no file has changed, the sums must be the same too, word by word.
    pub fn compare(&mut self, reducer: &Reducer) {
        if !self.changed.is_empty() {
            return;
        }
        for (word, &count) in &self.counts {
            let other = reducer.counts.get(word.as_slice()).copied().unwrap_or(0);
            if other != count {
                self.wrong
                    .push(format!("{}: counted {other}, recounted {count}", String::from_utf8_lossy(word)));
            }
        }
        if reducer.counts.len() != self.counts.len() {
            let [counted, recounted] = [reducer.counts.len(), self.counts.len()];
            self.wrong.push(format!("distinct words: counted {counted}, recounted {recounted}"));
        }
    }
}

/// Reads as much of a file as was counted; false if that is not what it was.
fn read_again(file: &ReadFile, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut source = read::open(&file.path)?.into_inner().take(file.bytes);
    let (mut buffer, mut bytes, mut digest) = (vec![0; 64 << 10], 0, Digest::default());
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((bytes, Some(digest)) == (file.bytes, file.digest)),
            Ok(length) => {
                bytes += length as u64;
                digest.add(&buffer[..length]);
                each(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The words of one file.
#[derive(Default)]
struct Tally {
    counts: HashMap<Vec<u8>, u64>,
    word: Vec<u8>,
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !byte.is_ascii_alphabetic() {
                self.end_word();
            } else if self.word.len() <= LONGEST_WORD {
                self.word.push(byte.to_ascii_lowercase());
            }
        }
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() && self.word.len() <= LONGEST_WORD {
            match self.counts.get_mut(&self.word) {
                Some(count) => *count += 1,
                None => {
                    self.counts.insert(self.word.clone(), 1);
                }
            }
        }
        self.word.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::words;

    /// A file with this text, and how it was counted when it said `counted`.
    fn check(path: &Path, counted: &str, now: &str, words_counted: &str) -> Recount {
        let mut digest = Digest::default();
        digest.add(counted.as_bytes());
        let (bytes, path) = (counted.len() as u64, Arc::new(path.to_owned()));
        std::fs::write(&*path, now).unwrap();
        let mut reducer = Reducer::new(true);
        reducer.add(0, 0, &words::count(&mut words_counted.as_bytes().to_vec())).unwrap();
        let mut recount = recount(
            &[ReadFile { file: 0, path, bytes, digest: Some(digest) }],
            reducer.files.as_ref().unwrap(),
        );
        recount.compare(&reducer);
        recount
    }

    #[test]
    fn a_wrong_count_is_told_from_a_file_that_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let counts = |counted, now, words| {
            let recount = check(&path, counted, now, words);
            (recount.changed.len(), recount.wrong.len())
        };
        assert_eq!(counts("One two two", "One two two", "one two two"), (0, 0));
        assert_eq!(
            counts("one two two", "one two two and more", "two one two"),
            (0, 0),
            "grown behind the end"
        );
        assert_eq!(counts("one two two", "one two tww", "one two two"), (1, 0), "changed");
        assert_eq!(counts("one two two", "one two", "one two two"), (1, 0), "shrunk");
        // The words of the file, and the sum of the one word.
        assert_eq!(counts("one two two", "one two two", "one two"), (0, 2), "lost");
        assert_eq!(counts("one two two", "one two two", "one two two two"), (0, 2), "twice");
        // The file, a missing word, and the number of words.
        assert_eq!(counts("one two two", "one two two", "two two"), (0, 3), "forgotten");
    }

    #[test]
    fn words_too_long_to_be_counted_are_left_out_here_too() {
        let mut tally = Tally::default();
        for part in [&vec![b'a'; LONGEST_WORD][..], b"a b ", &vec![b'c'; LONGEST_WORD]] {
            tally.add(part);
        }
        tally.end_word();
        let mut words: Vec<(usize, u64)> =
            tally.counts.iter().map(|(word, count)| (word.len(), *count)).collect();
        words.sort_unstable();
        assert_eq!(words, [(1, 1), (LONGEST_WORD, 1)]);
    }
}
