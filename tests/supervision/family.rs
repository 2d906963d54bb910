//! Actors under actors.

use watertight_tests::member::{ChildOf, Found};

use super::*;

#[test]
fn children_stop_before_their_parent_the_last_one_first() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let manner = Manner { children: (3, 1), ..journal.manner() };
        let parent = sys.spawn_with(Spec::<Member>::new(manner).name("p")).await?;
        assert_eq!(sys.tree(Some("p")).await?.nodes.len(), 4);
        sys.stop(&parent).await?;
        assert_eq!(journal.lines()[4..], ["stop p-2#1", "stop p-1#1", "stop p-0#1", "stop p#1"]);
        Ok(())
    });
}

#[test]
fn children_die_with_their_parent_but_for_those_that_outlive_it_and_are_found_again() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let manner = Manner { children: (3, 1), ..journal.manner() };
        let parent = sys.spawn_with(Spec::<Member>::new(manner).name("p").backoff(Backoff::NONE)).await?;
        let kept = pid(&sys, "p-0").await?;
        let mut events = sys.events().await?;
        sys.kill(&parent).await?;
        events.started("p", 2).await?;
        let again = parent.ask(ChildOf("p-0".into())).await?;
        assert_eq!(again.ask(MemberPid).await?, kept);
        let error = parent.ask(ChildOf("p-1".into())).await.unwrap_err();
        assert_eq!(error.to_string(), "no actor is named \"p-1\"");
        // Its end for good is theirs.
        sys.stop(&parent).await?;
        assert!(sys.list().await?.is_empty());
        assert_eq!(journal.lines()[5..], ["stop p-0#1", "stop p#2"]);
        Ok(())
    });
}

#[test]
fn a_group_under_an_actor_ends_with_it_and_takes_it_along_when_it_is_given_up() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let parent = sys.spawn_with(member(&journal, "p")).await?;
        parent.ask(Found("team".into(), 2, 0)).await?;
        let mut events = sys.events().await?;
        crash(&sys, "team/1").await?;
        let exit = events.exited("p").await?.exit;
        assert_eq!(exit, watertight::Exit::Escalated("team/1".into()));
        events.started("p", 2).await?;
        assert_eq!(sys.tree(None).await?.nodes.len(), 1);
        // The name is free for the next life.
        parent.ask(Found("team".into(), 2, 1)).await?;
        sys.stop(&parent).await?;
        assert_eq!(
            journal.lines()[journal.lines().len() - 3..],
            ["stop team/1#1", "stop team/0#1", "stop p#2"]
        );
        Ok(())
    });
}
