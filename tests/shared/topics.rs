//! Topics: dead subscribers and slow ones.

use watertight_actors::SharedError;
use watertight_actors::pubsub::{Published, TopicInfo, Topics};

use super::*;

/// Writes down what it is told, once it is let.
struct Reader {
    read: Vec<u64>,
}

#[message]
#[derive(Clone)]
struct News(u64);

#[message(reply = Vec<u64>)]
struct Read;

impl Actor for Reader {
    type Args = Option<Topics<News>>;
    type Messages = (News, Read);

    async fn start(topics: Option<Topics<News>>, cx: &mut Context<Self>) -> Result<Self> {
        if let Some(topics) = topics {
            topics.subscribe("news", &cx.address().recipient()).await?;
        }
        Ok(Reader { read: Vec::new() })
    }
}

impl Handler<News> for Reader {
    async fn handle(&mut self, News(number): News, _: &mut Context<Self>) -> Result<()> {
        self.read.push(number);
        Ok(())
    }
}

impl Handler<Read> for Reader {
    async fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Result<Vec<u64>> {
        Ok(self.read.clone())
    }
}

/// Another message of the same shape.
#[message]
#[derive(Clone)]
struct Weather(u64);

async fn publish(topics: &Topics<News>, number: u64) -> Result<u64> {
    Ok(topics.publish("news", News(number)).await?.told)
}

#[test]
fn subscribers_are_told_in_order_and_a_dead_one_is_dropped_until_it_subscribes_again() {
    watertight::test(async |sys| {
        let topics = Topics::<News>::start_with(&sys, Topics::spec().name("topics")).await?;
        let mut events = sys.events().await?;
        let spec = Spec::<Reader>::new(Some(topics.clone())).backoff(Backoff::NONE);
        let again = sys.spawn_with(spec).await?;
        let dead = sys.spawn_with(Spec::<Reader>::new(None).restart(Restart::Temporary)).await?;
        topics.subscribe("news", &dead.recipient()).await?;
        topics.subscribe("news", &dead.recipient()).await?;
        assert_eq!(publish(&topics, 1).await?, 2);
        assert_eq!(publish(&topics, 2).await?, 2);
        assert_eq!(topics.publish("sport", News(0)).await?, Published::default());
        sys.settled().await;
        while dead.ask(Read).await?.len() < 2 || again.ask(Read).await?.len() < 2 {}
        assert_eq!(again.ask(Read).await?, [1, 2]);
        kill(&sys, &dead).await?;
        while topics.info("news").await?.subscribers == 2 {}
        kill(&sys, &again).await?;
        events.started(&again, 2).await?;
        while topics.info("news").await?.subscribers != 1 {}
        assert_eq!(publish(&topics, 3).await?, 1);
        while again.ask(Read).await?.is_empty() {}
        assert_eq!(again.ask(Read).await?, [3]);
        assert!(topics.unsubscribe("news", &again.recipient()).await?);
        assert!(!topics.unsubscribe("news", &again.recipient()).await?);
        assert_eq!(topics.info("news").await?, TopicInfo::default());
        let other = Topics::<Weather>::find(&sys, "topics").await;
        assert!(matches!(other, Err(SharedError::Find(_))), "{other:?}");
        Ok(())
    });
}

#[test]
fn what_a_slow_subscriber_has_no_room_for_is_dropped_for_it_alone_and_counted() {
    watertight::test(async |sys| {
        let topics = Topics::<News>::start(&sys).await?;
        let quick = sys.spawn::<Reader>(Some(topics.clone())).await?;
        let spec = Spec::<Reader>::new(Some(topics.clone())).mailbox(4, 1 << 20);
        let slow = sys.spawn_with(spec).await?;
        assert_eq!(publish(&topics, 0).await?, 2);
        while slow.ask(Read).await?.is_empty() {}
        let pid = sys.info(&slow).await?.pid.unwrap();
        signal(pid, Signal::STOP);
        for number in 1..=10 {
            publish(&topics, number).await?;
        }
        let info = topics.info("news").await?;
        signal(pid, Signal::CONT);
        while quick.ask(Read).await?.len() < 11 {}
        let told = info.published.told - 11;
        assert_eq!((told, info.published.dropped), (5, 6), "the one before, and what its mailbox takes");
        while slow.ask(Read).await?.len() < 5 {}
        assert_eq!(slow.ask(Read).await?, [0, 1, 2, 3, 4]);
        Ok(())
    });
}
