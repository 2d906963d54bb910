//! Kills mappers from outside while they work, and counts every death.
//!
//! A kill is a real SIGKILL to the process, behind the runtime's back; it counts once the runtime has seen that very
//! process die of it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use indicatif::ProgressBar;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use watertight::prelude::*;
use watertight::{ActorId, ActorInfo, CrashReport, Event, Exit, Incarnation, Phase};

use crate::report::note;
use crate::work::Work;

/// After which submitted chunk each kill is due, in ascending order.
pub struct Schedule {
    at: Vec<u64>,
}

impl Schedule {
    /// Spreads `kills` over a run of `chunks`, each at a random moment of its own stretch, and all before the last
    /// chunk, so that there is work under way.
    pub fn new(kills: u32, chunks: u64, dice: &mut Dice) -> Self {
        let stretch = chunks.saturating_sub(1) as f64 / f64::from(kills.max(1));
        let at = (0..kills).map(|kill| 1 + floor((f64::from(kill) + dice.fraction()) * stretch));
        Schedule { at: at.map(|at| at.min(chunks.saturating_sub(1).max(1))).collect() }
    }

    /// How many kills are due when so many chunks were submitted.
    pub fn due(&self, submitted: u64) -> u32 {
        u32::try_from(self.at.partition_point(|&at| at <= submitted)).unwrap_or(u32::MAX)
    }
}

/// The whole part of a number of chunks.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is positive, and a cast saturates.
fn floor(number: f64) -> u64 {
    number as u64
}

/// Random numbers, different in every run.
pub struct Dice(u64);

impl Dice {
    /// Starts at a random place.
    pub fn new() -> Self {
        Dice(RandomState::new().hash_one(1) | 1)
    }

    fn next(&mut self) -> u64 {
        // Xorshift: it need not be better than this to choose a victim.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let place = usize::try_from(self.next() % (all.len() as u64).max(1)).ok()?;
        all.get(place).copied()
    }
}

/// How mappers died.
#[derive(Default)]
pub struct Deaths {
    /// By a kill from here.
    pub kills: u32,
    /// By a segfault.
    pub faults: u64,
    /// In any other way.
    pub others: u64,
    /// Why killing was given up, if it was.
    pub error: Option<Error>,
}

/// Watches the mappers' lives and takes them when it is time.
pub struct Killer {
    /// The system,
    pub system: System,
    /// what happens in it,
    pub events: watertight::Events,
    /// the work that should not suffer,
    pub work: Arc<Work>,
    /// when kills are due,
    pub schedule: Arc<Schedule>,
    /// whom they hit,
    pub dice: Dice,
    /// and where to report a death that nobody asked for.
    pub bar: ProgressBar,
}

impl Killer {
    /// Kills when it is time, until every mapper has ended for good.
    pub async fn run(mut self) -> Deaths {
        let mut deaths = Deaths::default();
        let mut alive = self.work.mappers().len();
        let work = Arc::clone(&self.work);
        let (submitted, killed) = work.progress();
        let mut progress = submitted.subscribe();
        while alive > 0 {
            let submitted = *progress.borrow_and_update();
            if deaths.error.is_none() && deaths.kills < self.schedule.due(submitted) {
                match self.kill_one(&mut deaths, &mut alive).await {
                    Ok(()) => killed.send_replace(deaths.kills),
                    Err(error) => {
                        deaths.error = Some(error);
                        // Nobody waits for kills that do not come.
                        killed.send_replace(u32::MAX)
                    }
                };
                continue;
            }
            tokio::select! {
                event = self.events.next() => match event {
                    Some(event) => self.note(&event, None, &mut deaths, &mut alive),
                    None => break,
                },
                // The sender is a field of `work`, so this does not end before it.
                _ = progress.changed() => {}
            }
        }
        deaths
    }

    /// Kills until a kill has hit: a victim may die of something else in the same moment.
    async fn kill_one(&mut self, deaths: &mut Deaths, alive: &mut usize) -> Result<()> {
        let before = deaths.kills;
        while deaths.kills == before {
            if *alive == 0 {
                return Err(Error::new("there is no mapper left to kill"));
            }
            let aim = self.shoot().await?;
            // Until the victim's end is seen; if there was no victim, until anything happens that may give one.
            loop {
                let Some(event) = self.events.next().await else {
                    return Err(Error::new("the system has ended"));
                };
                self.note(&event, aim, deaths, alive);
                if aim.is_none()
                    || matches!(&event, Event::Exited(report) if aim == Some((report.actor, report.incarnation)))
                {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends SIGKILL to a random mapper that has work, else to any; `None` if none is running.
    async fn shoot(&mut self) -> Result<Option<(ActorId, Incarnation)>> {
        let mut candidates = self.work.busy();
        if candidates.is_empty() {
            candidates = (0..self.work.mappers().len()).collect();
        }
        while let Some(place) = self.dice.one_of(&candidates) {
            candidates.retain(|candidate| *candidate != place);
            let info = self.system.info(&self.work.mappers()[place]).await?;
            if self.shoot_at(&info).await? {
                return Ok(Some((info.actor, info.incarnation)));
            }
        }
        Ok(None)
    }

    /// False if it is not running any more.
    async fn shoot_at(&self, info: &ActorInfo) -> Result<bool> {
        let pid = info.pid.filter(|_| info.phase == Phase::Running).and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { return Ok(false) };
        let failed = |error: Errno| Error::from(error).context(format!("failed to kill process {pid:?}"));
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(false),
            opened => opened.map_err(failed)?,
        };
        // The number may have passed to a stranger before it was opened. If it is still the mapper's now, it was then.
        if self.system.info_of(info.actor).await? != *info {
            return Ok(false);
        }
        match pidfd_send_signal(&process, Signal::KILL) {
            Err(Errno::SRCH) => Ok(false),
            sent => sent.map(|()| true).map_err(failed),
        }
    }

    fn note(
        &self,
        event: &Event,
        aim: Option<(ActorId, Incarnation)>,
        deaths: &mut Deaths,
        alive: &mut usize,
    ) {
        match event {
            Event::Exited(report) if report.exit.is_normal() => {}
            Event::Exited(report) => match report.exit {
                Exit::Signal(libc::SIGKILL) if aim == Some((report.actor, report.incarnation)) => {
                    deaths.kills += 1
                }
                Exit::Signal(libc::SIGSEGV) => deaths.faults += 1,
                _ => {
                    deaths.others += 1;
                    let CrashReport { name, pid, exit, .. } = &**report;
                    self.bar.suspend(|| note(format_args!("{name} (process {pid}) died: {exit}")));
                }
            },
            Event::Ended { .. } => *alive = alive.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kill_is_due_in_its_own_stretch_and_before_the_last_chunk() {
        let mut dice = Dice(99);
        for (kills, chunks) in [(1, 1), (1, 2), (20, 21), (20, 1000), (3, 7), (50, 10), (1000, 1)] {
            let schedule = Schedule::new(kills, chunks, &mut dice);
            assert_eq!(schedule.at.len(), kills as usize);
            assert!(schedule.at.is_sorted());
            assert_eq!(schedule.due(0), 0);
            assert_eq!(schedule.due((chunks - 1).max(1)), kills, "{kills} in {chunks}");
            let stretch = (chunks - 1).div_ceil(u64::from(kills)) + 1;
            for (kill, at) in (0_u64..).zip(&schedule.at) {
                let begin = kill * (chunks - 1) / u64::from(kills);
                assert!(
                    (begin..=begin + stretch).contains(at),
                    "{at} for kill {kill} of {kills} in {chunks}"
                );
            }
        }
    }

    #[test]
    fn nothing_to_count_means_no_kill() {
        assert_eq!(Schedule::new(5, 0, &mut Dice(1)).due(0), 0);
        assert_eq!(Schedule::new(0, 100, &mut Dice(1)).due(100), 0);
    }

    #[test]
    fn dice_fall_everywhere() {
        let mut dice = Dice::new();
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[dice.one_of(&[0_usize, 1, 2, 3, 4, 5, 6]).unwrap_or(0)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 700), "{seen:?}");
        assert_eq!(dice.one_of::<u8>(&[]), None);
    }
}
