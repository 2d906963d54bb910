//! Tasks that travel together, and how many; pure.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;

use super::job::Job;
use super::row;
use crate::process::board::SLOTS;
use crate::task::RESULT_LIMIT;
use crate::wire::codec::{self, EncodeError};
use crate::wire::passing;

/// A chunk should run about so long: a hundred times what it costs to send and answer one, and short enough that the last ones end
/// together.
const TARGET: u64 = 5_000_000;
/// A chunk should not run shorter than this, if it can: several times what it costs to send one.
const LEAST: u64 = 100_000;
/// Most bytes of inputs in a chunk of more than one task: a frame that leaves in one write.
const BYTES: usize = 56 << 10;
/// Most tasks in a chunk: their results, of a few bytes each, fit the board.
const TASKS: u64 = 16_384;
/// Tasks that are claimed at once should run about so long, in nanoseconds: a hundred times what it costs to claim.
const BLOCK: u64 = 1_000;
/// Most tasks that are claimed at once: should the next ones be long ones, so many wait for each other.
const MOST_CLAIMED: u32 = 16;

/// How many tasks the next chunk should have. `mean` is how long one takes in nanoseconds, 0 if nothing is known yet;
/// then `before` is how long those of the same function took in another job, 0 if there was none. `left` is how many are
/// left, if that is known.
pub(super) fn size(mean: u64, before: u64, left: Option<u64>, workers: usize) -> u64 {
    let workers = workers.max(1) as u64;
    // So that each worker gets at least four of the rest: what is uneven then evens out.
    let share = |least: u64| left.map_or(TASKS, |left| (left / (workers * 4)).max(least));
    if mean == 0 {
        // These may be quite different ones, and nobody takes from a worker of which it is not known that it is late.
        return LEAST.checked_div(before).unwrap_or(1).clamp(1, TASKS).min(share(1));
    }
    // But not ever less at the end: an idle worker takes from the others.
    (TARGET / mean).clamp(1, TASKS).min(share((LEAST / mean).max(1)))
}

/// How many tasks may be under way in chunks of this size: for each worker what it has, and one chunk more, so that none
/// waits for the next one to be made. While nothing is known of the tasks, only what the workers have.
pub(super) fn window(mean: u64, size: u64, workers: usize) -> u64 {
    let chunks = if mean == 0 { SLOTS } else { SLOTS + 1 };
    size.saturating_mul((workers * chunks) as u64)
}

/// How many tasks a worker claims at a time. None of them can be given to an idle worker any more, so only tasks that are
/// known to be tiny are claimed by the dozen.
pub(super) fn block(mean: u64, timed: bool) -> u32 {
    match mean {
        0 => 1,
        _ if timed => 1,
        mean => u32::try_from(BLOCK / mean).unwrap_or(MOST_CLAIMED).clamp(1, MOST_CLAIMED),
    }
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
    /// Each behind its length; then room for more.
    bytes: Vec<u8>,
    /// Bytes that inputs take.
    used: usize,
    tasks: u32,
    /// Where the last one begins.
    last: usize,
    /// Where every [`MARK`]th begins.
    marks: Vec<usize>,
    /// Beside the only one.
    descriptors: Vec<Arc<OwnedFd>>,
}

/// Why [`Inputs::add_quickly`] does not go on by itself.
enum Pause<T> {
    Enough,
    NoMore,
    /// There is no room for it, or it does not encode.
    Unfit(T),
}

/// From one mark to the next: so many inputs are passed over at most to find one.
const MARK: u32 = 64;

impl Inputs {
    /// Room for so many, as far as it can be told before they are known.
    pub(super) fn with_room(tasks: u64) -> Inputs {
        let bytes = usize::try_from(tasks.saturating_mul(16)).unwrap_or(BYTES).clamp(64, BYTES + 64);
        Inputs { bytes: vec![0; bytes], ..Inputs::default() }
    }

    /// Adds inputs until there are so many, or others should go into another chunk, because these are large enough or the
    /// last one owns descriptors. Returns whether there are no more.
    ///
    /// # Errors
    /// One does not encode, or is too large; those before it are added.
    pub(super) fn add_some<T: Serialize>(
        &mut self,
        inputs: &mut impl Iterator<Item = T>,
        most: u64,
    ) -> Result<bool, EncodeError> {
        loop {
            match self.add_quickly(inputs, most) {
                Pause::Enough => return Ok(false),
                Pause::NoMore => return Ok(true),
                Pause::Unfit(input) => self.add(&input)?,
            }
        }
    }

    /// Adds those for which there is room. What changes with each is kept in local variables, which registers hold.
    #[inline]
    fn add_quickly<T: Serialize>(&mut self, inputs: &mut impl Iterator<Item = T>, most: u64) -> Pause<T> {
        let (mut tasks, mut used, mut last) = (self.tasks, self.used, self.last);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let pause = loop {
            if tasks >= most || used >= BYTES || passing::collected() > 0 {
                break Pause::Enough;
            }
            let Some(input) = inputs.next() else { break Pause::NoMore };
            let Some(length) = self.bytes.get_mut(used..).and_then(|room| row::place(room, &input)) else {
                break Pause::Unfit(input);
            };
            if tasks.is_multiple_of(MARK) {
                self.marks.push(used);
            }
            last = used;
            used += length;
            tasks += 1;
        };
        (self.tasks, self.used, self.last) = (tasks, used, last);
        pause
    }

    /// Adds an input, and makes more room than it takes.
    ///
    /// # Errors
    /// It does not encode, or is too large; then it is not added.
    #[cold]
    #[inline(never)]
    pub(super) fn add<T: Serialize>(&mut self, input: &T) -> Result<(), EncodeError> {
        // The first one that owns descriptors ends a chunk: so these are its own, from when it was tried before.
        passing::put_back(0);
        self.bytes.truncate(self.used);
        let start = row::begin(&mut self.bytes);
        codec::encode_into(input, &mut self.bytes, RESULT_LIMIT)
            .inspect_err(|_| self.bytes.truncate(start))?;
        row::end(&mut self.bytes, start, false);
        if self.tasks.is_multiple_of(MARK) {
            self.marks.push(self.used);
        }
        (self.last, self.used) = (self.used, self.bytes.len());
        self.tasks += 1;
        self.bytes.resize((self.used * 2).clamp(64, BYTES + self.used), 0);
        Ok(())
    }

    /// Takes the last input out again, to be a chunk of its own.
    pub(super) fn split_last(&mut self) -> Inputs {
        let bytes = self.bytes[self.last..self.used].to_vec();
        self.used = self.last;
        self.tasks = self.tasks.saturating_sub(1);
        self.marks.truncate(self.tasks.div_ceil(MARK) as usize);
        Inputs { used: bytes.len(), bytes, tasks: 1, marks: vec![0], ..Inputs::default() }
    }

    pub(super) fn with_descriptors(mut self, descriptors: Vec<Arc<OwnedFd>>) -> Inputs {
        self.descriptors = descriptors;
        self
    }

    pub(super) fn tasks(&self) -> u32 {
        self.tasks
    }

    /// Where this one begins, or where the last one ends.
    fn start(&self, task: u32) -> usize {
        let Some(mark) = self.marks.get((task / MARK) as usize).filter(|_| task < self.tasks) else {
            return self.used;
        };
        let mut rest = &self.bytes[*mark..self.used];
        for _ in 0..task % MARK {
            rest = row::next(rest).map_or(&[], |(_, behind)| behind);
        }
        self.used - rest.len()
    }
}

impl Chunk {
    pub(super) fn new(job: &Arc<Job>, first: u64, inputs: Inputs) -> Chunk {
        let to = inputs.tasks();
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
        &self.inputs.bytes[self.inputs.start(self.from)..self.inputs.start(self.to)]
    }

    pub(super) fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        self.inputs.descriptors.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tiny_tasks_travel_by_the_thousand_and_long_ones_alone() {
        assert_eq!(size(30, 0, None, 2), TASKS);
        assert_eq!(size(30, 0, Some(90_000), 2), 11_250);
        assert_eq!(size(30, 0, Some(10), 2), LEAST / 30);
        assert_eq!(size(1_000_000, 0, Some(900), 2), 5);
        assert_eq!(size(1_000_000, 0, Some(3), 2), 1);
        assert_eq!(size(60_000_000_000, 0, None, 2), 1);
        assert_eq!(size(u64::MAX, 0, Some(u64::MAX), 2), 1);
    }

    #[test]
    fn of_a_job_of_which_nothing_is_known_each_worker_gets_single_tasks() {
        assert_eq!((size(0, 0, None, 2), size(0, 0, Some(1_000_000), 2)), (1, 1));
        assert_eq!((window(0, 1, 2), window(30, 100, 2)), (4, 600));
    }

    #[test]
    fn what_another_job_took_is_a_guess_that_may_be_wrong() {
        assert_eq!(size(0, 30, None, 2), LEAST / 30);
        assert_eq!(size(0, 30, Some(800), 2), 100);
        assert_eq!((size(0, 30, Some(7), 2), size(0, u64::MAX, None, 2)), (1, 1));
        assert_eq!(size(1_000_000, 30, None, 2), 5, "what is known is known");
    }

    #[test]
    fn only_tiny_tasks_are_claimed_by_the_dozen() {
        assert_eq!((block(0, false), block(10, false), block(100, false)), (1, MOST_CLAIMED, 10));
        assert_eq!((block(1_000_000, false), block(u64::MAX, false), block(10, true)), (1, 1, 1));
    }

    #[test]
    fn a_part_of_a_chunk_has_the_inputs_of_its_tasks() {
        let job = Job::new(crate::task::code(|x: u64| x).unwrap(), None, None, 0, 0);
        let mut inputs = Inputs::with_room(1);
        for input in 0..200_u64 {
            inputs.add(&"x".repeat(usize::try_from(input).unwrap())).unwrap();
        }
        let chunk = Chunk::new(&job, 7, inputs);
        for (from, to) in [(0, 200), (0, 1), (63, 64), (64, 65), (100, 163), (199, 200), (5, 5), (150, 999)] {
            let part = chunk.part(from, to);
            assert_eq!((part.first, part.tasks()), (7 + u64::from(from), to.min(200) - from));
            let (mut rest, mut texts) = (part.bytes(), Vec::new());
            while let Some((item, behind)) = row::next(rest) {
                texts.push(codec::decode::<String>(item.unwrap()).unwrap().len());
                rest = behind;
            }
            assert!(rest.is_empty());
            assert_eq!(texts, (from as usize..to.min(200) as usize).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_last_input_may_become_a_chunk_of_its_own() {
        for before in [0, 1, 63, 64, 65] {
            let mut inputs = Inputs::default();
            for input in 0..=before {
                inputs.add(&input).unwrap();
            }
            let last = inputs.split_last();
            assert_eq!((inputs.tasks(), last.tasks()), (before, 1));
            assert_eq!(
                row::next(&last.bytes[..last.used]).unwrap().0.unwrap(),
                codec::encode(&before, 9).unwrap()
            );
            inputs.add(&7_u32).unwrap();
            assert_eq!(inputs.start(before), inputs.last);
            assert_eq!(inputs.start(before + 1), inputs.used);
        }
    }

    #[test]
    fn what_owns_descriptors_ends_a_chunk_and_puts_each_once_even_if_there_was_no_room_at_first() {
        let file: Arc<OwnedFd> = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        for length in [0, 1_000] {
            let mut inputs = Inputs::with_room(1);
            let owner = (passing::Passed(vec![Arc::clone(&file)]), "x".repeat(length));
            let mut items = [(passing::Passed::default(), String::new()), owner.clone(), owner].into_iter();
            let (added, beside) = passing::collecting(|| inputs.add_some(&mut items, 9));
            assert_eq!((added, beside.len(), inputs.tasks(), items.len()), (Ok(false), 1, 2, 1), "{length}");
        }
    }

    #[test]
    fn an_input_that_is_too_large_leaves_the_others() {
        let mut inputs = Inputs::default();
        inputs.add(&1_u8).unwrap();
        let large = "x".repeat(RESULT_LIMIT);
        assert_eq!(inputs.add(&large), Err(EncodeError::TooLarge(RESULT_LIMIT)));
        inputs.add(&&large[..RESULT_LIMIT - 16]).unwrap();
        assert_eq!(inputs.tasks(), 2);
    }
}
