//! Children: actors that stand under another, and end with it.

use watertight::{Phase, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Commit, Fault, Pid, Setup};

use super::*;

/// Starts specimens under itself, as deep as it is told.
struct Parent {
    child: Option<Address<Parent>>,
    specimen: Address<Specimen>,
}

/// The specimens of this one and of those under it.
#[message(reply = Vec<Address<Specimen>>)]
struct Family;

#[message]
struct Leave;

impl Actor for Parent {
    type Args = u32;
    type Messages = (Family, Leave, Commit);

    async fn start(depth: u32, cx: &mut Context<Self>) -> Result<Self> {
        let named = Spec::<Specimen>::new(Setup::default()).name(format!("specimen {depth}"));
        let specimen = cx.spawn_with(named).await?;
        let child = if depth > 0 { Some(cx.spawn::<Parent>(depth - 1).await?) } else { None };
        Ok(Parent { child, specimen })
    }
}

impl Handler<Family> for Parent {
    async fn handle(&mut self, _: Family, _: &mut Context<Self>) -> Result<Vec<Address<Specimen>>> {
        let mut family = match &self.child {
            Some(child) => child.ask(Family).await?,
            None => Vec::new(),
        };
        family.insert(0, self.specimen.clone());
        Ok(family)
    }
}

impl Handler<Leave> for Parent {
    async fn handle(&mut self, _: Leave, cx: &mut Context<Self>) -> Result<()> {
        cx.stop();
        Ok(())
    }
}

impl Handler<Commit> for Parent {
    async fn handle(&mut self, Commit(fault): Commit, _: &mut Context<Self>) -> Result<()> {
        watertight_tests::specimen::commit(fault);
        Ok(())
    }
}

/// Nothing with this process number runs, or it is only waiting to be reaped.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

async fn family_with_pids(parent: &Address<Parent>) -> Result<(Vec<Address<Specimen>>, Vec<u32>)> {
    let family = parent.ask(Family).await?;
    let mut pids = Vec::new();
    for specimen in &family {
        pids.push(specimen.ask(Pid).await?);
    }
    Ok((family, pids))
}

#[test]
fn children_stand_under_their_parent_and_anybody_may_send_to_them() {
    watertight::test(async |sys| {
        let parent = sys.spawn::<Parent>(2).await?;
        let (family, _) = family_with_pids(&parent).await?;
        assert_eq!(family.len(), 3);
        assert_eq!(sys.info(&family[0]).await?.parent, parent.actor());
        assert_eq!(sys.list().await?.len(), 6);
        assert_eq!(family[2].ask(Add(4)).await?, 4);
        Ok(())
    });
}

#[test]
fn children_of_any_depth_end_with_a_parent_that_crashes_and_its_next_incarnation_starts_its_own() {
    watertight::test(async |sys| {
        let parent = sys.spawn_with(Spec::<Parent>::new(2).backoff(Backoff::NONE)).await?;
        let (old, pids) = family_with_pids(&parent).await?;
        assert!(parent.ask(Commit(Fault::KillSelf)).await.is_err());
        // The names of the old ones are free for the new ones at once.
        let (new, _) = family_with_pids(&parent).await?;
        assert!(new.iter().all(|specimen| !old.contains(specimen)));
        for (specimen, pid) in old.iter().zip(pids) {
            let error = specimen.ask(Add(1)).deadline(PATIENCE).await.unwrap_err();
            assert!(matches!(error, watertight::AskError::Unreachable(_)), "{error:?}");
            assert!(is_dead(pid));
        }
        assert_eq!(sys.list().await?.len(), 6);
        Ok(())
    });
}

#[test]
fn children_end_with_a_parent_that_stops_itself_or_is_stopped_the_last_one_first() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let transient = Spec::<Parent>::new(2).restart(Restart::Transient).name("parent");
        let parent = sys.spawn_with(transient).await?;
        let (_, pids) = family_with_pids(&parent).await?;
        sys.stop(&parent).await?;
        assert!(sys.list().await?.is_empty() && pids.into_iter().all(is_dead));
        let mut ended = Vec::new();
        events
            .wait_for(|event| match event {
                Event::Exited(report) => {
                    assert_eq!(report.exit, Exit::Stopped, "{report}");
                    ended.push(report.actor.0);
                    (report.name == "parent").then_some(())
                }
                _ => None,
            })
            .await?;
        assert_eq!((ended.len(), ended.is_sorted_by(|a, b| a > b)), (6, true), "{ended:?}");

        let transient = Spec::<Parent>::new(2).restart(Restart::Transient).name("parent");
        let parent = sys.spawn_with(transient).await?;
        let (family, _) = family_with_pids(&parent).await?;
        parent.ask(Leave).await?;
        assert_eq!(events.exited("parent").await?.exit, Exit::Finished);
        for specimen in family {
            assert!(specimen.ask(Add(1)).deadline(PATIENCE).await.is_err());
        }
        while !sys.list().await?.is_empty() {}
        Ok(())
    });
}

#[test]
fn an_actor_that_stopped_itself_is_started_again_if_it_is_permanent() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let parent = sys.spawn_with(Spec::<Parent>::new(0).name("parent")).await?;
        parent.ask(Leave).await?;
        events.started("parent", 2).await?;
        assert_eq!(parent.ask(Family).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn an_actor_may_not_be_named_as_its_sibling_is() {
    watertight::test(async |sys| {
        let parent = sys.spawn::<Parent>(0).await?;
        // Names are the system's, not the parent's.
        let error = sys.spawn::<Parent>(0).await.unwrap_err();
        assert!(error.to_string().contains("\"specimen 0\" is taken"), "{error}");
        assert_eq!(sys.list().await?.len(), 2);
        assert_eq!(sys.info(&parent).await?.phase, Phase::Running);
        assert!(matches!(sys.find::<Parent>("specimen 0").await, Err(SystemError::OtherType(_))));
        Ok(())
    });
}
