#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// Text, whether it is continued, whether it continues.
type Owned = (Vec<u8>, bool, bool);

fn split(chunks: &[&[u8]]) -> Vec<Owned> {
    let mut splitter = LineSplitter::default();
    let mut pieces = Vec::new();
    let mut take = |piece: Piece<'_>| pieces.push((piece.bytes.to_vec(), piece.continued, piece.continues));
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

#[test]
fn a_long_backtrace_does_not_push_out_why_the_process_aborts() {
    let mut tail = Tail::default();
    tail.push(piece("memory allocation of 1048576 bytes failed"));
    (0..100).for_each(|number| tail.push(piece(&format!("  {number}: some_function"))));
    let shown = tail.shown(None);
    assert_eq!(shown.len(), TAIL_LINES);
    assert_eq!(shown[0], "memory allocation of 1048576 bytes failed");
    assert_eq!(shown[1], "  81: some_function");
    tail.push(piece("thread 'main' (7) has overflowed its stack"));
    assert_eq!(tail.shown(None).last().unwrap(), "thread 'main' (7) has overflowed its stack");
}

#[test]
fn a_verdict_keeps_to_the_limits_of_all_lines() {
    let mut tail = Tail::default();
    let verdict = [b"memory allocation of ".to_vec(), vec![0x1b; 3000]].concat();
    tail.push(Piece { bytes: &verdict, continued: false, continues: false });
    for _ in 0..TAIL_LINES {
        tail.push(Piece { bytes: &[b'x'; 499], continued: false, continues: false });
    }
    let shown = tail.shown(None);
    assert!(shown[0].starts_with("memory allocation of \\x1b"));
    assert_eq!(shown[0].chars().count(), TAIL_LINE_CHARACTERS);
    assert!(shown.len() > 1 && shown.iter().map(String::len).sum::<usize>() <= TAIL_BYTES);
}
