//! Every fault that a process can commit: how it is seen, what it costs, and that nobody else notices.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use watertight::event::DeadLetterReason;
use watertight::report::Hang;
use watertight::spec::Backoff;
use watertight::{AskError, Event, Executed, Exit, SpawnError, Spec};
use watertight_tests::specimen::{Add, Commit, KillUntil, Pid, Setup};
use watertight_tests::{Fault, Specimen};

/// Asks for the fault and returns how its exit was seen; the actor must be well again afterwards.
fn suffers(fault: Fault, expected: impl Fn(&Exit) -> bool, limit: impl Fn(Spec<Specimen>) -> Spec<Specimen>) {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let bystander = sys.spawn::<Specimen>(Setup::default()).await?;
        let bystander_pid = bystander.ask(Pid).await?;
        let spec = Spec::<Specimen>::new(Setup::default()).name("victim").backoff(Backoff::NONE);
        let victim = sys.spawn_with(limit(spec)).await?;
        assert_eq!(victim.ask(Add(1)).await?, 1);
        let error = victim.ask(Commit(fault)).await.unwrap_err();
        let AskError::Died { executed, report } = &error else { panic!("{error:?}") };
        assert_eq!(*executed, Executed::Maybe);
        assert!(expected(&report.exit), "seen as {:?}", report.exit);
        let in_hand = report.in_hand.as_ref().expect("the report names the message in hand");
        assert!(in_hand.message.ends_with("Commit"), "{in_hand:?}");
        assert_eq!(in_hand.sender_name, "program");
        // The address is still good, the state is new.
        assert_eq!(victim.ask(Add(5)).await?, 5);
        events.started("victim", 2).await?;
        assert_eq!(bystander.ask(Pid).await?, bystander_pid);
        let all = sys.balance(Duration::from_secs(5)).await?;
        assert!(all.is_balanced(), "{all:?}");
        let ledger = sys.ledger_of(&victim).await?;
        assert_eq!((ledger.accepted, ledger.processed, ledger.in_doubt), (3, 2, 1), "{ledger:?}");
        Ok(())
    });
}

fn as_is(spec: Spec<Specimen>) -> Spec<Specimen> {
    spec
}

fn quick_hang(spec: Spec<Specimen>) -> Spec<Specimen> {
    spec.hang_limit(Duration::from_millis(200))
}

#[test]
fn a_panic_is_seen_with_its_message() {
    suffers(Fault::Panic, |exit| *exit == Exit::Panicked("told to panic".into()), as_is);
}

#[test]
fn a_panic_in_a_task_is_a_crash_too() {
    suffers(Fault::PanicInTask, |exit| *exit == Exit::Panicked("told to panic in a task".into()), as_is);
}

#[test]
fn a_panic_in_a_thread_is_a_crash_too() {
    suffers(Fault::PanicInThread, |exit| *exit == Exit::Panicked("told to panic in a thread".into()), as_is);
}

#[test]
fn a_panic_that_does_not_come_to_its_end_is_a_panic_and_no_hang() {
    suffers(Fault::PanicForEver, |exit| *exit == Exit::Panicked("told to panic for ever".into()), quick_hang);
}

#[test]
fn an_abort_is_seen_as_its_signal() {
    suffers(Fault::Abort, |exit| *exit == Exit::Signal(libc::SIGABRT), as_is);
}

#[test]
fn a_segfault_is_seen_as_its_signal() {
    suffers(Fault::Segfault, |exit| *exit == Exit::Signal(libc::SIGSEGV), as_is);
}

#[test]
fn a_stack_overflow_is_named() {
    suffers(Fault::StackOverflow, |exit| *exit == Exit::StackOverflow, as_is);
}

#[test]
fn an_illegal_instruction_is_seen_as_its_signal() {
    suffers(Fault::IllegalInstruction, |exit| *exit == Exit::Signal(libc::SIGILL), as_is);
}

#[test]
fn leaving_with_code_0_in_the_middle_of_a_message_is_a_crash() {
    suffers(Fault::Exit(0), |exit| *exit == Exit::Code(0), as_is);
}

#[test]
fn leaving_with_code_3_is_seen_as_that_code() {
    suffers(Fault::Exit(3), |exit| *exit == Exit::Code(3), as_is);
}

#[test]
fn running_out_of_its_memory_limit_is_named() {
    suffers(Fault::OutOfMemory, |exit| *exit == Exit::OutOfMemory, |spec| spec.memory(64 << 20));
}

#[test]
fn an_endless_loop_is_found_and_killed() {
    suffers(Fault::Loop, |exit| *exit == Exit::Hung(Hang::NoProgress), quick_hang);
}

#[test]
fn a_deadlock_is_found_and_killed() {
    suffers(Fault::Deadlock, |exit| *exit == Exit::Hung(Hang::NoProgress), quick_hang);
}

#[test]
fn a_stopped_process_is_found_and_killed() {
    suffers(Fault::StopSelf, |exit| *exit == Exit::Hung(Hang::StoppedBySignal(libc::SIGSTOP)), quick_hang);
}

#[test]
fn a_kill_is_seen_as_its_signal() {
    suffers(Fault::KillSelf, |exit| *exit == Exit::Signal(libc::SIGKILL), as_is);
}

#[test]
fn an_idempotent_message_is_tried_again_in_the_next_incarnation() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE);
        let victim = sys.spawn_with(spec).await?;
        assert_eq!(victim.ask(KillUntil(3)).await?, 3);
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert_eq!((ledger.accepted, ledger.processed, ledger.redelivered), (1, 1, 2), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_poison_message_is_quarantined_before_its_actor_is_given_up() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE);
        let victim = sys.spawn_with(spec).await?;
        match victim.ask(KillUntil(u8::MAX)).await.unwrap_err() {
            AskError::Quarantined { attempts: 3, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(victim.ask(Add(2)).await?, 2);
        let reason = events
            .wait_for(|event| match event {
                Event::DeadLetters { reason, .. } => Some(reason),
                _ => None,
            })
            .await?;
        assert_eq!(reason, DeadLetterReason::Quarantined);
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn a_crash_in_the_first_start_is_the_spawners_error() {
    watertight::test(async |sys| {
        let setup = Setup { fault_in_start: Some((1, Fault::Segfault)), ..Setup::default() };
        match sys.spawn::<Specimen>(setup).await.unwrap_err() {
            SpawnError::Start(report) => assert_eq!(report.exit, Exit::Signal(libc::SIGSEGV)),
            other => panic!("{other:?}"),
        }
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn an_actor_that_cannot_start_again_is_given_up() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let setup = Setup { fault_in_start: Some((2, Fault::Panic)), ..Setup::default() };
        let spec = Spec::<Specimen>::new(setup).backoff(Backoff::NONE).intensity(3, Duration::from_secs(60));
        let victim = sys.spawn_with(spec).await?;
        let error = victim.ask(Commit(Fault::Segfault)).await.unwrap_err();
        assert!(matches!(error, AskError::Died { .. }), "{error:?}");
        let given_up = events
            .wait_for(|event| match event {
                Event::Ended { given_up, .. } => Some(given_up),
                _ => None,
            })
            .await?;
        assert!(given_up);
        match victim.ask(Add(1)).await.unwrap_err() {
            AskError::Unreachable(watertight::Unreachable::GivenUp(_)) => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}
