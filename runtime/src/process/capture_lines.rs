//! Lines from children: splitting, making harmless, limiting, remembering. Pure: bytes and times are handed in.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The longest line that is kept whole; longer ones are cut into pieces of this size.
///
/// Nobody reads longer lines on a terminal, and a child that never writes a newline must not fill our memory.
pub const LINE_LIMIT: usize = 16 << 10;

/// How many lines one stream of a child may print a second, over time: more than a person reads, less than a terminal shows.
pub const LINES_PER_SECOND: u32 = 2_000;

/// How many bytes one stream of a child may print a second, over time: what a slow terminal or disk keeps up with.
pub const BYTES_PER_SECOND: u32 = 4 << 20;

/// How much one stream may print at once, measured in time at the rates above: 4,000 lines or 8 MiB.
///
/// Enough for the longest backtraces and listings.
pub const BURST: Duration = Duration::from_secs(2);

/// How long nothing is printed after the limit was reached.
///
/// Opening for single lines, as the rate would allow, would print one notice of dropped lines per line.
pub const PAUSE: Duration = Duration::from_secs(1);

/// How many of the last lines are remembered for a crash report: a panic message and the top of its backtrace.
pub const TAIL_LINES: usize = 20;

/// How many characters of each of these are shown.
pub const TAIL_LINE_CHARACTERS: usize = 500;

/// How many bytes they may have together: a report should fit on a screen and in a datagram's worth of frame.
pub const TAIL_BYTES: usize = 4 << 10;

/// A line, or a piece of one that is too long; without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What the child wrote, untouched.
    pub bytes: &'a [u8],
    /// Whether this continues a line whose earlier pieces came before.
    pub continued: bool,
    /// Whether the line goes on in a next piece.
    pub continues: bool,
}

impl Piece<'_> {
    /// The text as it may be shown: harmless, and with `…` where it was cut.
    pub fn shown(&self) -> String {
        let mut text = String::with_capacity(self.bytes.len() + 8);
        if self.continued {
            text.push('…');
        }
        escape_into(self.bytes, &mut text);
        if self.continues {
            text.push('…');
        }
        text
    }
}

/// Cuts a stream of bytes into lines, however it arrives.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The beginning of a line whose newline has not arrived; at most [`LINE_LIMIT`] bytes.
    unfinished: Vec<u8>,
    /// Whether pieces of the unfinished line were given out already.
    continued: bool,
}

impl LineSplitter {
    /// Takes the next bytes and gives out every line that they complete, and pieces of a line that grew too long.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Piece<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = &bytes[..end];
            if self.unfinished.is_empty() && line.len() <= LINE_LIMIT {
                // The usual case: a whole line, not copied.
                take(last_piece(line, self.continued));
            } else {
                self.append(line, &mut take);
                take(last_piece(&self.unfinished, self.continued));
                self.unfinished.clear();
            }
            self.continued = false;
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, &mut take);
    }

    /// Gives out a last line that has no newline, if there is one: the stream has ended.
    pub fn finish(&mut self, take: impl FnOnce(Piece<'_>)) {
        if !self.unfinished.is_empty() {
            take(last_piece(&self.unfinished, self.continued));
        }
        *self = Self::default();
    }

    /// The beginning of a line that is not complete yet, if none of it was given out.
    pub fn unfinished(&self) -> Option<&[u8]> {
        (!self.unfinished.is_empty() && !self.continued).then_some(&self.unfinished)
    }

    fn append(&mut self, mut bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        while self.unfinished.len() + bytes.len() > LINE_LIMIT {
            let (fitting, rest) = bytes.split_at(LINE_LIMIT - self.unfinished.len());
            self.unfinished.extend_from_slice(fitting);
            let cut = character_boundary(&self.unfinished);
            take(Piece { bytes: &self.unfinished[..cut], continued: self.continued, continues: true });
            self.unfinished.drain(..cut);
            self.continued = true;
            bytes = rest;
        }
        self.unfinished.extend_from_slice(bytes);
    }
}

fn last_piece(line: &[u8], continued: bool) -> Piece<'_> {
    // Some programs end their lines with "\r\n".
    let bytes = line.strip_suffix(b"\r").unwrap_or(line);
    Piece { bytes, continued, continues: false }
}

/// Where to cut these bytes so that no UTF-8 character is torn: at the end, or up to three bytes before it.
fn character_boundary(bytes: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let start =
        (1..=4).filter_map(|back| bytes.len().checked_sub(back)).find(|at| !is_continuation(bytes[*at]));
    match start {
        Some(at) if at > 0 && bytes.len() - at < character_length(bytes[at]) => at,
        _ => bytes.len(),
    }
}

fn character_length(first_byte: u8) -> usize {
    match first_byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// A child's text made harmless for a terminal.
///
/// Control characters other than tab are shown as `\x1b`, as are the characters that turn the direction of writing or end a
/// line in Unicode, as `\u{202e}`: no child can move the cursor, hide text or forge another one's line. What is not UTF-8
/// is replaced. A backslash stays as it is.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    escape_into(bytes, &mut text);
    text
}

fn escape_into(bytes: &[u8], out: &mut String) {
    for character in String::from_utf8_lossy(bytes).chars() {
        // Writing into a String cannot fail.
        let _ = match character {
            '\t' => out.write_char('\t'),
            control if control.is_control() => write!(out, "\\x{:02x}", u32::from(control)),
            turning if turns_or_ends(turning) => write!(out, "{}", turning.escape_unicode()),
            harmless => out.write_char(harmless),
        };
    }
}

/// Whether it turns the direction of writing, or ends a line in Unicode.
fn turns_or_ends(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a terminal shows it and does nothing else.
pub fn is_harmless(character: char) -> bool {
    !character.is_control() && !turns_or_ends(character)
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Print it.
    Print,
    /// First say that so many lines were dropped, then print it.
    PrintAfterDropped(u64),
    /// Drop it; it is counted.
    Drop,
}

/// Limits what one stream of a child prints, in lines and in bytes a second, and counts what is dropped.
#[derive(Debug)]
pub struct RateLimit {
    /// Until when the lines printed so far keep a printer busy that prints [`LINES_PER_SECOND`].
    lines_until: Instant,
    /// The same for bytes.
    bytes_until: Instant,
    /// While lines are being dropped: until when.
    closed_until: Option<Instant>,
    /// Not announced yet.
    dropped: u64,
}

impl RateLimit {
    /// A limit with its whole burst unused.
    pub fn new(now: Instant) -> Self {
        Self { lines_until: now, bytes_until: now, closed_until: None, dropped: 0 }
    }

    /// Decides about a line of so many bytes, as the child wrote them.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> Verdict {
        let lines_until = self.lines_until.max(now) + Duration::from_secs(1) / LINES_PER_SECOND;
        let bytes_until = self.bytes_until.max(now) + time_for_bytes(bytes);
        if self.closed_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return Verdict::Drop;
        }
        if lines_until.max(bytes_until) > now + BURST {
            self.refuse(now);
            return Verdict::Drop;
        }
        self.lines_until = lines_until;
        self.bytes_until = bytes_until;
        match self.announce(now) {
            Some(dropped) => Verdict::PrintAfterDropped(dropped),
            None => Verdict::Print,
        }
    }

    /// Counts a line that could not be printed, and drops what follows for a while.
    pub fn refuse(&mut self, now: Instant) {
        self.dropped += 1;
        self.closed_until = Some(now + PAUSE);
    }

    /// When dropped lines are to be announced even if no further line comes.
    pub fn announce_at(&self) -> Option<Instant> {
        self.closed_until
    }

    /// How many lines were dropped and not announced, once it is time to say so; then counts anew.
    pub fn announce(&mut self, now: Instant) -> Option<u64> {
        if self.closed_until.is_none_or(|until| now < until) {
            return None;
        }
        Some(self.announce_now()).filter(|dropped| *dropped > 0)
    }

    /// The same without waiting: the stream has ended.
    pub fn announce_now(&mut self) -> u64 {
        self.closed_until = None;
        std::mem::take(&mut self.dropped)
    }

    /// Gives back a count that could not be announced, to be told later.
    pub fn not_announced(&mut self, dropped: u64, now: Instant) {
        self.dropped += dropped;
        self.closed_until = Some(now + PAUSE);
    }
}

/// Rounded up, so that many short lines cannot slip through.
fn time_for_bytes(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000).div_ceil(u64::from(BYTES_PER_SECOND)))
}

/// The last lines that a child wrote, printed or not.
#[derive(Debug, Default)]
pub struct Tail {
    /// Each cut to what its shown characters can need at most.
    lines: VecDeque<Vec<u8>>,
    /// The line in which Rust has said why it is about to abort: the backtrace that may follow must not push it out.
    verdict: Vec<u8>,
}

impl Tail {
    /// Remembers a line and forgets the oldest one. Of a line in pieces only the first one counts.
    pub fn push(&mut self, piece: Piece<'_>) {
        if piece.continued {
            return;
        }
        if is_verdict(piece.bytes) {
            self.verdict = tail_part(piece.bytes).to_vec();
        }
        // The oldest one's memory is used again: a flood is remembered without allocating.
        let mut line =
            if self.lines.len() >= TAIL_LINES { self.lines.pop_front() } else { None }.unwrap_or_default();
        line.clear();
        line.extend_from_slice(tail_part(piece.bytes));
        self.lines.push_back(line);
    }

    /// The lines as they may be shown, oldest first, ending with the unfinished one; within all limits. If Rust has said
    /// why it aborts, that line is among them.
    pub fn shown(&self, unfinished: Option<&[u8]>) -> Vec<String> {
        let newest_first =
            unfinished.map(tail_part).into_iter().chain(self.lines.iter().rev().map(Vec::as_slice));
        let mut room = TAIL_BYTES;
        let mut shown = Vec::new();
        for line in newest_first.take(TAIL_LINES) {
            let text = shortened(line);
            let Some(left) = room.checked_sub(text.len()) else { break };
            room = left;
            shown.push(text);
        }
        shown.reverse();
        let verdict = shortened(&self.verdict);
        if !verdict.is_empty() && !shown.contains(&verdict) {
            // The oldest ones make way for it.
            while shown.len() == TAIL_LINES || (room < verdict.len() && !shown.is_empty()) {
                room += shown.remove(0).len();
            }
            shown.insert(0, verdict);
        }
        shown
    }
}

/// Whether Rust says here that it aborts, and why.
fn is_verdict(line: &[u8]) -> bool {
    line.starts_with(b"memory allocation of ") || line.ends_with(b" has overflowed its stack")
}

/// A line as it is shown in a report.
fn shortened(line: &[u8]) -> String {
    let mut text = escape(line);
    if let Some((end, _)) = text.char_indices().nth(TAIL_LINE_CHARACTERS) {
        text.truncate(end);
    }
    text
}

/// A character has at most four bytes.
fn tail_part(line: &[u8]) -> &[u8] {
    &line[..line.len().min(4 * TAIL_LINE_CHARACTERS)]
}

#[cfg(test)]
#[path = "capture_lines_tests.rs"]
mod tests;
