//! The supervisor killed while its actors are in each state: how many of their processes are alive a second later.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight::prelude::*;

use super::machine::Times;
use super::parts::{signal, start_family};
use super::{Effort, Score, progress};
use crate::doomed::is_alive;

const STATES: [&str; 5] = ["idle", "looping", "stopped", "sending", "grandchild"];
/// What is alive by then was left behind.
const LIMIT: Duration = Duration::from_secs(1);

pub fn run(effort: Effort, score: &mut Score) -> Result<()> {
    let rounds = effort.of(100, 2);
    for state in STATES {
        let (mut times, mut alive, mut actors) = (Vec::new(), 0, 0);
        let (mut grandchildren, mut grandchildren_alive, mut later) = (0, 0, Vec::new());
        for _ in 0..rounds {
            let (mut program, family) = start_family(state)?;
            let there = family.actors.iter().chain(&family.grandchildren).all(|&pid| is_alive(pid));
            if !there || family.actors.len() != 4 {
                return Err(Error::new(format!("{state}: not all were there to begin with: {family:?}")));
            }
            program.0.kill()?;
            let (took, left) = left_alive(&family.actors);
            times.push(took);
            alive += left;
            actors += family.actors.len() as u64;
            grandchildren += family.grandchildren.len() as u64;
            let (took, left) = left_alive(&family.grandchildren);
            later.push(took);
            grandchildren_alive += left;
            // Nobody else would end them now.
            family.grandchildren.iter().for_each(|&pid| _ = signal(pid, Signal::KILL));
        }
        progress(&format!("{state}: {rounds} supervisors killed"));
        score.zero(format!("{state}: actors alive after 1 s"), alive, actors);
        score.figure(format!("{state}: from the kill to the end of the last actor"), Times::of(times));
        if grandchildren > 0 {
            let what = format!("{state}: processes that actors had started, alive after 1 s");
            score.zero(what, grandchildren_alive, grandchildren);
            let what = format!("{state}: from the end of the last actor to that of the last such process");
            score.figure(what, Times::of(later));
        }
    }
    score.figure("supervisors killed", rounds * STATES.len());
    Ok(())
}

/// Waits until none of these is alive, at most a second; how long, and how many still are.
fn left_alive(pids: &[u32]) -> (Duration, u64) {
    let killed = Instant::now();
    loop {
        let alive = pids.iter().filter(|&&pid| is_alive(pid)).count() as u64;
        let took = killed.elapsed();
        if alive == 0 || took > LIMIT {
            return (took, alive);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_survivor_is_counted_and_what_is_dead_and_not_reaped_is_not() {
        let mut survivor = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (took, alive) = left_alive(&[survivor.id()]);
        assert!(alive == 1 && took >= LIMIT);
        survivor.kill().unwrap();
        assert_eq!(left_alive(&[survivor.id()]).1, 0, "it is a zombie");
        survivor.wait().unwrap();
    }
}
