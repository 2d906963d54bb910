//! The ladder of a stop: asked, timed, killed; and nothing is left.

use std::time::Instant;

use watertight::{Exit, Shutdown};

use super::*;

#[test]
fn each_child_is_stopped_as_its_spec_says() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let stubborn = |name: &str| Spec::<Member>::new(journal.manner().stubborn()).name(name);
        let patient = Manner { stops_after: 300, ..journal.manner() };
        let group = Group::new("g")
            .child(member(&journal, "polite"))
            .child(stubborn("late").stop_grace(Duration::from_millis(100)))
            .child(stubborn("brutal").shutdown(Shutdown::BrutalKill))
            .child(Spec::<Member>::new(patient).name("infinite").shutdown(Shutdown::Infinity));
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        let begun = Instant::now();
        sys.terminate_child("g").await?;
        assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
        let mut exits = Vec::new();
        while exits.len() < 4 {
            exits.push(
                events
                    .wait_for(|event| match event {
                        Event::Exited(report) => Some((report.name, report.exit)),
                        _ => None,
                    })
                    .await?,
            );
        }
        let expected = [
            ("g/infinite", Exit::Stopped),
            ("g/brutal", Exit::Killed),
            ("g/late", Exit::StopDeadline),
            ("g/polite", Exit::Stopped),
        ];
        assert_eq!(exits, expected.map(|(name, exit)| (name.to_owned(), exit)));
        assert_eq!(journal.lines()[4..], ["stop g/infinite#1", "stop g/polite#1"]);
        Ok(())
    });
}

#[test]
fn a_dynamic_group_stops_all_at_once_under_one_deadline() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let grace = Duration::from_millis(300);
        let template = Spec::<Member>::new(Manner::default()).stop_grace(grace);
        sys.start_group(Group::dynamic("pool", template)).await?;
        for _ in 0..8 {
            sys.start_instance::<Member>("pool", journal.manner().stubborn()).await?;
        }
        let begun = Instant::now();
        sys.terminate_child("pool").await?;
        let took = begun.elapsed();
        assert!(took >= grace && took < 4 * grace, "{took:?}: not one after another");
        assert!(sys.tree(None).await?.nodes.is_empty());
        Ok(())
    });
}

#[test]
fn a_child_that_crashes_while_its_group_is_stopped_is_not_restarted() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let slow = Manner { stops_after: 200, ..journal.manner() };
        let group = group_of(&journal, "g", &["a"]).child(Spec::<Member>::new(slow).name("slow"));
        sys.start_group(group).await?;
        let a = find(&sys, "g/a").await?;
        let (stopped, crashed) = tokio::join!(sys.terminate_child("g"), a.tell(Crash));
        stopped?;
        crashed?;
        assert!(sys.tree(None).await?.nodes.is_empty());
        assert_eq!(journal.lines().iter().filter(|line| line.starts_with("start")).count(), 2);
        Ok(())
    });
}

#[test]
fn a_stop_in_the_middle_of_a_start_waits_for_it_or_ends_it_by_its_grace() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let slow = Manner { starts_after: 60_000, ..journal.manner() };
        let slow = Spec::<Member>::new(slow).name("slow").stop_grace(Duration::from_millis(100));
        let group = group_of(&journal, "g", &["a"]).child(slow);
        let starting = tokio::spawn({
            let sys = sys.clone();
            async move { sys.start_group(group).await }
        });
        let mut events = sys.events().await?;
        // Its first child is up, or will be: the name is there as soon as the group is admitted.
        let _ = &mut events;
        while sys.tree(Some("g/slow")).await.is_err_and(|_| true)
            || phase(&sys, "g/slow").await? != Phase::Starting
            || phase(&sys, "g/a").await? != Phase::Running
        {}
        sys.terminate_child("g").await?;
        let error = starting.await?.unwrap_err();
        assert!(matches!(error, watertight::AdministrationError::Start { .. }), "{error:?}");
        assert_eq!(journal.lines(), ["start g/a#1", "stop g/a#1"]);
        assert!(sys.tree(None).await?.nodes.is_empty());
        Ok(())
    });
}
