//! `System`, `run` and `test`.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use watertight::error::Unreachable;
use watertight::{ActorId, AskError, Phase, SpawnError, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Pid, Setup};

use super::*;

/// Has another protocol than a specimen.
struct Other;

#[message]
struct Nothing;

impl Actor for Other {
    type Args = ();
    type Messages = (Nothing,);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Other)
    }
}

impl Handler<Nothing> for Other {
    async fn handle(&mut self, _: Nothing, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn actors_are_listed_in_the_order_of_their_start_with_what_is_known_of_them() {
    watertight::test(async |sys| {
        assert_eq!(sys.list().await?, []);
        let first = sys.spawn::<Specimen>(Setup::default()).await?;
        let second = sys.spawn_with(Spec::<Other>::new(()).name("second")).await?;
        let list = sys.list().await?;
        assert_eq!(list.iter().map(|a| a.actor).collect::<Vec<_>>(), [first.actor(), second.actor()]);
        let info = sys.info(&first).await?;
        assert_eq!(info, list[0]);
        assert_eq!(info, sys.info_of(first.actor()).await?);
        assert_eq!(info.name, format!("specimen-{}", first.actor()), "the default name");
        assert!(info.actor_type.ends_with("Specimen"), "{info:?}");
        assert_eq!((info.parent, info.phase, info.restarts), (ActorId::PROGRAM, Phase::Running, 0));
        assert_eq!((info.incarnation.0, info.pid), (1, Some(first.ask(Pid).await?)));
        assert_eq!(list[1].name, "second");
        Ok(())
    });
}

#[test]
fn an_actor_is_found_by_its_name_and_type() {
    watertight::test(async |sys| {
        let specimen = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
        let found = sys.find::<Specimen>("it").await?;
        assert_eq!(found, specimen);
        assert_eq!(found.ask(Add(3)).await?, 3);
        assert_eq!(sys.find::<Specimen>("that").await.unwrap_err(), SystemError::NoSuchName("that".into()));
        assert_eq!(sys.find::<Other>("it").await.unwrap_err(), SystemError::OtherType("it".into()));
        sys.stop(&specimen).await?;
        assert_eq!(sys.find::<Specimen>("it").await.unwrap_err(), SystemError::NoSuchName("it".into()));
        Ok(())
    });
}

#[test]
fn a_name_is_given_once_and_again_after_its_actor_has_ended() {
    watertight::test(async |sys| {
        let named = || Spec::<Specimen>::new(Setup::default()).name("it");
        let first = sys.spawn_with(named()).await?;
        assert_eq!(sys.spawn_with(named()).await.unwrap_err(), SpawnError::NameTaken("it".into()));
        // Its name, also while it is being restarted.
        sys.kill(&first).await?;
        assert_eq!(sys.spawn_with(named()).await.unwrap_err(), SpawnError::NameTaken("it".into()));
        sys.stop(&first).await?;
        assert_ne!(sys.spawn_with(named()).await?, first);
        Ok(())
    });
}

#[test]
fn a_stopped_actor_is_gone_and_every_call_says_so() {
    watertight::test(async |sys| {
        let it = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
        assert_eq!(it.ask(Add(3)).await?, 3);
        sys.stop(&it).await?;
        let ended = Unreachable::Ended("it".into());
        assert_eq!(sys.stop(&it).await.unwrap_err(), SystemError::Unreachable(ended.clone()));
        assert_eq!(sys.kill(&it).await.unwrap_err(), SystemError::Unreachable(ended.clone()));
        // The old link says it, and so does a new one.
        assert_same(it.ask(Add(3)).await.unwrap_err(), AskError::Unreachable(ended.clone()));
        let copy: Address<Specimen> = serde_json::from_str(&serde_json::to_string(&it)?)?;
        assert_same(copy.ask(Add(3)).await.unwrap_err(), AskError::Unreachable(ended.clone()));
        match it.tell(Add(4)).await.unwrap_err() {
            TellError::Unreachable(Add(4), reason) => assert_eq!(reason, ended),
            other => panic!("{other:?}"),
        }
        assert_eq!(sys.info(&it).await?.phase, Phase::Ended);
        assert_eq!(sys.list().await?, []);
        Ok(())
    });
}

#[test]
fn a_kill_is_named_as_one_and_the_address_is_good_for_the_next_incarnation() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let it = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
        let pid = it.ask(Pid).await?;
        sys.kill(&it).await?;
        assert_eq!(events.exited("it").await?.exit, Exit::Killed);
        events.started("it", 2).await?;
        let info = sys.info(&it).await?;
        assert_eq!((info.restarts, info.incarnation.0, info.phase), (1, 2, Phase::Running));
        assert_ne!(it.ask(Pid).await?, pid);
        Ok(())
    });
}

#[test]
fn what_never_was_is_no_such_actor() {
    watertight::test(async |sys| {
        let error = sys.info_of(ActorId(999)).await.unwrap_err();
        assert_eq!(error, SystemError::Unreachable(Unreachable::NoSuchActor));
        Ok(())
    });
}

#[test]
fn a_ledger_counts_what_was_accepted_and_processed_for_each_actor_and_for_all() {
    watertight::test(async |sys| {
        let one = sys.spawn::<Specimen>(Setup::default()).await?;
        let two = sys.spawn::<Specimen>(Setup::default()).await?;
        for n in 0..10 {
            one.tell(Add(n)).await?;
            two.ask(Add(n)).await?;
        }
        two.ask(Pid).await?;
        sys.settled().await;
        let all = sys.balance(PATIENCE).await?;
        assert!(all.is_balanced(), "{all:?}");
        assert_eq!((all.accepted, all.processed, all.waiting()), (21, 21, 0));
        assert_eq!(sys.ledger().await?, all);
        assert_eq!((sys.ledger_of(&one).await?.processed, sys.ledger_of(&two).await?.processed), (10, 11));
        // What an actor had is still counted after it has ended.
        sys.stop(&one).await?;
        assert_eq!(sys.balance(PATIENCE).await?, all);
        Ok(())
    });
}

#[test]
fn a_balance_that_does_not_come_ends_when_it_was_told_to() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let through = sys.spawn::<super::messages::Through>(gate.clone()).await?;
        through.tell(super::messages::Go).await?;
        gate.ask(Waiting(1)).await?;
        let ledger = sys.balance(Duration::from_millis(20)).await?;
        // The message in hand waits; the two asks at the gate are handled, though one is not answered yet.
        assert_eq!((ledger.waiting(), ledger.is_balanced()), (1, false), "{ledger:?}");
        gate.ask(Open).await?;
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn events_tell_a_life_in_order_and_each_listener_hears_all_from_its_own_beginning() {
    watertight::test(async |sys| {
        let mut first = sys.events().await?;
        let it = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
        sys.kill(&it).await?;
        first.started(&it, 2).await?;
        let mut second = sys.events().await?;
        // One that is dropped takes nothing from the others.
        drop(sys.events().await?);
        sys.stop(&it).await?;
        for events in [&mut first, &mut second] {
            match [events.next().await, events.next().await] {
                [Some(Event::Exited(report)), Some(Event::Ended { actor, name, given_up: false })] => {
                    assert_eq!((&report.exit, actor, &*name), (&Exit::Stopped, it.actor(), "it"));
                }
                other => panic!("{other:?}"),
            }
        }
        // When nobody has listened for a while, whoever comes next hears everything again.
        drop((first, second));
        let mut third = sys.events().await?;
        let other = sys.spawn::<Specimen>(Setup::default()).await?;
        third.started(&other, 1).await?;
        Ok(())
    });
}

#[test]
fn after_its_end_a_system_refuses_everything_and_nothing_waits() {
    let mut kept = None;
    watertight::test(async |sys| {
        let it = sys.spawn::<Specimen>(Setup::default()).await?;
        it.ask(Pid).await?;
        kept = Some((sys, it));
        Ok(())
    });
    let (sys, it) = kept.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(matches!(it.ask(Pid).await, Err(AskError::Unreachable(_))));
        assert!(matches!(it.tell(Add(1)).await, Err(TellError::Unreachable(Add(1), _))));
        assert_eq!(sys.list().await.unwrap_err(), SystemError::ShuttingDown);
        assert_eq!(sys.spawn::<Other>(()).await.unwrap_err(), SpawnError::ShuttingDown);
        assert_eq!(sys.stop(&it).await.unwrap_err(), SystemError::ShuttingDown);
        sys.settled().await;
        // A copy of the address has no link yet.
        let copy: Address<Specimen> = serde_json::from_str(&serde_json::to_string(&it).unwrap()).unwrap();
        assert!(matches!(copy.ask(Pid).await, Err(AskError::Unreachable(_))));
    });
}

#[test]
fn two_systems_in_one_process_do_not_know_each_others_addresses() {
    let mut kept = None;
    watertight::test(async |sys| {
        let it = sys.spawn::<Specimen>(Setup::default()).await?;
        kept = Some(serde_json::to_string(&it)?);
        Ok(())
    });
    let foreign: Address<Specimen> = serde_json::from_str(&kept.unwrap()).unwrap();
    watertight::test(async |sys| {
        let error = foreign.ask(Pid).await.unwrap_err();
        assert_same(error, AskError::Unreachable(Unreachable::OtherSystem));
        let error = sys.stop(&foreign).await.unwrap_err();
        assert_eq!(error, SystemError::Unreachable(Unreachable::OtherSystem));
        Ok(())
    });
}

/// Starts a system where none may be.
struct Nested;

#[message]
struct Run;

#[message]
struct Test;

impl Actor for Nested {
    type Args = ();
    type Messages = (Run, Test);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Nested)
    }
}

impl Handler<Run> for Nested {
    async fn handle(&mut self, _: Run, _: &mut Context<Self>) -> Result<()> {
        watertight::run(async |_| Ok(()));
        Ok(())
    }
}

impl Handler<Test> for Nested {
    async fn handle(&mut self, _: Test, _: &mut Context<Self>) -> Result<()> {
        watertight::test(async |_| Ok(()));
        Ok(())
    }
}

#[test]
fn a_system_inside_an_actor_is_refused_in_words_and_ends_that_actor_alone() {
    watertight::test(async |sys| {
        let nested = sys.spawn_with(Spec::<Nested>::new(()).backoff(Backoff::NONE)).await?;
        for error in [nested.ask(Run).await.unwrap_err(), nested.ask(Test).await.unwrap_err()] {
            let report = error.report().unwrap();
            assert_eq!(report.exit, Exit::Code(70), "{report}");
            let words = report.stderr.join("\n");
            assert!(words.contains("use cx.spawn to start children"), "{words}");
        }
        Ok(())
    });
}

/// Tells the test below that it plays a role here, in a process of its own.
const ROLE: &str = "INTERFACE_ROLE";

#[test]
fn plays_its_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let code = watertight::run(async |sys| match &*role {
        "well" => Ok(()),
        "failing" => Err(Error::new("no luck").context("failed to be lucky")),
        "interrupted" => {
            sys.list().await?;
            println!("\nready");
            std::future::pending().await
        }
        "twice" => {
            assert_eq!(sys.list().await?, []);
            Ok(())
        }
        other => Err(Error::new(other)),
    });
    if role == "twice" {
        // A second system after the first is nothing special.
        watertight::run(async |sys| {
            assert_eq!(sys.list().await?, []);
            Ok(())
        });
    }
    std::process::exit(exit_code(code));
}

/// The number in an exit code, which says it only when it is printed.
fn exit_code(code: std::process::ExitCode) -> i32 {
    let printed = format!("{code:?}");
    let digits: String = printed.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["systems::plays_its_role", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_programs_exit_code_says_how_it_went() {
    let output = role("well").output().unwrap();
    assert_eq!((output.status.code(), &*words(&output)), (Some(0), ""));
    assert_eq!(role("twice").output().unwrap().status.code(), Some(0));
    let output = role("failing").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(words(&output), "error: failed to be lucky: no luck\n");
}

#[test]
fn an_interrupted_program_ends_in_order_and_says_by_which_signal() {
    use std::io::BufRead;
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let mut child = role("interrupted").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "ready" {}
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "after {signal:?}");
    }
}
