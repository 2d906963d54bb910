//! The machine's monotonic clock, the same for all its processes: deadlines travel as its nanoseconds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How far this process's clock is ahead, in nanoseconds: 0 but for fault plans.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Sets the clock ahead by so many milliseconds, or back.
pub(crate) fn jump(milliseconds: i64) {
    AHEAD.fetch_add(milliseconds.saturating_mul(1_000_000), Ordering::Relaxed);
}

/// Now, in nanoseconds.
#[cfg(not(test))]
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The monotonic clock counts from the machine's start: never negative, and 64 bits last five centuries.
    let now =
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0);
    now.saturating_add_signed(AHEAD.load(Ordering::Relaxed))
}

/// In unit tests, by the runtime's clock, which can be paused.
#[cfg(test)]
pub(crate) fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let now = tokio::time::Instant::now().into_std();
    let since = now.saturating_duration_since(*START.get_or_init(Instant::now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The point in time `wait` from now, in nanoseconds.
pub(crate) fn after(wait: Duration) -> u64 {
    now().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

/// How long it is until `deadline`; zero if it has passed.
pub(crate) fn until(deadline: u64) -> Duration {
    Duration::from_nanos(deadline.saturating_sub(now()))
}

/// `deadline` for this process's timers.
pub(crate) fn instant(deadline: u64) -> Instant {
    later(tokio::time::Instant::now().into_std(), until(deadline))
}

/// Longer than any program runs: what is due later is never due, and no sum of times overflows.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The point in time `wait` after `now`, for any `wait` that somebody may have asked for.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(NEVER)
}
