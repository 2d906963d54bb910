//! A system under fire. It listens by its name, fires at itself from an actor when told to, measures what its
//! well-behaved peers see all the while, and tells. Commands are lines, and so are answers.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{Array, Output};

use super::{Attacker, Fire, Link, Ping, Plant, Setup, Victim, Wrong};

/// What is asked for at once of an attacker: then it is asked again, and so is the victim.
const ROUND: u64 = 500;
/// How often the well-behaved are asked: often enough for a percentile of a second, and no load of their own.
const PACE: Duration = Duration::from_millis(1);
/// How long an attacker may take to answer: an answer that it has spoilt itself does not come.
const SPOILT: Duration = Duration::from_millis(250);
/// An attacker that has fired nothing for so long is not restarted any more, or is not ended for what it said.
const STALLED: Duration = Duration::from_secs(20);

/// What the program does that is besieged, until its input ends. With a plant, something goes wrong that must be counted.
///
/// # Errors
/// When a good peer is not answered, or an attacker fires no more.
pub async fn stand(sys: &System, name: &str, plant: Option<Plant>) -> Result<()> {
    let quiet = || Spec::<Victim>::new(None).output(Output::Silent);
    // Nobody shoots at this one: it shares nothing with the others but the supervisor.
    let peer = sys.spawn_with(Spec::<Victim>::new(plant).output(Output::Silent)).await?;
    let victim = sys.spawn_with(quiet()).await?;
    let decoy = sys.spawn_with(tireless(quiet())).await?;
    sys.listen(name).await?;
    let (tally, part) = Array::<u64>::new(Link::ALL.len())?;
    let setup = Setup { victim: victim.clone(), decoy: decoy.clone(), tally: part };
    let attacker = Spec::<Attacker>::new(setup).output(Output::Silent);
    let attacker = sys.spawn_with(tireless(attacker.hang_limit(None))).await?;
    let (peer, victim) = (Measured::of(peer), Measured::of(victim));
    let pace = tokio::time::interval(PACE);
    let mut city = City { sys: sys.clone(), peer, victim, attacker, tally, asked: 0, pace };
    let hex = |address| hex(&watertight::fuzzing::written(address));
    say(&format!("{} {}", hex(&city.victim.actor), hex(&decoy)))?;
    for line in std::io::stdin().lock().lines() {
        city.obey(&line?).await?;
        say(&city.told().await?)?;
    }
    Ok(())
}

fn tireless<A: Actor>(spec: Spec<A>) -> Spec<A> {
    spec.backoff(Backoff::NONE).intensity(u32::MAX, Duration::from_secs(1))
}

struct City {
    sys: System,
    peer: Measured,
    victim: Measured,
    attacker: Address<Attacker>,
    tally: Array<u64>,
    /// Of the attacker.
    asked: u64,
    pace: tokio::time::Interval,
}

impl City {
    async fn obey(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["measure", seconds] => {
                let end = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
                while Instant::now() < end {
                    self.round().await?;
                }
                Ok(())
            }
            ["fire", at, seed, frames] => {
                let at = *Link::ALL.get(at.parse::<usize>()?).ok_or_else(|| Error::new("no such link"))?;
                self.fire(at, seed.parse()?, frames.parse()?).await
            }
            ["ledger"] => {
                self.sys.ledger().await?;
                Ok(())
            }
            _ => Err(Error::new(format!("no such command: {line}"))),
        }
    }

    async fn round(&mut self) -> Result<()> {
        self.pace.tick().await;
        self.peer.ping().await?;
        self.victim.ping().await
    }

    async fn fire(&mut self, at: Link, seed: u64, frames: u64) -> Result<()> {
        let mut seed = seed;
        let begun = self.tally.get(at.place())?;
        let mut last = (Instant::now(), 0);
        let mut answered = None;
        loop {
            let fired = self.tally.get(at.place())? - begun;
            if fired > last.1 {
                last = (Instant::now(), fired);
            } else if last.0.elapsed() > STALLED {
                let attacker = self.sys.info(&self.attacker).await;
                return Err(Error::new(format!(
                    "nothing was fired on {at:?} for {STALLED:?}, after {fired} frames, at the seed {seed}; the last \
                     answer was {answered:?}; {attacker:?}"
                )));
            }
            let Some(left) = frames.checked_sub(fired).filter(|left| *left > 0) else { return Ok(()) };
            seed += 1;
            self.asked += 1;
            let fire = Fire { at, seed, frames: left.min(ROUND), number: self.asked };
            let attacker = self.attacker.clone();
            // It dies of it, most often, and may have said anything to this ask.
            let shot = tokio::spawn(async move { attacker.ask(fire).deadline(SPOILT).await });
            while !shot.is_finished() {
                self.round().await?;
            }
            answered = Some(shot.await?);
        }
    }

    /// The fields of [`Told`](super::Told), in their order.
    async fn told(&mut self) -> Result<String> {
        let (peer, peer_wrong, _) = self.peer.told().await?;
        let (victim, victim_wrong, foreign) = self.victim.told().await?;
        let asks = self.peer.number + self.victim.number;
        Ok(format!("{peer} {victim} {asks} {} {foreign}", peer_wrong + victim_wrong))
    }
}

/// An actor that is asked, one number after the other.
struct Measured {
    actor: Address<Victim>,
    number: u64,
    times: Vec<u64>,
    wrong: u64,
}

impl Measured {
    fn of(actor: Address<Victim>) -> Measured {
        Measured { actor, number: 0, times: Vec::new(), wrong: 0 }
    }

    async fn ping(&mut self) -> Result<()> {
        self.number += 1;
        let asked = Instant::now();
        let answer = self.actor.ask(Ping(self.number)).deadline(Duration::from_secs(20)).await?;
        self.times.push(u64::try_from(asked.elapsed().as_nanos())?);
        self.wrong += u64::from(answer != self.number);
        Ok(())
    }

    async fn told(&mut self) -> Result<(u64, u64, u64)> {
        self.times.sort_unstable();
        let percentile = self.times.get(self.times.len() * 99 / 100).copied().unwrap_or_default();
        self.times.clear();
        let (wrong, foreign) = self.actor.ask(Wrong).await?;
        Ok((percentile, self.wrong + wrong, foreign))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}
