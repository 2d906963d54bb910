//! Each cut of a message's way and of a process's life, and each fault that a process can commit.

use std::time::Duration;

use watertight::event::DeadLetterReason;
use watertight::fault::{Cut, Fault, Plan, Rule, errno};
use watertight::prelude::*;
use watertight::report::Hang;
use watertight::spec::Backoff;
use watertight::{AskError, Event, Executed, Exit, Ledger, Spec, System};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Number, Pid, Setup, Slowly};

/// For what takes milliseconds.
const WATCHDOG: Duration = Duration::from_secs(30);

fn victim() -> Spec<Specimen> {
    Spec::<Specimen>::new(Setup::default())
        .name("victim")
        .backoff(Backoff::NONE)
        .intensity(1000, Duration::from_secs(60))
        .memory(64 << 20)
        .hang_limit(Duration::from_millis(500))
        .start_deadline(Duration::from_secs(3))
        .stop_grace(Duration::from_millis(300))
}

/// How the asks ended, and the ledger of the victim.
struct Seen {
    outcomes: Vec<Result<i64, AskError>>,
    ledger: Ledger,
}

/// Sends five tells and five asks to a victim in a system with this rule, while a bystander answers. Everything must
/// come to an end, and the ledger of it be even.
async fn under(sys: &System, rule: Rule) -> watertight::Result<Seen> {
    let bystander = sys.spawn::<Specimen>(Setup::default()).await?;
    let bystander_pid = bystander.ask(Pid).await?;
    sys.inject(Plan::seeded(1).with(rule)).await?;
    let victim = sys.spawn_with(victim()).await?;
    let mut outcomes = Vec::new();
    for n in 1..=5 {
        victim.tell(Number { sender: 1, number: n }).await?;
        outcomes.push(victim.ask(Add(1)).deadline(WATCHDOG).await);
    }
    assert_eq!(bystander.ask(Pid).await?, bystander_pid, "the bystander has noticed");
    sys.settled().await;
    let ledger = sys.balance(WATCHDOG).await?;
    assert!(ledger.is_balanced(), "{ledger:?}");
    Ok(Seen { outcomes, ledger: sys.ledger_of(&victim).await? })
}

/// The exits that were seen of the one victim.
fn exits(outcomes: &[Result<i64, AskError>]) -> Vec<(&Exit, Executed)> {
    let died = |outcome| match outcome {
        &Err(AskError::Died { executed, ref report }) => Some((&report.exit, executed)),
        _ => None,
    };
    outcomes.iter().filter_map(died).collect()
}

/// A victim is killed at this cut of the third ask. What its asker is told depends on the cut.
fn killed_at(cut: Cut, expected: Option<Executed>) {
    watertight::test(async |sys| {
        let rule = Fault::Kill.at(cut.clone()).actor("victim").message::<Add>().nth(3);
        let seen = under(&sys, rule).await?;
        let told = exits(&seen.outcomes);
        match expected {
            Some(executed) => assert_eq!(told, [(&Exit::Signal(libc::SIGKILL), executed)], "{cut}"),
            None => assert!(seen.outcomes.iter().all(Result::is_ok), "{cut}: {:?}", seen.outcomes),
        }
        let in_doubt = u64::from(expected == Some(Executed::Maybe));
        assert_eq!((seen.ledger.accepted, seen.ledger.in_doubt), (10, in_doubt), "{cut}: {:?}", seen.ledger);
        let injected = sys.injected().await?;
        assert_eq!(injected.len(), 1, "{injected:?}");
        assert_eq!((injected[0].occasion, &injected[0].cut, injected[0].rule), (3, &cut, 0));
        assert!(injected[0].message.as_deref().is_some_and(|name| name.ends_with("Add")));
        Ok(())
    });
}

#[test]
fn a_message_that_is_not_started_goes_to_the_next_incarnation() {
    killed_at(Cut::Arrived, None);
}

#[test]
fn a_message_that_is_started_is_in_doubt() {
    killed_at(Cut::Started, Some(Executed::Maybe));
}

#[test]
fn a_message_that_is_handled_but_not_answered_is_in_doubt() {
    killed_at(Cut::Handled, Some(Executed::Maybe));
}

#[test]
fn a_reply_that_is_not_written_is_in_doubt() {
    killed_at(Cut::Answered, Some(Executed::Maybe));
}

#[test]
fn a_reply_that_is_written_wins_over_the_death() {
    killed_at(Cut::Replied, None);
}

#[test]
fn what_is_recorded_as_processed_is_not_run_again() {
    killed_at(Cut::Processed, None);
}

#[test]
fn a_death_before_the_acknowledgement_of_a_tell_costs_nothing() {
    watertight::test(async |sys| {
        let rule = Fault::Kill.at(Cut::Processed).actor("victim").message::<Number>().nth(2);
        let seen = under(&sys, rule).await?;
        assert!(seen.outcomes.iter().all(Result::is_ok), "{:?}", seen.outcomes);
        assert_eq!((seen.ledger.processed, seen.ledger.in_doubt), (10, 0));
        Ok(())
    });
}

#[test]
fn a_handler_that_waits_can_be_hit_in_the_middle() {
    watertight::test(async |sys| {
        sys.inject(Plan::seeded(1).with(Fault::Abort.at(Cut::Suspended).message::<Slowly>().nth(1))).await?;
        let victim = sys.spawn_with(victim()).await?;
        let error = victim.ask(Slowly(1)).await.unwrap_err();
        let AskError::Died { executed: Executed::Maybe, report } = &error else { panic!("{error:?}") };
        assert_eq!(report.exit, Exit::Signal(libc::SIGABRT));
        assert!(report.to_string().contains("injected: rule 0: abort at suspended"), "{report}");
        victim.ask(Slowly(1)).await?;
        Ok(())
    });
}

#[test]
fn a_fault_may_come_later_in_the_middle_of_something() {
    watertight::test(async |sys| {
        let wait = Duration::from_millis(20);
        let rule = Fault::Kill.at(Cut::Started).message::<Slowly>().nth(1).after(wait);
        sys.inject(Plan::seeded(1).with(rule)).await?;
        let victim = sys.spawn_with(victim()).await?;
        let error = victim.ask(Slowly(60_000)).deadline(WATCHDOG).await.unwrap_err();
        let AskError::Died { report, .. } = &error else { panic!("{error:?}") };
        assert_eq!(report.exit, Exit::Signal(libc::SIGKILL));
        Ok(())
    });
}

/// What a fault at the start of the third ask is seen as.
fn seen_as(fault: Fault, expected: impl Fn(&Exit) -> bool) {
    watertight::test(async |sys| {
        let rule = fault.clone().at(Cut::Started).actor("victim").message::<Add>().nth(3);
        let seen = under(&sys, rule).await?;
        let told = exits(&seen.outcomes);
        assert_eq!(told.len(), 1, "{fault}: {:?}", seen.outcomes);
        assert!(expected(told[0].0), "{fault} is seen as {}", told[0].0);
        Ok(())
    });
}

#[test]
fn a_planned_panic_is_a_panic() {
    seen_as(Fault::Panic("by plan".into()), |exit| *exit == Exit::Panicked("by plan".into()));
}

#[test]
fn a_planned_segfault_is_a_segfault() {
    seen_as(Fault::Segfault, |exit| *exit == Exit::Signal(libc::SIGSEGV));
}

#[test]
fn a_planned_stack_overflow_is_one() {
    seen_as(Fault::StackOverflow, |exit| *exit == Exit::StackOverflow);
}

#[test]
fn a_planned_exit_is_a_crash_with_its_code() {
    seen_as(Fault::Exit(3), |exit| *exit == Exit::Code(3));
}

#[test]
fn planned_loops_and_deadlocks_hang() {
    for fault in [Fault::Loop, Fault::Deadlock] {
        seen_as(fault, |exit| *exit == Exit::Hung(Hang::NoProgress));
    }
}

#[test]
fn a_planned_hoard_runs_out_of_memory() {
    seen_as(Fault::Allocate, |exit| *exit == Exit::OutOfMemory);
}

#[test]
fn a_long_planned_stop_is_a_hang() {
    seen_as(Fault::Stop(WATCHDOG), |exit| *exit == Exit::Hung(Hang::StoppedBySignal(libc::SIGSTOP)));
}

/// Faults that a process survives: all ten messages are handled.
fn survived(fault: Fault, cut: Cut) {
    watertight::test(async |sys| {
        let rule = fault.clone().at(cut.clone()).actor("victim").message::<Add>().nth(3);
        let seen = under(&sys, rule).await?;
        assert!(seen.outcomes.iter().all(Result::is_ok), "{fault} at {cut}: {:?}", seen.outcomes);
        assert_eq!(seen.ledger.processed, 10);
        assert_eq!(sys.injected().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_short_stop_is_survived() {
    survived(Fault::Stop(Duration::from_millis(30)), Cut::Started);
}

#[test]
fn delays_are_survived_wherever_they_are() {
    let delay = Fault::Delay(Duration::from_millis(20));
    for cut in [Cut::Arrived, Cut::Started, Cut::Handled, Cut::Replied, Cut::Processed] {
        survived(delay.clone(), cut);
    }
    survived(Fault::Block(Duration::from_millis(20)), Cut::Answered);
}

#[test]
fn a_process_without_descriptors_answers_on() {
    survived(Fault::ExhaustDescriptors, Cut::Started);
}

/// Processes of this group that are no zombies.
fn living_of(group: u32) -> usize {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let lives = |stat: &String| {
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, of) = (fields.next(), fields.nth(1));
        state != Some("Z") && of == Some(&group.to_string())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(stat).filter(lives).count()
}

#[test]
fn forks_that_hold_everything_open_end_with_their_process() {
    watertight::test(async |sys| {
        let fork = Fault::Fork(8).at(Cut::Started).actor("victim").message::<Add>().nth(2);
        let kill = Fault::Kill.at(Cut::Started).actor("victim").message::<Add>().nth(3);
        sys.inject(Plan::seeded(1).with(fork).with(kill)).await?;
        let mut events = sys.events().await?;
        let victim = sys.spawn_with(victim()).await?;
        let group = victim.ask(Pid).await?;
        for n in 1..=2 {
            assert_eq!(victim.ask(Add(1)).await?, n);
        }
        assert_eq!(living_of(group), 9);
        assert!(victim.ask(Add(1)).await.is_err());
        let exit = |event| matches!(event, Event::Exited(report) if report.name == "victim").then_some(());
        events.wait_for(exit).await?;
        let killed = std::time::Instant::now();
        while living_of(group) > 0 {
            assert!(killed.elapsed() < WATCHDOG, "{} forks are alive", living_of(group));
            tokio::task::yield_now().await;
        }
        Ok(())
    });
}

#[test]
fn a_clock_that_jumps_ahead_expires_what_comes_then() {
    watertight::test(async |sys| {
        let jump = Fault::ClockJump(3_600_000).at(Cut::Processed).actor("victim").message::<Add>().nth(1);
        sys.inject(Plan::seeded(1).with(jump)).await?;
        let victim = sys.spawn_with(victim()).await?;
        assert_eq!(victim.ask(Add(1)).await?, 1);
        let error = victim.ask(Add(1)).await.unwrap_err();
        assert!(matches!(error, AskError::Deadline { executed: Executed::No }), "{error:?}");
        Ok(())
    });
}

/// Writes what it is asked to, into a file.
struct Writer(std::fs::File);

#[message(reply = ())]
struct Write(String);

impl Actor for Writer {
    type Args = String;
    type Messages = (Write,);

    async fn start(path: String, _: &mut Context<Self>) -> Result<Self> {
        Ok(Writer(std::fs::OpenOptions::new().create(true).append(true).open(path)?))
    }
}

impl Handler<Write> for Writer {
    async fn handle(&mut self, Write(text): Write, _: &mut Context<Self>) -> Result<()> {
        use std::io::Write as _;
        Ok(self.0.write_all(text.as_bytes())?)
    }
}

#[test]
fn what_is_written_to_a_planned_full_disk_is_an_error_of_the_write_until_the_next_life() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        sys.inject(Plan::seeded(1).with(Fault::FullDisk.at(Cut::Started).actor("writer").nth(2))).await?;
        let spec = Spec::<Writer>::new(path.display().to_string()).name("writer").backoff(Backoff::NONE);
        let writer = sys.spawn_with(spec).await?;
        writer.ask(Write("one".into())).await?;
        for _ in 0..2 {
            let error = writer.ask(Write("lost".into())).await.unwrap_err();
            let AskError::Failed(error) = &error else { panic!("{error:?}") };
            assert!(error.to_string().contains("File too large"), "{error}");
        }
        assert_eq!(sys.info(&writer).await?.restarts, 0);
        sys.kill(&writer).await?;
        writer.ask(Write(", two".into())).await?;
        assert_eq!(std::fs::read_to_string(&path)?, "one, two");
        Ok(())
    });
}

#[test]
fn a_dropped_message_is_a_dead_letter_and_a_dropped_ask_ends_by_its_deadline() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let tell = Fault::Drop.at(Cut::Arrived).message::<Number>().nth(1);
        let ask = Fault::Drop.at(Cut::Arrived).message::<Add>().nth(1);
        let reply = Fault::Drop.at(Cut::Answered).message::<Pid>().nth(1);
        sys.inject(Plan::seeded(1).with(tell).with(ask).with(reply)).await?;
        let victim = sys.spawn_with(victim()).await?;
        victim.tell(Number { sender: 1, number: 1 }).await?;
        let reason = events.wait_for(|event| match event {
            Event::DeadLetters { reason, count: 1, .. } => Some(reason),
            _ => None,
        });
        assert_eq!(reason.await?, DeadLetterReason::Injected);
        let asked = victim.ask(Add(1)).deadline(Duration::from_millis(200)).await;
        assert!(matches!(asked, Err(AskError::Deadline { .. })), "{asked:?}");
        let asked = victim.ask(Pid).deadline(Duration::from_millis(200)).await;
        assert!(matches!(asked, Err(AskError::Deadline { .. })), "{asked:?}");
        assert_eq!(victim.ask(Add(1)).await?, 1);
        let ledger = sys.balance(WATCHDOG).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        assert_eq!((ledger.accepted, ledger.processed, ledger.dead_lettered), (4, 2, 2));
        Ok(())
    });
}

/// Answers later, when its handler has returned long since.
struct Later;

#[message(reply = u32)]
struct Sometime;

impl Actor for Later {
    type Args = ();
    type Messages = (Sometime,);
    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Later)
    }
}

impl Handler<Sometime> for Later {
    async fn handle(&mut self, _: Sometime, cx: &mut Context<Self>) -> Result<u32> {
        cx.defer(|reply| _ = tokio::spawn(async move { reply.send(7) }))
    }
}

#[test]
fn a_deferred_reply_is_at_the_same_cut_as_any_other() {
    watertight::test(async |sys| {
        let answered = |fault: Fault, nth| fault.at(Cut::Answered).message::<Sometime>().nth(nth);
        let plan = Plan::seeded(1).with(answered(Fault::Drop, 2)).with(answered(Fault::Duplicate, 3));
        sys.inject(plan.with(answered(Fault::Kill, 5))).await?;
        let later = sys.spawn_with(Spec::<Later>::new(()).backoff(Backoff::NONE)).await?;
        let asked = async || later.ask(Sometime).deadline(Duration::from_millis(500)).await;
        assert_eq!(asked().await?, 7);
        let dropped = asked().await;
        assert!(matches!(dropped, Err(AskError::Deadline { .. })), "{dropped:?}");
        assert_eq!(asked().await?, 7);
        assert_eq!(asked().await?, 7, "the second of the two replies is none to the next ask");
        let died = asked().await;
        assert!(matches!(died, Err(AskError::Died { .. })), "{died:?}");
        assert_eq!(asked().await?, 7);
        let ledger = sys.balance(WATCHDOG).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        let cuts: Vec<_> =
            sys.injected().await?.into_iter().map(|one| (one.fault, one.sequence.map(|s| s.0))).collect();
        assert_eq!(cuts, [(Fault::Drop, Some(2)), (Fault::Duplicate, Some(3)), (Fault::Kill, Some(5))]);
        Ok(())
    });
}

#[test]
fn a_process_that_dies_before_its_start_is_a_failed_start_and_the_next_one_lives() {
    for cut in [Cut::Handshake, Cut::Start, Cut::LinkSetup] {
        watertight::test(async |sys| {
            let spawned = sys.spawn_with(victim()).await?;
            let plan =
                Plan::seeded(1).with(Fault::Kill.at(cut.clone()).actor("victim").incarnation(2).nth(1));
            sys.inject(plan).await?;
            let mut events = sys.events().await?;
            sys.kill(&spawned).await?;
            spawned.tell(Number { sender: 1, number: 1 }).await?;
            events.started("victim", 3).await?;
            assert_eq!(spawned.ask(Add(1)).await?, 1);
            assert!(sys.balance(WATCHDOG).await?.is_balanced());
            assert_eq!(sys.injected().await?.len(), 1);
            Ok(())
        });
    }
}

#[test]
fn a_process_that_will_not_stop_is_killed_for_it() {
    watertight::test(async |sys| {
        sys.inject(Plan::seeded(1).with(Fault::Loop.at(Cut::Stop).actor("victim"))).await?;
        let mut events = sys.events().await?;
        let victim = sys.spawn_with(victim().hang_limit(None)).await?;
        sys.stop(&victim).await?;
        assert_eq!(events.exited("*").await?.exit, Exit::StopDeadline);
        Ok(())
    });
}

#[test]
fn a_spawn_that_fails_is_tried_again() {
    watertight::test(async |sys| {
        let spawned = sys.spawn_with(victim()).await?;
        let again = Fault::Error(errno::EAGAIN).at(Cut::Spawn).actor("victim").times(3);
        sys.inject(Plan::seeded(1).with(again)).await?;
        sys.kill(&spawned).await?;
        assert_eq!(spawned.ask(Add(1)).await?, 1);
        assert_eq!(sys.info(&spawned).await?.restarts, 4);
        let injected = sys.injected().await?;
        assert_eq!(injected.iter().map(|one| one.incarnation.0).collect::<Vec<_>>(), [2, 3, 4]);
        Ok(())
    });
}
