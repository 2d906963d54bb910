//! What an experiment has measured, and whether its promises hold.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Effort, Experiment, machine};

/// One promise as a number: it holds when what was found is at most the bound.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Of what.
    pub what: String,
    /// The worst that was found.
    pub found: f64,
    /// The most that may be.
    pub bound: f64,
    /// Among how many; for a bound of zero.
    pub of: Option<u64>,
}

impl Check {
    /// Whether it is within its bound; what is no number is not.
    pub fn holds(&self) -> bool {
        self.found <= self.bound
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds " } else { "BROKEN" };
        write!(f, "{verdict}  {}: {}", self.what, number(self.found))?;
        match self.of {
            // The rule of three: the 95 % upper bound of a rate of which none was seen among N.
            Some(of) if self.found == 0.0 && of > 3 => {
                write!(f, " of {of} (at most {:.1e} each at 95 %)", 3.0 / of as f64)
            }
            Some(of) => write!(f, " of {of}, allowed {}", number(self.bound)),
            None => write!(f, ", allowed {}", number(self.bound)),
        }
    }
}

/// Something measured that nothing is promised of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub what: String,
    /// The number, with its unit.
    pub value: String,
}

/// One experiment's outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Score {
    /// Its name.
    pub experiment: String,
    /// What was promised.
    pub promise: String,
    /// Where its randomness began.
    pub seed: u64,
    /// Whether it was the small version.
    pub quick: bool,
    /// Cores, kernel, and load before and after.
    pub machine: String,
    /// Seconds that it took.
    pub took: f64,
    /// The promises.
    pub checks: Vec<Check>,
    /// What was measured beside them.
    pub figures: Vec<Figure>,
    #[serde(skip)]
    begun: Option<Instant>,
}

impl Score {
    pub(super) fn begin(experiment: &Experiment, effort: Effort) -> Score {
        Score {
            experiment: experiment.name.into(),
            promise: experiment.promise.into(),
            seed: effort.seed,
            quick: effort.quick,
            machine: machine::line(),
            took: 0.0,
            checks: Vec::new(),
            figures: Vec::new(),
            begun: Some(Instant::now()),
        }
    }

    pub(super) fn end(&mut self) {
        self.took = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        self.machine.push_str(&format!(", {} after", machine::load()));
    }

    /// None of so many may be.
    pub(super) fn zero(&mut self, what: impl Into<String>, found: u64, of: u64) {
        self.checks.push(Check { what: what.into(), found: found as f64, bound: 0.0, of: Some(of) });
    }

    /// It may be so much.
    pub(super) fn at_most(&mut self, what: impl Into<String>, found: f64, bound: f64) {
        self.checks.push(Check { what: what.into(), found, bound, of: None });
    }

    /// Two counts of the same thing must agree.
    pub(super) fn same(&mut self, what: impl Into<String>, one: u64, other: u64) {
        let what = format!("{} ({one} and {other}), difference", what.into());
        self.at_most(what, one.abs_diff(other) as f64, 0.0);
    }

    pub(super) fn figure(&mut self, what: impl Into<String>, value: impl fmt::Display) {
        self.figures.push(Figure { what: what.into(), value: value.to_string() });
    }

    /// How many promises are broken. An experiment that checks nothing has kept none.
    pub fn broken(&self) -> usize {
        if self.checks.is_empty() { 1 } else { self.checks.iter().filter(|check| !check.holds()).count() }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = if self.quick { ", quick" } else { "" };
        writeln!(f, "{}: {}", self.experiment, self.promise)?;
        writeln!(f, "  seed {}, {:.1} s{size}; {}", self.seed, self.took, self.machine)?;
        for check in &self.checks {
            writeln!(f, "  {check}")?;
        }
        for figure in &self.figures {
            writeln!(f, "          {}: {}", figure.what, figure.value)?;
        }
        Ok(())
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score() -> Score {
        let effort = Effort { quick: true, seed: 1, minutes: None };
        Score::begin(&super::super::EXPERIMENTS[0], effort)
    }

    #[test]
    fn a_count_beyond_its_bound_a_difference_and_no_number_at_all_are_broken_promises() {
        let mut score = score();
        score.zero("fine", 0, 1000);
        score.at_most("at the bound", 2.0, 2.0);
        score.same("agreed", 7, 7);
        assert_eq!(score.broken(), 0);
        score.zero("one too many", 1, 1000);
        score.same("not agreed", 7, 8);
        score.at_most("no number", f64::NAN, 1.0);
        assert_eq!(score.broken(), 3);
    }

    #[test]
    fn an_experiment_that_has_checked_nothing_has_kept_nothing() {
        assert_eq!(score().broken(), 1);
    }

    #[test]
    fn zero_of_a_number_is_said_with_its_bound_at_95_percent() {
        let mut score = score();
        score.zero("lost", 0, 1_000_000);
        assert!(score.to_string().contains("0 of 1000000 (at most 3.0e-6 each at 95 %)"), "{score}");
    }
}
