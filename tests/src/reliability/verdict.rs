//! What is wrong with a history that has deaths in it: the judge's findings, less what reports have named. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Fate, Handled, Sent, judge};

/// How long a line is: a page holds a whole number of them, so that a kill in the middle of a write cuts none.
pub const LINE: usize = 32;

/// A line of a journal.
pub fn line(handled: &Handled) -> String {
    let Handled { sender, number, incarnation, attempt } = handled;
    let mut line = format!("{sender} {number} {incarnation} {attempt}");
    line.push_str(&" ".repeat((LINE - 1).saturating_sub(line.len())));
    line.push('\n');
    line
}

/// Reads a journal; with it, how many lines are none.
pub fn read(text: &str) -> (Vec<Handled>, u64) {
    let (mut entries, mut unreadable) = (Vec::new(), 0);
    for line in text.lines() {
        let words: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match words[..] {
            [sender, number, incarnation, attempt] if line.len() == LINE - 1 => {
                // What does not fit was not written by `line`, and counts as a message that nobody sent.
                let sender = u32::try_from(sender).unwrap_or(u32::MAX);
                let incarnation = u32::try_from(incarnation).unwrap_or(u32::MAX);
                let attempt = u8::try_from(attempt).unwrap_or(u8::MAX);
                entries.push(Handled { sender, number, incarnation, attempt });
            }
            _ => unreadable += 1,
        }
    }
    (entries, unreadable)
}

/// What was found at one receiver, as numbers of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Accepted, handled never, and in hand at no death that was reported; if idempotent, handled never at all.
    pub lost: u64,
    /// Handled more than once; if idempotent, only where the handler was not told or no report names it.
    pub duplicated: u64,
    /// Handled again, its handler was told, and a report names it.
    pub flagged: u64,
    /// Handled, and never sent.
    pub unexpected: u64,
    /// Handled behind a later one of the same sender.
    pub misordered: u64,
    /// An ask that was said to be in doubt, and no report names it.
    pub unnamed: u64,
    /// Different messages that were handled.
    pub handled: u64,
}

/// Judges one receiver: what each sender was told, what the journal says, and which messages reports name as in hand.
pub fn find(
    sent: &BTreeMap<u32, Sent>,
    entries: &[Handled],
    named: &BTreeSet<(u32, u64)>,
    idempotent: bool,
) -> Found {
    let verdict = judge(sent, entries);
    let excused = |message: &&(u32, u64)| !idempotent && named.contains(message);
    let in_doubt = sent.iter().flat_map(|(sender, sent)| {
        sent.iter().filter(|(_, fate)| **fate == Fate::InDoubt).map(|(number, _)| (*sender, *number))
    });
    let mut found = Found {
        lost: (verdict.lost.len() - verdict.lost.iter().filter(excused).count()) as u64,
        unexpected: verdict.invented.len() as u64,
        misordered: verdict.misordered.len() as u64,
        unnamed: in_doubt.filter(|message| !named.contains(message)).count() as u64,
        ..Found::default()
    };
    let mut seen = BTreeSet::new();
    for Handled { sender, number, attempt, .. } in entries {
        let message = (*sender, *number);
        if !seen.insert(message) {
            let flagged = idempotent && *attempt > 1 && named.contains(&message);
            *(if flagged { &mut found.flagged } else { &mut found.duplicated }) += 1;
        }
    }
    found.handled = seen.len() as u64;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three messages of one sender, told.
    fn sent() -> BTreeMap<u32, Sent> {
        BTreeMap::from([(1, (1..=3).map(|number| (number, Fate::Accepted)).collect())])
    }

    fn entries(of: &[(u64, u8)]) -> Vec<Handled> {
        of.iter().map(|&(number, attempt)| Handled { sender: 1, number, incarnation: 1, attempt }).collect()
    }

    fn none() -> BTreeSet<(u32, u64)> {
        BTreeSet::new()
    }

    #[test]
    fn a_whole_history_is_found_whole() {
        let found = find(&sent(), &entries(&[(1, 1), (2, 1), (3, 1)]), &none(), false);
        assert_eq!(found, Found { handled: 3, ..Found::default() });
    }

    #[test]
    fn a_planted_loss_is_caught_unless_a_report_names_it_and_an_idempotent_one_even_then() {
        let (entries, named) = (entries(&[(1, 1), (3, 1)]), BTreeSet::from([(1, 2)]));
        assert_eq!(find(&sent(), &entries, &none(), false).lost, 1);
        assert_eq!(find(&sent(), &entries, &named, false).lost, 0);
        assert_eq!(find(&sent(), &entries, &named, true).lost, 1);
        assert_eq!(find(&sent(), &entries, &BTreeSet::from([(1, 3)]), false).lost, 1, "another one is named");
    }

    #[test]
    fn a_planted_duplicate_is_caught_unless_it_is_idempotent_and_told_and_named() {
        let named = BTreeSet::from([(1, 2)]);
        let told = entries(&[(1, 1), (2, 1), (2, 2), (3, 1)]);
        let untold = entries(&[(1, 1), (2, 1), (2, 1), (3, 1)]);
        assert_eq!(find(&sent(), &told, &named, false).duplicated, 1);
        assert_eq!(find(&sent(), &untold, &named, true).duplicated, 1, "its handler was not told");
        assert_eq!(find(&sent(), &told, &none(), true).duplicated, 1, "it was in hand at no death");
        let fine = find(&sent(), &told, &named, true);
        assert_eq!((fine.duplicated, fine.flagged), (0, 1));
    }

    #[test]
    fn a_planted_swap_an_invention_and_a_doubt_that_no_report_explains_are_caught() {
        assert_eq!(find(&sent(), &entries(&[(1, 1), (3, 1), (2, 1)]), &none(), false).misordered, 1);
        assert_eq!(find(&sent(), &entries(&[(1, 1), (2, 1), (3, 1), (4, 1)]), &none(), false).unexpected, 1);
        let mut sent = sent();
        sent.entry(1).or_default().insert(2, Fate::InDoubt);
        assert_eq!(find(&sent, &entries(&[(1, 1), (3, 1)]), &none(), false).unnamed, 1);
        assert_eq!(find(&sent, &entries(&[(1, 1), (3, 1)]), &BTreeSet::from([(1, 2)]), false).unnamed, 0);
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_and_torn_lines_are_counted() {
        let entries = entries(&[(1, 1), (1_000_000, 3)]);
        let text: String = entries.iter().map(line).collect();
        assert_eq!(text.len(), 2 * LINE);
        assert_eq!(read(&text), (entries.clone(), 0));
        assert_eq!(read(&text[..LINE + 5]), (entries[..1].to_vec(), 1));
        assert_eq!(read(&text.replace(' ', "x")), (Vec::new(), 2));
    }
}
