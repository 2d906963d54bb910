//! Telling and asking: addresses and recipients, what is refused and how, and what becomes of the message.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::error::Unreachable;
use watertight::{AskError, Executed, MessageKey, SpawnError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Pid, Setup};

use super::*;

/// Waits at a gate while it handles a message.
pub struct Through {
    gate: Address<Gate>,
    handled: u64,
}

#[message]
#[derive(Debug, PartialEq)]
pub struct Go;

#[message(reply = u64)]
#[derive(Debug, PartialEq)]
pub struct Text(pub String);

#[message(reply = u64)]
pub struct Handled;

#[message]
pub struct Fail(String);

/// An address in a message and in a reply.
#[message(reply = (Address<Specimen>, Recipient<Add>))]
pub struct Echo(Address<Specimen>, Recipient<Add>);

/// The reply is so long.
#[message(reply = String)]
pub struct Long(pub u32);

#[message(reply = Never)]
pub struct Unsayable;

#[message]
#[derive(Debug, PartialEq)]
pub struct Odd(Never);

#[message]
pub struct Lie(Lying);

impl Actor for Through {
    type Args = Address<Gate>;
    type Messages = (Go, Text, Handled, Fail, Echo, Long, Unsayable, Odd, Lie);

    async fn start(gate: Address<Gate>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Through { gate, handled: 0 })
    }
}

impl Handler<Go> for Through {
    async fn handle(&mut self, _: Go, _: &mut Context<Self>) -> Result<()> {
        self.gate.ask(Pass).deadline(PATIENCE).await?;
        self.handled += 1;
        Ok(())
    }
}

impl Handler<Text> for Through {
    async fn handle(&mut self, Text(text): Text, _: &mut Context<Self>) -> Result<u64> {
        self.handled += 1;
        Ok(text.len() as u64)
    }
}

impl Handler<Handled> for Through {
    async fn handle(&mut self, _: Handled, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.handled)
    }
}

impl Handler<Fail> for Through {
    async fn handle(&mut self, Fail(text): Fail, _: &mut Context<Self>) -> Result<()> {
        self.handled += 1;
        let number: Result<i32, _> = text.parse();
        Ok(number.map(|_| ()).map_err(|e| Error::from(e).context(format!("failed to read {text:?}")))?)
    }
}

impl Handler<Echo> for Through {
    async fn handle(
        &mut self,
        Echo(address, recipient): Echo,
        _: &mut Context<Self>,
    ) -> Result<(Address<Specimen>, Recipient<Add>)> {
        // They are good here, too.
        recipient.tell(Add(address.ask(Add(1)).await?)).await?;
        Ok((address, recipient))
    }
}

impl Handler<Long> for Through {
    async fn handle(&mut self, Long(length): Long, _: &mut Context<Self>) -> Result<String> {
        Ok("x".repeat(length as usize))
    }
}

impl Handler<Unsayable> for Through {
    async fn handle(&mut self, _: Unsayable, _: &mut Context<Self>) -> Result<Never> {
        Ok(Never)
    }
}

impl Handler<Odd> for Through {
    async fn handle(&mut self, _: Odd, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Handler<Lie> for Through {
    async fn handle(&mut self, _: Lie, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// Cannot be serialized.
#[derive(Debug, PartialEq)]
pub struct Never;

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
pub struct Lying;

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

/// A gate, and an actor that waits at it when it is told to go.
async fn at_a_gate(sys: &System) -> Result<(Address<Gate>, Address<Through>)> {
    let gate = sys.spawn::<Gate>(()).await?;
    let spec = Spec::<Through>::new(gate.clone()).name("through").mailbox(3, 1000);
    let through = sys.spawn_with(spec).await?;
    Ok((gate, through))
}

#[test]
fn addresses_and_recipients_are_equal_when_they_lead_to_the_same_actor() {
    watertight::test(async |sys| {
        let one = sys.spawn::<Specimen>(Setup::default()).await?;
        let two = sys.spawn::<Specimen>(Setup::default()).await?;
        assert_eq!(one, one.clone());
        assert_ne!(one, two);
        let all: HashSet<_> = [one.clone(), two.clone(), one.clone(), two.clone()].into();
        assert_eq!(all.len(), 2);
        let adds: HashSet<Recipient<Add>> = [one.recipient(), two.recipient(), one.recipient()].into();
        assert!(adds.len() == 2 && adds.contains(&one.recipient()));
        assert_eq!(
            (one.recipient::<Pid, _>().actor(), format!("{one:?}")),
            (one.actor(), "Address(1)".into())
        );
        assert_eq!(one.recipient::<Add, _>().ask(Add(5)).await?, 5);
        one.recipient::<Add, _>().tell(Add(5)).await?;
        one.recipient::<Add, _>().try_tell(Add(5)).unwrap();
        assert_eq!(one.ask(Add(0)).await?, 15);
        Ok(())
    });
}

#[test]
fn addresses_travel_in_messages_and_replies_and_stay_what_they_are() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        let it = sys.spawn::<Specimen>(Setup::default()).await?;
        let (address, recipient) = through.ask(Echo(it.clone(), it.recipient())).await?;
        assert_eq!((&address, &recipient), (&it, &it.recipient()));
        sys.balance(PATIENCE).await?;
        assert_eq!(address.ask(Add(0)).await?, 2, "1 that was asked over there, and as much that was told");
        // Through any other serde format as well.
        let again: Address<Specimen> = serde_json::from_str(&serde_json::to_string(&it)?)?;
        assert_eq!(again.ask(Add(1)).await?, 3);
        Ok(())
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back_and_a_tell_waits_for_room_until_its_deadline() {
    watertight::test(async |sys| {
        let (gate, through) = at_a_gate(&sys).await?;
        assert_eq!(through.ask(Text("a".into())).await?, 1, "the link is there, and so is its window");
        through.tell(Go).await?;
        gate.ask(Waiting(1)).await?;
        through.try_tell(Text("b".into())).unwrap();
        through.try_tell(Text("c".into())).unwrap();
        match through.try_tell(Text("d".into())).unwrap_err() {
            TellError::Full(Text(text)) => assert_eq!(text, "d"),
            other => panic!("{other:?}"),
        }
        let late = through.tell(Text("e".into())).deadline(Duration::from_millis(30)).await.unwrap_err();
        assert_eq!(late.to_string(), "the mailbox stayed full until the deadline");
        assert_eq!(late.into_message(), Text("e".into()));
        match through.ask(Text("f".into())).deadline(Duration::from_millis(30)).await.unwrap_err() {
            AskError::Deadline { executed: Executed::No } => {}
            other => panic!("{other:?}"),
        }
        // Room that comes in time is taken.
        let (told, opened) = tokio::join!(through.tell(Text("g".into())), gate.ask(Open));
        told?;
        opened?;
        assert_eq!(through.ask(Handled).await?, 5, "a, the gate, b, c, g");
        Ok(())
    });
}

#[test]
fn an_ask_that_ends_by_its_deadline_says_whether_it_was_handled() {
    watertight::test(async |sys| {
        let (gate, through) = at_a_gate(&sys).await?;
        let soon = Duration::from_millis(50);
        let (in_hand, behind) = tokio::join!(through.ask(Go).deadline(soon), async {
            gate.ask(Waiting(1)).await.unwrap();
            through.ask(Text("a".into())).deadline(soon).await
        });
        assert_eq!(in_hand.unwrap_err().executed(), Executed::Maybe, "it is in hand");
        // Sent and not started: only the receiver knows, and it is busy.
        assert_same(behind.unwrap_err(), AskError::Deadline { executed: Executed::Maybe });
        gate.ask(Open).await?;
        // The one behind had expired before its turn: it was skipped.
        assert_eq!(through.ask(Handled).await?, 1);
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.is_balanced(), ledger.dead_lettered), (true, 1), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn an_error_from_a_handler_is_a_reply_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        match through.ask(Fail("x".into())).await.unwrap_err() {
            AskError::Failed(error) => {
                assert_eq!(error.to_string(), "failed to read \"x\": invalid digit found in string");
                assert_eq!(error.causes(), ["invalid digit found in string"]);
            }
            other => panic!("{other:?}"),
        }
        through.ask(Fail("7".into())).await?;
        assert_eq!(
            (through.ask(Handled).await?, sys.info(&through).await?.restarts),
            (2, 0),
            "the state is kept"
        );
        Ok(())
    });
}

#[test]
fn an_error_for_a_told_message_is_only_logged_and_counts_as_processed() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        through.tell(Fail("x".into())).await?;
        assert_eq!((through.ask(Handled).await?, sys.info(&through).await?.restarts), (1, 0));
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.accepted, ledger.processed), (2, 2));
        Ok(())
    });
}

#[test]
fn a_message_that_does_not_encode_is_given_back_and_nothing_is_sent() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        match through.tell(Odd(Never)).await.unwrap_err() {
            TellError::Encode(Odd(Never), error) => {
                assert!(error.to_string().contains("does not encode"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(through.try_tell(Odd(Never)).unwrap_err().into_message(), Odd(Never));
        match through.ask(Odd(Never)).await.unwrap_err() {
            error @ AskError::Encode(_) => assert_eq!(error.executed(), Executed::No),
            other => panic!("{other:?}"),
        }
        assert_eq!(sys.ledger_of(&through).await?.accepted, 0);
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
        let gate = sys.spawn::<Gate>(()).await?;
        let through = sys.spawn::<Through>(gate).await?;
        let large = || Text("x".repeat(16 << 20));
        match through.tell(large()).await.unwrap_err() {
            TellError::Encode(Text(text), error) => {
                assert_eq!(
                    (text.len(), &*error.to_string()),
                    (16 << 20, "the message takes more than 16777216 bytes")
                );
            }
            other => panic!("{other}"),
        }
        assert!(matches!(through.ask(large()).await, Err(AskError::Encode(_))));
        // One that just fits goes through, although it is larger than the mailbox: that was empty.
        let fits = (16 << 20) - 200;
        assert_eq!(through.ask(Text("x".repeat(fits))).await?, fits as u64);
        Ok(())
    });
}

#[test]
fn a_reply_that_does_not_encode_or_is_too_large_is_an_error_of_the_ask_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        let error = through.ask(Unsayable).await.unwrap_err();
        assert!(
            matches!(&error, AskError::Failed(e) if e.to_string().contains("the reply does not encode")),
            "{error}"
        );
        let error = through.ask(Long(17 << 20)).await.unwrap_err();
        assert!(matches!(error, AskError::BadReply(_)), "{error}");
        assert_eq!(error.executed(), Executed::Yes);
        assert_eq!(through.ask(Long(15 << 20)).await?.len(), 15 << 20);
        assert_eq!(sys.info(&through).await?.restarts, 0);
        Ok(())
    });
}

#[test]
fn a_message_that_does_not_decode_is_refused_and_the_actor_is_well() {
    watertight::test(async |sys| {
        let (_, through) = at_a_gate(&sys).await?;
        let error = through.ask(Lie(Lying)).await.unwrap_err();
        assert!(matches!(error, AskError::Undecodable(_)), "{error}");
        through.tell(Lie(Lying)).await?;
        assert_eq!(through.ask(Text("a".into())).await?, 1);
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.accepted, ledger.processed, ledger.dead_lettered), (3, 1, 2), "{ledger:?}");
        assert_eq!(sys.info(&through).await?.restarts, 0);
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

#[test]
fn an_address_taken_for_one_of_another_type_is_refused() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let json = serde_json::to_string(&gate)?;
        // A recipient names one message; whether the actor takes it is seen there.
        let wrong: Recipient<Add> = serde_json::from_str(&json)?;
        let error = wrong.ask(Add(1)).await.unwrap_err();
        assert!(matches!(error, AskError::Incompatible(name) if name.ends_with("Add")), "{error}");
        assert_eq!(error.executed(), Executed::No);
        gate.ask(Open).await?;
        Ok(())
    });
}

/// Asks itself.
struct Loop;

#[message]
struct AskMyself;

impl Actor for Loop {
    type Args = ();
    type Messages = (AskMyself,);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Loop)
    }
}

impl Handler<AskMyself> for Loop {
    async fn handle(&mut self, _: AskMyself, cx: &mut Context<Self>) -> Result<()> {
        match cx.address().ask(AskMyself).await {
            Err(AskError::WouldDeadlock) => Ok(()),
            other => Err(Error::new(format!("{other:?}"))),
        }
    }
}

#[test]
fn asking_oneself_is_refused_at_once() {
    watertight::test(async |sys| Ok(sys.spawn::<Loop>(()).await?.ask(AskMyself).await?));
}

#[test]
fn an_ask_that_is_dropped_is_abandoned_and_one_never_awaited_was_never_asked() {
    watertight::test(async |sys| {
        let (gate, through) = at_a_gate(&sys).await?;
        drop(through.ask(Text("a".into())));
        drop(through.tell(Go));
        let given_up = tokio::time::timeout(Duration::from_millis(20), through.ask(Go)).await;
        assert!(given_up.is_err());
        gate.ask(Open).await?;
        assert_eq!(through.ask(Handled).await?, 1, "what was asked is handled, though nobody waits for it");
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn an_actor_that_has_ended_between_is_unreachable_and_its_deadline_is_not_waited_for() {
    watertight::test(async |sys| {
        let it = sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
        let recipient: Recipient<Add> = it.recipient();
        sys.stop(&it).await?;
        let began = std::time::Instant::now();
        let error = recipient.ask(Add(1)).deadline(PATIENCE).await.unwrap_err();
        assert_same(error, AskError::Unreachable(Unreachable::Ended("it".into())));
        assert!(matches!(recipient.try_tell(Add(1)).unwrap_err(), TellError::Unreachable(..)));
        assert!(began.elapsed() < PATIENCE / 2);
        Ok(())
    });
}
