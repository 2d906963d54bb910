//! Cuts a stream of bytes into chunks of which none ends within a word. Pure but for the stream.

use std::io::{self, Read};

use crate::words::is_letter;

/// How large a chunk is unless a word is longer: enough that a message costs little beside counting it, little enough
/// that even a middling tree gives every mapper some.
pub const CHUNK: usize = 128 << 10;
/// The longest word that is counted: with its count it fits the runtime's limit of 16 MiB for a message, and no
/// chunk takes more memory than this.
pub const LONGEST_WORD: usize = 8 << 20;

/// A piece of a file that begins and ends between words.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file it begins.
    pub offset: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Makes pieces of a stream, never holding more than one piece and the beginning of the next.
pub struct Chunker<R> {
    source: R,
    /// How large a piece is to be,
    size: usize,
    /// and the longest word that is not left out.
    longest: usize,
    /// Read and not given away yet; begins between words or at the beginning of one.
    buffer: Vec<u8>,
    /// Where the buffer begins.
    offset: u64,
    /// So many words were left out because they were too long.
    pub overlong: u64,
    /// Why the stream ended, if it did not end well.
    pub error: Option<io::Error>,
    ended: bool,
}

impl<R: Read> Chunker<R> {
    /// For a file.
    pub fn new(source: R) -> Self {
        Self::with_sizes(source, CHUNK, LONGEST_WORD)
    }

    fn with_sizes(source: R, size: usize, longest: usize) -> Self {
        let (buffer, offset, overlong) = (Vec::new(), 0, 0);
        Chunker { source, size, longest, buffer, offset, overlong, error: None, ended: false }
    }

    /// The stream, for what it knows of itself.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// The next piece; `None` at the end. A stream that fails ends there: what it gave before is given on, and the
    /// reason is in `error`.
    pub fn next(&mut self) -> Option<Piece> {
        let mut size = self.size;
        loop {
            self.fill(size);
            match self.buffer.iter().rposition(|&byte| !is_letter(byte)) {
                Some(_) if self.ended => return Some(self.give(self.buffer.len())),
                Some(last) => return Some(self.give(last + 1)),
                // One word so far.
                None if self.buffer.len() > self.longest => self.leave_out_a_word(),
                None if self.buffer.is_empty() => return None,
                None if self.ended => return Some(self.give(self.buffer.len())),
                None => size = (self.buffer.len() * 2).min(self.longest + 1),
            }
        }
    }

    /// Reads until the buffer holds `size` bytes or the stream has ended.
    fn fill(&mut self, size: usize) {
        let missing = size.saturating_sub(self.buffer.len());
        if self.ended || missing == 0 {
            return;
        }
        match self.source.by_ref().take(missing as u64).read_to_end(&mut self.buffer) {
            Ok(read) => self.ended = read < missing,
            Err(error) => {
                self.error = Some(error);
                self.ended = true;
            }
        }
    }

    fn give(&mut self, length: usize) -> Piece {
        let mut bytes = match length == self.buffer.len() {
            true => Vec::new(),
            false => Vec::with_capacity(self.size),
        };
        bytes.extend_from_slice(&self.buffer[length..]);
        std::mem::swap(&mut bytes, &mut self.buffer);
        bytes.truncate(length);
        let offset = self.offset;
        self.offset += length as u64;
        Piece { offset, bytes }
    }

    /// The buffer is the beginning of a word that is too long: goes on behind it.
    fn leave_out_a_word(&mut self) {
        self.overlong += 1;
        loop {
            let letters = self.buffer.iter().position(|&byte| !is_letter(byte));
            self.offset += letters.unwrap_or(self.buffer.len()) as u64;
            match letters {
                Some(letters) => {
                    self.buffer.drain(..letters);
                    return;
                }
                None => self.buffer.clear(),
            }
            if self.ended {
                return;
            }
            self.fill(self.size);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::words::tests::{Dice, counted, naive};

    /// Gives a few bytes at a time, is interrupted now and then, and fails at the end if told to.
    struct Trickle<'a> {
        left: &'a [u8],
        dice: Dice,
        fails: bool,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.dice.below(5) == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.left.is_empty() && self.fails {
                return Err(io::Error::other("the disk is on fire"));
            }
            let length = (1 + self.dice.below(9)).min(self.left.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.left[..length]);
            self.left = &self.left[length..];
            Ok(length)
        }
    }

    fn pieces(bytes: &[u8], size: usize, longest: usize, fails: bool) -> (Vec<Piece>, u64) {
        let source = Trickle { left: bytes, dice: Dice(bytes.len() as u64), fails };
        let mut chunker = Chunker::with_sizes(source, size, longest);
        let all = std::iter::from_fn(|| chunker.next()).collect();
        assert_eq!(chunker.error.is_some(), fails);
        (all, chunker.overlong)
    }

    #[test]
    fn no_cut_is_within_a_word_and_nothing_is_lost() {
        let mut dice = Dice(3);
        for _ in 0..3000 {
            let (length, size) = (dice.below(400), 1 + dice.below(40));
            let (bytes, fails) = (dice.bytes(length), dice.below(4) == 0);
            let (pieces, overlong) = pieces(&bytes, size, 1000, fails);
            let mut sum = std::collections::BTreeMap::new();
            let mut at = 0;
            for piece in &pieces {
                assert_eq!(piece.offset, at as u64);
                let end = at + piece.bytes.len();
                assert_eq!(piece.bytes, bytes[at..end]);
                assert!(
                    end == bytes.len() || !(is_letter(bytes[end - 1]) && is_letter(bytes[end])),
                    "cut at {end}"
                );
                at = end;
                for (word, count) in counted(&piece.bytes) {
                    *sum.entry(word).or_default() += count;
                }
            }
            assert_eq!((at, overlong), (bytes.len(), 0));
            assert_eq!(sum, naive(&bytes));
        }
    }

    #[test]
    fn a_piece_is_larger_than_asked_for_only_where_a_word_is() {
        let text = [b"ab ".repeat(50), vec![b'x'; 300], b" cd".repeat(50)].concat();
        let (pieces, _) = pieces(&text, 16, 1000, false);
        let large: Vec<&Piece> = pieces.iter().filter(|piece| piece.bytes.len() > 16).collect();
        assert_eq!(large.len(), 1);
        assert!(large[0].bytes.len() <= 600);
    }

    #[test]
    fn words_beyond_the_limit_are_left_out_and_counted_and_all_others_kept() {
        let mut dice = Dice(4);
        for _ in 0..2000 {
            let length = dice.below(600);
            let bytes = dice.bytes(length);
            let (pieces, overlong) = pieces(&bytes, 1 + dice.below(8), 8, false);
            let mut expected = naive(&bytes);
            let too_long: u64 = expected.iter().filter(|(word, _)| word.len() > 8).map(|(_, n)| n).sum();
            expected.retain(|word, _| word.len() <= 8);
            let mut sum = std::collections::BTreeMap::new();
            for piece in &pieces {
                assert!(bytes[usize::try_from(piece.offset).unwrap()..].starts_with(&piece.bytes));
                for (word, count) in counted(&piece.bytes) {
                    *sum.entry(word).or_default() += count;
                }
            }
            assert_eq!((sum, overlong), (expected, too_long), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_word_of_just_the_limit_is_kept() {
        for (length, kept) in [(7, 1), (8, 1), (9, 0), (16, 0), (17, 0)] {
            for end in ["", " ", "  a"] {
                let text = format!(" {}{end}", "x".repeat(length));
                let (pieces, overlong) = pieces(text.as_bytes(), 8, 8, false);
                let words =
                    pieces.iter().flat_map(|piece| counted(&piece.bytes)).filter(|(word, _)| word[0] == b'x');
                assert_eq!((words.count(), overlong), (kept, 1 - kept as u64), "{text:?}");
            }
        }
    }
}
