#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::Incarnation;
use crate::process::exit::Usage;
use crate::report::Verdict;

const MILLISECOND: u64 = 1_000_000;

fn started(name: &str, incarnation: u32) -> Event {
    let (actor, took) = (ActorId(1), Duration::from_millis(2));
    Event::Started { actor, name: name.into(), incarnation: Incarnation(incarnation), pid: 7, took }
}

fn exited(name: &str, incarnation: u32, exit: Exit) -> Event {
    Event::Exited(Box::new(CrashReport {
        actor: ActorId(1),
        name: name.into(),
        actor_type: "Till".into(),
        incarnation: Incarnation(incarnation),
        pid: 7,
        exit,
        panic: None,
        in_hand: None,
        stderr: Vec::new(),
        stack: None,
        usage: Usage::default(),
        uptime: Duration::ZERO,
        injected: None,
        verdict: Verdict::Ended,
    }))
}

/// A millisecond between each and the next.
fn happened(events: Vec<Event>) -> Happened {
    let times = (1..).map(|n| 1_000 + n * MILLISECOND);
    Happened { began: 1_000, seen: times.zip(events).collect() }
}

/// A till that dies twice.
fn two_deaths() -> Happened {
    happened(vec![
        started("till", 1),
        exited("till", 1, Exit::Killed),
        started("till", 2),
        exited("till", 2, Exit::Signal(11)),
        started("till", 3),
    ])
}

/// What an assertion says as it fails.
fn fails(assertion: impl Fn(&Happened)) -> String {
    let happened = two_deaths();
    let panic = catch_unwind(AssertUnwindSafe(|| assertion(&happened))).expect_err("it holds");
    *panic.downcast::<String>().unwrap()
}

#[test]
fn what_has_happened_passes() {
    let all = two_deaths();
    all.assert_restarts(&[("till", 2), ("store", 0)]);
    all.assert_exits("till", &[Exit::Killed, Exit::Signal(11)]);
    all.assert_in_order(&[Expected::exited("t*"), Expected::started("till", 2), Expected::exited("till")]);
    all.assert_never(&Expected::exited("store"));
    all.assert_within(
        Duration::from_millis(1),
        &Expected::exited("till").by(Exit::Killed),
        &Expected::started("till", 2),
    );
    assert_eq!(all.times(&Expected::exited("till")), [2, 4].map(Duration::from_millis));
    assert_eq!(all.reports("till").len(), 2);
}

#[test]
fn each_assertion_fails_in_words_that_say_what_happened() {
    let is_shown = |said: &str, words: &[&str]| {
        for part in words.iter().chain(&[
            "What happened:",
            "0.002 s till#1 (pid 7): killed on request",
            "till#3 started",
        ]) {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    };
    is_shown(
        &fails(|h| h.assert_restarts(&[("till", 1), ("store", 1)])),
        &["expected restarts: {\"store\": 1, \"till\": 1}; restarts: {\"till\": 2}"],
    );
    is_shown(&fails(|h| h.assert_restarts(&[])), &["restarts: {\"till\": 2}"]);
    is_shown(
        &fails(|h| h.assert_exits("till", &[Exit::Killed])),
        &["exits of till: [Killed]; exits: [Killed, Signal(11)]"],
    );
    is_shown(&fails(|h| h.assert_exits("*", &[])), &["exits: [Killed, Signal(11)]"]);
    is_shown(
        &fails(|h| h.assert_in_order(&[Expected::started("till", 2), Expected::started("till", 1)])),
        &["the start of till#1 was not seen after the start of till#2"],
    );
    is_shown(&fails(|h| h.assert_never(&Expected::exited("till"))), &["the exit of till was seen 2 times"]);
    let restart = |n| (Expected::exited("till"), Expected::started("till", n));
    is_shown(
        &fails(|h| h.assert_within(Duration::from_secs(1), &restart(2).0, &restart(2).1)),
        &["the start of till#2 did not follow the exit of till"],
    );
    is_shown(
        &fails(|h| h.assert_within(Duration::from_millis(2), &restart(3).0, &restart(3).1)),
        &["followed the exit of till after 3ms, not within 2ms"],
    );
    is_shown(
        &fails(|h| h.assert_within(Duration::from_secs(1), &Expected::exited("store"), &restart(2).1)),
        &["the exit of store was not seen"],
    );
}

#[test]
fn reports_are_told_apart_by_exit_and_by_what_they_say() {
    let (killed, crashed) = (exited("till", 1, Exit::Killed), exited("till", 2, Exit::Signal(11)));
    let by = Expected::exited("till").by(Exit::Killed);
    assert!(by.is(&killed) && !by.is(&crashed) && !by.is(&started("till", 1)));
    let second = Expected::exited("till").and("second life", |report| report.incarnation.0 == 2);
    assert!(second.is(&crashed) && !second.is(&killed));
    assert_eq!(second.to_string(), "the exit of till, second life");
    let ended = Event::Ended { actor: ActorId(1), name: "till".into(), given_up: true };
    assert!(Expected::ended("till").is(&ended) && !Expected::ended("till").is(&killed));
}

#[test]
fn nothing_is_said_where_events_were_missed() {
    let missed = happened(vec![started("till", 1), Event::Missed(3)]);
    for assertion in
        [|h: &Happened| h.assert_restarts(&[]), |h: &Happened| h.assert_never(&Expected::exited("till"))]
    {
        let panic = catch_unwind(AssertUnwindSafe(|| assertion(&missed))).expect_err("it holds");
        let said = panic.downcast::<String>().unwrap();
        assert!(said.starts_with("events were missed") && said.contains("3 events were missed"), "{said}");
    }
}
