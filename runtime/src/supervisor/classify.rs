//! How a process ended, by its wait status and by what it said before; pure.

use crate::process::exit::WaitStatus;
use crate::report::{Exit, Panic};

/// What is known beside the wait status.
#[derive(Debug, Default)]
pub(crate) struct Clues<'a> {
    /// Why the supervisor killed it, if it did.
    pub(crate) killed_for: Option<Exit>,
    /// It said that its `start` had failed.
    pub(crate) start_failed: Option<String>,
    /// It said that it could not be shut in.
    pub(crate) unconfined: Option<String>,
    /// It said that there was nothing to run.
    pub(crate) declined: Option<String>,
    /// It said goodbye; `true` if it stopped of its own accord.
    pub(crate) goodbye: Option<bool>,
    /// It said that it had panicked.
    pub(crate) panic: Option<&'a Panic>,
    /// The kernel has killed something in its control group for want of memory.
    pub(crate) group_out_of_memory: bool,
    /// The last lines of its standard error.
    pub(crate) stderr: &'a [String],
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The exit.
pub(crate) fn classify(status: WaitStatus, clues: Clues<'_>) -> Exit {
    match status {
        WaitStatus::Signal { number: SIGKILL, .. }
            if clues.killed_for.is_none() && clues.group_out_of_memory =>
        {
            Exit::OutOfMemory
        }
        // A hung process is looked at before it is killed, and may be too broken to survive that.
        WaitStatus::Signal { number, .. }
            if number == SIGKILL || matches!(clues.killed_for, Some(Exit::Hung(_))) =>
        {
            // What has panicked and does not come to its end is killed, and nothing else is said of it.
            let panicked = || clues.panic.map(|panic| Exit::Panicked(panic.message.clone()));
            clues.killed_for.or_else(panicked).unwrap_or(Exit::Signal(number))
        }
        WaitStatus::Signal { number: SIGABRT, .. } => aborted(&clues),
        WaitStatus::Signal { number: SIGXCPU, .. } => Exit::CpuTime,
        WaitStatus::Signal { number: SIGXFSZ, .. } => Exit::FileSize,
        WaitStatus::Signal { number, .. } => Exit::Signal(number),
        WaitStatus::Code(_) if clues.unconfined.is_some() => {
            Exit::Unconfined(clues.unconfined.unwrap_or_default())
        }
        WaitStatus::Code(code) => match (clues.start_failed, clues.goodbye) {
            (Some(error), _) => Exit::StartFailed(error),
            _ if code == 0 && clues.declined.is_some() => Exit::Declined(clues.declined.unwrap_or_default()),
            (None, Some(finished)) if code == 0 => {
                if finished {
                    Exit::Finished
                } else {
                    Exit::Stopped
                }
            }
            // Without a goodbye even exit code 0 is abnormal: something in the process called `exit`.
            _ => Exit::Code(code),
        },
    }
}

/// Rust aborts for a panic, for a failed allocation and for an overflowed stack; only its words tell them apart.
fn aborted(clues: &Clues<'_>) -> Exit {
    if let Some(panic) = clues.panic {
        return Exit::Panicked(panic.message.clone());
    }
    let said = |words: &[&str]| clues.stderr.iter().any(|line| words.iter().all(|w| line.contains(w)));
    if said(&["memory allocation of", "failed"]) {
        Exit::OutOfMemory
    } else if said(&["has overflowed its stack"]) {
        Exit::StackOverflow
    } else {
        Exit::Signal(SIGABRT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Hang;

    fn signal(number: i32) -> WaitStatus {
        WaitStatus::Signal { number, core_dumped: false }
    }

    #[test]
    fn an_exit_code_without_a_goodbye_is_abnormal_even_if_it_is_zero() {
        assert_eq!(classify(WaitStatus::Code(0), Clues::default()), Exit::Code(0));
        assert!(!Exit::Code(0).is_normal());
        let goodbye = |finished| Clues { goodbye: Some(finished), ..Clues::default() };
        assert_eq!(classify(WaitStatus::Code(0), goodbye(false)), Exit::Stopped);
        assert_eq!(classify(WaitStatus::Code(0), goodbye(true)), Exit::Finished);
        assert_eq!(classify(WaitStatus::Code(3), goodbye(true)), Exit::Code(3));
    }

    #[test]
    fn an_abort_is_told_apart_by_what_was_said() {
        let lines = |line: &str| vec!["before".to_owned(), line.to_owned()];
        let oom = lines("memory allocation of 1048576 bytes failed");
        let stack = lines("thread 'main' (7) has overflowed its stack");
        assert_eq!(classify(signal(6), Clues { stderr: &oom, ..Clues::default() }), Exit::OutOfMemory);
        assert_eq!(classify(signal(6), Clues { stderr: &stack, ..Clues::default() }), Exit::StackOverflow);
        assert_eq!(classify(signal(6), Clues::default()), Exit::Signal(6));
        let panic =
            Panic { message: "boom".into(), location: String::new(), thread: "main".into(), backtrace: None };
        let clues = Clues { panic: Some(&panic), stderr: &oom, ..Clues::default() };
        assert_eq!(classify(signal(6), clues), Exit::Panicked("boom".into()));
        let killed = |killed_for| Clues { panic: Some(&panic), killed_for, ..Clues::default() };
        assert_eq!(classify(signal(9), killed(None)), Exit::Panicked("boom".into()));
        assert_eq!(classify(signal(9), killed(Some(Exit::Killed))), Exit::Killed);
    }

    #[test]
    fn what_the_supervisor_killed_is_named_by_its_reason_and_what_others_killed_by_the_signal() {
        let clues = Clues { killed_for: Some(Exit::StopDeadline), ..Clues::default() };
        assert_eq!(classify(signal(9), clues), Exit::StopDeadline);
        assert_eq!(classify(signal(9), Clues::default()), Exit::Signal(9));
        let for_memory = |killed_for| Clues { killed_for, group_out_of_memory: true, ..Clues::default() };
        assert_eq!(classify(signal(9), for_memory(None)), Exit::OutOfMemory);
        assert_eq!(classify(signal(9), for_memory(Some(Exit::Killed))), Exit::Killed);
        assert_eq!(classify(signal(11), for_memory(None)), Exit::Signal(11));
        let crashed_first = Clues { killed_for: Some(Exit::StopDeadline), ..Clues::default() };
        assert_eq!(classify(signal(11), crashed_first), Exit::Signal(11));
        let hung = Exit::Hung(Hang::NoProgress);
        for number in [6, 9, 11] {
            let clues = Clues { killed_for: Some(hung.clone()), ..Clues::default() };
            assert_eq!(classify(signal(number), clues), hung, "also if looking at it was too much");
        }
    }
}
