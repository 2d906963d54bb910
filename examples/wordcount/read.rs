//! Reads files and hands on their pieces, on a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Take};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::chunk::{Chunker, Piece};
use crate::walk::Faults;

/// A piece of a file that is to be counted once.
pub struct Job {
    /// Unique in a run: 0, 1, 2, …
    pub number: u64,
    /// The file's place in the plan
    pub file: usize,
    /// and its name.
    pub path: Arc<PathBuf>,
    /// The piece.
    pub piece: Piece,
}

/// What was read.
#[derive(Default)]
pub struct Reading {
    /// Every file of which something was counted, if only that it is empty.
    pub files: Vec<ReadFile>,
    /// Bytes in all files.
    pub bytes: u64,
    /// Files that are not UTF-8.
    pub non_utf8: u64,
    /// Words that are longer than any word is counted.
    pub overlong: u64,
    /// Files that could not be read, or not to their end.
    pub unreadable: Faults,
    /// Pieces.
    pub jobs: u64,
}

/// One file as it was when it was read.
pub struct ReadFile {
    /// Its place in the plan
    pub file: usize,
    /// and its name.
    pub path: Arc<PathBuf>,
    /// So many bytes from its beginning were counted.
    pub bytes: u64,
    /// Their fingerprint, if a check will want it.
    pub digest: Option<Digest>,
}

/// Reads all files in their order; a file that shrinks, grows or vanishes meanwhile is counted as far as it was read.
/// Ends early if nobody takes the pieces any more.
pub fn read_all(files: Vec<PathBuf>, for_a_check: bool, jobs: &mpsc::Sender<Job>) -> Reading {
    let mut reading = Reading::default();
    for (file, path) in files.into_iter().enumerate() {
        let source = match open(&path) {
            Ok(source) => source,
            Err(error) => {
                reading.unreadable.add(&path, error);
                continue;
            }
        };
        let path = Arc::new(path);
        let mut chunker = Chunker::new(Observed { source, seen: Seen::new(for_a_check) });
        while let Some(piece) = chunker.next() {
            let job = Job { number: reading.jobs, file, path: Arc::clone(&path), piece };
            if jobs.blocking_send(job).is_err() {
                return reading;
            }
            reading.jobs += 1;
        }
        let seen = &chunker.source().seen;
        match &chunker.error {
            Some(error) if seen.bytes == 0 => {
                reading.unreadable.add(&path, error);
                continue;
            }
            Some(error) => reading.unreadable.add(&path, format!("{error} (what came before is counted)")),
            None => {}
        }
        reading.overlong += chunker.overlong;
        reading.non_utf8 += u64::from(!seen.utf8.is_whole());
        reading.bytes += seen.bytes;
        reading.files.push(ReadFile { file, path, bytes: seen.bytes, digest: seen.digest });
    }
    reading
}

/// What is read of a file that claims to be empty, as those under /proc do: some of them never end.
const CLAIMS_TO_BE_EMPTY: u64 = 1 << 20;

/// Opens a regular file, up to the length that it has now: one that grows as fast as it is read would never end.
/// If it has become something else since it was found, it is neither followed nor waited for.
pub fn open(path: &Path) -> io::Result<Take<File>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file any more"));
    }
    Ok(file.take(if metadata.len() == 0 { CLAIMS_TO_BE_EMPTY } else { metadata.len() }))
}

/// Hands bytes through and notes what they are.
struct Observed<R> {
    source: R,
    seen: Seen,
}

struct Seen {
    bytes: u64,
    digest: Option<Digest>,
    utf8: Utf8,
}

impl Seen {
    fn new(for_a_check: bool) -> Self {
        Seen { bytes: 0, digest: for_a_check.then(Digest::default), utf8: Utf8::default() }
    }
}

impl<R: Read> Read for Observed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.seen.bytes += length as u64;
        if let Some(digest) = &mut self.seen.digest {
            digest.add(&buffer[..length]);
        }
        self.seen.utf8.add(&buffer[..length]);
        Ok(length)
    }
}

/// A fingerprint of bytes, the same however they are cut (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }

    /// The fingerprint of one word.
    pub fn of(word: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.add(word);
        digest.0
    }
}

/// Whether bytes are UTF-8, however they are cut.
#[derive(Default)]
struct Utf8 {
    /// The beginning of a character that went on behind the last cut.
    begun: Vec<u8>,
    broken: bool,
}

/// The longest character.
const CHARACTER: usize = 4;

impl Utf8 {
    fn add(&mut self, mut bytes: &[u8]) {
        // A begun character takes one byte after another until it is whole or wrong.
        while !self.broken && !self.begun.is_empty() {
            let Some((&first, rest)) = bytes.split_first() else { return };
            self.begun.push(first);
            bytes = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) => self.broken = error.error_len().is_some() || self.begun.len() >= CHARACTER,
            }
        }
        if self.broken {
            return;
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            self.broken = error.error_len().is_some();
            self.begun.extend_from_slice(&bytes[error.valid_up_to()..]);
        }
        if self.broken {
            self.begun = Vec::new();
        }
    }

    fn is_whole(&self) -> bool {
        !self.broken && self.begun.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::words::tests::Dice;

    #[test]
    fn utf8_is_told_from_other_bytes_however_it_is_cut() {
        let mut dice = Dice(5);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let count = dice.below(8);
            let mut bytes = Vec::new();
            for _ in 0..count {
                let whole = ["a", "é", "€", "🦀", "\0"][dice.below(5)].as_bytes();
                bytes.extend_from_slice(&whole[..whole.len() - usize::from(dice.below(30) == 0)]);
            }
            if dice.below(8) == 0 {
                bytes.push(u8::try_from(dice.below(256)).unwrap());
            }
            let mut utf8 = Utf8::default();
            let mut left = bytes.as_slice();
            while !left.is_empty() {
                let (now, later) = left.split_at(dice.below(left.len() + 1));
                utf8.add(now);
                left = later;
            }
            assert_eq!(utf8.is_whole(), std::str::from_utf8(&bytes).is_ok(), "{bytes:?}");
            *if utf8.is_whole() { &mut good } else { &mut bad } += 1;
        }
        assert!(good > 1000 && bad > 1000);
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_cuts_but_on_every_byte() {
        let mut digest = Digest::default();
        for part in ["one ", "", "t", "wo"] {
            digest.add(part.as_bytes());
        }
        assert_eq!(digest.0, Digest::of(b"one two"));
        assert_ne!(digest.0, Digest::of(b"one twp"));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "words").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open(&file).is_ok());
        assert!(open(&link).is_err());
        assert!(open(Path::new("/dev/null")).is_err());
        assert!(open(folder.path()).is_err());
    }

    #[test]
    fn what_is_appended_after_opening_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        std::fs::write(&file, "one two").unwrap();
        let mut opened = open(&file).unwrap();
        std::fs::write(&file, "one two three").unwrap();
        let mut text = String::new();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }
}
