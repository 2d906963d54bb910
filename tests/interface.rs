//! The user's surface on real processes, as a stranger would use it: one file for each thing that users touch.

#![allow(missing_docs, clippy::unwrap_used)]
// An address is hashed by what never changes in it; the link that it remembers is no part of that.
#![allow(clippy::mutable_key_type)]

use std::fmt::Debug;
use std::future::poll_fn;
use std::io::BufRead;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use watertight::prelude::*;
use watertight::{Event, Exit};

#[path = "interface/attachments.rs"]
mod attachments;
#[path = "interface/blobs.rs"]
mod blobs;
#[path = "interface/channels.rs"]
mod channels;
#[path = "interface/children.rs"]
mod children;
#[path = "interface/contexts.rs"]
mod contexts;
#[path = "interface/descriptors.rs"]
mod descriptors;
#[path = "interface/encoding.rs"]
mod encoding;
#[path = "interface/messages.rs"]
mod messages;
#[path = "interface/monitors.rs"]
mod monitors;
#[path = "interface/names.rs"]
mod names;
#[path = "interface/process_groups.rs"]
mod process_groups;
#[path = "interface/replies.rs"]
mod replies;
#[path = "interface/senders.rs"]
mod senders;
#[path = "interface/specs.rs"]
mod specs;
#[path = "interface/starvation.rs"]
mod starvation;
#[path = "interface/systems.rs"]
mod systems;
#[path = "interface/timers.rs"]
mod timers;

/// Far more than anything here takes, for `balance`.
const PATIENCE: Duration = Duration::from_secs(20);

/// For errors that cannot be compared.
#[track_caller]
fn assert_same(actual: impl Debug, expected: impl Debug) {
    assert_eq!(format!("{actual:?}"), format!("{expected:?}"));
}

/// Tells a test what part it plays in another one, in a process of its own.
const PART: &str = "INTERFACE_PART";

fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// This executable once more, for exactly that test in that part.
fn play(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(PART, part).stdin(Stdio::null());
    command
}

/// What a process prints, line by line.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + Send + 'static {
    std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::io::Result::ok)
}

/// Polls a future once.
async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Holds back those who ask it to be let through, until it is opened: for tests that need a handler to be suspended.
pub struct Gate {
    open: bool,
    waiting: Vec<ReplyTo<()>>,
    knocks: Option<(u32, ReplyTo<()>)>,
}

/// Answered when the gate is open.
#[message]
pub struct Pass;

/// Answered when so many wait at the gate.
#[message]
pub struct Waiting(pub u32);

#[message]
pub struct Open;

impl Actor for Gate {
    type Args = ();
    type Messages = (Pass, Waiting, Open);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Gate { open: false, waiting: Vec::new(), knocks: None })
    }
}

impl Handler<Pass> for Gate {
    async fn handle(&mut self, _: Pass, cx: &mut Context<Self>) -> Result<()> {
        if self.open {
            return Ok(());
        }
        let result = cx.defer(|reply| self.waiting.push(reply));
        if let Some((_, reply)) = self.knocks.take_if(|(count, _)| self.waiting.len() >= *count as usize) {
            reply.send(());
        }
        result
    }
}

impl Handler<Waiting> for Gate {
    async fn handle(&mut self, Waiting(count): Waiting, cx: &mut Context<Self>) -> Result<()> {
        if self.waiting.len() >= count as usize {
            return Ok(());
        }
        cx.defer(|reply| self.knocks = Some((count, reply)))
    }
}

impl Handler<Open> for Gate {
    async fn handle(&mut self, _: Open, _: &mut Context<Self>) -> Result<()> {
        self.open = true;
        self.waiting.drain(..).for_each(|reply| reply.send(()));
        Ok(())
    }
}
