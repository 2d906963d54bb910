//! The program of `bin/doomed.rs`, from the side of a test.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

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
        let mut command = Command::new(path);
        command.envs(environment.iter().copied()).env("WATERTIGHT_TEST_SECRET", "canary");
        Doomed::run(command)
    }

    pub fn run(mut command: Command) -> Doomed {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Doomed { child, input, output }
    }

    /// Says something whose answer is the process that it starts.
    pub fn starts(&mut self, command: &str) -> u32 {
        let pid = self.say(command).parse().unwrap();
        assert!(is_alive(pid), "{command}");
        pid
    }

    /// Says something that has no answer.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    pub fn say(&mut self, command: &str) -> String {
        self.tell(command);
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program ended at {command:?}");
        line.trim_end().to_owned()
    }
}

impl Doomed {
    /// Lets the program end as it should, and waits until it has.
    pub fn end(&mut self) {
        writeln!(self.input, "end").unwrap();
        assert!(self.child.wait().unwrap().success());
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

/// Whether there is anything of it, alive or waiting to be reaped.
pub fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// The process that is to outlive this program: it is started behind the first actor.
pub fn survivor_of(program: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("cmdline").starts_with("watertight-survivor")
            && read("stat").contains(&format!(") S {program} "))
    })
}

/// Sends a signal; after a SIGSTOP, waits until the process has stopped, which takes a moment.
pub fn signal(pid: u32, number: i32) {
    let process = Pid::from_raw(pid.cast_signed()).unwrap();
    let sent = kill_process(process, Signal::from_named_raw(number).unwrap());
    assert_eq!(sent, Ok(()), "no process {pid}");
    if number == libc::SIGSTOP {
        wait_until_stopped(pid);
    }
}

/// Waits until a process has stopped.
pub fn wait_until_stopped(pid: u32) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {
        assert!(std::time::Instant::now() < deadline, "process {pid} does not stop");
        std::thread::yield_now();
    }
}
