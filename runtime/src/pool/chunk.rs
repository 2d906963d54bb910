//! Tasks that travel together, and how many; pure.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::job::Job;
use super::row;

/// A chunk should run about so long: a hundred times what it costs to send one, and short enough that the last ones end
/// together.
const TARGET: u64 = 2_000_000;
/// A chunk should not run shorter than this, if it can: ten times what it costs to send one.
const LEAST: u64 = 200_000;
/// Most bytes of inputs in a chunk of more than one task: a frame that leaves in one write.
const BYTES: usize = 56 << 10;
/// Most tasks in a chunk: their results, of a few bytes each, fit the board.
const TASKS: u64 = 16_384;
/// While nothing is known of a job, chunks double from one task to this many.
const UNKNOWN: u64 = 64;

/// How many tasks the next chunk should have. `mean` is how long one takes in nanoseconds, 0 if nothing is known yet;
/// `sent` is how many have been sent, and `left` how many are left, if that is known.
pub(super) fn size(mean: u64, sent: u64, left: Option<u64>, workers: usize) -> u64 {
    let by_time = match mean {
        0 => (sent / workers.max(1) as u64).clamp(1, UNKNOWN),
        mean => (TARGET / mean).clamp(1, TASKS),
    };
    // So that each worker gets at least four of the rest: what is uneven then evens out. But not ever less at the end:
    // an idle worker takes from the others.
    let least = LEAST.checked_div(mean).unwrap_or(0).max(1);
    let share = left.map_or(TASKS, |left| (left / (workers.max(1) as u64 * 4)).max(least));
    by_time.min(share)
}

/// A row of tasks of one job.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) job: Arc<Job>,
    /// The number of its first task in the job.
    pub(super) first: u64,
    inputs: Arc<Inputs>,
    /// Which of the inputs.
    from: u32,
    to: u32,
    /// How often its first task has been tried already.
    pub(super) attempts: u8,
}

/// Encoded inputs.
#[derive(Default)]
pub(super) struct Inputs {
    /// Each behind its length.
    bytes: Vec<u8>,
    /// Where each begins.
    offsets: Vec<u32>,
    /// Beside the only one.
    descriptors: Vec<Arc<OwnedFd>>,
}

impl Inputs {
    /// Adds an input that `write` appends.
    pub(super) fn add<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = row::begin(&mut self.bytes);
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        row::end(&mut self.bytes, start, false);
        // `write` keeps to a limit far below u32.
        self.offsets.push(u32::try_from(start).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Takes the last input out again, to be a chunk of its own.
    pub(super) fn split_last(&mut self) -> Inputs {
        let start = self.offsets.pop().unwrap_or(0) as usize;
        Inputs { bytes: self.bytes.split_off(start), offsets: vec![0], descriptors: Vec::new() }
    }

    pub(super) fn with_descriptors(mut self, descriptors: Vec<Arc<OwnedFd>>) -> Inputs {
        self.descriptors = descriptors;
        self
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether another input should go into another chunk.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES
    }
}

impl Chunk {
    pub(super) fn new(job: &Arc<Job>, first: u64, inputs: Inputs) -> Chunk {
        // As many as offsets were pushed: far fewer than 2^32.
        let to = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
        Chunk { job: Arc::clone(job), first, inputs: Arc::new(inputs), from: 0, to, attempts: 0 }
    }

    pub(super) fn tasks(&self) -> u32 {
        self.to - self.from
    }

    /// The part of it from task `from` up to and without `to`.
    pub(super) fn part(&self, from: u32, to: u32) -> Chunk {
        let to = to.min(self.tasks());
        let from = from.min(to);
        let attempts = if from == 0 { self.attempts } else { 0 };
        Chunk {
            first: self.first + u64::from(from),
            from: self.from + from,
            to: self.from + to,
            attempts,
            ..self.clone()
        }
    }

    /// Its inputs as they travel.
    pub(super) fn bytes(&self) -> &[u8] {
        let start = |task: u32| self.inputs.offsets.get(task as usize).map(|start| *start as usize);
        let end = start(self.to).unwrap_or(self.inputs.bytes.len());
        &self.inputs.bytes[start(self.from).unwrap_or(end)..end]
    }

    pub(super) fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        self.inputs.descriptors.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_tasks_travel_by_the_thousand_and_long_ones_alone() {
        assert_eq!(size(30, 100, None, 2), TASKS);
        assert_eq!(size(30, 100, Some(90_000), 2), 11_250);
        assert_eq!(size(30, 100, Some(10), 2), LEAST / 30);
        assert_eq!(size(1_000_000, 100, Some(900), 2), 2);
        assert_eq!(size(1_000_000, 100, Some(3), 2), 1);
        assert_eq!(size(60_000_000_000, 100, None, 2), 1);
    }

    #[test]
    fn a_job_of_which_nothing_is_known_begins_with_single_tasks() {
        assert_eq!((size(0, 0, None, 2), size(0, 4, None, 2), size(0, 10_000, None, 2)), (1, 2, UNKNOWN));
        assert_eq!(size(0, 100, Some(8), 4), 1);
    }
}
