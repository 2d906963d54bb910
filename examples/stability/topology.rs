//! The topology, and one trial in it.
//!
//! ```text
//!  program ──┐            ┌──▶ bystander-2 ──┐
//!  driver-1 ─┼─ asks and ─┼──▶ bystander-3 ──┼─ passed on ─▶ victim ── passed on ─▶ bystander-1
//!  driver-2 ─┘   tells    └──▶ (every worker)┘
//! ```

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use watertight::prelude::*;
use watertight::spec::Output;
use watertight::{Event, Events, Ledger};

use super::checker::{self, Memory};
use super::driver::{Begin, Driver, DriverSetup, Rest};
use super::faults::{ATTEMPTS, Blow, Fault, Trial};
use super::journal::{How, Journal, Line, Party, Reader, now_us};
use super::report::Row;
use super::sender::{self, Open, Outgoing};
use super::worker::{Commit, Number, Poison, STARTS_TO_CRASH, Worker, WorkerSetup};

/// Load before the blow, and again after the victim is back.
const LOAD: Duration = Duration::from_millis(150);
/// Before each kill from outside the victim is told so many numbers, which keep it busy for several milliseconds,
const MANY: u32 = 600;
/// and the kill comes so long after the last of them.
const INTO_THE_WORK: Duration = Duration::from_millis(1);
/// After so long without progress the victim counts as hung: short, so that the whole is over soon, and long enough that
/// a busy machine does not make any other fault look like it.
pub const HANG_LIMIT: Duration = Duration::from_millis(500);
/// The victim's memory limit: ample for its work.
const MEMORY: u64 = 64 << 20;
/// Longest wait for the victim to die or to be back: far above the hang limit, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest wait for the runtime's ledger to come out even.
const BALANCE: Duration = Duration::from_secs(2);
/// More restarts than all trials together need.
const RESTARTS: u32 = 1000;

/// Everything that runs.
pub struct Topology {
    sys: System,
    events: Events,
    folder: PathBuf,
    journal: Arc<Journal>,
    reader: Reader,
    memory: Memory,
    drivers: Vec<Address<Driver>>,
    workers: Vec<(Party, Address<Worker>)>,
    victim: Address<Worker>,
    to_victim: Outgoing,
    /// Asks of the program that have not ended.
    open: Open,
    /// The victim's life and process.
    alive: (u32, u32),
    /// The workers' ledger at the end of the last trial.
    ledger: Ledger,
}

impl Topology {
    pub async fn new(sys: System, folder: &Path) -> Result<Topology> {
        let mut events = sys.events().await?;
        let place =
            folder.to_str().ok_or(Error::new("the folder for the journals has a name that is no text"))?;
        let spec = |party: Party, next: Option<(Party, &Address<Worker>)>| {
            let next = next.map(|(to, worker)| (to, worker.recipient::<Number, _>()));
            Spec::<Worker>::new(WorkerSetup { party, folder: place.to_owned(), next }).name(party.name())
        };
        let first = sys.spawn_with(spec(Party::Bystander1, None)).await?;
        let victim = spec(Party::Victim, Some((Party::Bystander1, &first)))
            .hang_limit(HANG_LIMIT)
            .memory(MEMORY)
            .redelivery(ATTEMPTS)
            .backoff(Backoff::NONE)
            .intensity(RESTARTS, Duration::from_secs(60))
            .output(Output::Silent);
        let victim = sys.spawn_with(victim).await?;
        let mut workers = vec![(Party::Bystander1, first)];
        for party in [Party::Bystander2, Party::Bystander3] {
            workers.push((party, sys.spawn_with(spec(party, Some((Party::Victim, &victim)))).await?));
        }
        workers.push((Party::Victim, victim.clone()));
        let mut drivers = Vec::new();
        for party in Party::DRIVERS {
            let setup = DriverSetup { party, folder: place.to_owned(), workers: workers.clone() };
            drivers.push(sys.spawn_with(Spec::<Driver>::new(setup).name(party.name())).await?);
        }
        let alive = events.wait_for(|event| started(&event)).await?;
        let journal = Arc::new(Journal::open(folder, Party::Program)?);
        let to_victim = Outgoing::new(&journal, Party::Program, 1, Party::Victim);
        let reader = Reader::new(folder)?;
        Ok(Topology {
            sys,
            events,
            folder: folder.to_owned(),
            journal,
            reader,
            memory: Memory::default(),
            drivers,
            workers,
            victim,
            to_victim,
            open: Open::new(),
            alive,
            ledger: Ledger::default(),
        })
    }

    /// Every actor's name and process.
    pub async fn processes(&self) -> Result<Vec<(String, u32)>> {
        let actors = self.sys.list().await?;
        Ok(actors.into_iter().map(|actor| (actor.name, actor.pid.unwrap_or(0))).collect())
    }

    /// One trial: load, a blow, and load again until the victim is well; then quiet, and the balance.
    ///
    /// # Errors
    /// When the victim is not seen to die or to come back, or the load cannot be started or stopped.
    pub async fn suffer(&mut self, trial: &Trial) -> Result<Row> {
        for driver in &self.drivers {
            driver.ask(Begin).await?;
        }
        tokio::time::sleep(LOAD).await;
        let mut row = Row::new(trial);
        self.strike(trial, &mut row).await?;
        let mut open = std::mem::take(&mut self.open);
        within("the victim to answer again", sender::end(&mut open, 0)).await??;
        tokio::time::sleep(LOAD).await;
        for driver in &self.drivers {
            let rested = driver.ask(Rest).deadline(PATIENCE * 2).await;
            rested.map_err(|e| Error::from(e).context("failed to end the load"))?;
        }
        self.settle(&mut row).await?;
        Ok(row)
    }

    /// Deals the blow, and returns when the victim is in a new life.
    async fn strike(&mut self, trial: &Trial, row: &mut Row) -> Result<()> {
        match trial.blow {
            Blow::Asked(fault) => {
                let offered = self.to_victim.offer(How::Ask)?;
                let commit = Commit { mark: offered.mark, fault };
                sender::ask(&mut self.open, &self.victim, offered, commit).await?;
            }
            Blow::Told(fault) => self.tell_commit(fault).await?,
            Blow::Poison => {
                let offered = self.to_victim.offer(How::AskIdempotent)?;
                let poison = Poison { mark: offered.mark };
                sender::ask(&mut self.open, &self.victim, offered, poison).await?;
            }
            Blow::CrashInStart(starts) => {
                std::fs::write(self.folder.join(STARTS_TO_CRASH), starts.to_string())?;
                self.tell_commit(Fault::Abort).await?;
            }
            Blow::KillFromOutside(times) => {
                for _ in 0..times {
                    self.tell_many().await?;
                    self.kill()?;
                    self.ask_number().await?;
                    self.died(1, row).await?;
                }
                return Ok(());
            }
        }
        // Right behind the blow on the same link: the first that the next life handles of it.
        self.ask_number().await?;
        self.died(trial.deaths(), row).await
    }

    async fn ask_number(&mut self) -> Result<()> {
        let offered = self.to_victim.offer(How::Ask)?;
        let number = Number { mark: offered.mark, pass_on: false };
        sender::ask(&mut self.open, &self.victim, offered, number).await
    }

    async fn tell_commit(&mut self, fault: Fault) -> Result<()> {
        let offered = self.to_victim.offer(How::Tell)?;
        let result = self.victim.tell(Commit { mark: offered.mark, fault }).await;
        Ok(offered.told(result)?)
    }

    /// Keeps the victim busy, receiving and sending, and returns while it is.
    async fn tell_many(&mut self) -> Result<()> {
        for n in 0..MANY {
            let offered = self.to_victim.offer(How::Tell)?;
            let result = self.victim.tell(Number { mark: offered.mark, pass_on: n % 2 == 0 }).await;
            offered.told(result)?;
            if n == MANY / 2 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(INTO_THE_WORK).await;
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let (life, pid) = self.alive;
        self.journal.write(&Line::Fault { party: Party::Victim, life, at_us: now_us() })?;
        let pid =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Error::new("the victim has no process"))?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Waits for so many deaths of the victim, and for the start after the last.
    async fn died(&mut self, deaths: u32, row: &mut Row) -> Result<()> {
        let mut left = deaths;
        while left > 0 || self.alive.1 == 0 {
            let what = if left > 0 { "the victim to die" } else { "the victim to start again" };
            let event = within(what, self.events.next()).await?.ok_or(Error::new("the system has ended"))?;
            if let Event::Exited(report) = &event
                && report.name == Party::Victim.name()
            {
                left = left.saturating_sub(1);
            }
            self.take(event, row)?;
        }
        Ok(())
    }

    /// Writes down a death, and remembers a start.
    fn take(&mut self, event: Event, row: &mut Row) -> Result<()> {
        if let Some(alive) = started(&event) {
            self.alive = alive;
        }
        match event {
            Event::Exited(report) => {
                let Some(party) = Party::named(&report.name) else { return Ok(()) };
                if party == Party::Victim {
                    self.alive.1 = 0;
                }
                let in_hand = report.in_hand.as_ref();
                let in_hand = in_hand.and_then(|m| Some((Party::named(&m.sender_name)?, m.sequence.0)));
                let (life, exit) = (report.incarnation.0, report.exit.to_string());
                self.journal.write(&Line::Exited { party, life, in_hand, exit })?;
                row.exits.push(*report);
            }
            Event::Ended { name, given_up: true, .. } => {
                return Err(Error::new(format!("{name} was given up")));
            }
            Event::Missed(events) => row.broken.push(format!("{events} events were missed")),
            _ => {}
        }
        Ok(())
    }

    /// Waits for quiet, then reads the journals and both ledgers.
    async fn settle(&mut self, row: &mut Row) -> Result<()> {
        row.balanced = self.sys.balance(BALANCE).await?.is_balanced();
        let before = std::mem::take(&mut self.ledger);
        for (_, worker) in &self.workers {
            self.ledger += self.sys.ledger_of(worker).await?;
        }
        row.ledger = since(before, self.ledger);
        // An answer of the supervisor has come behind every event before it.
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, self.events.next()).await {
            self.take(event, row)?;
        }
        row.verdict = checker::check(&self.reader.read()?, &mut self.memory);
        row.judge();
        Ok(())
    }
}

/// The life and the process of the victim that has started.
fn started(event: &Event) -> Option<(u32, u32)> {
    match event {
        Event::Started { name, incarnation, pid, .. } if name == Party::Victim.name() => {
            Some((incarnation.0, *pid))
        }
        _ => None,
    }
}

fn since(before: Ledger, now: Ledger) -> Ledger {
    Ledger {
        accepted: now.accepted - before.accepted,
        processed: now.processed - before.processed,
        dead_lettered: now.dead_lettered - before.dead_lettered,
        in_doubt: now.in_doubt - before.in_doubt,
        died_with_sender: now.died_with_sender - before.died_with_sender,
        redelivered: now.redelivered - before.redelivered,
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let seconds = PATIENCE.as_secs();
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| Error::new(format!("waited for {what}, and after {seconds} s it had not happened")))
}
