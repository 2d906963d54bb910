//! The test kit: what a test that fails says, and that one that blocks its thread ends too; waiting, and assertions.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use watertight::address::IntoRaw;
use watertight::fault::{self, Cut, Plan};
use watertight::testing::{Chaos, Expected, Test, Timeline};
use watertight::{Backoff, Error, Exit, Result, Spec, System, SystemError};
use watertight_tests::specimen::{Add, Commit, Number, Pid, Setup};
use watertight_tests::{Fault, Specimen};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn victim() -> Spec<Specimen> {
    Spec::<Specimen>::new(Setup::default())
        .name("victim")
        .backoff(Backoff::NONE)
        .intensity(1000, Duration::from_secs(60))
}

#[test]
#[ignore = "it is meant to fail, and is run by the test below"]
fn takes_too_long() {
    watertight::test(async |sys| {
        let kill = fault::Fault::Kill.at(Cut::Started).message::<Add>().nth(1);
        let stall = fault::Fault::Delay(Duration::from_secs(600)).at(Cut::Arrived).message::<Number>();
        sys.inject(Plan::seeded(1).with(kill).with(stall)).await?;
        let victim = sys.spawn_with(victim()).await?;
        assert!(victim.ask(Add(1)).await.is_err());
        victim.tell(Number { sender: 1, number: 1 }).await?;
        sys.settled().await;
        Ok(())
    });
}

#[test]
#[ignore = "it is meant to fail, and is run by the test below"]
fn has_a_limit_of_its_own() {
    Test::new().limit(Duration::from_millis(300)).run(async |_| std::future::pending().await);
}

#[test]
#[ignore = "it is meant to fail, and is run by the test below"]
fn panics_while_an_actor_loops() {
    watertight::test(async |sys| {
        let victim = sys.spawn_with(victim()).await?;
        assert_eq!(victim.ask(Add(5)).await?, 5);
        victim.tell(Commit(Fault::Loop)).await?;
        stack_that_shows(&sys, &victim, "loops_for_ever").await?;
        panic!("a planted panic");
    });
}

#[test]
#[ignore = "it is meant to fail, and is run by the test below"]
fn returns_an_error() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let victim = sys.spawn_with(victim()).await?;
        sys.kill(&victim).await?;
        events.started(&victim, 2).await?;
        victim.ask(Pid).await?;
        sys.balance(PATIENCE).await?;
        Err(Error::new("a planted error"))
    });
}

#[test]
#[ignore = "it is meant to be aborted, and is run by the test below"]
fn blocks_its_thread() {
    watertight::test(async |sys| {
        let soon = fault::Fault::Delay(Duration::from_millis(1)).at(Cut::Arrived).message::<Commit>();
        sys.inject(Plan::seeded(1).with(soon)).await?;
        let mut timeline = Timeline::begin(&sys).await?;
        let victim = sys.spawn_with(victim()).await?;
        victim.ask(Add(5)).await?;
        victim.tell(Commit(Fault::Loop)).await?;
        // It has arrived. To wait for its stack would take a busy machine longer than the limit.
        timeline.wait(PATIENCE, &Expected::injected("victim")).await?;
        loop {
            std::thread::park();
        }
    });
}

/// Asks for the stack of an actor until it shows this.
async fn stack_that_shows(sys: &System, actor: &impl IntoRaw, function: &str) -> Result<String> {
    loop {
        // What it was told may not have arrived yet.
        if let Some(stack) = sys.stack(actor).await?.filter(|stack| stack.contains(function)) {
            return Ok(stack);
        }
    }
}

/// Runs a test of this file that is meant to fail, with a limit of a second, and as `cargo test` does: with what it prints
/// kept until it ends.
fn fails(name: &str, limit: Option<&str>) -> (Output, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--test-threads=1"]).env_remove("WATERTIGHT_TEST_LIMIT");
    command.envs(limit.map(|limit| ("WATERTIGHT_TEST_LIMIT", limit)));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    // libtest shows what a failed test has printed on its standard output.
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output, said)
}

#[track_caller]
fn assert_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_test_that_takes_too_long_says_what_its_actors_were_doing() {
    let (_, said) = fails("takes_too_long", Some("1"));
    let parts = [
        "the test took longer than 1 s",
        "its actors:",
        "victim#2 Running, pid ",
        ", 1 restarts",
        "1 messages are unaccounted for",
        "1 of them from program",
        "s ago: rule 0: SIGKILL at started of",
        "s ago: rule 1: delay of 600s at arrived of",
        "s ago victim#2 started: pid ",
        "s ago victim#1 watertight_tests::specimen::Add 1 from program: in hand as the process ended",
    ];
    assert_said(&said, &parts);
}

#[test]
fn a_limit_of_a_tests_own_counts_unless_the_environment_says_another() {
    let (_, said) = fails("has_a_limit_of_its_own", None);
    assert_said(&said, &["the test took longer than 0.3 s", "its actors: none"]);
    let (_, said) = fails("has_a_limit_of_its_own", Some("1"));
    assert_said(&said, &["the test took longer than 1 s"]);
}

/// What is said of an actor that loops, after it has added five.
const LOOPS: [&str; 8] = [
    "the system looked like this:\nits actors:\n  victim#1 Running, pid ",
    "; in hand: watertight_tests::specimen::Commit 2 from program\n",
    "1 messages are unaccounted for: 2 accepted = 1 processed + 0 dead letters",
    "its thread is here, innermost first:",
    "loops_for_ever",
    "the tree:\nvictim#1",
    "s ago victim#1 watertight_tests::specimen::Add 1 from program: handled in ",
    "s ago victim#1 watertight_tests::specimen::Commit 2 from program: in hand",
];

#[test]
fn a_test_that_panics_says_what_its_actors_were_doing_and_panics_as_it_did() {
    let (output, said) = fails("panics_while_an_actor_loops", None);
    assert_eq!(output.status.code(), Some(101));
    assert_said(&said, &LOOPS);
    assert_said(&said, &["a planted panic", "tests/kit.rs:"]);
}

#[test]
fn a_test_that_returns_an_error_says_what_happened_before() {
    let (_, said) = fails("returns_an_error", None);
    let parts = [
        "a planted error",
        "the last events:",
        "victim#1 (pid ",
        "): killed on request; restarted: 1st of 1000 in 60 s, after 0 ms",
        "s ago victim#2 started: pid ",
        "s ago victim#2 watertight_tests::specimen::Pid 1 from program: handled in ",
        "all messages: 1 accepted = 1 processed + 0 dead letters + 0 in doubt + 0 died with their sender\n",
    ];
    assert_said(&said, &parts);
}

#[test]
fn a_test_that_blocks_its_thread_is_aborted_and_says_what_its_actors_were_doing() {
    let (output, said) = fails("blocks_its_thread", Some("1"));
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert_said(&said, &["blocks_its_thread took longer than 1 s and blocks its thread"]);
    // The same but for the introduction.
    assert_said(&said, &LOOPS[1..]);
    assert_said(&said, &["its actors:\n  victim#1 Running, pid "]);
}

#[test]
fn a_test_that_passes_says_nothing() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["a_plan_is_injected_from_the_beginning", "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("its actors:"), "{said}");
}

#[test]
fn a_plan_is_injected_from_the_beginning() {
    let slow = fault::Fault::Delay(Duration::from_millis(1)).at(Cut::Start).actor("victim");
    Test::new().plan(Plan::seeded(1).with(slow)).run(async |sys| {
        sys.spawn_with(victim()).await?;
        assert_eq!(sys.injected().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn events_are_waited_for_by_address_and_by_name() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let victim = sys.spawn_with(victim()).await?;
        events.started(&victim, 1).await?;
        sys.kill(&victim).await?;
        assert_eq!(events.exited(&victim).await?.exit, Exit::Killed);
        let pid = events.started("vic*", 2).await?;
        assert_eq!(sys.info(&victim).await?.pid, Some(pid));
        sys.kill(&victim).await?;
        assert_eq!(events.exited("victim").await?.incarnation.0, 2);
        sys.balance(PATIENCE).await?.assert_even();
        Ok(())
    });
}

#[test]
fn a_timeline_is_waited_for_step_by_step_and_judged() {
    watertight::test(async |sys| {
        let mut timeline = Timeline::begin(&sys).await?;
        let victim = sys.spawn_with(victim()).await?;
        sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("bystander")).await?;
        sys.kill(&victim).await?;
        timeline.wait(PATIENCE, &Expected::exited("victim").by(Exit::Killed)).await?;
        timeline.wait(PATIENCE, &Expected::started("victim", 2)).await?;
        assert!(victim.ask(Commit(Fault::Segfault)).await.is_err());
        timeline.wait(PATIENCE, &Expected::started("victim", 3)).await?;
        let happened = timeline.so_far().await?;
        happened.assert_restarts(&[("victim", 2)]);
        happened.assert_exits("*", &[Exit::Killed, Exit::Signal(libc::SIGSEGV)]);
        let crash = Expected::exited("victim").and("with a message in hand", |r| r.in_hand.is_some());
        happened.assert_in_order(&[Expected::started("victim", 2), crash, Expected::started("victim", 3)]);
        happened.assert_never(&Expected::ended("victim"));
        happened.assert_within(PATIENCE, &Expected::exited("victim"), &Expected::started("victim", 3));
        // What has been waited for is behind it.
        let wait = timeline.wait(Duration::from_millis(1), &Expected::started("victim", 2)).await;
        let said = wait.unwrap_err().to_string();
        assert_said(
            &said,
            &["the start of victim#2 was not seen within 1ms. What happened:", "victim#2 started"],
        );
        Ok(())
    });
}

#[test]
fn what_has_happened_is_complete_once_its_cause_is_known() {
    watertight::test(async |sys| {
        let mut timeline = Timeline::begin(&sys).await?;
        let victim = sys.spawn_with(victim()).await?;
        for life in 1..=5 {
            sys.kill(&victim).await?;
            // An answer of the next life: its start has been told before.
            while victim.ask(Add(0)).await.is_err() || sys.info(&victim).await?.incarnation.0 == life {}
        }
        let happened = timeline.so_far().await?;
        happened.assert_restarts(&[("victim", 5)]);
        assert_eq!(happened.reports("victim").len(), 5);
        Ok(())
    });
}

#[test]
fn a_program_is_told_of_an_end_behind_what_came_before() {
    watertight::test(async |sys| {
        let victim = sys.spawn_with(victim()).await?;
        let (first, second) = (sys.monitor(&victim).await?, sys.monitor(&victim).await?);
        drop(sys.monitor(&victim).await?);
        sys.kill(&victim).await?;
        for monitor in [first, second] {
            let down = monitor.down().await?;
            assert_eq!((&*down.name, down.incarnation.0, down.exit), ("victim", 1, Exit::Killed));
        }
        // One for each life: the next has not ended.
        let next = sys.monitor(&victim).await?;
        victim.ask(Pid).await?;
        sys.stop(&victim).await?;
        assert_eq!(next.down().await?.exit, Exit::Stopped);
        let late = sys.monitor(&victim).await?.down().await?;
        assert_eq!((late.incarnation.0, late.exit), (0, Exit::Stopped));
        Ok(())
    });
}

#[test]
fn a_stack_is_seen_without_ending_whose_it_is() {
    watertight::test(async |sys| {
        let victim = sys.spawn_with(victim()).await?;
        let pid = victim.ask(Pid).await?;
        // An idle one shows the event loop.
        stack_that_shows(&sys, &victim, "run_actor").await?;
        victim.tell(Commit(Fault::Loop)).await?;
        let busy = stack_that_shows(&sys, &victim, "loops_for_ever").await?;
        assert!(busy.contains("Specimen") && busy.contains("the runtime"), "{busy}");
        // Several may ask at once, and it is still the same life.
        let (one, two) = tokio::join!(sys.stack(&victim), sys.stack(&victim));
        assert!(one?.is_some() && two?.is_some());
        assert_eq!(sys.info(&victim).await?.pid, Some(pid));
        Ok(())
    });
}

#[test]
fn whoever_cannot_show_a_stack_is_not_waited_for() {
    watertight::test(async |sys| {
        let stopped = sys.spawn_with(victim()).await?;
        let unheard = sys.spawn_with(victim().name("unheard")).await?;
        stopped.tell(Commit(Fault::StopSelf)).await?;
        unheard.tell(Commit(Fault::LoopUnheard)).await?;
        // Until they have done it, each may still have a stack to show.
        while sys.stack(&stopped).await?.is_some() {}
        while sys.stack(&unheard).await?.is_some() {}
        // Whoever dies meanwhile has none either, and whoever has ended is nobody.
        let (stack, killed) = tokio::join!(sys.stack(&stopped), sys.kill(&stopped));
        killed?;
        assert_eq!(stack?, None);
        sys.stop(&stopped).await?;
        assert!(matches!(sys.stack(&stopped).await, Err(SystemError::Unreachable(_))));
        Ok(())
    });
}

#[test]
fn chaos_leaves_a_test_its_own_events() {
    watertight::test(async |sys| {
        let mut timeline = Timeline::begin(&sys).await?;
        sys.spawn_with(victim()).await?;
        let chaos = Chaos::seeded(5).rate(50.0).lasting(Duration::from_millis(300)).stops(0.0);
        let verdict = chaos.run(&sys).await?;
        assert!(verdict.is_good() && verdict.kills > 0, "{verdict}");
        let kills = usize::try_from(verdict.kills)?;
        timeline.so_far().await?.assert_restarts(&[("victim", kills)]);
        Ok(())
    });
}

#[test]
fn chaos_sees_who_does_not_come_back() {
    watertight::test(async |sys| {
        let weak = victim().name("weak").intensity(2, Duration::from_secs(60));
        sys.spawn_with(weak).await?;
        let chaos = Chaos::seeded(3).rate(200.0).lasting(Duration::from_secs(1)).only("weak").stops(0.0);
        let verdict = chaos.run(&sys).await?;
        assert_eq!(
            (verdict.is_good(), verdict.given_up.clone()),
            (false, vec!["weak".to_owned()]),
            "{verdict}"
        );
        Ok(())
    });
}
