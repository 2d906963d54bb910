//! Which rules of a plan fire; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Cut, Fault, Plan, Rule, When};
use super::refusal::{PROGRAM, SUPERVISOR};
use crate::wire::ids::{Incarnation, MessageKey};

/// Where a process is, when it asks what is to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) cut: &'a Cut,
    pub(crate) actor: &'a str,
    pub(crate) incarnation: Incarnation,
    pub(crate) message: Option<MessageKey>,
}

/// A rule that fires.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Firing {
    pub(crate) rule: usize,
    pub(crate) fault: Fault,
    pub(crate) occasion: u64,
    pub(crate) message: Option<String>,
    pub(crate) after: Option<Duration>,
    /// What the fault may draw from, the same for the same occasion.
    pub(crate) random: u64,
}

/// A plan, and what has been seen and done of it, in one process. What travels to a child is what concerns it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Injector {
    seed: u64,
    rules: Vec<Armed>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Armed {
    number: usize,
    rule: Rule,
    /// Occasions so far.
    seen: u64,
    /// How often it may still fire here.
    left: Option<u32>,
}

impl Injector {
    pub(crate) fn new(plan: &Plan) -> Injector {
        let armed =
            |(number, rule): (usize, &Rule)| Armed { number, rule: rule.clone(), seen: 0, left: rule.times };
        Injector { seed: plan.seed, rules: plan.rules.iter().enumerate().map(armed).collect() }
    }

    /// What of it concerns this incarnation of this actor; `fired` tells how often a rule has fired in it before.
    pub(crate) fn of(&self, actor: &str, incarnation: Incarnation, fired: impl Fn(usize) -> u32) -> Injector {
        let concerns = |armed: &&Armed| {
            armed.rule.means(actor) && armed.rule.incarnation.is_none_or(|only| only == incarnation)
        };
        let fresh = |armed: &Armed| Armed {
            seen: 0,
            left: armed.rule.times.map(|times| times.saturating_sub(fired(armed.number))),
            ..armed.clone()
        };
        Injector { seed: self.seed, rules: self.rules.iter().filter(concerns).map(fresh).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there is a rule for this cut at all.
    pub(crate) fn looks_at(&self, cut: &Cut) -> bool {
        self.rules.iter().any(|armed| armed.rule.cut == *cut)
    }

    /// An occasion: what happens, in the order of the rules.
    pub(crate) fn fire(&mut self, site: Site<'_>) -> Vec<Firing> {
        let seed = self.seed;
        let mut firing = Vec::new();
        for armed in self.rules.iter_mut().filter(|armed| armed.rule.concerns(&site)) {
            armed.seen += 1;
            let random = draw(seed, armed.number, &site, armed.seen);
            if armed.left == Some(0) || !armed.rule.when.is_now(armed.seen, random) {
                continue;
            }
            armed.left = armed.left.map(|left| left - 1);
            firing.push(Firing {
                rule: armed.number,
                fault: armed.rule.fault.clone(),
                occasion: armed.seen,
                message: armed.rule.message.as_ref().map(|(_, name)| name.clone()),
                after: armed.rule.after,
                random: mix(random),
            });
        }
        firing
    }
}

impl Rule {
    fn concerns(&self, site: &Site<'_>) -> bool {
        self.cut == *site.cut
            && self.means(site.actor)
            && self.incarnation.is_none_or(|only| only == site.incarnation)
            && self.message.as_ref().is_none_or(|(key, _)| Some(*key) == site.message)
    }

    /// Whether this name is meant.
    fn means(&self, actor: &str) -> bool {
        match self.actor.as_deref() {
            None => actor != SUPERVISOR && actor != PROGRAM,
            Some(pattern @ (SUPERVISOR | PROGRAM)) => pattern == actor,
            Some(pattern) => actor != SUPERVISOR && actor != PROGRAM && matches(pattern, actor),
        }
    }
}

impl When {
    fn is_now(self, seen: u64, random: u64) -> bool {
        match self {
            When::Always => true,
            When::Nth(n) => seen == n,
            When::Every(n) => seen.is_multiple_of(n),
            When::Chance(share) => random >> 32 < share,
        }
    }
}

/// Whether a name is what a pattern says, in which `*` stands for any characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is as good as any: what follows may stand anywhere behind it.
        match name.split_once(part) {
            Some((_, behind)) => name = behind,
            None => return false,
        }
    }
    name.ends_with(last)
}

/// A number that depends on nothing but these.
fn draw(seed: u64, rule: usize, site: &Site<'_>, occasion: u64) -> u64 {
    let name = site.actor.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let parts = [rule as u64, name, u64::from(site.incarnation.0), occasion];
    parts.into_iter().fold(mix(seed), |state, part| mix(state ^ part))
}

/// The step of splitmix64 (Steele, Lea and Flood, 2014).
pub(crate) fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: MessageKey = MessageKey(1);
    const TOTAL: MessageKey = MessageKey(2);

    fn site<'a>(cut: &'a Cut, actor: &'a str, incarnation: u32, message: MessageKey) -> Site<'a> {
        Site { cut, actor, incarnation: Incarnation(incarnation), message: Some(message) }
    }

    fn occasions(injector: &mut Injector, actor: &str, incarnation: u32, many: u64) -> Vec<u64> {
        let cut = Cut::Started;
        (1..=many).filter(|_| !injector.fire(site(&cut, actor, incarnation, ADD)).is_empty()).collect()
    }

    fn of(rule: Rule) -> Injector {
        Injector::new(&Plan::seeded(7).with(rule))
    }

    #[test]
    fn names_are_patterns_that_mean_neither_the_program_nor_the_supervisor() {
        for (pattern, name, is) in [
            ("store", "store", true),
            ("store", "store-1", false),
            ("store-*", "store-1", true),
            ("*/clerk", "shop/staff/clerk", true),
            ("shop/*/clerk*", "shop/staff/clerk-7", true),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
        for special in [SUPERVISOR, PROGRAM] {
            assert!(!Fault::Kill.at(Cut::Start).means(special));
            assert!(!Fault::Kill.at(Cut::Start).actor("*").means(special));
            assert!(Fault::Kill.at(Cut::Start).actor(special).means(special));
        }
    }

    #[test]
    fn the_nth_occasion_is_counted_in_each_incarnation_and_fires_once_for_all() {
        let plan = of(Fault::Kill.at(Cut::Started).actor("store").nth(3));
        assert_eq!(occasions(&mut plan.of("store", Incarnation(1), |_| 0), "store", 1, 9), [3]);
        assert_eq!(occasions(&mut plan.of("store", Incarnation(2), |_| 1), "store", 2, 9), []);
        assert!(plan.of("till", Incarnation(1), |_| 0).is_empty());
        let twice = of(Fault::Kill.at(Cut::Started).nth(3).times(2));
        assert_eq!(occasions(&mut twice.of("store", Incarnation(2), |_| 1), "store", 2, 9), [3]);
    }

    #[test]
    fn every_nth_fires_again_and_only_so_often() {
        let mut every = of(Fault::Kill.at(Cut::Started).every(4));
        assert_eq!(occasions(&mut every, "store", 1, 12), [4, 8, 12]);
        let mut twice = of(Fault::Kill.at(Cut::Started).every(4).times(2));
        assert_eq!(occasions(&mut twice, "store", 1, 20), [4, 8]);
    }

    #[test]
    fn the_same_seed_gives_the_same_occasions_and_another_one_others() {
        let plan = |seed| Injector::new(&Plan::seeded(seed).with(Fault::Kill.at(Cut::Started).chance(0.1)));
        let first = occasions(&mut plan(7), "store", 1, 10_000);
        assert_eq!(occasions(&mut plan(7), "store", 1, 10_000), first);
        assert!((800..1200).contains(&first.len()), "{} of 10,000", first.len());
        assert_ne!(occasions(&mut plan(8), "store", 1, 10_000), first);
        assert_ne!(occasions(&mut plan(7), "till", 1, 10_000), first);
        assert_ne!(occasions(&mut plan(7), "store", 2, 10_000), first);
        assert_eq!(occasions(&mut of(Fault::Kill.at(Cut::Started).chance(0.0)), "store", 1, 100), []);
        assert_eq!(occasions(&mut of(Fault::Kill.at(Cut::Started).chance(1.0)), "store", 1, 100).len(), 100);
    }

    #[test]
    fn only_the_message_that_is_meant_is_an_occasion() {
        let mut rule = Fault::Kill.at(Cut::Started).nth(2);
        rule.message = Some((TOTAL, "Total".into()));
        let mut injector = of(rule);
        let cut = Cut::Started;
        let fired: Vec<bool> = [TOTAL, ADD, ADD, TOTAL, TOTAL]
            .map(|message| !injector.fire(site(&cut, "store", 1, message)).is_empty())
            .into();
        assert_eq!(fired, [false, false, false, true, false]);
        assert!(injector.fire(site(&Cut::Handled, "store", 1, TOTAL)).is_empty());
    }

    #[test]
    fn rules_at_one_cut_fire_together_in_their_order() {
        let delay = Fault::Delay(Duration::from_millis(1)).at(Cut::Started);
        let mut injector =
            Injector::new(&Plan::seeded(1).with(delay).with(Fault::Abort.at(Cut::Started).nth(2)));
        let cut = Cut::Started;
        let mut rules = || -> Vec<usize> {
            injector.fire(site(&cut, "store", 1, ADD)).iter().map(|firing| firing.rule).collect()
        };
        assert_eq!((rules(), rules(), rules()), (vec![0], vec![0, 1], vec![0]));
    }
}
