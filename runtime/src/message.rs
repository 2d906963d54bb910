//! Messages, and the closed protocol of an actor: a tuple of message types, checked when the program is compiled.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::actor::{Actor, Context, Handler};
use crate::error::Result;
use crate::wire::codec;
pub use crate::wire::codec::DecodeError;
pub use crate::wire::ids::MessageKey;

/// Something that can be told to an actor, or asked of it.
///
/// Write `#[message]` on a struct or enum and this is done. By hand it is three constants and a type:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use watertight::{Message, MessageKey};
///
/// #[derive(Serialize, Deserialize)]
/// struct Total;
///
/// impl Message for Total {
///     type Reply = i64;
///     const NAME: &'static str = "bank.Total";
///     const KEY: MessageKey = MessageKey::named(Self::NAME);
/// }
/// ```
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// What the handler answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// Its explicit name, unique among the messages of an actor; appears in reports.
    const NAME: &'static str;
    /// Its fingerprint: of the name and, where there is one, of the schema.
    const KEY: MessageKey;
    /// Whether it may be handled more than once: then a crash in its handler sends it to the next incarnation, until
    /// the redelivery limit quarantines it.
    const IDEMPOTENT: bool = false;
    /// Whether it may own descriptors, as a [`Blob`](crate::Blob) does: a link that carries none is read a little
    /// faster. `#[message]` sees it in the schema. By hand, the default is always right; where this is `false`, such a
    /// message does not encode.
    const DESCRIPTORS: bool = true;
    /// The same of its reply.
    const REPLY_DESCRIPTORS: bool = true;

    /// Reads one from a body. The default bounds nesting; `#[message]` reads faster where the schema is finite.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_nested(body)
    }

    /// Reads a reply from a body.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn decode_reply(body: &[u8]) -> Result<Self::Reply, DecodeError> {
        codec::decode_nested(body)
    }
}

impl MessageKey {
    /// The key of a message of type `M` with replies of type `R`: of the name and of both schemas.
    pub const fn of<M: postcard_schema::Schema + ?Sized, R: postcard_schema::Schema + ?Sized>(
        name: &str,
    ) -> MessageKey {
        let message = u64::from_le_bytes(postcard_schema::key::Key::for_path::<M>(name).to_bytes());
        let reply = u64::from_le_bytes(postcard_schema::key::Key::for_path::<R>("reply").to_bytes());
        MessageKey(mix(message, reply))
    }

    /// The key of a message that has no schema: of its name alone. Both ends must be of one build.
    pub const fn named(name: &str) -> MessageKey {
        let bytes = name.as_bytes();
        let mut key = FNV_START;
        let mut at = 0;
        while at < bytes.len() {
            key = (key ^ bytes[at] as u64).wrapping_mul(FNV_PRIME);
            at += 1;
        }
        MessageKey(key)
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Two fingerprints as one, in their order.
const fn mix(first: u64, second: u64) -> u64 {
    (first.rotate_left(17) ^ second).wrapping_mul(FNV_PRIME)
}

/// The messages of an actor: any tuple of up to sixteen message types that `A` handles, or `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a protocol of the actor `{A}`",
    note = "`type Messages` is a tuple of message types, `(Add,)` or `(Add, Total)`, and the actor needs a `Handler` for each"
)]
pub trait Protocol<A: Actor>: 'static {
    /// One message of any of the types.
    #[doc(hidden)]
    type Any: AnyMessage<A>;
    /// The fingerprint of the whole protocol.
    #[doc(hidden)]
    const FINGERPRINT: u64;
    /// Whether any of them may own descriptors.
    #[doc(hidden)]
    const DESCRIPTORS: bool;
    /// The keys and names of the types.
    #[doc(hidden)]
    fn names() -> Vec<(MessageKey, &'static str)>;
}

/// The protocol has the message `M`. `Place` is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{M}` is not a message of this actor",
    label = "this actor does not handle `{M}`",
    note = "an actor takes exactly the messages in its `type Messages`, here `{Self}`"
)]
pub trait Includes<M, Place> {}

/// A place in a protocol.
#[doc(hidden)]
pub struct Place<const N: usize>;

/// One message out of a closed set, decoded but not handled yet.
#[doc(hidden)]
pub trait AnyMessage<A: Actor>: Sized {
    /// `None` if `key` is none of ours.
    fn decode(key: MessageKey, body: &[u8]) -> Option<Result<Self, DecodeError>>;
    /// Runs the handler, drops the message and encodes the reply behind what is in `cx`.
    fn handle(self, actor: &mut A, cx: &mut Context<A>) -> impl Future<Output = ()>;
}

/// This one or one of the rest.
#[doc(hidden)]
pub enum Either<M, Rest> {
    /// This one.
    This(M),
    /// One of the rest.
    Rest(Rest),
}

/// None: no message has this type.
#[doc(hidden)]
pub enum Never {}

impl<A: Actor> AnyMessage<A> for Never {
    fn decode(_: MessageKey, _: &[u8]) -> Option<Result<Self, DecodeError>> {
        None
    }

    async fn handle(self, _: &mut A, _: &mut Context<A>) {
        match self {}
    }
}

impl<A: Handler<M>, M: Message, Rest: AnyMessage<A>> AnyMessage<A> for Either<M, Rest> {
    fn decode(key: MessageKey, body: &[u8]) -> Option<Result<Self, DecodeError>> {
        if key == M::KEY {
            return Some(M::decode(body).map(Either::This));
        }
        Rest::decode(key, body).map(|rest| rest.map(Either::Rest))
    }

    async fn handle(self, actor: &mut A, cx: &mut Context<A>) {
        match self {
            Either::This(message) => {
                let result = actor.handle(message, cx).await;
                cx.set_reply::<M>(result);
            }
            Either::Rest(rest) => rest.handle(actor, cx).await,
        }
    }
}

macro_rules! any {
    () => { Never };
    ($head:ident $($rest:ident)*) => { Either<$head, any!($($rest)*)> };
}

macro_rules! protocol {
    ($($message:ident $place:literal),*) => {
        impl<A: Actor $(+ Handler<$message>)*, $($message: Message),*> Protocol<A> for ($($message,)*) {
            type Any = any!($($message)*);
            const FINGERPRINT: u64 = {
                #[allow(unused_mut)]
                let mut all = FNV_START;
                $(all = mix(all, $message::KEY.0);)*
                all
            };
            const DESCRIPTORS: bool = false $(|| $message::DESCRIPTORS)*;
            fn names() -> Vec<(MessageKey, &'static str)> {
                vec![$(($message::KEY, $message::NAME)),*]
            }
        }
        protocol!(@includes [$($message)*] $($message $place),*);
    };
    (@includes $all:tt $($message:ident $place:literal),*) => {
        $(protocol!(@include $all $message $place);)*
    };
    (@include [$($all:ident)*] $message:ident $place:literal) => {
        impl<$($all),*> Includes<$message, Place<$place>> for ($($all,)*) {}
    };
}

protocol!();
protocol!(M0 0);
protocol!(M0 0, M1 1);
protocol!(M0 0, M1 1, M2 2);
protocol!(M0 0, M1 1, M2 2, M3 3);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10, M11 11);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10, M11 11, M12 12);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10, M11 11, M12 12, M13 13);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10, M11 11, M12 12, M13 13, M14 14);
protocol!(M0 0, M1 1, M2 2, M3 3, M4 4, M5 5, M6 6, M7 7, M8 8, M9 9, M10 10, M11 11, M12 12, M13 13, M14 14, M15 15);
