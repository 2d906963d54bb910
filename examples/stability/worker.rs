//! The receiving end: bystanders and the victim are the same actor, which writes down all that it handles.

use std::path::PathBuf;
use std::sync::Arc;

use watertight::prelude::*;

use super::faults::{self, Fault};
use super::journal::{How, Journal, Line, Mark, Party, now_us};
use super::sender::Outgoing;

/// Writes a line before and after each message; passes some on to the next worker; dies when told to.
pub struct Worker {
    party: Party,
    life: u32,
    journal: Arc<Journal>,
    next: Option<(Recipient<Number>, Outgoing)>,
}

/// What a worker is started with.
#[data]
pub struct WorkerSetup {
    pub party: Party,
    /// Where its journal is.
    pub folder: String,
    /// Whom it passes messages on to.
    pub next: Option<(Party, Recipient<Number>)>,
}

/// One of many.
#[message(reply = Answer, name = "Number")]
pub struct Number {
    pub mark: Mark,
    /// Tell the next worker a number too.
    pub pass_on: bool,
}

/// Whose answer it is, and to what.
#[data]
#[derive(Debug)]
pub struct Answer {
    pub number: u64,
    pub pid: u32,
    pub life: u32,
}

/// Commit this fault, now.
#[message(reply = Answer, name = "Commit")]
pub struct Commit {
    pub mark: Mark,
    pub fault: Fault,
}

/// Kills every life that handles it. May be handled more than once, so it is given to the next life, too.
#[message(reply = Answer, name = "Poison", idempotent)]
pub struct Poison {
    pub mark: Mark,
}

/// In this file stands how many more starts of the victim crash.
pub const STARTS_TO_CRASH: &str = "starts-to-crash";

impl Actor for Worker {
    type Args = WorkerSetup;
    type Messages = (Number, Commit, Poison);

    async fn start(setup: WorkerSetup, cx: &mut Context<Self>) -> Result<Self> {
        let folder = PathBuf::from(setup.folder);
        let (party, life) = (setup.party, cx.incarnation().0);
        if party == Party::Victim {
            crash_in_start(&folder)?;
        }
        let journal = Arc::new(Journal::open(&folder, party)?);
        let next = setup.next.map(|(to, address)| (address, Outgoing::new(&journal, party, life, to)));
        Ok(Worker { party, life, journal, next })
    }
}

fn crash_in_start(folder: &std::path::Path) -> Result<()> {
    let file = folder.join(STARTS_TO_CRASH);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    match text.trim().parse::<u32>()? {
        0 => Ok(()),
        left => {
            std::fs::write(&file, (left - 1).to_string())?;
            faults::commit(Fault::Segfault);
            Ok(())
        }
    }
}

impl Worker {
    fn answer(&self, mark: Mark) -> Answer {
        Answer { number: mark.number, pid: std::process::id(), life: self.life }
    }

    fn begin(&self, mark: Mark) -> Result<()> {
        Ok(self.journal.write(&Line::Begun { mark, in_life: self.life })?)
    }

    fn done(&self, mark: Mark) -> Result<()> {
        Ok(self.journal.write(&Line::Done { mark, in_life: self.life })?)
    }

    fn strike(&self, fault: Fault) -> Result<()> {
        self.journal.write(&Line::Fault { party: self.party, life: self.life, at_us: now_us() })?;
        faults::commit(fault);
        Ok(())
    }
}

impl Handler<Number> for Worker {
    async fn handle(&mut self, message: Number, _: &mut Context<Self>) -> Result<Answer> {
        self.begin(message.mark)?;
        if message.pass_on
            && let Some((next, outgoing)) = &mut self.next
        {
            let offered = outgoing.offer(How::Tell)?;
            let result = next.tell(Number { mark: offered.mark, pass_on: false }).await;
            offered.told(result)?;
        }
        self.done(message.mark)?;
        Ok(self.answer(message.mark))
    }
}

impl Handler<Commit> for Worker {
    async fn handle(&mut self, message: Commit, _: &mut Context<Self>) -> Result<Answer> {
        self.begin(message.mark)?;
        self.strike(message.fault)?;
        self.done(message.mark)?;
        Ok(self.answer(message.mark))
    }
}

impl Handler<Poison> for Worker {
    async fn handle(&mut self, message: Poison, _: &mut Context<Self>) -> Result<Answer> {
        self.begin(message.mark)?;
        self.strike(Fault::Segfault)?;
        self.done(message.mark)?;
        Ok(self.answer(message.mark))
    }
}
