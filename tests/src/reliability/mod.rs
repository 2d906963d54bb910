//! The reliability suite: real processes, tormented on purpose and judged by what they wrote down themselves.
//!
//! `bin/reliability.rs` is the program; `tests/reliability.rs` runs the small version of each experiment. What they
//! promise, and the figures of a full run, stand in `docs/reliability.md`.

#![allow(clippy::unwrap_used)] // Of what this suite writes and reads itself.

mod calls;
mod deaths;
mod descriptors;
mod frames;
mod full_disk;
mod hangs;
mod kills;
mod machine;
mod orphans;
mod overload;
mod parts;
mod replies;
mod restarts;
mod run;
mod score;
mod soak;
mod storms;
mod traffic;
mod trend;
mod verdict;

use watertight::prelude::*;

pub use parts::plain_part;
pub use run::run;
pub use score::{Check, Figure, Score};

/// One experiment: its name, and what it promises in one sentence.
pub struct Experiment {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it promises.
    pub promise: &'static str,
}

/// All of them, in the order in which they are run.
pub const EXPERIMENTS: [Experiment; 14] = [
    Experiment {
        name: "kills",
        promise: "a SIGKILL costs at most the one message in hand, and that one is named; every ask ends",
    },
    Experiment {
        name: "idempotent",
        promise: "messages marked idempotent survive every SIGKILL, and whatever runs again knows it",
    },
    Experiment { name: "orphans", promise: "no actor is alive a second after its supervisor was killed" },
    Experiment { name: "replies", promise: "a reply that was sent before the death is received" },
    Experiment { name: "hangs", promise: "a hang is found in time, and work is never taken for one" },
    Experiment {
        name: "overload",
        promise: "ten times too much costs no more memory than the mailbox, and what was refused was said",
    },
    Experiment {
        name: "soak",
        promise: "restarts leave nothing behind: no zombie, descriptor, file or memory",
    },
    Experiment { name: "deaths", promise: "all come back from a death of all at once" },
    Experiment {
        name: "storms",
        promise: "signals disturb neither the seeing of exits nor the starting of processes",
    },
    Experiment { name: "disk", promise: "a full disk is an error that says so, and nothing else" },
    Experiment {
        name: "descriptors",
        promise: "descriptors that run out are an error that says so, until there are some again",
    },
    Experiment {
        name: "calls",
        promise: "every call that can fail may fail, also two at once: who asked is told, and nothing is lost",
    },
    Experiment { name: "frames", promise: "frames that are nearly right disturb nobody but their sender" },
    Experiment {
        name: "restarts",
        promise: "a killed actor handles the next message within three times what a bare child takes",
    },
];

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The small version.
    pub quick: bool,
    /// Where randomness begins.
    pub seed: u64,
    /// How long what is measured in minutes takes; each experiment has its own default.
    pub minutes: Option<f64>,
}

impl Effort {
    /// The one or the other number.
    fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// `--minutes`, or the one or the other.
    fn seconds(self, full: f64, quick: f64) -> std::time::Duration {
        std::time::Duration::from_secs_f64(
            self.minutes.map_or(self.of(full, quick), |minutes| minutes * 60.0),
        )
    }
}

/// Runs one experiment in this process and its system.
///
/// # Errors
/// When it could not be run; a broken promise is no error but a check that does not hold.
pub async fn experiment(name: &str, sys: &System, effort: Effort) -> Result<Score> {
    let known = EXPERIMENTS.iter().find(|experiment| experiment.name == name);
    let known = known.ok_or_else(|| Error::new(format!("no experiment is named {name:?}")))?;
    let mut score = Score::begin(known, effort);
    match name {
        "kills" => kills::run(sys, effort, false, &mut score).await?,
        "idempotent" => kills::run(sys, effort, true, &mut score).await?,
        "orphans" => orphans::run(effort, &mut score)?,
        "replies" => replies::run(sys, effort, &mut score).await?,
        "hangs" => hangs::run(sys, effort, &mut score).await?,
        "overload" => overload::run(sys, effort, &mut score).await?,
        "soak" => soak::run(sys, effort, &mut score).await?,
        "deaths" => deaths::run(sys, effort, &mut score).await?,
        "storms" => storms::run(sys, effort, &mut score).await?,
        "disk" => full_disk::run(sys, effort, &mut score).await?,
        "calls" => calls::run(sys, effort, &mut score).await?,
        "frames" => frames::run(effort, &mut score)?,
        "descriptors" => descriptors::run(sys, effort, &mut score).await?,
        _ => restarts::run(sys, effort, &mut score).await?,
    }
    score.end();
    Ok(score)
}

/// Says on standard error how far it has come.
fn progress(words: &str) {
    eprintln!("  {words}");
}

/// Numbers that look random, the same from the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // A generator of this kind stays at zero if it begins there.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// One of so many places.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}
