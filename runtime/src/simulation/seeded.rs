//! Random tests by seed: the same seed makes the same case, and a case that fails is made small before it is shown.
//!
//! Why not proptest here: a case is made, run and thrown away in microseconds, a hundred thousand times in every test
//! run, and half of that would go into strategies and value trees. And since every operation of these tests means
//! something in every state, it shrinks by leaving operations out; nothing else is needed.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Debug;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

/// Random numbers of a seed: splitmix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Neighbouring seeds should have nothing in common.
        random.0 = random.next() ^ seed.rotate_left(32);
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it; 0 if `end` is.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.below(values.len() as u64)).unwrap_or(0)]
    }
}

/// The hash of a trace: FNV-1a, the same on every machine and in every run.
#[derive(Clone, Debug)]
pub(crate) struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        TraceHash(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

/// A kind of random test.
pub(crate) struct Hunt<S, O> {
    /// Its whole path, as `cargo test` wants it.
    pub(crate) test: &'static str,
    /// What a seed makes: a world, and what happens in it.
    pub(crate) case: fn(&mut Random) -> (S, Vec<O>),
    /// Runs a case and panics if something is wrong; says its trace's hash. `true`: and prints its trace.
    pub(crate) run: fn(&S, &[O], bool) -> u64,
}

impl<S: Debug + Sync, O: Clone + Debug + Sync> Hunt<S, O> {
    /// Runs the first `sequences` seeds on two threads, or as many as `WATERTIGHT_SEQUENCES` says, or only the seed of
    /// `WATERTIGHT_SEED`, with its trace.
    pub(crate) fn hunt(&self, sequences: u64) {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        if let Some(seed) = number("WATERTIGHT_SEED") {
            let (setup, operations) = (self.case)(&mut Random::new(seed));
            if self.failure(&setup, &operations).is_some() {
                self.fail(seed);
            }
            (self.run)(&setup, &operations, true);
            return;
        }
        let sequences = number("WATERTIGHT_SEQUENCES").unwrap_or(sequences);
        let (next, failed) = (AtomicU64::new(0), Mutex::new(None::<u64>));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= sequences || failed.lock().is_ok_and(|failed| failed.is_some()) {
                            return;
                        }
                        let (setup, operations) = (self.case)(&mut Random::new(seed));
                        if self.failure(&setup, &operations).is_some()
                            && let Ok(mut failed) = failed.lock()
                        {
                            failed.get_or_insert(seed);
                        }
                    }
                });
            }
        });
        let failed = failed.lock().map_or(None, |failed| *failed);
        if let Some(seed) = failed {
            self.fail(seed);
        }
    }

    /// The same seed twice has the same trace, for the first `seeds` of them.
    pub(crate) fn repeat(&self, seeds: u64) {
        for seed in 0..seeds {
            let once = || {
                let (setup, operations) = (self.case)(&mut Random::new(seed));
                (self.run)(&setup, &operations, false)
            };
            assert_eq!(once(), once(), "seed {seed} has two traces");
        }
    }

    fn failure(&self, setup: &S, operations: &[O]) -> Option<String> {
        quietly(|| (self.run)(setup, operations, false)).err()
    }

    /// Leaves out whatever can be left out while it still fails: halves first, at last single operations.
    fn shrink(&self, setup: &S, mut operations: Vec<O>) -> Vec<O> {
        let mut size = operations.len().max(1);
        loop {
            let mut at = 0;
            let before = operations.len();
            while at < operations.len() {
                let mut fewer = operations.clone();
                fewer.drain(at..(at + size).min(operations.len()));
                if self.failure(setup, &fewer).is_some() {
                    operations = fewer;
                } else {
                    at += size;
                }
            }
            if size == 1 && operations.len() == before {
                return operations;
            }
            size = (size / 2).max(1);
        }
    }

    fn fail(&self, seed: u64) -> ! {
        let (setup, operations) = (self.case)(&mut Random::new(seed));
        let operations = self.shrink(&setup, operations);
        let why = self.failure(&setup, &operations).unwrap_or_default();
        let _ = quietly(|| (self.run)(&setup, &operations, true));
        let steps: String = operations.iter().map(|operation| format!("    {operation:?}\n")).collect();
        panic!(
            "{why}\n  in the world of seed {seed}: {setup:?}\n  it needs only:\n{steps}  again: \
             WATERTIGHT_SEED={seed} cargo test -p watertight --lib {} -- --nocapture",
            self.test
        );
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs it; what it panicked with, which is not printed.
fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.map_err(|panic| message_of(panic.as_ref()))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_fails_shrinks_to_what_it_needs() {
        let hunt = Hunt {
            test: "",
            case: |random| ((), (0..100).map(|_| random.below(10)).collect()),
            run: |(), numbers, _| {
                assert!(numbers.iter().filter(|&&number| number == 7).count() < 3, "three sevens");
                0
            },
        };
        let ((), numbers) = (hunt.case)(&mut Random::new(1));
        assert_eq!(hunt.shrink(&(), numbers), [7, 7, 7]);
        let told = quietly(|| hunt.fail(1)).err().unwrap_or_default();
        assert!(told.starts_with("three sevens") && told.contains("WATERTIGHT_SEED=1"), "{told}");
    }
}
