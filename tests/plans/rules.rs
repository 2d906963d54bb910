//! What a rule says is what happens: names, incarnations, counts, chances; and what cannot be is refused.

use std::time::Duration;

use watertight::fault::{Cut, Fault, Plan, PlanError};
use watertight::spec::Backoff;
use watertight::{AskError, Spec, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Number, Setup};

fn named(name: &str) -> Spec<Specimen> {
    Spec::<Specimen>::new(Setup::default())
        .name(name)
        .backoff(Backoff::NONE)
        .intensity(10_000, Duration::from_secs(60))
}

#[test]
fn a_plan_that_cannot_be_is_refused_and_the_one_before_stays() {
    watertight::test(async |sys| {
        sys.inject(Plan::seeded(1).with(Fault::Abort.at(Cut::Started).actor("a").nth(1))).await?;
        let error = sys.inject(Plan::seeded(1).with(Fault::Drop.at(Cut::Start))).await.unwrap_err();
        assert!(matches!(error, SystemError::Plan(PlanError::Impossible { rule: 0, .. })), "{error}");
        let spawned = sys.spawn_with(named("a")).await?;
        assert!(spawned.ask(Add(1)).await.is_err());
        Ok(())
    });
}

#[test]
fn only_who_is_meant_is_hit_and_only_so_often() {
    watertight::test(async |sys| {
        let plan = Plan::seeded(1)
            .with(Fault::Abort.at(Cut::Started).actor("worker-*").message::<Add>().every(2).times(2))
            .with(Fault::Exit(9).at(Cut::Started).actor("other").incarnation(2).nth(1));
        sys.inject(plan).await?;
        let worker = sys.spawn_with(named("worker-1")).await?;
        let other = sys.spawn_with(named("other")).await?;
        let mut deaths = Vec::new();
        for n in 1..=8 {
            worker.tell(Number { sender: 1, number: n }).await?;
            if worker.ask(Add(1)).await.is_err() {
                deaths.push(n);
            }
            other.ask(Add(1)).await?;
        }
        assert_eq!(deaths, [2, 4], "the count begins anew in each incarnation, the limit does not");
        sys.kill(&other).await?;
        let error = other.ask(Add(1)).await.unwrap_err();
        assert!(
            matches!(&error, AskError::Died { report, .. } if report.exit == watertight::Exit::Code(9)),
            "{error}"
        );
        assert_eq!(other.ask(Add(1)).await?, 1);
        Ok(())
    });
}

/// Which asks die under a seed.
fn deaths(seed: u64) -> Vec<u64> {
    let mut deaths = Vec::new();
    watertight::test(async |sys| {
        sys.inject(Plan::seeded(seed).with(Fault::Kill.at(Cut::Started).message::<Add>().chance(0.2)))
            .await?;
        let victim = sys.spawn_with(named("victim")).await?;
        for n in 0..60 {
            if victim.ask(Add(1)).await.is_err() {
                deaths.push(n);
            }
        }
        assert_eq!(sys.injected().await?.len(), deaths.len());
        Ok(())
    });
    deaths
}

#[test]
fn the_same_seed_gives_the_same_deaths() {
    // The closure above does not run in an actor's process, so there the first call is the first statement.
    let first = deaths(7);
    assert!(!first.is_empty() && first.len() < 60, "{first:?}");
    assert_eq!(deaths(7), first);
    assert_ne!(deaths(8), first);
}

#[test]
fn a_point_of_the_users_own_is_a_cut() {
    watertight::test(async |sys| {
        sys.inject(Plan::seeded(1).with(Fault::Segfault.at(Cut::point("counted")).nth(2))).await?;
        let victim = sys.spawn_with(named("victim")).await?;
        assert_eq!(victim.ask(Add(1)).await?, 1);
        assert!(victim.ask(Add(1)).await.is_err());
        assert_eq!(victim.ask(Add(1)).await?, 1);
        Ok(())
    });
}
