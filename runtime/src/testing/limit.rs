//! How long a test may take, and what becomes of one that takes longer and cannot even be told so.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::Duration;

use super::state_of;
use crate::System;
use crate::program::{self, Within};

/// Far more than any test should take.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a test may take: as the environment says, else as the test does itself.
pub(super) fn limit(own: Option<Duration>) -> Duration {
    let own = own.unwrap_or(LIMIT);
    let Ok(text) = std::env::var("WATERTIGHT_TEST_LIMIT") else { return own };
    text.parse().map(Duration::from_secs).unwrap_or_else(|_| {
        eprintln!(
            "watertight: WATERTIGHT_TEST_LIMIT is {text:?}, which is no number of seconds; {own:?} it is"
        );
        own
    })
}

/// So much later a test is aborted that blocks its thread, and so cannot be told that its time is over.
const BLOCKED: Duration = Duration::from_secs(5);

/// Aborts this process, and says what its actors were doing, unless what is returned is dropped in time.
pub(super) fn watch(limit: Duration, within: Within) -> Option<Sender<()>> {
    let (alive, over) = std::sync::mpsc::channel();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let watch = move || {
        if over.recv_timeout(limit.saturating_add(BLOCKED)) == Err(RecvTimeoutError::Timeout) {
            // Not by `eprintln!`: what a test prints is shown at its end, to which this one does not come.
            let state = seen_from_here(&within);
            let _ = writeln!(
                std::io::stderr(),
                "watertight: {test} took longer than {} s and blocks its thread: it is aborted. What it was doing: \
                 look for a blocking call in its closure, or attach a debugger before the limit.\n{state}",
                limit.as_secs_f64()
            );
            std::process::abort();
        }
    };
    // Without a thread to spare the limit above still holds for tests that do not block.
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).ok().map(|_| alive)
}

/// What the system looks like, asked from this thread: the program's own cannot ask.
fn seen_from_here(within: &Within) -> String {
    let unknown = |error: String| format!("what its actors were doing is not known: {error}");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unknown(error.to_string()),
    };
    runtime.block_on(async {
        match tokio::time::timeout(BLOCKED, program::attach_within(within)).await {
            Ok(Ok(node)) => state_of(&System::new(node)).await,
            Ok(Err(error)) => unknown(error.to_string()),
            Err(_) => unknown("the supervisor does not answer".into()),
        }
    })
}
