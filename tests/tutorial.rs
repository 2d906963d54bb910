//! The tutorial of `docs/fault-tests.md`: what stands there in blocks stands here, and runs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use watertight::fault::{Cut, Fault, Plan, point};
use watertight::prelude::*;
use watertight::testing::history::{Fate, History, Journal};
use watertight::testing::{Chaos, Expected, Test, Timeline};
use watertight::{Executed, Exit};

/// Keeps what was paid in, across restarts: in a log.
struct Till {
    total: u64,
    log: std::fs::File,
    journal: Journal,
}

#[message(reply = u64)]
struct PayIn {
    number: u64,
    amount: u64,
}

#[message(reply = u64)]
struct Total;

/// To set it twice is as good as once.
#[message(reply = u64, idempotent)]
struct SetPrice {
    number: u64,
    price: u64,
}

impl Actor for Till {
    type Args = String; // where its log and its journal are
    type Messages = (PayIn, Total, SetPrice);

    async fn start(folder: String, _: &mut Context<Self>) -> Result<Self> {
        let log = format!("{folder}/log");
        let before = std::fs::read_to_string(&log).unwrap_or_default();
        let total = before.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        Ok(Till { total, log, journal: Journal::open(format!("{folder}/journal"))? })
    }
}

impl Handler<PayIn> for Till {
    async fn handle(&mut self, paid: PayIn, cx: &mut Context<Self>) -> Result<u64> {
        self.log.write_all(format!("{}\n", paid.amount).as_bytes())?;
        point("between log and total");
        self.total += paid.amount;
        self.journal.note(1, paid.number, cx.incarnation().0)?;
        Ok(self.total)
    }
}

impl Handler<Total> for Till {
    async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.total)
    }
}

impl Handler<SetPrice> for Till {
    async fn handle(&mut self, set: SetPrice, cx: &mut Context<Self>) -> Result<u64> {
        self.journal.note_attempt(2, set.number, cx.incarnation().0, cx.attempt())?;
        Ok(set.price)
    }
}

fn till(folder: &tempfile::TempDir) -> Spec<Till> {
    let spec = Spec::<Till>::new(folder.path().display().to_string()).name("till");
    spec.backoff(Backoff::NONE).intensity(1_000, Duration::from_secs(60))
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let till = sys.spawn_with(till(&folder)).await?;
        assert_eq!(till.ask(PayIn { number: 1, amount: 5 }).await?, 5);
        sys.kill(&till).await?;
        assert_eq!(till.ask(Total).await?, 5);
        Ok(())
    });
}

#[test]
fn a_crash_costs_nobody_else_and_the_till_is_soon_back() {
    watertight::test(async |sys| {
        let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut timeline = Timeline::begin(&sys).await?;
        let till = sys.spawn_with(till(&one)).await?;
        let other = sys.spawn_with(self::till(&two).name("other")).await?;
        let monitor = sys.monitor(&till).await?;
        sys.kill(&till).await?;
        assert_eq!(monitor.down().await?.exit, Exit::Killed);
        let back = Expected::started("till", 2);
        timeline.wait(Duration::from_secs(10), &back).await?;
        assert_eq!(other.ask(PayIn { number: 1, amount: 5 }).await?, 5);

        let happened = timeline.so_far().await?;
        happened.assert_restarts(&[("till", 1)]); // and nobody else
        happened.assert_exits("*", &[Exit::Killed]);
        happened.assert_within(Duration::from_secs(1), &Expected::exited("till"), &back);
        Ok(())
    });
}

#[test]
fn a_payment_that_is_in_doubt_is_there_or_not_and_the_payer_knows_that() {
    let plan = Plan::seeded(1)
        .with(Fault::Segfault.at(Cut::Started).actor("till").message::<PayIn>().nth(1))
        .with(Fault::Segfault.at(Cut::point("between log and total")).incarnation(2).nth(1));
    Test::new().plan(plan).limit(Duration::from_secs(30)).run(async |sys| {
        let folder = tempfile::tempdir()?;
        let till = sys.spawn_with(till(&folder)).await?;
        for expected in [0, 5] {
            // First it dies before the log is written, then behind it. The payer is told the same both times.
            let error = till.ask(PayIn { number: 1, amount: 5 }).await.unwrap_err();
            let AskError::Died { executed: Executed::Maybe, report } = &error else { panic!("{error}") };
            assert!(report.injected.is_some(), "{report}");
            assert_eq!(till.ask(Total).await?, expected);
        }
        Ok(())
    });
}

#[test]
fn no_payment_is_lost_or_taken_twice_however_often_the_till_dies() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        sys.inject(Plan::seeded(7).with(Fault::Kill.at(Cut::Handled).actor("till").chance(0.1))).await?;
        let till = sys.spawn_with(till(&folder)).await?;
        let mut history = History::default();
        for number in 1..=200 {
            let fate = match till.ask(PayIn { number, amount: 1 }).await {
                Ok(_) => Fate::Answered,
                Err(AskError::Died { .. }) => Fate::InDoubt,
                Err(error) => return Err(error.into()),
            };
            history.sent(1, number, fate);
        }
        history.read(folder.path().join("journal"))?;
        let verdict = history.judge();
        let deaths = sys.injected().await?.len();
        assert!(deaths > 0 && verdict.is_clean(deaths), "{deaths} deaths: {verdict:?}");
        sys.balance(Duration::from_secs(10)).await?.assert_even();
        Ok(())
    });
}

#[test]
fn a_price_that_is_set_again_after_a_death_is_no_duplicate() {
    let plan = Plan::seeded(7).with(Fault::Kill.at(Cut::Handled).actor("till").chance(0.1));
    Test::new().plan(plan).run(async |sys| {
        let folder = tempfile::tempdir()?;
        let till = sys.spawn_with(till(&folder)).await?;
        let mut history = History::default();
        for number in 1..=200 {
            // It may be handled again, so the runtime does that: the sender does not notice.
            assert_eq!(till.ask(SetPrice { number, price: 10 * number }).await?, 10 * number);
            history.sent(2, number, Fate::Answered);
        }
        history.read(folder.path().join("journal"))?;
        let verdict = history.judge();
        let deaths = sys.injected().await?.len();
        assert!(deaths > 0 && verdict.is_clean(deaths), "{deaths} deaths: {verdict:?}");
        assert_eq!(verdict.redelivered, u64::try_from(deaths)?, "each was set once more");
        Ok(())
    });
}

#[test]
fn it_bears_a_second_of_chaos() {
    watertight::test(async |sys| {
        let folder = tempfile::tempdir()?;
        let till = sys.spawn_with(till(&folder)).await?;
        let payer = async {
            for number in 1..=300 {
                // What becomes of each is the business of the test above.
                let _ = till.ask(PayIn { number, amount: 1 }).await;
            }
            Ok::<_, Error>(())
        };
        let chaos = Chaos::seeded(7).rate(40.0).lasting(Duration::from_secs(1)).run(&sys);
        let (paid, verdict) = tokio::join!(payer, chaos);
        paid?;
        let verdict = verdict?;
        assert!(verdict.is_good() && verdict.kills > 5, "{verdict}");
        Ok(())
    });
}

/// Every block of the tutorial stands in this file, and everything in this file but these checks stands in the tutorial.
#[test]
fn the_tutorial_says_what_runs() {
    let page = include_str!("../docs/fault-tests.md");
    let here = include_str!("tutorial.rs");
    let blocks: Vec<&str> =
        page.split("```rust,ignore\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        assert!(here.contains(block.trim_end()), "not in tests/tutorial.rs:\n{block}");
    }
    let (story, _) = here.split_once("\n/// Every block of the tutorial").unwrap();
    for paragraph in story.split("\n\n").skip(2) {
        assert!(page.contains(paragraph.trim()), "not in docs/fault-tests.md:\n{paragraph}");
    }
}
