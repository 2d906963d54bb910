//! The load: each driver is an actor that tells and asks every worker, each on a lane of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use watertight::prelude::*;

use super::journal::{How, Journal, Party};
use super::sender::{self, Open, Outgoing};
use super::worker::{Number, Worker};

/// How often a lane sends: three tells and an ask. With two drivers and four workers that is 3,200 messages a second,
/// and 800 more that the workers pass on.
const TICK: Duration = Duration::from_millis(10);
/// Asks of a lane that are open at once. A lane whose receiver hangs goes on sending until then, and then waits: far
/// below what a mailbox holds, so that no lane ever meets a full one and numbers are always sent in order.
const OPEN: usize = 64;

/// Sends to all workers from `Begin` until `Rest`.
pub struct Driver {
    resting: Vec<Lane>,
    running: Vec<JoinHandle<Result<Lane>>>,
    rest: Arc<AtomicBool>,
}

/// What a driver is started with.
#[data]
pub struct DriverSetup {
    pub party: Party,
    /// Where its journal is.
    pub folder: String,
    pub workers: Vec<(Party, Address<Worker>)>,
}

/// Send, until told to rest.
#[message]
pub struct Begin;

/// Stop sending; answered when every ask has ended.
#[message]
pub struct Rest;

impl Actor for Driver {
    type Args = DriverSetup;
    type Messages = (Begin, Rest);

    async fn start(setup: DriverSetup, cx: &mut Context<Self>) -> Result<Self> {
        let journal = Arc::new(Journal::open(&PathBuf::from(setup.folder), setup.party)?);
        let lane = |(to, worker)| Lane {
            worker,
            outgoing: Outgoing::new(&journal, setup.party, cx.incarnation().0, to),
        };
        let resting = setup.workers.into_iter().map(lane).collect();
        Ok(Driver { resting, running: Vec::new(), rest: Arc::default() })
    }
}

impl Handler<Begin> for Driver {
    async fn handle(&mut self, _: Begin, _: &mut Context<Self>) -> Result<()> {
        self.rest.store(false, Ordering::Relaxed);
        let rest = &self.rest;
        self.running.extend(self.resting.drain(..).map(|lane| tokio::spawn(lane.run(Arc::clone(rest)))));
        Ok(())
    }
}

impl Handler<Rest> for Driver {
    async fn handle(&mut self, _: Rest, _: &mut Context<Self>) -> Result<()> {
        self.rest.store(true, Ordering::Relaxed);
        for lane in self.running.drain(..) {
            self.resting.push(lane.await??);
        }
        Ok(())
    }
}

/// One driver's messages to one worker.
struct Lane {
    worker: Address<Worker>,
    outgoing: Outgoing,
}

impl Lane {
    async fn run(mut self, rest: Arc<AtomicBool>) -> Result<Lane> {
        let mut open = Open::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !rest.load(Ordering::Relaxed) {
            ticks.tick().await;
            for pass_on in [false, true, false] {
                let offered = self.outgoing.offer(How::Tell)?;
                let result = self.worker.tell(Number { mark: offered.mark, pass_on }).await;
                offered.told(result)?;
            }
            let offered = self.outgoing.offer(How::Ask)?;
            let number = Number { mark: offered.mark, pass_on: false };
            sender::ask(&mut open, &self.worker, offered, number).await?;
            sender::end(&mut open, OPEN).await?;
        }
        sender::end(&mut open, 0).await?;
        Ok(self)
    }
}
