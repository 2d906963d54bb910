//! Torments a running system, and says how it bore that.
//!
//! ```no_run
//! # use std::time::Duration;
//! use watertight::testing::Chaos;
//!
//! # async fn f(sys: watertight::System) -> watertight::Result<()> {
//! let verdict = Chaos::seeded(7).rate(20.0).lasting(Duration::from_secs(10)).only("worker-*").run(&sys).await?;
//! assert!(verdict.is_good(), "{verdict}");
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::fault::{matches, mix};
use crate::report::Exit;
use crate::{ActorInfo, Event, Events, Phase, Result, System};

/// How long a stopped process is stopped: shorter than any sensible hang limit, longer than a message takes.
const STOPPED: Duration = Duration::from_millis(50);
/// How long those that were killed last may take to be back: far longer than the longest wait before a restart.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long the ledger is waited for: a message takes microseconds.
const SETTLED: Duration = Duration::from_secs(2);
/// Most faults a second: each is a listing of all actors.
const RATE: f64 = 1_000.0;

/// Torments a running system; made by [`Chaos::seeded`].
#[derive(Clone, Debug)]
#[must_use = "chaos does nothing until it is run"]
pub struct Chaos {
    seed: u64,
    rate: f64,
    lasting: Duration,
    only: String,
    stops: f64,
}

impl Chaos {
    /// Ten faults a second for ten seconds, at any actor; the seed chooses whom, when and how.
    pub fn seeded(seed: u64) -> Chaos {
        Chaos { seed, rate: 10.0, lasting: Duration::from_secs(10), only: "*".into(), stops: 0.2 }
    }

    /// So many faults a second on average: from one in a thousand seconds to 1,000. What is no number changes nothing.
    pub fn rate(mut self, rate: f64) -> Chaos {
        self.rate = if rate.is_nan() { self.rate } else { rate.clamp(1.0 / RATE, RATE) };
        self
    }

    /// For so long.
    pub fn lasting(mut self, time: Duration) -> Chaos {
        self.lasting = time;
        self
    }

    /// Only actors of this name, in which `*` stands for any characters.
    pub fn only(mut self, pattern: impl Into<String>) -> Chaos {
        self.only = pattern.into();
        self
    }

    /// This share of the faults are stops by SIGSTOP for 50 ms; the others are SIGKILLs. Default: 0.2.
    pub fn stops(mut self, share: f64) -> Chaos {
        self.stops = share.clamp(0.0, 1.0);
        self
    }

    /// Torments the system, then waits until everything is back, ten seconds at most, and until everything is settled, two
    /// seconds at most.
    ///
    /// A topology that goes on sending is never settled: stop what sends, then put the ledger of that moment into the
    /// verdict, `verdict.ledger = sys.balance(limit).await?`.
    ///
    /// # Errors
    /// When the system is gone before.
    pub async fn run(self, sys: &System) -> Result<ChaosVerdict> {
        let mut watch = Watch { seed: self.seed, ..Watch::default() };
        let mut events = sys.events().await?;
        let mut random = Random(self.seed);
        let end = clock::later(Instant::now(), self.lasting);
        let mut next = Instant::now();
        while Instant::now() < end {
            watch.look(&mut events, next.min(end)).await?;
            if (next..end).contains(&Instant::now()) {
                self.strike(sys, &mut random, &mut watch).await?;
                next = clock::later(next, Duration::from_secs_f64(2.0 * random.share() / self.rate));
            }
        }
        let end = Instant::now() + AFTERWARDS;
        while Instant::now() < end && !(watch.down.is_empty() && watch.stopped.0.is_empty()) {
            watch.look(&mut events, end).await?;
        }
        for one in sys.list().await? {
            // Others than those that were killed may be down too.
            if matches(&self.only, &one.name) && matches!(one.phase, Phase::Starting | Phase::Restarting) {
                watch.down.entry((one.name, one.incarnation.0)).or_insert(end);
            }
        }
        let ledger = sys.balance(SETTLED).await?;
        Ok(watch.verdict(ledger))
    }

    async fn strike(&self, sys: &System, random: &mut Random, watch: &mut Watch) -> Result<()> {
        let all = sys.list().await?;
        let can = |one: &&ActorInfo| one.phase == Phase::Running && matches(&self.only, &one.name);
        let victims: Vec<&ActorInfo> = all.iter().filter(can).collect();
        if let Some(victim) = random.one_of(&victims) {
            watch.strike(victim, random.share() < self.stops);
        }
        Ok(())
    }
}

fn gone() -> crate::Error {
    crate::Error::new("the system ended while it was tormented")
}

/// How a system bore it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChaosVerdict {
    /// The seed.
    pub seed: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that were stopped for a while.
    pub stops: u64,
    /// Exits that were none of ours: actors that died of the death of others, or of themselves.
    pub other_crashes: u64,
    /// Starts of next incarnations.
    pub restarts: u64,
    /// From a kill to the return of the next incarnation's `start`, in milliseconds: the median.
    pub back_median_ms: f64,
    /// The longest.
    pub back_worst_ms: f64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// What has become of all messages.
    pub ledger: crate::Ledger,
    /// Names of those that were killed and did not come back.
    pub not_back: Vec<String>,
    /// Names of those that were given up.
    pub given_up: Vec<String>,
}

impl ChaosVerdict {
    /// Whether everybody is back and every message is accounted for.
    pub fn is_good(&self) -> bool {
        self.not_back.is_empty() && self.given_up.is_empty() && self.ledger.is_balanced()
    }
}

impl fmt::Display for ChaosVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kills, stops, other_crashes, restarts, dead_letters, ledger, .. } = self;
        writeln!(f, "faults        {kills} kills, {stops} stops (seed {seed})")?;
        writeln!(f, "restarts      {restarts}; other crashes {other_crashes}")?;
        writeln!(
            f,
            "back after    median {:.1} ms, worst {:.1} ms",
            self.back_median_ms, self.back_worst_ms
        )?;
        writeln!(f, "messages      {ledger}")?;
        writeln!(f, "dead letters  {dead_letters} told")?;
        for (what, names) in [("not back", &self.not_back), ("given up", &self.given_up)] {
            if !names.is_empty() {
                writeln!(f, "{what}      {}", names.join(", "))?;
            }
        }
        f.write_str(if self.is_good() { "it holds" } else { "IT DOES NOT HOLD" })
    }
}

/// What has been done and seen.
#[derive(Default)]
struct Watch {
    seed: u64,
    kills: u64,
    stops: u64,
    other_crashes: u64,
    restarts: u64,
    dead_letters: u64,
    back: Vec<Duration>,
    /// Who was killed, in which life, and when, and is not back.
    down: BTreeMap<(String, u32), Instant>,
    /// Who is to go on, and when.
    stopped: Stopped,
    given_up: Vec<String>,
}

/// Whatever becomes of the torment, nobody in here stays stopped.
#[derive(Default)]
struct Stopped(Vec<(Pid, Instant)>);

impl Stopped {
    fn continue_due(&mut self, now: Instant) {
        for (pid, _) in self.0.extract_if(.., |(_, until)| *until <= now) {
            // Killed meanwhile: then there is nothing to continue.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for (pid, _) in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

impl Watch {
    /// Kills or stops one. Its number was its own when the supervisor was asked, some microseconds ago.
    fn strike(&mut self, victim: &ActorInfo, stops: bool) {
        let Some(pid) = victim.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else { return };
        let life = (victim.name.clone(), victim.incarnation.0);
        if self.down.contains_key(&life) {
            // It is dying of the last strike, and its supervisor has not seen that yet.
            return;
        }
        let signal = if stops { Signal::STOP } else { Signal::KILL };
        if kill_process(pid, signal).is_err() {
            // It has died by itself meanwhile.
            return;
        }
        if stops {
            self.stops += 1;
            self.stopped.0.push((pid, Instant::now() + STOPPED));
        } else {
            self.kills += 1;
            self.down.insert(life, Instant::now());
        }
    }

    /// Sees what happens until then, or until somebody who is stopped has to go on.
    async fn look(&mut self, events: &mut Events, until: Instant) -> Result<()> {
        let due = self.stopped.0.iter().map(|(_, until)| *until).min();
        let until = due.map_or(until, |due| due.min(until));
        match tokio::time::timeout_at(until.into(), events.next()).await {
            Ok(event) => self.see(&event.ok_or_else(gone)?),
            Err(_) => self.stopped.continue_due(Instant::now()),
        }
        Ok(())
    }

    fn see(&mut self, event: &Event) {
        match event {
            Event::Started { name, incarnation, .. } if incarnation.0 > 1 => {
                self.restarts += 1;
                let back = &mut self.back;
                self.down.retain(|(other, life), since| {
                    let is_back = other == name && *life < incarnation.0;
                    if is_back {
                        back.push(since.elapsed());
                    }
                    !is_back
                });
            }
            Event::Exited(report) => {
                let life = (report.name.clone(), report.incarnation.0);
                let is_ours = self.down.contains_key(&life) && report.exit == Exit::Signal(libc::SIGKILL);
                self.other_crashes += u64::from(!is_ours && !report.exit.is_normal());
            }
            Event::Ended { name, given_up, .. } => {
                self.down.retain(|(other, _), _| other != name);
                if *given_up {
                    self.given_up.push(name.clone());
                }
            }
            Event::DeadLetters { count, .. } => self.dead_letters += count,
            _ => {}
        }
    }

    fn verdict(mut self, ledger: crate::Ledger) -> ChaosVerdict {
        self.back.sort_unstable();
        let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        ChaosVerdict {
            seed: self.seed,
            kills: self.kills,
            stops: self.stops,
            other_crashes: self.other_crashes,
            restarts: self.restarts,
            back_median_ms: milliseconds(self.back.get(self.back.len() / 2)),
            back_worst_ms: milliseconds(self.back.last()),
            dead_letters: self.dead_letters,
            ledger,
            not_back: std::mem::take(&mut self.down).into_keys().map(|(name, _)| name).collect(),
            given_up: std::mem::take(&mut self.given_up),
        }
    }
}

/// Numbers that the seed decides.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 up to and without 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits are kept.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let at = self.next() % u64::try_from(things.len()).ok().filter(|many| *many > 0)?;
        things.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ledger;

    fn verdict(watch: Watch, ledger: Ledger) -> ChaosVerdict {
        watch.verdict(ledger)
    }

    #[test]
    fn who_is_not_back_who_is_given_up_and_what_is_unaccounted_for_spoil_the_verdict() {
        let even = Ledger { accepted: 3, processed: 2, in_doubt: 1, ..Ledger::default() };
        assert!(verdict(Watch::default(), even).is_good());
        let down = BTreeMap::from([(("store".to_owned(), 1), Instant::now())]);
        let lost = verdict(Watch { down, ..Watch::default() }, even);
        assert!(!lost.is_good() && lost.to_string().contains("not back      store"), "{lost}");
        let given_up = verdict(Watch { given_up: vec!["till".into()], ..Watch::default() }, even);
        assert!(!given_up.is_good() && given_up.to_string().contains("given up      till"), "{given_up}");
        let uneven = verdict(Watch::default(), Ledger { accepted: 4, ..even });
        assert!(!uneven.is_good() && uneven.to_string().contains("+ 1 UNACCOUNTED FOR"), "{uneven}");
    }
}
