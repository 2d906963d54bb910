//! Large bytes that processes share instead of copying.

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, DataModelVariant, NamedType, NamedValue, NamedVariant};
use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::process::plain;
pub use crate::process::plain::{Plain, ViewError};
use crate::process::shared_memory::{Sealed, Unfit};
use crate::schema::PLACE;
use crate::wire::passing;

/// Up to so many bytes a blob is copied into the message, above it shared. Fresh memory has a price: sharing takes 0.05 ms
/// and a descriptor where copying 64 KiB to one actor takes 0.04 ms, and to four of them the two cost the same at some
/// 100 KiB; beyond that a copy fills mailboxes and holds up what is sent behind it. Off Linux there is nothing to share
/// by: there every blob is copied, up to what fits in a message.
const INLINE: usize = if cfg!(target_os = "linux") { 64 << 10 } else { usize::MAX };

/// Read in pieces of this size from what a blob is made of: past it, a larger buffer saves nothing.
const PIECE: usize = 64 << 10;

/// Bytes that never change, shared by all processes that hold them.
///
/// For what is large: pictures, columns of a table, the text of a book. As a field of a message, a reply or an actor's
/// arguments a blob travels as a descriptor, whatever its size: nothing is copied, and the memory is there once, however
/// many actors look at it. The kernel frees it when its last holder lets go of it or dies, of a kill too. Nobody can
/// change, cut or extend it, its maker included: the memory is sealed, and whoever receives it checks that first.
///
/// To clone or [slice](Blob::slice) it is cheap. It is mapped where it is first looked at. Blobs of up to 64 KiB
/// are simply copied into the message. A larger one is an open descriptor in each process that holds it, at most 16 go
/// in one message, and its memory does not count towards [`Spec::memory`](crate::Spec::memory).
///
/// ```no_run
/// use watertight::prelude::*;
///
/// #[message(reply = f64)]
/// struct Sum(Blob);
///
/// struct Adder;
/// # impl Actor for Adder { type Args = (); type Messages = (Sum,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Adder) } }
/// impl Handler<Sum> for Adder {
///     async fn handle(&mut self, Sum(column): Sum, _: &mut Context<Self>) -> Result<f64> {
///         Ok(column.view::<f64>()?.iter().sum())
///     }
/// }
/// # async fn example(adder: Address<Adder>) -> Result<()> {
/// let column = Blob::from_values(&[1.5; 1_000_000])?;
/// let sum = adder.ask(Sum(column)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Blob {
    storage: Storage,
    start: usize,
    length: usize,
}

#[derive(Clone)]
enum Storage {
    /// In words, so that numbers begin where they should.
    Here(Arc<[u64]>),
    Shared(Arc<Sealed>),
}

impl Blob {
    /// A blob with a copy of these bytes.
    ///
    /// # Errors
    /// When descriptors or memory have run out.
    ///
    /// ```
    /// let blob = watertight::Blob::from_bytes(b"all the world's a stage")?;
    /// assert_eq!(&blob[8..13], b"world");
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Blob> {
        if bytes.len() <= INLINE {
            return Ok(Blob::here(bytes.len(), |room| room.copy_from_slice(bytes)));
        }
        Sealed::write(|writer| writer.write_all(bytes)).map(Blob::shared)
    }

    /// A blob with a copy of these numbers, as [`view`](Blob::view) shows them again.
    ///
    /// # Errors
    /// When descriptors or memory have run out.
    pub fn from_values<T: Plain>(values: &[T]) -> io::Result<Blob> {
        Blob::from_bytes(plain::bytes_of(values))
    }

    /// A blob of `length` bytes that `fill` writes in place; they are zeroes at first.
    ///
    /// # Errors
    /// When descriptors or memory have run out.
    ///
    /// ```
    /// let squares = watertight::Blob::build(100_000, |bytes| {
    ///     for (number, byte) in bytes.iter_mut().enumerate() {
    ///         *byte = (number * number) as u8;
    ///     }
    /// })?;
    /// assert_eq!(squares[9], 81);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn build(length: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Blob> {
        if length <= INLINE {
            return Ok(Blob::here(length, fill));
        }
        Sealed::build(length, fill).map(Blob::shared)
    }

    /// A blob with everything that `source` still gives: a file, a socket, standard input.
    ///
    /// # Errors
    /// As `source`, or when descriptors or memory have run out.
    ///
    /// ```no_run
    /// let book = watertight::Blob::read_from(std::fs::File::open("hamlet.txt")?)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn read_from(mut source: impl Read) -> io::Result<Blob> {
        let mut first = Vec::new();
        source.by_ref().take((INLINE as u64).saturating_add(1)).read_to_end(&mut first)?;
        if first.len() <= INLINE {
            return Blob::from_bytes(&first);
        }
        let shared = Sealed::write(|writer| {
            writer.write_all(&first)?;
            let mut piece = vec![0; PIECE];
            loop {
                match source.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(read) => writer.write_all(&piece[..read])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        shared.map(Blob::shared)
    }

    /// The bytes; also by dereferencing.
    ///
    /// # Panics
    /// When the memory can be neither mapped nor read, because this process has no room for it.
    pub fn as_slice(&self) -> &[u8] {
        let all = match &self.storage {
            Storage::Here(words) => plain::bytes_of(words),
            Storage::Shared(memory) => memory.bytes(),
        };
        &all[self.start..self.start + self.length]
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A part of it, in the same memory: nothing is copied, and all of it stays as long as the part does. `None` if the
    /// range is not within it.
    ///
    /// ```
    /// let blob = watertight::Blob::from_bytes(b"to be or not")?;
    /// let part = blob.slice(3..5).expect("it is that long");
    /// assert_eq!(part.as_slice(), b"be");
    /// assert!(blob.slice(..100).is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<Blob> {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1)?,
            Bound::Excluded(&to) => to,
            Bound::Unbounded => self.length,
        };
        let length = to.checked_sub(from).filter(|_| to <= self.length)?;
        Some(Blob { storage: self.storage.clone(), start: self.start + from, length })
    }

    /// The bytes as numbers, in place.
    ///
    /// # Errors
    /// [`ViewError`] for a part that begins or ends in the middle of a number. A whole blob always begins right.
    ///
    /// ```
    /// let blob = watertight::Blob::from_values(&[1.5, 2.5])?;
    /// assert_eq!(blob.view::<f64>().unwrap(), [1.5, 2.5]);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn view<T: Plain>(&self) -> Result<&[T], ViewError> {
        plain::view(self.as_slice())
    }

    fn here(length: usize, fill: impl FnOnce(&mut [u8])) -> Blob {
        let mut words = vec![0_u64; length.div_ceil(size_of::<u64>())];
        fill(&mut plain::bytes_of_mut(&mut words)[..length]);
        Blob { storage: Storage::Here(words.into()), start: 0, length }
    }

    fn shared(memory: Sealed) -> Blob {
        let length = memory.len();
        Blob { storage: Storage::Shared(Arc::new(memory)), start: 0, length }
    }

    /// What came in a message: neither the descriptor nor the numbers are believed.
    fn received(place: u8, start: u64, length: u64) -> Result<Blob, String> {
        let file = passing::take(place).ok_or(passing::MISSING)?;
        let whole = Blob::shared(Sealed::open(file).map_err(|unfit| unfit.to_string())?);
        let part = || {
            let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
            whole.slice(start..start.checked_add(length)?)
        };
        part().ok_or_else(|| Unfit::OutOfRange.to_string())
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Blob) -> bool {
        let same_memory = match (&self.storage, &other.storage) {
            (Storage::Shared(ours), Storage::Shared(theirs)) => Arc::ptr_eq(ours, theirs),
            (Storage::Here(ours), Storage::Here(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        let same_part = (self.start, self.length) == (other.start, other.length);
        (same_memory && same_part) || self.as_slice() == other.as_slice()
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.length)
    }
}

/// How a blob stands in a body.
#[derive(Serialize)]
enum Written<'a> {
    Copied(Bytes<'a>),
    Shared { place: u8, start: u64, length: u64 },
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The same, read.
#[derive(Deserialize)]
enum Found {
    Copied(#[serde(deserialize_with = "copied")] Blob),
    Shared { place: u8, start: u64, length: u64 },
}

fn copied<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
    struct Copy;
    impl Visitor<'_> for Copy {
        type Value = Blob;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the bytes of a blob")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
            Ok(Blob::here(bytes.len(), |room| room.copy_from_slice(bytes)))
        }
    }
    deserializer.deserialize_bytes(Copy)
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.storage {
            Storage::Shared(memory) if self.length > INLINE => {
                let place = passing::put(memory.file())
                    .ok_or_else(|| S::Error::custom(passing::because(passing::NOT_HERE)))?;
                Written::Shared { place, start: self.start as u64, length: self.length as u64 }
                    .serialize(serializer)
            }
            _ => Written::Copied(Bytes(self)).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Found::deserialize(deserializer)? {
            Found::Copied(blob) => Ok(blob),
            Found::Shared { place, start, length } => Blob::received(place, start, length)
                .map_err(|reason| D::Error::custom(passing::because(reason))),
        }
    }
}

impl Schema for Blob {
    const SCHEMA: &'static NamedType = &NamedType {
        name: "Blob",
        ty: &DataModelType::Enum(&[
            &NamedVariant {
                name: "Copied",
                ty: &DataModelVariant::NewtypeVariant(&NamedType {
                    name: "bytes",
                    ty: &DataModelType::ByteArray,
                }),
            },
            &NamedVariant {
                name: "Shared",
                ty: &DataModelVariant::StructVariant(&[
                    &NamedValue { name: "place", ty: PLACE },
                    &NamedValue { name: "start", ty: u64::SCHEMA },
                    &NamedValue { name: "length", ty: u64::SCHEMA },
                ]),
            },
        ]),
    };
}

#[cfg(test)]
#[path = "blob_tests.rs"]
mod tests;
