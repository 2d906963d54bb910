//! What every process writes down for itself: one JSON line per thing done or learnt, appended with one write each.
//!
//! A file outlives the process that wrote it, whatever killed that process. Nothing here asks the runtime.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use watertight::Executed;
use watertight::prelude::*;

/// Who takes part.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    #[serde(rename = "program")]
    Program,
    #[serde(rename = "driver-1")]
    Driver1,
    #[serde(rename = "driver-2")]
    Driver2,
    #[serde(rename = "bystander-1")]
    Bystander1,
    #[serde(rename = "bystander-2")]
    Bystander2,
    #[serde(rename = "bystander-3")]
    Bystander3,
    #[serde(rename = "victim")]
    Victim,
}

impl Party {
    pub const ALL: [Party; 7] = [
        Party::Program,
        Party::Driver1,
        Party::Driver2,
        Party::Bystander1,
        Party::Bystander2,
        Party::Bystander3,
        Party::Victim,
    ];
    pub const DRIVERS: [Party; 2] = [Party::Driver1, Party::Driver2];
    pub const BYSTANDERS: [Party; 3] = [Party::Bystander1, Party::Bystander2, Party::Bystander3];

    /// Also the name of its actor and of its file.
    pub fn name(self) -> &'static str {
        match self {
            Party::Program => "program",
            Party::Driver1 => "driver-1",
            Party::Driver2 => "driver-2",
            Party::Bystander1 => "bystander-1",
            Party::Bystander2 => "bystander-2",
            Party::Bystander3 => "bystander-3",
            Party::Victim => "victim",
        }
    }

    pub fn named(name: &str) -> Option<Party> {
        Party::ALL.into_iter().find(|party| party.name() == name)
    }
}

/// What a message carries of itself: who sent it, in which of that sender's lives, and its place among all that this
/// life sends to this receiver, counted from 1.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub sender: Party,
    pub life: u32,
    pub number: u64,
}

/// How a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Tell,
    Ask,
    /// Asked, and may be handled more than once.
    AskIdempotent,
}

/// What a sender learnt of an ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The reply: the number that the receiver says it answers, its process and life, and the time it took.
    Replied { number: u64, pid: u32, life: u32, took_us: u64 },
    /// The receiver died.
    Died { executed: Executed },
    /// The message has killed so many lives of its receiver and was put aside.
    Quarantined { attempts: u8 },
    /// No reply by the deadline.
    Deadline { executed: Executed },
    /// Anything else, in words.
    Failed { why: String },
}

/// One line of a journal. Times are microseconds of the machine's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A sender is about to tell or ask.
    Offer { to: Party, life: u32, number: u64, how: How },
    /// A tell was accepted.
    Accepted { to: Party, life: u32, number: u64 },
    /// A tell or an ask was not accepted.
    Refused { to: Party, life: u32, number: u64, why: String },
    /// An ask has ended.
    Ended { to: Party, life: u32, number: u64, outcome: Outcome, at_us: u64 },
    /// A receiver's handler was entered, in the receiver's life `in_life`.
    Begun { mark: Mark, in_life: u32 },
    /// A receiver's handler is about to return.
    Done { mark: Mark, in_life: u32 },
    /// `party` is about to be struck in its life `life`; written by whoever strikes.
    Fault { party: Party, life: u32, at_us: u64 },
    /// The program was told of a death, and of the message in hand: its sender and its place.
    Exited { party: Party, life: u32, in_hand: Option<(Party, u64)>, exit: String },
}

/// Microseconds of the monotonic clock, the same in all processes of the machine.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// One party's file, for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

fn path(folder: &Path, party: Party) -> PathBuf {
    folder.join(format!("{}.jsonl", party.name()))
}

impl Journal {
    /// Opens the file, for the first life of a party or for a later one.
    pub fn open(folder: &Path, party: Party) -> io::Result<Journal> {
        let file = OpenOptions::new().create(true).append(true).open(path(folder, party))?;
        // A life that was killed within a write may have left half a line: close it, and let an empty line say so.
        (&file).write_all(b"\n\n")?;
        Ok(Journal { file })
    }

    /// Appends one line with one write, so that a killed process leaves whole lines, but for the last.
    pub fn write(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        (&self.file).write_all(&text)
    }
}

/// Everything that one party wrote in a stretch of time, in order.
#[derive(Debug)]
pub struct Stretch {
    pub party: Party,
    pub lines: Vec<Line>,
}

/// Reads all journals, from where it last stopped.
#[derive(Debug)]
pub struct Reader {
    files: Vec<(Party, File)>,
}

impl Reader {
    /// Starts at the beginning of every party's file, and creates those that are not there yet.
    pub fn new(folder: &Path) -> io::Result<Reader> {
        let open = |party| {
            let path = path(folder, party);
            OpenOptions::new().create(true).append(true).open(&path)?;
            Ok((party, File::open(path)?))
        };
        Ok(Reader { files: Party::ALL.into_iter().map(open).collect::<io::Result<_>>()? })
    }

    /// What has been written since. To be called while nobody writes.
    pub fn read(&mut self) -> io::Result<Vec<Stretch>> {
        let mut stretches = Vec::new();
        for (party, file) in &mut self.files {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            stretches.push(Stretch { party: *party, lines: parse(*party, &text)? });
        }
        Ok(stretches)
    }
}

/// A line that a kill cut short is no line; it stands before the empty one that the next life begins with. Any other
/// line that cannot be read is an error.
fn parse(party: Party, text: &str) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut rest = text.lines().peekable();
    while let Some(line) = rest.next() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(_) if rest.peek().is_none_or(|next| next.is_empty()) => {}
            Err(error) => {
                let words = format!(
                    "the journal of {} has a line that cannot be read: {error}: {line}",
                    party.name()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LINE: Line = Line::Fault { party: Party::Victim, life: 1, at_us: 7 };

    #[test]
    fn what_is_written_is_read_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(folder.path()).unwrap();
        let journal = Journal::open(folder.path(), Party::Victim).unwrap();
        journal.write(&LINE).unwrap();
        let read = |reader: &mut Reader| reader.read().unwrap().pop().map(|s| (s.party, s.lines)).unwrap();
        assert_eq!(read(&mut reader), (Party::Victim, vec![LINE]));
        assert_eq!(read(&mut reader), (Party::Victim, vec![]));
        journal.write(&LINE).unwrap();
        assert_eq!(read(&mut reader), (Party::Victim, vec![LINE]));
    }

    #[test]
    fn half_a_line_is_passed_over_only_where_a_life_ended() {
        let whole = serde_json::to_string(&LINE).unwrap();
        let half = &whole[..20];
        // The next life closes the half line and begins with an empty one.
        let killed = parse(Party::Victim, &format!("{whole}\n{half}\n\n{whole}\n"));
        assert_eq!(killed.unwrap(), [LINE, LINE]);
        assert!(parse(Party::Victim, &format!("{half}\n{whole}\n{whole}\n")).is_err());
    }
}
