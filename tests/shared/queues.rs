//! Queues, whose producers and consumers are killed.

use watertight_actors::SharedError;
use watertight_actors::queue::{Queue, QueueError};

use super::user::{Deed, Said, begins, does, ends, gives_back, users};
use super::*;

#[test]
fn items_go_from_process_to_process_in_order() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 3).await?;
        let [producer, consumer] = users(&sys).await?;
        for item in 0..3 {
            assert_eq!(does(&producer, Deed::Put(queue.clone(), item)).await?, Said::Done);
        }
        assert!(matches!(queue.try_put(9).await, Err(QueueError::Full)));
        begins(&producer, Deed::Put(queue.clone(), 3)).await?;
        for item in 0..4 {
            assert_eq!(does(&consumer, Deed::Get(queue.clone())).await?, Said::Number(item));
        }
        assert_eq!(ends(&producer).await?, Said::Done);
        begins(&producer, Deed::Join(queue.clone())).await?;
        for _ in 0..4 {
            assert_eq!(does(&consumer, Deed::TaskDone(queue.clone())).await?, Said::Done);
        }
        assert_eq!(ends(&producer).await?, Said::Number(4));
        let once_more = does(&consumer, Deed::TaskDone(queue.clone())).await?;
        assert_eq!(once_more, Said::Failed(QueueError::NotTaken.to_string()));
        Ok(())
    });
}

#[test]
fn what_a_killed_process_had_got_is_lost_and_counted_and_join_goes_on() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 10).await?;
        let [consumer] = users(&sys).await?;
        for item in 0..3 {
            queue.put(item).await?;
        }
        does(&consumer, Deed::Get(queue.clone())).await?;
        does(&consumer, Deed::TaskDone(queue.clone())).await?;
        does(&consumer, Deed::Get(queue.clone())).await?;
        assert_eq!(queue.get().await?, 2);
        queue.task_done().await?;
        let mut joining = Box::pin(queue.join());
        assert!(is_pending(&mut joining).await);
        kill(&sys, &consumer).await?;
        let account = soon(joining).await?;
        assert_eq!((account.put, account.finished, account.lost), (3, 2, 1));
        Ok(())
    });
}

#[test]
fn what_a_killed_process_had_leased_goes_to_the_next_at_once_and_first() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 10).await?;
        let [first, second] = users(&sys).await?;
        queue.put(1).await?;
        does(&first, Deed::Lease(queue.clone())).await?;
        begins(&second, Deed::Lease(queue.clone())).await?;
        kill(&sys, &first).await?;
        assert_eq!(soon(ends(&second)).await?, Said::Number(1));
        queue.put(2).await?;
        gives_back(&second).await?;
        while queue.len().await? == 1 {}
        let item = queue.lease().await?;
        assert_eq!((*item, item.deaths()), (1, 1));
        item.done().await?;
        let account = queue.account().await?;
        assert_eq!((account.finished, account.lost, account.returned, account.waiting), (1, 0, 2, 1));
        Ok(())
    });
}

#[test]
fn a_killed_consumer_that_waits_is_handed_nothing() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 10).await?;
        let [first, second] = users(&sys).await?;
        begins(&first, Deed::Lease(queue.clone())).await?;
        begins(&second, Deed::Lease(queue.clone())).await?;
        kill(&sys, &first).await?;
        queue.put(1).await?;
        assert_eq!(soon(ends(&second)).await?, Said::Number(1));
        let account = queue.account().await?;
        assert_eq!((account.out, account.lost, account.waiting), (1, 0, 0));
        Ok(())
    });
}

#[test]
fn room_that_a_killed_producer_waited_for_goes_to_the_next() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 1).await?;
        let [first, second] = users(&sys).await?;
        queue.put(1).await?;
        begins(&first, Deed::Put(queue.clone(), 2)).await?;
        begins(&second, Deed::Put(queue.clone(), 3)).await?;
        kill(&sys, &first).await?;
        assert_eq!(queue.get().await?, 1);
        assert_eq!(soon(ends(&second)).await?, Said::Done);
        assert_eq!(queue.get().await?, 3);
        Ok(())
    });
}

#[test]
fn a_closed_queue_is_drained_and_then_says_so() {
    watertight::test(async |sys| {
        let queue = Queue::<u64>::start(&sys, 2).await?;
        let [producer] = users(&sys).await?;
        queue.put(1).await?;
        queue.put(2).await?;
        begins(&producer, Deed::Put(queue.clone(), 3)).await?;
        queue.close().await?;
        assert_eq!(ends(&producer).await?, Said::Failed(QueueError::Closed.to_string()));
        assert!(matches!(queue.put(4).await, Err(QueueError::Closed)));
        let item = queue.lease().await?;
        assert_eq!(queue.get().await?, 2);
        let mut getting = Box::pin(queue.get_within(PATIENCE));
        assert!(is_pending(&mut getting).await);
        assert_eq!(queue.try_get().await?, None, "the leased one may come back");
        drop(item);
        assert_eq!(getting.await?, 1);
        assert!(matches!(queue.get().await, Err(QueueError::Closed)));
        assert!(matches!(queue.try_get().await, Err(QueueError::Closed)));
        Ok(())
    });
}

#[test]
fn a_queue_of_other_items_is_found_out() {
    watertight::test(async |sys| {
        let spec = Queue::<u64>::spec(1).with(|spec| spec.name("numbers"));
        let queue = Queue::start_with(&sys, spec).await?;
        assert_eq!(Queue::<u64>::find(&sys, "numbers").await?, queue);
        let error = Queue::<String>::find(&sys, "numbers").await.unwrap_err();
        assert!(matches!(&error, SharedError::OtherType { holds, .. } if holds == "u64"), "{error}");
        let sent = watertight::Encoded::of(&queue)?;
        assert_eq!(sent.read::<Queue<u64>>()?, queue);
        assert!(sent.read::<Queue<String>>().is_err(), "a handle remembers its type when it travels");
        let error = Queue::<u64>::find(&sys, "texts").await.unwrap_err();
        assert!(matches!(error, SharedError::Find(_)), "{error}");
        Ok(())
    });
}
