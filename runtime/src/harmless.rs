//! Text from other processes, before it reaches a report, a terminal or a log: bounded, and without what could move the
//! cursor or pass for another line.

use std::fmt;

use crate::process::capture::escape;

/// Longest message of an error or a panic that is kept, in bytes; what its sender cuts at.
pub(crate) const MESSAGE: usize = 4 << 10;
/// Longest backtrace.
pub(crate) const BACKTRACE: usize = 64 << 10;
/// Longest name of a type, a thread or a place in code.
pub(crate) const NAME: usize = 256;

/// At most `limit` bytes of it and an ellipsis, with all control characters but newline and tab shown as what they are.
pub(crate) fn text(said: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(said.len().min(limit));
    for (n, line) in said.split('\n').enumerate() {
        if n > 0 {
            shown.push('\n');
        }
        shown.push_str(&escape(cut(line, limit).as_bytes()));
        if shown.len() > limit {
            break;
        }
    }
    let end = cut(&shown, limit).len();
    if end < shown.len() || said.len() > limit {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// The same of a name, which has one line.
pub(crate) fn name(said: &str) -> String {
    escape(text(said, NAME).as_bytes())
}

fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// Shows text so that only its first line begins a line: the others are set in, so none can pass for a line of ours.
pub(crate) struct SetIn<'a>(pub(crate) &'a str);

impl fmt::Display for SetIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.0.split('\n').enumerate() {
            if n > 0 {
                f.write_str("\n    ")?;
            }
            f.write_str(&escape(line.as_bytes()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neither_colours_nor_cursors_nor_directions_survive() {
        let said = "\x1b[2J\x1b]0;title\x07red\r\x08\u{9b}31m \u{202e}evil\u{2066} tab\there\nnext";
        let shown = text(said, MESSAGE);
        assert_eq!(
            shown,
            "\\x1b[2J\\x1b]0;title\\x07red\\x0d\\x08\\x9b31m \\u{202e}evil\\u{2066} tab\there\nnext"
        );
        assert_eq!(name("a\nb"), "a\\x0ab");
    }

    #[test]
    fn a_forged_line_is_set_in() {
        let said = "boom\n WARN counter#1 (pid 1): forged";
        assert_eq!(SetIn(said).to_string(), "boom\n     WARN counter#1 (pid 1): forged");
    }

    #[test]
    fn megabytes_are_cut() {
        for said in ["x".repeat(3 << 20), "\x1b".repeat(3 << 20), "\n".repeat(3 << 20), "ß".repeat(3 << 20)]
        {
            let shown = text(&said, MESSAGE);
            assert!(shown.len() <= MESSAGE + '…'.len_utf8() && shown.ends_with('…'), "{}", shown.len());
        }
        assert_eq!(text("short", MESSAGE), "short");
        assert_eq!(text("\nbegins with a line", MESSAGE), "\nbegins with a line");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_bounded_and_harmless(said in "\\PC*|[\\s\\S]{0,300}", limit in 0_usize..200) {
            let shown = text(&said, limit);
            prop_assert!(shown.len() <= limit + '…'.len_utf8());
            prop_assert!(shown.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control()));
        }
    }
}
