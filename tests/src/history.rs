//! Judges what became of numbered messages, from what senders and receivers wrote down themselves: never from the
//! runtime's own counters.

use std::collections::BTreeMap;

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
    pub sender: u32,
    pub number: u64,
    pub incarnation: u32,
}

/// Reads a receiver's journal: `sender number incarnation` a line.
pub fn read_journal(text: &str) -> Vec<Handled> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(str::parse::<u64>);
            let mut next = || words.next()?.ok();
            let (sender, number, incarnation) = (next()?, next()?, next()?);
            Some(Handled {
                sender: u32::try_from(sender).ok()?,
                number,
                incarnation: u32::try_from(incarnation).ok()?,
            })
        })
        .collect()
}

/// What is wrong with a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Accepted or answered, and never handled. At most one per death may be a tell that was in hand.
    pub lost: Vec<(u32, u64)>,
    pub duplicated: Vec<(u32, u64)>,
    pub misordered: Vec<(u32, u64)>,
    /// Handled, and never sent.
    pub invented: Vec<(u32, u64)>,
    /// Asks whose sender was told that they were in doubt.
    pub in_doubt: u64,
}

/// Compares what was sent with what was handled.
pub fn judge(sent: &BTreeMap<u32, Sent>, handled: &[Handled]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen: BTreeMap<(u32, u64), u32> = BTreeMap::new();
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for h in handled {
        let at = (h.sender, h.number);
        *seen.entry(at).or_default() += 1;
        if seen[&at] == 2 {
            verdict.duplicated.push(at);
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
            let handled = seen.contains_key(&(*sender, *number));
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
        numbers.iter().map(|&number| Handled { sender: 1, number, incarnation: 1 }).collect()
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
        assert_eq!(judge(&sent, &handled(&[1, 2, 2, 3])).duplicated, [(1, 2)]);
        assert_eq!(judge(&sent, &handled(&[1, 3, 2])).misordered, [(1, 2)]);
        assert_eq!(judge(&sent, &handled(&[1, 2, 3, 4])).invented, [(1, 4)]);
    }

    #[test]
    fn a_journal_is_read_line_by_line() {
        assert_eq!(read_journal("1 7 2\n"), [Handled { sender: 1, number: 7, incarnation: 2 }]);
    }
}
