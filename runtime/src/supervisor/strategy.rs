//! Whether a restart is borne and when it is due. Pure: no clock, no I/O.
//!
//! OTP asks three small questions in order (`supervisor.erl`, `handle_info({'EXIT', …})` to `restart`): does the policy
//! want a restart, is one more borne, and what is done then. The first two are answered here; what is done then, and
//! with whom, is the [`tree`](super::tree)'s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::spec::{Backoff, Intensity, Restart};

/// Whether the policy wants a restart of what has ended.
pub(crate) fn wants_restart(restart: Restart, normal: bool) -> bool {
    match restart {
        Restart::Permanent => true,
        Restart::Transient => !normal,
        Restart::Temporary => false,
    }
}

/// The restarts so far that an intensity still counts: one group's, or those of an actor that stands alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    recent: VecDeque<Instant>,
}

impl Budget {
    /// Counts one more restart at `now`; says the how many-th it is of those that count, or `None` if it is not borne.
    ///
    /// More than `restarts` within `within` are not borne; OTP counts the one about to be made.
    pub(crate) fn bear(&mut self, intensity: Intensity, now: Instant) -> Option<u32> {
        while self.recent.front().is_some_and(|&at| now.saturating_duration_since(at) > intensity.within) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let counted = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        (counted <= intensity.restarts).then_some(counted)
    }

    /// Forgets everything: a group that is started again is a new one.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
    }
}

/// The waits of one child before its restarts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    /// Restarts in a row without a quiet life between them.
    row: u32,
}

impl Waits {
    /// None before the first restart, then doubling, each between half and the whole of its step. `jitter` is from 0 to
    /// 1 and spreads the waits of many.
    pub(crate) fn next(&mut self, backoff: Backoff, lived: Duration, jitter: f64) -> Duration {
        if lived >= backoff.quiet {
            self.row = 0;
        }
        let row = self.row;
        self.row = self.row.saturating_add(1);
        let Some(doublings) = row.checked_sub(1) else { return Duration::ZERO };
        let step = backoff.first.saturating_mul(1 << doublings.min(30)).min(backoff.most);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Duration = Duration::from_millis(1);

    fn intensity(restarts: u32, within: u64) -> Intensity {
        Intensity { restarts, within: Duration::from_secs(within) }
    }

    #[test]
    fn a_policy_wants_what_otp_says_it_wants() {
        for (policy, after_crash, after_normal) in [
            (Restart::Permanent, true, true),
            (Restart::Transient, true, false),
            (Restart::Temporary, false, false),
        ] {
            assert_eq!(wants_restart(policy, false), after_crash, "{policy:?} after a crash");
            assert_eq!(wants_restart(policy, true), after_normal, "{policy:?} after a normal end");
        }
    }

    #[test]
    fn exactly_the_allowed_number_of_restarts_is_borne() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for nth in 1..=3 {
            assert_eq!(budget.bear(intensity(3, 10), now + Duration::from_secs(nth.into())), Some(nth));
        }
        assert_eq!(budget.bear(intensity(3, 10), now + Duration::from_secs(4)), None);
    }

    #[test]
    fn restarts_older_than_the_period_are_forgiven() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for nth in 0..20 {
            assert_eq!(budget.bear(intensity(1, 10), now + Duration::from_secs(11 * nth)), Some(1));
        }
    }

    #[test]
    fn zero_restarts_means_none() {
        assert_eq!(Budget::default().bear(intensity(0, 10), Instant::now()), None);
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_ones_wait_longer_up_to_the_most() {
        let mut row = Waits::default();
        let waits: Vec<u128> =
            (0..10).map(|_| row.next(Backoff::default(), CRASH, 1.0).as_millis()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn jitter_keeps_a_wait_between_half_and_the_whole_of_its_step() {
        for (jitter, expected) in [(0.0, 5), (1.0, 10)] {
            let mut row = Waits::default();
            row.next(Backoff::default(), CRASH, jitter);
            assert_eq!(row.next(Backoff::default(), CRASH, jitter).as_millis(), expected);
        }
    }

    #[test]
    fn a_quiet_life_starts_the_waits_over() {
        let mut row = Waits::default();
        for _ in 0..5 {
            row.next(Backoff::default(), CRASH, 1.0);
        }
        assert_eq!(row.next(Backoff::default(), Duration::from_secs(10), 1.0), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_jumps_back_changes_nothing() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        assert_eq!(budget.bear(intensity(1, 10), now + Duration::from_secs(5)), Some(1));
        assert_eq!(budget.bear(intensity(1, 10), now), None);
    }
}
