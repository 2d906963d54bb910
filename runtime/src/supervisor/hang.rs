//! Whether an actor hangs, by what its flight recorder shows from sample to sample; pure.
//!
//! There is no heartbeat that a helper thread could fake: progress is what the actor's own thread writes as it starts
//! and finishes messages, and "parked" is what its event loop writes as it goes to sleep and wakes.

use std::time::{Duration, Instant};

use crate::report::Hang;
use crate::wire::ids::{LinkId, Sequence};

/// One look at an actor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Its progress counter.
    pub(crate) progress: u64,
    /// Its event loop sleeps.
    pub(crate) parked: bool,
    /// The message in hand, if one is.
    pub(crate) in_hand: Option<(LinkId, Sequence)>,
    /// The signal that has stopped its process, if one has.
    pub(crate) stopped: Option<i32>,
}

/// What earlier samples showed.
#[derive(Debug)]
pub(crate) struct Watch {
    progress: u64,
    in_hand: Option<(LinkId, Sequence)>,
    /// Unparked without progress since then.
    stuck_since: Option<Instant>,
    /// In one and the same message since then.
    waiting_since: Option<Instant>,
    stopped_since: Option<Instant>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Watch { progress: 0, in_hand: None, stuck_since: None, waiting_since: None, stopped_since: None }
    }

    /// Takes a sample at `now`; says whether the actor hangs, by its limits.
    pub(crate) fn sample(
        &mut self,
        sample: Sample,
        hang_limit: Option<Duration>,
        await_limit: Option<Duration>,
        now: Instant,
    ) -> Option<Hang> {
        let moved = sample.progress != self.progress;
        self.progress = sample.progress;
        let same = sample.in_hand.is_some() && sample.in_hand == self.in_hand;
        self.in_hand = sample.in_hand;
        let since = |holds: bool, since: Option<Instant>| holds.then(|| since.unwrap_or(now));
        self.stopped_since = since(sample.stopped.is_some(), self.stopped_since);
        self.stuck_since = since(!moved && !sample.parked && sample.stopped.is_none(), self.stuck_since);
        self.waiting_since = since(same, self.waiting_since);
        let over = |since: Option<Instant>, limit: Option<Duration>| {
            since.zip(limit).is_some_and(|(since, limit)| now.saturating_duration_since(since) >= limit)
        };
        if over(self.stopped_since, hang_limit) {
            return sample.stopped.map(Hang::StoppedBySignal);
        }
        if over(self.stuck_since, hang_limit) {
            return Some(Hang::NoProgress);
        }
        over(self.waiting_since, await_limit).then_some(Hang::Waiting)
    }
}

/// How often to look, so that a hang is found within a fifth of the limit after it: two looks take half of that, and the
/// rest is for a machine that is busy with others.
pub(crate) fn period(limit: Duration) -> Duration {
    (limit / 20).clamp(Duration::from_millis(5), Duration::from_millis(250))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Option<(LinkId, Sequence)> = Some((LinkId(1), Sequence(5)));
    const BUSY: Sample = Sample { progress: 7, parked: false, in_hand: MESSAGE, stopped: None };
    const LIMIT: Option<Duration> = Some(Duration::from_millis(100));

    /// Feeds samples 10 ms apart and says at which one a hang was found.
    fn run(
        samples: impl IntoIterator<Item = Sample>,
        await_limit: Option<Duration>,
    ) -> Option<(usize, Hang)> {
        let (mut watch, start) = (Watch::new(), Instant::now());
        samples.into_iter().enumerate().find_map(|(nth, sample)| {
            let now = start + Duration::from_millis(10) * u32::try_from(nth).unwrap();
            watch.sample(sample, LIMIT, await_limit, now).map(|hang| (nth, hang))
        })
    }

    #[test]
    fn a_loop_without_progress_is_found_at_the_limit_and_within_a_fifth_of_it() {
        let (nth, hang) = run([BUSY; 30], None).unwrap();
        assert_eq!(hang, Hang::NoProgress);
        assert!((10..=12).contains(&nth), "found at sample {nth}");
    }

    #[test]
    fn progress_and_sleep_are_no_hang() {
        assert_eq!(run((0..100).map(|n| Sample { progress: n, ..BUSY }), None), None);
        assert_eq!(run([Sample { parked: true, ..BUSY }; 100], None), None);
    }

    #[test]
    fn one_step_forward_starts_the_time_over() {
        let samples = (0..19).map(|n| Sample { progress: 7 + n / 9, ..BUSY });
        assert_eq!(run(samples, None), None);
    }

    #[test]
    fn a_stopped_process_is_found_even_if_it_was_asleep() {
        let stopped = Sample { parked: true, stopped: Some(19), ..BUSY };
        assert_eq!(run([stopped; 30], None).unwrap().1, Hang::StoppedBySignal(19));
    }

    #[test]
    fn awaiting_has_a_limit_of_its_own() {
        let waiting = Sample { parked: true, ..BUSY };
        assert_eq!(run([waiting; 30], LIMIT).unwrap().1, Hang::Waiting);
        let next = (0..30).map(|n| Sample { in_hand: Some((LinkId(1), Sequence(n / 8))), ..waiting });
        assert_eq!(run(next, LIMIT), None, "each message has its own time");
        assert_eq!(run([Sample { in_hand: None, ..waiting }; 30], LIMIT), None);
    }
}
