//! What an actor knows of itself and of the message in hand, and how it says that it goes on.

use std::time::Instant;

use watertight::ActorId;

use super::*;

/// Tells what its context says, and passes the question on to a second of its kind if it has one.
struct Teller {
    next: Option<Address<Teller>>,
    told: Option<About>,
}

/// What a context says.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
struct About {
    address: Address<Teller>,
    name: String,
    incarnation: u32,
    attempt: u8,
    sender: u64,
    /// What is left until the deadline.
    left: Option<Duration>,
}

#[message(reply = About)]
struct Tell;

/// What the context said when the last one was handled that was told.
#[message(reply = Option<About>)]
struct Told;

/// Asks the next one, and waits for it as long as itself.
#[message(reply = About)]
struct AskNext;

impl Actor for Teller {
    type Args = Option<Address<Teller>>;
    type Messages = (Tell, Told, AskNext);

    async fn start(next: Option<Address<Teller>>, cx: &mut Context<Self>) -> Result<Self> {
        assert_eq!(
            (cx.attempt(), cx.deadline(), cx.sender()),
            (1, None, ActorId::PROGRAM),
            "no message is in hand"
        );
        Ok(Teller { next, told: None })
    }
}

impl Handler<Tell> for Teller {
    async fn handle(&mut self, _: Tell, cx: &mut Context<Self>) -> Result<About> {
        let about = About {
            address: cx.address(),
            name: cx.name().to_owned(),
            incarnation: cx.incarnation().0,
            attempt: cx.attempt(),
            sender: cx.sender().0,
            left: cx.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now())),
        };
        self.told = Some(about.clone());
        Ok(about)
    }
}

impl Handler<Told> for Teller {
    async fn handle(&mut self, _: Told, _: &mut Context<Self>) -> Result<Option<About>> {
        Ok(self.told.clone())
    }
}

impl Handler<AskNext> for Teller {
    async fn handle(&mut self, _: AskNext, _: &mut Context<Self>) -> Result<About> {
        let next = self.next.as_ref().ok_or_else(|| Error::new("there is no next"))?;
        Ok(next.ask(Tell).await?)
    }
}

#[test]
fn an_actor_knows_itself_and_the_message_in_hand() {
    watertight::test(async |sys| {
        let it = sys.spawn_with(Spec::<Teller>::new(None).name("it")).await?;
        let about = it.ask(Tell).deadline(Duration::from_secs(100)).await?;
        assert_eq!(
            (&about.address, &*about.name, about.incarnation, about.attempt, about.sender),
            (&it, "it", 1, 1, ActorId::PROGRAM.0)
        );
        let left = about.left.unwrap();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(100), "{left:?}");
        assert!(it.ask(Tell).await?.left.unwrap() <= watertight::DEFAULT_DEADLINE);
        it.tell(Tell).await?;
        assert_eq!(it.ask(Told).await?.unwrap().left, None, "nobody waits for what was told");
        sys.kill(&it).await?;
        let about = it.ask(Tell).await?;
        assert_eq!((about.address, about.incarnation), (it, 2));
        Ok(())
    });
}

#[test]
fn an_ask_in_a_handler_waits_no_longer_than_the_one_it_serves() {
    watertight::test(async |sys| {
        let last = sys.spawn::<Teller>(None).await?;
        let first = sys.spawn::<Teller>(Some(last.clone())).await?;
        let about = first.ask(AskNext).deadline(Duration::from_secs(2)).await?;
        assert!(about.left.unwrap() <= Duration::from_secs(2), "{about:?}");
        assert_eq!((about.address, about.sender), (last, first.actor().0));
        // And never longer than the default of its own.
        let about = first.ask(AskNext).deadline(Duration::from_secs(100)).await?;
        assert!(about.left.unwrap() <= watertight::DEFAULT_DEADLINE, "{about:?}");
        Ok(())
    });
}

/// Computes for long, saying so or not.
struct Worker;

/// For so many milliseconds without a pause; with progress or without.
#[message]
struct Compute(u32, bool);

impl Actor for Worker {
    type Args = ();
    type Messages = (Compute,);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Worker)
    }

    async fn stopped(&mut self, cx: &mut Context<Self>) {
        eprintln!("{} has stopped", cx.name());
    }
}

impl Handler<Compute> for Worker {
    async fn handle(&mut self, Compute(time, progress): Compute, cx: &mut Context<Self>) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(time.into());
        while Instant::now() < end {
            if progress {
                cx.progress();
            }
        }
        Ok(())
    }
}

#[test]
fn a_long_computation_that_says_that_it_goes_on_is_not_taken_for_hung() {
    watertight::test(async |sys| {
        let spec = Spec::<Worker>::new(()).hang_limit(Duration::from_millis(200)).backoff(Backoff::NONE);
        let worker = sys.spawn_with(spec).await?;
        worker.ask(Compute(1000, true)).await?;
        assert_eq!(sys.info(&worker).await?.restarts, 0);
        let error = worker.ask(Compute(4000, false)).await.unwrap_err();
        assert!(matches!(error.report().unwrap().exit, Exit::Hung(_)), "{error}");
        Ok(())
    });
}

#[test]
fn stopped_is_called_at_an_orderly_end_and_what_it_prints_is_in_the_report() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let worker = sys.spawn_with(Spec::<Worker>::new(()).name("worker")).await?;
        sys.stop(&worker).await?;
        let words = events.exited("*").await?.stderr;
        assert_eq!(words, ["worker has stopped"]);
        Ok(())
    });
}
