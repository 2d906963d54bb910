//! `cx.defer` and `ReplyTo`: answered later, elsewhere, by somebody else, or not at all.

use watertight::{AskError, Executed};

use super::*;

/// Keeps rights to reply and does with them what it is told.
struct Desk {
    gate: Option<Address<Gate>>,
    clerk: Option<Address<Desk>>,
    kept: Vec<ReplyTo<String>>,
}

/// Answered in the way that it names.
#[message(reply = String)]
struct Question(How);

#[data]
enum How {
    /// When somebody says `Answer`.
    Later,
    /// From a task, which first waits at the gate.
    Task,
    /// By the clerk, as told.
    Clerk(Clerks),
    /// At once, although deferred; then the handler goes on and waits at the gate.
    AtOnceThenWait,
    /// Not at all.
    Drop,
    Fail,
    /// With this result.
    Result(bool),
    /// With more than fits.
    TooLarge,
    /// Deferred, and yet a value is returned.
    DeferAndReturn,
    /// Not at all: the desk dies with the question kept.
    Die,
}

#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clerks {
    Answers,
    Keeps,
    Drops,
    Dies,
    /// Hands it back to the desk, which keeps it.
    HandsBack,
}

#[message]
struct Forwarded(ReplyTo<String>, Clerks, Address<Desk>);

#[message]
struct HandedBack(ReplyTo<String>);

/// Answers all that are kept, and says how many that were.
#[message(reply = u32)]
struct Answer(String);

#[message(reply = u32)]
struct Kept;

impl Actor for Desk {
    type Args = (Option<Address<Gate>>, Option<Address<Desk>>);
    type Messages = (Question, Forwarded, HandedBack, Answer, Kept);

    async fn start((gate, clerk): Self::Args, _: &mut Context<Self>) -> Result<Self> {
        Ok(Desk { gate, clerk, kept: Vec::new() })
    }
}

impl Handler<Question> for Desk {
    async fn handle(&mut self, Question(how): Question, cx: &mut Context<Self>) -> Result<String> {
        let gate = self.gate.clone();
        match how {
            How::Later => cx.defer(|reply| self.kept.push(reply)),
            How::Task => cx.defer(|reply| {
                tokio::spawn(async move {
                    if let Some(gate) = gate {
                        reply.send_result(
                            gate.ask(Pass).await.map(|()| "from a task".into()).map_err(Error::from),
                        );
                    }
                });
            }),
            How::Clerk(clerks) => {
                let mut right = None;
                let result = cx.defer(|reply| right = Some(reply));
                if let (Some(clerk), Some(right)) = (&self.clerk, right) {
                    clerk.tell(Forwarded(right, clerks, cx.address())).await?;
                }
                result
            }
            How::AtOnceThenWait => {
                let result = cx.defer(|reply: ReplyTo<String>| reply.send("at once".into()));
                if let Some(gate) = gate {
                    gate.ask(Pass).deadline(PATIENCE).await?;
                }
                result
            }
            How::Drop => cx.defer(drop),
            How::Fail => cx.defer(|reply: ReplyTo<String>| reply.fail(Error::new("no"))),
            How::Result(well) => cx.defer(|reply: ReplyTo<String>| {
                reply.send_result(if well { Ok("well".into()) } else { Err(Error::new("unwell")) });
            }),
            How::TooLarge => cx.defer(|reply: ReplyTo<String>| reply.send("x".repeat(17 << 20))),
            How::DeferAndReturn => {
                let _ = cx.defer(|reply| self.kept.push(reply));
                Ok("returned".into())
            }
            How::Die => {
                let _: Result<String> = cx.defer(|reply| self.kept.push(reply));
                std::process::abort()
            }
        }
    }
}

impl Handler<Forwarded> for Desk {
    async fn handle(
        &mut self,
        Forwarded(right, clerks, desk): Forwarded,
        _: &mut Context<Self>,
    ) -> Result<()> {
        match clerks {
            Clerks::Answers => right.send("from the clerk".into()),
            Clerks::Keeps => self.kept.push(right),
            Clerks::Drops => drop(right),
            Clerks::Dies => std::process::abort(),
            Clerks::HandsBack => desk.tell(HandedBack(right)).await?,
        }
        Ok(())
    }
}

impl Handler<HandedBack> for Desk {
    async fn handle(&mut self, HandedBack(right): HandedBack, _: &mut Context<Self>) -> Result<()> {
        self.kept.push(right);
        Ok(())
    }
}

impl Handler<Answer> for Desk {
    async fn handle(&mut self, Answer(text): Answer, _: &mut Context<Self>) -> Result<u32> {
        let kept = std::mem::take(&mut self.kept);
        let count = u32::try_from(kept.len())?;
        kept.into_iter().for_each(|reply| reply.send(text.clone()));
        Ok(count)
    }
}

impl Handler<Kept> for Desk {
    async fn handle(&mut self, _: Kept, _: &mut Context<Self>) -> Result<u32> {
        Ok(u32::try_from(self.kept.len())?)
    }
}

/// Asks until the desk keeps so many.
async fn keeps(desk: &Address<Desk>, count: u32) -> Result<()> {
    while desk.ask(Kept).await? < count {}
    Ok(())
}

async fn desk_and_clerk(sys: &System) -> Result<(Address<Gate>, Address<Desk>, Address<Desk>)> {
    let gate = sys.spawn::<Gate>(()).await?;
    let clerk = sys.spawn_with(Spec::<Desk>::new((None, None)).name("clerk").backoff(Backoff::NONE)).await?;
    let desk =
        Spec::<Desk>::new((Some(gate.clone()), Some(clerk.clone()))).name("desk").backoff(Backoff::NONE);
    Ok((gate, sys.spawn_with(desk).await?, clerk))
}

#[test]
fn a_deferred_reply_comes_later_and_other_messages_are_handled_meanwhile() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        let (first, second, answered) =
            tokio::join!(desk.ask(Question(How::Later)), desk.ask(Question(How::Later)), async {
                keeps(&desk, 2).await?;
                Ok::<_, Error>(desk.ask(Answer("both".into())).await?)
            });
        assert_eq!((&*first?, &*second?, answered?), ("both", "both", 2));
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn a_task_may_answer() {
    watertight::test(async |sys| {
        let (gate, desk, _) = desk_and_clerk(&sys).await?;
        let (answer, opened) = tokio::join!(desk.ask(Question(How::Task)), async {
            gate.ask(Waiting(1)).await?;
            assert_eq!(desk.ask(Kept).await?, 0, "the desk is free while its task waits");
            Ok::<_, Error>(gate.ask(Open).await?)
        });
        opened?;
        assert_eq!(answer?, "from a task");
        Ok(())
    });
}

#[test]
fn another_actor_may_answer_at_once_later_or_after_handing_the_right_back() {
    watertight::test(async |sys| {
        let (_, desk, clerk) = desk_and_clerk(&sys).await?;
        for _ in 0..20 {
            assert_eq!(desk.ask(Question(How::Clerk(Clerks::Answers))).await?, "from the clerk");
        }
        for (clerks, holder) in [(Clerks::Keeps, &clerk), (Clerks::HandsBack, &desk)] {
            let (answer, answered) = tokio::join!(desk.ask(Question(How::Clerk(clerks))), async {
                keeps(holder, 1).await?;
                Ok::<_, Error>(holder.ask(Answer("at last".into())).await?)
            });
            assert_eq!((answer?.as_str(), answered?), ("at last", 1), "{clerks:?}");
        }
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

/// Asks the desk while it handles a message.
struct Customer;

#[message(reply = String)]
struct AskTheDesk(Address<Desk>);

impl Actor for Customer {
    type Args = ();
    type Messages = (AskTheDesk,);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Customer)
    }
}

impl Handler<AskTheDesk> for Customer {
    async fn handle(&mut self, AskTheDesk(desk): AskTheDesk, _: &mut Context<Self>) -> Result<String> {
        Ok(desk.ask(Question(How::Clerk(Clerks::Answers))).await?)
    }
}

#[test]
fn an_actor_that_waits_in_a_handler_hears_a_third_partys_answer() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        let customer = sys.spawn::<Customer>(()).await?;
        for _ in 0..3 {
            assert_eq!(customer.ask(AskTheDesk(desk.clone())).await?, "from the clerk");
        }
        Ok(())
    });
}

#[test]
fn a_right_that_is_dropped_ends_the_ask_at_once() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        for how in [How::Drop, How::Clerk(Clerks::Drops)] {
            let error = desk.ask(Question(how)).deadline(PATIENCE).await.unwrap_err();
            assert_same(error, AskError::NoReply);
        }
        Ok(())
    });
}

#[test]
fn errors_results_and_replies_too_large_are_told_as_if_they_were_returned() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        assert_same(desk.ask(Question(How::Fail)).await.unwrap_err(), AskError::Failed(Error::new("no")));
        assert_eq!(desk.ask(Question(How::Result(true))).await?, "well");
        let error = desk.ask(Question(How::Result(false))).await.unwrap_err();
        assert_same(error, AskError::Failed(Error::new("unwell")));
        assert!(matches!(desk.ask(Question(How::TooLarge)).await, Err(AskError::BadReply(_))));
        Ok(())
    });
}

#[test]
fn what_is_returned_beside_a_deferral_is_not_a_second_reply() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        let (answer, answered) = tokio::join!(desk.ask(Question(How::DeferAndReturn)), async {
            keeps(&desk, 1).await?;
            Ok::<_, Error>(desk.ask(Answer("kept".into())).await?)
        });
        assert_eq!((answer?.as_str(), answered?), ("kept", 1));
        Ok(())
    });
}

#[test]
fn a_told_message_may_be_deferred_and_nobody_is_answered() {
    watertight::test(async |sys| {
        let (_, desk, clerk) = desk_and_clerk(&sys).await?;
        desk.tell(Question(How::Later)).await?;
        desk.tell(Question(How::Clerk(Clerks::Keeps))).await?;
        keeps(&desk, 1).await?;
        keeps(&clerk, 1).await?;
        assert_eq!((desk.ask(Answer("x".into())).await?, clerk.ask(Answer("x".into())).await?), (1, 1));
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn the_asker_is_told_when_the_desk_dies_that_keeps_its_question() {
    watertight::test(async |sys| {
        let (_, desk, _) = desk_and_clerk(&sys).await?;
        let (answer, killed) = tokio::join!(desk.ask(Question(How::Later)).deadline(PATIENCE), async {
            keeps(&desk, 1).await?;
            Ok::<_, Error>(sys.kill(&desk).await?)
        });
        killed?;
        match answer.unwrap_err() {
            AskError::Died { executed: Executed::Yes, report } => assert_eq!(report.exit, Exit::Killed),
            other => panic!("{other:?}"),
        }
        // In the middle of the handler it is in doubt, although there was a right to reply.
        match desk.ask(Question(How::Die)).deadline(PATIENCE).await.unwrap_err() {
            AskError::Died { executed: Executed::Maybe, .. } => {}
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn the_asker_is_told_when_a_third_party_dies_with_its_question() {
    watertight::test(async |sys| {
        let (_, desk, clerk) = desk_and_clerk(&sys).await?;
        // From here on the clerk has a way to the program, on which it says at once what it holds.
        desk.ask(Question(How::Clerk(Clerks::Answers))).await?;
        let (answer, killed) =
            tokio::join!(desk.ask(Question(How::Clerk(Clerks::Keeps))).deadline(PATIENCE), async {
                keeps(&clerk, 1).await?;
                Ok::<_, Error>(sys.kill(&clerk).await?)
            });
        killed?;
        let error = answer.unwrap_err();
        assert!(matches!(error, AskError::NoReply | AskError::Died { .. }), "{error:?}");
        // When it dies in the very message that brings the question, it may not have come to say that it holds it:
        // the ask ends all the same, by its deadline.
        let ask = desk.ask(Question(How::Clerk(Clerks::Dies))).deadline(Duration::from_millis(200));
        let error = ask.await.unwrap_err();
        assert_eq!(error.executed(), Executed::Maybe, "{error:?}");
        Ok(())
    });
}

#[test]
fn the_death_of_the_desk_does_not_end_what_the_clerk_will_answer() {
    watertight::test(async |sys| {
        let (_, desk, clerk) = desk_and_clerk(&sys).await?;
        let (answer, answered) =
            tokio::join!(desk.ask(Question(How::Clerk(Clerks::Keeps))).deadline(PATIENCE), async {
                keeps(&clerk, 1).await?;
                // The desk has let go of the question.
                assert_eq!(desk.ask(Kept).await?, 0);
                sys.kill(&desk).await?;
                // The desk's next incarnation answers: its death has been told.
                assert_eq!(desk.ask(Kept).await?, 0);
                Ok::<_, Error>(clerk.ask(Answer("still".into())).await?)
            });
        assert_eq!((answer?.as_str(), answered?), ("still", 1));
        Ok(())
    });
}

#[test]
fn an_answer_may_be_sent_before_the_handler_returns_and_a_death_after_it_loses_and_repeats_nothing() {
    watertight::test(async |sys| {
        let (gate, desk, _) = desk_and_clerk(&sys).await?;
        let answer = desk.ask(Question(How::AtOnceThenWait)).deadline(PATIENCE).await?;
        assert_eq!(answer, "at once");
        gate.ask(Waiting(1)).await?;
        sys.kill(&desk).await?;
        assert_eq!(desk.ask(Kept).await?, 0);
        let ledger = sys.balance(Duration::from_secs(2)).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        gate.ask(Open).await?;
        assert_eq!(desk.ask(Question(How::AtOnceThenWait)).await?, "at once");
        Ok(())
    });
}

#[test]
fn an_answer_after_the_deadline_goes_nowhere_and_disturbs_nobody() {
    watertight::test(async |sys| {
        let (_, desk, clerk) = desk_and_clerk(&sys).await?;
        for (how, holder) in [(How::Later, &desk), (How::Clerk(Clerks::Keeps), &clerk)] {
            let error = desk.ask(Question(how)).deadline(Duration::from_millis(50)).await.unwrap_err();
            assert_same(error, AskError::Deadline { executed: Executed::Maybe });
            keeps(holder, 1).await?;
            assert_eq!(holder.ask(Answer("late".into())).await?, 1);
            assert_eq!(desk.ask(Question(How::Result(true))).await?, "well");
        }
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}
