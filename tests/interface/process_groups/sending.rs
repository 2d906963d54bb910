//! Messages to the members of a group: to one, in turns, and to all.

use super::*;

#[test]
fn members_take_turns_in_being_told_and_asked() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?;
        for _ in 0..30 {
            view.tell_one(Read).await?;
        }
        for member in &members {
            assert_eq!(member.ask(HasRead).await?, 10);
        }
        let mut asked = BTreeMap::new();
        for _ in 0..9 {
            *asked.entry(view.ask_one(Read).await?).or_insert(0) += 1;
        }
        assert_eq!(asked.into_values().collect::<Vec<_>>(), [3, 3, 3]);
        // Whoever has ended is passed over, without a moment in which it is not.
        sys.stop(&members[1]).await?;
        for _ in 0..4 {
            view.tell_one(Read).await?;
        }
        assert_eq!((members[0].ask(HasRead).await?, members[2].ask(HasRead).await?), (15, 15));
        // From another task too: what is awaited may move between threads.
        let view = Arc::new(view);
        let shared = Arc::clone(&view);
        tokio::spawn(async move { shared.ask_one(Read).await.map(|_| ()) }).await??;
        Ok(())
    });
}

#[test]
fn an_empty_group_gives_the_message_back() {
    watertight::test(async |sys| {
        let view = sys.members::<Reader>("readers").await?;
        let error = view.tell_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has no members");
        assert!(matches!(error, TellOneError::Empty(Read, _)));
        let Read = error.into_message();
        let error = view.ask_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has no members");
        assert!(matches!(error, AskOneError::Empty(Read, _)));
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (0, 0));
        Ok(())
    });
}

#[test]
fn a_full_member_is_passed_over_and_when_all_are_full_the_message_comes_back() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let busy = held(&sys, &gate, 1).await?;
        let idle = reader(&sys, "idle").await?;
        let view = sys.members::<Reader>("readers").await?.deadline(PATIENCE);
        for _ in 0..10 {
            view.tell_one(Read).await?;
        }
        // The busy one had room for one more.
        assert_eq!(idle.ask(HasRead).await?, 9);
        idle.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        let view = view.deadline(MOMENT);
        let error = view.tell_one(Read).await.unwrap_err();
        assert!(matches!(error, TellOneError::Tell(TellError::Deadline(Read))), "{error:?}");
        assert_eq!(error.to_string(), "the mailbox stayed full until the deadline");
        let error = view.ask_one(Read).await.unwrap_err();
        assert_eq!(error.to_string(), "no reply by the deadline");
        // A newcomer has room, and whoever waits is told to it.
        let view = Arc::new(sys.members::<Reader>("readers").await?.deadline(PATIENCE));
        let waiting = Arc::clone(&view);
        let waiting = tokio::spawn(async move { waiting.tell_one(Read).await });
        sys.list().await?;
        assert!(!waiting.is_finished());
        let newcomer = reader(&sys, "newcomer").await?;
        waiting.await??;
        assert_eq!(newcomer.ask(HasRead).await?, 1);
        newcomer.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        // And so has one who comes to it.
        let waiting = Arc::clone(&view);
        let waiting = tokio::spawn(async move { waiting.ask_one(Read).await });
        sys.list().await?;
        gate.ask(Open).await?;
        waiting.await??;
        assert_eq!(busy.ask(HasRead).await?, 2);
        Ok(())
    });
}

#[test]
fn all_members_are_told_and_those_that_are_not_are_named() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?.deadline(PATIENCE);
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (3, 0));
        let gate = sys.spawn::<Gate>(()).await?;
        let busy = held(&sys, &gate, 1).await?;
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (4, 0), "it had room for one more");
        // The others have had time to handle what they were told, so that only one is full.
        for member in &members {
            member.ask(HasRead).await?;
        }
        let view = view.deadline(MOMENT);
        let told = view.tell_all(Read).await;
        assert_eq!((told.accepted, told.failures.len()), (3, 1));
        assert_eq!(told.failures[0].0, busy);
        assert!(matches!(told.failures[0].1, TellError::Deadline(Read)), "{told:?}");
        for member in &members {
            assert_eq!(member.ask(HasRead).await?, 3);
        }
        gate.ask(Open).await?;
        assert_eq!(busy.ask(HasRead).await?, 1);
        Ok(())
    });
}

#[test]
fn a_member_that_is_killed_while_all_are_told_disturbs_nobody_and_nothing_is_lost_silently() {
    watertight::test(async |sys| {
        let members = three(&sys).await?;
        let view = sys.members::<Reader>("readers").await?;
        let before = sys.balance(PATIENCE).await?.accepted;
        let (sys_1, victim) = (sys.clone(), members[1].clone());
        let killing = tokio::spawn(async move {
            for _ in 0..5 {
                victim.ask(HasRead).await.ok();
                sys_1.kill(&victim).await?;
            }
            Ok::<_, SystemError>(())
        });
        let (mut rounds, mut accepted) = (0, 0);
        while rounds < 200 || !killing.is_finished() {
            let told = view.tell_all(Read).await;
            assert!(told.failures.is_empty(), "{told:?}");
            rounds += 1;
            accepted += told.accepted as u64;
            tokio::task::yield_now().await;
        }
        killing.await??;
        sys.settled().await;
        let ledger = sys.balance(PATIENCE).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        assert!((accepted..=accepted + 5).contains(&(ledger.accepted - before)), "{accepted}, {ledger:?}");
        for member in [&members[0], &members[2]] {
            assert_eq!(member.ask(HasRead).await?, rounds);
        }
        assert!(accepted < 3 * rounds + 1 && accepted >= 2 * rounds);
        Ok(())
    });
}

#[test]
fn an_actor_spreads_work_over_its_own_group_and_never_waits_for_itself() {
    watertight::test(async |sys| {
        let it = reader(&sys, "it").await?;
        // Only itself: what would wait for its own handler is refused.
        let group = || "readers".to_owned();
        let words = "the ask was refused: the actor it would wait for is waiting for this one";
        assert_eq!(it.ask(AskMate(group())).await?, Err(words.into()));
        let mate = reader(&sys, "mate").await?;
        let pid = mate.ask(Read).await?;
        // Its own view may show the mate a moment later than this.
        while it.ask(AskMate(group())).await? != Ok(pid) {}
        let answers = [it.ask(AskMate(group())).await?, it.ask(AskMate(group())).await?];
        assert!(answers.contains(&Ok(pid)) && answers.contains(&Err(words.into())), "{answers:?}");
        sys.stop(&mate).await?;
        // Its own mailbox takes what fits, and it does not wait for room that only it could make.
        let desk = Desk { groups: vec!["small".into()], ..Desk::default() };
        let small = sys.spawn_with(Spec::<Reader>::new(desk).mailbox(3, 1 << 20)).await?;
        let errors = small.ask(TellMates("small".into(), 5)).await?;
        assert_eq!(errors, ["the mailbox is full"; 2]);
        sys.balance(PATIENCE).await?;
        assert_eq!(small.ask(HasRead).await?, 3);
        Ok(())
    });
}
