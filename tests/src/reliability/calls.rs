//! Every call of the runtime that may fail is made to fail, alone and in random pairs: whoever asks is told, what was
//! accepted is accounted for, and afterwards everything works.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight::fault::{Call, Cut, Fault, Plan, Rule, errno};
use watertight::prelude::*;
use watertight::testing::state_of;
use watertight::{Ledger, Output, Sender, channel};

use super::machine::Times;
use super::parts::{self, signal};
use super::{Effort, Random, Score, progress};
use crate::Specimen;
use crate::doomed::survivor_of;
use crate::specimen::{Add, Bytes, Number, Relay, Setup, Work};

/// For what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer that failed calls have cost does not come; it is asked for again.
const LOST: Duration = Duration::from_secs(2);
/// Whose calls fail; these stand before `-` in the names of actors.
const WHOSE: [&str; 4] = ["supervisor", "program", "receiver", "relay"];
/// A call fails at its first, second, … time in its process.
const TIMES: u64 = 6;
/// By this name the system is attached to.
const NAME: &str = "calls";

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    sys.listen(NAME).await?;
    let mut rounds = Rounds::default();
    let mut never = Vec::new();
    for call in everything() {
        let before = rounds.injected;
        for (whose, time) in
            WHOSE.into_iter().flat_map(|whose| (1..=effort.of(TIMES, 1)).map(move |time| (whose, time)))
        {
            rounds.one(sys, |round| Plan::seeded(1).with(fails(&call, whose, round, time))).await?;
        }
        if rounds.injected == before {
            never.push(call);
        }
    }
    let alone = rounds.number;
    progress(&format!("{alone} rounds in which a call fails alone, {} did", rounds.injected));
    let all = everything();
    let mut random = Random::new(effort.seed);
    for pair in 1..=effort.of(1000, 40) {
        let mut any = |round| {
            let (call, whose) = (&all[random.index(all.len())], WHOSE[random.index(WHOSE.len())]);
            fails(call, whose, round, 1 + random.below(TIMES))
        };
        rounds.one(sys, |round| Plan::seeded(1).with(any(round)).with(any(round))).await?;
        if pair % 100 == 0 {
            progress(&format!("{pair} random pairs"));
        }
    }
    score.zero("rounds after which not everything was accounted for", rounds.uneven, rounds.number);
    score.zero("rounds in which something did not work again", rounds.broken, rounds.number);
    score.at_most(format!("kinds of call that were never made to fail {never:?}"), never.len() as f64, 0.0);
    score.figure(
        "rounds with one call that fails, and with two",
        format!("{alone}, {}", rounds.number - alone),
    );
    score.figure("kinds of call", all.len());
    score.figure("calls that failed", rounds.injected);
    score.figure("errors that were told meanwhile", rounds.told);
    score.figure("a round", Times::of(rounds.took));
    Ok(())
}

/// Every call of the runtime that can be made to fail; the start of a process is one.
fn everything() -> Vec<Cut> {
    Call::ALL.into_iter().map(Cut::Call).chain([Cut::Spawn]).collect()
}

fn fails(call: &Cut, whose: &str, round: u64, time: u64) -> Rule {
    let whom =
        if matches!(whose, "supervisor" | "program") { whose.into() } else { format!("{whose}-{round}") };
    Fault::Error(errno::EMFILE).at(call.clone()).actor(whom).nth(time)
}

/// What has come of all rounds so far.
#[derive(Default)]
struct Rounds {
    number: u64,
    injected: usize,
    told: u64,
    uneven: u64,
    broken: u64,
    took: Vec<Duration>,
}

impl Rounds {
    /// One more, with the plan for it.
    async fn one(&mut self, sys: &System, plan: impl FnOnce(u64) -> Plan) -> Result<()> {
        if self.uneven > 0 {
            // What is missing stays missing: further rounds would say nothing.
            return Ok(());
        }
        self.number += 1;
        let plan = plan(self.number);
        let begun = Instant::now();
        sys.inject(plan.clone()).await?;
        let worked = self.work(sys).await;
        sys.inject(Plan::seeded(1)).await?;
        self.took.push(begun.elapsed());
        self.injected = sys.injected().await?.len();
        let ledger = sys.balance(PATIENCE).await?;
        if !self.judge(&worked, &ledger) {
            progress(&format!("round {}, {plan:?}: {worked:?}, {ledger}", self.number));
            progress(&state_of(sys).await);
        }
        Ok(())
    }

    /// Whether all is well after a round.
    fn judge(&mut self, worked: &Result<()>, ledger: &Ledger) -> bool {
        self.broken += u64::from(worked.is_err());
        self.uneven += u64::from(!ledger.is_balanced());
        worked.is_ok() && ledger.is_balanced()
    }

    /// Two actors tell each other things, and one of them dies in the middle. The program's survivor dies as well.
    async fn work(&mut self, sys: &System) -> Result<()> {
        if let Some(survivor) = survivor_of(std::process::id()) {
            signal(survivor, Signal::KILL);
        }
        let receiver = self.start(sys, "receiver").await?;
        let relay = self.start(sys, "relay").await?;
        for n in 0..20 {
            // Accepted or refused; the ledger counts what was accepted.
            self.may_fail(receiver.tell(Number { sender: 1, number: n }).await);
            self.may_fail(relay.tell(Relay(receiver.clone(), n)).await);
            if n == 10 {
                sys.kill(&receiver).await?;
            }
        }
        // More than a socket holds, while its reader is busy, so that room must be waited for.
        self.may_fail(receiver.tell(Work(10_000)).await);
        self.may_fail(receiver.ask(Bytes(vec![7; 1 << 20])).deadline(LOST).await);
        self.is_answered(&receiver).await?;
        self.is_answered(&relay).await?;
        self.attaches().await?;
        self.shares(sys).await?;
        tokio::time::timeout(PATIENCE, sys.settled()).await?;
        sys.stop(&receiver).await?;
        Ok(sys.stop(&relay).await?)
    }

    fn may_fail<T, E: std::fmt::Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        self.told += u64::from(outcome.is_err());
        outcome.ok()
    }

    /// Starts one, however often that fails.
    async fn start(&mut self, sys: &System, name: &str) -> Result<Address<Specimen>> {
        let spec = || {
            let spec = Spec::<Specimen>::new(Setup::default()).name(format!("{name}-{}", self.number));
            spec.output(Output::Silent).backoff(Backoff::NONE).intensity(1000, Duration::from_secs(60))
        };
        for _ in 0..TIMES {
            match sys.spawn_with(spec()).await {
                Ok(address) => return Ok(address),
                Err(_) => self.told += 1,
            }
        }
        Ok(sys.spawn_with(spec()).await?)
    }

    /// Asks until there is an answer: what fails in between must be told soon.
    async fn is_answered(&mut self, address: &Address<Specimen>) -> Result<()> {
        let begun = Instant::now();
        loop {
            match address.ask(Add(1)).deadline(LOST).await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => self.told += 1,
            }
        }
    }

    /// A program attaches, and asks until it is answered.
    async fn attaches(&mut self) -> Result<()> {
        let mut program = parts::program(&format!("visitor:receiver-{}", self.number));
        let visited = tokio::task::spawn_blocking(move || program.status());
        let status = tokio::time::timeout(PATIENCE, visited).await???;
        if status.success() { Ok(()) } else { Err(Error::new(format!("a program that attached: {status}"))) }
    }

    /// Starts a process whose arguments own descriptors and shared memory, however often that fails.
    async fn shares(&mut self, sys: &System) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let made =
                Blob::build(100_000, |bytes| bytes.fill(7)).and_then(|blob| Ok((blob, channel::<usize>()?)));
            let Some((blob, (sender, receiver))) = self.may_fail(made) else { continue };
            let length = |(blob, sender): (Blob, Sender<usize>)| sender.blocking_send(blob.len()).is_ok();
            let process = sys.process(length, (blob, sender)).await;
            if let Some(process) = self.may_fail(process)
                && self.may_fail(process.join().await) == Some(true)
                && let Some(said) = self.may_fail(receiver.recv().await)
            {
                return if said == Some(100_000) {
                    Ok(())
                } else {
                    Err(Error::new("it is not the blob that was sent"))
                };
            }
        }
        Err(Error::new(format!("no process takes a blob and a channel within {PATIENCE:?}")))
    }
}

/// Plays the program that attaches, as often as it is told that this failed.
pub async fn visit(name: &str) -> Result<()> {
    let begun = Instant::now();
    let sys = loop {
        match watertight::attach(NAME).await {
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => {}
            Ok(sys) => break sys,
        }
    };
    let receiver = sys.find::<Specimen>(name).await?;
    Rounds::default().is_answered(&receiver).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_missing_and_an_actor_that_answers_no_more_are_counted() {
        let mut rounds = Rounds::default();
        let even = Ledger { accepted: 3, processed: 1, dead_lettered: 1, in_doubt: 1, ..Ledger::default() };
        assert!(rounds.judge(&Ok(()), &even));
        assert!(!rounds.judge(&Ok(()), &Ledger { accepted: 4, ..even }));
        assert!(!rounds.judge(&Err(Error::new("no answer")), &even));
        assert_eq!((rounds.uneven, rounds.broken), (1, 1));
    }
}
