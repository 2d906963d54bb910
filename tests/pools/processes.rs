//! One function, one process.

use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{Exit, Output, ProcessError, wait_any};
use watertight_tests::Fault;
use watertight_tests::specimen::commit;

fn sum(numbers: Vec<u64>) -> (u64, u32) {
    (numbers.iter().sum(), std::process::id())
}

fn fail(fault: u8) {
    match fault {
        0 => commit(Fault::Panic),
        1 => commit(Fault::Segfault),
        2 => commit(Fault::Exit(7)),
        _ => loop {
            std::thread::park();
        },
    }
}

#[test]
fn a_function_runs_in_a_process_of_its_own_and_its_result_comes_back() {
    watertight::test(async |sys: System| {
        let process = sys.process(sum, vec![1, 2, 3]).name("adder").await?;
        let (total, pid) = process.join().await?;
        assert_eq!((total, pid), (6, process.pid()));
        assert_ne!(pid, std::process::id());
        assert_eq!((process.name(), process.is_alive()), ("adder", false));
        assert!(matches!(process.exit(), Some(Exit::Finished)));
        assert_eq!(process.join().await?.0, 6);
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_process_that_dies_says_how() {
    watertight::test(async |sys: System| {
        let panicked = sys.process(fail, 0).output(Output::Silent).await?;
        let Err(ProcessError::Died { report }) = panicked.join().await else {
            return Err(watertight::Error::new("lives"));
        };
        assert_eq!(report.panic.as_ref().unwrap().message, "told to panic");
        assert_eq!(panicked.report().unwrap().pid, panicked.pid());
        let crashed = sys.process(fail, 1).output(Output::Silent).await?;
        assert!(matches!(crashed.join().await, Err(ProcessError::Died { .. })));
        assert!(format!("{:?}", crashed.exit()).contains("11"), "{:?}", crashed.exit());
        let left = sys.process(fail, 2).output(Output::Silent).await?;
        assert!(matches!(left.join().await, Err(ProcessError::Died { .. })));
        assert!(format!("{:?}", left.exit()).contains('7'), "{:?}", left.exit());
        Ok(())
    });
}

#[test]
fn a_process_that_never_ends_is_killed_or_terminated() {
    watertight::test(async |sys: System| {
        let endless = sys.process(fail, 9).await?;
        assert!(endless.join_within(Duration::from_millis(20)).await.is_none());
        assert!(endless.is_alive());
        endless.kill().await;
        assert!(matches!(endless.join().await, Err(ProcessError::Died { .. })));
        let endless = sys.process(fail, 9).await?;
        endless.terminate().await;
        assert!(!endless.is_alive());
        assert!(matches!(endless.join().await, Err(ProcessError::Died { .. } | ProcessError::Ended(_))));
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn the_first_of_several_to_end_is_found() {
    watertight::test(async |sys: System| {
        let began = Instant::now();
        let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
        let mut processes = Vec::new();
        for ms in [600_000, 30, 600_000] {
            processes.push(sys.process(sleep, ms).await?);
        }
        assert_eq!(wait_any(&processes).await, 1);
        assert!(began.elapsed() < Duration::from_secs(60));
        processes[0].terminate().await;
        processes[2].terminate().await;
        Ok(())
    });
}
