//! What an actor knows of itself and of the message in hand, its children, its timers, and its end.

use std::time::Instant;

use watertight::actor::Timer;
use watertight::{ActorId, Phase, SystemError};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Commit, Fault, Pid, Setup};

use super::*;

/// Tells what its context says, and passes the question on to a second of its kind if it has one.
struct Teller {
    next: Option<Address<Teller>>,
    told: Option<About>,
}

/// What a context says.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
struct About {
    address: Address<Teller>,
    name: String,
    incarnation: u32,
    attempt: u8,
    sender: u64,
    /// What is left until the deadline.
    left: Option<Duration>,
}

#[message(reply = About)]
struct Tell;

/// What the context said when the last one was handled that was told.
#[message(reply = Option<About>)]
struct Told;

/// Asks the next one, and waits for it as long as itself.
#[message(reply = About)]
struct AskNext;

impl Actor for Teller {
    type Args = Option<Address<Teller>>;
    type Messages = (Tell, Told, AskNext);

    async fn start(next: Option<Address<Teller>>, cx: &mut Context<Self>) -> Result<Self> {
        assert_eq!(
            (cx.attempt(), cx.deadline(), cx.sender()),
            (1, None, ActorId::PROGRAM),
            "no message is in hand"
        );
        Ok(Teller { next, told: None })
    }
}

impl Handler<Tell> for Teller {
    async fn handle(&mut self, _: Tell, cx: &mut Context<Self>) -> Result<About> {
        let about = About {
            address: cx.address(),
            name: cx.name().to_owned(),
            incarnation: cx.incarnation().0,
            attempt: cx.attempt(),
            sender: cx.sender().0,
            left: cx.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now())),
        };
        self.told = Some(about.clone());
        Ok(about)
    }
}

impl Handler<Told> for Teller {
    async fn handle(&mut self, _: Told, _: &mut Context<Self>) -> Result<Option<About>> {
        Ok(self.told.clone())
    }
}

impl Handler<AskNext> for Teller {
    async fn handle(&mut self, _: AskNext, _: &mut Context<Self>) -> Result<About> {
        let next = self.next.as_ref().ok_or_else(|| Error::new("there is no next"))?;
        Ok(next.ask(Tell).await?)
    }
}

#[test]
fn an_actor_knows_itself_and_the_message_in_hand() {
    watertight::test(async |sys| {
        let it = sys.spawn_with(Spec::<Teller>::new(None).name("it")).await?;
        let about = it.ask(Tell).deadline(Duration::from_secs(100)).await?;
        assert_eq!(
            (&about.address, &*about.name, about.incarnation, about.attempt, about.sender),
            (&it, "it", 1, 1, ActorId::PROGRAM.0)
        );
        let left = about.left.unwrap();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(100), "{left:?}");
        assert!(it.ask(Tell).await?.left.unwrap() <= watertight::DEFAULT_DEADLINE);
        it.tell(Tell).await?;
        assert_eq!(it.ask(Told).await?.unwrap().left, None, "nobody waits for what was told");
        sys.kill(&it).await?;
        let about = it.ask(Tell).await?;
        assert_eq!((about.address, about.incarnation), (it, 2));
        Ok(())
    });
}

#[test]
fn an_ask_in_a_handler_waits_no_longer_than_the_one_it_serves() {
    watertight::test(async |sys| {
        let last = sys.spawn::<Teller>(None).await?;
        let first = sys.spawn::<Teller>(Some(last.clone())).await?;
        let about = first.ask(AskNext).deadline(Duration::from_secs(2)).await?;
        assert!(about.left.unwrap() <= Duration::from_secs(2), "{about:?}");
        assert_eq!((about.address, about.sender), (last, first.actor().0));
        // And never longer than the default of its own.
        let about = first.ask(AskNext).deadline(Duration::from_secs(100)).await?;
        assert!(about.left.unwrap() <= watertight::DEFAULT_DEADLINE, "{about:?}");
        Ok(())
    });
}

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
        assert_eq!(exit_of(&mut events, "parent").await?, Exit::Finished);
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
        started(&mut events, "parent", 2).await?;
        assert_eq!(parent.ask(Family).await?.len(), 1);
        Ok(())
    });
}

/// Sets timers and writes down when they come.
struct Clock {
    last: Option<Timer>,
    rings: Vec<u32>,
    reader: Option<(u32, ReplyTo<Vec<u32>>)>,
    busy: Option<Address<Gate>>,
}

#[message]
struct Ring(u32);

/// After so many milliseconds, ring with this number.
#[message]
struct After(u32, u32);

/// From now on, every so many milliseconds, with 0, 1, 2, …
#[message]
struct Every(u32);

/// Cancels the last timer that was set.
#[message]
struct Cancel;

/// The rings so far, once they are so many.
#[message(reply = Vec<u32>)]
struct Rings(u32);

/// The next ring waits at this gate.
#[message]
struct BeBusy(Address<Gate>);

impl Actor for Clock {
    type Args = ();
    type Messages = (Ring, After, Every, Cancel, Rings, BeBusy);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Clock { last: None, rings: Vec::new(), reader: None, busy: None })
    }
}

impl Handler<Ring> for Clock {
    async fn handle(&mut self, Ring(n): Ring, cx: &mut Context<Self>) -> Result<()> {
        assert_eq!(cx.sender(), cx.address().actor(), "a timer speaks with one's own voice");
        self.rings.push(n);
        if let Some((_, reader)) = self.reader.take_if(|(count, _)| self.rings.len() >= *count as usize) {
            reader.send(self.rings.clone());
        }
        if let Some(gate) = self.busy.take() {
            gate.ask(Pass).deadline(PATIENCE).await?;
        }
        Ok(())
    }
}

impl Handler<After> for Clock {
    async fn handle(&mut self, After(wait, n): After, cx: &mut Context<Self>) -> Result<()> {
        self.last = Some(cx.send_after(Duration::from_millis(wait.into()), Ring(n)));
        Ok(())
    }
}

impl Handler<Every> for Clock {
    async fn handle(&mut self, Every(period): Every, cx: &mut Context<Self>) -> Result<()> {
        let mut n = 0;
        self.last = Some(cx.send_every(Duration::from_millis(period.into()), move || {
            n += 1;
            Ring(n - 1)
        }));
        Ok(())
    }
}

impl Handler<Cancel> for Clock {
    async fn handle(&mut self, _: Cancel, _: &mut Context<Self>) -> Result<()> {
        self.last.take().into_iter().for_each(|timer| timer.cancel());
        Ok(())
    }
}

impl Handler<Rings> for Clock {
    async fn handle(&mut self, Rings(count): Rings, cx: &mut Context<Self>) -> Result<Vec<u32>> {
        if self.rings.len() >= count as usize {
            return Ok(self.rings.clone());
        }
        cx.defer(|reader| self.reader = Some((count, reader)))
    }
}

impl Handler<BeBusy> for Clock {
    async fn handle(&mut self, BeBusy(gate): BeBusy, _: &mut Context<Self>) -> Result<()> {
        self.busy = Some(gate);
        Ok(())
    }
}

#[test]
fn timers_ring_once_in_the_order_of_their_times_and_not_before() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        let began = Instant::now();
        for (wait, n) in [(120, 3), (40, 1), (80, 2), (0, 0)] {
            clock.tell(After(wait, n)).await?;
        }
        assert_eq!(clock.ask(Rings(4)).await?, [0, 1, 2, 3]);
        assert!(began.elapsed() >= Duration::from_millis(120));
        Ok(())
    });
}

#[test]
fn a_cancelled_timer_does_not_ring() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        clock.tell(After(40, 1)).await?;
        clock.tell(Cancel).await?;
        clock.tell(Cancel).await?;
        clock.tell(After(80, 2)).await?;
        assert_eq!(clock.ask(Rings(1)).await?, [2]);
        clock.tell(Every(2)).await?;
        clock.ask(Rings(4)).await?;
        clock.ask(Cancel).await?;
        clock.tell(After(40, 77)).await?;
        while clock.ask(Rings(1)).await?.last() != Some(&77) {}
        let rings = clock.ask(Rings(1)).await?.len() as u32;
        clock.tell(After(40, 78)).await?;
        assert_eq!(clock.ask(Rings(rings + 1)).await?.last(), Some(&78), "the periodic one is silent");
        Ok(())
    });
}

#[test]
fn a_periodic_timer_does_not_pile_up_behind_a_busy_actor() {
    watertight::test(async |sys| {
        let clock = sys.spawn::<Clock>(()).await?;
        let gate = sys.spawn::<Gate>(()).await?;
        let other = sys.spawn::<Clock>(()).await?;
        clock.ask(BeBusy(gate.clone())).await?;
        clock.ask(Every(2)).await?;
        gate.ask(Waiting(1)).await?;
        // Another clock tells that many periods have passed.
        other.tell(After(100, 0)).await?;
        other.ask(Rings(1)).await?;
        gate.ask(Open).await?;
        let rings = clock.ask(Rings(2)).await?;
        assert!(rings.len() < 10, "{} rings after one busy moment", rings.len());
        Ok(())
    });
}

#[test]
fn timers_end_with_their_incarnation() {
    watertight::test(async |sys| {
        let clock = sys.spawn_with(Spec::<Clock>::new(()).backoff(Backoff::NONE)).await?;
        clock.ask(Every(2)).await?;
        clock.ask(Rings(2)).await?;
        sys.kill(&clock).await?;
        // The next life has a timer of its own and hears no other.
        while clock.ask(Rings(0)).await?.len() > 1 {}
        clock.tell(After(40, 5)).await?;
        let rings = clock.ask(Rings(1)).await?;
        assert_eq!(rings, [5]);
        Ok(())
    });
}

/// Computes for long, saying so or not.
struct Worker;

/// For so many milliseconds without a pause; with progress or without.
#[message]
struct Compute(u32, bool);

#[message]
struct Nothing;

impl Actor for Worker {
    type Args = ();
    type Messages = (Compute, Nothing);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Worker)
    }

    async fn stopped(&mut self, cx: &mut Context<Self>) {
        eprintln!("{} has stopped", cx.name());
    }
}

impl Handler<Compute> for Worker {
    async fn handle(&mut self, Compute(time, progress): Compute, cx: &mut Context<Self>) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(time.into());
        while Instant::now() < end {
            if progress {
                cx.progress();
            }
        }
        Ok(())
    }
}

impl Handler<Nothing> for Worker {
    async fn handle(&mut self, _: Nothing, _: &mut Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_long_computation_that_says_that_it_goes_on_is_not_taken_for_hung() {
    watertight::test(async |sys| {
        let spec = Spec::<Worker>::new(()).hang_limit(Duration::from_millis(200)).backoff(Backoff::NONE);
        let worker = sys.spawn_with(spec).await?;
        worker.ask(Compute(1000, true)).await?;
        assert_eq!(sys.info(&worker).await?.restarts, 0);
        let error = worker.ask(Compute(4000, false)).await.unwrap_err();
        assert!(matches!(error.report().unwrap().exit, Exit::Hung(_)), "{error}");
        Ok(())
    });
}

#[test]
fn stopped_is_called_at_an_orderly_end_and_what_it_prints_is_in_the_report() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let worker = sys.spawn_with(Spec::<Worker>::new(()).name("worker")).await?;
        sys.stop(&worker).await?;
        let words = events
            .wait_for(|event| match event {
                Event::Exited(report) => Some(report.stderr),
                _ => None,
            })
            .await?;
        assert_eq!(words, ["worker has stopped"]);
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
