//! What happens in a test, to be waited for step by step, and what has happened, to be judged.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Expected;
use crate::harmless::SetIn;
use crate::{ActorId, CrashReport, Error, Event, Events, Exit, Result, System, clock};

/// Everything that happens in a system from its beginning on.
///
/// ```no_run
/// use std::time::Duration;
/// use watertight::Exit;
/// use watertight::testing::{Expected, Timeline};
///
/// # async fn f(sys: watertight::System, till: watertight::Recipient<watertight::Down>) -> watertight::Result<()> {
/// let mut timeline = Timeline::begin(&sys).await?;
/// sys.kill(&till).await?;
/// timeline.wait(Duration::from_secs(5), &Expected::started("till", 2)).await?;
/// let happened = timeline.so_far().await?;
/// happened.assert_exits("till", &[Exit::Killed]);
/// happened.assert_restarts(&[("till", 1)]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Timeline {
    sys: System,
    events: Events,
    happened: Happened,
    /// What stands before has been waited for.
    waited: usize,
}

impl Timeline {
    /// Begins one.
    ///
    /// # Errors
    /// When the system is gone.
    pub async fn begin(sys: &System) -> Result<Timeline> {
        let events = sys.events().await?;
        let happened = Happened { began: clock::now(), seen: Vec::new() };
        Ok(Timeline { sys: sys.clone(), events, happened, waited: 0 })
    }

    /// Waits until this happens, and says when, counted from the beginning. What was waited for before lies before it, so
    /// waits one after another are an order.
    ///
    /// # Errors
    /// When it has not happened after `within`, or the system is gone; with everything that did happen.
    pub async fn wait(&mut self, within: Duration, expected: &Expected) -> Result<Duration> {
        let end = tokio::time::Instant::now() + within.min(Duration::from_secs(1 << 30));
        loop {
            while let Some((at, event)) = self.happened.seen.get(self.waited) {
                self.waited += 1;
                if expected.is(event) {
                    return Ok(self.happened.since(*at));
                }
            }
            match tokio::time::timeout_at(end, self.events.next_timed()).await {
                Ok(Some(event)) => self.happened.seen.push(event),
                Ok(None) => return Err(self.missing(expected, "before the system ended")),
                Err(_) => return Err(self.missing(expected, &format!("within {within:?}"))),
            }
        }
    }

    /// What has happened up to now: everything that the supervisor knew of when it was asked.
    ///
    /// # Errors
    /// When the system is gone.
    pub async fn so_far(&mut self) -> Result<&Happened> {
        // Whatever it answers stands behind everything that it had told before.
        self.sys.ledger_by_number(ActorId::PROGRAM).await?;
        while let Some(event) = self.events.try_next_timed() {
            self.happened.seen.push(event);
        }
        Ok(&self.happened)
    }

    fn missing(&self, expected: &Expected, when: &str) -> Error {
        Error::new(format!("{expected} was not seen {when}. {}", self.happened))
    }
}

/// What has happened in a system, in order, with the supervisor's times; from [`Timeline::so_far`]. Shown, it is a line for
/// each event.
///
/// Its assertions say what did happen when they fail. They fail too if events were missed.
#[derive(Clone, Debug)]
pub struct Happened {
    began: u64,
    seen: Vec<(u64, Event)>,
}

impl Happened {
    /// All of it, and when, counted from the beginning.
    pub fn events(&self) -> impl Iterator<Item = (Duration, &Event)> {
        self.seen.iter().map(|(at, event)| (self.since(*at), event))
    }

    /// When this has happened, each time.
    pub fn times(&self, expected: &Expected) -> Vec<Duration> {
        self.events().filter(|(_, event)| expected.is(event)).map(|(at, _)| at).collect()
    }

    /// The reports of the lives of this actor that have ended; the name may contain `*`.
    pub fn reports(&self, name: &str) -> Vec<&CrashReport> {
        let wanted = Expected::exited(name);
        let reports = self.seen.iter().filter(|(_, event)| wanted.is(event));
        reports
            .filter_map(|(_, event)| if let Event::Exited(r) = event { Some(&**r) } else { None })
            .collect()
    }

    /// How often each actor was restarted that was.
    pub fn restarts(&self) -> BTreeMap<&str, usize> {
        let mut restarts = BTreeMap::new();
        for (_, event) in &self.seen {
            if let Event::Started { name, incarnation, .. } = event
                && incarnation.0 > 1
            {
                *restarts.entry(&**name).or_default() += 1;
            }
        }
        restarts
    }

    /// That exactly these actors were restarted, so often, and nobody else.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_restarts(&self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<&str, usize> = expected.iter().copied().filter(|(_, n)| *n > 0).collect();
        let restarts = self.whole().restarts();
        assert!(restarts == expected, "expected restarts: {expected:?}; restarts: {restarts:?}. {self}");
    }

    /// That the lives of this actor ended like this, in this order, and no other has ended. The name may contain `*`.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_exits(&self, name: &str, expected: &[Exit]) {
        let exits: Vec<&Exit> = self.whole().reports(name).into_iter().map(|report| &report.exit).collect();
        let same = exits.iter().copied().eq(expected);
        assert!(same, "expected exits of {name}: {expected:?}; exits: {exits:?}. {self}");
    }

    /// That these have happened one after another; others may lie between them.
    ///
    /// # Panics
    /// With the first of them that has not.
    #[track_caller]
    pub fn assert_in_order(&self, expected: &[Expected]) {
        let mut left = self.whole().seen.iter();
        for (nth, one) in expected.iter().enumerate() {
            let before = nth.checked_sub(1).map(|before| format!(" after {}", expected[before]));
            let found = left.any(|(_, event)| one.is(event));
            assert!(found, "{one} was not seen{}. {self}", before.unwrap_or_default());
        }
    }

    /// That this has never happened.
    ///
    /// # Panics
    /// If it has.
    #[track_caller]
    pub fn assert_never(&self, unexpected: &Expected) {
        let times = self.whole().times(unexpected);
        assert!(times.is_empty(), "{unexpected} was seen {} times. {self}", times.len());
    }

    /// That each time that `first` has happened, `then` has followed within `limit`.
    ///
    /// # Panics
    /// If it has not, or came later; and if `first` has never happened.
    #[track_caller]
    pub fn assert_within(&self, limit: Duration, first: &Expected, then: &Expected) {
        let mut seen_first = false;
        for (nth, (at, _)) in self.whole().seen.iter().enumerate().filter(|(_, (_, event))| first.is(event)) {
            seen_first = true;
            let followed = self.seen[nth + 1..].iter().find(|(_, event)| then.is(event));
            let Some((then_at, _)) = followed else {
                panic_with(&format!("{then} did not follow {first}"), self)
            };
            let took = Duration::from_nanos(then_at.saturating_sub(*at));
            assert!(took <= limit, "{then} followed {first} after {took:?}, not within {limit:?}. {self}");
        }
        assert!(seen_first, "{first} was not seen. {self}");
    }

    /// Itself, unless events are missing in it.
    #[track_caller]
    fn whole(&self) -> &Self {
        let missed = self.seen.iter().any(|(_, event)| matches!(event, Event::Missed(_)));
        assert!(!missed, "events were missed, so nothing can be said. {self}");
        self
    }

    fn since(&self, at: u64) -> Duration {
        Duration::from_nanos(at.saturating_sub(self.began))
    }
}

#[allow(clippy::panic)] // It is how an assertion fails.
#[track_caller]
fn panic_with(words: &str, happened: &Happened) -> ! {
    panic!("{words}. {happened}")
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seen.is_empty() {
            return f.write_str("Nothing happened.");
        }
        f.write_str("What happened:")?;
        self.events().try_for_each(|(at, event)| {
            write!(f, "\n  {:>9.3} s {}", at.as_secs_f64(), SetIn(&event.to_string()))
        })
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
