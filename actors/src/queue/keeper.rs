//! The actor behind a queue: who waits, and what they are told.

use std::time::Instant;

use watertight::SenderEnded;
use watertight::prelude::*;

use super::books::{Account, Books};
use crate::handle::Holds;
use crate::waiting::{Cancel, Line, Waiter, Who};

pub(super) mod messages {
    use watertight::Encoded;
    use watertight::prelude::*;

    #[data]
    #[derive(Clone)]
    pub struct Setup {
        pub(crate) holds: String,
        pub(crate) capacity: u32,
    }

    /// An item, in room that was reserved or if there is some.
    #[message(reply = Offered)]
    pub struct Put {
        pub(crate) value: Encoded,
        pub(crate) reserved: Option<u64>,
    }

    #[data]
    pub enum Offered {
        Taken,
        Full,
        Closed,
    }

    /// Waits for room; `false` if the queue is closed.
    #[message(reply = bool)]
    pub struct Reserve {
        pub(crate) request: u64,
    }

    #[message(reply = Got)]
    pub struct Get {
        pub(crate) request: u64,
        pub(crate) is_lease: bool,
        pub(crate) waits: bool,
    }

    #[data]
    pub enum Got {
        Item { value: Encoded, deaths: u8 },
        Empty,
        Closed,
    }

    /// What was granted to this request has come.
    #[message]
    pub struct Received {
        pub(crate) request: u64,
    }

    #[message(reply = bool)]
    pub struct TaskDone;

    #[message(reply = bool)]
    pub struct Done {
        pub(crate) request: u64,
    }

    #[message(reply = super::Account)]
    pub struct Join {
        pub(crate) request: u64,
    }

    #[message(reply = super::Account, idempotent)]
    pub struct Look;

    #[message(idempotent)]
    pub struct Close;
}

use messages::{Close, Done, Get, Got, Join, Look, Offered, Put, Received, Reserve, Setup, TaskDone};

/// The actor behind a queue.
pub struct Keeper {
    holds: String,
    books: Books,
    is_closed: bool,
    /// Those who wait for room, for an item, and for the end of all items.
    producers: Line<ReplyTo<bool>>,
    consumers: Line<(bool, ReplyTo<Got>)>,
    joiners: Line<ReplyTo<Account>>,
}

impl Keeper {
    /// Gives whatever can be given now. Called behind every change.
    fn serve(&mut self) {
        let now = Instant::now();
        while self.books.has_items() {
            let Some(Waiter { who, wants: (is_lease, reply), .. }) = self.consumers.next(now) else { break };
            reply.send(self.take(who, is_lease));
        }
        while !self.is_closed && self.books.has_room() {
            let Some(Waiter { who, wants, .. }) = self.producers.next(now) else { break };
            self.books.reserve(who);
            wants.send(true);
        }
        if self.is_closed {
            self.producers.drain().for_each(|producer| producer.wants.send(false));
            if self.books.is_drained() {
                self.consumers.drain().for_each(|consumer| consumer.wants.1.send(Got::Closed));
            }
        }
        if self.books.is_finished() {
            let account = self.books.account();
            self.joiners.drain().for_each(|joiner| joiner.wants.send(account));
        }
    }

    fn take(&mut self, who: Who, is_lease: bool) -> Got {
        match self.books.take(who, is_lease) {
            Some((value, deaths)) => Got::Item { value, deaths },
            None if self.is_closed && self.books.is_drained() => Got::Closed,
            None => Got::Empty,
        }
    }
}

impl Actor for Keeper {
    type Args = Setup;
    type Messages =
        (Put, Reserve, Get, Received, TaskDone, Done, Join, Look, Close, Cancel, Holds, SenderEnded);

    async fn start(setup: Setup, cx: &mut Context<Self>) -> Result<Self> {
        if setup.capacity == 0 {
            return Err(Error::new("a queue has room for one item at least"));
        }
        Ok(Keeper {
            holds: setup.holds,
            books: Books::new(setup.capacity, cx.incarnation().0),
            is_closed: false,
            producers: Line::new(),
            consumers: Line::new(),
            joiners: Line::new(),
        })
    }
}

impl Handler<Put> for Keeper {
    async fn handle(&mut self, Put { value, reserved }: Put, cx: &mut Context<Self>) -> Result<Offered> {
        let who = reserved.map(|request| Who { client: cx.watch_sender(), request });
        let is_reserved = who.is_some_and(|who| self.books.use_reservation(who));
        if !is_reserved {
            if self.is_closed {
                return Ok(Offered::Closed);
            }
            // Those who wait for room come first.
            if !self.books.has_room() || self.producers.front(Instant::now()).is_some() {
                return Ok(Offered::Full);
            }
        }
        self.books.put(value);
        self.serve();
        Ok(Offered::Taken)
    }
}

impl Handler<Reserve> for Keeper {
    async fn handle(&mut self, Reserve { request }: Reserve, cx: &mut Context<Self>) -> Result<bool> {
        self.producers.admit()?;
        let who = Who { client: cx.watch_sender(), request };
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.producers.join(Waiter { who, deadline, wants: reply }));
        self.serve();
        deferred
    }
}

impl Handler<Get> for Keeper {
    async fn handle(&mut self, get: Get, cx: &mut Context<Self>) -> Result<Got> {
        let who = Who { client: cx.watch_sender(), request: get.request };
        if !get.waits {
            // Those who wait for an item come first; while there are some, there is none.
            let got = self.take(who, get.is_lease);
            self.serve();
            return Ok(got);
        }
        self.consumers.admit()?;
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| {
            self.consumers.join(Waiter { who, deadline, wants: (get.is_lease, reply) });
        });
        self.serve();
        deferred
    }
}

impl Handler<Received> for Keeper {
    async fn handle(&mut self, Received { request }: Received, cx: &mut Context<Self>) -> Result<()> {
        self.books.received(Who { client: cx.watch_sender(), request });
        self.serve();
        Ok(())
    }
}

impl Handler<TaskDone> for Keeper {
    async fn handle(&mut self, _: TaskDone, cx: &mut Context<Self>) -> Result<bool> {
        let is_done = self.books.task_done(cx.watch_sender());
        self.serve();
        Ok(is_done)
    }
}

impl Handler<Done> for Keeper {
    async fn handle(&mut self, Done { request }: Done, cx: &mut Context<Self>) -> Result<bool> {
        let is_done = self.books.done(Who { client: cx.watch_sender(), request });
        self.serve();
        Ok(is_done)
    }
}

impl Handler<Join> for Keeper {
    async fn handle(&mut self, Join { request }: Join, cx: &mut Context<Self>) -> Result<Account> {
        self.joiners.admit()?;
        let who = Who { client: cx.watch_sender(), request };
        let deadline = cx.deadline();
        let deferred = cx.defer(|reply| self.joiners.join(Waiter { who, deadline, wants: reply }));
        self.serve();
        deferred
    }
}

impl Handler<Look> for Keeper {
    async fn handle(&mut self, _: Look, _: &mut Context<Self>) -> Result<Account> {
        Ok(self.books.account())
    }
}

impl Handler<Close> for Keeper {
    async fn handle(&mut self, _: Close, _: &mut Context<Self>) -> Result<()> {
        self.is_closed = true;
        self.serve();
        Ok(())
    }
}

impl Handler<Cancel> for Keeper {
    async fn handle(&mut self, Cancel { request }: Cancel, cx: &mut Context<Self>) -> Result<()> {
        let who = Who { client: cx.watch_sender(), request };
        self.producers.leave(who);
        self.consumers.leave(who);
        self.joiners.leave(who);
        self.books.cancel(who);
        self.serve();
        Ok(())
    }
}

impl Handler<Holds> for Keeper {
    async fn handle(&mut self, _: Holds, _: &mut Context<Self>) -> Result<String> {
        Ok(self.holds.clone())
    }
}

impl Handler<SenderEnded> for Keeper {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.producers.leave_all(ended.sender);
        self.consumers.leave_all(ended.sender);
        self.joiners.leave_all(ended.sender);
        self.books.end(ended.sender);
        self.serve();
        Ok(())
    }
}
