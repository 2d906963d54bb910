//! Who is restarted with whom, in which order, and how often.

use watertight::{AutoShutdown, Exit, GroupEnd, Strategy};
use watertight_tests::member::Finish;

use super::*;

/// Waits until the group of this path has ended, and says why.
pub async fn group_ended(events: &mut Events, wanted: &str) -> Result<GroupEnd> {
    events
        .wait_for(|event| match event {
            Event::GroupEnded { path, why, .. } if path == wanted => Some(why),
            _ => None,
        })
        .await
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let inner = group_of(&journal, "inner", &["b", "c"]);
        let group = group_of(&journal, "g", &["a"]).group(inner).child(member(&journal, "d"));
        sys.start_group(group).await?;
        sys.terminate_child("g").await?;
        let expected = [
            "start g/a#1",
            "start g/inner/b#1",
            "start g/inner/c#1",
            "start g/d#1",
            "stop g/d#1",
            "stop g/inner/c#1",
            "stop g/inner/b#1",
            "stop g/a#1",
        ];
        assert_eq!(journal.lines(), expected);
        assert!(sys.tree(None).await?.nodes.is_empty());
        Ok(())
    });
}

#[test]
fn one_for_one_restarts_nobody_else() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        sys.start_group(group_of(&journal, "g", &["a", "b", "c"])).await?;
        let (a, c) = (pid(&sys, "g/a").await?, pid(&sys, "g/c").await?);
        let mut events = sys.events().await?;
        crash(&sys, "g/b").await?;
        events.started("g/b", 2).await?;
        assert_eq!((pid(&sys, "g/a").await?, pid(&sys, "g/c").await?), (a, c));
        assert_eq!(journal.lines()[3..], ["start g/b#2"]);
        Ok(())
    });
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = group_of(&journal, "g", &["a", "b", "c"]).strategy(Strategy::OneForAll);
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        crash(&sys, "g/b").await?;
        events.started("g/c", 2).await?;
        let expected = ["stop g/c#1", "stop g/a#1", "start g/a#2", "start g/b#2", "start g/c#2"];
        assert_eq!(journal.lines()[3..], expected);
        Ok(())
    });
}

#[test]
fn rest_for_one_restarts_those_behind_it() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = group_of(&journal, "g", &["a", "b", "c", "d"]).strategy(Strategy::RestForOne);
        sys.start_group(group).await?;
        let a = pid(&sys, "g/a").await?;
        let mut events = sys.events().await?;
        crash(&sys, "g/b").await?;
        events.started("g/d", 2).await?;
        let expected = ["stop g/d#1", "stop g/c#1", "start g/b#2", "start g/c#2", "start g/d#2"];
        assert_eq!(journal.lines()[4..], expected);
        assert_eq!(pid(&sys, "g/a").await?, a);
        Ok(())
    });
}

#[test]
fn a_temporary_child_goes_with_its_group_and_does_not_come_back() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = Group::new("g")
            .strategy(Strategy::OneForAll)
            .child(member(&journal, "a"))
            .child(member(&journal, "t").restart(Restart::Temporary))
            .child(member(&journal, "b"));
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        // Its own end is nobody else's.
        crash(&sys, "g/t").await?;
        events.wait_for(|e| matches!(e, Event::Ended { name, .. } if name == "g/t").then_some(())).await?;
        sys.start_child("g", member(&journal, "u").restart(Restart::Temporary)).await?;
        crash(&sys, "g/a").await?;
        events.started("g/b", 2).await?;
        let names: Vec<String> = sys.children("g").await?.into_iter().map(|child| child.path).collect();
        assert_eq!(names, ["g/a", "g/b"]);
        Ok(())
    });
}

#[test]
fn a_transient_child_that_finished_rests_until_its_group_is_restarted() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = Group::new("g")
            .strategy(Strategy::OneForAll)
            .child(member(&journal, "a"))
            .child(member(&journal, "t").restart(Restart::Transient));
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        find(&sys, "g/t").await?.tell(Finish).await?;
        events.wait_for(|e| matches!(e, Event::Exited(r) if r.name == "g/t").then_some(())).await?;
        assert_eq!(phase(&sys, "g/t").await?, Phase::Stopped);
        crash(&sys, "g/a").await?;
        events.started("g/t", 2).await?;
        assert_eq!(phase(&sys, "g/t").await?, Phase::Running);
        Ok(())
    });
}

#[test]
fn more_restarts_than_the_group_bears_end_it_whoever_they_were() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = group_of(&journal, "g", &["a", "b"])
            .intensity(2, Duration::from_secs(60))
            .restart(Restart::Temporary);
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        for (name, life) in [("g/a", 2), ("g/b", 2)] {
            crash(&sys, name).await?;
            events.started(name, life).await?;
        }
        crash(&sys, "g/a").await?;
        assert_eq!(group_ended(&mut events, "g").await?, GroupEnd::GaveUp("g/a".into()));
        assert!(sys.tree(None).await?.nodes.is_empty());
        assert_eq!(journal.lines().last().map(String::as_str), Some("stop g/b#2"));
        Ok(())
    });
}

#[test]
fn a_group_that_gave_up_is_restarted_by_its_own_group_with_a_new_budget() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let inner = group_of(&journal, "inner", &["a", "b"])
            .intensity(0, Duration::from_secs(60))
            .backoff(Backoff::NONE);
        sys.start_group(Group::new("g").intensity(3, Duration::from_secs(60)).group(inner)).await?;
        let mut events = sys.events().await?;
        for life in 2..=4 {
            crash(&sys, "g/inner/a").await?;
            assert_eq!(group_ended(&mut events, "g/inner").await?, GroupEnd::GaveUp("g/inner/a".into()));
            events.started("g/inner/b", life).await?;
        }
        Ok(())
    });
}

#[test]
fn a_failed_start_stops_what_was_started_before_it_in_reverse_and_leaves_nothing() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let broken = Spec::<Member>::new(journal.manner().failing_from(1)).name("broken");
        let inner = Group::new("inner").child(member(&journal, "c")).child(broken);
        let group = group_of(&journal, "g", &["a", "b"]).group(inner).child(member(&journal, "never"));
        let error = sys.start_group(group).await.unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with("g/inner/broken: ") && words.contains("it fails to start"), "{words}");
        let expected = [
            "start g/a#1",
            "start g/b#1",
            "start g/inner/c#1",
            "stop g/inner/c#1",
            "stop g/b#1",
            "stop g/a#1",
        ];
        assert_eq!(journal.lines(), expected);
        assert!(sys.tree(None).await?.nodes.is_empty());
        // The names are free again.
        sys.start_group(group_of(&journal, "g", &["a"])).await?;
        Ok(())
    });
}

#[test]
fn a_failed_restart_counts_and_is_tried_again() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let manner = Manner { fails: Some((2, 4)), ..journal.manner() };
        let flaky = Spec::<Member>::new(manner).name("flaky").backoff(Backoff::NONE);
        sys.start_group(Group::new("g").intensity(3, Duration::from_secs(60)).child(flaky)).await?;
        let mut events = sys.events().await?;
        crash(&sys, "g/flaky").await?;
        events.started("g/flaky", 4).await?;
        assert_eq!(sys.tree(Some("g/flaky")).await?.nodes[0].restarts, 3);
        Ok(())
    });
}

#[test]
fn a_group_ends_with_its_first_or_its_last_significant_child() {
    watertight::test(async |sys| {
        for (auto_shutdown, first_is_enough) in
            [(AutoShutdown::AnySignificant, true), (AutoShutdown::AllSignificant, false)]
        {
            let journal = Journal::new();
            let significant = |name| member(&journal, name).restart(Restart::Transient).significant();
            let group = Group::new("g")
                .auto_shutdown(auto_shutdown)
                .child(significant("a"))
                .child(significant("b"))
                .child(member(&journal, "c"));
            sys.start_group(group).await?;
            let mut events = sys.events().await?;
            // A crash is followed by a restart, and is no end.
            crash(&sys, "g/a").await?;
            events.started("g/a", 2).await?;
            find(&sys, "g/a").await?.tell(Finish).await?;
            if !first_is_enough {
                events
                    .wait_for(|e| matches!(e, Event::Exited(r) if r.exit == Exit::Finished).then_some(()))
                    .await?;
                assert_eq!(phase(&sys, "g").await?, Phase::Running);
                find(&sys, "g/b").await?.tell(Finish).await?;
            }
            assert_eq!(group_ended(&mut events, "g").await?, GroupEnd::AutoShutdown);
            assert!(sys.tree(None).await?.nodes.is_empty());
        }
        Ok(())
    });
}

#[test]
fn a_significant_child_that_is_stopped_by_hand_does_not_count() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = Group::new("g")
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(member(&journal, "a").restart(Restart::Transient).significant())
            .child(member(&journal, "b"));
        sys.start_group(group).await?;
        sys.terminate_child("g/a").await?;
        assert_eq!((phase(&sys, "g").await?, phase(&sys, "g/b").await?), (Phase::Running, Phase::Running));
        Ok(())
    });
}
