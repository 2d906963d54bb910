//! Runs a test of a system, and says what the system looked like if the test fails.

use std::any::type_name;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::time::Duration;

use super::limit::{limit, watch};
use super::state_of;
use crate::caught::caught;
use crate::fault::Plan;
use crate::process::cgroup_rules::Cgroup;
use crate::program::{self, Within};
use crate::supervisor::Launch;
use crate::system::{become_what_it_was_started_as, begin_once};
use crate::{Error, Result, System, logging};

/// Runs a test with actors, inside any `#[test]`; panics if `body` returns an error or takes longer than two minutes, or as
/// many seconds as `WATERTIGHT_TEST_LIMIT` says. [`Test`] does the same with a fault plan, or another limit.
///
/// A test that fails says what every actor was doing, as [`state_of`] does, before anything is stopped. One that blocks its
/// thread as well is aborted some seconds after its limit, and says the same.
///
/// It must be the first statement of the test: an actor's process is the test executable started again for exactly
/// this test, so what stands above runs in each of them too. Works under `cargo test` and under nextest.
///
/// # Panics
/// When the test fails.
///
/// ```no_run
/// #[test]
/// fn no_actors_at_first() {
///     watertight::test(async |sys| {
///         assert!(sys.list().await?.is_empty());
///         Ok(())
///     });
/// }
/// ```
#[track_caller]
pub fn test<F>(body: F)
where
    F: AsyncFnOnce(System) -> Result<()>,
{
    Test::new().run(body);
}

/// A test with actors that is not as every other: with a fault plan, or with a limit of its own.
///
/// ```no_run
/// use std::time::Duration;
/// use watertight::fault::{Cut, Fault, Plan};
/// use watertight::testing::Test;
///
/// #[test]
/// fn it_bears_a_slow_start() {
///     let slow = Fault::Delay(Duration::from_millis(50)).at(Cut::Start);
///     Test::new().plan(Plan::seeded(1).with(slow)).limit(Duration::from_secs(10)).run(async |sys| {
///         // …
///         Ok(())
///     });
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a test does nothing until it is run"]
pub struct Test {
    plan: Option<Plan>,
    limit: Option<Duration>,
    cgroup: Cgroup,
}

impl Test {
    /// As [`test`](fn@crate::test): no faults, two minutes.
    pub fn new() -> Test {
        Test::default()
    }

    /// Injects these faults from the beginning, before the body runs.
    pub fn plan(mut self, plan: Plan) -> Test {
        self.plan = Some(plan);
        self
    }

    /// Fails after so long. `WATERTIGHT_TEST_LIMIT`, where it is set, takes its place.
    pub fn limit(mut self, limit: Duration) -> Test {
        self.limit = Some(limit);
        self
    }

    /// Whether its actors get control groups, and where. `WATERTIGHT_CGROUP`, where it is set, takes its place.
    pub fn cgroup(mut self, cgroup: Cgroup) -> Test {
        self.cgroup = cgroup;
        self
    }

    /// Runs it; it must be the first statement of the test that does anything.
    ///
    /// # Panics
    /// When the test fails, or its plan is not possible.
    #[allow(clippy::panic)] // It is how a test fails.
    #[track_caller]
    pub fn run<F>(self, body: F)
    where
        F: AsyncFnOnce(System) -> Result<()>,
    {
        become_what_it_was_started_as();
        logging::start();
        let arguments = test_arguments(&test_name::<F>());
        let launch =
            Launch { arguments, heading: true, signals: false, keeps: true, cgroup: self.cgroup.clone() };
        let ended = begin_once().and_then(|()| {
            program::run(launch, async |sys: System, within| self.run_in(sys, within, body).await)
        });
        match ended.map(|ended| (ended.result, ended.supervisor.escalated)) {
            Ok((_, Some(escalation))) => panic!("{escalation}"),
            Ok((Some(Ok(())), None)) => {}
            Ok((Some(Err(error)), None)) => panic!("{error}"),
            Ok((None, None)) => panic!("the test was interrupted"),
            Err(error) => panic!("failed to set up the system: {error}"),
        }
    }

    async fn run_in<F>(self, sys: System, within: Within, body: F) -> Result<()>
    where
        F: AsyncFnOnce(System) -> Result<()>,
    {
        if let Some(plan) = self.plan {
            sys.inject(plan).await?;
        }
        let limit = limit(self.limit);
        let watchdog = watch(limit, within);
        let outcome = tokio::time::timeout(limit, caught(body(sys.clone()))).await;
        // What comes now has limits of its own.
        drop(watchdog);
        let failed = match outcome {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(failed) => failed,
            Err(_) => Ok(Err(Error::new(format!("the test took longer than {} s", limit.as_secs_f64())))),
        };
        let state = state_of(&sys).await;
        eprintln!("watertight: the test has failed. When it did, the system looked like this:\n{state}");
        failed.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// libtest names the thread of a test after it, except where it runs tests on the main thread; then the closure's type
/// tells, which is named after the function that it stands in.
fn test_name<F>() -> String {
    let thread = std::thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => {
            let path = type_name::<F>();
            let path = path.split("::{{closure}}").next().unwrap_or(path);
            path.split_once("::").map_or(path, |(_, within)| within).to_owned()
        }
    }
}

fn test_arguments(name: &str) -> Vec<OsString> {
    [name, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"].map(OsString::from).into()
}
