//! The program of `bin/doomed.rs`, from the side of a test.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A program of its own, spoken to by lines.
pub struct Doomed {
    pub child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Doomed {
    pub fn start(path: &std::path::Path) -> Doomed {
        Doomed::start_with(path, &[])
    }

    pub fn start_with(path: &std::path::Path, environment: &[(&str, &std::ffi::OsStr)]) -> Doomed {
        let mut child = Command::new(path)
            .envs(environment.iter().copied())
            .env("WATERTIGHT_TEST_SECRET", "canary")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Doomed { child, input, output }
    }

    pub fn say(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program ended at {command:?}");
        line.trim_end().to_owned()
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // It may have ended, as most of these tests want it to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    !matches!(state, None | Some('Z' | 'X'))
}
