//! Whoever fires at a [city](super::city), and reads what it tells.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use watertight::prelude::*;

use super::ammunition::Draw;
use super::{Link, attack};

/// By this name a besieged system listens.
pub const NAME: &str = "city";
/// So many frames are fired from within before it tells what its peers have seen: it keeps each of their answer times.
const SLICE: usize = 10_000;

/// A [city](super::city), a process of its own, and what may be fired at.
pub struct Besieged {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// On which it listens.
    pub socket: PathBuf,
    /// The address of the actor that is fired at, as it stands in messages.
    pub victim: Vec<u8>,
    /// That of one whom attackers may stop or kill.
    decoy: Vec<u8>,
    _folder: tempfile::TempDir,
}

/// What it tells.
pub struct Told {
    /// The 99th percentile of the answer times of an actor at which nobody fires, in nanoseconds.
    pub peer: u64,
    /// That of the other one.
    pub victim: u64,
    /// Asks of both, since its start.
    pub asks: u64,
    /// Of these, how many arrived out of their order, were lost, or were answered with another's reply.
    pub wrong: u64,
    /// What was fired and was a message.
    pub foreign: u64,
}

impl Besieged {
    /// Starts the program that this command runs, and that is a city by the name `city`.
    ///
    /// # Errors
    /// When it does not start, or says something else than its addresses.
    pub fn start(command: &mut Command) -> Result<Besieged> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700))?;
        let mut child = command
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || Error::new("it has no standard input and output");
        let input = child.stdin.take().ok_or_else(missing)?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let [victim, decoy] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(Error::new(format!("it said {line:?} instead of two addresses")));
        };
        let (victim, decoy) = (bytes(victim)?, bytes(decoy)?);
        let socket = folder.path().join("watertight").join(NAME).join("node.sock");
        Ok(Besieged { child, input, output, socket, victim, decoy, _folder: folder })
    }

    /// What it tells when it has done this.
    ///
    /// # Errors
    /// When it has ended, and so has its supervisor.
    pub fn say(&mut self, command: &str) -> Result<Told> {
        writeln!(self.input, "{command}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let all = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [peer, victim, asks, wrong, foreign] = all[..] else {
            let ended = self.child.wait()?;
            return Err(Error::new(format!(
                "the supervisor ended at {command:?}: {ended}, it said {line:?}"
            )));
        };
        Ok(Told { peer, victim, asks, wrong, foreign })
    }

    /// What its peers see while it is under fire on such a link: the middle one of all seconds, or of all times in which
    /// 10,000 were fired, and the last counts. Says how many frames were fired so far.
    ///
    /// # Errors
    /// When it has ended, or whoever fires is not treated as the protocol says.
    pub fn under(
        &mut self,
        link: Link,
        draw: Draw,
        seed: u64,
        frames: u64,
        fired: &dyn Fn(u64),
    ) -> Result<Told> {
        let told = match link {
            Link::Hello | Link::Attachment | Link::FromOutside => {
                self.fired_at_by_programs(link, draw, frames)?
            }
            _ => self.fired_at_by_its_actor(link, seed, frames, fired)?,
        };
        let middle = |of: fn(&Told) -> u64| {
            let mut all: Vec<u64> = told.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let (peer, victim) = (middle(|told| told.peer), middle(|told| told.victim));
        let last = told.last().ok_or_else(|| Error::new("nothing was fired"))?;
        Ok(Told { peer, victim, ..*last })
    }

    fn fired_at_by_programs(&mut self, link: Link, draw: Draw, frames: u64) -> Result<Vec<Told>> {
        let (socket, victim, decoy) = (self.socket.clone(), self.victim.clone(), self.decoy.clone());
        let attack = std::thread::spawn(move || attack(link, &socket, draw, frames, &victim, &decoy));
        let mut seconds = Vec::new();
        while !attack.is_finished() {
            seconds.push(self.say("measure 1")?);
        }
        attack.join().map_err(|_| Error::new("whoever fires has panicked"))??;
        if seconds.is_empty() {
            seconds.push(self.say("measure 0.1")?);
        }
        Ok(seconds)
    }

    fn fired_at_by_its_actor(
        &mut self,
        link: Link,
        seed: u64,
        frames: u64,
        fired: &dyn Fn(u64),
    ) -> Result<Vec<Told>> {
        let mut slices = Vec::new();
        for from in (0..frames).step_by(SLICE) {
            // Every attacker of a slice counts on from its seed; none comes near the next slice's.
            let (seed, frames) = (seed.wrapping_add(from << 32), (frames - from).min(SLICE as u64));
            slices.push(self.say(&format!("fire {} {seed} {frames}", link.place()))?);
            fired(from + frames);
        }
        Ok(slices)
    }

    /// The process of its supervisor.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Besieged {
    fn drop(&mut self) {
        // It may have ended, which is then what failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let odd = || Error::new(format!("{hex:?} are no bytes"));
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2).ok_or_else(odd)?, 16).map_err(|_| odd());
    (0..hex.len()).step_by(2).map(byte).collect()
}
