//! What does not encode, does not decode or is too large: typed errors at the right end, and an actor that is well.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::{AskError, Executed, MessageKey, SpawnError};

use super::messages::Text;
use super::*;

/// Takes and gives what cannot be sent.
struct Strict;

/// The reply is so long.
#[message(reply = String)]
struct Long(u32);

#[message(reply = Never)]
struct Unsayable;

#[message]
#[derive(Debug, PartialEq)]
struct Odd(Never);

#[message]
struct Lie(Lying);

/// A list of nothings, of which its sender says only how long it is.
#[message(reply = u64)]
struct Nothings(#[serde(serialize_with = "claimed")] Vec<()>);

/// A list of one stands for one without end.
fn claimed<S: Serializer>(nothings: &[()], serializer: S) -> Result<S::Ok, S::Error> {
    let length = nothings.len() as u64;
    serializer.serialize_u64(if length == 1 { u64::MAX } else { length })
}

impl Actor for Strict {
    type Args = ();
    type Messages = (Text, Long, Unsayable, Odd, Lie, Nothings);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Strict)
    }
}

impl Handler<Text> for Strict {
    async fn handle(&mut self, Text(text): Text, _: &mut Context<Self>) -> Result<u64> {
        Ok(text.len() as u64)
    }
}

impl Handler<Long> for Strict {
    async fn handle(&mut self, Long(length): Long, _: &mut Context<Self>) -> Result<String> {
        Ok("x".repeat(length as usize))
    }
}

impl Handler<Unsayable> for Strict {
    async fn handle(&mut self, _: Unsayable, _: &mut Context<Self>) -> Result<Never> {
        Ok(Never)
    }
}

impl Handler<Odd> for Strict {
    async fn handle(&mut self, _: Odd, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Handler<Nothings> for Strict {
    async fn handle(&mut self, Nothings(nothings): Nothings, _: &mut Context<Self>) -> Result<u64> {
        Ok(nothings.len() as u64)
    }
}

impl Handler<Lie> for Strict {
    async fn handle(&mut self, _: Lie, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// Cannot be serialized.
#[derive(Debug, PartialEq)]
struct Never;

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Never)
    }
}

/// Is read otherwise than it was written.
#[derive(Debug)]
struct Lying;

impl Serialize for Lying {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(7)
    }
}

impl<'de> Deserialize<'de> for Lying {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Lying)
    }
}

// What a stranger would derive; these two types lie about themselves anyway.
macro_rules! schema_of_nothing {
    ($($name:ident),*) => {$(
        impl watertight::internal::Schema for $name {
            const SCHEMA: &'static watertight::internal::postcard_schema::schema::NamedType =
                <() as watertight::internal::Schema>::SCHEMA;
        }
    )*};
}
schema_of_nothing!(Never, Lying);

#[test]
fn a_message_that_does_not_encode_is_given_back_and_nothing_is_sent() {
    watertight::test(async |sys| {
        let it = sys.spawn::<Strict>(()).await?;
        match it.tell(Odd(Never)).await.unwrap_err() {
            TellError::Encode(Odd(Never), error) => {
                assert!(error.to_string().contains("does not encode"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(it.try_tell(Odd(Never)).unwrap_err().into_message(), Odd(Never));
        match it.ask(Odd(Never)).await.unwrap_err() {
            error @ AskError::Encode(_) => assert_eq!(error.executed(), Executed::No),
            other => panic!("{other:?}"),
        }
        assert_eq!(sys.ledger_of(&it).await?.accepted, 0);
        Ok(())
    });
}

/// Ten bytes would otherwise keep the receiver busy for centuries.
#[test]
fn a_list_of_nothings_without_end_is_refused_by_name_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let it = sys.spawn::<Strict>(()).await?;
        assert_eq!(it.ask(Nothings(vec![(); 1 << 16])).await?, 1 << 16);
        for endless in [vec![()], vec![(); (1 << 16) + 1]] {
            let error = it.ask(Nothings(endless)).await.unwrap_err();
            let AskError::Undecodable(why) = &error else { panic!("{error:?}") };
            assert_eq!(why, "the body claims more than 65536 elements that take no bytes");
            assert_eq!(error.executed(), Executed::No);
        }
        assert_eq!(sys.info(&it).await?.restarts, 0);
        Ok(())
    });
}

/// `flatten` makes a map of unknown length, which the codec does not have.
#[derive(Debug, Serialize, Deserialize)]
struct Flattened {
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, u32>,
}

impl Message for Flattened {
    type Reply = ();
    const NAME: &'static str = "Flattened";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
}

/// `skip_serializing_if` leaves out what the reader expects.
#[derive(Debug, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe: Option<u32>,
    text: String,
}

impl Message for Skipping {
    type Reply = String;
    const NAME: &'static str = "Skipping";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
}

/// Takes messages that are written by hand.
struct ByHand;

impl Actor for ByHand {
    type Args = ();
    type Messages = (Flattened, Skipping);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(ByHand)
    }
}

impl Handler<Flattened> for ByHand {
    async fn handle(&mut self, _: Flattened, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Handler<Skipping> for ByHand {
    async fn handle(&mut self, message: Skipping, _: &mut Context<Self>) -> Result<String> {
        Ok(message.text)
    }
}

#[test]
fn serde_attributes_that_the_codec_cannot_follow_are_errors_and_never_a_wrong_value() {
    watertight::test(async |sys| {
        let it = sys.spawn::<ByHand>(()).await?;
        let error = it.tell(Flattened { rest: [("a".into(), 1)].into() }).await.unwrap_err();
        assert!(matches!(error, TellError::Encode(..)), "{error}");
        assert_eq!(it.ask(Skipping { maybe: Some(1), text: "a".into() }).await?, "a");
        let error = it.ask(Skipping { maybe: None, text: "abc".into() }).await.unwrap_err();
        assert!(matches!(error, AskError::Undecodable(_)), "{error}");
        assert_eq!((error.executed(), sys.info(&it).await?.restarts), (Executed::No, 0));
        Ok(())
    });
}

#[test]
fn a_message_too_large_is_given_back_and_so_is_its_length_limit() {
    watertight::test(async |sys| {
        let it = sys.spawn::<Strict>(()).await?;
        let large = || Text("x".repeat(16 << 20));
        match it.tell(large()).await.unwrap_err() {
            TellError::Encode(Text(text), error) => {
                assert_eq!(
                    (text.len(), &*error.to_string()),
                    (16 << 20, "the message takes more than 16777216 bytes")
                );
            }
            other => panic!("{other}"),
        }
        assert!(matches!(it.ask(large()).await, Err(AskError::Encode(_))));
        // One that just fits goes through, although it is larger than the mailbox: that was empty.
        let fits = (16 << 20) - 200;
        assert_eq!(it.ask(Text("x".repeat(fits))).await?, fits as u64);
        Ok(())
    });
}

#[test]
fn a_reply_that_does_not_encode_or_is_too_large_is_an_error_of_the_ask_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let it = sys.spawn::<Strict>(()).await?;
        let error = it.ask(Unsayable).await.unwrap_err();
        assert!(
            matches!(&error, AskError::Failed(e) if e.to_string().contains("the reply does not encode")),
            "{error}"
        );
        let error = it.ask(Long(17 << 20)).await.unwrap_err();
        assert!(matches!(error, AskError::BadReply(_)), "{error}");
        assert_eq!(error.executed(), Executed::Yes);
        assert_eq!(it.ask(Long(15 << 20)).await?.len(), 15 << 20);
        assert_eq!(sys.info(&it).await?.restarts, 0);
        Ok(())
    });
}

#[test]
fn a_message_that_does_not_decode_is_refused_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let it = sys.spawn::<Strict>(()).await?;
        let error = it.ask(Lie(Lying)).await.unwrap_err();
        assert!(matches!(error, AskError::Undecodable(_)), "{error}");
        it.tell(Lie(Lying)).await?;
        assert_eq!(it.ask(Text("a".into())).await?, 1);
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.accepted, ledger.processed, ledger.dead_lettered), (3, 1, 2), "{ledger:?}");
        assert_eq!(sys.info(&it).await?.restarts, 0);
        Ok(())
    });
}

/// Is started with something that is read otherwise than it was written, or cannot be written.
struct Misled<T>(std::marker::PhantomData<fn(T)>);

impl<T: Serialize + serde::de::DeserializeOwned + Send + 'static> Actor for Misled<T> {
    type Args = T;
    type Messages = ();

    async fn start(_: T, _: &mut Context<Self>) -> Result<Self> {
        Ok(Misled(std::marker::PhantomData))
    }
}

#[test]
fn arguments_that_do_not_decode_do_not_encode_or_are_too_large_are_typed_errors() {
    watertight::test(async |sys| {
        match sys.spawn::<Misled<Lying>>(Lying).await.unwrap_err() {
            SpawnError::Start(report) => match &report.exit {
                Exit::StartFailed(words) => {
                    assert!(words.starts_with("the arguments do not decode"), "{words}")
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        let error = sys.spawn::<Misled<Never>>(Never).await.unwrap_err();
        assert!(matches!(error, SpawnError::Arguments(_)), "{error}");
        let error = sys.spawn::<Misled<String>>("x".repeat(16 << 20)).await.unwrap_err();
        assert!(matches!(error, SpawnError::Arguments(_)), "{error}");
        sys.spawn::<Misled<String>>("x".repeat((16 << 20) - 100)).await?;
        Ok(())
    });
}
