//! The forms of a map: collected, one by one, in order or as they come.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use serde::{Serialize, de::DeserializeOwned};

use super::error::{MapError, TaskError};
use super::feed::{Feed, Row};
use super::stats::Progress;

/// A result that is not there yet, in [`Map`] and [`Each`]: their memory grows as items are taken.
const ALL: u64 = u64::MAX;
/// How many items at most are under way, or wait behind one that is late, in [`Ordered`].
const AHEAD: u64 = 65_536;

/// A map whose results are collected; await it. From [`Pool::map`](super::Pool::map).
#[must_use = "a map runs when it is awaited"]
pub struct Map<I: Iterator, R> {
    feed: Feed<I, R>,
    results: InOrder<R>,
}

/// A map whose results and errors are collected; await it. From [`Pool::map_each`](super::Pool::map_each).
#[must_use = "a map runs when it is awaited"]
pub struct Each<I: Iterator, R> {
    feed: Feed<I, R>,
    results: InOrder<Result<R, TaskError>>,
}

/// Results as they come; a stream. From [`Pool::map_unordered`](super::Pool::map_unordered).
#[must_use = "a stream runs when it is polled"]
pub struct Unordered<I: Iterator, R> {
    feed: Feed<I, R>,
}

/// Results in the order of their items; a stream. From [`Pool::map_ordered`](super::Pool::map_ordered).
#[must_use = "a stream runs when it is polled"]
pub struct Ordered<I: Iterator, R> {
    feed: Feed<I, R>,
    early: BTreeMap<u64, Result<R, TaskError>>,
    next: u64,
}

macro_rules! settings {
    ($name:ident) => {
        impl<I: Iterator, R> $name<I, R> {
            /// Sends so many items at a time. Default: as many as take about 5 ms, found as the map goes on.
            pub fn chunk(mut self, items: usize) -> Self {
                self.feed.set_chunk(items);
                self
            }

            /// Calls `call` with how far it is: ten times a second at most, and at the end.
            pub fn on_progress(mut self, call: impl FnMut(Progress) + Send + 'static) -> Self {
                self.feed.set_on_progress(Box::new(call));
                self
            }

            /// Shows a progress bar on standard error: items, rate, and how long the rest takes.
            #[cfg(feature = "progress-bar")]
            pub fn progress_bar(self) -> Self {
                let bar = super::bar::Bar::new(self.feed.total());
                self.on_progress(move |progress| bar.show(&progress))
            }

            /// How many items there are, if the iterator knows.
            pub fn total(&self) -> Option<u64> {
                self.feed.total()
            }
        }

        impl<I: Iterator, R> std::fmt::Debug for $name<I, R> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

settings!(Map);
settings!(Each);
settings!(Unordered);
settings!(Ordered);

impl<I: Iterator, R> Map<I, R> {
    /// Instead a result or an error for each item, as [`map_each`](super::Pool::map_each): of a map with a context, or of
    /// a starmap.
    pub fn each(self) -> Each<I, R> {
        Each::new(self.feed)
    }

    /// Instead a stream of results as they come, as [`map_unordered`](super::Pool::map_unordered).
    pub fn unordered(self) -> Unordered<I, R> {
        Unordered::new(self.feed)
    }

    /// Instead a stream of results in order, as [`map_ordered`](super::Pool::map_ordered).
    pub fn ordered(self) -> Ordered<I, R> {
        Ordered::new(self.feed)
    }
}

impl<I: Iterator, R> Map<I, R> {
    pub(super) fn new(feed: Feed<I, R>) -> Self {
        Map { results: InOrder::new(feed.total()), feed }
    }
}

impl<I: Iterator, R> Each<I, R> {
    pub(super) fn new(feed: Feed<I, R>) -> Self {
        Each { results: InOrder::new(feed.total()), feed }
    }
}

impl<I: Iterator, R> Unordered<I, R> {
    pub(super) fn new(feed: Feed<I, R>) -> Self {
        Unordered { feed }
    }
}

impl<I, R> Future for Map<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Output = Result<Vec<R>, MapError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(self.feed.poll_row(cx)) {
                Some(Row::Results(first)) => {
                    let Map { feed, results } = &mut *self;
                    results.put(first, |row| {
                        row.reserve(feed.waiting());
                        feed.take_row(|result| row.push(result));
                    });
                }
                Some(Row::Failed(index, error)) => return Poll::Ready(Err(MapError { index, error })),
                None => {
                    // Of a map of nothing, too, it is told that it cannot be done.
                    let refused = self.feed.refusal().map(|error| MapError { index: 0, error: error.into() });
                    return Poll::Ready(refused.map_or_else(|| Ok(self.results.take()), Err));
                }
            }
        }
    }
}

impl<I, R> Future for Each<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Output = Vec<Result<R, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(self.feed.poll_row(cx)) {
                Some(Row::Results(first)) => {
                    let Each { feed, results } = &mut *self;
                    results.put(first, |row| {
                        row.reserve(feed.waiting());
                        feed.take_row(|result| row.push(Ok(result)));
                    });
                }
                Some(Row::Failed(index, error)) => self.results.put(index, |row| row.push(Err(error))),
                None => return Poll::Ready(self.results.take()),
            }
        }
    }
}

/// Rows of results that come in any order, each once.
struct InOrder<R> {
    results: Vec<R>,
    /// Those that came before the ones in front of them.
    early: BTreeMap<u64, Vec<R>>,
}

impl<R> InOrder<R> {
    fn new(total: Option<u64>) -> InOrder<R> {
        /// What an iterator says of itself is believed this far.
        const MOST: u64 = 1 << 20;
        let room = usize::try_from(total.unwrap_or(0).min(MOST)).unwrap_or(0);
        InOrder { results: Vec::with_capacity(room), early: BTreeMap::new() }
    }

    /// Calls `put` with where the results from `first` on go.
    fn put(&mut self, first: u64, put: impl FnOnce(&mut Vec<R>)) {
        if first != self.results.len() as u64 {
            put(self.early.entry(first).or_default());
            return;
        }
        put(&mut self.results);
        while let Some(mut next) = self.early.remove(&(self.results.len() as u64)) {
            self.results.append(&mut next);
        }
    }

    fn take(&mut self) -> Vec<R> {
        let early = std::mem::take(&mut self.early);
        self.results.extend(early.into_values().flatten());
        std::mem::take(&mut self.results)
    }
}

// Nothing in them is pinned in place.
impl<I: Iterator, R> Unpin for Map<I, R> {}
impl<I: Iterator, R> Unpin for Each<I, R> {}
impl<I: Iterator, R> Unpin for Unordered<I, R> {}
impl<I: Iterator, R> Unpin for Ordered<I, R> {}

impl<I, R> Stream for Unordered<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = (u64, Result<R, TaskError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.feed.poll(cx, ALL)
    }
}

impl<I, R> Unordered<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<(u64, Result<R, TaskError>)> {
        poll_fn(|cx| self.feed.poll(cx, ALL)).await
    }
}

impl<I: Iterator, R> Ordered<I, R> {
    pub(super) fn new(feed: Feed<I, R>) -> Self {
        Ordered { feed, early: BTreeMap::new(), next: 0 }
    }
}

impl<I, R> Stream for Ordered<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = self.next;
            if let Some(result) = self.early.remove(&next) {
                self.next += 1;
                return Poll::Ready(Some(result));
            }
            // Those that came early count as under way until they are given out.
            let most = AHEAD.saturating_sub(self.early.len() as u64).max(1);
            match ready!(self.feed.poll(cx, most)) {
                Some((index, result)) => drop(self.early.insert(index, result)),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<I, R> Ordered<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<R, TaskError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}
