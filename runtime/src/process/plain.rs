//! Plain numbers in memory that came from elsewhere.
#![allow(unsafe_code)] // Bytes are looked at as numbers, and numbers as bytes and as atomics.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// A number that any bytes make a valid one of: `u8` to `u64`, `i8` to `i64`, `f32`, `f64`.
///
/// What [`Blob::view`](crate::Blob::view) shows and an [`Array`](crate::Array) holds. It is not for other types to
/// implement. Numbers are as the machine has them; all processes of a system are on one machine.
pub trait Plain: number::Number {}

mod number {
    use super::fmt;

    /// The sealed half of [`Plain`](super::Plain).
    ///
    /// # Safety
    ///
    /// Every pattern of bits is a valid value, there is no padding, and `Atomic` has the size and validity of `Self`
    /// and at most the alignment of its size.
    pub unsafe trait Number:
        Copy + Default + PartialEq + fmt::Debug + Send + Sync + postcard_schema::Schema + 'static
    {
        type Atomic: Sync;
        fn load(cell: &Self::Atomic) -> Self;
        fn store(self, cell: &Self::Atomic);
    }
}

macro_rules! plain {
    ($($number:ty, $atomic:ty, $from:expr, $to:expr;)*) => {$(
        // SAFETY: a primitive number, and the atomic of its size.
        unsafe impl number::Number for $number {
            type Atomic = $atomic;
            // One element at a time and in no order: whoever needs an order sends a message, which makes one.
            fn load(cell: &$atomic) -> Self {
                $from(cell.load(Ordering::Relaxed))
            }
            fn store(self, cell: &$atomic) {
                cell.store($to(self), Ordering::Relaxed);
            }
        }
        impl Plain for $number {}
    )*};
}

plain! {
    u8, AtomicU8, u8::from, u8::from;
    u16, AtomicU16, u16::from, u16::from;
    u32, AtomicU32, u32::from, u32::from;
    u64, AtomicU64, u64::from, u64::from;
    i8, AtomicU8, u8::cast_signed, i8::cast_unsigned;
    i16, AtomicU16, u16::cast_signed, i16::cast_unsigned;
    i32, AtomicU32, u32::cast_signed, i32::cast_unsigned;
    i64, AtomicU64, u64::cast_signed, i64::cast_unsigned;
    f32, AtomicU32, f32::from_bits, f32::to_bits;
    f64, AtomicU64, f64::from_bits, f64::to_bits;
}

/// Why bytes are not seen as numbers of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A part that begins in the middle of a number.
    #[error("the bytes do not begin at a multiple of {0} in memory: slice them there, or copy them out")]
    Misaligned(usize),
    /// A number is cut off at the end.
    #[error("{bytes} bytes are no whole number of values of {size} bytes each: slice off what is left over")]
    Length {
        /// How many there are.
        bytes: usize,
        /// Of one value.
        size: usize,
    },
}

/// Bytes as numbers, in place.
pub fn view<T: Plain>(bytes: &[u8]) -> Result<&[T], ViewError> {
    let size = size_of::<T>();
    let start = bytes.as_ptr().cast::<T>();
    if !bytes.len().is_multiple_of(size) {
        return Err(ViewError::Length { bytes: bytes.len(), size });
    }
    if bytes.is_empty() {
        return Ok(&[]);
    }
    if !start.is_aligned() {
        return Err(ViewError::Misaligned(align_of::<T>()));
    }
    // SAFETY: aligned, as many bytes as these values take, any bytes are valid values, and the borrow goes on.
    Ok(unsafe { std::slice::from_raw_parts(start, bytes.len() / size) })
}

/// Numbers as bytes, in place.
pub fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: there is no padding, so all of it is initialised; bytes need no alignment; the borrow goes on.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The same, for filling them.
pub fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and whatever is written is valid values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misaligned_or_cut_off_is_refused() {
        let words = [0x0807_0605_0403_0201_u64.to_le(); 2];
        let bytes = bytes_of(&words);
        assert_eq!(view::<u64>(bytes), Ok(&words[..]));
        assert_eq!(view::<u16>(&bytes[2..6]).unwrap().len(), 2);
        assert_eq!(view::<u8>(&bytes[3..5]), Ok(&[4, 5][..]));
        assert_eq!(view::<u64>(&bytes[4..12]), Err(ViewError::Misaligned(8)));
        assert_eq!(view::<f32>(&bytes[1..5]), Err(ViewError::Misaligned(4)));
        assert_eq!(view::<f64>(&bytes[..12]), Err(ViewError::Length { bytes: 12, size: 8 }));
        assert_eq!(view::<f64>(&bytes[3..3]), Ok(&[][..]));
    }
}
