//! Frames that are not as they should be, and links that end while both of their ends live.

use std::time::Duration;

use watertight::fault::{Call, Cut, Fault, Plan, Rule, errno};
use watertight::prelude::*;
use watertight::{Exit, Spec, System};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Number, Pid, Relay, Setup};

/// For what takes milliseconds.
const WATCHDOG: Duration = Duration::from_secs(30);

fn named(name: &str, journal: Option<String>) -> Spec<Specimen> {
    Spec::<Specimen>::new(Setup { journal, ..Setup::default() })
        .name(name)
        .backoff(Backoff::NONE)
        .intensity(1000, Duration::from_secs(60))
}

/// A hundred tells and a hundred asks from the program to an actor, under this plan: nobody dies, everything is handled
/// once and in its order. Returns how often a fault was injected.
fn nothing_is_lost(rules: impl Fn() -> Vec<Rule>) {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal");
        let plan = rules().into_iter().fold(Plan::seeded(3), Plan::with);
        sys.inject(plan).await?;
        let victim = sys.spawn_with(named("victim", Some(journal.display().to_string()))).await?;
        let pid = victim.ask(Pid).await?;
        for n in 1..=100 {
            victim.tell(Number { sender: 1, number: n }).await?;
            let n = i64::try_from(n)?;
            assert_eq!(victim.ask(Add(1)).deadline(WATCHDOG).await?, n, "{:?}", sys.injected().await?);
        }
        sys.settled().await;
        assert_eq!(victim.ask(Pid).await?, pid, "nobody has died");
        let ledger = sys.balance(WATCHDOG).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        assert_eq!((ledger.processed, ledger.dead_lettered, ledger.in_doubt), (202, 0, 0));
        let lines = std::fs::read_to_string(journal)?;
        let expected: Vec<String> = (1..=100).map(|n| format!("1 {n} 1")).collect();
        assert_eq!(lines.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
        assert!(!sys.injected().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_link_that_its_sender_closes_is_made_again() {
    nothing_is_lost(|| vec![Fault::Close.at(Cut::Sent).actor("program").every(40).times(4)]);
}

#[test]
fn a_link_that_its_receiver_closes_is_made_again() {
    nothing_is_lost(|| vec![Fault::Close.at(Cut::LinkSetup).actor("victim").times(3)]);
}

#[test]
fn a_link_that_cannot_be_watched_or_written_is_made_again() {
    nothing_is_lost(|| {
        vec![
            Fault::Error(errno::EMFILE).at(Cut::Call(Call::WatchLink)).actor("victim").nth(1),
            Fault::Error(errno::EPIPE).at(Cut::Call(Call::WriteLink)).actor("program").nth(60),
            Fault::Error(errno::EIO).at(Cut::Call(Call::ReadLink)).actor("program").nth(70),
            Fault::Error(errno::EIO).at(Cut::Call(Call::ReadLink)).actor("victim").nth(50),
        ]
    });
}

#[test]
fn a_reply_on_a_link_that_closes_under_it_is_lost_and_nothing_else() {
    watertight::test(async |sys| {
        let close = Fault::Close.at(Cut::Answered).actor("victim").message::<Add>().nth(2);
        sys.inject(Plan::seeded(1).with(close)).await?;
        let victim = sys.spawn_with(named("victim", None)).await?;
        assert_eq!(victim.ask(Add(1)).await?, 1);
        let second = victim.ask(Add(1)).deadline(Duration::from_secs(2)).await;
        // It was put into the old socket before that was closed, or into the new one, or has gone with the old one.
        assert!(matches!(second, Ok(2) | Err(watertight::AskError::Deadline { .. })), "{second:?}");
        assert_eq!(victim.ask(Add(1)).deadline(WATCHDOG).await?, 3);
        assert!(sys.balance(WATCHDOG).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn two_replies_to_one_ask_are_one() {
    nothing_is_lost(|| vec![Fault::Duplicate.at(Cut::Answered).actor("victim").every(3)]);
}

/// An actor sends on what it is told, and its frames are not as they should be.
async fn relayed(sys: &System, fault: Fault) -> Result<Vec<Exit>> {
    let rule = fault.clone().at(Cut::Sent).actor("relay").message::<Number>().nth(3);
    sys.inject(Plan::seeded(5).with(rule)).await?;
    let mut events = sys.events().await?;
    let relay = sys.spawn_with(named("relay", None)).await?;
    let receiver = sys.spawn_with(named("receiver", None)).await?;
    for n in 1..=20 {
        relay.tell(Relay(receiver.clone(), n)).await?;
    }
    sys.settled().await;
    let ledger = sys.balance(WATCHDOG).await?;
    assert!(ledger.is_balanced(), "{fault}: {ledger:?}");
    assert_eq!(sys.injected().await?.len(), 1, "{fault}");
    let mut exits = Vec::new();
    sys.stop(&relay).await?;
    let last = events.wait_for(|event| match event {
        watertight::Event::Exited(report) if report.name == "relay" => {
            let is_last = report.exit == Exit::Stopped;
            exits.push(report.exit);
            is_last.then_some(())
        }
        _ => None,
    });
    last.await?;
    Ok(exits)
}

#[test]
fn who_sends_a_frame_twice_or_out_of_order_is_ended() {
    for fault in [Fault::Duplicate, Fault::Reorder] {
        watertight::test(async |sys| {
            let exits = relayed(&sys, fault.clone()).await?;
            // Two frames change places only if the second comes soon.
            let is_ended = matches!(&exits[..], [Exit::BadPeer(reason), ..] if reason.contains("sequence"));
            assert!(is_ended || fault == Fault::Reorder, "{fault}: {exits:?}");
            Ok(())
        });
    }
}

#[test]
fn half_a_frame_or_a_garbled_one_leaves_the_ledger_even() {
    for fault in [Fault::Truncate, Fault::Corrupt] {
        watertight::test(async |sys| {
            relayed(&sys, fault.clone()).await?;
            Ok(())
        });
    }
}
