#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Condvar;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::capture_printer::Colours;

const WATCHDOG: Duration = Duration::from_secs(30);

/// A terminal in memory, which can be paused.
#[derive(Clone, Default)]
struct Screen(Arc<ScreenState>);

#[derive(Default)]
struct ScreenState {
    text: Mutex<Vec<u8>>,
    paused: Mutex<bool>,
    unpaused: Condvar,
}

impl Screen {
    fn pause(&self, paused: bool) {
        *self.0.paused.lock().unwrap() = paused;
        self.0.unpaused.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.text.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        drop(self.0.unpaused.wait_while(self.0.paused.lock().unwrap(), |paused| *paused).unwrap());
        self.0.text.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Terminal {
    printer: Arc<Printer>,
    stdout: Screen,
    stderr: Screen,
}

fn terminal(colours: Colours) -> Terminal {
    let (stdout, stderr) = (Screen::default(), Screen::default());
    Terminal { printer: Printer::start(stdout.clone(), stderr.clone(), colours).unwrap(), stdout, stderr }
}

impl Terminal {
    fn run(&self, label: &str, sink: Sink, script: &str) -> (Child, Captured) {
        let (stdout, their_stdout) = io::pipe().unwrap();
        let (stderr, their_stderr) = io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).process_group(0).stdout(their_stdout).stderr(their_stderr);
        let child = command.spawn().unwrap();
        let captured =
            attach_to(self.printer.clone(), label, sink, false, stdout.into(), stderr.into()).unwrap();
        (child, captured)
    }

    /// Runs it to its end; the pipes are read to theirs.
    async fn run_whole(&self, label: &str, sink: Sink, script: &str) -> Captured {
        let (child, captured) = self.run(label, sink, script);
        self.end((child, &captured)).await;
        captured
    }

    async fn end(&self, (mut child, captured): (Child, &Captured)) {
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        let mut served = captured.served.clone();
        tokio::time::timeout(WATCHDOG, served.wait_for(|_| false)).await.unwrap().unwrap_err();
        assert!(self.printer.flush(WATCHDOG));
    }
}

async fn drained(captured: &Captured) {
    tokio::time::timeout(WATCHDOG, captured.drained()).await.unwrap();
}

/// The number in "[label … 12 lines dropped]", or 0 for any other line.
fn announced(line: &str) -> u64 {
    let Some((_, notice)) = line.split_once("… ") else { return 0 };
    notice.split_once(" line").and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn the_lines_of_four_processes_never_interleave() {
    let terminal = terminal(Colours::default());
    // Each line arrives in two writes, and on both streams in turn.
    let script = "i=0; while [ $i -lt 500 ]; do printf \"out $i \"; printf \"err $i \" >&2; \
                  echo end; echo end >&2; i=$((i+1)); done";
    let names = ["a", "b", "c", "d"];
    let all = names.map(|name| terminal.run(name, Sink::Labelled, script));
    for (child, captured) in all {
        terminal.end((child, &captured)).await;
    }
    for (screen, word) in [(&terminal.stdout, "out"), (&terminal.stderr, "err")] {
        let lines = screen.lines();
        assert_eq!(lines.len(), 2_000);
        for name in names {
            let own = lines.iter().filter(|line| line.starts_with(&format!("[{name}] ")));
            let expected = (0..500).map(|number| format!("[{name}] {word} {number} end"));
            assert!(own.cloned().eq(expected), "{name} {word}");
        }
    }
}

#[tokio::test]
async fn a_flood_does_not_block_and_every_line_is_shown_or_counted_and_announced() {
    let terminal = terminal(Colours::default());
    let captured = terminal.run_whole("flood", Sink::Labelled, "yes | head -c 4000000; echo last >&2").await;
    let lines: Vec<_> = terminal.stdout.lines().into_iter().chain(terminal.stderr.lines()).collect();
    let shown =
        lines.iter().filter(|line| ["[flood] y", "[flood] last"].contains(&line.as_str())).count() as u64;
    let told: u64 = lines.iter().map(|line| announced(line)).sum();
    assert!(shown >= 4_001, "{shown}");
    assert_eq!(terminal.stderr.lines(), ["[flood] last"], "not hidden by the flood in stdout");
    assert!(told > 0);
    assert_eq!(shown + told, 2_000_001);
    assert_eq!(captured.stderr_tail(), ["last"], "remembered, whether shown or not");
}

#[tokio::test]
async fn a_flood_in_one_child_leaves_another_ones_lines_alone() {
    let terminal = terminal(Colours::default());
    let (mut noisy, noise) = terminal.run("noisy", Sink::Labelled, "exec yes");
    terminal.run_whole("quiet", Sink::Labelled, "for i in 1 2 3; do echo $i; done").await;
    let quiet_lines = terminal.stdout.lines().into_iter().filter(|line| line.starts_with("[quiet]"));
    assert!(quiet_lines.eq(["[quiet] 1", "[quiet] 2", "[quiet] 3"]));
    noisy.kill().unwrap();
    terminal.end((noisy, &noise)).await;
}

#[tokio::test]
async fn a_grandchild_that_holds_or_floods_the_pipe_does_not_hang_drained() {
    for grandchild in ["sleep 1000", "yes"] {
        let terminal = terminal(Colours::default());
        let script = format!("printf 'no newline' >&2; {grandchild} & exit 0");
        let (mut child, captured) = terminal.run("parent", Sink::Labelled, &script);
        let group = Pid::from_child(&child);
        child.wait().unwrap();
        drained(&captured).await;
        assert_eq!(captured.stderr_tail(), ["no newline"]);
        drained(&captured).await;
        kill_process_group(group, Signal::KILL).unwrap();
        terminal.end((child, &captured)).await;
        assert_eq!(terminal.stderr.lines()[0], "[parent] no newline");
        drained(&captured).await;
    }
}

#[tokio::test]
async fn what_a_dead_child_wrote_is_in_its_tail_once_drained() {
    let terminal = terminal(Colours::default());
    for round in 0..50 {
        let (mut child, captured) =
            terminal.run("x", Sink::Silent, &format!("echo {round} >&2; kill -KILL $$"));
        child.wait().unwrap();
        drained(&captured).await;
        assert_eq!(captured.stderr_tail(), [round.to_string()]);
    }
}

#[tokio::test]
async fn reading_all_that_is_there_ends_although_more_keeps_coming() {
    let (reader, mut writer) = io::pipe().unwrap();
    let pipe = Receiver::from_owned_fd(reader.into()).unwrap();
    writer.write_all(b"there").unwrap();
    let mut reads = Vec::new();
    let open = read_all(&pipe, |bytes| {
        reads.push(bytes.to_vec());
        assert!(reads.len() < 10, "it never becomes empty");
        writer.write_all(b"more").unwrap();
    });
    assert!(open);
    assert_eq!(reads, [b"there"]);
}

#[tokio::test]
async fn a_request_made_before_the_reader_runs_is_served() {
    let terminal = terminal(Colours::default());
    let ((stdout, _writer), (stderr, _other_writer)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (holding, is_held) = std::sync::mpsc::channel();
    capture_thread().unwrap().spawn(async move {
        holding.send(()).unwrap();
        let _ = held.recv();
    });
    is_held.recv_timeout(WATCHDOG).unwrap();
    let captured =
        attach_to(terminal.printer, "x", Sink::Silent, false, stdout.into(), stderr.into()).unwrap();
    let mut request = std::pin::pin!(drained(&captured));
    tokio::select! {
        biased;
        () = &mut request => panic!("the capture thread is held"),
        () = std::future::ready(()) => drop(release),
    }
    request.await;
}

#[tokio::test]
async fn a_paused_terminal_never_stops_the_draining() {
    let terminal = terminal(Colours::default());
    terminal.stdout.pause(true);
    terminal.stderr.pause(true);
    // More bytes than the queue takes, in fewer lines than the rate does.
    let script = "i=0; while [ $i -lt 30 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done";
    let (mut child, captured) = terminal.run("big", Sink::Labelled, script);
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    drained(&captured).await;
    assert!(!terminal.printer.flush(Duration::ZERO));
    terminal.stdout.pause(false);
    terminal.stderr.pause(false);
    let mut served = captured.served.clone();
    served.wait_for(|_| false).await.unwrap_err();
    assert!(terminal.printer.flush(WATCHDOG));
    let lines: Vec<_> = terminal.stdout.lines().into_iter().chain(terminal.stderr.lines()).collect();
    let told: u64 = lines.iter().map(|line| announced(line)).sum();
    let shown = lines.iter().filter(|line| announced(line) == 0).count() as u64;
    assert!(told > 0);
    // 100,000 bytes are seven pieces.
    assert_eq!(shown + told, 30 * 7);
    assert_eq!(captured.shared.queued_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn sinks_differ_in_label_and_visibility_and_all_make_text_harmless() {
    let terminal = terminal(Colours { stdout: true, stderr: false });
    let script = "printf 'a\\033[2J\\rb\\nno newline'; echo oops >&2";
    for sink in [Sink::Plain, Sink::Silent, Sink::Labelled] {
        let captured = terminal.run_whole("na\x1bme", sink, script).await;
        assert_eq!(captured.stderr_tail(), ["oops"]);
    }
    let label = format!("\x1b[{}m[na\\x1bme]\x1b[0m", colour("na\\x1bme"));
    let expected = ["a\\x1b[2J\\x0db", "no newline"];
    let labelled = expected.map(|line| format!("{label} {line}"));
    assert_eq!(terminal.stdout.lines(), [&expected.map(str::to_owned)[..], &labelled].concat());
    assert_eq!(terminal.stderr.lines(), ["oops", "[na\\x1bme] oops"]);
}

#[test]
fn only_pipes_are_taken_and_an_unused_printer_is_flushed() {
    let file = || OwnedFd::from(std::fs::File::open("/proc/self/status").unwrap());
    assert!(attach("x".into(), Sink::Silent, false, file(), file()).is_err());
    assert!(flush(Duration::ZERO));
}
