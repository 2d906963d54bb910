//! What one actor can do to another: nothing but send it messages, as many as it has credit for.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use watertight::spec::Backoff;
use watertight::{
    Address, AskError, Event, Executed, Exit, Phase, Restart, Spec, SystemError, TellError, Unreachable,
};
use watertight_tests::doomed::signal;
use watertight_tests::history::read_journal;
use watertight_tests::specimen::{Add, AskBack, Bytes, Commit, Number, Pid, Relay, Setup, Slowly, Work};
use watertight_tests::{Fault, Specimen};

#[test]
fn a_stopped_consumer_takes_exactly_its_credit_and_every_further_message_is_given_back() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).mailbox(16, 1 << 20).hang_limit(None);
        let consumer = sys.spawn_with(spec).await?;
        let pid = consumer.ask(Pid).await?;
        signal(pid, libc::SIGSTOP);
        let mut accepted = 0;
        let full = loop {
            match consumer.try_tell(Add(1)) {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(accepted, 16);
        let TellError::Full(Add(1)) = full else { panic!("{full:?}") };
        for _ in 0..1000 {
            assert!(matches!(consumer.try_tell(Add(1)), Err(TellError::Full(Add(1)))));
        }
        let waited = consumer.tell(Add(1)).deadline(Duration::from_millis(50)).await;
        assert!(matches!(waited, Err(TellError::Deadline(Add(1)))));
        signal(pid, libc::SIGCONT);
        assert_eq!(consumer.ask(Add(0)).await?, 16);
        Ok(())
    });
}

#[test]
fn credit_is_bounded_in_bytes_too_and_one_large_message_may_pass_an_empty_window() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).mailbox(1000, 4096).hang_limit(None);
        let consumer = sys.spawn_with(spec).await?;
        let pid = consumer.ask(Pid).await?;
        signal(pid, libc::SIGSTOP);
        consumer.try_tell(Bytes(vec![0; 100_000]))?;
        let full = consumer.try_tell(Bytes(vec![0; 10])).unwrap_err();
        assert!(matches!(full, TellError::Full(_)), "{full:?}");
        signal(pid, libc::SIGCONT);
        consumer.ask(Pid).await?;
        Ok(())
    });
}

#[test]
fn an_ask_ends_at_its_deadline_and_its_late_reply_disturbs_nobody() {
    watertight::test(async |sys| {
        let actor = sys.spawn::<Specimen>(Setup::default()).await?;
        let error = actor.ask(Slowly(100)).deadline(Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, AskError::Deadline { executed: Executed::Maybe }), "{error:?}");
        // Asked behind the late one: answered rightly.
        assert_eq!(actor.ask(Add(4)).await?, 4);
        Ok(())
    });
}

#[test]
fn a_message_whose_deadline_has_passed_is_skipped_before_it_is_started() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let actor = sys.spawn::<Specimen>(setup).await?;
        // Joined to it, so that the next two are sent in their order.
        actor.ask(Pid).await?;
        let slow = actor.ask(Slowly(200));
        let late = actor.ask(Number { sender: 1, number: 1 }).deadline(Duration::from_millis(20));
        let (slow, late) = tokio::join!(slow, late);
        slow?;
        assert!(matches!(late, Err(AskError::Deadline { .. })), "{late:?}");
        actor.ask(Number { sender: 1, number: 2 }).await?;
        let handled: Vec<u64> =
            read_journal(&std::fs::read_to_string(&journal)?)?.iter().map(|h| h.number).collect();
        assert_eq!(handled, [2]);
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert_eq!((ledger.accepted, ledger.processed, ledger.dead_lettered), (4, 3, 1), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_call_that_would_wait_for_its_own_caller_is_refused_at_once() {
    watertight::test(async |sys| {
        let first = sys.spawn::<Specimen>(Setup::default()).await?;
        let second = sys.spawn::<Specimen>(Setup::default()).await?;
        let started = std::time::Instant::now();
        let said = first.ask(AskBack(Some(second.clone()), None)).deadline(Duration::from_secs(30)).await?;
        assert!(said.contains("was refused"), "{said}");
        assert!(started.elapsed() < Duration::from_secs(4), "it waited for a deadline");
        // Both are well.
        assert_eq!(first.ask(Add(1)).await?, 1);
        assert_eq!(second.ask(Add(1)).await?, 1);
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn a_refused_call_neither_loses_what_stands_before_it_nor_runs_in_the_next_incarnation() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let first = sys.spawn_with(Spec::<Specimen>::new(setup).backoff(Backoff::NONE)).await?;
        let second = sys.spawn::<Specimen>(Setup::default()).await?;
        // The second tells the first a number and then asks it, while the first waits; then the first crashes.
        let died = first.ask(AskBack(Some(second), Some(Fault::Abort))).await.unwrap_err();
        assert!(matches!(died, AskError::Died { .. }), "{died:?}");
        first.ask(Pid).await?;
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        // In doubt: the one that crashed. Dead: the refused one.
        assert_eq!((ledger.in_doubt, ledger.dead_lettered), (1, 1), "{ledger:?}");
        assert_eq!(read_journal(&std::fs::read_to_string(&journal)?)?.len(), 1);
        Ok(())
    });
}

#[test]
fn an_actor_that_is_only_busy_is_not_taken_for_hung() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).hang_limit(Duration::from_millis(100));
        let busy = sys.spawn_with(spec).await?;
        for _ in 0..400 {
            busy.tell(Work(1000)).await?;
        }
        busy.ask(Pid).deadline(Duration::from_secs(30)).await?;
        assert_eq!(sys.info(&busy).await?.restarts, 0);
        Ok(())
    });
}

#[test]
fn a_forged_capability_a_foreign_system_and_an_unknown_actor_are_refused_with_the_message() {
    watertight::test(async |sys| {
        let actor = sys.spawn::<Specimen>(Setup::default()).await?;
        let genuine = serde_json::to_string(&actor)?;
        let forge = |field: &str, value: &str| -> Address<Specimen> {
            let start = genuine.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
            let end = start + genuine[start..].find([',', '}']).unwrap();
            serde_json::from_str(&format!("{}{value}{}", &genuine[..start], &genuine[end..])).unwrap()
        };
        for (field, value, expected) in [
            ("capability", "7", Unreachable::Forged),
            ("actor", "4711", Unreachable::NoSuchActor),
            ("system", "1", Unreachable::OtherSystem),
            ("protocol", "1", Unreachable::OtherProtocol),
            ("version", "9", Unreachable::OtherSystem),
        ] {
            let forged = forge(field, value);
            match forged.tell(Add(1)).await.unwrap_err() {
                TellError::Unreachable(Add(1), reason) => assert_eq!(reason, expected, "{field}"),
                other => panic!("{field}: {other:?}"),
            }
            let error = forged.ask(Add(1)).await.unwrap_err();
            assert_eq!(error.executed(), Executed::No);
        }
        // An actor is told the same.
        let relay = sys.spawn::<Specimen>(Setup::default()).await?;
        let error = relay.ask(Relay(forge("capability", "7"), 1)).await.unwrap_err();
        assert!(matches!(error, AskError::Failed(_)), "{error:?}");
        assert_eq!(actor.ask(Add(0)).await?, 0);
        Ok(())
    });
}

#[test]
fn two_hundred_actors_start_answer_are_listed_and_stop_in_reverse_order() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let mut actors = Vec::new();
        for n in 0..200 {
            let spec = Spec::<Specimen>::new(Setup::default()).name(format!("actor {n}"));
            actors.push(sys.spawn_with(spec).await?);
        }
        for (n, actor) in (0..).zip(&actors) {
            assert_eq!(actor.ask(Add(n)).await?, n);
        }
        let list = sys.list().await?;
        assert_eq!(list.len(), 200);
        assert!(list.iter().all(|info| info.phase == Phase::Running));
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        // An actor that tells another one, so that there are links between actors too.
        actors[0].ask(Relay(actors[199].clone(), 1)).await?;
        for actor in actors.iter().rev() {
            sys.stop(actor).await?;
        }
        let mut ended = Vec::new();
        while ended.len() < 200 {
            ended.push(
                events
                    .wait_for(|event| match event {
                        Event::Ended { name, .. } => Some(name),
                        _ => None,
                    })
                    .await?,
            );
        }
        let expected: Vec<String> = (0..200).rev().map(|n| format!("actor {n}")).collect();
        assert_eq!(ended, expected);
        Ok(())
    });
}

#[test]
fn a_stopped_actor_finishes_what_has_arrived_and_stays_away() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let mut events = sys.events().await?;
        let actor = sys.spawn::<Specimen>(setup).await?;
        for number in 1..=200 {
            actor.tell(Number { sender: 1, number }).await?;
        }
        sys.settled().await;
        sys.stop(&actor).await?;
        let exit = events.exited("*").await?.exit;
        assert_eq!(exit, Exit::Stopped);
        assert_eq!(read_journal(&std::fs::read_to_string(&journal)?)?.len(), 200);
        match actor.tell(Add(1)).await.unwrap_err() {
            TellError::Unreachable(_, Unreachable::Ended(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(sys.info(&actor).await?.phase, Phase::Ended);
        let error = sys.stop(&actor).await.unwrap_err();
        assert!(matches!(error, SystemError::Unreachable(Unreachable::Ended(_))), "{error:?}");
        Ok(())
    });
}

#[test]
fn an_actor_that_will_not_stop_is_killed_at_the_end_of_its_grace() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let grace = Duration::from_millis(200);
        let spec = Spec::<Specimen>::new(Setup::default()).stop_grace(grace).hang_limit(None);
        let actor = sys.spawn_with(spec).await?;
        // Joined to it, so that what is told is with it before the stop is.
        actor.ask(Pid).await?;
        actor.tell(Commit(Fault::Loop)).await?;
        sys.stop(&actor).await?;
        let exit = events.exited("*").await?.exit;
        assert_eq!(exit, Exit::StopDeadline);
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn what_a_sender_had_sent_outlives_it_and_what_it_had_not_is_counted() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let receiver = sys.spawn_with(Spec::<Specimen>::new(setup).hang_limit(None)).await?;
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE);
        let sender = sys.spawn_with(spec.restart(Restart::Temporary)).await?;
        let process = receiver.ask(Pid).await?;
        sender.ask(Relay(receiver.clone(), 0)).await?;
        signal(process, libc::SIGSTOP);
        for number in 1..=100 {
            sender.tell(Relay(receiver.clone(), number)).await?;
        }
        let died = sender.ask(Commit(Fault::KillSelf)).await;
        assert!(matches!(died, Err(AskError::Died { .. })), "{died:?}");
        signal(process, libc::SIGCONT);
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        let of_receiver = sys.ledger_of(&receiver).await?;
        let handled: Vec<u64> =
            read_journal(&std::fs::read_to_string(&journal)?)?.iter().map(|h| h.number).collect();
        assert_eq!(handled, (0..handled.len() as u64).collect::<Vec<_>>(), "in order, without gaps");
        // Beside the relayed ones it was asked for its process.
        assert_eq!(of_receiver.processed, handled.len() as u64 + 1);
        assert_eq!(
            of_receiver.accepted,
            of_receiver.processed + of_receiver.died_with_sender,
            "{of_receiver:?}"
        );
        Ok(())
    });
}
