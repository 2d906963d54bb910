//! `Spec`: each option has an effect that can be seen, or is refused in words.

use watertight::report::{Hang, Verdict};
use watertight::spec::SpecError;
use watertight::{AskError, CrashReport, Output, SpawnError, Unreachable};
use watertight_tests::specimen::{Commit, Environment, KillUntil, Pid, Setup};
use watertight_tests::{Fault, Specimen};

use super::messages::{Go, Text, Through};
use super::*;

fn spec() -> Spec<Specimen> {
    Spec::new(Setup::default()).name("it").backoff(Backoff::NONE)
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_is_started() {
    watertight::test(async |sys| {
        let name = |name: &str| (spec().name(name), SpecError::Name(name.to_owned()));
        let long = "x".repeat(101);
        let zero = |spec: Spec<Specimen>, what: &str| (spec, SpecError::Zero(what.into()));
        let refused = [
            name(""),
            name(&long),
            name("two\nlines"),
            name("nul\0"),
            // It would be shown from right to left.
            name("lluf\u{202e}"),
            name("two\u{2028}lines"),
            (spec().mailbox(0, 1000), SpecError::Mailbox),
            (spec().mailbox(1000, 0), SpecError::Mailbox),
            (spec().redelivery(0), SpecError::Redelivery),
            (spec().memory(1 << 20), SpecError::Memory(1 << 20)),
            zero(spec().start_deadline(Duration::ZERO), "the start deadline"),
            zero(spec().hang_limit(Duration::ZERO), "the hang limit"),
            zero(spec().await_limit(Duration::ZERO), "the await limit"),
            zero(spec().intensity(1, Duration::ZERO), "the intensity's period"),
        ];
        for (spec, expected) in refused {
            assert_eq!(sys.spawn_with(spec).await.unwrap_err(), SpawnError::Spec(expected));
        }
        assert!(sys.list().await?.is_empty());
        // What is unusual and yet makes sense.
        for name in ["ü ✓", &"x".repeat(100)] {
            let it = sys.spawn_with(spec().name(name)).await?;
            assert_eq!(sys.info(&it).await?.name, name);
            it.ask(Pid).await?;
        }
        Ok(())
    });
}

#[test]
fn times_without_end_mean_for_ever() {
    watertight::test(async |sys| {
        let for_ever = spec()
            .start_deadline(Duration::MAX)
            .stop_grace(Duration::MAX)
            .hang_limit(Duration::MAX)
            .await_limit(Duration::MAX)
            .intensity(u32::MAX, Duration::MAX)
            .backoff(Backoff { first: Duration::ZERO, most: Duration::MAX, quiet: Duration::MAX })
            .mailbox(u32::MAX, u32::MAX)
            .redelivery(u8::MAX)
            .memory(u64::MAX);
        let it = sys.spawn_with(for_ever).await?;
        let pid = it.ask(Pid).deadline(Duration::MAX).await?;
        it.tell(watertight_tests::specimen::Add(1)).deadline(Duration::MAX).await?;
        sys.kill(&it).await?;
        assert_ne!(it.ask(Pid).await?, pid);
        sys.kill(&it).await?;
        it.ask(Pid).await?;
        sys.stop(&it).await?;
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_long_first_backoff_is_a_wait_and_not_a_crash() {
    watertight::test(async |sys| {
        let backoff = Backoff { first: Duration::MAX, most: Duration::MAX, quiet: Duration::MAX };
        let mut events = sys.events().await?;
        let it = sys.spawn_with(spec().backoff(backoff)).await?;
        sys.kill(&it).await?;
        events.started("it", 2).await?;
        sys.kill(&it).await?;
        assert_eq!(events.exited("it").await?.exit, Exit::Killed);
        assert_eq!(sys.info(&it).await?.phase, watertight::Phase::Restarting);
        sys.stop(&it).await?;
        Ok(())
    });
}

/// The reports of the first deaths of an actor that dies whenever it is asked to, and how it ended.
async fn deaths(
    sys: &System,
    spec: Spec<Specimen>,
    count: usize,
) -> Result<(Address<Specimen>, Vec<Box<CrashReport>>)> {
    let mut events = sys.events().await?;
    let it = sys.spawn_with(spec).await?;
    let mut reports = Vec::new();
    while reports.len() < count {
        let error = it.ask(Commit(Fault::KillSelf)).deadline(PATIENCE).await.unwrap_err();
        assert!(matches!(error, AskError::Died { .. }), "{error:?}");
        let report = events.exited("*").await?;
        reports.push(report);
    }
    Ok((it, reports))
}

#[test]
fn permanent_and_transient_actors_are_restarted_after_a_crash_and_temporary_ones_are_not() {
    watertight::test(async |sys| {
        for (policy, restarted) in
            [(Restart::Permanent, true), (Restart::Transient, true), (Restart::Temporary, false)]
        {
            let (it, reports) = deaths(&sys, spec().restart(policy), 1).await?;
            assert_eq!(matches!(reports[0].verdict, Verdict::Restart { .. }), restarted, "{policy:?}");
            match it.ask(Pid).await {
                Ok(_) => assert!(restarted, "{policy:?}"),
                Err(error) => {
                    assert_same(error, AskError::Unreachable(Unreachable::Ended("it".into())));
                    assert!(!restarted, "{policy:?}");
                }
            }
            if restarted {
                sys.stop(&it).await?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_actor_is_given_up_after_exactly_as_many_restarts_as_its_intensity_bears() {
    watertight::test(async |sys| {
        for restarts in [0, 2] {
            let within = Duration::from_secs(60);
            let (it, reports) =
                deaths(&sys, spec().intensity(restarts, within), restarts as usize + 1).await?;
            let (last, before) = reports.split_last().unwrap();
            assert!(before.iter().all(|report| matches!(report.verdict, Verdict::Restart { .. })));
            assert_eq!(last.verdict, Verdict::GivenUp { of: restarts, within });
            let error = it.ask(Pid).await.unwrap_err();
            assert_same(error, AskError::Unreachable(Unreachable::GivenUp("it".into())));
        }
        Ok(())
    });
}

#[test]
fn the_backoff_is_none_then_doubles_to_its_most_with_jitter() {
    watertight::test(async |sys| {
        let milliseconds = Duration::from_millis;
        let backoff =
            Backoff { first: milliseconds(20), most: milliseconds(40), quiet: Duration::from_secs(60) };
        let (_, reports) = deaths(&sys, spec().backoff(backoff), 4).await?;
        let waits = reports.iter().map(|report| match &report.verdict {
            Verdict::Restart { after, .. } => *after,
            other => panic!("{other:?}"),
        });
        for (wait, step) in waits.zip([0, 20, 40, 40]) {
            assert!(wait >= milliseconds(step) / 2 && wait <= milliseconds(step), "{wait:?} for {step} ms");
        }
        Ok(())
    });
}

/// Waits for ever wherever it is told to.
struct Stuck;

#[message]
struct Wait;

impl Actor for Stuck {
    type Args = bool;
    type Messages = (Wait,);

    async fn start(in_start: bool, _: &mut Context<Self>) -> Result<Self> {
        if in_start {
            std::future::pending().await
        }
        Ok(Stuck)
    }
}

impl Handler<Wait> for Stuck {
    async fn handle(&mut self, _: Wait, _: &mut Context<Self>) -> Result<()> {
        std::future::pending().await
    }
}

#[test]
fn a_start_that_does_not_return_ends_by_its_deadline() {
    watertight::test(async |sys| {
        let stuck = Spec::<Stuck>::new(true).name("stuck").start_deadline(Duration::from_millis(100));
        match sys.spawn_with(stuck).await.unwrap_err() {
            SpawnError::Start(report) => {
                assert_eq!((&report.exit, &*report.name), (&Exit::StartDeadline, "stuck"))
            }
            other => panic!("{other:?}"),
        }
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_stop_waits_for_the_grace_and_no_longer() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let grace = Duration::from_millis(100);
        let gate = sys.spawn::<Gate>(()).await?;
        let stuck =
            sys.spawn_with(Spec::<Through>::new(gate.clone()).name("stuck").stop_grace(grace)).await?;
        stuck.tell(Go).await?;
        gate.ask(Waiting(1)).await?;
        let began = std::time::Instant::now();
        sys.stop(&stuck).await?;
        assert!(began.elapsed() >= grace && began.elapsed() < PATIENCE);
        assert_eq!(events.exited("stuck").await?.exit, Exit::StopDeadline);
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.is_balanced(), ledger.in_doubt), (true, 1), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_handler_that_waits_longer_than_the_await_limit_is_hung() {
    watertight::test(async |sys| {
        let limit = Duration::from_millis(100);
        let stuck =
            sys.spawn_with(Spec::<Stuck>::new(false).await_limit(limit).backoff(Backoff::NONE)).await?;
        match stuck.ask(Wait).deadline(PATIENCE).await.unwrap_err() {
            AskError::Died { report, .. } => assert_eq!(report.exit, Exit::Hung(Hang::Waiting)),
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn without_a_hang_limit_nothing_is_taken_for_hung() {
    watertight::test(async |sys| {
        // The watched one tells when a hang is noticed; the other had begun before.
        let free = sys.spawn_with(spec().name("free").hang_limit(None)).await?;
        let watched = sys.spawn_with(spec().hang_limit(Duration::from_millis(100))).await?;
        free.tell(Commit(Fault::Loop)).await?;
        let error = watched.ask(Commit(Fault::Loop)).deadline(PATIENCE).await.unwrap_err();
        assert_eq!(error.report().unwrap().exit, Exit::Hung(Hang::NoProgress));
        assert_eq!(sys.info(&free).await?.restarts, 0);
        sys.kill(&free).await?;
        free.ask(Pid).await?;
        Ok(())
    });
}

#[test]
fn a_mailbox_of_one_message_takes_one_message() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let through = sys.spawn_with(Spec::<Through>::new(gate.clone()).mailbox(1, 1000)).await?;
        through.ask(Text(String::new())).await?;
        through.tell(Go).await?;
        gate.ask(Waiting(1)).await?;
        assert!(matches!(through.try_tell(Go), Err(TellError::Full(Go))));
        gate.ask(Open).await?;
        through.tell(Go).await?;
        Ok(())
    });
}

#[test]
fn a_mailbox_is_bounded_from_the_first_message_on_whether_or_not_the_link_is_there() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let through = sys.spawn_with(Spec::<Through>::new(gate.clone()).mailbox(2, 1000)).await?;
        // Before the supervisor has said how large the mailbox is, a first window holds.
        let taken = (0..5000).filter(|_| through.try_tell(Go).is_ok()).count();
        assert!(taken <= 1024, "{taken} taken");
        gate.ask(Open).await?;
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn only_the_variables_that_are_named_reach_an_actor() {
    watertight::test(async |sys| {
        // Set by cargo and nextest for every test.
        const VARIABLE: &str = "CARGO_MANIFEST_DIR";
        assert!(std::env::var_os(VARIABLE).is_some());
        for (names, expected) in [
            (&[][..], false),
            (&["CARGO"], false),
            (&[VARIABLE], true),
            (&["NO_SUCH_VARIABLE", "CARGO_MANI*"], true),
        ] {
            let it = sys.spawn_with(spec().environment(names.iter().copied())).await?;
            let seen = it.ask(Environment).await?;
            assert_eq!(seen.iter().any(|name| name == VARIABLE), expected, "{names:?}: {seen:?}");
            sys.stop(&it).await?;
        }
        Ok(())
    });
}

#[test]
fn an_idempotent_message_is_tried_as_often_as_the_spec_says() {
    watertight::test(async |sys| {
        for attempts in [1, 2] {
            let it = sys.spawn_with(spec().redelivery(attempts)).await?;
            match it.ask(KillUntil(u8::MAX)).await.unwrap_err() {
                AskError::Quarantined { attempts: tried, .. } => assert_eq!(tried, attempts),
                other => panic!("{other:?}"),
            }
            assert_eq!(sys.info(&it).await?.restarts, u64::from(attempts));
            sys.stop(&it).await?;
        }
        Ok(())
    });
}

/// Prints a line on each output.
struct Printer;

#[message]
struct Print;

impl Actor for Printer {
    type Args = ();
    type Messages = (Print,);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Printer)
    }
}

impl Handler<Print> for Printer {
    async fn handle(&mut self, _: Print, cx: &mut Context<Self>) -> Result<()> {
        println!("{} says", cx.name());
        eprintln!("{} shouts", cx.name());
        std::process::abort()
    }
}

/// Only when it is started by the test below does it say anything.
const PRINTS: &str = "INTERFACE_PRINTS";

#[test]
fn prints_for_the_next_test() {
    // Not asked before `test`, because it does not reach the actors.
    watertight::test(async |sys| {
        if std::env::var_os(PRINTS).is_none() {
            return Ok(());
        }
        println!(); // ends the harness's line
        for (name, output) in [("l", Output::Labelled), ("p", Output::Plain), ("s", Output::Silent)] {
            let printer = Spec::<Printer>::new(()).name(name).output(output).restart(Restart::Temporary);
            let error = sys.spawn_with(printer).await?.ask(Print).await.unwrap_err();
            assert_eq!(error.report().unwrap().stderr, [format!("{name} shouts")]);
        }
        Ok(())
    });
}

#[test]
fn output_is_labelled_plain_or_silent_and_always_in_the_report() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["specs::prints_for_the_next_test", "--exact", "--nocapture", "--test-threads=1"])
        .env(PRINTS, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = |bytes: &[u8], word: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().filter(|line| line.ends_with(word)).map(str::to_owned).collect()
    };
    assert_eq!(lines(&output.stdout, "says"), ["[l] l says", "p says"]);
    assert_eq!(lines(&output.stderr, "shouts"), ["[l] l shouts", "p shouts"]);
}
