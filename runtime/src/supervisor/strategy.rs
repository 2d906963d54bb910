//! The decision after an exit, and the only place that makes it. Pure: no clock, no I/O.
//!
//! OTP asks three small questions in order (`supervisor.erl`, `handle_info({'EXIT', …})` to `restart`): does the policy
//! want a restart, is one more borne, and what is done then. So does this.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::report::Verdict;
use crate::spec::{Backoff, Intensity, Restart};

/// One actor's restarts so far.
#[derive(Debug)]
pub(crate) struct Restarts {
    restart: Restart,
    intensity: Intensity,
    backoff: Backoff,
    /// When it was restarted, as far back as the intensity looks.
    recent: VecDeque<Instant>,
    /// Restarts in a row without a quiet life between them.
    row: u32,
}

/// What is known of the life that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// It ended as it meant to.
    pub(crate) normal: bool,
    /// How long it had been ready; zero if it never was.
    pub(crate) length: Duration,
}

impl Restarts {
    pub(crate) fn new(restart: Restart, intensity: Intensity, backoff: Backoff) -> Self {
        Restarts { restart, intensity, backoff, recent: VecDeque::new(), row: 0 }
    }

    /// What to do now that a life has ended at `now`. `jitter` is from 0 to 1 and spreads the waits of many.
    pub(crate) fn decide(&mut self, life: Life, now: Instant, jitter: f64) -> Verdict {
        if !self.wants_restart(life.normal) {
            return Verdict::Ended;
        }
        let Intensity { restarts: of, within } = self.intensity;
        if !self.is_borne(now) {
            return Verdict::GivenUp { of, within };
        }
        let after = self.wait(life.length, jitter);
        let nth = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        Verdict::Restart { after, nth, of, within }
    }

    fn wants_restart(&self, normal: bool) -> bool {
        match self.restart {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        }
    }

    /// More than `restarts` within `within` are not borne; OTP counts the one about to be made.
    fn is_borne(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|&at| now.saturating_duration_since(at) > self.intensity.within)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() <= self.intensity.restarts as usize
    }

    /// None before the first restart, then doubling, each between half and the whole of its step.
    fn wait(&mut self, lived: Duration, jitter: f64) -> Duration {
        if lived >= self.backoff.quiet {
            self.row = 0;
        }
        let row = self.row;
        self.row = self.row.saturating_add(1);
        let Some(doublings) = row.checked_sub(1) else { return Duration::ZERO };
        let step = self.backoff.first.saturating_mul(1 << doublings.min(30)).min(self.backoff.most);
        step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Life = Life { normal: false, length: Duration::from_millis(1) };
    const NORMAL: Life = Life { normal: true, length: Duration::from_millis(1) };

    fn restarts(restart: Restart, count: u32, within: u64) -> (Restarts, Instant) {
        let intensity = Intensity { restarts: count, within: Duration::from_secs(within) };
        (Restarts::new(restart, intensity, Backoff::default()), Instant::now())
    }

    fn is_restart(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Restart { .. })
    }

    #[test]
    fn a_policy_wants_what_otp_says_it_wants() {
        for (policy, after_crash, after_normal) in [
            (Restart::Permanent, true, true),
            (Restart::Transient, true, false),
            (Restart::Temporary, false, false),
        ] {
            let (mut r, now) = restarts(policy, 9, 60);
            assert_eq!(is_restart(&r.decide(CRASH, now, 0.0)), after_crash, "{policy:?} after a crash");
            assert_eq!(
                is_restart(&r.decide(NORMAL, now, 0.0)),
                after_normal,
                "{policy:?} after a normal end"
            );
        }
    }

    #[test]
    fn exactly_the_allowed_number_of_restarts_is_borne() {
        let (mut r, now) = restarts(Restart::Permanent, 3, 10);
        for nth in 1..=3 {
            match r.decide(CRASH, now + Duration::from_secs(nth), 0.0) {
                Verdict::Restart { nth: counted, of: 3, .. } => assert_eq!(u64::from(counted), nth),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            r.decide(CRASH, now + Duration::from_secs(4), 0.0),
            Verdict::GivenUp { of: 3, within: Duration::from_secs(10) }
        );
    }

    #[test]
    fn restarts_older_than_the_period_are_forgiven() {
        let (mut r, now) = restarts(Restart::Permanent, 1, 10);
        for nth in 0..20 {
            let verdict = r.decide(CRASH, now + Duration::from_secs(11 * nth), 0.0);
            assert!(is_restart(&verdict), "{verdict:?}");
        }
    }

    #[test]
    fn zero_restarts_means_none() {
        let (mut r, now) = restarts(Restart::Permanent, 0, 10);
        assert!(matches!(r.decide(CRASH, now, 0.0), Verdict::GivenUp { .. }));
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_ones_wait_longer_up_to_the_most() {
        let (mut r, now) = restarts(Restart::Permanent, 99, 60);
        let waits: Vec<u128> = (0..10)
            .map(|_| match r.decide(CRASH, now, 1.0) {
                Verdict::Restart { after, .. } => after.as_millis(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn jitter_keeps_a_wait_between_half_and_the_whole_of_its_step() {
        for (jitter, expected) in [(0.0, 5), (1.0, 10)] {
            let (mut r, now) = restarts(Restart::Permanent, 99, 60);
            r.decide(CRASH, now, jitter);
            match r.decide(CRASH, now, jitter) {
                Verdict::Restart { after, .. } => assert_eq!(after.as_millis(), expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_quiet_life_starts_the_waits_over() {
        let (mut r, now) = restarts(Restart::Permanent, 99, 60);
        for _ in 0..5 {
            r.decide(CRASH, now, 1.0);
        }
        let quiet = Life { normal: false, length: Duration::from_secs(10) };
        match r.decide(quiet, now, 1.0) {
            Verdict::Restart { after, .. } => assert_eq!(after, Duration::ZERO),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clock_that_jumps_back_changes_nothing() {
        let (mut r, now) = restarts(Restart::Permanent, 1, 10);
        assert!(is_restart(&r.decide(CRASH, now + Duration::from_secs(5), 0.0)));
        assert!(matches!(r.decide(CRASH, now, 0.0), Verdict::GivenUp { .. }));
    }
}
