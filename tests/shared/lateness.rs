//! What is granted to somebody who has gone: by an expired wait, a dropped future, a mailbox without room.

use watertight_actors::SharedError;
use watertight_actors::barrier::{Barrier, BarrierError};
use watertight_actors::lock::{Lock, Setup};
use watertight_actors::queue::{Queue, QueueError};

use super::user::{Begin, Deed, Said, begins, ends, users};
use super::*;

/// Finds the wait that is as long as what is waited for takes: there both ends win now and then.
struct Edge {
    wait: Duration,
}

impl Edge {
    fn new() -> Self {
        Edge { wait: Duration::from_micros(500) }
    }

    fn came(&mut self, in_time: bool) {
        self.wait = if in_time { self.wait * 19 / 20 } else { self.wait * 6 / 5 };
    }
}

#[test]
fn a_wait_that_is_over_leaves_no_ghost_in_the_line() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let guard = lock.acquire().await?;
        let late = lock.acquire_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(SharedError::Deadline)), "{late:?}");
        assert_eq!(lock.waiting().await?, 0);
        drop(guard);
        assert!(lock.try_acquire().await?.is_some());

        let queue = Queue::<u64>::start(&sys, 1).await?;
        let late = queue.get_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(QueueError::Shared(SharedError::Deadline))), "{late:?}");
        queue.put(1).await?;
        let late = queue.put_within(2, Duration::from_millis(20)).await;
        assert!(matches!(late, Err(QueueError::Shared(SharedError::Deadline))), "{late:?}");
        assert_eq!(queue.try_get().await?, Some(1));
        assert_eq!(queue.try_get().await?, None, "what was not put is not in");
        queue.try_put(3).await?;
        Ok(())
    });
}

#[test]
fn what_was_granted_to_a_dropped_future_is_given_back() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let guard = lock.acquire().await?;
        let mut waiting = Box::pin(lock.acquire());
        assert!(is_pending(&mut waiting).await);
        assert!(guard.release().await?);
        assert!(lock.try_acquire().await?.is_none(), "it is granted, and nobody has looked yet");
        drop(waiting);
        assert!(lock.try_acquire().await?.is_some());

        let queue = Queue::<u64>::start(&sys, 10).await?;
        assert!(queue.is_empty().await?);
        let mut getting = Box::pin(queue.get());
        assert!(is_pending(&mut getting).await);
        for item in [1, 2] {
            queue.put(item).await?;
        }
        assert_eq!(queue.account().await?.out, 1);
        drop(getting);
        assert_eq!((queue.get().await?, queue.get().await?), (1, 2), "in its old place");
        drop(queue.lease());
        queue.put(3).await?;
        drop(queue.lease().await?);
        assert_eq!(*queue.lease().await?, 3);
        Ok(())
    });
}

#[test]
fn reserved_room_of_a_dropped_put_is_given_back() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 1).await?;
        queue.put(1).await?;
        let mut putting = Box::pin(queue.put(2));
        assert!(is_pending(&mut putting).await);
        queue.account().await?;
        // It has been refused, and asks for room.
        assert!(is_pending(&mut putting).await);
        assert_eq!(queue.try_get().await?, Some(1));
        assert!(matches!(queue.try_put(3).await, Err(QueueError::Full)), "the room is the other's");
        drop(putting);
        queue.try_put(3).await?;
        assert_eq!((queue.try_get().await?, queue.try_get().await?), (Some(3), None));
        Ok(())
    });
}

#[test]
fn a_grant_at_the_very_moment_of_the_deadline_is_had_or_given_back() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let queue = Queue::<u64>::start(&sys, 10).await?;
        let (mut had, mut late) = (0, 0);
        let mut edge = Edge::new();
        for round in 0..300_u64 {
            let guard = lock.acquire().await?;
            let wait = edge.wait;
            let (acquired, got, ()) =
                tokio::join!(lock.acquire_within(wait), queue.get_within(wait), async {
                    let _ = tokio::join!(guard.release(), queue.put(round));
                });
            edge.came(acquired.is_ok());
            match acquired {
                Ok(_) => had += 1,
                Err(SharedError::Deadline) => late += 1,
                Err(error) => return Err(error.into()),
            }
            match got {
                Ok(item) => assert_eq!(item, round),
                Err(QueueError::Shared(SharedError::Deadline)) => assert_eq!(queue.get().await?, round),
                Err(error) => return Err(error.into()),
            }
        }
        println!("{had} had it in time, {late} were late");
        let account = queue.account().await?;
        assert_eq!((account.put, account.out, account.waiting), (300, 300, 0));
        assert!(lock.try_acquire().await?.is_some());
        Ok(())
    });
}

#[test]
fn a_user_that_was_stopped_past_its_deadline_does_not_keep_what_it_was_granted() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let queue = Queue::<u64>::start(&sys, 10).await?;
        let [one, two] = users(&sys).await?;
        let guard = lock.acquire().await?;
        let wait = Duration::from_millis(500);
        one.ask(Begin(Deed::Acquire(lock.clone()), wait)).await?;
        two.ask(Begin(Deed::Get(queue.clone()), wait)).await?;
        let pids = [sys.info(&one).await?.pid.unwrap(), sys.info(&two).await?.pid.unwrap()];
        pids.iter().for_each(|&pid| signal(pid, Signal::STOP));
        assert!(guard.release().await?);
        queue.put(7).await?;
        // They are granted while they cannot see it.
        assert!(lock.try_acquire().await?.is_none());
        assert_eq!(queue.account().await?.out, 1);
        let other = lock.acquire_within(wait + Duration::from_millis(100)).await;
        assert!(matches!(other, Err(SharedError::Deadline)), "{other:?}");
        pids.iter().for_each(|&pid| signal(pid, Signal::CONT));
        // The reply had come in time, or it was not seen in time: then it was given back.
        if ends(&one).await? != Said::Failed(SharedError::Deadline.to_string()) {
            assert!(lock.try_acquire().await?.is_none());
            kill(&sys, &one).await?;
        }
        drop(lock.acquire().await?);
        match ends(&two).await? {
            Said::Number(7) => assert_eq!(queue.try_get().await?, None),
            _ => assert_eq!(soon(queue.get()).await?, 7),
        }
        Ok(())
    });
}

#[test]
fn a_release_that_finds_no_room_is_said_later() {
    watertight::test(async |sys| {
        let spec = Lock::spec(Setup::default()).mailbox(1, 1 << 20).restart(Restart::Temporary);
        let lock = Lock::start_with(&sys, spec).await?;
        let guard = lock.acquire().await?;
        let pid = sys.info(lock.address()).await?.pid.unwrap();
        signal(pid, Signal::STOP);
        // Whatever fits the mailbox; then there is no room.
        let mut asked = Vec::new();
        for _ in 0..4 {
            let mut ask = Box::pin(lock.waiting());
            assert!(is_pending(&mut ask).await);
            asked.push(ask);
        }
        drop(guard);
        drop(asked);
        signal(pid, Signal::CONT);
        drop(soon(lock.acquire()).await?);
        Ok(())
    });
}

#[test]
fn a_barrier_counts_whoever_was_there_and_tells_it_so() {
    watertight::test(async |sys| {
        let barrier = Barrier::start(&sys, 2).await?;
        let (mut passed, mut broken) = (0, 0);
        let mut edge = Edge::new();
        for _ in 0..500 {
            let patient = barrier.wait_within(Duration::from_millis(50));
            let waited = tokio::join!(barrier.wait_within(edge.wait), patient);
            edge.came(waited.0.is_ok());
            match waited {
                (Ok(one), Ok(other)) => {
                    assert_eq!(one + other, 1);
                    passed += 1;
                }
                (Err(BarrierError::Shared(SharedError::Deadline)), Err(_)) => {
                    broken += 1;
                    barrier.reset().await?;
                }
                other => panic!("one has passed, and the other has not: {other:?}"),
            }
        }
        println!("passed {passed}, broke {broken}");
        Ok(())
    });
}

#[test]
fn a_place_in_the_line_is_kept_as_long_as_it_takes() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let guard = lock.acquire().await?;
        let mut patient = Box::pin(lock.acquire_within(watertight_actors::FOREVER));
        assert!(is_pending(&mut patient).await);
        let [next] = users(&sys).await?;
        begins(&next, Deed::Acquire(lock.clone())).await?;
        let token = guard.token();
        drop(guard);
        assert_eq!(patient.await?.token(), token + 1);
        assert_eq!(ends(&next).await?, Said::Number(token + 2));
        Ok(())
    });
}
