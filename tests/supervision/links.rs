//! Links: actors that share their fate.

use watertight::Exit;
use watertight_tests::member::{Finish, LinkTo, UnlinkFrom};

use super::*;

#[test]
fn the_crash_of_one_ends_the_other_and_each_is_restarted_as_its_spec_says() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        for (killed, other) in [("a", "b"), ("b", "a")] {
            let a = sys.spawn_with(member(&journal, "a")).await?;
            let b = sys.spawn_with(member(&journal, "b").restart(Restart::Temporary)).await?;
            a.ask(LinkTo(b.clone())).await?;
            let mut events = sys.events().await?;
            crash(&sys, killed).await?;
            assert_eq!(events.exited(other).await?.exit, Exit::Linked(killed.into()));
            events.started("a", 2).await?;
            assert!(b.ask(MemberPid).await.is_err());
            sys.stop(&a).await?;
        }
        Ok(())
    });
}

#[test]
fn a_link_holds_for_one_life_and_an_end_as_it_was_meant_harms_nobody() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let a = sys.spawn_with(member(&journal, "a")).await?;
        let b = sys.spawn_with(member(&journal, "b").restart(Restart::Transient)).await?;
        let c = sys.spawn_with(member(&journal, "c")).await?;
        let a_pid = a.ask(MemberPid).await?;
        let mut events = sys.events().await?;
        a.ask(LinkTo(b.clone())).await?;
        b.tell(Finish).await?;
        assert_eq!(events.exited("b").await?.exit, Exit::Finished);
        assert!(a.ask(LinkTo(b)).await.is_err());
        a.ask(LinkTo(c.clone())).await?;
        a.ask(UnlinkFrom(c.clone())).await?;
        crash(&sys, "c").await?;
        events.started("c", 2).await?;
        assert_eq!(a.ask(MemberPid).await?, a_pid);
        a.ask(LinkTo(c.clone())).await?;
        sys.kill(&a).await?;
        assert_eq!(events.exited("c").await?.exit, Exit::Linked("a".into()));
        events.started("c", 3).await?;
        // The next lives are strangers.
        let c_pid = c.ask(MemberPid).await?;
        crash(&sys, "a").await?;
        events.started("a", 3).await?;
        assert_eq!(c.ask(MemberPid).await?, c_pid);
        Ok(())
    });
}

#[test]
fn a_chain_of_links_falls_as_one() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let mut chain = Vec::new();
        for nth in 0..5 {
            chain.push(sys.spawn_with(member(&journal, &format!("m{nth}"))).await?);
        }
        for pair in chain.windows(2) {
            pair[0].ask(LinkTo(pair[1].clone())).await?;
        }
        let mut events = sys.events().await?;
        crash(&sys, "m2").await?;
        let mut back = std::collections::BTreeSet::new();
        while back.len() < 5 {
            let name = events
                .wait_for(|event| match event {
                    Event::Started { name, .. } => Some(name),
                    _ => None,
                })
                .await?;
            assert!(back.insert(name), "nobody falls twice");
        }
        Ok(())
    });
}

#[test]
fn oneself_and_strangers_are_not_linked_to() {
    watertight::test(async |sys| {
        let journal = Journal::new();
        let a = sys.spawn_with(member(&journal, "a")).await?;
        let error = a.ask(LinkTo(a.clone())).await.unwrap_err();
        assert_eq!(error.to_string(), "only the program that started the system may do this");
        Ok(())
    });
}
