//! What a pool has done so far.

use std::time::Duration;

/// What one worker has done, in all its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its name.
    pub name: String,
    /// Tasks that it has run to their end.
    pub tasks: u64,
    /// Tasks that ended with its death.
    pub failed: u64,
    /// Chunks in which they came.
    pub chunks: u64,
    /// How often it died in the middle of something.
    pub deaths: u64,
    /// How long it was running tasks.
    pub busy: Duration,
}

/// How far a map is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Items that have their outcome.
    pub done: u64,
    /// Of these, how many failed.
    pub failed: u64,
    /// Items in all, if that is known.
    pub total: Option<u64>,
    /// Since the map began.
    pub elapsed: Duration,
}

impl Progress {
    /// Items per second so far.
    #[allow(clippy::cast_precision_loss)] // Nobody reads the sixteenth digit of a rate.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// How long the rest will take at that rate; `None` if the number of items or the rate is not known yet.
    #[allow(clippy::cast_precision_loss)]
    pub fn left(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done);
        (self.done > 0).then(|| Duration::try_from_secs_f64(left as f64 / self.rate()).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_rate_says() {
        let elapsed = Duration::from_secs(2);
        let half = Progress { done: 50, failed: 0, total: Some(100), elapsed };
        assert_eq!((half.rate(), half.left()), (25.0, Some(elapsed)));
        assert_eq!(Progress { done: 0, ..half }.left(), None);
        assert_eq!(Progress { total: None, ..half }.left(), None);
    }
}
