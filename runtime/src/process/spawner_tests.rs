#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, getpgid, getpgrp, getpid, kill_process, waitpid};

const SPECIMEN: &str = "spawner-specimen";
const WATCHDOG: Duration = Duration::from_secs(20);

/// Not a test: what the children of the tests below do. Says "ready", then returns each line it is given.
#[test]
#[ignore = "runs only as a child of the tests beside it"]
fn specimen() {
    if std::env::args().next().as_deref() != Some(SPECIMEN) {
        return;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let mut control = UnixStream::from(rustix::io::dup(rustix::stdio::stdin()).unwrap());
    let own_group = getpgrp() == getpid();
    let mut names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    names.sort();
    // Out through the pipe itself: libtest may hold back what is printed.
    let mut out = io::stderr();
    writeln!(out, "ready group={own_group} names={}", names.join(",")).unwrap();
    let mut lines = BufReader::new(control.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap_or(0) > 0 {
        control.write_all(line.as_bytes()).unwrap();
        line.clear();
    }
    writeln!(out, "bye").unwrap();
    std::process::exit(7);
}

/// Whose control link and pipes nobody holds at the other end.
fn order_with_arguments(arguments: Vec<OsString>) -> Order {
    let (control, _) = UnixStream::pair().unwrap();
    let (_, stdout) = pipe().unwrap();
    let (_, stderr) = pipe().unwrap();
    Order {
        arg0: SPECIMEN.into(),
        arguments,
        environment: Vec::new(),
        control: control.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

struct Started {
    control: UnixStream,
    errors: BufReader<PipeReader>,
    outcome: Receiver<io::Result<Spawned>>,
    _stdout: PipeReader,
}

fn order_specimen(environment: Vec<(OsString, OsString)>) -> Started {
    let (control, theirs) = UnixStream::pair().unwrap();
    control.set_read_timeout(Some(WATCHDOG)).unwrap();
    let (_stdout, stdout) = pipe().unwrap();
    let (errors, stderr) = pipe().unwrap();
    let module = module_path!().split_once("::").unwrap().1;
    let arguments =
        [&format!("{module}::specimen"), "--exact", "--ignored", "--nocapture"].map(OsString::from);
    let order = Order {
        arg0: SPECIMEN.into(),
        arguments: arguments.into(),
        environment,
        control: theirs.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let (tell, outcome) = channel();
    spawn(order, move |result| tell.send(result).unwrap()).unwrap();
    Started { control, errors: BufReader::new(errors), outcome, _stdout }
}

impl Started {
    fn next_error_line(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line
    }

    fn echo(&mut self, text: &str) -> io::Result<String> {
        self.control.write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        self.control.read_exact(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    fn spawned(&self) -> Spawned {
        self.outcome.recv_timeout(WATCHDOG).unwrap().unwrap()
    }
}

fn reap(spawned: &Spawned) -> Option<i32> {
    let (_, status) = waitpid(Some(spawned.pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}

#[test]
fn a_child_gets_its_control_link_its_own_group_and_only_the_given_environment() {
    let mut child = order_specimen(vec![("ONLY".into(), "this".into())]);
    let spawned = child.spawned();
    assert_eq!(child.next_error_line(), "ready group=true names=ONLY\n");
    assert_eq!(getpgid(Some(spawned.pid)).unwrap(), spawned.pid);
    assert_eq!(child.echo("hello\n").unwrap(), "hello\n");
    child.control.shutdown(std::net::Shutdown::Write).unwrap();
    // End-of-file is seen at the child's exit: no copy of its pipe stayed open here.
    let mut rest = String::new();
    child.errors.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye\n");
    assert_eq!(reap(&spawned), Some(7));
}

#[test]
fn a_child_outlives_the_thread_that_ordered_it() {
    let mut child = std::thread::spawn(|| {
        let mut child = order_specimen(Vec::new());
        // Its death signal is set before this thread ends.
        assert!(child.next_error_line().starts_with("ready"));
        child
    })
    .join()
    .unwrap();
    for _ in 0..100 {
        assert_eq!(child.echo("still here\n").unwrap(), "still here\n");
    }
    let spawned = child.spawned();
    kill_process(spawned.pid, Signal::KILL).unwrap();
    assert_eq!(reap(&spawned), None);
}

#[test]
fn a_panic_in_done_does_not_end_the_spawner() {
    let mut bystander = order_specimen(Vec::new());
    assert!(bystander.next_error_line().starts_with("ready"));
    let order = order_with_arguments(vec!["--list".into()]);
    spawn(order, |result| {
        let spawned = result.unwrap();
        reap(&spawned);
        panic!("on purpose");
    })
    .unwrap();
    let mut next = order_specimen(Vec::new());
    assert!(next.next_error_line().starts_with("ready"));
    assert_eq!(bystander.echo("alive\n").unwrap(), "alive\n");
    for child in [bystander, next] {
        let spawned = child.spawned();
        drop(child);
        reap(&spawned);
    }
}

#[test]
fn a_start_that_fails_is_told_to_done_and_the_next_one_works() {
    let (tell, outcome) = channel();
    // Longer than the kernel takes for one argument (128 KiB).
    let order = order_with_arguments(vec!["x".repeat(200 << 10).into()]);
    spawn(order, move |result| tell.send(result).unwrap()).unwrap();
    let failure = outcome.recv_timeout(WATCHDOG).unwrap().unwrap_err();
    assert_eq!(failure.kind(), io::ErrorKind::ArgumentListTooLong);
    let child = order_specimen(Vec::new());
    let spawned = child.spawned();
    drop(child);
    reap(&spawned);
}

#[test]
fn the_environment_is_an_allow_list_with_names_and_prefixes() {
    for (allowed, name, expected) in [
        ("PATH", "PATH", true),
        ("PATH", "PATHS", false),
        ("LC_*", "LC_ALL", true),
        ("LC_*", "XLC_ALL", false),
        ("*", "ANYTHING", true),
        ("", "PATH", false),
    ] {
        assert_eq!(matches(allowed, OsStr::new(name)), expected, "{allowed} {name}");
    }
    let names = |extra: &[String]| environment(extra).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(names(&[]).contains(&"PATH".into()));
    // Cargo sets this one for every test.
    assert!(!names(&[]).contains(&"CARGO_MANIFEST_DIR".into()));
    assert!(names(&["CARGO_MANIFEST_*".into()]).contains(&"CARGO_MANIFEST_DIR".into()));
}

#[test]
fn a_full_queue_is_an_error_and_never_blocks() {
    // Run on a queue of its own, so that the other tests do not find theirs full.
    let (jobs, _receiver) = sync_channel::<Job>(0);
    let refused =
        submit(&jobs, Job { order: order_with_arguments(Vec::new()), done: Box::new(|_| ()) }).unwrap_err();
    assert!(matches!(refused, SpawnerGone::Full));
}
