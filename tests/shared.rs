//! Shared things on real processes: locks, queues and the rest, whose users are killed at every moment.

#![allow(missing_docs, clippy::unwrap_used)]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watertight::prelude::*;
use watertight_tests::doomed::wait_until_stopped;

#[path = "shared/lateness.rs"]
mod lateness;
#[path = "shared/locks.rs"]
mod locks;
#[path = "shared/queues.rs"]
mod queues;
#[path = "shared/restarts.rs"]
mod restarts;
#[path = "shared/storms.rs"]
mod storms;
#[path = "shared/topics.rs"]
mod topics;
#[path = "shared/user.rs"]
mod user;
#[path = "shared/values.rs"]
mod values;
#[path = "shared/waits.rs"]
mod waits;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a kill, the next one must have it within this.
const SOON: Duration = Duration::from_secs(1);

/// Sends a signal to a process; after a SIGSTOP, waits until it has stopped, which takes a moment.
fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    if signal == Signal::STOP {
        wait_until_stopped(pid);
    }
}

/// Kills an actor as `kill -9` does.
async fn kill<A>(sys: &System, actor: &Address<A>) -> Result<()> {
    let pid = sys.info(actor).await?.pid.unwrap();
    signal(pid, Signal::KILL);
    Ok(())
}

/// Polls a future once.
async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// What it takes, and that it is not long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = what.await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    done
}
