//! A group that stands in no other and is given up ends the program, which says why.

use std::process::{Command, Stdio};

fn program(role: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grouped"));
    let output = command.arg(role).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_program_ends_with_a_code_of_its_own_and_names_the_child_and_its_last_crash() {
    let (code, words) = program("permanent");
    assert_eq!(code, Some(70), "{words}");
    let last = words.lines().last().unwrap_or_default();
    let expected = "error: the group outer was given up because of outer/inner/a: outer/inner/a#";
    assert!(last.starts_with(expected) && last.contains("SIGKILL"), "{words}");
}

#[test]
fn a_temporary_group_may_fail_alone() {
    let (code, words) = program("temporary");
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn a_group_that_shuts_itself_down_is_no_failure() {
    let (code, words) = program("significant");
    assert_eq!(code, Some(0), "{words}");
}
