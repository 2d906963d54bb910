//! The right to answer an ask, kept for later or passed on.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::Current;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::node::mailbox::Arrival;
use crate::node::outgoing::OutLink;
use crate::wire::codec;
use crate::wire::control::ThirdPartyReply;
use crate::wire::frame::{BODY_LIMIT, Kind, Status};
use crate::wire::ids::{LinkId, MessageKey, RawAddress, Sequence};
use crate::wire::passing::{self, Beside};

/// The right to answer one ask with an `R`; from [`Context::defer`](crate::Context::defer).
///
/// It can be kept, sent to another task, or be a field of a message: then the actor that receives it answers. Dropped
/// without an answer, it ends the ask with [`AskError::NoReply`](crate::AskError::NoReply). Whoever holds it when its
/// process dies takes it along: the asker is told.
pub struct ReplyTo<R> {
    asker: RawAddress,
    link: LinkId,
    sequence: Sequence,
    /// Of the message that is answered; known where it was received.
    key: MessageKey,
    route: Route,
    /// Answered, or passed on.
    spent: AtomicBool,
    reply: PhantomData<fn(R)>,
}

enum Route {
    /// The ask came to this process: back on its own link.
    Back(Arc<Node>),
    /// The ask came to another process: on a link of our own to the asker.
    Across(Arc<OutLink>),
    /// The message was told: nobody waits.
    Nobody,
}

impl<R> ReplyTo<R> {
    pub(crate) fn new(node: &Arc<Node>, current: &Current) -> Self {
        ReplyTo {
            asker: current.reply_address,
            link: current.link,
            sequence: current.sequence,
            key: current.key,
            route: if current.is_ask { Route::Back(Arc::clone(node)) } else { Route::Nobody },
            spent: AtomicBool::new(false),
            reply: PhantomData,
        }
    }

    fn end(&self, status: Status, body: Vec<u8>, beside: Beside) {
        if self.spent.swap(true, Ordering::AcqRel) {
            return;
        }
        let (link, sequence) = (self.link, self.sequence);
        match &self.route {
            Route::Back(node) => {
                node.arrive(Arrival::Reply { link, sequence, key: self.key, status, body, beside })
            }
            Route::Across(out) => {
                out.send_answer(Kind::Answer, ThirdPartyReply { link, sequence, status }, &body, beside)
            }
            Route::Nobody => {}
        }
    }
}

impl<R: Serialize> ReplyTo<R> {
    /// Answers. The asker may have given up; then this goes nowhere, and is counted.
    pub fn send(self, reply: R) {
        let (encoded, beside) = passing::collecting(|| codec::encode(&reply, BODY_LIMIT));
        match encoded {
            Ok(body) => self.end(Status::Ok, body, beside),
            Err(codec::EncodeError::TooLarge(_)) => self.end(Status::TooLarge, Vec::new(), Beside::new()),
            Err(error) => self.fail(Error::from(error).context("the reply does not encode")),
        }
    }
}

impl<R> ReplyTo<R> {
    /// Answers with an error: the asker gets [`AskError::Failed`](crate::AskError::Failed).
    pub fn fail(self, error: Error) {
        // An error is a few texts: it encodes.
        self.end(Status::Failed, codec::encode(&error, BODY_LIMIT).unwrap_or_default(), Beside::new());
    }

    /// Answers with a result.
    pub fn send_result(self, result: Result<R>)
    where
        R: Serialize,
    {
        match result {
            Ok(reply) => self.send(reply),
            Err(error) => self.fail(error),
        }
    }
}

impl<R> Drop for ReplyTo<R> {
    fn drop(&mut self) {
        self.end(Status::NoReply, Vec::new(), Beside::new());
    }
}

impl<R> fmt::Debug for ReplyTo<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyTo({}, {})", self.asker.actor, self.sequence)
    }
}

/// What travels: the ask, and whether anybody waits for it.
#[derive(Serialize, Deserialize)]
struct Passed {
    asker: RawAddress,
    link: LinkId,
    sequence: Sequence,
    wanted: bool,
}

impl<R> Serialize for ReplyTo<R> {
    /// Passes the right on: this value is spent, and the asker is told that somebody else will answer.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wanted = !self.spent.swap(true, Ordering::AcqRel) && !matches!(self.route, Route::Nobody);
        if let (true, Route::Back(node)) = (wanted, &self.route) {
            node.arrive(Arrival::Forwarded { link: self.link, sequence: self.sequence });
        }
        Passed { asker: self.asker, link: self.link, sequence: self.sequence, wanted }.serialize(serializer)
    }
}

impl<'de, R> Deserialize<'de> for ReplyTo<R> {
    /// Takes the right over: the asker is told who will answer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Passed { asker, link, sequence, wanted } = Passed::deserialize(deserializer)?;
        let out = Node::of(asker.system).filter(|_| wanted).and_then(|node| node.link_to(asker).ok());
        let route = match out {
            Some(out) => {
                let head = ThirdPartyReply { link, sequence, status: Status::Ok };
                out.send_answer(Kind::Adopt, head, &[], Beside::new());
                Route::Across(out)
            }
            None => Route::Nobody,
        };
        let key = MessageKey(0);
        Ok(ReplyTo { asker, link, sequence, key, route, spent: AtomicBool::new(false), reply: PhantomData })
    }
}

impl<R> postcard_schema::Schema for ReplyTo<R> {
    const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
        name: "ReplyTo",
        ty: &postcard_schema::schema::DataModelType::Tuple(&[
            <RawAddress as postcard_schema::Schema>::SCHEMA,
            u64::SCHEMA,
            u64::SCHEMA,
            bool::SCHEMA,
        ]),
    };
}

impl postcard_schema::Schema for RawAddress {
    const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
        name: "RawAddress",
        ty: &postcard_schema::schema::DataModelType::Tuple(&[
            u8::SCHEMA,
            u64::SCHEMA,
            u64::SCHEMA,
            u128::SCHEMA,
            u64::SCHEMA,
        ]),
    };
}

// A key is a number on the wire as everywhere.
impl postcard_schema::Schema for MessageKey {
    const SCHEMA: &'static postcard_schema::schema::NamedType = u64::SCHEMA;
}
