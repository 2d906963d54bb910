//! Numbers in memory that several processes write at the same time, each its own part.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, NamedType};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::blob::Plain;
use crate::process::shared_memory::{Shared, Unfit};
use crate::schema::PLACE;
use crate::wire::passing;

/// Numbers that several processes share and that change: whoever holds this reads them.
///
/// For results that many actors work out together, such as the rows of a picture, when to send them back as messages
/// would copy too much. Where nothing changes any more, take a [`Blob`](crate::Blob): it is simpler, and faster to
/// read.
///
/// **Who may write.** [`new`](Array::new) returns the array and the one [`ArrayPart`] that may write all of it. A part
/// can be split and sent, but not cloned: so each number has one writer. Everybody else may read at any time, and sees
/// each number as it was before or after a write, never half of it, but several numbers in no order. What was written
/// before a message was sent is seen by whoever handles that message: so tell each other when you are done. The rule is
/// kept by the types, except that a part is in two hands after the same message was sent twice, and after
/// [`reclaim`](Array::reclaim). Then too nothing is undefined: of two writes to one number, one wins.
///
/// A crash loses the parts that the process held, but nothing that it had written. The memory ends with its last holder.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight::ArrayPart;
///
/// #[message]
/// struct Fill(ArrayPart<f64>);
///
/// struct Painter;
/// # impl Actor for Painter { type Args = (); type Messages = (Fill,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Painter) } }
/// impl Handler<Fill> for Painter {
///     async fn handle(&mut self, Fill(mut part): Fill, _: &mut Context<Self>) -> Result<()> {
///         for index in 0..part.len() {
///             part.set(index, (part.range().start + index) as f64)?;
///         }
///         Ok(())
///     }
/// }
/// # async fn example(painters: Vec<Address<Painter>>) -> Result<()> {
/// let (picture, whole) = Array::<f64>::new(1920 * 1080)?;
/// for (painter, part) in painters.iter().zip(whole.split(painters.len())) {
///     painter.ask(Fill(part)).await?;
/// }
/// assert_eq!(picture.get(7)?, 7.0);
/// # Ok(()) }
/// ```
pub struct Array<T> {
    memory: Arc<Shared>,
    numbers: PhantomData<T>,
}

/// The right to write one part of an [`Array`], in one process at a time.
///
/// Indexes count from the part's own beginning. In a message it takes the right along.
pub struct ArrayPart<T> {
    array: Array<T>,
    range: Range<usize>,
}

/// An index, or a run of numbers, that is not within the array or the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{from} to {to} is not within the {length} numbers that are there")]
pub struct OutOfRange {
    /// The first one.
    pub from: usize,
    /// The one behind the last.
    pub to: usize,
    /// How many there are.
    pub length: usize,
}

impl<T: Plain> Array<T> {
    /// `length` zeroes, and the right to write all of them.
    ///
    /// # Errors
    /// When descriptors or memory have run out, and for a length of zero.
    // The right is no part of the array: that can be cloned.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(length: usize) -> io::Result<(Array<T>, ArrayPart<T>)> {
        let bytes = length.checked_mul(size_of::<T>()).filter(|bytes| *bytes > 0).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("an array cannot have {length} numbers"))
        })?;
        let array = Array::of(Shared::create(bytes)?);
        let part = ArrayPart { array: array.clone(), range: 0..length };
        Ok((array, part))
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.cells().len()
    }

    /// Never: it has at least one.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// One number, as it is now.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn get(&self, index: usize) -> Result<T, OutOfRange> {
        get(self.cells(), index)
    }

    /// All of them, copied one after another.
    pub fn to_vec(&self) -> Vec<T> {
        self.cells().iter().map(T::load).collect()
    }

    /// Copies as many as fit into `to`, from the index `from` on, one after another.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_to_slice(&self, from: usize, to: &mut [T]) -> Result<(), OutOfRange> {
        copy_out(self.cells(), from, to)
    }

    /// The right to write this part once more, after whoever had it has died.
    ///
    /// Nobody checks that: use it only when a [`Down`](crate::Down) or an error has told of the death, or two have the
    /// right.
    ///
    /// # Errors
    /// [`OutOfRange`] as an [`io::Error`]; or when this process has no room to map it for writing.
    pub fn reclaim(&self, range: Range<usize>) -> io::Result<ArrayPart<T>> {
        within(&range, self.len()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let memory = self.memory.writable().map_err(io::Error::other)?;
        Ok(ArrayPart { array: Array::of(memory), range })
    }

    fn of(memory: Shared) -> Array<T> {
        Array { memory: Arc::new(memory), numbers: PhantomData }
    }

    fn cells(&self) -> &[T::Atomic] {
        self.memory.cells::<T>()
    }

    /// What came in a message, to be read or written.
    fn received(place: u8, writable: bool) -> Result<Array<T>, String> {
        let file = passing::take(place).ok_or(passing::MISSING)?;
        Shared::open(file, writable).map(Array::of).map_err(|unfit| unfit.to_string())
    }
}

impl<T: Plain> ArrayPart<T> {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none, as on one side of a split at the end.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Where in the array it is.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The whole array, to be read.
    pub fn array(&self) -> Array<T> {
        self.array.clone()
    }

    /// One number.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn get(&self, index: usize) -> Result<T, OutOfRange> {
        get(self.cells(), index)
    }

    /// Writes one number.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn set(&mut self, index: usize, value: T) -> Result<(), OutOfRange> {
        self.copy_from_slice(index, &[value])
    }

    /// Writes the same number everywhere.
    pub fn fill(&mut self, value: T) {
        self.cells().iter().for_each(|cell| value.store(cell));
    }

    /// Writes these numbers, from the index `to` on.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is written then.
    pub fn copy_from_slice(&mut self, to: usize, from: &[T]) -> Result<(), OutOfRange> {
        let cells = run(self.cells(), to, from.len())?;
        cells.iter().zip(from).for_each(|(cell, value)| value.store(cell));
        Ok(())
    }

    /// Copies as many as fit into `to`, from the index `from` on.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn copy_to_slice(&self, from: usize, to: &mut [T]) -> Result<(), OutOfRange> {
        copy_out(self.cells(), from, to)
    }

    /// What is before `middle`, and the rest; at most all is before it.
    pub fn split_at(self, middle: usize) -> (ArrayPart<T>, ArrayPart<T>) {
        let at = self.range.start + middle.min(self.len());
        let (start, end) = (self.range.start, self.range.end);
        let first = ArrayPart { array: self.array.clone(), range: start..at };
        (first, ArrayPart { array: self.array, range: at..end })
    }

    /// So many parts, in order and of equal size as far as that goes; some are empty if there are fewer numbers.
    pub fn split(self, parts: usize) -> Vec<ArrayPart<T>> {
        let mut rest = self;
        let mut split = Vec::new();
        for left in (1..=parts).rev() {
            let share = rest.len().div_ceil(left);
            let (part, behind) = rest.split_at(share);
            split.push(part);
            rest = behind;
        }
        split
    }

    fn cells(&self) -> &[T::Atomic] {
        // The range was checked when the part was made.
        self.array.cells().get(self.range.clone()).unwrap_or_default()
    }
}

fn within(range: &Range<usize>, length: usize) -> Result<(), OutOfRange> {
    let fits = range.start <= range.end && range.end <= length;
    if fits { Ok(()) } else { Err(OutOfRange { from: range.start, to: range.end, length }) }
}

fn run<C>(cells: &[C], from: usize, count: usize) -> Result<&[C], OutOfRange> {
    let range = from..from.saturating_add(count);
    cells.get(range.clone()).ok_or(OutOfRange { from, to: range.end, length: cells.len() })
}

fn get<T: Plain>(cells: &[T::Atomic], index: usize) -> Result<T, OutOfRange> {
    let out_of_range = OutOfRange { from: index, to: index.saturating_add(1), length: cells.len() };
    cells.get(index).map(T::load).ok_or(out_of_range)
}

fn copy_out<T: Plain>(cells: &[T::Atomic], from: usize, to: &mut [T]) -> Result<(), OutOfRange> {
    let cells = run(cells, from, to.len())?;
    to.iter_mut().zip(cells).for_each(|(to, cell)| *to = T::load(cell));
    Ok(())
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array { memory: Arc::clone(&self.memory), numbers: PhantomData }
    }
}

impl<T: Plain> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} numbers)", self.len())
    }
}

impl<T> fmt::Debug for ArrayPart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayPart({:?})", self.range)
    }
}

fn put<E: serde::ser::Error>(memory: &Shared) -> Result<u8, E> {
    passing::put(memory.file()).ok_or_else(|| E::custom(passing::because(passing::NOT_HERE)))
}

impl<T: Plain> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put::<S::Error>(&self.memory)?.serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = u8::deserialize(deserializer)?;
        Array::received(place, false).map_err(|reason| D::Error::custom(passing::because(reason)))
    }
}

impl<T: Plain> Serialize for ArrayPart<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = put::<S::Error>(&self.array.memory)?;
        (place, self.range.start as u64, self.range.end as u64).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for ArrayPart<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (place, start, end) = <(u8, u64, u64)>::deserialize(deserializer)?;
        let received = Array::<T>::received(place, true).and_then(|array| {
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok()).map(|(s, e)| s..e);
            let range = range.filter(|range| within(range, array.len()).is_ok());
            let range = range.ok_or_else(|| Unfit::OutOfRange.to_string())?;
            Ok(ArrayPart { array, range })
        });
        received.map_err(|reason| D::Error::custom(passing::because(reason)))
    }
}

impl<T: Plain> Schema for Array<T> {
    const SCHEMA: &'static NamedType =
        &NamedType { name: "Array", ty: &DataModelType::Tuple(&[PLACE, T::SCHEMA]) };
}

impl<T: Plain> Schema for ArrayPart<T> {
    const SCHEMA: &'static NamedType = &NamedType {
        name: "ArrayPart",
        ty: &DataModelType::Tuple(&[PLACE, u64::SCHEMA, u64::SCHEMA, T::SCHEMA]),
    };
}

#[cfg(test)]
#[path = "array_tests.rs"]
mod tests;
