//! The judge: reads what every process wrote down, and nothing else. Pure; it knows the promise, not the runtime.
//!
//! It is called with the lines of one stretch of time that ended in quiet: nobody was sending any more. What it
//! demands of every message is the law: it was handled, or its sender was told what became of it, or it died with its
//! sender; in order and at most once; and of every death, that it cost at most the message in hand, which was named.

use std::collections::{BTreeMap, BTreeSet};

use watertight::Executed;

use super::journal::{How, Line, Mark, Outcome, Party, Stretch};

/// Longest time that a bystander may take to answer, and longest between two of its answers: a thousand times what it
/// needs when the machine has nothing else to do, and far less than anybody would call hanging.
pub const PATIENCE_US: u64 = 1_000_000;

/// What became of the messages of one stretch of time, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub processed: u64,
    pub dead_lettered: u64,
    pub in_doubt: u64,
    pub died_with_sender: u64,
    pub redelivered: u64,
    /// Offered by a life that died before it could write whether it was accepted, and never seen again: it may or may
    /// not be among what was accepted and died with its sender.
    pub unsure: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub misordered: u64,
    /// Asks without an end, or with two.
    pub unresolved: u64,
    pub asks: u64,
}

/// What is found in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub counts: Counts,
    /// Deaths, of anybody.
    pub deaths: u64,
    /// From each fault to the first answer of a later life, as its asker saw it; in microseconds.
    pub back_us: Vec<u64>,
    /// Answers of bystanders, and the longest that one took.
    pub answers: u64,
    pub slowest_us: u64,
    /// The longest between two answers of one bystander.
    pub silence_us: u64,
    /// Everything that breaks the promise, in words. Empty: the claim holds.
    pub broken: Vec<String>,
}

/// What one life of a sender sends to one receiver.
type Pair = (Party, u32, Party);

/// What must be remembered from stretch to stretch.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    offered: BTreeMap<Pair, u64>,
    begun: BTreeMap<Pair, u64>,
    processes: BTreeMap<Party, (u32, u32)>,
    dead: BTreeSet<(Party, u32)>,
}

/// One message, as everybody wrote of it.
#[derive(Clone, Debug)]
struct Story {
    how: How,
    accepted: bool,
    refused: bool,
    outcomes: Vec<Outcome>,
    begun: Vec<u32>,
    done: u64,
    /// A death was reported with this message in hand.
    in_hand: u64,
}

type Stories = BTreeMap<(Pair, u64), Story>;

/// Judges one stretch of time.
pub fn check(stretches: &[Stretch], memory: &mut Memory) -> Verdict {
    let mut verdict = Verdict::default();
    let mut stories = offers(stretches, memory, &mut verdict);
    senders(stretches, &mut stories, memory, &mut verdict);
    receivers(stretches, &mut stories, memory, &mut verdict);
    deaths(stretches, &mut stories, memory, &mut verdict);
    for ((pair, number), story) in &stories {
        if let Some(fault) = judge(*pair, story, memory, &mut verdict.counts) {
            verdict.broken.push(format!("{} {fault}", describe(*pair, *number)));
        }
    }
    tails(&stories, memory, &mut verdict);
    bystanders(stretches, &mut verdict);
    verdict.back_us = back(stretches);
    if verdict.counts.in_doubt > verdict.deaths {
        let words = format!("{} messages in doubt for {} deaths", verdict.counts.in_doubt, verdict.deaths);
        verdict.broken.push(words);
    }
    verdict
}

fn describe((sender, life, receiver): Pair, number: u64) -> String {
    let life = if life == 1 { String::new() } else { format!(" (life {life})") };
    format!("message {number} of {}{life} to {}", sender.name(), receiver.name())
}

/// Every message begins with its offer; numbers leave no gap.
fn offers(stretches: &[Stretch], memory: &mut Memory, verdict: &mut Verdict) -> Stories {
    let mut stories = Stories::new();
    for Stretch { party, lines } in stretches {
        for line in lines {
            let Line::Offer { to, life, number, how } = line else { continue };
            let pair = (*party, *life, *to);
            let last = memory.offered.entry(pair).or_default();
            if *number != *last + 1 {
                verdict.broken.push(format!("{} was offered after number {last}", describe(pair, *number)));
            }
            *last = *number;
            let story = Story {
                how: *how,
                accepted: false,
                refused: false,
                outcomes: Vec::new(),
                begun: Vec::new(),
                done: 0,
                in_hand: 0,
            };
            stories.insert((pair, *number), story);
        }
    }
    stories
}

/// What the senders were told.
fn senders(stretches: &[Stretch], stories: &mut Stories, memory: &mut Memory, verdict: &mut Verdict) {
    for Stretch { party, lines } in stretches {
        for line in lines {
            let (to, life, number) = match line {
                Line::Accepted { to, life, number }
                | Line::Refused { to, life, number, .. }
                | Line::Ended { to, life, number, .. } => (*to, *life, *number),
                _ => continue,
            };
            let pair = (*party, life, to);
            let Some(story) = stories.get_mut(&(pair, number)) else {
                verdict.broken.push(format!("{} was spoken of but not offered", describe(pair, number)));
                continue;
            };
            match line {
                Line::Refused { .. } => story.refused = true,
                Line::Ended { outcome, .. } => {
                    story.accepted = true;
                    story.outcomes.push(outcome.clone());
                    if let Some(words) = impostor(to, number, outcome, memory) {
                        verdict.broken.push(format!("{} {words}", describe(pair, number)));
                    }
                }
                _ => story.accepted = true,
            }
        }
    }
}

/// A reply must be to this message; a bystander must answer from the process that it always was.
fn impostor(to: Party, asked: u64, outcome: &Outcome, memory: &mut Memory) -> Option<String> {
    let Outcome::Replied { number, pid, life, .. } = outcome else { return None };
    if *number != asked {
        return Some(format!("got the reply to number {number}"));
    }
    if to == Party::Victim {
        return None;
    }
    let first = *memory.processes.entry(to).or_insert((*pid, *life));
    (first != (*pid, *life))
        .then(|| format!("was answered by process {pid}, but {} was process {}", to.name(), first.0))
}

/// What the receivers did, in their order.
fn receivers(stretches: &[Stretch], stories: &mut Stories, memory: &mut Memory, verdict: &mut Verdict) {
    for Stretch { party, lines } in stretches {
        for line in lines {
            let (mark, begun_in) = match line {
                Line::Begun { mark, in_life } => (mark, Some(*in_life)),
                Line::Done { mark, .. } => (mark, None),
                _ => continue,
            };
            let Mark { sender, life, number } = *mark;
            let pair = (sender, life, *party);
            let Some(story) = stories.get_mut(&(pair, number)) else {
                verdict.broken.push(format!("{} was handled but not offered now", describe(pair, number)));
                verdict.counts.duplicated += 1;
                continue;
            };
            let Some(in_life) = begun_in else {
                story.done += 1;
                continue;
            };
            let last = memory.begun.entry(pair).or_default();
            if number < *last {
                verdict.counts.misordered += 1;
                verdict.broken.push(format!("{} was handled after number {last}", describe(pair, number)));
            }
            *last = number.max(*last);
            story.begun.push(in_life);
        }
    }
}

/// What was reported of deaths.
fn deaths(stretches: &[Stretch], stories: &mut Stories, memory: &mut Memory, verdict: &mut Verdict) {
    for line in stretches.iter().flat_map(|stretch| &stretch.lines) {
        let Line::Exited { party, life, in_hand, exit } = line else { continue };
        verdict.deaths += 1;
        if *party != Party::Victim {
            verdict.broken.push(format!("{} died: {exit}", party.name()));
        }
        if !memory.dead.insert((*party, *life)) {
            verdict.broken.push(format!("life {life} of {} was reported dead twice", party.name()));
        }
        let Some((sender, number)) = in_hand else { continue };
        // Of all who send to the victim none has died, so a message of its first life is meant.
        match stories.get_mut(&((*sender, 1, *party), *number)) {
            Some(story) => story.in_hand += 1,
            None => {
                let named = describe((*sender, 1, *party), *number);
                verdict.broken.push(format!("{named} was reported in hand, but not offered now"));
            }
        }
    }
}

/// What became of one message: counts it, or says what is wrong.
fn judge(pair: Pair, story: &Story, memory: &Memory, counts: &mut Counts) -> Option<String> {
    let (sender, sender_life, _) = pair;
    let sender_died = memory.dead.contains(&(sender, sender_life));
    let begun = story.begun.len() as u64;
    let idempotent = story.how == How::AskIdempotent;
    if story.refused {
        return (begun > 0 || story.accepted).then(|| "was refused, and yet accepted".to_owned());
    }
    if story.how != How::Tell {
        counts.asks += 1;
        if story.outcomes.len() != 1 && !sender_died {
            counts.unresolved += 1;
            counts.accepted += 1;
            return Some(format!("was asked and ended {} times", story.outcomes.len()));
        }
    } else if !story.accepted && begun == 0 {
        if sender_died {
            counts.unsure += 1;
            return None;
        }
        counts.unresolved += 1;
        return Some("was told, and its sender never learnt whether it was accepted".to_owned());
    }
    counts.accepted += 1;
    let outcome = story.outcomes.first();
    let in_different_lives = story.begun.iter().collect::<BTreeSet<_>>().len() as u64 == begun;
    if story.done > 1 || begun > 1 && !(idempotent && in_different_lives) {
        counts.duplicated += begun.max(story.done) - 1;
        return Some(format!("was handled {} times", begun.max(story.done)));
    }
    if idempotent {
        counts.redelivered += begun.saturating_sub(1);
    }
    let died_in_hand = matches!(outcome, Some(Outcome::Died { executed: Executed::Maybe }));
    // A reply that had left wins over the death: then the message was handled, although it was still in hand.
    let replied = matches!(outcome, Some(Outcome::Replied { .. }));
    if !idempotent && !replied && (story.in_hand > 0 || died_in_hand) {
        counts.in_doubt += 1;
        return (story.in_hand != 1).then(|| format!("was in doubt, and {} reports named it", story.in_hand));
    }
    match outcome {
        Some(Outcome::Replied { .. } | Outcome::Died { executed: Executed::Yes }) if story.done == 0 => {
            return Some("was called handled, but its handler did not finish".to_owned());
        }
        Some(Outcome::Failed { why }) => return Some(format!("failed: {why}")),
        _ => {}
    }
    if story.done == 1 {
        counts.processed += 1;
        return None;
    }
    match outcome {
        Some(Outcome::Quarantined { .. } | Outcome::Deadline { executed: Executed::No }) => {
            counts.dead_lettered += 1;
            None
        }
        _ if begun > 0 => {
            counts.lost += 1;
            Some("was begun and never finished, and no report named it".to_owned())
        }
        _ if sender_died => {
            counts.died_with_sender += 1;
            None
        }
        _ => {
            counts.lost += 1;
            Some("was accepted, and then neither handled nor reported".to_owned())
        }
    }
}

/// What dies with a sender is what it sent last.
fn tails(stories: &Stories, memory: &Memory, verdict: &mut Verdict) {
    let mut dropped: BTreeMap<Pair, u64> = BTreeMap::new();
    for ((pair, number), story) in stories {
        if !memory.dead.contains(&(pair.0, pair.1)) {
            continue;
        }
        match dropped.get(pair) {
            None if story.begun.is_empty() => drop(dropped.insert(*pair, *number)),
            Some(first) if !story.begun.is_empty() => {
                verdict.counts.lost += 1;
                let words = format!("{} never arrived, but number {number} did", describe(*pair, *first));
                verdict.broken.push(words);
            }
            _ => {}
        }
    }
}

/// Bystanders must have noticed nothing.
fn bystanders(stretches: &[Stretch], verdict: &mut Verdict) {
    let mut answered: BTreeMap<Party, Vec<u64>> = BTreeMap::new();
    for line in stretches.iter().flat_map(|stretch| &stretch.lines) {
        let Line::Ended { to, outcome, number, at_us, .. } = line else { continue };
        match outcome {
            _ if !Party::BYSTANDERS.contains(to) => {}
            Outcome::Replied { took_us, .. } => {
                answered.entry(*to).or_default().push(*at_us);
                verdict.slowest_us = verdict.slowest_us.max(*took_us);
            }
            other => verdict.broken.push(format!("{} did not answer number {number}: {other:?}", to.name())),
        }
    }
    for party in Party::BYSTANDERS {
        let mut times = answered.remove(&party).unwrap_or_default();
        times.sort_unstable();
        verdict.answers += times.len() as u64;
        let silence = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        verdict.silence_us = verdict.silence_us.max(silence.unwrap_or(0));
        if times.len() < 2 {
            verdict.broken.push(format!("{} did not answer throughout", party.name()));
        }
    }
    for (what, us) in [("took to answer", verdict.slowest_us), ("was silent for", verdict.silence_us)] {
        if us > PATIENCE_US {
            verdict.broken.push(format!("a bystander {what} {} ms", us / 1000));
        }
    }
}

/// From each fault to the first answer of a later life.
fn back(stretches: &[Stretch]) -> Vec<u64> {
    let lines = || stretches.iter().flat_map(|stretch| &stretch.lines);
    let answers: Vec<(u32, u64)> = lines()
        .filter_map(|line| match line {
            Line::Ended { to: Party::Victim, outcome: Outcome::Replied { life, .. }, at_us, .. } => {
                Some((*life, *at_us))
            }
            _ => None,
        })
        .collect();
    let struck = lines().filter_map(|line| match line {
        Line::Fault { life, at_us, .. } => Some((*life, *at_us)),
        _ => None,
    });
    struck
        .filter_map(|(life, at)| {
            let next = answers.iter().filter(|(later, _)| *later > life).map(|(_, us)| *us).min();
            next.map(|us| us.saturating_sub(at))
        })
        .collect()
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.processed += other.processed;
        self.dead_lettered += other.dead_lettered;
        self.in_doubt += other.in_doubt;
        self.died_with_sender += other.died_with_sender;
        self.redelivered += other.redelivered;
        self.unsure += other.unsure;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.misordered += other.misordered;
        self.unresolved += other.unresolved;
        self.asks += other.asks;
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
