//! The test kit: what a test that takes too long says, and that one that blocks its thread ends too.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use watertight::fault::{Cut, Fault, Plan};
use watertight::testing::Chaos;
use watertight::{Backoff, Spec};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Number, Setup};

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
        let kill = Fault::Kill.at(Cut::Started).message::<Add>().nth(1);
        let stall = Fault::Delay(Duration::from_secs(600)).at(Cut::Arrived).message::<Number>();
        sys.inject(Plan::seeded(1).with(kill).with(stall)).await?;
        let victim = sys.spawn_with(victim()).await?;
        assert!(victim.ask(Add(1)).await.is_err());
        victim.tell(Number { sender: 1, number: 1 }).await?;
        sys.settled().await;
        Ok(())
    });
}

#[test]
#[ignore = "it is meant to be aborted, and is run by the test below"]
fn blocks_its_thread() {
    watertight::test(async |_| {
        loop {
            std::thread::park();
        }
    });
}

/// Runs a test of this file that is meant to fail, with a limit of a second.
fn fails(name: &str) -> (Output, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.env("WATERTIGHT_TEST_LIMIT", "1").stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn a_test_that_takes_too_long_says_what_its_actors_were_doing() {
    let (_, said) = fails("takes_too_long");
    for part in [
        "the test took longer than 1 s",
        "its actors:",
        "victim#2 Running, pid ",
        ", 1 restarts",
        "1 messages are unaccounted for",
        "1 of them from program",
        "s ago: rule 0: SIGKILL at started of",
        "s ago: rule 1: delay of 600s at arrived of",
        "s ago victim#2 started: pid ",
        "s ago victim#1 watertight_tests::specimen::Add 1 from program: in hand",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_test_that_blocks_its_thread_is_aborted() {
    use std::os::unix::process::ExitStatusExt;
    let (output, said) = fails("blocks_its_thread");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(said.contains("blocks_its_thread took longer than 1 s and blocks its thread"), "{said}");
}

#[test]
fn events_are_waited_for_by_name() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let victim = sys.spawn_with(victim()).await?;
        events.started(&victim, 1).await?;
        sys.kill(&victim).await?;
        assert_eq!(events.exited(&victim).await?.exit, watertight::Exit::Killed);
        let pid = events.started(&victim, 2).await?;
        assert_eq!(sys.info(&victim).await?.pid, Some(pid));
        sys.balance(Duration::from_secs(10)).await?.assert_even();
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
