//! Tasks that do what no task should: each costs itself, and nothing else.

use std::collections::HashSet;
use std::time::Duration;

use watertight::pool::{PoolError, TaskError};
use watertight::prelude::*;
use watertight::{Exit, Output};
use watertight_tests::Fault;
use watertight_tests::specimen::commit;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Deed {
    Good(u64),
    Panic,
    Abort,
    Exit,
    ExitWell,
    Segfault,
    StackOverflow,
    KillSelf,
    AllocateForEver,
}

#[allow(clippy::panic)]
fn act(deed: Deed) -> u64 {
    match deed {
        Deed::Good(x) => return x + 1,
        Deed::Panic => panic!("as it was told"),
        Deed::Abort => std::process::abort(),
        Deed::Exit => std::process::exit(3),
        Deed::ExitWell => std::process::exit(0),
        Deed::StackOverflow => commit(Fault::StackOverflow),
        Deed::Segfault => commit(Fault::Segfault),
        Deed::KillSelf => commit(Fault::KillSelf),
        Deed::AllocateForEver => commit(Fault::OutOfMemory),
    }
    0
}

#[test]
fn a_task_that_kills_its_worker_fails_alone() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).memory(256 << 20).output(Output::Silent).await?;
        let bad = [
            Deed::Panic,
            Deed::Abort,
            Deed::Exit,
            Deed::ExitWell,
            Deed::Segfault,
            Deed::StackOverflow,
            Deed::KillSelf,
            Deed::AllocateForEver,
        ];
        let deeds: Vec<Deed> =
            (0..800).map(|n| if n % 100 == 50 { bad[n / 100] } else { Deed::Good(n as u64) }).collect();
        let outcomes = pool.map_each(act, deeds.clone()).await;
        assert_eq!(outcomes.len(), deeds.len());
        for (deed, outcome) in deeds.iter().zip(&outcomes) {
            match (deed, outcome) {
                (Deed::Good(x), Ok(y)) => assert_eq!(x + 1, *y),
                (Deed::Good(_), Err(error)) => {
                    return Err(watertight::Error::new(format!("{deed:?}: {error}")));
                }
                (_, Err(TaskError::Died { report, attempts: 1 })) => {
                    let exit = format!("{:?}", report.exit);
                    assert!(!matches!(report.exit, Exit::Finished), "{deed:?}: {exit}");
                    if let Deed::Panic = deed {
                        assert_eq!(report.panic.as_ref().unwrap().message, "as it was told");
                    }
                }
                other => return Err(watertight::Error::new(format!("{other:?}"))),
            }
        }
        assert_eq!(pool.stats().iter().map(|worker| worker.deaths).sum::<u64>(), 8);
        Ok(())
    });
}

/// What cannot be sent back.
#[derive(Debug, serde::Deserialize)]
struct Unsendable;

impl serde::Serialize for Unsendable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not for others"))
    }
}

#[test]
fn a_result_that_does_not_encode_is_an_error_of_its_task() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(1).await?;
        let outcomes =
            pool.map_each(|good: bool| if good { None } else { Some(Unsendable) }, [true, false, true]).await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
        assert!(matches!(&outcomes[1], Err(TaskError::Result(text)) if text.contains("does not encode")));
        assert_eq!(pool.stats()[0].deaths, 0);
        Ok(())
    });
}

#[test]
fn a_result_that_is_too_large_or_dies_when_it_is_encoded_fails_alone() {
    /// Panics, when it is sent back.
    #[derive(Debug, serde::Deserialize)]
    struct Panics;
    impl serde::Serialize for Panics {
        #[allow(clippy::panic)]
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("in the middle of its encoding")
        }
    }
    watertight::test(async |sys: System| {
        let pool = sys.pool(1).output(Output::Silent).await?;
        let outcomes =
            pool.map_each(|good: bool| if good { None } else { Some(Panics) }, [true, false, true]).await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        let report = outcomes[1].as_ref().unwrap_err().report().unwrap();
        assert_eq!(report.panic.as_ref().unwrap().message, "in the middle of its encoding");
        let outcomes = pool.map_each(|length: usize| vec![7_u8; length], [1, 16 << 20, 2]).await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{:?}", outcomes[1].as_ref().err());
        assert!(matches!(&outcomes[1], Err(TaskError::Result(_))), "{:?}", outcomes[1].as_ref().err());
        Ok(())
    });
}

#[test]
fn the_first_failure_of_a_map_ends_it_and_names_its_item() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).output(Output::Silent).await?;
        let deeds = (0..1_000).map(|n| if n == 70 { Deed::Abort } else { Deed::Good(n) });
        let error = pool.map(act, deeds).chunk(10).await.unwrap_err();
        assert_eq!(error.index, 70);
        assert!(error.to_string().contains("item 70: the task killed its worker"), "{error}");
        assert_eq!(pool.map(act, [Deed::Good(1)]).await?, [2]);
        Ok(())
    });
}

#[test]
fn a_task_that_closes_its_descriptors_or_prints_megabytes_harms_nobody() {
    fn misbehave(how: u8) -> u8 {
        match how {
            0 => commit(Fault::CloseDescriptors),
            1 => (0..50_000).for_each(|line| println!("{line:100}")),
            _ => {}
        }
        how
    }
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).output(Output::Silent).await?;
        let outcomes = pool.map_each(misbehave, [2, 0, 2, 1, 2, 2]).chunk(1).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            match (index, outcome) {
                // Its worker cannot answer any more; whether it had its result first is a race.
                (1, Err(TaskError::Died { .. }) | Ok(0)) => {}
                (_, Ok(_)) if index != 1 => {}
                other => return Err(watertight::Error::new(format!("{other:?}"))),
            }
        }
        assert_eq!(pool.map(misbehave, [2; 100]).await?, [2; 100]);
        Ok(())
    });
}

/// Longer than anything here takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn processes_that_a_task_leaves_behind_end_with_its_worker() {
    fn leave(_: ()) -> u32 {
        std::process::Command::new("sleep").arg("600").spawn().unwrap().id()
    }
    watertight::test(async |sys: System| {
        let pool = sys.pool(1).await?;
        let left = pool.map(leave, [(); 3]).await?;
        let lives = |pid: &u32| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        assert!(left.iter().all(lives));
        assert_eq!(pool.map(|x: u32| x + 1, [1; 100]).await?, [2; 100]);
        pool.join().await;
        let gone = async {
            while left.iter().any(lives) {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, gone).await;
        assert!(in_time.is_ok(), "what a task left behind is still alive");
        Ok(())
    });
}

fn work(ms: u64) -> u64 {
    let until = std::time::Instant::now() + Duration::from_millis(ms);
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
    ms
}

#[test]
fn a_task_that_never_ends_is_ended_by_its_deadline_and_no_other_is() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).deadline(Duration::from_millis(500)).await?;
        let items: Vec<u64> = (0..100).map(|n| if n == 30 { 1 << 40 } else { 2 }).collect();
        let outcomes = pool.map_each(work, items).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            match (index, outcome) {
                (30, Err(TaskError::Deadline { report: Some(_), .. })) | (_, Ok(2)) => {}
                other => return Err(watertight::Error::new(format!("{other:?}"))),
            }
        }
        Ok(())
    });
}

#[test]
fn a_task_that_never_returns_is_ended_in_whatever_way_it_does_not() {
    fn act(nth: usize) -> usize {
        const WAYS: [Fault; 5] =
            [Fault::Loop, Fault::Deadlock, Fault::StopSelf, Fault::BlockedRead, Fault::Sleep];
        if let Some(way) = WAYS.get(nth) {
            commit(*way);
        }
        nth
    }
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).deadline(Duration::from_millis(500)).output(Output::Silent).await?;
        let outcomes = pool.map_each(act, 0..20).chunk(1).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Err(TaskError::Deadline { report: Some(_), .. }) if index < 5 => {}
                Ok(result) if index >= 5 && *result == index => {}
                other => return Err(watertight::Error::new(format!("{index}: {other:?}"))),
            }
        }
        Ok(())
    });
}

#[test]
fn tasks_that_may_run_twice_are_tried_again() {
    fn dies_once(path: String) -> bool {
        if std::fs::write(&path, "x").is_ok() && std::fs::hard_link(&path, format!("{path}.second")).is_ok() {
            std::process::abort();
        }
        true
    }
    watertight::test(async |sys: System| {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("mark").to_string_lossy().into_owned();
        let pool = sys.pool(1).retries(1).output(Output::Silent).await?;
        assert_eq!(pool.map(dies_once, [path]).await?, [true]);
        let error = pool.map(|()| -> u8 { std::process::abort() }, [()]).await.unwrap_err();
        assert!(matches!(error.error, TaskError::Died { attempts: 2, .. }), "{error}");
        Ok(())
    });
}

#[test]
fn workers_that_do_not_start_again_are_given_up_and_nobody_waits_for_them() {
    /// Fails from its second call on.
    fn once(path: String) -> Result<()> {
        std::fs::File::create_new(path)?;
        Ok(())
    }
    watertight::test(async |sys: System| {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("mark").to_string_lossy().into_owned();
        let pool = sys.pool(1).initializer(once, &path).output(Output::Silent).await?;
        let died = pool.submit(|()| -> u8 { std::process::abort() }, ()).await;
        assert!(matches!(died, Err(TaskError::Died { .. })), "{died:?}");
        let waits = pool.submit(|x: u8| x, 1).await;
        assert!(
            matches!(waits, Err(TaskError::Pool(PoolError::NoWorkers(_)) | TaskError::Refused(_))),
            "{waits:?}"
        );
        let refused = pool.submit(|x: u8| x, 2).await;
        assert!(matches!(refused, Err(TaskError::Pool(PoolError::NoWorkers(_)))), "{refused:?}");
        Ok(())
    });
}

#[test]
fn under_random_kills_every_item_has_one_outcome_and_only_those_in_hand_fail() {
    watertight::test(async |sys: System| {
        // In full: 100 kills in 100,000 items.
        let most: u64 = std::env::var("WATERTIGHT_KILLS").map_or(Ok(20), |kills| kills.parse())?;
        let items = most * 1_000;
        let pool = sys.pool(4).output(Output::Silent).await?;
        let mut results = pool.map_unordered(|x: u64| x * x, 0..items).chunk(50);
        let killers = sys.list().await?;
        let (mut seen, mut failed, mut kills) = (HashSet::new(), 0, 0);
        while let Some((index, result)) = results.next().await {
            assert!(seen.insert(index), "{index} twice");
            match result {
                Ok(square) => assert_eq!(square, index * index),
                Err(TaskError::Died { .. }) => failed += 1,
                Err(error) => return Err(error.into()),
            }
            if index % 1_000 == 0 && kills < most {
                kills += 1;
                let victim = &killers[index as usize / 1_000 % killers.len()];
                let pid = sys.info_of(victim.actor).await?.pid;
                if let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        assert_eq!(seen.len() as u64, items);
        assert_eq!(kills, most);
        let restarts: u64 = sys.list().await?.iter().map(|worker| worker.restarts).sum();
        assert!(restarts >= most / 2, "{restarts} restarts");
        assert!(failed <= kills, "{failed} failed of {kills} kills");
        Ok(())
    });
}

#[test]
fn a_pool_that_is_dropped_while_a_worker_is_replaced_leaves_no_dead_letters() {
    /// The first waits for the third, which is behind it until the other worker has nothing else to do; then it dies.
    /// The others take long enough for one to be worth taking over.
    fn act((path, item): (String, u8)) -> u8 {
        match item {
            0 => {
                while !std::path::Path::new(&path).exists() {
                    std::thread::yield_now();
                }
                std::process::abort()
            }
            2 => drop(std::fs::write(path, "x")),
            _ => {
                work(2);
            }
        }
        item
    }
    watertight::test(async |sys: System| {
        for round in 0..10 {
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("mark").to_string_lossy().into_owned();
            let pool = sys.pool(2).output(Output::Silent).await?;
            let outcomes = pool.map_each(act, (0..4).map(|item| (path.clone(), item))).chunk(1).await;
            drop(pool);
            let failed: Vec<usize> = (0..4).filter(|&item| outcomes[item].is_err()).collect();
            assert_eq!(failed, [0], "{round}: {outcomes:?}");
        }
        let gone = async {
            while !sys.list().await?.is_empty() {
                tokio::task::yield_now().await;
            }
            Ok::<_, watertight::Error>(())
        };
        tokio::time::timeout(PATIENCE, gone).await??;
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!(ledger.dead_lettered, 0, "{ledger:?}");
        Ok(())
    });
}
