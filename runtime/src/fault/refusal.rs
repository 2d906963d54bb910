//! Which faults are possible at which cuts; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::{Cut, Fault, Plan, RULES, Rule, When};

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PlanError {
    /// This fault cannot be committed at this cut.
    #[error("rule {rule}: {fault} is not possible at {cut}: {why}")]
    Impossible {
        /// The rule's place, counted from 0.
        rule: usize,
        /// Its fault.
        fault: String,
        /// Its cut.
        cut: String,
        /// Why.
        why: String,
    },
    /// Something else about a rule.
    #[error("rule {rule}: {why}")]
    Rule {
        /// The rule's place, counted from 0.
        rule: usize,
        /// What is wrong.
        why: String,
    },
    /// More rules than a plan may have.
    #[error("a plan of {0} rules: at most {RULES}")]
    TooMany(usize),
}

/// Longest wait of a rule: longer than any test should take.
const LONGEST: Duration = Duration::from_secs(3600);
/// Most forks: enough to see that none is left, and no bomb.
const FORKS: u32 = 64;

pub(super) fn check(plan: &Plan) -> Result<(), PlanError> {
    if plan.rules.len() > RULES {
        return Err(PlanError::TooMany(plan.rules.len()));
    }
    plan.rules.iter().enumerate().try_for_each(|(number, rule)| check_rule(number, rule))
}

fn check_rule(number: usize, rule: &Rule) -> Result<(), PlanError> {
    let refused = |why: &str| Err(PlanError::Rule { rule: number, why: why.into() });
    if let Some(why) = impossible(rule) {
        return Err(PlanError::Impossible {
            rule: number,
            fault: rule.fault.to_string(),
            cut: rule.cut.to_string(),
            why: why.into(),
        });
    }
    match rule.when {
        When::Nth(0) => return refused("occasions are counted from 1"),
        When::Every(0) => return refused("every 0th occasion never comes"),
        _ => {}
    }
    if rule.message.is_some() && !rule.cut.has_message() {
        return refused("no message is at hand at this cut");
    }
    if rule.after.is_some() && !rule.fault.is_of_process() {
        return refused("only what ends or stops a process can come later");
    }
    let waits = match rule.fault {
        Fault::Stop(time) | Fault::Block(time) | Fault::Delay(time) => Some(time),
        _ => None,
    };
    if waits.into_iter().chain(rule.after).any(|wait| wait > LONGEST) {
        return refused("it would wait for more than an hour");
    }
    match rule.fault {
        Fault::Fork(many) if many > FORKS => refused("at most 64 forks"),
        Fault::Error(number) if number <= 0 => refused("error numbers are positive"),
        _ => Ok(()),
    }
}

fn impossible(rule: &Rule) -> Option<&'static str> {
    let in_supervisor = rule.actor.as_deref() == Some(SUPERVISOR);
    let in_program = rule.actor.as_deref() == Some(PROGRAM);
    match (&rule.fault, &rule.cut) {
        (Fault::Error(_), Cut::Spawn | Cut::Call(_)) => None,
        (Fault::Error(_), _) => Some("only a call can fail with an error: `Cut::Call` or `Cut::Spawn`"),
        (_, Cut::Spawn | Cut::Call(_)) => Some("a call can only fail: `Fault::Error`"),
        _ if in_supervisor => Some("in the supervisor only calls can be made to fail"),
        (fault, _) if fault.is_of_process() => {
            in_program.then_some("it would be the program that dies, and the system with it")
        }
        (Fault::Delay(_), cut) if cut.can_wait() => None,
        (Fault::Delay(_), _) => Some("it cannot wait there: use `Fault::Block`"),
        (Fault::Drop, Cut::Arrived | Cut::Answered) => None,
        (Fault::Drop, _) => Some("a message is dropped at `Cut::Arrived`, a reply at `Cut::Answered`"),
        (Fault::Duplicate | Fault::Reorder | Fault::Corrupt | Fault::Truncate, Cut::Sent) if in_program => {
            Some("who sends what is no frame is ended, and it would be the program")
        }
        (Fault::Reorder, Cut::Sent) => None,
        (Fault::Reorder, _) => Some("only what is sent changes places: `Cut::Sent`"),
        (Fault::Close, Cut::Sent | Cut::Answered | Cut::LinkSetup) => None,
        (Fault::Duplicate | Fault::Corrupt | Fault::Truncate, Cut::Sent | Cut::Answered) => None,
        (_, _) => Some("frames are changed where they are written: `Cut::Sent` or `Cut::Answered`"),
    }
}

/// The name of the supervisor in rules.
pub(crate) const SUPERVISOR: &str = "supervisor";
/// The name of the program in rules.
pub(crate) const PROGRAM: &str = "program";

impl Cut {
    fn has_message(&self) -> bool {
        use Cut::{Answered, Arrived, Handled, Processed, Replied, Sent, Started, Suspended};
        matches!(self, Sent | Arrived | Started | Suspended | Handled | Answered | Replied | Processed)
    }

    fn can_wait(&self) -> bool {
        use Cut::{Arrived, Handled, Processed, Replied, Start, Started, Stop};
        matches!(self, Start | Arrived | Started | Handled | Replied | Processed | Stop)
    }
}

impl Fault {
    /// Whether it is committed by the process in which the cut lies.
    pub(crate) fn is_of_process(&self) -> bool {
        use Fault::{
            Abort, Allocate, Block, ClockJump, Deadlock, ExhaustDescriptors, Exit, Fork, FullDisk, Kill,
            Loop, Panic, Segfault, StackOverflow, Stop,
        };
        match self {
            Panic(_) | Exit(_) | Stop(_) | Fork(_) | ClockJump(_) | Block(_) => true,
            other => {
                [Abort, Allocate, Deadlock, ExhaustDescriptors, FullDisk, Kill, Loop, Segfault, StackOverflow]
                    .contains(other)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Call, errno};

    fn refused(rule: Rule) -> bool {
        Plan::seeded(1).with(rule).check().is_err()
    }

    #[test]
    fn what_is_possible_is_taken_and_what_is_not_is_refused_with_the_reason() {
        let second = Duration::from_secs(1);
        for rule in [
            Fault::Kill.at(Cut::Arrived),
            Fault::Delay(second).at(Cut::Handled),
            Fault::Drop.at(Cut::Answered),
            Fault::Corrupt.at(Cut::Sent).actor("store"),
            Fault::Close.at(Cut::Sent).actor(PROGRAM),
            Fault::Close.at(Cut::LinkSetup),
            Fault::Error(errno::EAGAIN).at(Cut::Spawn),
            Fault::Error(errno::EMFILE).at(Cut::Call(Call::SocketPair)).actor(SUPERVISOR),
            Fault::Kill.at(Cut::Started).after(second),
        ] {
            assert_eq!(Plan::seeded(1).with(rule).check(), Ok(()));
        }
        for rule in [
            Fault::Kill.at(Cut::Spawn),
            Fault::Kill.at(Cut::Sent).actor(PROGRAM),
            Fault::Corrupt.at(Cut::Sent).actor(PROGRAM),
            Fault::Delay(second).at(Cut::Suspended),
            Fault::Drop.at(Cut::Started),
            Fault::Reorder.at(Cut::Answered),
            Fault::Error(errno::EIO).at(Cut::Started),
            Fault::Error(0).at(Cut::Spawn),
            Fault::Kill.at(Cut::Started).nth(0),
            Fault::Kill.at(Cut::Started).every(0),
            Fault::Kill.at(Cut::Start).message::<crate::Down>(),
            Fault::Drop.at(Cut::Arrived).after(second),
            Fault::Stop(2 * LONGEST).at(Cut::Started),
            Fault::Fork(65).at(Cut::Started),
        ] {
            assert!(refused(rule.clone()), "{rule:?}");
        }
        let error = Plan::seeded(1).with(Fault::Abort.at(Cut::Start)).with(Fault::Drop.at(Cut::Stop)).check();
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("rule 1: drop is not possible at stop"), "{text}");
    }
}
