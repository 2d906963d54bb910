//! Start, terminate, restart, delete, list, count and change flags while it runs.

use watertight::spec::SpecError;
use watertight::{AdministrationError, AutoShutdown, ChildCount, Flags, Intensity, Shutdown, Strategy};

use super::*;

#[test]
fn a_child_is_started_terminated_restarted_and_deleted() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        sys.start_group(group_of(&journal, "g", &["a"])).await?;
        let b = sys.start_child("g", member(&journal, "b")).await?;
        let first = b.ask(MemberPid).await?;
        sys.terminate_child("g/b").await?;
        assert_eq!(phase(&sys, "g/b").await?, Phase::Stopped);
        // What is sent to it waits for its restart.
        let waiting = tokio::spawn({
            let b = b.clone();
            async move { b.ask(MemberPid).deadline(PATIENCE).await }
        });
        sys.restart_child("g/b").await?;
        let second = waiting.await??;
        assert_ne!(first, second);
        sys.terminate_child("g/b").await?;
        sys.delete_child("g/b").await?;
        assert_eq!(sys.children("g").await?.len(), 1);
        assert!(b.ask(MemberPid).await.is_err());
        let expected = ["start g/a#1", "start g/b#1", "stop g/b#1", "start g/b#2", "stop g/b#2"];
        assert_eq!(journal.lines(), expected);
        Ok(())
    });
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    watertight::test(async |sys| {
        use AdministrationError::*;
        let journal = Journal::new();
        sys.start_group(group_of(&journal, "g", &["a", "b"])).await?;
        let alone = sys.spawn_with(member(&journal, "alone")).await?;
        let path = |path: &str| path.to_owned();
        let holder = find(&sys, "g/a").await?.actor();
        let again = sys.start_child("g", member(&journal, "a")).await.unwrap_err();
        assert_eq!(again, AlreadyStarted { path: path("g/a"), holder });
        sys.terminate_child("g/b").await?;
        let present = sys.start_child("g", member(&journal, "b")).await.unwrap_err();
        assert_eq!(present, AlreadyPresent(path("g/b")));
        assert_eq!(sys.restart_child("g/a").await, Err(Running(path("g/a"))));
        assert_eq!(sys.delete_child("g/a").await, Err(Running(path("g/a"))));
        assert_eq!(sys.restart_child("g/x").await, Err(NotFound(path("g/x"))));
        assert_eq!(sys.terminate_child("g/x").await, Err(NotFound(path("g/x"))));
        assert_eq!(sys.delete_child("alone").await, Err(Dynamic(path("alone"))));
        assert_eq!(sys.set_flags("g/a", Flags::default()).await, Err(NotAGroup(path("g/a"))));
        let instance = sys.start_instance::<Member>("g", journal.manner()).await.unwrap_err();
        assert_eq!(instance, NotDynamic(path("g")));
        assert_eq!(
            sys.start_child("alone", member(&journal, "c")).await.unwrap_err(),
            NotAGroup(path("alone"))
        );
        assert_eq!(alone.ask(MemberPid).await?, pid(&sys, "alone").await?);
        Ok(())
    });
}

#[test]
fn a_child_that_waits_for_its_restart_is_restarting_and_can_be_terminated() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let slow = Backoff {
            first: Duration::from_secs(1000),
            most: Duration::from_secs(1000),
            quiet: Duration::from_secs(1000),
        };
        sys.start_group(Group::new("g").child(member(&journal, "a").backoff(slow))).await?;
        let mut events = sys.events().await?;
        crash(&sys, "g/a").await?;
        events.started("g/a", 2).await?;
        crash(&sys, "g/a").await?;
        events.wait_for(|e| matches!(e, Event::Exited(_)).then_some(())).await?;
        assert_eq!(phase(&sys, "g/a").await?, Phase::Restarting);
        assert_eq!(sys.restart_child("g/a").await, Err(AdministrationError::Restarting("g/a".into())));
        assert_eq!(sys.delete_child("g/a").await, Err(AdministrationError::Restarting("g/a".into())));
        sys.terminate_child("g/a").await?;
        sys.restart_child("g/a").await?;
        events.started("g/a", 3).await?;
        Ok(())
    });
}

#[test]
fn a_spec_that_contradicts_itself_is_refused_with_its_path_before_anything_starts() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let of = |child: Spec<Member>| {
            Group::new("g").child(member(&journal, "a")).group(Group::new("in").child(child))
        };
        let cases = [
            (of(member(&journal, "x").significant()), "g/in/x", SpecError::Significant),
            (
                of(member(&journal, "x").restart(Restart::Transient).significant()),
                "g/in/x",
                SpecError::Significant,
            ),
            (of(member(&journal, "x").intensity(1, PATIENCE)), "g/in/x", SpecError::IntensityInGroup),
            (of(member(&journal, "x").outlives_parent()), "g/in/x", SpecError::OutlivesNobody),
            (of(member(&journal, "x/y")), "g/in/x/y", SpecError::Name("x/y".into())),
            (of(member(&journal, "")), "g/in/", SpecError::Name(String::new())),
            (of(member(&journal, "x").mailbox(0, 0)), "g/in/x", SpecError::Mailbox),
            (group_of(&journal, "g", &["a", "a"]), "g/a", SpecError::SameName),
            (Group::new("g").group(Group::new("in").significant()), "g/in", SpecError::Significant),
            (
                Group::new("g").intensity(1, Duration::ZERO),
                "g",
                SpecError::Zero("the intensity's period".into()),
            ),
            (
                Group::dynamic("g", Spec::<Member>::new(journal.manner())).strategy(Strategy::OneForAll),
                "g",
                SpecError::Dynamic,
            ),
            (Group::dynamic("g", member(&journal, "named")), "g/named", SpecError::Dynamic),
        ];
        for (group, path, error) in cases {
            let expected = AdministrationError::Spec { path: path.into(), error };
            assert_eq!(sys.start_group(group).await, Err(expected));
        }
        let deep = (0..20).fold(Group::new("end"), |group, nth| Group::new(nth.to_string()).group(group));
        let error = sys.start_group(deep).await.unwrap_err();
        assert!(matches!(&error, AdministrationError::Spec { error: SpecError::TooDeep, .. }), "{error}");
        assert!(journal.lines().is_empty() && sys.tree(None).await?.nodes.is_empty());
        Ok(())
    });
}

#[test]
fn instances_of_a_dynamic_group_come_and_go_and_are_found_by_number_or_name() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let template = Spec::<Member>::new(journal.manner()).backoff(Backoff::NONE);
        sys.start_group(Group::dynamic("g", template)).await?;
        sys.start_instance::<Member>("g", journal.manner()).await?;
        sys.start_instance::<Member>("g", journal.manner()).await?;
        let eve = sys.start_named_instance::<Member>("g", "eve", journal.manner()).await?;
        let names = async || -> Result<Vec<String>> {
            Ok(sys.children("g").await?.into_iter().map(|child| child.path).collect())
        };
        assert_eq!(names().await?, ["g/1", "g/2", "g/eve"]);
        let mut events = sys.events().await?;
        crash(&sys, "g/1").await?;
        events.started("g/1", 2).await?;
        sys.terminate_child("g/2").await?;
        // Forgotten: its name is free.
        assert_eq!(names().await?, ["g/1", "g/eve"]);
        assert_eq!(sys.restart_child("g/eve").await, Err(AdministrationError::Dynamic("g/eve".into())));
        assert_eq!(
            sys.start_child("g", member(&journal, "x")).await.unwrap_err(),
            AdministrationError::Dynamic("g".into())
        );
        sys.stop(&eve).await?;
        assert_eq!(sys.count_children("g").await?, ChildCount { specs: 1, active: 1, groups: 0, actors: 1 });
        Ok(())
    });
}

#[test]
fn specs_are_read_counted_and_drawn() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = Group::new("shop")
            .strategy(Strategy::RestForOne)
            .child(member(&journal, "store").shutdown(Shutdown::BrutalKill).restart(Restart::Transient))
            .group(group_of(&journal, "desks", &["one", "two"]));
        sys.start_group(group).await?;
        sys.terminate_child("shop/desks/two").await?;
        let spec = sys.child_spec("shop/store").await?;
        assert_eq!((spec.restart, spec.shutdown), (Restart::Transient, Some(Shutdown::BrutalKill)));
        let spec = sys.child_spec("shop").await?;
        assert_eq!(spec.group.map(|flags| flags.strategy), Some(Strategy::RestForOne));
        assert_eq!(
            sys.count_children("shop").await?,
            ChildCount { specs: 2, active: 2, groups: 1, actors: 1 }
        );
        assert_eq!(
            sys.count_children("shop/desks").await?,
            ChildCount { specs: 2, active: 1, groups: 0, actors: 2 }
        );
        let drawn = sys.tree(Some("shop")).await?.to_string();
        let lines: Vec<&str> = drawn.lines().map(|line| line.split(" pid").next().unwrap()).collect();
        assert_eq!(
            lines,
            ["shop [RestForOne]", "├─ store#1", "└─ desks [OneForOne]", "   ├─ one#1", "   └─ two#1 stopped"]
        );
        Ok(())
    });
}

#[test]
fn new_flags_count_from_the_next_decision_on_and_are_taken_whole_or_not_at_all() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let group = group_of(&journal, "g", &["a", "b"])
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(member(&journal, "s").restart(Restart::Transient).significant());
        sys.start_group(group).await?;
        let flags = Flags {
            strategy: Strategy::OneForAll,
            intensity: Intensity { restarts: 9, within: PATIENCE },
            auto_shutdown: AutoShutdown::Never,
        };
        let refused = sys.set_flags("g", flags).await.unwrap_err();
        assert_eq!(refused, AdministrationError::Spec { path: "g/s".into(), error: SpecError::Significant });
        assert_eq!(sys.child_spec("g").await?.group.unwrap().strategy, Strategy::OneForOne);
        let flags = Flags { auto_shutdown: AutoShutdown::AllSignificant, ..flags };
        sys.set_flags("g", flags).await?;
        assert_eq!(sys.child_spec("g").await?.group, Some(flags));
        let mut events = sys.events().await?;
        crash(&sys, "g/a").await?;
        events.started("g/s", 2).await?;
        assert_eq!(
            journal.lines()[3..],
            ["stop g/s#1", "stop g/b#1", "start g/a#2", "start g/b#2", "start g/s#2"]
        );
        Ok(())
    });
}

#[test]
fn a_start_that_declines_is_no_failure_and_its_spec_is_kept() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let manner = Manner { declines: Some(1), ..journal.manner() };
        let idle = Spec::<Member>::new(manner.clone()).name("idle");
        sys.start_group(group_of(&journal, "g", &["a"]).child(idle).child(member(&journal, "b"))).await?;
        assert_eq!(phase(&sys, "g/idle").await?, Phase::Stopped);
        sys.restart_child("g/idle").await?;
        assert_eq!(phase(&sys, "g/idle").await?, Phase::Stopped);
        assert_eq!(journal.lines(), ["start g/a#1", "start g/b#1"]);
        let error = sys.spawn::<Member>(manner).await.unwrap_err();
        assert_eq!(error.to_string(), "it declined to start: nothing to do");
        Ok(())
    });
}

#[test]
fn what_a_start_announces_is_known_of_its_life() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let it = sys.spawn_with(member(&journal, "it")).await?;
        assert_eq!(sys.info(&it).await?.start_info::<(u32, String)>()?, Some((1, "hello".into())));
        let mut events = sys.events().await?;
        sys.kill(&it).await?;
        events.started("it", 2).await?;
        assert_eq!(sys.info(&it).await?.start_info::<(u32, String)>()?, Some((2, "hello".into())));
        Ok(())
    });
}

#[test]
fn the_supervisor_answers_while_a_child_is_restarted_over_and_over() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let manner = journal.manner().failing_from(2);
        let looping = Spec::<Member>::new(manner).name("looping").backoff(Backoff::NONE);
        let group = group_of(&journal, "g", &["a"]).child(looping).intensity(u32::MAX, PATIENCE);
        sys.start_group(group).await?;
        crash(&sys, "g/looping").await?;
        for nth in 0..20 {
            sys.start_child("g", member(&journal, &format!("more-{nth}"))).await?;
            assert!(matches!(
                phase(&sys, "g/looping").await?,
                Phase::Restarting | Phase::Starting | Phase::Running
            ));
        }
        sys.terminate_child("g/looping").await?;
        sys.delete_child("g/looping").await?;
        assert_eq!(sys.children("g").await?.len(), 21);
        Ok(())
    });
}
