//! Telling and asking: addresses and recipients, what is refused and how, and what becomes of the message.

use std::collections::HashSet;

use watertight::error::Unreachable;
use watertight::{AskError, Executed};
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

impl Actor for Through {
    type Args = Address<Gate>;
    type Messages = (Go, Text, Handled, Fail, Echo);

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
        match text.parse::<i32>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::from(error).context(format!("failed to read {text:?}"))),
        }
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
