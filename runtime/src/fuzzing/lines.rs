//! What children print: whatever it is, nothing of it moves a cursor, and nothing of it is lost by how it arrives.

use std::time::{Duration, Instant};

use super::{Choices, Seeds};
use crate::process::capture_lines::{
    LINE_LIMIT, LineSplitter, Piece, RateLimit, TAIL_BYTES, TAIL_LINE_CHARACTERS, TAIL_LINES, Tail, Verdict,
    escape,
};

/// First how often it is repeated, then how it is cut, then the text.
pub(super) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    // Now and then lines that are longer than an input is.
    let (often, times) = (choices.byte(), usize::from(choices.byte()));
    let times = if often >= 240 { 1 + 4 * times } else { 1 };
    let (all, _) = Choices(choices.0).pieces();
    let times = times.min((3 * LINE_LIMIT) / all.len().max(1)).max(1);
    let sizes = choices.bytes(4).to_vec();
    let text = all.repeat(times);

    let whole = lines(std::iter::once(&text[..]));
    let mut cut = Vec::new();
    let mut rest = Choices(&text);
    for size in sizes.iter().cycle() {
        let piece = rest.bytes(usize::from(*size).max(1) * times);
        if piece.is_empty() {
            break;
        }
        cut.push(piece);
    }
    assert_eq!(lines(cut.into_iter()), whole, "lines do not depend on how they arrive");
    assert_eq!(whole, naive_lines(&text), "all of it comes out");
    tail_is_bounded(&text);
    rate_is_kept(&text);
}

/// The lines, each with its pieces joined.
fn lines<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut splitter = LineSplitter::default();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut goes_on = false;
    let mut take = |piece: Piece<'_>| {
        assert!(piece.bytes.len() <= LINE_LIMIT);
        assert_eq!(piece.continued, goes_on, "pieces say what they are pieces of");
        is_harmless(&piece.shown());
        match lines.last_mut() {
            Some(line) if piece.continued => line.extend_from_slice(piece.bytes),
            _ => lines.push(piece.bytes.to_vec()),
        }
        goes_on = piece.continues;
    };
    for part in parts {
        splitter.push(part, &mut take);
        assert!(splitter.unfinished().is_none_or(|unfinished| unfinished.len() <= LINE_LIMIT));
    }
    splitter.finish(&mut take);
    lines
}

fn naive_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .collect();
    // What has no newline is a line only if there is something.
    if text.last().is_none_or(|last| *last == b'\n') {
        lines.pop();
    }
    lines
}

fn is_harmless(shown: &str) {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harm = shown.chars().find(|c| (c.is_control() && *c != '\t') || turns(*c));
    assert_eq!(harm, None, "a terminal would obey");
}

fn tail_is_bounded(text: &[u8]) {
    let mut splitter = LineSplitter::default();
    let mut tail = Tail::default();
    splitter.push(text, |piece| tail.push(piece));
    let shown = tail.shown(splitter.unfinished());
    assert!(shown.len() <= TAIL_LINES);
    assert!(shown.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
    for line in &shown {
        is_harmless(line);
        assert!(line.chars().count() <= TAIL_LINE_CHARACTERS, "{} characters", line.chars().count());
    }
    is_harmless(&escape(text));
}

/// What is printed in a second keeps to the limits, and what is not is counted.
fn rate_is_kept(text: &[u8]) {
    let begin = Instant::now();
    let mut rate = RateLimit::new(begin);
    let (mut printed, mut dropped, mut told) = (0_u64, 0_u64, 0_u64);
    let mut now = begin;
    for chunk in text.chunks(2) {
        let bytes = usize::from(chunk[0]) << 12;
        now += Duration::from_micros(u64::from(chunk.get(1).copied().unwrap_or_default()) << 4);
        match rate.admit(bytes, now) {
            Verdict::Print => printed += bytes as u64,
            Verdict::PrintAfterDropped(count) => {
                told += count;
                printed += bytes as u64;
            }
            Verdict::Drop => dropped += 1,
        }
        let allowed = (now - begin + crate::process::capture_lines::BURST).as_secs_f64() * f64::from(4 << 20);
        #[allow(clippy::cast_precision_loss)] // Far below 2^52.
        let excess = printed as f64 - allowed;
        assert!(excess <= 1.0, "{excess} bytes more than the rate allows");
    }
    assert_eq!(told + rate.announce_now(), dropped, "every dropped line is told of");
}

pub(super) fn seeds() -> Seeds {
    let seed = |times: [u8; 2], text: &[u8]| [&times[..], &[3, 1, 200, 17], text].concat();
    let once = |text: &[u8]| seed([0, 0], text);
    vec![
        ("lines", once(b"one\ntwo\r\n\nno newline")),
        ("escapes", once(b"\x1b[2J\x1b]0;title\x07\x08\x7f\xc2\x9b31m\n")),
        ("bidi", once("a\u{202e}b\u{2066}c\u{2028}d\u{200f}\n".as_bytes())),
        ("not-utf-8", once(&[0xff, 0xc3, b'\n', 0xe2, 0x80, b'\n', 0xf0, 0x9f, 0x98])),
        ("long-line", seed([240, 255], &[b'x'; 60])),
        ("long-characters", seed([240, 255], &"ß€😀".repeat(4).into_bytes())),
        ("many-lines", seed([240, 255], b"line\n")),
        ("verdict", once(b"memory allocation of 99 bytes failed\n1\n2\n3\n")),
        ("overflow", once(b"thread 'main' has overflowed its stack\n\x1b[31m")),
        (
            "long-verdict",
            seed([0, 0], &[b"memory allocation of ".to_vec(), vec![b'9'; 700], b"\nx\n".to_vec()].concat()),
        ),
        ("carriage-returns", once(b"\r\r\n\r")),
        ("zeroes", once(&[0; 40])),
    ]
}
