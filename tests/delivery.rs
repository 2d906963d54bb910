//! The ledger law over random SIGKILLs under load, judged from what the actors wrote down themselves.
//!
//! `WATERTIGHT_KILLS=1000 cargo test --release -p watertight-tests --test delivery` is the long version.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use watertight::spec::Backoff;
use watertight::{Address, AskError, Event, Executed, Spec, TellError};
use watertight_tests::Specimen;
use watertight_tests::doomed::signal;
use watertight_tests::history::{Fate, Sent, judge, read_journal};
use watertight_tests::specimen::{Number, Setup};

/// How many kills: 200, or `WATERTIGHT_KILLS`.
fn kills() -> u32 {
    std::env::var("WATERTIGHT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// A generator of numbers that look random, from a seed that a failure prints.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Asks and tells numbered messages, in turns of its own, until told to end. Returns what it was told of each.
async fn drive(
    sender: u32,
    to: Address<Specimen>,
    asks: bool,
    end: tokio::sync::watch::Receiver<bool>,
) -> (u32, Sent) {
    let mut sent = Sent::new();
    for number in 1.. {
        if *end.borrow() {
            break;
        }
        let message = Number { sender, number };
        if asks {
            match to.ask(message).deadline(Duration::from_secs(30)).await {
                Ok(answer) => {
                    assert_eq!(answer, number);
                    sent.insert(number, Fate::Answered);
                }
                Err(AskError::Died { executed: Executed::Maybe | Executed::Yes, report }) => {
                    assert!(report.in_hand.is_some(), "{report}");
                    sent.insert(number, Fate::InDoubt);
                }
                Err(other) => panic!("ask {number} of {sender} ended with {other:?}"),
            }
        } else {
            match to.tell(message).deadline(Duration::from_secs(30)).await {
                Ok(()) => sent.insert(number, Fate::Accepted),
                Err(TellError::Deadline(_)) => panic!("no room for 30 s"),
                Err(other) => panic!("tell {number} of {sender} ended with {other:?}"),
            };
        }
    }
    (sender, sent)
}

#[test]
fn the_ledger_law_holds_over_random_kills_under_load() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal").display().to_string();
        let seed =
            u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos()) | 1;
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut events = sys.events().await?;
        let kills = kills();
        let spec = Spec::<Specimen>::new(Setup { journal: Some(journal.clone()), ..Setup::default() })
            .name("victim")
            .backoff(Backoff::NONE)
            .mailbox(64, 64 << 10)
            .intensity(u32::MAX, Duration::from_secs(1));
        let victim = sys.spawn_with(spec).await?;
        let (ending, end) = tokio::sync::watch::channel(false);
        let senders: Vec<_> = (1..=6)
            .map(|sender| tokio::spawn(drive(sender, victim.clone(), sender % 2 == 0, end.clone())))
            .collect();
        let mut reported_in_doubt = 0;
        for _ in 0..kills {
            let info = sys.info(&victim).await?;
            let pid = info.pid.unwrap();
            // A random moment, from the first microsecond of an incarnation to well into its work.
            let moment = Instant::now() + Duration::from_micros(random.below(3000));
            while Instant::now() < moment {
                tokio::task::yield_now().await;
            }
            signal(pid, libc::SIGKILL);
            events
                .wait_for(|event| {
                    if let Event::Exited(report) = &event {
                        reported_in_doubt += u64::from(report.in_hand.is_some());
                    }
                    matches!(event, Event::Started { incarnation, .. } if incarnation > info.incarnation)
                        .then_some(())
                })
                .await?;
        }
        ending.send(true)?;
        let mut sent: BTreeMap<u32, Sent> = BTreeMap::new();
        for sender in senders {
            let (sender, told) = sender.await?;
            sent.insert(sender, told);
        }
        let ledger = sys.balance(Duration::from_secs(10)).await?;
        let handled = read_journal(&std::fs::read_to_string(&journal)?)?;
        let verdict = judge(&sent, &handled);
        let accepted: usize = sent.values().map(BTreeMap::len).sum();
        println!("{kills} kills, {accepted} messages, {} in doubt by reports, {ledger:?}", reported_in_doubt);
        assert!(ledger.is_balanced(), "{ledger:?}");
        assert_eq!(verdict.duplicated, []);
        assert_eq!(verdict.misordered, []);
        assert_eq!(verdict.invented, []);
        // A told message that was in hand is a dead letter; its sender has no other way to know.
        let told_in_doubt = ledger.in_doubt - verdict.in_doubt;
        assert!(
            verdict.lost.len() as u64 <= told_in_doubt,
            "lost {:?}, {told_in_doubt} told in doubt",
            verdict.lost
        );
        assert!(ledger.in_doubt <= u64::from(kills), "more in doubt than kills: {ledger:?}");
        assert_eq!(ledger.in_doubt, reported_in_doubt);
        // One more than the senders counted: the pid that was never asked for here.
        assert_eq!(ledger.accepted, accepted as u64);
        Ok(())
    });
}

#[test]
fn a_reply_sent_before_the_death_wins_over_the_death() {
    watertight::test(async |sys| {
        let rounds = 1000;
        let spec = Spec::<Quitter>::new(())
            .backoff(Backoff::NONE)
            .output(watertight::Output::Silent)
            .intensity(u32::MAX, Duration::from_secs(1));
        let quitter = sys.spawn_with(spec).await?;
        for round in 0..rounds {
            assert_eq!(quitter.ask(Last(round)).await?, round, "round {round}");
        }
        let ledger = sys.balance(Duration::from_secs(5)).await?;
        assert_eq!(ledger.in_doubt, 0, "{ledger:?}");
        Ok(())
    });
}

/// Answers one message and leaves at once, without a goodbye.
struct Quitter;

#[watertight::message(reply = u32)]
struct Last(u32);

impl watertight::Actor for Quitter {
    type Args = ();
    type Messages = (Last, Leave);
    async fn start((): (), _: &mut watertight::Context<Self>) -> watertight::Result<Self> {
        Ok(Quitter)
    }
}

#[watertight::message]
struct Leave;

impl watertight::Handler<Last> for Quitter {
    async fn handle(&mut self, Last(n): Last, cx: &mut watertight::Context<Self>) -> watertight::Result<u32> {
        // The next thing that this process does after the reply.
        cx.address().try_tell(Leave)?;
        Ok(n)
    }
}

impl watertight::Handler<Leave> for Quitter {
    async fn handle(&mut self, _: Leave, _: &mut watertight::Context<Self>) -> watertight::Result<()> {
        std::process::exit(0);
    }
}
