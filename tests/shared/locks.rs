//! Locks and semaphores, held and waited for by processes that are killed.

use watertight_actors::SharedError;
use watertight_actors::lock::{Lock, Setup};
use watertight_actors::semaphore::Semaphore;

use super::user::{Deed, Said, begins, does, ends, gives_back, users};
use super::*;

#[test]
fn a_lock_excludes_across_processes_and_is_granted_in_turn() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let [first, second, third] = users(&sys).await?;
        let Said::Number(token) = does(&first, Deed::Acquire(lock.clone())).await? else { panic!() };
        begins(&second, Deed::Acquire(lock.clone())).await?;
        begins(&third, Deed::Acquire(lock.clone())).await?;
        assert_eq!(lock.waiting().await?, 2);
        assert!(lock.try_acquire().await?.is_none());
        gives_back(&first).await?;
        assert_eq!(ends(&second).await?, Said::Number(token + 1));
        assert_eq!(lock.waiting().await?, 1);
        gives_back(&second).await?;
        assert_eq!(ends(&third).await?, Said::Number(token + 2));
        Ok(())
    });
}

#[test]
fn a_lock_whose_holder_is_killed_goes_to_the_next_at_once() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let [holder, next] = users(&sys).await?;
        does(&holder, Deed::Acquire(lock.clone())).await?;
        begins(&next, Deed::Acquire(lock.clone())).await?;
        kill(&sys, &holder).await?;
        assert!(matches!(soon(ends(&next)).await?, Said::Number(_)));
        Ok(())
    });
}

#[test]
fn a_killed_waiter_is_handed_nothing() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let [waiter, next] = users(&sys).await?;
        let guard = lock.acquire().await?;
        begins(&waiter, Deed::Acquire(lock.clone())).await?;
        begins(&next, Deed::Acquire(lock.clone())).await?;
        kill(&sys, &waiter).await?;
        while lock.waiting().await? == 2 {}
        let token = guard.token();
        drop(guard);
        assert_eq!(soon(ends(&next)).await?, Said::Number(token + 1), "nobody had it in between");
        Ok(())
    });
}

#[test]
fn the_program_holds_a_lock_as_any_other_and_releases_it_by_its_word() {
    watertight::test(async |sys| {
        let lock = Lock::start_with(&sys, Lock::spec(Setup::default()).name("the lock")).await?;
        let guard = Lock::find(&sys, "the lock").await?.acquire().await?;
        assert!(guard.is_held().await? && lock.try_acquire().await?.is_none());
        assert!(guard.release().await?);
        assert!(lock.try_acquire().await?.is_some());
        Ok(())
    });
}

#[test]
fn a_lease_that_ends_frees_the_lock_and_a_renewed_one_does_not() {
    watertight::test(async |sys| {
        let lease = Duration::from_millis(300);
        let lock = Lock::start_with(&sys, Lock::spec(Setup { lease: Some(lease) })).await?;
        let began = Instant::now();
        let guard = lock.acquire().await?;
        let mut next = Box::pin(lock.acquire_within(PATIENCE));
        assert!(is_pending(&mut next).await);
        for _ in 0..50 {
            assert!(guard.renew().await?);
        }
        let renewed = Instant::now();
        let other = next.await?;
        assert!(renewed.elapsed() + Duration::from_millis(1) >= lease, "it was renewed");
        assert!(began.elapsed() < PATIENCE && other.token() > guard.token());
        assert!(!guard.is_held().await? && !guard.renew().await? && !guard.release().await?);
        assert!(other.is_held().await?);
        Ok(())
    });
}

#[test]
fn permits_of_a_killed_process_are_free_and_no_more_are_out_than_there_are() {
    watertight::test(async |sys| {
        let semaphore = Semaphore::start(&sys, 3).await?;
        let [one, two, many] = users(&sys).await?;
        does(&one, Deed::Permits(semaphore.clone(), 2)).await?;
        does(&two, Deed::Permits(semaphore.clone(), 1)).await?;
        assert_eq!(semaphore.free().await?, 0);
        begins(&many, Deed::Permits(semaphore.clone(), 3)).await?;
        gives_back(&two).await?;
        while semaphore.free().await? == 0 {}
        assert!(semaphore.try_acquire().await?.is_none(), "one who wants many is not overtaken");
        kill(&sys, &one).await?;
        assert_eq!(soon(ends(&many)).await?, Said::Done);
        assert_eq!(semaphore.free().await?, 0);
        kill(&sys, &many).await?;
        let permit = soon(semaphore.acquire_many_within(3, PATIENCE)).await?;
        assert!(permit.release().await?);
        assert!(matches!(semaphore.acquire_many(4).await, Err(SharedError::Ask(AskError::Failed(_)))));
        Ok(())
    });
}
