//! Bugs planted in journals: the checker must find each.
#![allow(clippy::unwrap_used)]

use super::*;

const TO_VICTIM: Pair = (Party::Driver1, 1, Party::Victim);

/// Journals in the making.
struct Scene {
    lines: BTreeMap<Party, Vec<Line>>,
    at_us: u64,
}

impl Scene {
    /// Twelve messages to everybody, each fourth an ask, all handled in the first life of each; bystanders answered.
    fn quiet() -> Scene {
        let mut scene = Scene { lines: BTreeMap::new(), at_us: 0 };
        for number in 1..=12 {
            for to in Party::BYSTANDERS.into_iter().chain([Party::Victim]) {
                scene.whole((Party::Driver1, 1, to), number);
            }
        }
        scene
    }

    fn write(&mut self, party: Party, line: Line) {
        self.lines.entry(party).or_default().push(line);
    }

    fn offer(&mut self, (from, life, to): Pair, number: u64, how: How) {
        self.write(from, Line::Offer { to, life, number, how });
        if how == How::Tell {
            self.write(from, Line::Accepted { to, life, number });
        }
    }

    fn begun(&mut self, (sender, life, to): Pair, number: u64, in_life: u32) {
        self.write(to, Line::Begun { mark: Mark { sender, life, number }, in_life });
    }

    fn done(&mut self, (sender, life, to): Pair, number: u64, in_life: u32) {
        self.write(to, Line::Done { mark: Mark { sender, life, number }, in_life });
    }

    fn ended(&mut self, (from, life, to): Pair, number: u64, outcome: Outcome) {
        self.at_us += 100;
        let at_us = self.at_us;
        self.write(from, Line::Ended { to, life, number, outcome, at_us });
    }

    fn exited(&mut self, life: u32, in_hand: Option<(Party, u64)>) {
        self.write(
            Party::Program,
            Line::Exited { party: Party::Victim, life, in_hand, exit: "SIGSEGV".into() },
        );
    }

    fn whole(&mut self, pair: Pair, number: u64) {
        let how = if number.is_multiple_of(4) { How::Ask } else { How::Tell };
        self.offer(pair, number, how);
        self.begun(pair, number, 1);
        self.done(pair, number, 1);
        if how == How::Ask {
            self.ended(pair, number, Outcome::Replied { number, pid: 7, life: 1, took_us: 50 });
        }
    }

    fn check(self) -> Verdict {
        self.check_with(&mut Memory::default())
    }

    fn check_with(self, memory: &mut Memory) -> Verdict {
        let stretches: Vec<Stretch> =
            self.lines.into_iter().map(|(party, lines)| Stretch { party, lines }).collect();
        check(&stretches, memory)
    }

    /// Takes away every line of `party` that `which` picks.
    fn forget(&mut self, party: Party, which: impl Fn(&Line) -> bool) {
        self.lines.get_mut(&party).unwrap().retain(|line| !which(line));
    }
}

fn handles(number: u64) -> impl Fn(&Line) -> bool {
    move |line| matches!(line, Line::Begun { mark, .. } | Line::Done { mark, .. } if mark.number == number)
}

#[track_caller]
fn found(verdict: &Verdict, words: &str) {
    assert!(
        verdict.broken.iter().any(|broken| broken.contains(words)),
        "{words:?} not in {:?}",
        verdict.broken
    );
}

#[test]
fn a_quiet_stretch_holds() {
    let verdict = Scene::quiet().check();
    assert_eq!(verdict.broken, [""; 0]);
    assert_eq!((verdict.counts.accepted, verdict.counts.processed, verdict.counts.asks), (48, 48, 12));
    assert_eq!(verdict.answers, 9);
}

#[test]
fn a_death_that_costs_the_message_in_hand_and_says_so_holds() {
    let mut scene = Scene::quiet();
    scene.offer(TO_VICTIM, 13, How::Ask);
    scene.write(Party::Victim, Line::Fault { party: Party::Victim, life: 1, at_us: 2000 });
    scene.begun(TO_VICTIM, 13, 1);
    scene.exited(1, Some((Party::Driver1, 13)));
    scene.ended(TO_VICTIM, 13, Outcome::Died { executed: Executed::Maybe });
    scene.offer(TO_VICTIM, 14, How::Ask);
    scene.begun(TO_VICTIM, 14, 2);
    scene.done(TO_VICTIM, 14, 2);
    scene.at_us = 5000;
    scene.ended(TO_VICTIM, 14, Outcome::Replied { number: 14, pid: 8, life: 2, took_us: 9 });
    let verdict = scene.check();
    assert_eq!(verdict.broken, [""; 0]);
    assert_eq!((verdict.counts.accepted, verdict.counts.processed, verdict.counts.in_doubt), (50, 49, 1));
    assert_eq!((verdict.deaths, verdict.back_us), (1, vec![3100]));
}

#[test]
fn a_reply_that_had_left_wins_over_the_death() {
    let mut scene = Scene::quiet();
    scene.exited(1, Some((Party::Driver1, 12)));
    let verdict = scene.check();
    assert_eq!(verdict.broken, [""; 0]);
    assert_eq!((verdict.counts.processed, verdict.counts.in_doubt), (48, 0));
}

#[test]
fn a_poison_message_that_was_put_aside_holds() {
    let mut scene = Scene::quiet();
    scene.offer(TO_VICTIM, 13, How::AskIdempotent);
    for life in 1..=3 {
        scene.begun(TO_VICTIM, 13, life);
        scene.exited(life, Some((Party::Driver1, 13)));
    }
    scene.ended(TO_VICTIM, 13, Outcome::Quarantined { attempts: 3 });
    let verdict = scene.check();
    assert_eq!(verdict.broken, [""; 0]);
    let Counts { dead_lettered, redelivered, in_doubt, .. } = verdict.counts;
    assert_eq!((dead_lettered, redelivered, in_doubt), (1, 2, 0));
}

#[test]
fn what_a_dead_sender_sent_last_may_die_with_it_but_nothing_before() {
    let own = (Party::Victim, 1, Party::Bystander1);
    let scene = |arrived: [u64; 2]| {
        let mut scene = Scene::quiet();
        for number in 1..=3 {
            scene.offer(own, number, How::Tell);
        }
        for number in arrived {
            scene.begun(own, number, 1);
            scene.done(own, number, 1);
        }
        // Its life ended before it could write whether this one was accepted.
        scene.write(Party::Victim, Line::Offer { to: Party::Bystander1, life: 1, number: 4, how: How::Tell });
        scene.exited(1, None);
        scene.check()
    };
    let held = scene([1, 2]);
    assert_eq!(held.broken, [""; 0]);
    assert_eq!((held.counts.died_with_sender, held.counts.unsure), (1, 1));
    let broken = scene([1, 3]);
    found(&broken, "message 2 of victim to bystander-1 never arrived, but number 3 did");
    assert_eq!(broken.counts.lost, 1);
}

#[test]
fn a_lost_message_is_found() {
    let mut scene = Scene::quiet();
    scene.forget(Party::Victim, handles(6));
    let verdict = scene.check();
    found(&verdict, "message 6 of driver-1 to victim was accepted, and then neither handled nor reported");
    assert_eq!(verdict.counts.lost, 1);
}

#[test]
fn a_message_that_a_death_swallowed_is_found() {
    let mut scene = Scene::quiet();
    scene.forget(Party::Victim, |line| matches!(line, Line::Done { mark, .. } if mark.number == 6));
    scene.exited(1, None);
    let verdict = scene.check();
    found(&verdict, "message 6 of driver-1 to victim was begun and never finished, and no report named it");
    assert_eq!(verdict.counts.lost, 1);
}

#[test]
fn a_duplicate_is_found() {
    let mut scene = Scene::quiet();
    scene.begun(TO_VICTIM, 12, 2);
    scene.done(TO_VICTIM, 12, 2);
    let verdict = scene.check();
    found(&verdict, "message 12 of driver-1 to victim was handled 2 times");
    assert_eq!(verdict.counts.duplicated, 1);
}

#[test]
fn a_duplicate_of_an_earlier_stretch_is_found() {
    let mut memory = Memory::default();
    assert_eq!(Scene::quiet().check_with(&mut memory).broken, [""; 0]);
    let mut later = Scene { lines: BTreeMap::new(), at_us: 0 };
    later.begun(TO_VICTIM, 12, 2);
    assert_eq!(later.check_with(&mut memory).counts.duplicated, 1);
}

#[test]
fn an_idempotent_message_handled_twice_in_one_life_is_found() {
    let mut scene = Scene::quiet();
    scene.offer(TO_VICTIM, 13, How::AskIdempotent);
    for _ in 0..2 {
        scene.begun(TO_VICTIM, 13, 1);
        scene.done(TO_VICTIM, 13, 1);
    }
    scene.ended(TO_VICTIM, 13, Outcome::Replied { number: 13, pid: 7, life: 1, took_us: 9 });
    found(&scene.check(), "was handled 2 times");
}

#[test]
fn a_misordered_pair_is_found() {
    let mut scene = Scene::quiet();
    let lines = scene.lines.get_mut(&Party::Victim).unwrap();
    let at = |lines: &[Line], n| {
        lines.iter().position(|l| matches!(l, Line::Begun { mark, .. } if mark.number == n))
    };
    let (five, six) = (at(lines, 5).unwrap(), at(lines, 6).unwrap());
    lines.swap(five, six);
    let verdict = scene.check();
    found(&verdict, "message 5 of driver-1 to victim was handled after number 6");
    assert_eq!(verdict.counts.misordered, 1);
}

#[test]
fn order_is_kept_across_stretches() {
    let mut memory = Memory::default();
    let mut first = Scene::quiet();
    first.offer(TO_VICTIM, 13, How::Tell);
    first.offer(TO_VICTIM, 14, How::Tell);
    first.begun(TO_VICTIM, 14, 1);
    first.done(TO_VICTIM, 14, 1);
    found(&first.check_with(&mut memory), "message 13 of driver-1 to victim was accepted, and then neither");
    let mut later = Scene { lines: BTreeMap::new(), at_us: 0 };
    later.offer(TO_VICTIM, 16, How::Tell);
    found(&later.check_with(&mut memory), "message 16 of driver-1 to victim was offered after number 14");
}

#[test]
fn an_ask_that_never_ended_is_found() {
    let mut scene = Scene::quiet();
    scene.forget(Party::Driver1, |line| matches!(line, Line::Ended { to: Party::Victim, number: 8, .. }));
    let verdict = scene.check();
    found(&verdict, "message 8 of driver-1 to victim was asked and ended 0 times");
    assert_eq!(verdict.counts.unresolved, 1);
}

#[test]
fn an_ask_that_ended_twice_is_found() {
    let mut scene = Scene::quiet();
    scene.ended(TO_VICTIM, 8, Outcome::Died { executed: Executed::Maybe });
    found(&scene.check(), "was asked and ended 2 times");
}

#[test]
fn more_than_one_message_in_doubt_for_a_death_is_found() {
    let mut scene = Scene::quiet();
    for number in [13, 14] {
        scene.offer(TO_VICTIM, number, How::Ask);
        scene.ended(TO_VICTIM, number, Outcome::Died { executed: Executed::Maybe });
    }
    scene.exited(1, Some((Party::Driver1, 13)));
    let verdict = scene.check();
    found(&verdict, "2 messages in doubt for 1 deaths");
    found(&verdict, "message 14 of driver-1 to victim was in doubt, and 0 reports named it");
}

#[test]
fn a_report_that_names_the_wrong_message_is_found() {
    let mut scene = Scene::quiet();
    scene.offer(TO_VICTIM, 13, How::Tell);
    scene.begun(TO_VICTIM, 13, 1);
    scene.exited(1, Some((Party::Driver1, 12)));
    found(&scene.check(), "message 13 of driver-1 to victim was begun and never finished");
}

#[test]
fn a_reply_to_another_message_is_found() {
    let mut scene = Scene::quiet();
    scene.offer(TO_VICTIM, 13, How::Ask);
    scene.begun(TO_VICTIM, 13, 1);
    scene.done(TO_VICTIM, 13, 1);
    scene.ended(TO_VICTIM, 13, Outcome::Replied { number: 12, pid: 7, life: 1, took_us: 9 });
    found(&scene.check(), "got the reply to number 12");
}

#[test]
fn a_bystander_that_died_or_changed_its_process_is_found() {
    let to = (Party::Driver1, 1, Party::Bystander2);
    let mut scene = Scene::quiet();
    scene.offer(to, 13, How::Ask);
    scene.begun(to, 13, 2);
    scene.done(to, 13, 2);
    scene.ended(to, 13, Outcome::Replied { number: 13, pid: 9, life: 2, took_us: 9 });
    found(&scene.check(), "was answered by process 9, but bystander-2 was process 7");
}

#[test]
fn a_bystander_that_fell_silent_is_found() {
    let to = (Party::Driver1, 1, Party::Bystander2);
    let mut scene = Scene::quiet();
    scene.at_us += 2 * PATIENCE_US;
    scene.offer(to, 13, How::Ask);
    scene.begun(to, 13, 1);
    scene.done(to, 13, 1);
    scene.ended(to, 13, Outcome::Replied { number: 13, pid: 7, life: 1, took_us: 9 });
    found(&scene.check(), "a bystander was silent for");
}
