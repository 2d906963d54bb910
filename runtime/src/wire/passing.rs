//! Descriptors that travel beside a body.
//!
//! A value that owns a descriptor writes only a place into the body: its [`put`] hands the descriptor to whoever is
//! [`collecting`], and its [`take`] finds it among those [`offered`](offering) to the reader. Both are of this thread and
//! of this one call, so a value that is serialized for anything else is refused instead of losing its descriptor.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most descriptors beside one body: more than a message of several blobs needs, and far below the kernel's 253.
pub const LIMIT: usize = 16;

/// What goes out beside a body, in the order of its places.
pub type Beside = Vec<Arc<OwnedFd>>;

/// What came in beside bytes.
#[derive(Debug, Default)]
pub struct Arrived {
    /// In the order in which they were put.
    pub descriptors: Vec<OwnedFd>,
    /// There were more: this process has as many open as it may, and the kernel dropped the rest.
    pub cut: bool,
}

impl Arrived {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.descriptors.is_empty() && !self.cut
    }
}

/// Descriptors of a conversation in the order in which they came. `None` stands where some were [cut](Arrived::cut) off.
pub type InOrder = VecDeque<Option<OwnedFd>>;

thread_local! {
    /// How many the body that is being written has put; `None` while none is written that can have any.
    ///
    /// Apart from them, because nearly every body has none, and this cell needs no destructor.
    static PUT: Cell<Option<u8>> = const { Cell::new(None) };
    static COLLECTED: RefCell<Beside> = const { RefCell::new(Vec::new()) };
    static OFFERED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
    /// Whether some of those that belong to the body that is being read were [cut](Arrived::cut) off.
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `write`, and returns beside its result the descriptors that were put.
pub fn collecting<T>(write: impl FnOnce() -> T) -> (T, Beside) {
    // What an outer one has collected so far stays its own.
    let _outer = Outer::set_aside(Some(0));
    let result = write();
    (result, take_collected())
}

/// Runs `write` for bytes that are kept: what owns a descriptor is refused, though a message may be being written around.
pub fn refusing<T>(write: impl FnOnce() -> T) -> T {
    let _outer = Outer::set_aside(None);
    write()
}

/// The same, if the type of what is written may own descriptors at all.
pub fn collecting_if<T>(may: bool, write: impl FnOnce() -> T) -> (T, Beside) {
    if may { collecting(write) } else { (write(), Beside::new()) }
}

fn take_collected() -> Beside {
    if PUT.get().is_some_and(|count| count > 0) { COLLECTED.take() } else { Vec::new() }
}

/// Puts back what was there before, even if the writer panicked.
struct Outer(Option<u8>, Beside);

impl Outer {
    fn set_aside(inner: Option<u8>) -> Outer {
        let collected = take_collected();
        Outer(PUT.replace(inner), collected)
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        drop(take_collected());
        PUT.set(self.0);
        if !self.1.is_empty() {
            COLLECTED.replace(std::mem::take(&mut self.1));
        }
    }
}

/// Hands a descriptor to whoever is collecting, and returns its place; `None` if nobody is, or there are too many.
pub fn put(descriptor: &Arc<OwnedFd>) -> Option<u8> {
    let place = PUT.get().filter(|place| usize::from(*place) < LIMIT)?;
    COLLECTED.with_borrow_mut(|collected| collected.push(Arc::clone(descriptor)));
    PUT.set(Some(place + 1));
    Some(place)
}

/// How many have been put since the innermost [`collecting`] began.
#[inline]
pub fn collected() -> u8 {
    PUT.get().unwrap_or(0)
}

/// Forgets what has been put since there were so many: what put them is written again.
pub fn put_back(count: u8) {
    if let Some(put) = PUT.get().filter(|put| *put > count) {
        COLLECTED.with_borrow_mut(|collected| collected.truncate(usize::from(count)));
        PUT.set(Some(put.min(count)));
    }
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

/// The same, of a body whose other descriptors were [cut](Arrived::cut) off: [`PassedIfRoom`] is read without them.
pub fn offering_short<T>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            SHORT.set(self.0);
        }
    }
    let _back = Back(SHORT.replace(true));
    offering(descriptors, read)
}

/// Runs `read` with these descriptors at hand, and closes those that it does not take.
pub fn with<T>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> T) -> T {
    if descriptors.is_empty() {
        // Nothing is on offer outside of a body that came with some.
        return read();
    }
    offering(descriptors, read).0
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
        places.ok_or_else(|| S::Error::custom(because(NOT_HERE)))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let places = Vec::<u8>::deserialize(deserializer)?;
        let taken: Option<Vec<_>> = places.into_iter().map(|place| take(place).map(Arc::new)).collect();
        taken.map(Passed).ok_or_else(|| D::Error::custom(because(MISSING)))
    }
}

/// Descriptors as a part of a message that is read without them when its reader had no room: `None` then, so that it
/// can say so to whoever sent them.
#[derive(Clone, Debug)]
pub struct PassedIfRoom(pub Option<Passed>);

impl Default for PassedIfRoom {
    fn default() -> Self {
        PassedIfRoom(Some(Passed::default()))
    }
}

impl Serialize for PassedIfRoom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(passed) = &self.0 else { return Err(S::Error::custom(because(MISSING))) };
        passed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PassedIfRoom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let places = Vec::<u8>::deserialize(deserializer)?;
        let taken: Option<Vec<_>> = places.into_iter().map(|place| take(place).map(Arc::new)).collect();
        match taken {
            None if !SHORT.get() => Err(D::Error::custom(because(MISSING))),
            taken => Ok(PassedIfRoom(taken.map(Passed))),
        }
    }
}

/// Why a value that owns a descriptor cannot be written.
pub const NOT_HERE: &str = "what owns a descriptor travels only in messages, replies and arguments whose schema says so, \
                            at most 16 of them in one";
/// Why such a value cannot be read.
pub const MISSING: &str = "a descriptor that the message names did not come with it";

thread_local! {
    static WHY: Cell<Option<String>> = const { Cell::new(None) };
}

/// The same reason, remembered: the codec drops the text of an error, and asks for it [here](why).
pub fn because(reason: impl Display) -> String {
    let reason = reason.to_string();
    WHY.set(Some(reason.clone()));
    reason
}

/// Why the value that this thread has just failed to write or read was refused, if it was by what stands here.
pub fn why() -> Option<String> {
    WHY.take()
}

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
    fn what_is_written_again_is_put_once() {
        let (places, collected) = collecting(|| {
            let first = put(&descriptor());
            let before = collected();
            let failed = put(&descriptor());
            put_back(before);
            (first, failed, put(&descriptor()))
        });
        assert_eq!((places, collected.len()), ((Some(0), Some(1), Some(1)), 2));
        put_back(0);
        assert_eq!(put(&descriptor()), None);
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

    #[test]
    fn bytes_that_are_kept_put_nothing_into_the_message_around() {
        let (within, outer) = collecting(|| {
            let _ = put(&descriptor());
            (refusing(|| put(&descriptor())), put(&descriptor()))
        });
        assert_eq!((within, outer.len()), ((None, Some(1)), 2));
    }
}
