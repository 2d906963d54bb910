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
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(out, "{}", character.escape_unicode())
            }
            harmless => out.write_char(harmless),
        };
    }
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
}

impl Tail {
    /// Remembers a line and forgets the oldest one. Of a line in pieces only the first one counts.
    pub fn push(&mut self, piece: Piece<'_>) {
        if piece.continued {
            return;
        }
        // The oldest one's memory is used again: a flood is remembered without allocating.
        let mut line =
            if self.lines.len() >= TAIL_LINES { self.lines.pop_front() } else { None }.unwrap_or_default();
        line.clear();
        line.extend_from_slice(tail_part(piece.bytes));
        self.lines.push_back(line);
    }

    /// The lines as they may be shown, oldest first, ending with the unfinished one; within all limits.
    pub fn shown(&self, unfinished: Option<&[u8]>) -> Vec<String> {
        let newest_first =
            unfinished.map(tail_part).into_iter().chain(self.lines.iter().rev().map(Vec::as_slice));
        let mut room = TAIL_BYTES;
        let mut shown = Vec::new();
        for line in newest_first.take(TAIL_LINES) {
            let mut text = escape(line);
            if let Some((end, _)) = text.char_indices().nth(TAIL_LINE_CHARACTERS) {
                text.truncate(end);
            }
            let Some(left) = room.checked_sub(text.len()) else { break };
            room = left;
            shown.push(text);
        }
        shown.reverse();
        shown
    }
}

/// A character has at most four bytes.
fn tail_part(line: &[u8]) -> &[u8] {
    &line[..line.len().min(4 * TAIL_LINE_CHARACTERS)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text, whether it is continued, whether it continues.
    type Owned = (Vec<u8>, bool, bool);

    fn split(chunks: &[&[u8]]) -> Vec<Owned> {
        let mut splitter = LineSplitter::default();
        let mut pieces = Vec::new();
        let mut take =
            |piece: Piece<'_>| pieces.push((piece.bytes.to_vec(), piece.continued, piece.continues));
        for chunk in chunks {
            splitter.push(chunk, &mut take);
        }
        splitter.finish(&mut take);
        pieces
    }

    fn whole(line: &str) -> Owned {
        (line.as_bytes().to_vec(), false, false)
    }

    #[test]
    fn lines_are_whole_however_they_arrive_and_the_last_needs_no_newline() {
        let expected = [whole("one"), whole(""), whole("two"), whole("three")];
        assert_eq!(split(&[b"one\n\ntwo\r\nthree"]), expected);
        assert_eq!(split(&[b"on", b"e\n", b"\nt", b"wo\r", b"\nthr", b"ee"]), expected);
        assert_eq!(split(&[b""]), []);
        assert_eq!(split(&[b"ended\n"]), [whole("ended")]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_cut_and_one_byte_more_is() {
        let line = vec![b'x'; LINE_LIMIT];
        assert_eq!(split(&[&line, b"\n"]), [(line.clone(), false, false)]);
        assert_eq!(split(&[&line, b"y\n"]), [(line.clone(), false, true), (b"y".to_vec(), true, false)]);
        let shown = Piece { bytes: b"y", continued: true, continues: true }.shown();
        assert_eq!(shown, "…y…");
    }

    #[test]
    fn a_cut_never_tears_a_character() {
        for character in ["é", "→", "🦀"] {
            for offset in 0..4 {
                let line = "x".repeat(offset) + &character.repeat(LINE_LIMIT);
                let pieces = split(&[line.as_bytes()]);
                assert!(pieces.len() > 1);
                assert!(pieces.iter().all(|(bytes, ..)| std::str::from_utf8(bytes).is_ok()));
            }
        }
        // Garbage is cut at the limit, and never loops.
        assert_eq!(split(&[&vec![0x80; LINE_LIMIT + 1]])[0].0.len(), LINE_LIMIT);
        assert_eq!(split(&[&vec![0xf0; LINE_LIMIT + 1]])[0].0.len(), LINE_LIMIT - 1);
    }

    #[test]
    fn a_child_can_neither_colour_nor_forge_nor_turn_the_text() {
        assert_eq!(escape(b"a\tb"), "a\tb");
        assert_eq!(escape(b"\x1b[2J\r[boss] ok\x07\x7f"), r"\x1b[2J\x0d[boss] ok\x07\x7f");
        assert_eq!(escape("\u{9b}31m\u{202e}txt\u{2028}x".as_bytes()), r"\x9b31m\u{202e}txt\u{2028}x");
        assert_eq!(escape(b"bad \xff\xfe utf-8"), "bad \u{fffd}\u{fffd} utf-8");
        assert_eq!(escape("größer → 🦀 C:\\x".as_bytes()), "größer → 🦀 C:\\x");
    }

    #[test]
    fn a_flood_is_cut_after_its_burst_and_announced_once_a_second() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let printed = (0..10_000).filter(|_| limit.admit(2, start) == Verdict::Print).count();
        assert_eq!(printed, 4_000);
        assert_eq!(limit.admit(2, start + PAUSE - Duration::from_nanos(1)), Verdict::Drop);
        assert_eq!(limit.admit(2, start + PAUSE), Verdict::PrintAfterDropped(6_001));
        assert_eq!(limit.admit(2, start + PAUSE), Verdict::Print);
        assert_eq!(limit.announce_now(), 0);
    }

    #[test]
    fn few_but_long_lines_are_limited_by_their_bytes() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let printed = (0..1_000).filter(|_| limit.admit(LINE_LIMIT, start) == Verdict::Print).count();
        assert_eq!(printed, (8 << 20) / LINE_LIMIT);
    }

    #[test]
    fn drops_before_a_silence_are_announced_too_and_what_could_not_be_said_is_said_later() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        assert_eq!(limit.announce_at(), None);
        limit.refuse(start);
        assert_eq!(limit.announce(start), None);
        let later = limit.announce_at().unwrap();
        assert_eq!(limit.announce(later), Some(1));
        assert_eq!((limit.announce_at(), limit.announce(later)), (None, None));
        limit.not_announced(1, later);
        assert_eq!(limit.announce(later + PAUSE), Some(1));
    }

    fn piece(line: &str) -> Piece<'_> {
        Piece { bytes: line.as_bytes(), continued: false, continues: false }
    }

    #[test]
    fn the_tail_keeps_the_last_lines_and_the_unfinished_one_within_its_limits() {
        let mut tail = Tail::default();
        (0..100).for_each(|number| tail.push(piece(&format!("line {number}"))));
        let shown = tail.shown(Some(b"no newline"));
        assert_eq!(shown.len(), TAIL_LINES);
        assert_eq!(
            (shown[0].as_str(), shown[18].as_str(), shown[19].as_str()),
            ("line 81", "line 99", "no newline")
        );

        (0..100).for_each(|_| tail.push(piece(&"→".repeat(1_000))));
        tail.push(Piece { bytes: b"rest", continued: true, continues: false });
        let shown = tail.shown(None);
        assert_eq!(shown.len(), 2, "two of 1,500 bytes fit, three do not");
        assert!(shown.iter().all(|line| line.chars().count() == TAIL_LINE_CHARACTERS));
    }

    proptest! {
        #[test]
        fn splitting_does_not_depend_on_where_the_stream_was_torn(
            text in proptest::collection::vec(prop_oneof![8 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..2_000),
            repeat in 1_usize..40,
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = text.repeat(repeat);
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
            ends.sort_unstable();
            let chunks: Vec<_> = ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let pieces = split(&chunks);
            prop_assert_eq!(&pieces, &split(&[&text]));

            // Put together again it is the text, but for the line ends.
            let mut rebuilt = vec![Vec::new()];
            for (bytes, _, continues) in &pieces {
                prop_assert!(bytes.len() <= LINE_LIMIT);
                rebuilt.last_mut().unwrap().extend_from_slice(bytes);
                if !continues {
                    rebuilt.push(Vec::new());
                }
            }
            rebuilt.pop();
            let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
            if lines.last().is_some_and(|last| last.is_empty()) {
                lines.pop();
            }
            let lines: Vec<_> = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect();
            prop_assert_eq!(rebuilt, lines);
        }

        #[test]
        fn shown_text_never_holds_a_control_character_but_tab(bytes in proptest::collection::vec(any::<u8>(), 0..300), text: String) {
            for shown in [escape(&bytes), escape(text.as_bytes())] {
                prop_assert!(shown.chars().all(|character| character == '\t' || !character.is_control()));
            }
        }

        #[test]
        fn no_second_prints_more_than_burst_and_rate_and_every_line_is_printed_or_announced(
            lines in proptest::collection::vec((0_u64..3_000, 0_usize..=LINE_LIMIT, 1_usize..3_000), 1..60),
        ) {
            let start = Instant::now();
            let mut limit = RateLimit::new(start);
            let (mut now, mut printed_bytes, mut printed, mut announced, mut all) = (start, 0, 0_u64, 0_u64, 0_u64);
            for (pause, bytes, count) in lines {
                now += Duration::from_millis(pause);
                for _ in 0..count {
                    all += 1;
                    let verdict = limit.admit(bytes, now);
                    if let Verdict::PrintAfterDropped(dropped) = verdict {
                        announced += dropped;
                    }
                    if verdict != Verdict::Drop {
                        printed += 1;
                        printed_bytes += bytes;
                    }
                }
            }
            let seconds = (now - start + BURST).as_secs_f64();
            prop_assert!(printed as f64 <= seconds * f64::from(LINES_PER_SECOND) + 1e-3);
            prop_assert!(printed_bytes as f64 <= seconds * f64::from(BYTES_PER_SECOND) + 1e-3);
            prop_assert_eq!(printed + announced + limit.announce_now(), all);
        }
    }
}
