//! What a pool gives back when nothing goes wrong.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use watertight::pool::{PoolError, TaskError, as_completed, wait_any};
use watertight::prelude::*;

fn square(x: u64) -> u64 {
    x * x
}

#[test]
fn a_map_gives_results_in_the_order_of_the_items() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        assert_eq!(pool.map(square, 1..=5).await?, [1, 4, 9, 16, 25]);
        let many: Vec<u64> = pool.map(|x: u64| x + 1, 0..20_000).await?;
        assert!(many.into_iter().eq(1..=20_000));
        assert!(pool.map(square, []).await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_context_may_hold_a_large_blob_and_an_item_one_beside_it_also_after_a_death() {
    watertight::test(async |sys| {
        let pool = sys.pool(2).await?;
        let table = Blob::build(1 << 20, |bytes| bytes[1 << 19] = 9)?;
        let look = |table: &Blob, (at, own): (usize, Option<Blob>)| {
            if at == usize::MAX {
                std::process::abort();
            }
            table[at] + own.map_or(0, |own| own[0])
        };
        let own = Blob::build(1 << 20, |bytes| bytes[0] = 100)?;
        let items = [(1 << 19, None), (usize::MAX, None), (1 << 19, Some(own)), (0, None)];
        let looked = pool.map_with(&table, look, items).each().await;
        let looked: Vec<_> = looked.into_iter().map(std::result::Result::ok).collect();
        assert_eq!(looked, [Some(9), None, Some(109), Some(0)]);
        Ok(())
    });
}

#[test]
fn every_form_of_map_gives_every_item_once() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let mut unordered = pool.map_unordered(square, 0..5_000);
        let mut seen = vec![false; 5_000];
        while let Some((index, result)) = unordered.next().await {
            assert_eq!(result?, index * index);
            assert!(!std::mem::replace(&mut seen[index as usize], true), "{index} twice");
        }
        assert!(seen.into_iter().all(|seen| seen));
        let mut ordered = pool.map_ordered(square, 0..5_000);
        let mut next = 0;
        while let Some(result) = ordered.next().await {
            assert_eq!(result?, next * next);
            next += 1;
        }
        assert_eq!(next, 5_000);
        let each: Result<Vec<u64>, TaskError> = pool.map_each(square, 0..100).await.into_iter().collect();
        assert!(each?.into_iter().eq((0..100).map(square)));
        let words =
            pool.starmap(|word: String, times: usize| word.repeat(times), [("a".into(), 3), ("b".into(), 0)]);
        assert_eq!(words.await?, ["aaa", ""]);
        let context = vec![10, 20, 30];
        let picked = pool.map_with(&context, |list: &Vec<u32>, at: usize| list[at], [2, 0, 1]);
        assert_eq!(picked.await?, [30, 10, 20]);
        let picked = pool.map_with(&context, |list: &Vec<u32>, at: usize| list[at], [1, 7, 0]).each().await;
        assert!(matches!(picked[..], [Ok(20), Err(TaskError::Died { .. }), Ok(10)]), "{picked:?}");
        let mut sums = pool.starmap(|a: u32, b: u32| a + b, [(1, 2), (3, 4)]).ordered();
        assert_eq!((sums.next().await.unwrap()?, sums.next().await.unwrap()?), (3, 7));
        Ok(())
    });
}

#[test]
fn endless_iterators_are_taken_from_as_results_leave() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let taken = Rc::new(RefCell::new(0));
        let counter = Rc::clone(&taken);
        let endless = (0..).inspect(move |_| *counter.borrow_mut() += 1);
        let mut results = pool.map_unordered(square, endless).chunk(10);
        for _ in 0..1_000 {
            results.next().await.unwrap().1?;
        }
        assert!(*taken.borrow() <= 1_000 + 10 * 2 * 3, "{} were taken", taken.borrow());
        drop(results);
        pool.drain().await;
        // The pool is as good as new.
        assert_eq!(pool.map(square, [7]).await?, [49]);
        Ok(())
    });
}

#[test]
fn large_results_and_large_inputs_travel_too() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let sizes = [0, 1, 100_000, 300_000, 3, 2_000_000, 5];
        let made = pool.map(|size: usize| vec![7_u8; size], sizes).await?;
        assert!(made.iter().map(Vec::len).eq(sizes));
        let lengths = pool.map(|bytes: Vec<u8>| bytes.len(), made).await?;
        assert_eq!(lengths, sizes);
        let too_large = pool.map_each(|size: usize| vec![7_u8; size], [20 << 20, 1]).await;
        assert!(matches!(&too_large[0], Err(TaskError::Result(text)) if text.contains("encode")));
        assert_eq!(too_large[1].as_ref().unwrap(), &[7]);
        let too_large = pool.map_each(|bytes: Vec<u8>| bytes.len(), [vec![0; 20 << 20], vec![0]]).await;
        assert!(matches!(too_large[0], Err(TaskError::Input(_))));
        assert_eq!(*too_large[1].as_ref().unwrap(), 1);
        Ok(())
    });
}

#[test]
fn a_submitted_task_is_awaited_or_calls_back() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(1).await?;
        let nine = pool.submit(square, 3);
        let (tell, told) = tokio::sync::oneshot::channel();
        pool.submit(square, 4).then(move |result| tell.send(result).unwrap());
        assert_eq!(nine.await?, 9);
        assert_eq!(told.await??, 16);
        let slow = pool.submit(|ms: u64| std::thread::sleep(Duration::from_millis(ms)), 60_000);
        let slow = slow.within(Duration::from_millis(20)).await.unwrap_err();
        slow.cancel();
        assert!(matches!(slow.await, Err(TaskError::Cancelled)));
        Ok(())
    });
}

#[test]
fn a_task_says_whether_it_is_done_and_the_first_that_is_done_is_found() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let sleep = |ms: u64| {
            std::thread::sleep(Duration::from_millis(ms));
            ms
        };
        let mut race = vec![pool.submit(sleep, 60_000), pool.submit(sleep, 1)];
        assert_eq!(wait_any(&mut race).await, 1);
        assert!(race[1].is_done() && !race[0].is_done());
        assert_eq!((&mut race[1]).await?, 1);
        // Taken, it still counts as done; awaited again it says so, and does not wait for ever.
        assert!(race[1].is_done());
        let again = (&mut race[1]).await;
        assert!(matches!(&again, Err(TaskError::Result(text)) if text.contains("once")), "{again:?}");
        race[0].cancel();
        race[0].done().await;
        assert!(race[0].is_done());
        assert!(matches!(race.swap_remove(0).await, Err(TaskError::Cancelled)));
        pool.close();
        let refused = pool.submit(sleep, 1);
        assert!(refused.is_done());
        assert!(matches!(refused.await, Err(TaskError::Pool(PoolError::Closed))));
        Ok(())
    });
}

#[test]
fn tasks_come_as_they_are_completed_each_once() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let crash_on_zero = |x: u64| if x == 0 { std::process::abort() } else { x * x };
        let mut completed = as_completed((0..1_000).map(|x| pool.submit(crash_on_zero, x)));
        let mut seen = vec![false; 1_000];
        while let Some((number, result)) = completed.next().await {
            assert!(!std::mem::replace(&mut seen[number], true), "{number} twice");
            match number {
                0 => assert!(matches!(result, Err(TaskError::Died { .. })), "{result:?}"),
                _ => assert_eq!(result?, (number * number) as u64),
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
        // The quick one overtakes the slow one, which was there before it.
        let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
        let mut completed = as_completed([pool.submit(sleep, 60_000), pool.submit(sleep, 0)]);
        assert!(matches!(completed.next().await, Some((1, Ok(())))));
        pool.terminate().await;
        assert!(matches!(completed.next().await, Some((0, Err(TaskError::Pool(PoolError::Terminated))))));
        assert!(completed.next().await.is_none());
        assert!(as_completed::<u64>([]).next().await.is_none());
        Ok(())
    });
}

#[test]
fn an_initializer_runs_in_every_worker_and_its_error_is_told() {
    static BASE: AtomicU64 = AtomicU64::new(0);
    fn set(base: u64) -> Result<()> {
        BASE.store(base, Ordering::Relaxed);
        if base == 0 { Err(watertight::Error::new("no base")) } else { Ok(()) }
    }
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).initializer(set, &100).await?;
        let sums = pool.map(|x: u64| BASE.load(Ordering::Relaxed) + x, 0..4).chunk(1).await?;
        assert_eq!(sums, [100, 101, 102, 103]);
        let error = sys.pool(1).initializer(set, &0).await.unwrap_err();
        assert!(error.to_string().contains("no base"), "{error}");
        Ok(())
    });
}

#[test]
fn a_pool_is_resized_closed_drained_and_terminated() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(1).await?;
        pool.resize(3).await?;
        assert_eq!((pool.workers(), sys.list().await?.len()), (3, 3));
        let sum: u64 = pool.map(square, 0..1_000).await?.into_iter().sum();
        assert_eq!(sum, (0..1_000).map(square).sum::<u64>());
        pool.resize(1).await?;
        assert_eq!((pool.workers(), sys.list().await?.len()), (1, 1));
        assert!(matches!(pool.resize(0).await, Err(PoolError::Size(0))));
        let last = pool.submit(square, 5);
        pool.join().await;
        assert_eq!(last.await?, 25);
        assert!(sys.list().await?.is_empty());
        let refused = pool.map(square, [1]).await.unwrap_err();
        assert!(matches!(refused.error, TaskError::Pool(PoolError::Closed)), "{refused}");
        assert!(pool.map(square, []).await.is_err(), "a map of nothing, too");

        let pool = sys.pool(1).await?;
        let endless = pool.submit(
            |()| loop {
                std::hint::spin_loop()
            },
            (),
        );
        pool.terminate().await;
        let endless: Result<(), TaskError> = endless.await;
        assert!(matches!(endless, Err(TaskError::Pool(PoolError::Terminated))), "{endless:?}");
        assert!(sys.list().await?.is_empty());
        assert!(matches!(sys.pool(0).await, Err(PoolError::Size(0))));
        Ok(())
    });
}

#[test]
fn no_item_waits_behind_one_that_takes_long_while_another_worker_has_nothing_to_do() {
    /// The first takes until the third is done, which nothing tells apart from the quick ones.
    fn act((mark, item): (String, u8)) -> u8 {
        while item == 0 && !std::path::Path::new(&mark).exists() {
            std::thread::yield_now();
        }
        if item == 2 {
            std::fs::write(mark, "x").unwrap();
        }
        item
    }
    watertight::test(async |sys: System| {
        for chunk in [1, 4] {
            // One that does not know yet how long such tasks take: those known to be tiny are begun by the dozen.
            let pool = sys.pool(2).await?;
            let directory = tempfile::tempdir()?;
            let mark = directory.path().join("mark").to_string_lossy().into_owned();
            let items = (0..16).map(|item| (mark.clone(), item));
            assert!(pool.map(act, items).chunk(chunk).await?.into_iter().eq(0..16));
        }
        Ok(())
    });
}

#[test]
fn every_item_of_a_pool_that_takes_no_more_has_an_error_of_its_own() {
    watertight::test(async |sys: System| {
        let closed = |error: &TaskError| matches!(error, TaskError::Pool(PoolError::Closed));
        let pool = sys.pool(1).await?;
        pool.join().await;
        let outcomes = pool.map_each(square, 0..1_000).await;
        assert_eq!(outcomes.len(), 1_000);
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(closed)));
        assert!(pool.map_each(square, []).await.is_empty());
        // Of an endless one as many as are asked for.
        let (mut results, mut ordered) = (pool.map_unordered(square, 0..), pool.map_ordered(square, 0..));
        for item in 0..100 {
            assert!(
                matches!(results.next().await, Some((index, Err(error))) if index == item && closed(&error))
            );
            assert!(matches!(ordered.next().await, Some(Err(error)) if closed(&error)));
        }

        // Closed in the middle, with items that have not been taken.
        let pool = sys.pool(1).await?;
        let mut progress = pool.map_unordered(square, 0..100_000_u64).chunk(10);
        assert!(progress.next().await.is_some());
        pool.terminate().await;
        let (mut indices, mut failed) = (std::collections::HashSet::new(), 0);
        while let Some((index, outcome)) = progress.next().await {
            assert!(indices.insert(index), "{index} twice");
            match outcome {
                Ok(result) => assert_eq!(result, index * index),
                Err(TaskError::Pool(PoolError::Terminated)) => failed += 1,
                Err(error) => return Err(error.into()),
            }
        }
        assert_eq!(indices.len(), 99_999, "{failed} failed");
        assert!(failed > 90_000, "{failed} failed");
        Ok(())
    });
}

#[test]
fn workers_are_replaced_after_so_many_tasks() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).recycle_after(10).await?;
        let pids = pool.map(|_: u32| std::process::id(), 0..100).await?;
        let mut times = std::collections::HashMap::new();
        for pid in pids {
            *times.entry(pid).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times <= 10), "{times:?}");
        assert!(times.len() >= 10);
        Ok(())
    });
}

#[test]
fn workers_are_replaced_above_so_much_memory() {
    /// Bytes that a task keeps: touched, so that they are in memory.
    const KEPT: usize = 32 << 20;
    fn keep(_: u32) -> u32 {
        std::mem::forget(std::hint::black_box(vec![7_u8; KEPT]));
        std::process::id()
    }
    watertight::test(async |sys: System| {
        let roomy = sys.pool(1).await?;
        let pids = roomy.map(keep, 0..8).chunk(1).await?;
        assert!(pids.iter().all(|pid| *pid == pids[0]), "nobody said how much is too much: {pids:?}");
        // With what a process has of its own, three tasks are above it.
        let pool = sys.pool(1).recycle_above(3 * KEPT as u64).await?;
        let pids = pool.map(keep, 0..12).chunk(1).await?;
        let mut times = std::collections::HashMap::new();
        for pid in pids {
            *times.entry(pid).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times <= 3), "{times:?}");
        Ok(())
    });
}

#[test]
fn progress_is_told_to_the_end() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let last = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&last);
        let map =
            pool.map(square, 0..1_000).on_progress(move |progress| *heard.lock().unwrap() = Some(progress));
        assert_eq!(map.total(), Some(1_000));
        map.await?;
        let last = last.lock().unwrap().unwrap();
        assert_eq!((last.done, last.failed, last.total), (1_000, 0, Some(1_000)));
        let stats = pool.stats();
        assert_eq!(stats.iter().map(|worker| worker.tasks).sum::<u64>(), 1_000);
        Ok(())
    });
}

/// An actor that has a pool of its own.
struct Squarer {
    pool: watertight::Pool,
}

#[message(reply = Vec<u64>)]
struct Squares(u64);

impl Actor for Squarer {
    type Args = usize;
    type Messages = (Squares,);

    async fn start(workers: usize, cx: &mut Context<Self>) -> Result<Self> {
        Ok(Squarer { pool: cx.pool(workers).await? })
    }
}

impl Handler<Squares> for Squarer {
    async fn handle(&mut self, Squares(most): Squares, _: &mut Context<Self>) -> Result<Vec<u64>> {
        Ok(self.pool.map(square, 1..=most).await?)
    }
}

#[test]
fn an_actor_may_have_a_pool_which_ends_with_it() {
    watertight::test(async |sys: System| {
        let beside = sys.pool(1).await?;
        let squarer = sys.spawn::<Squarer>(2).await?;
        assert_eq!(squarer.ask(Squares(3)).await?, [1, 4, 9]);
        assert_eq!(sys.list().await?.len(), 4);
        beside.join().await;
        sys.kill(&squarer).await?;
        assert_eq!(squarer.ask(Squares(2)).await?, [1, 4]);
        sys.stop(&squarer).await?;
        assert!(sys.list().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_map_may_run_in_a_task_of_its_own() {
    watertight::test(async |sys: System| {
        let pool = sys.pool(2).await?;
        let beside = pool.clone();
        let task = tokio::spawn(async move { beside.map(square, 0..100).await });
        assert_eq!(pool.map(square, [5]).await?, [25]);
        assert_eq!(task.await??.len(), 100);
        Ok(())
    });
}
