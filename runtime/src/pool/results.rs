//! A row of results that has come from a worker, and how it is read.
//!
//! It comes from another process, and that may have scribbled on it: what is no row of so many results gives an error for
//! each task that it should have been the result of.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::TaskError;
use super::row;
use crate::wire::{codec, passing};

/// Results that have come and are not given out yet.
pub(super) struct Results<R> {
    /// The number of the next one's task.
    pub(super) next: u64,
    left: u32,
    /// Each behind its length.
    bytes: Vec<u8>,
    read: usize,
    /// Beside the only one.
    descriptors: Vec<Arc<OwnedFd>>,
    result: PhantomData<fn() -> R>,
}

impl<R> Default for Results<R> {
    fn default() -> Results<R> {
        Results::new(0, 0, Vec::new(), Vec::new())
    }
}

impl<R> Results<R> {
    /// The results of so many tasks from `first` on.
    pub(super) fn new(first: u64, tasks: u32, bytes: Vec<u8>, descriptors: Vec<Arc<OwnedFd>>) -> Results<R> {
        Results { next: first, left: tasks, bytes, read: 0, descriptors, result: PhantomData }
    }
}

impl<R: DeserializeOwned> Results<R> {
    /// The next result, and the number of its task.
    pub(super) fn take_one(&mut self) -> Option<(u64, Result<R, TaskError>)> {
        self.left = self.left.checked_sub(1)?;
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let (result, behind) = take(rest, self.left, &self.descriptors);
        self.read = self.bytes.len() - behind.len();
        let task = self.next;
        self.next += 1;
        Some((task, result))
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.left as usize
    }

    /// Gives all results up to the first error to `put`, and returns that.
    pub(super) fn take_row(&mut self, mut put: impl FnMut(R)) -> Option<(u64, TaskError)> {
        if self.descriptors.is_empty() {
            self.take_plain(&mut put);
        }
        // What is left is at least unusual.
        while let Some((task, result)) = self.take_one() {
            match result {
                Ok(result) => put(result),
                Err(error) => return Some((task, error)),
            }
        }
        None
    }

    /// Takes what can be read at once, but for the last one. Nothing else is as quick, and most results are such.
    fn take_plain(&mut self, put: &mut impl FnMut(R)) {
        let mut rest = self.bytes.get(self.read..).unwrap_or_default();
        let mut left = self.left;
        while left > 1
            && let Some((Ok(bytes), behind)) = row::next(rest)
            && let Ok(result) = codec::read_nested(bytes)
        {
            put(result);
            rest = behind;
            left -= 1;
        }
        self.read = self.bytes.len() - rest.len();
        self.next += u64::from(self.left - left);
        self.left = left;
    }
}

/// The first result of a row, after which so many are left; and what follows it.
fn take<'a, R: DeserializeOwned>(
    row: &'a [u8],
    left: u32,
    descriptors: &[Arc<OwnedFd>],
) -> (Result<R, TaskError>, &'a [u8]) {
    let error = |text: &str| Err(TaskError::Result(text.into()));
    match row::next(row) {
        Some((_, behind)) if left == 0 && !behind.is_empty() => {
            (error("the result is followed by more than there should be"), &[])
        }
        Some((Ok(bytes), behind)) => (decode(bytes, descriptors), behind),
        Some((Err(text), behind)) => (error(&String::from_utf8_lossy(text)), behind),
        None => (error("the result is cut off"), &[]),
    }
}

/// Reads one result.
fn decode<R: DeserializeOwned>(bytes: &[u8], descriptors: &[Arc<OwnedFd>]) -> Result<R, TaskError> {
    let owned: std::io::Result<Vec<OwnedFd>> = descriptors.iter().map(|one| one.try_clone()).collect();
    let owned = owned.map_err(|error| TaskError::Result(format!("no descriptor left: {error}")))?;
    passing::with(owned, || codec::decode_nested(bytes))
        .map_err(|error| TaskError::Result(format!("the result could not be read: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(items: &[Result<u8, &str>]) -> Vec<u8> {
        let mut row = Vec::new();
        for item in items {
            let start = row::begin(&mut row);
            match item {
                Ok(number) => row.push(*number),
                Err(text) => row.extend_from_slice(text.as_bytes()),
            }
            row::end(&mut row, start, item.is_err());
        }
        row
    }

    fn one_by_one(tasks: u32, bytes: Vec<u8>) -> Vec<(u64, Result<u8, String>)> {
        let mut results = Results::<u8>::new(5, tasks, bytes, Vec::new());
        std::iter::from_fn(|| results.take_one())
            .map(|(task, result)| (task, result.map_err(|error| error.to_string())))
            .collect()
    }

    fn in_rows(tasks: u32, bytes: Vec<u8>) -> Vec<(u64, Result<u8, String>)> {
        let mut results = Results::<u8>::new(5, tasks, bytes, Vec::new());
        let mut all = Vec::new();
        loop {
            if results.len() == 0 {
                return all;
            }
            let (first, mut row) = (results.next, Vec::new());
            let failure = results.take_row(|result| row.push(result));
            all.extend(row.into_iter().zip(first..).map(|(result, task)| (task, Ok(result))));
            all.extend(failure.map(|(task, error)| (task, Err(error.to_string()))));
        }
    }

    #[test]
    fn each_task_has_one_outcome_whatever_has_come() {
        let good = row(&[Ok(1), Err("no"), Ok(3)]);
        assert_eq!(one_by_one(3, good.clone()).len(), 3);
        let rows = [
            (3, good.clone()),
            (3, good[..good.len() - 1].to_vec()),
            (2, good.clone()),
            (4, good),
            (3, vec![0xff; 40]),
            (2, Vec::new()),
            (1, row(&[Ok(7)])),
            (0, Vec::new()),
        ];
        for (tasks, bytes) in rows {
            let outcomes = one_by_one(tasks, bytes.clone());
            assert_eq!(
                outcomes.iter().map(|(task, _)| *task).collect::<Vec<_>>(),
                (5..5 + u64::from(tasks)).collect::<Vec<_>>()
            );
            assert_eq!(in_rows(tasks, bytes), outcomes);
        }
    }

    #[test]
    fn what_is_no_row_of_so_many_results_is_an_error_and_never_a_result() {
        let outcomes = one_by_one(2, row(&[Ok(1), Ok(2), Ok(3)]));
        assert_eq!(outcomes[0].1, Ok(1));
        assert!(outcomes[1].1.as_ref().unwrap_err().contains("followed by more"), "{outcomes:?}");
        let outcomes = one_by_one(3, row(&[Ok(1)]));
        assert!(
            outcomes[1..]
                .iter()
                .all(|(_, outcome)| outcome.as_ref().is_err_and(|error| error.contains("cut off")))
        );
    }
}
