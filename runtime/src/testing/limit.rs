//! How long a test may take, and what it says when it takes longer.

use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::Duration;

use crate::System;

/// Far more than any test should take.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a test may take.
pub(crate) fn limit() -> Duration {
    let Ok(text) = std::env::var("WATERTIGHT_TEST_LIMIT") else { return LIMIT };
    text.parse().map(Duration::from_secs).unwrap_or_else(|_| {
        eprintln!(
            "watertight: WATERTIGHT_TEST_LIMIT is {text:?}, which is no number of seconds; {LIMIT:?} it is"
        );
        LIMIT
    })
}

/// So much later a test is aborted that blocks its thread, and so cannot be told that its time is over.
const BLOCKED: Duration = Duration::from_secs(5);

/// Aborts this process unless what is returned is dropped in time.
pub(crate) fn watch(limit: Duration) -> Option<Sender<()>> {
    let (alive, over) = std::sync::mpsc::channel();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let watch = move || {
        if over.recv_timeout(limit.saturating_add(BLOCKED)) == Err(RecvTimeoutError::Timeout) {
            eprintln!(
                "watertight: {test} took longer than {} s and blocks its thread: it is aborted. What it was doing: \
                 look for a blocking call in its closure, or attach a debugger before the limit.",
                limit.as_secs()
            );
            std::process::abort();
        }
    };
    // Without a thread to spare the limit above still holds for tests that do not block.
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).ok().map(|_| alive)
}

/// How many of the last injections are shown.
const INJECTIONS: usize = 10;

/// What a system looks like, for whoever has to find out why it did not do what it should: its actors, whose messages are
/// not accounted for, its tree, and what was injected last.
pub(crate) async fn state_of(sys: &System) -> String {
    let mut words = String::from("its actors:");
    for actor in sys.list().await.unwrap_or_default() {
        let pid = actor.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        words.push_str(&format!(
            "\n  {}#{} {:?}{pid}, {} restarts",
            actor.name, actor.incarnation, actor.phase, actor.restarts
        ));
        if let Ok(ledger) = sys.ledger_by_number(actor.actor).await
            && !ledger.is_balanced()
        {
            words.push_str(&format!("\n    {} messages are unaccounted for: {ledger:?}", ledger.waiting()));
        }
    }
    if let Ok(tree) = sys.tree(None).await {
        words.push_str(&format!("\nthe tree:\n{tree}"));
    }
    let injected = sys.injected().await.unwrap_or_default();
    for injection in injected.iter().rev().take(INJECTIONS).rev() {
        words.push_str(&format!("\ninjected: {injection}"));
    }
    words
}
