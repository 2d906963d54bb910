//! Death at every cut of a message's way, and the death of the supervisor.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use watertight::spec::Backoff;
use watertight::{Address, AskError, Event, Executed, Exit, SpawnError, Spec, System};
use watertight_tests::doomed::{Doomed, is_alive, signal, wait_until_stopped};
use watertight_tests::history::read_journal;
use watertight_tests::specimen::{Add, Commit, Hold, Number, ReplyThenCrash, Setup};
use watertight_tests::{Fault, Specimen};

async fn pid(sys: &System, actor: &Address<Specimen>) -> watertight::Result<u32> {
    Ok(sys.info(actor).await?.pid.unwrap())
}

fn numbers(journal: &str) -> Vec<u64> {
    read_journal(&std::fs::read_to_string(journal).unwrap()).unwrap().iter().map(|h| h.number).collect()
}

#[test]
fn messages_that_were_not_delivered_go_to_the_next_incarnation_in_order() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let victim = sys.spawn_with(Spec::<Specimen>::new(setup).backoff(Backoff::NONE)).await?;
        victim.ask(Add(0)).await?;
        let process = pid(&sys, &victim).await?;
        signal(process, libc::SIGSTOP);
        for number in 1..=500 {
            victim.tell(Number { sender: 1, number }).await?;
        }
        signal(process, libc::SIGKILL);
        assert_eq!(victim.ask(Number { sender: 1, number: 501 }).await?, 501);
        assert_eq!(numbers(&journal), (1..=501).collect::<Vec<_>>());
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert_eq!((ledger.in_doubt, ledger.dead_lettered), (0, 0), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_message_that_was_processed_and_not_acknowledged_is_not_run_again() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let go = folder.path().join("go");
        let setup = Setup { journal: Some(journal.clone()), ..Setup::default() };
        let victim = sys.spawn_with(Spec::<Specimen>::new(setup).backoff(Backoff::NONE)).await?;
        // While it holds, the next ones collect; then they are handled in one batch, with one acknowledgement behind.
        victim.tell(Hold(go.display().to_string())).await?;
        for number in 1..=50 {
            victim.tell(Number { sender: 1, number }).await?;
        }
        victim.tell(Commit(Fault::Segfault)).await?;
        for number in 51..=60 {
            victim.tell(Number { sender: 1, number }).await?;
        }
        // What is told leaves with the next turn of this program.
        tokio::task::yield_now().await;
        std::fs::write(&go, "")?;
        assert_eq!(victim.ask(Number { sender: 1, number: 61 }).await?, 61);
        assert_eq!(numbers(&journal), (1..=61).collect::<Vec<_>>());
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert_eq!((ledger.in_doubt, ledger.processed), (1, 62), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_reply_that_was_written_wins_although_its_message_was_still_in_hand() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).backoff(Backoff::NONE);
        let victim = sys.spawn_with(spec.intensity(20, Duration::from_secs(60))).await?;
        for _ in 0..20 {
            assert_eq!(victim.ask(ReplyThenCrash).await?, 7);
        }
        victim.ask(Add(1)).await?;
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn a_child_that_dies_or_hangs_in_its_start_is_a_failed_start() {
    watertight::test(async |sys| {
        let start = |fault| {
            let setup = Setup { fault_in_start: Some((1, fault)), ..Setup::default() };
            sys.spawn_with(Spec::<Specimen>::new(setup).start_deadline(Duration::from_millis(300)))
        };
        for (fault, expected) in [
            (Fault::Exit(0), Exit::Code(0)),
            (Fault::KillSelf, Exit::Signal(libc::SIGKILL)),
            (Fault::Loop, Exit::StartDeadline),
            (Fault::StopSelf, Exit::StartDeadline),
        ] {
            match start(fault).await.unwrap_err() {
                SpawnError::Start(report) => assert_eq!(report.exit, expected),
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    });
}

#[test]
fn every_ask_under_way_ends_when_its_receiver_is_given_up() {
    watertight::test(async |sys| {
        let spec = Spec::<Specimen>::new(Setup::default()).intensity(0, Duration::from_secs(1));
        let victim = sys.spawn_with(spec).await?;
        victim.ask(Add(1)).await?;
        let crash = victim.ask(Commit(Fault::Abort));
        let behind = async {
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                outcomes.push(victim.ask(Add(1)).await);
            }
            outcomes
        };
        let (crashed, behind) = tokio::join!(crash, behind);
        match crashed.unwrap_err() {
            AskError::Died { executed: Executed::Maybe, .. } => {}
            other => panic!("{other:?}"),
        }
        for outcome in behind {
            let error = outcome.unwrap_err();
            assert_eq!(error.executed(), Executed::No, "{error:?}");
        }
        assert!(sys.balance(Duration::from_secs(5)).await?.is_balanced());
        Ok(())
    });
}

fn doomed() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_doomed"))
}

#[test]
fn no_actor_outlives_a_killed_supervisor_by_a_second() {
    for _ in 0..5 {
        let mut program = Doomed::start(doomed());
        let pids: Vec<u32> = (0..4).map(|_| program.say("spawn").parse().unwrap()).collect();
        program.say("loop 1");
        program.say("stop 2");
        program.say("add 3");
        // The one that stops itself has done so.
        wait_until_stopped(pids[2]);
        assert!(pids.iter().all(|&pid| is_alive(pid)));
        program.child.kill().unwrap();
        let killed = Instant::now();
        while let Some(pid) = pids.iter().find(|&&pid| is_alive(pid)) {
            assert!(killed.elapsed() < Duration::from_secs(1), "process {pid} is alive a second later");
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_actors_own_children_end_with_it() {
    let mut program = Doomed::start(doomed());
    program.say("spawn");
    let grandchild: u32 = program.say("grandchild 0").parse().unwrap();
    assert!(is_alive(grandchild));
    assert_eq!(program.say("crash 0"), "true");
    let crashed = Instant::now();
    while is_alive(grandchild) {
        assert!(crashed.elapsed() < Duration::from_secs(5), "the grandchild is alive");
        std::thread::yield_now();
    }
}

#[test]
fn an_executable_that_was_replaced_or_deleted_keeps_its_actors_and_starts_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("program");
    // By a process of its own: what this one has open to write, another test's child may still hold when it is to run.
    let copied = std::process::Command::new("cp").arg(doomed()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut program = Doomed::start(&copy);
    program.say("spawn");
    let replacement = folder.path().join("replacement");
    std::fs::write(&replacement, "not even a program").unwrap();
    std::fs::rename(&replacement, &copy).unwrap();
    assert_eq!(program.say("crash 0"), "true");
    assert_eq!(program.say("add 0"), "1");
    std::fs::remove_file(&copy).unwrap();
    program.say("spawn");
    assert_eq!(program.say("add 1"), "1");
}

#[test]
fn neither_secrets_of_the_environment_nor_stray_descriptors_reach_an_actor() {
    let stray = std::fs::File::open("/proc/self/status").unwrap();
    // Inheritable, as a careless caller's would be.
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    let mut program = Doomed::start(doomed());
    program.say("spawn");
    let environment = program.say("environment 0");
    assert!(environment.split(' ').any(|name| name == "PATH"), "{environment}");
    assert!(!environment.contains("WATERTIGHT_TEST_SECRET"), "{environment}");
    let files = program.say("files 0");
    assert!(files.contains("socket"), "{files}");
    assert!(!files.contains("status"), "{files}");
}

#[test]
fn a_link_for_which_there_were_no_descriptors_is_made_when_there_are_some_again() {
    let mut program = Doomed::start(doomed());
    program.say("spawn");
    assert_eq!(program.say("starve"), "starved");
    assert_eq!(program.say("try 0"), "no reply by the deadline");
    assert_eq!(program.say("feed"), "fed");
    // What was tried had a deadline: it is not handled any more.
    assert_eq!(program.say("add 0"), "1");
}

#[test]
fn a_name_is_free_again_before_its_end_is_seen() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        for _ in 0..20 {
            let spec = Spec::<Specimen>::new(Setup::default()).name("only");
            let actor = sys.spawn_with(spec.restart(watertight::Restart::Temporary)).await?;
            actor.tell(Commit(Fault::KillSelf)).await?;
            events.wait_for(|event| matches!(event, Event::Ended { .. }).then_some(())).await?;
        }
        Ok(())
    });
}
