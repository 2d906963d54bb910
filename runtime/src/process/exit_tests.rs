#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};

use rustix::process::{PidfdFlags, pidfd_open};

struct Child {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    stdout: BufReader<ChildStdout>,
    /// Kept open: the script may wait for its end.
    stdin: Option<std::process::ChildStdin>,
}

// `finish` reaps it.
#[allow(clippy::zombie_processes)]
fn shell(script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let pidfd = watch(pidfd_open(pid, PidfdFlags::empty()).unwrap()).unwrap();
    Child { pid, pidfd, stdout: BufReader::new(child.stdout.take().unwrap()), stdin: child.stdin.take() }
}

impl Child {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    async fn exit(&self) -> RawExit {
        tokio::time::timeout(Duration::from_secs(20), wait(self.pid, &self.pidfd)).await.unwrap().unwrap();
        finish(self.pid).unwrap()
    }
}

#[tokio::test]
async fn an_exit_code_and_a_signal_are_told_apart() {
    assert_eq!(shell("exit 3").exit().await.status, WaitStatus::Code(3));
    let killed = shell("kill -SEGV $$").exit().await.status;
    assert!(matches!(killed, WaitStatus::Signal { number: libc::SIGSEGV, .. }), "{killed:?}");
    assert_eq!(signal_name(libc::SIGSEGV), "SIGSEGV");
}

#[tokio::test]
async fn the_dead_child_is_still_in_proc_until_it_is_finished() {
    let child = shell("exit 0");
    let path = format!("/proc/{}/stat", child.pid.as_raw_pid());
    wait(child.pid, &child.pidfd).await.unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains(" Z "));
    finish(child.pid).unwrap();
    assert!(std::fs::read_to_string(&path).is_err());
    assert_eq!(finish(child.pid).unwrap_err().raw_os_error(), Some(libc::ECHILD));
}

#[tokio::test]
async fn a_grandchild_in_the_group_is_killed_with_the_child() {
    // The grandchild holds the pipe, so end-of-file tells that it is gone.
    let mut child = shell("sleep 1000 & echo started");
    assert_eq!(child.line(), "started");
    assert_eq!(child.exit().await.status, WaitStatus::Code(0));
    let mut rest = String::new();
    child.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[tokio::test]
async fn finishing_a_living_child_kills_it_and_says_to_wait() {
    let mut child = shell("echo up; read line");
    assert_eq!(child.line(), "up");
    // The kill races with the reaping: the first answer may be either, the end is the same.
    let exit = match finish(child.pid) {
        Ok(exit) => exit,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            child.exit().await
        }
    };
    assert!(matches!(exit.status, WaitStatus::Signal { number: libc::SIGKILL, .. }), "{exit:?}");
}

#[tokio::test]
async fn waiting_does_not_mistake_a_stop_for_an_exit() {
    let mut child = shell("echo up; read line; exit 9");
    assert_eq!(child.line(), "up");
    kill_process(child.pidfd.as_fd(), Signal::STOP).unwrap();
    stopped_becomes(&child, Some(libc::SIGSTOP)).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), wait(child.pid, &child.pidfd)).await;
    assert!(waiting.is_err());
    kill_process(child.pidfd.as_fd(), Signal::CONT).unwrap();
    drop(child.stdin.take());
    assert_eq!(child.exit().await.status, WaitStatus::Code(9));
}

async fn stopped_becomes(child: &Child, expected: Option<i32>) {
    let reached = async {
        while is_stopped(child.pidfd.as_fd()).unwrap() != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_seen_as_often_as_asked_and_no_more_after_it_continued_or_died() {
    let mut child = shell("echo up; while read line; do echo $line; done");
    assert_eq!(child.line(), "up");
    assert_eq!(is_stopped(child.pidfd.as_fd()).unwrap(), None);
    for round in 0..3 {
        kill_process(child.pidfd.as_fd(), Signal::STOP).unwrap();
        stopped_becomes(&child, Some(libc::SIGSTOP)).await;
        assert_eq!(is_stopped(child.pidfd.as_fd()).unwrap(), Some(libc::SIGSTOP), "asked again");
        kill_process(child.pidfd.as_fd(), Signal::CONT).unwrap();
        // At once: the kernel forgets the stop while it sends the signal.
        assert_eq!(is_stopped(child.pidfd.as_fd()).unwrap(), None, "round {round}");
    }
    kill_process(child.pidfd.as_fd(), Signal::STOP).unwrap();
    stopped_becomes(&child, Some(libc::SIGSTOP)).await;
    kill_group(child.pid, Signal::KILL).unwrap();
    wait(child.pid, &child.pidfd).await.unwrap();
    assert_eq!(is_stopped(child.pidfd.as_fd()).unwrap(), None);
    finish(child.pid).unwrap();
    assert_eq!(is_stopped(child.pidfd.as_fd()).unwrap(), None);
}

#[tokio::test]
async fn usage_tells_processor_time_and_marks_a_peak_that_may_be_the_parents() {
    let busy = shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").exit().await.usage;
    assert!(busy.user + busy.system > Duration::ZERO);
    assert!(busy.peak_memory_bytes > 0);

    // This process grows far beyond what a shell needs: the child's number is then ours.
    let mut ours = vec![0_u8; 64 << 20];
    ours.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let small = shell("exit 0").exit().await.usage;
    drop(std::hint::black_box(ours));
    assert!(small.peak_memory_is_upper_bound, "{small:?}");
}

#[test]
fn numbers_from_proc_are_read_strictly() {
    let text = "Rss:    12 kB\nPss_Dirty: 5 kB\nPss:     7 kB\nBad: x kB\nHuge: 18446744073709551615 kB\n";
    assert_eq!(kibibytes(text, "Pss:"), Some(7 * 1024));
    assert_eq!(kibibytes(text, "Rss:"), Some(12 * 1024));
    assert_eq!(kibibytes(text, "Bad:"), None);
    assert_eq!(kibibytes(text, "Huge:"), None);
    assert_eq!(kibibytes(text, "Swap:"), None);
}

#[tokio::test]
async fn usage_survives_the_wire() {
    let usage = shell("exit 0").exit().await.usage;
    let bytes = postcard::to_stdvec(&usage).unwrap();
    assert_eq!(postcard::from_bytes::<Usage>(&bytes).unwrap(), usage);
}
