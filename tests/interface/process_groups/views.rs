//! Views of the members of a group: who joins, leaves and ends, and in which order that is told.

use super::*;

#[test]
fn a_view_follows_who_joins_leaves_and_ends() {
    watertight::test(async |sys| {
        let mut view = sys.members::<Reader>("readers").await?;
        assert_eq!((view.group(), view.len(), view.is_empty()), ("readers", 0, true));
        let [one, two, three] = three(&sys).await?;
        assert_eq!(view.addresses(), [one.clone(), two.clone(), three.clone()]);
        for reader in [&one, &two, &three] {
            assert_eq!(view.changed().await, Some(Change::Joined(reader.clone())));
        }
        // What was before a view was made is no change of it.
        let mut later = sys.members::<Reader>("readers").await?;
        assert_eq!(later.len(), 3);
        two.ask(Leave("readers".into())).await?;
        two.ask(Leave("readers".into())).await?;
        for view in [&mut view, &mut later] {
            assert_eq!(view.changed().await, Some(Change::Left(two.clone())));
        }
        two.ask(Join("readers".into())).await?;
        two.ask(Join("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(view.addresses(), [one.clone(), three.clone(), two.clone()], "joining twice counts once");
        two.ask(Leave("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(view.len(), 2);
        sys.stop(&one).await?;
        assert_eq!(view.addresses(), [three]);
        // It came and went unseen.
        assert_eq!(view.changed().await, Some(Change::Left(one)));
        let mut next = Box::pin(view.changed());
        assert!(tokio::time::timeout(Duration::ZERO, &mut next).await.is_err());
        Ok(())
    });
}

#[test]
fn a_group_has_no_more_views_than_it_may_and_a_dropped_one_makes_room() {
    watertight::test(async |sys| {
        reader(&sys, "one").await?;
        for _ in 0..2 {
            let mut views = Vec::new();
            for _ in 0..1024 {
                views.push(sys.members::<Reader>("readers").await?);
            }
            let error = sys.members::<Reader>("readers").await.unwrap_err();
            let words = "there may be at most 1024 watchers of the group \"readers\"";
            assert_eq!(error.to_string(), words);
            assert!(views.iter().all(|view| view.len() == 1));
        }
        for bad in ["", "a\nb", &"x".repeat(101)] {
            let error = sys.members::<Reader>(bad).await.unwrap_err();
            assert_eq!(error, SystemError::BadName(bad.into()));
        }
        Ok(())
    });
}

#[test]
fn each_life_joins_again_and_what_was_joined_otherwise_is_over_with_the_last() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let it = reader(&sys, "it").await?;
        it.ask(Join("others".into())).await?;
        let mut readers = sys.members::<Reader>("readers").await?;
        let others = sys.members::<Reader>("others").await?;
        assert_eq!((readers.len(), others.len()), (1, 1));
        for life in 2..=4 {
            sys.kill(&it).await?;
            events.started("it", life).await?;
            assert_eq!((readers.addresses(), others.len()), (vec![it.clone()], 0));
            // The same address, and seen to have gone.
            assert_eq!(readers.changed().await, Some(Change::Left(it.clone())));
            assert_eq!(readers.changed().await, Some(Change::Joined(it.clone())));
            assert_eq!(readers.ask_one(Read).await?, it.ask(Read).await?);
        }
        Ok(())
    });
}

#[test]
fn a_dead_member_has_left_before_its_end_is_told() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        let mut events = sys.events().await?;
        let view = sys.members::<Reader>("readers").await?;
        for n in 0..10 {
            let desk = Desk { groups: vec!["readers".into()], ..Desk::default() };
            let spec = Spec::<Reader>::new(desk).name("it").restart(Restart::Temporary);
            let it = sys.spawn_with(spec).await?;
            warden.ask(Monitor(it.recipient())).await?;
            assert_eq!(view.len(), 1);
            if n % 2 == 0 {
                sys.kill(&it).await?
            } else {
                sys.stop(&it).await?
            }
            events.exited("it").await?;
            assert!(view.is_empty());
            assert_eq!(warden.ask(Log(n + 1)).await?[n as usize], Heard::Down { was_empty: true });
        }
        Ok(())
    });
}

#[test]
fn a_watcher_is_told_of_each_member_in_a_message() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        let one = reader(&sys, "one").await?;
        let writer = sys.spawn_with(Spec::<Writer>::new(()).name("writer")).await?;
        writer.ask(Join("writers".into())).await?;
        let first = warden.ask(Watch("readers".into())).await?;
        let second = warden.ask(Watch("writers".into())).await?;
        assert_ne!(first, second);
        let two = reader(&sys, "two").await?;
        writer.ask(Leave("writers".into())).await?;
        sys.stop(&one).await?;
        let writers = |name: &str| ("writers".to_owned(), name.to_owned(), 1);
        let (came, went) = (writers("writer"), writers("writer"));
        let expected = [
            joined("one", 1),
            Heard::Joined(came.0, came.1, came.2),
            joined("two", 1),
            Heard::Left(went.0, went.1, went.2),
            left("one", 1),
        ];
        assert_eq!(warden.ask(Log(5)).await?, expected);
        warden.ask(Unwatch(first)).await?;
        warden.ask(Unwatch(12345)).await?;
        sys.stop(&two).await?;
        writer.ask(Join("writers".into())).await?;
        let log = warden.ask(Log(6)).await?;
        assert_eq!((log.len(), &log[5]), (6, &expected[1]));
        let error = warden.ask(Watch(String::new())).await.unwrap_err();
        assert!(error.to_string().starts_with("the name \"\" is empty"), "{error}");
        Ok(())
    });
}

#[test]
fn a_member_is_seen_to_leave_behind_all_that_it_had_sent_and_before_its_next_life_joins() {
    watertight::test(async |sys| {
        let mut talkative_lives = 0;
        for round in 0..8 {
            let (gate, warden) = warden(&sys).await?;
            let mut events = sys.events().await?;
            warden.ask(Watch("readers".into())).await?;
            let (talks_to, is_shy) = (Some(warden.recipient()), round >= 4);
            let desk = Desk { groups: vec!["readers".into()], gate: None, talks_to, is_shy };
            let it = with_desk(&sys, "it", desk).await?;
            // While the warden is busy, everything below piles up at its door.
            warden.tell(Hold).await?;
            gate.ask(Waiting(1)).deadline(PATIENCE).await?;
            for life in 2..=4 {
                // Some lives say next to nothing, and shy ones nothing at all.
                if is_shy && life == 3 {
                    assert!(it.ask(Talk(1)).await.is_err());
                } else {
                    let is_quiet = !is_shy && (life + round) % 2 == 1;
                    it.ask(Talk(if is_quiet { 0 } else { 300 })).await?;
                    it.ask(Read).await?;
                    sys.kill(&it).await?;
                }
                events.started("it", life).await?;
            }
            gate.ask(Open).await?;
            sys.balance(PATIENCE).await?;
            // What the supervisor says is in no ledger; this is the last of it.
            let mut log = warden.ask(Log(7)).await?;
            while !log.contains(&joined("it", 4)) {
                log = warden.ask(Log(7)).await?;
            }
            let (mut life, mut is_in, mut next_word) = (1, false, 0);
            for heard in log {
                match heard {
                    Heard::Word(word) if word.starts_with("life") => {
                        assert_eq!(word, format!("life {life}"));
                        talkative_lives += 1;
                    }
                    // Its words may come before the word that it joined; both come behind the end of the last life.
                    Heard::Word(word) => {
                        assert_eq!(word, format!("word {next_word}"), "in life {life}");
                        next_word += 1;
                    }
                    heard if is_in => {
                        assert_eq!(heard, left("it", life));
                        (life, is_in, next_word) = (life + 1, false, 0);
                    }
                    heard => {
                        assert_eq!(heard, joined("it", life));
                        is_in = true;
                    }
                }
            }
            assert_eq!((life, is_in), (4, true));
            sys.stop(&it).await?;
        }
        assert!(talkative_lives > 6, "hardly anybody said anything");
        Ok(())
    });
}

#[test]
fn a_group_belongs_to_one_type_while_it_has_members() {
    watertight::test(async |sys| {
        let writer = sys.spawn_with(Spec::<Writer>::new(()).name("writer")).await?;
        let writers = sys.members::<Writer>("readers").await?;
        let it = reader(&sys, "it").await?;
        let error = writer.ask(Join("readers".into())).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has members of another type");
        let error = sys.members::<Writer>("readers").await.unwrap_err();
        assert_eq!(error, SystemError::OtherGroupType("readers".into()));
        // One who came before sees nobody, and has nothing to send to.
        assert!(writers.is_empty());
        assert!(writers.tell_one(Join("x".into())).await.is_err());
        it.ask(Leave("readers".into())).await?;
        writer.ask(Join("readers".into())).await?;
        heard_of(&sys).await?;
        assert_eq!(writers.addresses(), [writer]);
        let error = it.ask(Join("readers".into())).await.unwrap_err();
        assert_eq!(error.to_string(), "the group \"readers\" has members of another type");
        Ok(())
    });
}

#[test]
fn a_watch_ends_with_the_incarnation_that_began_it() {
    watertight::test(async |sys| {
        let (_, warden) = warden(&sys).await?;
        warden.ask(Watch("readers".into())).await?;
        let name = sys.info(&warden).await?.name;
        let mut events = sys.events().await?;
        sys.kill(&warden).await?;
        events.started(&name, 2).await?;
        reader(&sys, "it").await?;
        warden.ask(Word("only this".into())).await?;
        assert_eq!(warden.ask(Log(1)).await?, [Heard::Word("only this".into())]);
        Ok(())
    });
}

#[test]
fn after_the_end_of_the_system_a_view_says_so_and_nothing_waits() {
    let mut kept = None;
    watertight::test(async |sys| {
        reader(&sys, "it").await?;
        let view = sys.members::<Reader>("readers").await?;
        view.ask_one(Read).await?;
        kept = Some((sys, view));
        Ok(())
    });
    let (sys, mut view) = kept.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while view.changed().await.is_some() {}
        let error = sys.members::<Reader>("readers").await.unwrap_err();
        assert_eq!(error, SystemError::ShuttingDown);
        assert!(view.tell_one(Read).await.is_err());
        assert!(view.ask_one(Read).await.is_err());
        let error = sys.wait_for::<Reader>("it", PATIENCE).await.unwrap_err();
        assert_eq!(error, SystemError::ShuttingDown);
    });
}
