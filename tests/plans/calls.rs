//! Every call of the runtime that may fail is made to fail, alone and in random pairs: the ledger law holds, whoever asks
//! is told, and afterwards everything works.

use std::time::{Duration, Instant};

use watertight::fault::{Call, Cut, Fault, Plan, Rule, errno};
use watertight::prelude::*;
use watertight::{Spec, System};
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Bytes, Number, Relay, Setup, Work};

/// For what takes milliseconds.
const WATCHDOG: Duration = Duration::from_secs(60);
/// How often a call is made to fail at its first, second, … time.
const NTH: u64 = 6;

fn fails(call: Call, whom: &str, nth: u64) -> Rule {
    Fault::Error(errno::EMFILE).at(Cut::Call(call)).actor(whom).nth(nth)
}

fn named(name: &str) -> Spec<Specimen> {
    Spec::<Specimen>::new(Setup::default())
        .name(name)
        .backoff(Backoff::NONE)
        .intensity(1000, Duration::from_secs(60))
}

/// Starts one, however often that fails.
async fn start(sys: &System, name: &str) -> Result<Address<Specimen>> {
    for _ in 0..NTH {
        match sys.spawn_with(named(name)).await {
            Ok(address) => return Ok(address),
            Err(error) => must_say_something(&error.to_string()),
        }
    }
    Ok(sys.spawn_with(named(name)).await?)
}

/// An error that a test expects must at least say something.
fn must_say_something(text: &str) {
    assert!(!text.is_empty());
}

/// Asks until it is answered: what fails in between must say so, and be over soon.
async fn answered(address: &Address<Specimen>) -> Result<i64> {
    let begun = Instant::now();
    loop {
        match address.ask(Add(1)).deadline(Duration::from_secs(2)).await {
            Ok(total) => return Ok(total),
            Err(error) if begun.elapsed() > WATCHDOG => return Err(error.into()),
            Err(error) => must_say_something(&error.to_string()),
        }
    }
}

/// Starts a process whose argument owns a descriptor, however often that fails.
async fn shares_a_blob(sys: &System) -> Result<()> {
    let begun = Instant::now();
    loop {
        let blob = Blob::from_bytes(&[7; 100_000])?;
        let length: std::result::Result<usize, String> =
            match sys.process(|blob: Blob| blob.len(), blob).await {
                Ok(process) => process.join().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
        match length {
            Ok(length) => {
                assert_eq!(length, 100_000);
                return Ok(());
            }
            Err(text) => must_say_something(&text),
        }
        assert!(begun.elapsed() < WATCHDOG, "no process takes a blob");
    }
}

/// Two actors that tell each other things, one of which dies in the middle. How many faults were injected.
async fn work(sys: &System, plan: Plan) -> Result<usize> {
    sys.inject(plan).await?;
    let receiver = start(sys, "receiver").await?;
    let relay = start(sys, "relay").await?;
    for n in 0..20 {
        // Accepted or refused; the ledger counts what was accepted.
        if let Err(error) = receiver.tell(Number { sender: 1, number: n }).await {
            must_say_something(&error.to_string());
        }
        if let Err(error) = relay.tell(Relay(receiver.clone(), n)).await {
            must_say_something(&error.to_string());
        }
        if n == 10 {
            sys.kill(&receiver).await?;
        }
    }
    // More than a socket holds, while its reader is busy, so that room must be waited for.
    if let Err(error) = receiver.tell(Work(10_000)).await {
        must_say_something(&error.to_string());
    }
    if let Err(error) = receiver.ask(Bytes(vec![7; 1 << 20])).deadline(Duration::from_secs(2)).await {
        must_say_something(&error.to_string());
    }
    answered(&receiver).await?;
    answered(&relay).await?;
    shares_a_blob(sys).await?;
    let settled = tokio::time::timeout(WATCHDOG, sys.settled()).await;
    assert!(settled.is_ok(), "what was accepted is neither handled nor lost");
    let ledger = sys.balance(WATCHDOG).await?;
    assert!(ledger.is_balanced(), "{ledger:?}");
    Ok(sys.injected().await?.len())
}

#[test]
fn every_call_may_fail_alone() {
    let mut never = Vec::new();
    for call in Call::ALL {
        let mut injected = 0;
        for whom in ["supervisor", "program", "receiver", "relay"] {
            for nth in 1..=NTH {
                watertight::test(async |sys| {
                    let done = work(&sys, Plan::seeded(1).with(fails(call, whom, nth))).await;
                    let context = format!("{call:?} of {whom}, time {nth}");
                    injected += done.map_err(|error| Error::new(format!("{context}: {error}")))?;
                    Ok(())
                });
            }
        }
        if injected == 0 {
            never.push(call);
        }
    }
    assert_eq!(never, [], "these calls were never made");
}

#[test]
fn any_two_calls_may_fail_together() {
    let pairs: u64 =
        std::env::var("WATERTIGHT_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(40);
    let mut random =
        std::env::var("WATERTIGHT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    for _ in 0..pairs {
        let seed = random;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut any = || {
            let call = Call::ALL[usize::try_from(draw(Call::ALL.len() as u64)).unwrap()];
            let whom = ["supervisor", "program", "receiver", "relay"][usize::try_from(draw(4)).unwrap()];
            fails(call, whom, 1 + draw(NTH))
        };
        let plan = Plan::seeded(seed).with(any()).with(any());
        watertight::test(async |sys| {
            let done = work(&sys, plan.clone()).await;
            done.map_err(|error| Error::new(format!("WATERTIGHT_SEED={seed}: {plan:?}: {error}")))?;
            Ok(())
        });
    }
}
