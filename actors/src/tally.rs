//! A tally: adds numbers up by key, and reports the sums.
//!
//! # Promise
//! - What was asked to be added and answered is in every later report, until the tally dies. What was only told is in
//!   every report that the same sender asks for afterwards.
//! - What survives a restart: nothing. The sums begin at zero, and the report carries the incarnation, so a reader
//!   sees that they did. Keep the sums of an earlier incarnation yourself if you need them.
//! - An `Add` in hand at a crash is in doubt, not repeated: adding twice would be wrong, so it is not idempotent.
//! - It never holds more keys than its limit, and no sum wraps around: such an `Add` is refused with an error.

use std::collections::BTreeMap;

use watertight::prelude::*;

/// Adds `by` to the sum of `key`.
#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Whose sum.
    pub key: String,
    /// How much.
    pub by: u64,
}

/// Asks for all sums.
#[message(reply = Sums, idempotent)]
pub struct Report;

/// All sums of one incarnation of a tally.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The incarnation that has added them up: higher than 1, and earlier ones are lost.
    pub incarnation: u32,
    /// The sums, in the order of their keys.
    pub by_key: BTreeMap<String, u64>,
}

impl Sums {
    /// The sum of one key; 0 if nothing was ever added to it.
    pub fn of(&self, key: &str) -> u64 {
        self.by_key.get(key).copied().unwrap_or(0)
    }

    /// The sum of all sums; at most `u64::MAX`.
    pub fn total(&self) -> u64 {
        self.by_key.values().fold(0, |total, sum| total.saturating_add(*sum))
    }
}

/// Adds up by key; see the [module](self). Started with the number of keys that it may hold.
pub struct Tally {
    most_keys: u32,
    sums: BTreeMap<String, u64>,
}

impl Actor for Tally {
    type Args = u32;
    type Messages = (Add, Report);

    async fn start(most_keys: u32, _: &mut Context<Self>) -> Result<Self> {
        Ok(Tally { most_keys, sums: BTreeMap::new() })
    }
}

impl Handler<Add> for Tally {
    async fn handle(&mut self, Add { key, by }: Add, _: &mut Context<Self>) -> Result<()> {
        if let Some(sum) = self.sums.get_mut(&key) {
            *sum = sum.checked_add(by).ok_or_else(|| Error::new(format!("the sum of {key:?} is full")))?;
            return Ok(());
        }
        if self.sums.len() >= self.most_keys as usize {
            return Err(Error::new(format!(
                "the tally holds {} keys already: {key:?} is refused",
                self.most_keys
            )));
        }
        self.sums.insert(key, by);
        Ok(())
    }
}

impl Handler<Report> for Tally {
    async fn handle(&mut self, _: Report, cx: &mut Context<Self>) -> Result<Sums> {
        Ok(Sums { incarnation: cx.incarnation().0, by_key: self.sums.clone() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn add(key: &str, by: u64) -> Add {
        Add { key: key.into(), by }
    }

    #[test]
    fn it_adds_up_by_key_and_reports_in_order() {
        watertight::test(async |sys| {
            let tally = sys.spawn::<Tally>(10).await?;
            for (key, by) in [("pears", 1), ("apples", 2), ("pears", 40)] {
                tally.tell(add(key, by)).await?;
            }
            let sums = tally.ask(Report).await?;
            assert_eq!(
                sums.by_key.iter().map(|(k, n)| (&**k, *n)).collect::<Vec<_>>(),
                [("apples", 2), ("pears", 41)]
            );
            assert_eq!((sums.of("pears"), sums.of("plums"), sums.total(), sums.incarnation), (41, 0, 43, 1));
            Ok(())
        });
    }

    #[test]
    fn one_key_too_many_and_a_sum_too_large_are_refused_and_nothing_is_lost() {
        watertight::test(async |sys| {
            let tally = sys.spawn::<Tally>(1).await?;
            tally.ask(add("a", u64::MAX)).await?;
            let error = tally.ask(add("b", 1)).await.unwrap_err();
            assert_eq!(error.to_string(), "the tally holds 1 keys already: \"b\" is refused");
            let error = tally.ask(add("a", 1)).await.unwrap_err();
            assert_eq!(error.to_string(), "the sum of \"a\" is full");
            assert_eq!(tally.ask(Report).await?.of("a"), u64::MAX);
            Ok(())
        });
    }

    #[test]
    fn after_a_crash_the_sums_begin_at_zero_and_the_report_says_so() {
        watertight::test(async |sys| {
            let tally = sys.spawn::<Tally>(10).await?;
            tally.ask(add("a", 5)).await?;
            sys.kill(&tally).await?;
            // The kill may come before or after this Add, but no Add is counted in two incarnations.
            tally.tell(add("a", 1)).await?;
            let sums = loop {
                let sums = tally.ask(Report).await?;
                if sums.incarnation > 1 {
                    break sums;
                }
            };
            assert!(sums.of("a") <= 1, "{sums:?}");
            Ok(())
        });
    }
}
