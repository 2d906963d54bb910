//! Events, barriers and conditions: who waits, who dies meanwhile.

use watertight_actors::SharedError;
use watertight_actors::barrier::{Barrier, BarrierError, State};
use watertight_actors::condition::{Condition, ConditionError};
use watertight_actors::event::Event;

use super::user::{Deed, Said, begins, does, ends, gives_back, users};
use super::*;

#[test]
fn an_event_lets_all_go_on_until_it_is_cleared() {
    watertight::test(async |sys| {
        let event = Event::start(&sys).await?;
        let [one, two, three] = users(&sys).await?;
        begins(&one, Deed::Wait(event.clone())).await?;
        begins(&two, Deed::Wait(event.clone())).await?;
        kill(&sys, &two).await?;
        does(&three, Deed::Set(event.clone())).await?;
        assert_eq!(ends(&one).await?, Said::Done);
        assert_eq!(does(&one, Deed::Wait(event.clone())).await?, Said::Done);
        assert!(event.is_set().await?);
        event.clear().await?;
        let late = event.wait_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(SharedError::Deadline)));
        Ok(())
    });
}

#[test]
fn a_barrier_lets_all_parties_go_on_together_and_again() {
    watertight::test(async |sys| {
        let barrier = Barrier::start(&sys, 3).await?;
        let [one, two] = users(&sys).await?;
        for _ in 0..2 {
            begins(&one, Deed::Meet(barrier.clone())).await?;
            begins(&two, Deed::Meet(barrier.clone())).await?;
            assert_eq!(barrier.state().await?, State { parties: 3, waiting: 2, is_broken: false });
            assert_eq!(barrier.wait().await?, 2);
            assert_eq!((ends(&one).await?, ends(&two).await?), (Said::Number(0), Said::Number(1)));
        }
        Ok(())
    });
}

#[test]
fn a_party_that_is_killed_while_it_waits_breaks_the_barrier_for_the_others() {
    watertight::test(async |sys| {
        let barrier = Barrier::start(&sys, 3).await?;
        let [one, two, three] = users(&sys).await?;
        begins(&one, Deed::Meet(barrier.clone())).await?;
        begins(&two, Deed::Meet(barrier.clone())).await?;
        kill(&sys, &one).await?;
        assert_eq!(soon(ends(&two)).await?, Said::Failed(BarrierError::Broken.to_string()));
        assert!(matches!(barrier.wait().await, Err(BarrierError::Broken)));
        barrier.reset().await?;
        begins(&two, Deed::Meet(barrier.clone())).await?;
        begins(&three, Deed::Meet(barrier.clone())).await?;
        assert_eq!(barrier.wait().await?, 2);
        assert_eq!(ends(&three).await?, Said::Number(1));
        Ok(())
    });
}

#[test]
fn a_party_whose_wait_is_over_breaks_the_barrier_too() {
    watertight::test(async |sys| {
        let barrier = Barrier::start(&sys, 3).await?;
        let [other] = users(&sys).await?;
        begins(&other, Deed::Meet(barrier.clone())).await?;
        let late = barrier.wait_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(BarrierError::Shared(SharedError::Deadline))), "{late:?}");
        assert_eq!(soon(ends(&other)).await?, Said::Failed(BarrierError::Broken.to_string()));
        assert!(barrier.state().await?.is_broken);
        Ok(())
    });
}

#[test]
fn a_condition_wakes_those_who_wait_one_after_another() {
    watertight::test(async |sys| {
        let condition = Condition::start(&sys).await?;
        let [one, two, third] = users(&sys).await?;
        begins(&one, Deed::Sleep(condition.clone())).await?;
        begins(&two, Deed::Sleep(condition.clone())).await?;
        assert_eq!(condition.waiting().await?, 2);
        assert_eq!(does(&third, Deed::Notify(condition.clone(), 1)).await?, Said::Number(1));
        assert_eq!(ends(&one).await?, Said::Done);
        // It has the lock now, and nobody else.
        let late = condition.acquire_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(SharedError::Deadline)), "{late:?}");
        kill(&sys, &one).await?;
        let guard = soon(condition.acquire()).await?;
        assert_eq!(guard.notify_all().await?, 1);
        assert!(guard.release().await?);
        assert_eq!(ends(&two).await?, Said::Done);
        gives_back(&two).await?;
        let guard = condition.acquire().await?;
        let late = guard.wait_within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(ConditionError::Shared(SharedError::Deadline))), "{late:?}");
        drop(condition.acquire().await?);
        assert_eq!(condition.waiting().await?, 0);
        Ok(())
    });
}

#[test]
fn a_notification_of_one_that_is_killed_or_gives_up_before_it_has_the_lock_goes_to_the_next() {
    watertight::test(async |sys| {
        let condition = Condition::start(&sys).await?;
        let [one, three] = users(&sys).await?;
        begins(&one, Deed::Sleep(condition.clone())).await?;
        let guard = condition.acquire().await?;
        let mut two = Box::pin(guard.wait_within(PATIENCE));
        assert!(is_pending(&mut two).await);
        begins(&three, Deed::Sleep(condition.clone())).await?;
        let guard = condition.acquire().await?;
        assert_eq!(guard.notify(1).await?, 1);
        assert_eq!(condition.waiting().await?, 2);
        // The first is told, and waits for the lock when it dies: then it is the second's.
        kill(&sys, &one).await?;
        while condition.waiting().await? == 2 {}
        // That one gives up.
        drop(two);
        assert_eq!(condition.waiting().await?, 0);
        drop(guard);
        assert_eq!(soon(ends(&three)).await?, Said::Done);
        Ok(())
    });
}
