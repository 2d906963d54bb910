//! Topics: whoever subscribes to one is sent everything that is published in it.
//!
//! # Promise
//! - Each subscriber of a topic gets what one publisher publishes in the order in which it does.
//! - A slow subscriber stops nobody: what finds no room in its mailbox is dropped for it, and counted. So the bound is
//!   the subscriber's own mailbox ([`Spec::mailbox`]).
//! - A subscription ends with the subscriber's life, whatever ends it: the next life subscribes again, in its `start`.
//! - What survives a restart of the topics' own process: nothing. Subscribers that must not miss this monitor the
//!   [address](Topics::address), and subscribe again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watertight::prelude::*;
use watertight::{MessageKey, SpawnError, TellError};

use crate::handle::{Home, SharedError, typed_handle};

/// Topics that have subscribers: they are named by people and by what people name.
const TOPICS: usize = 4096;
/// Subscriptions in all: each costs a monitor, and its subscriber a link.
const SUBSCRIPTIONS: usize = 8192;

typed_handle! {
    /// A handle to topics with messages of type `M`; clone it, send it in messages and arguments.
    ///
    /// ```no_run
    /// use watertight::prelude::*;
    /// use watertight_actors::pubsub::Topics;
    ///
    /// #[message]
    /// #[derive(Clone)]
    /// struct Price { of: String, cents: u64 }
    ///
    /// # async fn f(sys: System, clerk: Recipient<Price>) -> Result<()> {
    /// let prices = Topics::<Price>::start(&sys).await?;
    /// prices.subscribe("fruit", &clerk).await?;
    /// let published = prices.publish("fruit", Price { of: "apple".into(), cents: 30 }).await?;
    /// println!("{} were told, {} had no room", published.told, published.dropped);
    /// # Ok(()) }
    /// ```
    Topics<M> of M, Board<M>
}

/// What has become of what was published: once, or in all.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Messages accepted for subscribers.
    pub told: u64,
    /// Messages for which a subscriber had no room.
    pub dropped: u64,
}

/// How a topic stands.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicInfo {
    /// Those who are sent what is published.
    pub subscribers: u64,
    /// What has become of all that was published to those, each since it subscribed.
    pub published: Published,
}

impl<M: Message + Clone> Topics<M> {
    /// Starts one.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start(home: impl Home) -> Result<Topics<M>, SpawnError> {
        Topics::start_with(home, Topics::spec()).await
    }

    /// Starts one as its spec says: with a name, in its place in the tree.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn start_with(home: impl Home, spec: Spec<Board<M>>) -> Result<Topics<M>, SpawnError> {
        Ok(Topics::new(home.spawn_with(spec).await?))
    }

    /// A spec to add a name, a place in a group or limits to.
    pub fn spec() -> Spec<Board<M>> {
        Spec::new(())
    }

    /// The one whose actor has this name, if its messages are of this type.
    ///
    /// # Errors
    /// [`SharedError::Find`].
    pub async fn find(home: impl Home, name: &str) -> Result<Topics<M>, SharedError> {
        Ok(Topics::new(home.find(name).await?))
    }

    /// From here on, the subscriber is sent what is published in this topic. Again, it changes nothing.
    ///
    /// # Errors
    /// [`SharedError`]; [`SharedError::Ask`] when there are 4,096 topics or 8,192 subscriptions already.
    pub async fn subscribe(&self, topic: &str, subscriber: &Recipient<M>) -> Result<(), SharedError> {
        let subscribe = Subscribe { topic: topic.to_owned(), subscriber: subscriber.clone() };
        Ok(self.keeper.ask(subscribe).await?)
    }

    /// No longer; answers whether it was.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn unsubscribe(&self, topic: &str, subscriber: &Recipient<M>) -> Result<bool, SharedError> {
        let unsubscribe = Unsubscribe { topic: topic.to_owned(), subscriber: subscriber.clone() };
        Ok(self.keeper.ask(unsubscribe).await?)
    }

    /// Sends a message to all subscribers of a topic, and says how many were told. They have it in their mailboxes then;
    /// it says nothing of their handlers.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn publish(&self, topic: &str, message: M) -> Result<Published, SharedError> {
        Ok(self.keeper.ask(Publish { topic: topic.to_owned(), message }).await?)
    }

    /// How a topic stands.
    ///
    /// # Errors
    /// [`SharedError`].
    pub async fn info(&self, topic: &str) -> Result<TopicInfo, SharedError> {
        Ok(self.keeper.ask(Info { topic: topic.to_owned() }).await?)
    }
}

/// Of a name, and of the message within: two boards for different messages speak different protocols.
const fn key<M: Message>(name: &str) -> MessageKey {
    MessageKey(MessageKey::named(name).0 ^ M::KEY.0.rotate_left(1))
}

/// Something for the subscribers of a topic.
#[derive(Serialize, Deserialize)]
#[serde(bound = "M: Message")]
pub struct Publish<M> {
    topic: String,
    message: M,
}

impl<M: Message> Message for Publish<M> {
    type Reply = Published;
    const NAME: &'static str = "watertight_actors::pubsub::Publish";
    const KEY: MessageKey = key::<M>(Self::NAME);
}

/// Somebody wants what is published in a topic.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Subscribe<M> {
    topic: String,
    subscriber: Recipient<M>,
}

impl<M: Message> Message for Subscribe<M> {
    type Reply = ();
    const NAME: &'static str = "watertight_actors::pubsub::Subscribe";
    const KEY: MessageKey = key::<M>(Self::NAME);
}

/// Somebody wants it no longer.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Unsubscribe<M> {
    topic: String,
    subscriber: Recipient<M>,
}

impl<M: Message> Message for Unsubscribe<M> {
    type Reply = bool;
    const NAME: &'static str = "watertight_actors::pubsub::Unsubscribe";
    const KEY: MessageKey = key::<M>(Self::NAME);
}

/// How does a topic stand?
#[message(reply = TopicInfo, idempotent)]
pub struct Info {
    topic: String,
}

/// The actor behind topics.
pub struct Board<M> {
    topics: BTreeMap<String, Vec<Subscription<M>>>,
}

struct Subscription<M> {
    subscriber: Recipient<M>,
    monitor: u64,
    published: Published,
}

impl<M: Message + Clone> Board<M> {
    /// Keeps those subscriptions only that fit; a topic without any is no more.
    fn retain(&mut self, mut fits: impl FnMut(&str, &Subscription<M>) -> bool) {
        self.topics.retain(|topic, subscriptions| {
            subscriptions.retain(|subscription| fits(topic, subscription));
            !subscriptions.is_empty()
        });
    }
}

impl<M: Message + Clone> Actor for Board<M> {
    type Args = ();
    type Messages = (Publish<M>, Subscribe<M>, Unsubscribe<M>, Info, Down);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Board { topics: BTreeMap::new() })
    }
}

impl<M: Message + Clone> Handler<Publish<M>> for Board<M> {
    async fn handle(&mut self, publish: Publish<M>, _: &mut Context<Self>) -> Result<Published> {
        let mut sum = Published::default();
        let Some(subscriptions) = self.topics.get_mut(&publish.topic) else { return Ok(sum) };
        for subscription in subscriptions {
            match subscription.subscriber.try_tell(publish.message.clone()) {
                Ok(()) => {
                    subscription.published.told += 1;
                    sum.told += 1;
                }
                Err(TellError::Full(_)) => {
                    subscription.published.dropped += 1;
                    sum.dropped += 1;
                }
                Err(TellError::Encode(_, error)) => return Err(error.into()),
                // It has ended, and its `Down` is on its way.
                Err(_) => {}
            }
        }
        Ok(sum)
    }
}

impl<M: Message + Clone> Handler<Subscribe<M>> for Board<M> {
    async fn handle(&mut self, asked: Subscribe<M>, cx: &mut Context<Self>) -> Result<()> {
        let Subscribe { topic, subscriber } = asked;
        let is_new = !self.topics.contains_key(&topic);
        if is_new && self.topics.len() >= TOPICS {
            return Err(Error::new(format_args!("there are {TOPICS} topics already")));
        }
        if self.topics.values().map(Vec::len).sum::<usize>() >= SUBSCRIPTIONS {
            return Err(Error::new(format_args!("there are {SUBSCRIPTIONS} subscriptions already")));
        }
        // Anew, even if it is there: that may have been an earlier life, whose `Down` is still to come.
        let monitor = cx.monitor(&subscriber).await?;
        let subscriptions = self.topics.entry(topic).or_default();
        match subscriptions.iter_mut().find(|subscription| subscription.subscriber == subscriber) {
            Some(known) => {
                let before = std::mem::replace(&mut known.monitor, monitor);
                cx.demonitor(before).await;
            }
            None => {
                subscriptions.push(Subscription { subscriber, monitor, published: Published::default() });
            }
        }
        Ok(())
    }
}

impl<M: Message + Clone> Handler<Unsubscribe<M>> for Board<M> {
    async fn handle(&mut self, asked: Unsubscribe<M>, cx: &mut Context<Self>) -> Result<bool> {
        let mut ended = None;
        self.retain(|topic, subscription| {
            let is_it = topic == asked.topic && subscription.subscriber == asked.subscriber;
            if is_it {
                ended = Some(subscription.monitor);
            }
            !is_it
        });
        if let Some(monitor) = ended {
            cx.demonitor(monitor).await;
        }
        Ok(ended.is_some())
    }
}

impl<M: Message + Clone> Handler<Info> for Board<M> {
    async fn handle(&mut self, Info { topic }: Info, _: &mut Context<Self>) -> Result<TopicInfo> {
        let mut info = TopicInfo::default();
        for subscription in self.topics.get(&topic).into_iter().flatten() {
            info.subscribers += 1;
            info.published.told += subscription.published.told;
            info.published.dropped += subscription.published.dropped;
        }
        Ok(info)
    }
}

impl<M: Message + Clone> Handler<Down> for Board<M> {
    async fn handle(&mut self, down: Down, _: &mut Context<Self>) -> Result<()> {
        self.retain(|_, subscription| subscription.monitor != down.monitor);
        Ok(())
    }
}
