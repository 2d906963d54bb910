//! What children say reaches a terminal or a log bounded, with their name before it, and unable to pass for anything else.

use std::process::Command;

use watertight_tests::loud::FORGED;

/// What comes out of a program whose actors try to deceive.
fn said() -> (Vec<u8>, Vec<u8>) {
    let output = Command::new(env!("CARGO_BIN_EXE_loud")).env_remove("RUST_BACKTRACE").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "its closure has ended with an error");
    (output.stdout, output.stderr)
}

fn is_harmless(character: char) -> bool {
    let turns = matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(character, '\n' | '\t') || !(character.is_control() || turns)
}

#[test]
fn nothing_that_a_child_says_moves_the_cursor_or_forges_a_line() {
    let (stdout, stderr) = said();
    for (stream, bytes) in [("stdout", stdout), ("stderr", stderr)] {
        let text = String::from_utf8(bytes).unwrap();
        let harmful: Vec<_> = text.char_indices().filter(|(_, character)| !is_harmless(*character)).collect();
        assert!(harmful.is_empty(), "{stream}: {:?}", &harmful[..harmful.len().min(5)]);
        // It was said, and is shown, but nowhere as a line of its own.
        assert!(text.contains(FORGED), "{stream}: the forgery has not even arrived");
        let forged: Vec<_> = text.lines().filter(|line| line.starts_with(FORGED)).collect();
        assert!(forged.is_empty(), "{stream}: {forged:?}");
        // 16 MiB were said on each.
        assert!(text.len() < 10 << 20, "{stream}: {} bytes", text.len());
        let longest = text.lines().map(str::len).max().unwrap_or(0);
        assert!(longest < 80 << 10, "{stream}: a line of {longest} bytes");
    }
}

#[test]
fn each_line_is_a_childs_with_its_name_or_the_programs_own() {
    let (stdout, stderr) = said();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    let known = |line: &str| {
        // Set in: it belongs to the line above it.
        line.starts_with("[loud")
            || line.starts_with("program: ")
            || line.starts_with("    ")
            || line.starts_with("error: ")
            || line.starts_with("… ")
            || line.starts_with("20") && !line.starts_with(FORGED)
    };
    for line in stdout.lines().chain(stderr.lines()) {
        assert!(known(line), "{line:?}");
    }
    assert_eq!(stdout.lines().filter(|line| line.starts_with("program: refused")).count(), 4, "{stderr}");
    let flood = stdout.lines().filter(|line| line.contains("flood")).count();
    assert!((1..20_000).contains(&flood), "of 20,000 lines at once {flood} were shown");
    assert!(stdout.contains("lines dropped"), "what is not shown is counted");
}
