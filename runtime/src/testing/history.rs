//! Judges what became of numbered messages, from what senders and receivers wrote down themselves: never from the
//! runtime's own counters.
//!
//! Each sender numbers its messages to a receiver from 1, and notes what it was told of each. The receiver appends a line
//! for each message that it handles to a file of its own.
//!
//! ```
//! use watertight::testing::history::{Fate, History, Journal};
//!
//! let path = std::env::temp_dir().join(format!("journal-{}", std::process::id()));
//! let mut journal = Journal::open(&path)?;            // in the receiver's `start`
//! journal.note(1, 1, 1)?;                             // in its handler: sender, number, its own incarnation
//! journal.note(1, 3, 1)?;
//!
//! let mut history = History::default();               // in the test
//! for number in 1..=3 {
//!     history.sent(1, number, Fate::Accepted);        // as `tell` said
//! }
//! history.read(&path)?;
//! assert_eq!(history.judge().lost, [(1, 2)]);
//! # std::fs::remove_file(path)
//! # ; Ok::<(), std::io::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What a sender was told of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// A tell that was accepted.
    Accepted,
    /// An ask that was answered.
    Answered,
    /// An ask that ended with `Died`, the handler perhaps entered.
    InDoubt,
}

/// Everything that one sender sent to one receiver, by number, and what it was told.
pub type Sent = BTreeMap<u64, Fate>;

/// What the receiver wrote as it handled messages, in the order of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Who sent it.
    pub sender: u32,
    /// Its number.
    pub number: u64,
    /// The receiver's life that handled it.
    pub incarnation: u32,
    /// Which attempt its handler was told that it was: 1, unless it is idempotent and was given to a next life.
    pub attempt: u8,
}

/// The length of a journal's lines: what stands in one fits with the largest numbers. It divides the length of a page: a process
/// that is killed while it writes has written up to the end of a page, all of it, or nothing.
const LINE: usize = 64;

/// The file into which a receiver writes what it handles.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens it, or makes it; every incarnation appends to the same one.
    ///
    /// # Errors
    /// As opening a file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Journal> {
        Ok(Journal(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Notes a message. Of a process that is killed meanwhile, the line is whole or absent, where nothing but journals
    /// writes to the file.
    ///
    /// # Errors
    /// As writing a file.
    pub fn note(&mut self, sender: u32, number: u64, incarnation: u32) -> io::Result<()> {
        self.write(format!("{sender} {number} {incarnation}"))
    }

    /// Notes a message that is idempotent, with [`cx.attempt()`](crate::Context::attempt): where that is more than 1, it may
    /// have been handled before.
    ///
    /// # Errors
    /// As writing a file.
    pub fn note_attempt(
        &mut self,
        sender: u32,
        number: u64,
        incarnation: u32,
        attempt: u8,
    ) -> io::Result<()> {
        self.write(format!("{sender} {number} {incarnation} attempt={attempt}"))
    }

    fn write(&mut self, mut line: String) -> io::Result<()> {
        line.extend(std::iter::repeat_n(' ', (LINE - 1).saturating_sub(line.len())));
        line.push('\n');
        self.0.write_all(line.as_bytes())
    }
}

/// What senders were told and what one receiver wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    sent: BTreeMap<u32, Sent>,
    handled: Vec<Handled>,
}

impl History {
    /// A sender has sent this number, and was told this of it.
    pub fn sent(&mut self, sender: u32, number: u64, fate: Fate) {
        self.sent.entry(sender).or_default().insert(number, fate);
    }

    /// Reads the receiver's journal; one that is not there says that nothing was handled.
    ///
    /// # Errors
    /// As reading a file; `InvalidData` when a line in it is none.
    pub fn read(&mut self, journal: impl AsRef<Path>) -> io::Result<()> {
        match std::fs::read_to_string(journal) {
            Ok(text) => self.handled = read_journal(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.handled.clear(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Compares the two.
    pub fn judge(&self) -> Verdict {
        judge(&self.sent, &self.handled)
    }
}

/// Reads a receiver's journal: `sender number incarnation` a line, and for what is idempotent `attempt=` and which.
///
/// # Errors
/// `InvalidData`, with the line, for one that is none: then nothing in it is to be believed.
pub fn read_journal(text: &str) -> io::Result<Vec<Handled>> {
    let wrong =
        |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no line of a journal: {line:?}"));
    text.lines().map(|line| read_line(line).ok_or_else(|| wrong(line))).collect()
}

fn read_line(line: &str) -> Option<Handled> {
    let mut words = line.split_whitespace();
    let handled = Handled {
        sender: words.next()?.parse().ok()?,
        number: words.next()?.parse().ok()?,
        incarnation: words.next()?.parse().ok()?,
        // Its name keeps the rest of a torn line from passing for it.
        attempt: words.next().map_or(Some(1), |word| word.strip_prefix("attempt=")?.parse().ok())?,
    };
    words.next().is_none().then_some(handled)
}

/// What is wrong with a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Accepted or answered, and never handled. At most one per death may be a tell that was in hand.
    pub lost: Vec<(u32, u64)>,
    /// Handled more than once, and the handler was not told so.
    pub duplicated: Vec<(u32, u64)>,
    /// How often one was handled again whose handler was told so: an idempotent one, after a death.
    pub redelivered: u64,
    /// Handled behind a later one of its sender.
    pub misordered: Vec<(u32, u64)>,
    /// Handled, and never sent.
    pub invented: Vec<(u32, u64)>,
    /// Asks whose sender was told that they were in doubt.
    pub in_doubt: u64,
}

impl Verdict {
    /// Whether nothing was handled twice, out of order or without having been sent, and no more is in doubt than so many
    /// deaths may leave: one message each, a told one that is lost, an ask whose sender knows, or an idempotent one that was
    /// handled again.
    pub fn is_clean(&self, deaths: usize) -> bool {
        self.duplicated.is_empty()
            && self.misordered.is_empty()
            && self.invented.is_empty()
            && self.lost.len() as u64 + self.in_doubt + self.redelivered <= deaths as u64
    }
}

/// Compares what was sent with what was handled.
pub fn judge(sent: &BTreeMap<u32, Sent>, handled: &[Handled]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut twice: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for h in handled {
        let at = (h.sender, h.number);
        if !seen.insert(at) {
            if h.attempt > 1 {
                verdict.redelivered += 1;
            } else if twice.insert(at) {
                verdict.duplicated.push(at);
            }
        }
        let last = last.entry(h.sender).or_default();
        if h.number < *last {
            verdict.misordered.push(at);
        }
        *last = h.number.max(*last);
        if !sent.get(&h.sender).is_some_and(|sent| sent.contains_key(&h.number)) {
            verdict.invented.push(at);
        }
    }
    for (sender, sent) in sent {
        for (number, fate) in sent {
            let handled = seen.contains(&(*sender, *number));
            match fate {
                Fate::InDoubt => verdict.in_doubt += 1,
                Fate::Accepted | Fate::Answered if !handled => verdict.lost.push((*sender, *number)),
                _ => {}
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(fates: &[Fate]) -> BTreeMap<u32, Sent> {
        BTreeMap::from([(1, (1..).zip(fates.iter().copied()).collect())])
    }

    fn handled(numbers: &[u64]) -> Vec<Handled> {
        numbers.iter().map(|&number| Handled { sender: 1, number, incarnation: 1, attempt: 1 }).collect()
    }

    #[test]
    fn a_whole_history_is_found_whole() {
        let verdict = judge(&sent(&[Fate::Accepted, Fate::Answered, Fate::InDoubt]), &handled(&[1, 2]));
        assert_eq!(verdict, Verdict { in_doubt: 1, ..Verdict::default() });
    }

    #[test]
    fn a_planted_loss_duplicate_swap_and_invention_are_each_caught() {
        let sent = sent(&[Fate::Accepted, Fate::Answered, Fate::Accepted]);
        assert_eq!(judge(&sent, &handled(&[1, 3])).lost, [(1, 2)]);
        assert!(judge(&sent, &handled(&[1, 3])).is_clean(1) && !judge(&sent, &handled(&[1, 3])).is_clean(0));
        for bad in [&[1, 2, 2, 3][..], &[1, 3, 2], &[1, 2, 3, 4]] {
            assert!(!judge(&sent, &handled(bad)).is_clean(9), "{bad:?}");
        }
        assert_eq!(judge(&sent, &handled(&[1, 2, 2, 3])).duplicated, [(1, 2)]);
        assert_eq!(judge(&sent, &handled(&[1, 3, 2])).misordered, [(1, 2)]);
        assert_eq!(judge(&sent, &handled(&[1, 2, 3, 4])).invented, [(1, 4)]);
    }

    #[test]
    fn what_is_handled_again_is_no_duplicate_where_the_handler_was_told_and_somebody_died() {
        let sent = sent(&[Fate::Answered, Fate::Answered]);
        let lines =
            |second| read_journal(&format!("1 1 1 attempt=1\n1 1 2 attempt={second}\n1 2 2 attempt=1\n"));
        let told = judge(&sent, &lines(2).unwrap());
        assert_eq!(told, Verdict { redelivered: 1, ..Verdict::default() });
        assert!(told.is_clean(1) && !told.is_clean(0));
        let untold = judge(&sent, &lines(1).unwrap());
        assert_eq!(untold.duplicated, [(1, 1)]);
        assert!(!untold.is_clean(9));
    }

    #[test]
    fn no_line_of_a_journal_goes_over_the_end_of_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.note(1, 2, 3).unwrap();
        journal.note_attempt(1, 2, 3, 4).unwrap();
        journal.note(u32::MAX, u64::MAX, u32::MAX).unwrap();
        journal.note_attempt(u32::MAX, u64::MAX, u32::MAX, u8::MAX).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.split_inclusive('\n').all(|line| line.len() == LINE) && 4096 % LINE == 0, "{text}");
        let read = read_journal(&text).unwrap();
        assert_eq!((read.len(), read[1].attempt, read[3].number), (4, 4, u64::MAX));
    }

    #[test]
    fn a_journal_is_read_line_by_line() {
        assert_eq!(
            read_journal("1 7 2\n").unwrap(),
            [Handled { sender: 1, number: 7, incarnation: 2, attempt: 1 }]
        );
        assert_eq!(read_journal("1 7 2 attempt=3\n").unwrap()[0].attempt, 3);
        for torn in [
            "1 x 2\n",
            "1 7\n",
            "1 7 2 99\n",
            "1 12 11 13 2\n",
            "\n",
            "1 7 2 attempt=",
            "1 7 2 attempt=2 1 8 2",
        ] {
            assert!(read_journal(torn).is_err(), "{torn:?}");
        }
    }
}
