//! Names: finding, waiting, registering.

use watertight::error::Unreachable;
use watertight::{Output, Phase, SpawnError, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Pid, Setup};

use super::*;

#[path = "names/from_outside.rs"]
mod from_outside;

/// Does with names what it is told.
struct Clerk {
    heir_to: Option<(u64, Vec<String>)>,
    inherited: Option<ReplyTo<Vec<String>>>,
}

#[data]
#[derive(Clone, Default)]
struct Office {
    /// Registered in `start`, at every incarnation again.
    names: Vec<String>,
    /// Waits there in `start`.
    gate: Option<Address<Gate>>,
}

#[message(reply = Address<Specimen>)]
struct Find(String);

#[message(reply = Address<Specimen>)]
struct WaitFor(String, Duration);

#[message]
struct Register(String);

#[message]
struct Unregister(String);

/// Registers these names as soon as that actor's end is told.
#[message]
struct Inherit(Recipient<Pid>, Vec<String>);

/// What became of it.
#[message(reply = Vec<String>)]
struct Inherited;

/// Begins so many waits that never end.
#[message]
struct Hoard(u32);

/// Tells itself to wait for a name that nobody has, and to pass the gate when it does.
#[message]
struct WaitAlone(Address<Gate>);

#[message]
struct WaitBehind(Address<Gate>);

impl Actor for Clerk {
    type Args = Office;
    type Messages =
        (Find, WaitFor, Register, Unregister, Inherit, Inherited, Hoard, WaitAlone, WaitBehind, Pid, Down);

    async fn start(office: Office, cx: &mut Context<Self>) -> Result<Self> {
        for name in &office.names {
            cx.register(name).await?;
        }
        if let Some(gate) = &office.gate {
            gate.ask(Pass).deadline(PATIENCE).await?;
        }
        Ok(Clerk { heir_to: None, inherited: None })
    }
}

impl Handler<Find> for Clerk {
    async fn handle(&mut self, Find(name): Find, cx: &mut Context<Self>) -> Result<Address<Specimen>> {
        Ok(cx.find(&name).await?)
    }
}

impl Handler<WaitFor> for Clerk {
    async fn handle(
        &mut self,
        WaitFor(name, wait): WaitFor,
        cx: &mut Context<Self>,
    ) -> Result<Address<Specimen>> {
        Ok(cx.wait_for(&name, wait).await?)
    }
}

impl Handler<Register> for Clerk {
    async fn handle(&mut self, Register(name): Register, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.register(&name).await?)
    }
}

impl Handler<Unregister> for Clerk {
    async fn handle(&mut self, Unregister(name): Unregister, cx: &mut Context<Self>) -> Result<()> {
        Ok(cx.unregister(&name).await?)
    }
}

impl Handler<Inherit> for Clerk {
    async fn handle(&mut self, Inherit(it, names): Inherit, cx: &mut Context<Self>) -> Result<()> {
        self.heir_to = Some((cx.monitor(&it).await?, names));
        Ok(())
    }
}

impl Handler<Down> for Clerk {
    async fn handle(&mut self, down: Down, cx: &mut Context<Self>) -> Result<()> {
        let Some((_, names)) = self.heir_to.take_if(|(monitor, _)| *monitor == down.monitor) else {
            return Ok(());
        };
        let mut said = Vec::new();
        for name in names {
            said.push(match cx.register(&name).await {
                Ok(()) => name,
                Err(error) => error.to_string(),
            });
        }
        if let Some(reply) = self.inherited.take() {
            reply.send(said);
        }
        Ok(())
    }
}

impl Handler<Inherited> for Clerk {
    async fn handle(&mut self, _: Inherited, cx: &mut Context<Self>) -> Result<Vec<String>> {
        cx.defer(|reply| self.inherited = Some(reply))
    }
}

impl Handler<Hoard> for Clerk {
    async fn handle(&mut self, Hoard(count): Hoard, cx: &mut Context<Self>) -> Result<()> {
        for _ in 0..count {
            let mut waiting = Box::pin(cx.wait_for::<Specimen>("nobody", PATIENCE));
            assert!(is_pending(&mut waiting).await);
            // Dropped, it would be taken back.
            std::mem::forget(waiting);
        }
        Ok(())
    }
}

impl Handler<WaitAlone> for Clerk {
    async fn handle(&mut self, WaitAlone(gate): WaitAlone, cx: &mut Context<Self>) -> Result<()> {
        cx.send_after(Duration::ZERO, WaitBehind(gate));
        Ok(())
    }
}

impl Handler<WaitBehind> for Clerk {
    async fn handle(&mut self, WaitBehind(gate): WaitBehind, cx: &mut Context<Self>) -> Result<()> {
        let mut waiting = Box::pin(cx.wait_for::<Specimen>("nobody", 10 * PATIENCE));
        assert!(is_pending(&mut waiting).await);
        gate.tell(Pass).await?;
        assert_eq!(waiting.await.unwrap_err(), SystemError::ShuttingDown);
        Ok(())
    }
}

impl Handler<Pid> for Clerk {
    async fn handle(&mut self, _: Pid, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

fn specimen_named(name: &str) -> Spec<Specimen> {
    Spec::new(Setup::default()).name(name).backoff(Backoff::NONE)
}

async fn clerk(sys: &System, name: &str) -> Result<Address<Clerk>> {
    Ok(sys.spawn_with(Spec::<Clerk>::new(Office::default()).name(name).backoff(Backoff::NONE)).await?)
}

#[track_caller]
fn says(error: impl std::error::Error, words: &str) {
    assert_eq!(error.to_string(), words);
}

#[test]
fn an_actor_finds_others_by_name_and_type_as_the_program_does() {
    watertight::test(async |sys| {
        let clerk = clerk(&sys, "clerk").await?;
        let it = sys.spawn_with(specimen_named("it")).await?;
        assert_eq!(clerk.ask(Find("it".into())).await?, it);
        says(clerk.ask(Find("that".into())).await.unwrap_err(), "no actor is named \"that\"");
        let error = clerk.ask(Find("clerk".into())).await.unwrap_err();
        says(error, "the actor named \"clerk\" is of another type");
        // What cannot be a name is nobody's.
        assert!(matches!(sys.find::<Specimen>("").await, Err(SystemError::NoSuchName(_))));
        Ok(())
    });
}

#[test]
fn a_wait_is_answered_at_once_or_as_soon_as_the_first_start_has_returned() {
    watertight::test(async |sys| {
        let it = sys.spawn_with(specimen_named("it")).await?;
        assert_eq!(sys.wait_for::<Specimen>("it", Duration::ZERO).await?, it);
        let gate = sys.spawn::<Gate>(()).await?;
        let (sys_1, sys_2, gate_1) = (sys.clone(), sys.clone(), gate.clone());
        let waiting = tokio::spawn(async move { sys_1.wait_for::<Clerk>("late", PATIENCE).await });
        let alias = tokio::spawn(async move { sys_2.wait_for::<Clerk>("alias", PATIENCE).await });
        let sys_1 = sys.clone();
        let spawning = tokio::spawn(async move {
            let office = Office { names: vec!["alias".into()], gate: Some(gate_1) };
            sys_1.spawn_with(Spec::<Clerk>::new(office).name("late")).await
        });
        gate.ask(Waiting(1)).deadline(PATIENCE).await?;
        // It is in its `start`: found, and not waited for any less.
        let found = sys.find::<Clerk>("late").await?;
        assert_eq!(sys.find::<Clerk>("alias").await?, found);
        let error = sys.wait_for::<Clerk>("late", Duration::ZERO).await.unwrap_err();
        says(error, "no actor named \"late\" was ready within 0ns");
        assert!(!waiting.is_finished() && !alias.is_finished());
        gate.ask(Open).await?;
        let late = spawning.await??;
        assert_eq!((waiting.await??, alias.await??), (late.clone(), late));
        Ok(())
    });
}

#[test]
fn a_registered_name_is_waited_for_too_and_so_is_one_that_comes_back() {
    watertight::test(async |sys| {
        let clerk = clerk(&sys, "clerk").await?;
        let it = sys.spawn_with(specimen_named("it")).await?;
        let asking = clerk.clone();
        let waiting = tokio::spawn(async move { asking.ask(WaitFor("alias".into(), PATIENCE)).await });
        // The clerk's question comes before or after: either way it is answered.
        sys.register("alias", &it).await?;
        assert_eq!(waiting.await??, it);
        // While it is being restarted it has its names.
        sys.kill(&it).await?;
        assert_eq!(sys.wait_for::<Specimen>("alias", Duration::ZERO).await?, it);
        sys.stop(&it).await?;
        let sys_1 = sys.clone();
        let waiting = tokio::spawn(async move { sys_1.wait_for::<Specimen>("it", PATIENCE).await });
        let again = sys.spawn_with(specimen_named("it")).await?;
        assert_eq!(waiting.await??, again);
        Ok(())
    });
}

#[test]
fn a_wait_ends_at_its_deadline_with_the_name_or_with_another_type_when_that_comes() {
    watertight::test(async |sys| {
        let clerk = clerk(&sys, "clerk").await?;
        let (begun, wait) = (std::time::Instant::now(), Duration::from_millis(30));
        let error = sys.wait_for::<Specimen>("nobody", wait).await.unwrap_err();
        assert!(begun.elapsed() >= wait, "after {:?}", begun.elapsed());
        assert_eq!(error, SystemError::NotInTime { name: "nobody".into(), waited: wait });
        says(error, "no actor named \"nobody\" was ready within 30ms");
        let error = clerk.ask(WaitFor("nobody".into(), wait)).await.unwrap_err();
        says(error, "no actor named \"nobody\" was ready within 30ms");
        // A far deadline is one too.
        let sys_1 = sys.clone();
        let waiting = tokio::spawn(async move { sys_1.wait_for::<Specimen>("late", Duration::MAX).await });
        let late = sys.spawn_with(Spec::<Clerk>::new(Office::default()).name("late")).await?;
        assert_eq!(waiting.await?.unwrap_err(), SystemError::OtherType("late".into()));
        assert_eq!(sys.find::<Clerk>("late").await?, late);
        let long = "x".repeat(101);
        assert_eq!(sys.wait_for::<Specimen>(&long, wait).await.unwrap_err(), SystemError::BadName(long));
        Ok(())
    });
}

#[test]
fn a_start_that_fails_is_nobody_to_be_found_and_the_next_one_is() {
    watertight::test(async |sys| {
        let sys_1 = sys.clone();
        let waiting = tokio::spawn(async move { sys_1.wait_for::<Clerk>("late", PATIENCE).await });
        let office = Office { names: vec!["".into()], gate: None };
        let spec = Spec::<Clerk>::new(office).name("late").output(Output::Silent);
        let error = sys.spawn_with(spec).await.unwrap_err();
        assert!(error.to_string().contains("the name \"\" is empty, longer than 100 bytes"), "{error}");
        assert!(!waiting.is_finished());
        let late = clerk(&sys, "late").await?;
        assert_eq!(waiting.await??, late);
        Ok(())
    });
}

#[test]
fn one_process_has_a_thousand_waits_and_those_it_gave_up_make_room() {
    watertight::test(async |sys| {
        for _ in 0..2 {
            let mut waits = Vec::new();
            for _ in 0..1024 {
                let mut waiting = Box::pin(sys.wait_for::<Specimen>("nobody", PATIENCE));
                assert!(is_pending(&mut waiting).await);
                waits.push(waiting);
            }
            let error = sys.wait_for::<Specimen>("nobody", PATIENCE).await.unwrap_err();
            for waiting in &mut waits {
                assert!(is_pending(waiting).await, "it was refused");
            }
            assert_eq!(error, SystemError::TooMany { what: "waits for names".into(), limit: 1024 });
            says(error, "there may be at most 1024 waits for names");
            // Who is there needs no room.
            let it = sys.spawn_with(specimen_named("it")).await?;
            assert_eq!(sys.wait_for::<Specimen>("it", PATIENCE).await?, it);
            sys.stop(&it).await?;
        }
        Ok(())
    });
}

#[test]
fn the_waits_of_a_dead_process_make_room_and_bother_nobody() {
    watertight::test(async |sys| {
        // More than the whole system holds, if the dead were still waiting.
        let spec = Spec::<Clerk>::new(Office::default()).intensity(20, PATIENCE).backoff(Backoff::NONE);
        let hoarder = sys.spawn_with(spec).await?;
        for _ in 0..17 {
            hoarder.ask(Hoard(1024)).await?;
            // Behind its own questions: they have all been heard.
            hoarder.ask(Register("hoarder".into())).await?;
            sys.kill(&hoarder).await?;
        }
        hoarder.ask(Pid).await?;
        let waiting = sys.wait_for::<Specimen>("nobody", Duration::from_millis(1)).await;
        assert!(matches!(waiting, Err(SystemError::NotInTime { .. })), "{waiting:?}");
        sys.spawn_with(specimen_named("nobody")).await?.ask(Add(1)).await?;
        Ok(())
    });
}

#[test]
fn an_end_of_the_system_ends_the_waits_in_it() {
    let mut begun = None;
    watertight::test(async |sys| {
        let spec = Spec::<Clerk>::new(Office::default()).stop_grace(PATIENCE).output(Output::Silent);
        let gate = sys.spawn::<Gate>(()).await?;
        let clerk = sys.spawn_with(spec).await?;
        clerk.ask(WaitAlone(gate.clone())).await?;
        gate.ask(Waiting(1)).deadline(PATIENCE).await?;
        begun = Some(std::time::Instant::now());
        Ok(())
    });
    let took = begun.unwrap().elapsed();
    assert!(took < PATIENCE / 2, "its wait kept an actor from stopping for {took:?}");
}

#[test]
fn a_registered_name_leads_to_its_actor_through_every_life_until_its_end() {
    watertight::test(async |sys| {
        let clerk = clerk(&sys, "clerk").await?;
        let it = sys.spawn_with(specimen_named("it")).await?;
        let other = sys.spawn_with(specimen_named("other")).await?;
        sys.register("alias", &it).await?;
        sys.register("alias", &it).await?;
        assert_eq!(sys.find::<Specimen>("alias").await?, it);
        assert_eq!(clerk.ask(Find("alias".into())).await?, it);
        let error = sys.register("alias", &other).await.unwrap_err();
        assert_eq!(error, SystemError::NameTaken { name: "alias".into(), holder: "it".into() });
        says(error, "the name \"alias\" is taken by the actor it");
        let error = sys.register("clerk", &other).await.unwrap_err();
        says(error, "the name \"clerk\" is taken by the actor clerk");
        let error = sys.spawn_with(specimen_named("alias")).await.unwrap_err();
        assert_eq!(error, SpawnError::NameTaken("alias".into()));
        let mut events = sys.events().await?;
        sys.kill(&it).await?;
        assert_eq!(sys.find::<Specimen>("alias").await?, it);
        events.started("it", 2).await?;
        assert_eq!(sys.find::<Specimen>("alias").await?, it);
        sys.stop(&it).await?;
        assert_eq!(sys.find::<Specimen>("alias").await.unwrap_err(), SystemError::NoSuchName("alias".into()));
        let error = sys.register("alias", &it).await.unwrap_err();
        assert_eq!(error, SystemError::Unreachable(Unreachable::Ended("it".into())));
        sys.register("alias", &other).await?;
        assert_eq!(sys.find::<Specimen>("alias").await?, other);
        Ok(())
    });
}

#[test]
fn names_are_taken_back_by_their_actor_or_the_program_but_for_the_first() {
    watertight::test(async |sys| {
        let clerk_1 = clerk(&sys, "clerk 1").await?;
        let clerk_2 = clerk(&sys, "clerk 2").await?;
        clerk_1.ask(Register("desk".into())).await?;
        assert_eq!(sys.find::<Clerk>("desk").await?, clerk_1);
        let error = clerk_2.ask(Register("desk".into())).await.unwrap_err();
        says(error, "the name \"desk\" is taken by the actor clerk 1");
        let error = clerk_2.ask(Unregister("desk".into())).await.unwrap_err();
        let words =
            "the name \"desk\" belongs to the actor clerk 1: only that actor or the program may take it back";
        says(error, words);
        let error = clerk_1.ask(Unregister("clerk 1".into())).await.unwrap_err();
        says(error, "the name \"clerk 1\" came with the actor's spec: it stays until the actor ends");
        assert_eq!(sys.unregister("clerk 1").await.unwrap_err(), SystemError::NameStays("clerk 1".into()));
        assert_eq!(sys.unregister("nobody").await.unwrap_err(), SystemError::NoSuchName("nobody".into()));
        clerk_1.ask(Unregister("desk".into())).await?;
        assert!(sys.find::<Clerk>("desk").await.is_err());
        clerk_2.ask(Register("desk".into())).await?;
        assert_eq!(sys.find::<Clerk>("desk").await?, clerk_2);
        sys.unregister("desk").await?;
        assert!(sys.find::<Clerk>("desk").await.is_err());
        Ok(())
    });
}

#[test]
fn an_actor_has_sixteen_names_beside_its_first_and_none_that_does_not_print() {
    watertight::test(async |sys| {
        let clerk = clerk(&sys, "clerk").await?;
        for n in 0..16 {
            clerk.ask(Register(format!("desk {n}"))).await?;
        }
        let words = "there may be at most 16 names of the actor clerk beside its first";
        says(clerk.ask(Register("desk 16".into())).await.unwrap_err(), words);
        says(sys.register("desk 16", &clerk).await.unwrap_err(), words);
        sys.unregister("desk 3").await?;
        sys.register("desk 16", &clerk).await?;
        for bad in ["", "a\nb", &"x".repeat(101), &"x".repeat(20 << 20)] {
            let error = sys.register(bad, &clerk).await.unwrap_err();
            assert_eq!(error, SystemError::BadName(bad.into()));
        }
        let words = "the name \"\" is empty, longer than 100 bytes, or has characters that do not print";
        says(clerk.ask(Register(String::new())).await.unwrap_err(), words);
        Ok(())
    });
}

#[test]
fn names_said_in_start_are_said_again_by_every_life() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let office = Office { names: vec!["desk".into(), "till".into()], gate: None };
        let spec = Spec::<Clerk>::new(office).name("clerk").backoff(Backoff::NONE);
        let clerk = sys.spawn_with(spec).await?;
        for life in 2..=3 {
            sys.kill(&clerk).await?;
            events.started("clerk", life).await?;
            assert_eq!(sys.find::<Clerk>("till").await?, clerk);
        }
        Ok(())
    });
}

#[test]
fn every_name_is_free_before_the_final_end_is_told() {
    watertight::test(async |sys| {
        let heir = clerk(&sys, "heir").await?;
        for n in 0..10 {
            let name = format!("king {n}");
            let spec = specimen_named(&name).restart(Restart::Temporary);
            let king = sys.spawn_with(spec).await?;
            sys.register("crown", &king).await?;
            heir.ask(Inherit(king.recipient(), vec![name.clone(), "crown".into()])).await?;
            let (heir_1, sys_1) = (heir.clone(), sys.clone());
            let inherited = tokio::spawn(async move { heir_1.ask(Inherited).await });
            // Behind the question: the heir has heard it.
            while sys_1.find::<Clerk>("heir").await?.ask(Pid).await.is_err() {}
            if n % 2 == 0 {
                sys.kill(&king).await?
            } else {
                sys.stop(&king).await?
            }
            assert_eq!(inherited.await??, [name.clone(), "crown".to_owned()]);
            sys.unregister("crown").await?;
            sys.unregister(&name).await?;
        }
        Ok(())
    });
}

#[test]
fn a_stopping_actor_gets_no_more_names() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let office = Office { names: vec![], gate: Some(gate.clone()) };
        let sys_1 = sys.clone();
        let starting =
            tokio::spawn(async move { sys_1.spawn_with(Spec::<Clerk>::new(office).name("slow")).await });
        gate.ask(Waiting(1)).deadline(PATIENCE).await?;
        let slow = sys.find::<Clerk>("slow").await?;
        let (sys_1, slow_1) = (sys.clone(), slow.clone());
        let stopping = tokio::spawn(async move { sys_1.stop(&slow_1).await });
        while sys.info(&slow).await?.phase != Phase::Stopping {}
        let error = sys.register("too late", &slow).await.unwrap_err();
        assert_eq!(error, SystemError::Unreachable(Unreachable::Ended("slow".into())));
        gate.ask(Open).await?;
        stopping.await??;
        assert!(starting.await?.is_err());
        Ok(())
    });
}
