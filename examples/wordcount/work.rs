//! Has every job counted by some mapper, and reduced once.
//!
//! Every mapper is asked by a few lanes, so that the next chunk is there when it has finished one. What the runtime
//! can retry it does: a chunk goes to the next incarnation of its mapper. Only what it puts aside is sent again here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use watertight::prelude::*;

use crate::kill::Schedule;
use crate::mapper::{Bytes, Chunk, Counts, Mapper};
use crate::read::Job;
use crate::reduce::Reducer;

/// Chunks in flight to one mapper: one in hand, and enough behind it that it never waits.
const LANES: usize = 4;
/// How long a chunk may take, waiting behind others and several restarts of its mapper included.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a chunk is sent again after the runtime has put it aside: each time stands for three deaths, so a chunk
/// that still fails is itself the cause.
const RESUBMISSIONS: u32 = 5;

/// What the lanes share.
pub struct Work {
    jobs: tokio::sync::Mutex<mpsc::Receiver<Job>>,
    mappers: Vec<Address<Mapper>>,
    reducer: Mutex<Reducer>,
    /// How many jobs each mapper has in flight.
    in_flight: Vec<AtomicU32>,
    /// The fraction of chunks that fault on their first attempt.
    segv: f64,
    /// When kills are due,
    schedule: Arc<Schedule>,
    /// how many jobs were given to mappers,
    submitted: watch::Sender<u64>,
    /// and how many kills were done.
    killed: watch::Sender<u32>,
    resubmitted: AtomicU64,
    bar: ProgressBar,
}

impl Work {
    /// Everything is ready, nothing has begun.
    pub fn new(
        jobs: mpsc::Receiver<Job>,
        mappers: Vec<Address<Mapper>>,
        segv: f64,
        schedule: Arc<Schedule>,
        reducer: Reducer,
        bar: ProgressBar,
    ) -> Arc<Work> {
        Arc::new(Work {
            jobs: jobs.into(),
            in_flight: mappers.iter().map(|_| AtomicU32::new(0)).collect(),
            mappers,
            reducer: reducer.into(),
            segv,
            schedule,
            submitted: watch::Sender::new(0),
            killed: watch::Sender::new(0),
            resubmitted: AtomicU64::new(0),
            bar,
        })
    }

    /// Does all of it; returns when every job is reduced.
    ///
    /// # Errors
    /// A chunk that cannot be counted, with its file and offset.
    pub async fn run(self: &Arc<Self>) -> Result<()> {
        let mut lanes = JoinSet::new();
        for lane in 0..LANES * self.mappers.len() {
            let work = Arc::clone(self);
            lanes.spawn(async move { work.lane(lane % work.mappers.len()).await });
        }
        while let Some(ended) = lanes.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// The mappers.
    pub fn mappers(&self) -> &[Address<Mapper>] {
        &self.mappers
    }

    /// Places of the mappers that have something to do.
    pub fn busy(&self) -> Vec<usize> {
        (0..self.mappers.len()).filter(|&mapper| self.in_flight[mapper].load(Ordering::Relaxed) > 0).collect()
    }

    /// How many jobs were given to mappers, and how many kills were done.
    pub fn progress(&self) -> (&watch::Sender<u64>, &watch::Sender<u32>) {
        (&self.submitted, &self.killed)
    }

    /// How often a chunk was sent again from here.
    pub fn resubmitted(&self) -> u64 {
        self.resubmitted.load(Ordering::Relaxed)
    }

    /// The counts.
    pub fn reducer(&self) -> MutexGuard<'_, Reducer> {
        self.reducer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lane(&self, mapper: usize) -> Result<()> {
        while let Some(job) = self.next().await {
            let Job { number, file, path, piece } = job;
            let (offset, length) = (piece.offset, piece.bytes.len());
            let count = self.count(number, Arc::new(piece.bytes), mapper).await;
            let reduced = count.and_then(|counts| self.reducer().add(number, file, &counts.pairs.0));
            reduced.map_err(|error| {
                error.context(format!(
                    "failed to count {length} bytes of {} at offset {offset}",
                    path.display()
                ))
            })?;
            self.bar.inc(length as u64);
        }
        Ok(())
    }

    /// The next job. A kill that is due comes first, while the jobs before it are under way: this is what spreads the
    /// kills over the run.
    async fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock().await;
        let due = self.schedule.due(*self.submitted.borrow());
        self.killed(due).await;
        let Some(job) = jobs.recv().await else {
            // There may be fewer chunks than it had seemed: what kills are left come now, with the last ones under way.
            self.submitted.send_modify(|submitted| *submitted = if *submitted > 0 { u64::MAX } else { 0 });
            let due = self.schedule.due(*self.submitted.borrow());
            self.killed(due).await;
            return None;
        };
        self.submitted.send_modify(|submitted| *submitted += 1);
        Some(job)
    }

    /// Waits until so many kills were done.
    async fn killed(&self, due: u32) {
        // The sender is a field of this: it cannot have gone.
        let _ = self.killed.subscribe().wait_for(|killed| *killed >= due).await;
    }

    /// Asks one mapper, and if the chunk was put aside, the next one.
    async fn count(&self, number: u64, bytes: Arc<Vec<u8>>, first: usize) -> Result<Counts> {
        let mut sent = 0;
        loop {
            let mapper = (first + sent as usize) % self.mappers.len();
            let chunk = Chunk {
                number,
                fault: sent == 0 && is_chosen(number, self.segv),
                bytes: Bytes(Arc::clone(&bytes)),
            };
            self.in_flight[mapper].fetch_add(1, Ordering::Relaxed);
            let answer = self.mappers[mapper].ask(chunk).deadline(DEADLINE).await;
            self.in_flight[mapper].fetch_sub(1, Ordering::Relaxed);
            sent += 1;
            match answer {
                Ok(counts) if counts.number == number => return Ok(counts),
                Ok(counts) => {
                    return Err(Error::new(format!(
                        "the answer is for chunk {}, not {number}",
                        counts.number
                    )));
                }
                // Counting twice is as good as once, and only this answer is reduced.
                Err(
                    AskError::Died { .. }
                    | AskError::Quarantined { .. }
                    | AskError::Deadline { .. }
                    | AskError::NoReply,
                ) if sent <= RESUBMISSIONS => {
                    self.resubmitted.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    return Err(Error::from(error).context(format!("given up after sending it {sent} times")));
                }
            }
        }
    }
}

/// Whether this chunk is among the fraction that faults: as if at random, and the same in every run.
fn is_chosen(number: u64, fraction: f64) -> bool {
    // The finish of SplitMix64: every bit of the number changes every bit of the result.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits >> 11) as f64) < fraction * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_are_the_asked_for_fraction() {
        let chosen = |fraction| (0..100_000).filter(|&number| is_chosen(number, fraction)).count();
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 100_000));
        assert!(chosen(0.1).abs_diff(10_000) < 500, "{}", chosen(0.1));
        assert!(chosen(0.5).abs_diff(50_000) < 1000, "{}", chosen(0.5));
    }
}
