//! Running a program that is not as every other: [`run`](crate::run) with options.

use std::process::ExitCode;

use crate::closed_output::{self, OutputClosed};
use crate::error::Result;
use crate::harmless::SetIn;
use crate::logging;
use crate::process::cgroup_rules::Cgroup;
use crate::program::{self, Ended};
use crate::supervisor::Launch;
use crate::system::{System, become_what_it_was_started_as, begin_once};

/// A program with actors that wants something of its own: where their control groups are.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight::{Cgroup, Run};
///
/// fn main() -> std::process::ExitCode {
///     Run::new().cgroup(Cgroup::Auto).main(async |sys: System| {
///         println!("{} actors", sys.list().await?.len());
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a program does nothing until it is run"]
pub struct Run {
    cgroup: Cgroup,
}

impl Run {
    /// As [`run`](crate::run): no control groups.
    pub fn new() -> Run {
        Run::default()
    }

    /// Whether actors get control groups, and where. The variable `WATERTIGHT_CGROUP`, where it is set, takes its place.
    pub fn cgroup(mut self, cgroup: Cgroup) -> Run {
        self.cgroup = cgroup;
        self
    }

    /// Runs the program; it must be the first thing that `main()` does. Exit codes and all else are those of
    /// [`run`](crate::run).
    pub fn main<F>(self, main: F) -> ExitCode
    where
        F: AsyncFnOnce(System) -> Result<()>,
    {
        become_what_it_was_started_as();
        logging::start();
        closed_output::keep_quiet();
        let launch = Launch { signals: true, cgroup: self.cgroup, ..Launch::default() };
        let run = async |sys: System, _| Ok(closed_output::watched(main(sys)).await);
        match begin_once().and_then(|()| program::run(launch, run)) {
            Ok(ended) => exit_code(ended),
            Err(error) => {
                eprintln!("error: failed to set up the system: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// How the program ends, after its supervisor has.
fn exit_code(ended: Ended<std::result::Result<Result<()>, OutputClosed>>) -> ExitCode {
    let Ended { result, supervisor } = ended;
    match (result, supervisor.interrupted, supervisor.escalated) {
        (_, Some(signal), _) => ExitCode::from(128_u8.wrapping_add(u8::try_from(signal).unwrap_or(0))),
        (_, None, Some(escalation)) => {
            eprintln!("error: {escalation}");
            ExitCode::from(ESCALATED)
        }
        (Some(Ok(Err(OutputClosed))), None, None) => ExitCode::from(closed_output::EXIT_CODE),
        (Some(Err(error) | Ok(Ok(Err(error)))), None, None) => {
            // It may be what an actor has answered.
            eprintln!("error: {}", SetIn(&error.to_string()));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// `EX_SOFTWARE` of sysexits: an internal failure.
const ESCALATED: u8 = 70;
