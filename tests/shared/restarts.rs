//! The things' own processes are killed: nobody hangs, and everybody is told.

use watertight::Executed;
use watertight_actors::SharedError;
use watertight_actors::barrier::{Barrier, BarrierError};
use watertight_actors::condition::{Condition, ConditionError};
use watertight_actors::event::Event as SharedEvent;
use watertight_actors::lock::Lock;
use watertight_actors::queue::{Queue, QueueError};
use watertight_actors::semaphore::Semaphore;

use super::user::{Deed, Said, begins, ends, users};
use super::*;

fn died<T>(result: &Result<T, SharedError>) -> bool {
    matches!(result, Err(SharedError::Died(error)) if error.executed() == Executed::Yes)
}

#[test]
fn a_killed_queue_tells_all_who_wait_and_begins_a_new_account() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 2).await?;
        let mut events = sys.events().await?;
        let [consumer, producer] = users(&sys).await?;
        queue.put(1).await?;
        let leased = queue.lease().await?;
        assert_eq!(leased.deaths(), 0);
        begins(&consumer, Deed::Get(queue.clone())).await?;
        let mut joining = Box::pin(queue.join());
        assert!(is_pending(&mut joining).await);
        queue.account().await?;
        kill(&sys, queue.address()).await?;
        assert!(died(&soon(joining).await));
        let Said::Failed(said) = soon(ends(&consumer)).await? else { panic!("nothing was put") };
        assert!(said.contains("died") && said.contains("gone"), "{said}");
        events.started(queue.address(), 2).await?;
        let account = queue.account().await?;
        assert_eq!((account.life, account.put, account.out), (2, 0, 0));
        assert!(matches!(leased.done().await, Err(QueueError::NotTaken)));
        // It is as good as new, and full again: who waits for room is told as well.
        queue.put(2).await?;
        queue.put(3).await?;
        begins(&producer, Deed::Put(queue.clone(), 4)).await?;
        kill(&sys, queue.address()).await?;
        assert!(matches!(soon(ends(&producer)).await?, Said::Failed(_)));
        events.started(queue.address(), 3).await?;
        assert!(queue.is_empty().await?);
        Ok(())
    });
}

#[test]
fn after_a_restart_of_a_lock_old_guards_are_void_and_new_tokens_are_higher() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let mut events = sys.events().await?;
        let old = lock.acquire().await?;
        let mut waiting = Box::pin(lock.acquire());
        assert!(is_pending(&mut waiting).await);
        lock.waiting().await?;
        kill(&sys, lock.address()).await?;
        assert!(died(&soon(waiting).await));
        events.started(lock.address(), 2).await?;
        assert!(!old.is_held().await?);
        let new = lock.acquire().await?;
        assert!(new.token() > old.token());
        assert!(!old.release().await?, "and it says so");
        assert!(new.is_held().await?, "what is old does not release what is new");
        Ok(())
    });
}

#[test]
fn who_waits_for_an_event_a_barrier_or_a_permit_is_told_of_its_death() {
    watertight::test(async |sys| {
        let event = SharedEvent::start(&sys).await?;
        let barrier = Barrier::start(&sys, 2).await?;
        let semaphore = Semaphore::start(&sys, 1).await?;
        let permit = semaphore.acquire().await?;
        assert!(!event.is_set().await? && barrier.state().await?.waiting == 0);
        let mut one = Box::pin(event.wait());
        let mut two = Box::pin(barrier.wait());
        let mut three = Box::pin(semaphore.acquire());
        assert!(is_pending(&mut one).await && is_pending(&mut two).await && is_pending(&mut three).await);
        event.is_set().await?;
        barrier.state().await?;
        semaphore.free().await?;
        kill(&sys, event.address()).await?;
        kill(&sys, barrier.address()).await?;
        kill(&sys, semaphore.address()).await?;
        assert!(died(&soon(one).await));
        assert!(matches!(soon(two).await, Err(BarrierError::Shared(SharedError::Died(_)))));
        assert!(died(&soon(three).await));
        assert!(!permit.release().await?);
        Ok(())
    });
}

#[test]
fn a_guard_of_a_condition_that_was_restarted_is_void() {
    watertight::test(async |sys| {
        let condition = Condition::start(&sys).await?;
        let mut events = sys.events().await?;
        let guard = condition.acquire().await?;
        let other = condition.clone();
        kill(&sys, condition.address()).await?;
        events.started(condition.address(), 2).await?;
        assert!(matches!(guard.notify(1).await, Err(ConditionError::NotHeld)));
        assert!(matches!(guard.wait().await, Err(ConditionError::NotHeld)));
        drop(soon(other.acquire()).await?);
        Ok(())
    });
}

#[test]
fn what_has_ended_for_good_says_so() {
    watertight::test(async |sys| {
        let lock = Lock::start(&sys).await?;
        let guard = lock.acquire().await?;
        let mut waiting = Box::pin(lock.acquire());
        assert!(is_pending(&mut waiting).await);
        sys.stop(lock.address()).await?;
        let error = soon(waiting).await.unwrap_err();
        assert!(!matches!(error, SharedError::Deadline), "{error:?}");
        assert!(matches!(lock.acquire().await, Err(SharedError::Ask(AskError::Unreachable(_)))));
        assert!(guard.release().await.is_err());
        Ok(())
    });
}
