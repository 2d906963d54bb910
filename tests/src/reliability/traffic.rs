//! Actors that send each other numbered messages and write down themselves what they did.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use watertight::prelude::*;
use watertight::{Executed, Incarnation};

use super::verdict::line;
use crate::history::Handled;

/// Longer than anything waits here, unless it waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Numbered among all that its sender sends to its receiver.
#[message(reply = u64)]
pub struct Once {
    /// Which of the senders.
    pub sender: u32,
    /// Its place.
    pub number: u64,
}

/// The same, and may run again.
#[message(reply = u64, idempotent)]
pub struct Again {
    /// Which of the senders.
    pub sender: u32,
    /// Its place.
    pub number: u64,
}

/// Writes a line for each message into its journal, and answers with the number.
pub struct Listener {
    journal: File,
}

impl Actor for Listener {
    type Args = String;
    type Messages = (Once, Again);

    async fn start(journal: String, _: &mut Context<Self>) -> Result<Self> {
        Ok(Listener { journal: appended(&journal)? })
    }
}

impl Listener {
    fn note(
        &mut self,
        sender: u32,
        number: u64,
        Incarnation(incarnation): Incarnation,
        attempt: u8,
    ) -> Result<u64> {
        let handled = Handled { sender, number, incarnation, attempt };
        work();
        self.journal.write_all(line(&handled).as_bytes())?;
        work();
        Ok(number)
    }
}

/// Ten microseconds of it: without any, most kills would hit an actor between two messages.
fn work() {
    let end = std::time::Instant::now() + Duration::from_micros(10);
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
}

impl Handler<Once> for Listener {
    async fn handle(&mut self, Once { sender, number }: Once, cx: &mut Context<Self>) -> Result<u64> {
        self.note(sender, number, cx.incarnation(), cx.attempt())
    }
}

impl Handler<Again> for Listener {
    async fn handle(&mut self, Again { sender, number }: Again, cx: &mut Context<Self>) -> Result<u64> {
        self.note(sender, number, cx.incarnation(), cx.attempt())
    }
}

/// What a talker is started with.
#[data]
#[derive(Clone)]
pub struct TalkerSetup {
    /// Which of the senders it is.
    pub sender: u32,
    /// To whom it sends, in turn.
    pub to: Vec<Address<Listener>>,
    /// Where it writes what it was told.
    pub journal: String,
    /// Whether it sends what may run again.
    pub idempotent: bool,
}

/// Sends numbered messages, and writes a line for what became of each: `receiver number fate`.
pub struct Talker {
    setup: TalkerSetup,
    next: Vec<u64>,
    journal: File,
}

/// Send so many; every eighth to each receiver is an ask.
#[message]
pub struct Burst(pub u32);

impl Actor for Talker {
    type Args = TalkerSetup;
    type Messages = (Burst,);

    async fn start(setup: TalkerSetup, _: &mut Context<Self>) -> Result<Self> {
        let journal = appended(&setup.journal)?;
        Ok(Talker { next: vec![1; setup.to.len()], journal, setup })
    }
}

impl Handler<Burst> for Talker {
    async fn handle(&mut self, Burst(count): Burst, _: &mut Context<Self>) -> Result<()> {
        let mut lines = String::new();
        for nth in 0..count as usize {
            let at = nth % self.next.len();
            let number = self.next[at];
            self.next[at] += 1;
            let fate = self.send(at, number).await;
            lines.push_str(&format!("{at} {number} {fate}\n"));
        }
        Ok(self.journal.write_all(lines.as_bytes())?)
    }
}

impl Talker {
    async fn send(&self, at: usize, number: u64) -> &'static str {
        let (sender, to) = (self.setup.sender, &self.setup.to[at]);
        match (number.is_multiple_of(8), self.setup.idempotent) {
            (false, false) => told(to.tell(Once { sender, number }).deadline(PATIENCE).await),
            (false, true) => told(to.tell(Again { sender, number }).deadline(PATIENCE).await),
            (true, false) => answered(number, to.ask(Once { sender, number }).deadline(PATIENCE).await),
            (true, true) => answered(number, to.ask(Again { sender, number }).deadline(PATIENCE).await),
        }
    }
}

fn told<M>(outcome: Result<(), TellError<M>>) -> &'static str {
    if outcome.is_ok() { "accepted" } else { "refused" }
}

fn answered(number: u64, outcome: Result<u64, AskError>) -> &'static str {
    match outcome {
        Ok(answer) if answer == number => "answered",
        Ok(_) => "mislabelled",
        Err(AskError::Died { executed: Executed::Maybe | Executed::Yes, .. }) => "in-doubt",
        Err(AskError::Deadline { .. }) => "unresolved",
        Err(_) => "refused",
    }
}

fn appended(path: &str) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}
