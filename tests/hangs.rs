//! What is seen of an actor that hangs before it is killed for it: its stack, or nothing, but never a delay.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use watertight::report::Hang;
use watertight::spec::Backoff;
use watertight::{CrashReport, Exit, Spec};
use watertight_tests::specimen::{Add, Commit, Setup, Slowly};
use watertight_tests::{Fault, Specimen};

const LIMIT: Duration = Duration::from_millis(200);
/// The hang limit, the second in which a stack may be said, and as much again for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets an actor hang and returns its report, as every listener gets it; the actor must be well again afterwards.
fn hangs(fault: Fault, expected: Hang, check: impl Fn(&CrashReport)) {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE).hang_limit(LIMIT);
        let victim = sys.spawn_with(spec).await?;
        victim.tell(Commit(fault)).await?;
        let report = events.exited("*").await?;
        assert_eq!(report.exit, Exit::Hung(expected));
        assert!(report.in_hand.is_some(), "{report}");
        check(&report);
        assert_eq!(victim.ask(Add(5)).await?, 5);
        Ok(())
    });
}

/// The stack names the function, near its top, and nothing of the runtime below the handler.
fn shows(function: &'static str) -> impl Fn(&CrashReport) {
    move |report| {
        let stack = report.stack.as_deref().expect("the report has a stack");
        let at = stack.lines().position(|line| line.contains(function));
        assert!(at.is_some_and(|at| at < 12), "{function} is not at the top of\n{stack}");
        assert!(stack.contains("Specimen") && stack.contains("the runtime"), "{stack}");
        assert!(!stack.contains("run_actor") && !stack.contains("interrupted"), "{stack}");
        assert!(stack.len() <= 16 << 10);
        let shown = report.to_string();
        assert!(shown.lines().next().unwrap().contains("hung"), "{shown}");
        assert!(shown.lines().skip(1).all(|line| line.starts_with("  ")), "{shown}");
        assert!(shown.contains(function), "{shown}");
    }
}

fn shows_none(report: &CrashReport) {
    assert_eq!(report.stack, None);
    assert_eq!(report.to_string().lines().count(), 1, "{report}");
}

#[test]
fn an_endless_loop_is_named() {
    hangs(Fault::Loop, Hang::NoProgress, shows("loops_for_ever"));
}

#[test]
fn a_deadlock_is_named() {
    hangs(Fault::Deadlock, Hang::NoProgress, shows("locks_itself_out"));
}

#[test]
fn a_read_that_blocks_is_named() {
    hangs(Fault::BlockedRead, Hang::NoProgress, shows("reads_what_never_comes"));
}

#[test]
fn a_sleep_that_blocks_is_named() {
    hangs(Fault::Sleep, Hang::NoProgress, shows("sleeps_for_ever"));
}

#[test]
fn a_stopped_process_is_killed_without_a_stack() {
    hangs(Fault::StopSelf, Hang::StoppedBySignal(libc::SIGSTOP), shows_none);
}

#[test]
fn a_loop_that_blocks_the_signal_is_killed_without_a_stack() {
    hangs(Fault::LoopUnseen, Hang::NoProgress, shows_none);
}

#[test]
fn a_process_that_cannot_answer_at_all_is_killed_in_time() {
    let start = Instant::now();
    hangs(Fault::LoopUnheard, Hang::NoProgress, shows_none);
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
}

#[test]
fn a_stack_that_cannot_be_had_within_the_memory_limit_leaves_the_exit_a_hang() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let spec = Spec::<Specimen>::new(Setup::default()).hang_limit(LIMIT).memory(8 << 20);
        let victim = sys.spawn_with(spec).await?;
        victim.tell(Commit(Fault::Loop)).await?;
        let exit = events.exited("*").await?.exit;
        assert_eq!(exit, Exit::Hung(Hang::NoProgress));
        Ok(())
    });
}

#[test]
fn a_handler_that_waits_too_long_shows_the_event_loop() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let spec = Spec::<Specimen>::new(Setup::default()).await_limit(LIMIT);
        let victim = sys.spawn_with(spec).await?;
        victim.tell(Slowly(60_000)).await?;
        let report = events.exited("*").await?;
        assert_eq!(report.exit, Exit::Hung(Hang::Waiting));
        // A suspended handler is on no stack.
        let stack = report.stack.as_deref().expect("the report has a stack");
        assert!(stack.contains("run_actor") && !stack.contains("Slowly"), "{stack}");
        Ok(())
    });
}
