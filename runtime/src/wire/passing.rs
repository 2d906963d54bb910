//! Descriptors that travel beside a body.
//!
//! A value that owns a descriptor writes only a place into the body: its [`put`] hands the descriptor to whoever is
//! [`collecting`], and its [`take`] finds it among those [`offered`](offering) to the reader. Both are of this thread and
//! of this one call, so a value that is serialized for anything else is refused instead of losing its descriptor.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most descriptors beside one body: more than a message of several blobs needs, and far below the kernel's 253.
pub const LIMIT: usize = 16;

thread_local! {
    /// Whether a body is being written that can have descriptors beside it.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    static COLLECTED: RefCell<Vec<Arc<OwnedFd>>> = const { RefCell::new(Vec::new()) };
    static OFFERED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `write`, and returns beside its result the descriptors that were put.
#[allow(dead_code)] // Arguments and messages will be its callers.
pub fn collecting<T>(write: impl FnOnce() -> T) -> (T, Vec<Arc<OwnedFd>>) {
    // What an outer one has collected so far stays its own.
    let outer = (COLLECTING.replace(true), COLLECTED.take());
    let restore = Restore(Some(outer));
    let result = write();
    let collected = COLLECTED.take();
    drop(restore);
    (result, collected)
}

/// Puts back what was there before, even if the writer panicked.
struct Restore(Option<(bool, Vec<Arc<OwnedFd>>)>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some((collecting, collected)) = self.0.take() {
            COLLECTING.set(collecting);
            COLLECTED.replace(collected);
        }
    }
}

/// Hands a descriptor to whoever is collecting, and returns its place; `None` if nobody is, or there are too many.
pub fn put(descriptor: &Arc<OwnedFd>) -> Option<u8> {
    if !COLLECTING.get() {
        return None;
    }
    COLLECTED.with_borrow_mut(|collected| {
        let place = u8::try_from(collected.len()).ok().filter(|place| usize::from(*place) < LIMIT)?;
        collected.push(Arc::clone(descriptor));
        Some(place)
    })
}

/// How many have been put since the innermost [`collecting`] began.
pub fn collected() -> usize {
    COLLECTED.with_borrow(Vec::len)
}

/// Runs `read` with these descriptors at hand, and returns beside its result those that it did not take, in order.
pub fn offering<T>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    struct Back(Vec<Option<OwnedFd>>);
    impl Drop for Back {
        fn drop(&mut self) {
            OFFERED.replace(std::mem::take(&mut self.0));
        }
    }
    let _back = Back(OFFERED.replace(descriptors.into_iter().map(Some).collect()));
    let result = read();
    (result, OFFERED.take().into_iter().flatten().collect())
}

/// Takes the descriptor at this place; `None` if there is none, or it was taken before.
pub fn take(place: u8) -> Option<OwnedFd> {
    OFFERED.with_borrow_mut(|offered| offered.get_mut(usize::from(place)).and_then(Option::take))
}

/// Descriptors as a value that can be part of a message; at most [`LIMIT`] in one message.
#[derive(Clone, Debug, Default)]
pub struct Passed(pub Vec<Arc<OwnedFd>>);

impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let places: Option<Vec<u8>> = self.0.iter().map(put).collect();
        places.ok_or_else(|| S::Error::custom(NOT_HERE))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let places = Vec::<u8>::deserialize(deserializer)?;
        let taken: Option<Vec<_>> = places.into_iter().map(|place| take(place).map(Arc::new)).collect();
        taken.map(Passed).ok_or_else(|| D::Error::custom(MISSING))
    }
}

/// Why a value that owns a descriptor cannot be written.
pub const NOT_HERE: &str =
    "what owns a descriptor travels only in messages, replies and arguments, at most 16 of them in one";
/// Why such a value cannot be read.
pub const MISSING: &str = "a descriptor that the message names did not come with it";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec;

    fn descriptor() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn what_is_put_is_collected_in_order_and_taken_once() {
        let (first, second) = (descriptor(), descriptor());
        let (places, collected) = collecting(|| [put(&first), put(&second)]);
        assert_eq!(places, [Some(0), Some(1)]);
        assert!(Arc::ptr_eq(&collected[0], &first) && Arc::ptr_eq(&collected[1], &second));
        let received = collected.iter().map(|one| one.try_clone().unwrap()).collect();
        offering(received, || {
            assert!(take(1).is_some() && take(0).is_some());
            assert!(take(1).is_none() && take(2).is_none());
        });
        assert!(take(0).is_none());
    }

    #[test]
    fn outside_of_a_message_nothing_is_put_and_too_many_are_refused() {
        assert_eq!(put(&descriptor()), None);
        assert!(codec::encode(&Passed(vec![descriptor()]), 100).is_err());
        let many = Passed(vec![descriptor(); LIMIT + 1]);
        assert!(collecting(|| codec::encode(&many, 100)).0.is_err());
        assert_eq!(put(&descriptor()), None);
    }

    #[test]
    fn a_message_within_a_message_collects_its_own() {
        let (inner, outer) = collecting(|| {
            let _ = put(&descriptor());
            collecting(|| put(&descriptor())).1.len()
        });
        assert_eq!((inner, outer.len()), (1, 1));
    }
}
