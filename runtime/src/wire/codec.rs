//! Bodies: with [`quick`](super::quick), the only file that names postcard.
//!
//! Encoding appends to a buffer that is used again and again, and stops at a limit before it has filled memory.
//! Decoding demands that nothing is left over: a body that is longer than its type says is an error, never a guess.

use postcard::de_flavors::Flavor as Source;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::depth::DepthLimited;
use super::number;
use super::passing;
use super::quick::{Quick, TakesNumbers};
use super::weight::{WEIGHTLESS, Weight};

/// How deeply a body of a recursive type may nest: far more than data has, far less than a 2 MiB stack holds
/// (a 50 KB body of nested enums was seen to overflow one).
pub const DEPTH_LIMIT: u16 = 128;

/// Why a value could not be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Longer than a frame may be.
    #[error("the message takes more than {0} bytes")]
    TooLarge(usize),
    /// Its `Serialize` refused, or uses what postcard does not have (`flatten`, a sequence of unknown length).
    #[error("the message does not encode: {0}")]
    Unencodable(String),
}

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not this type.
    #[error("the body does not decode: {0}")]
    Malformed(String),
    /// This type, and then something else.
    #[error("{0} bytes are left over behind the body")]
    LeftOver(usize),
    /// Its lengths claim more elements that take no bytes than are made of one body.
    #[error("the body claims more than {0} elements that take no bytes")]
    Weightless(usize),
}

/// Appends `value` to `out`, at most `limit` bytes of it; on an error `out` is as it was.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), EncodeError> {
    let start = out.len();
    let tail = Tail { limit: start.saturating_add(limit), out };
    match postcard::serialize_with_flavor(value, tail) {
        Ok(()) => Ok(()),
        Err(e) => {
            out.truncate(start);
            Err(match e {
                postcard::Error::SerializeBufferFull => EncodeError::TooLarge(limit),
                e => EncodeError::Unencodable(reason(&e)),
            })
        }
    }
}

/// Writes `value` to the beginning of `room`, and returns how many bytes it takes.
///
/// `None` if it does not fit, or does not encode: [`encode_into`] tells which. It says so little because it is called for
/// each of very many small values, and an error with a text would cost more than the value.
#[inline]
pub fn encode_within<T: Serialize + ?Sized>(value: &T, room: &mut [u8]) -> Option<usize> {
    let mut quick = Quick::new(Within { room, used: 0 });
    value.serialize(&mut quick).ok()?;
    Some(quick.0.output.used)
}

/// `value` as bytes of its own, for what is not sent often.
///
/// # Errors
/// [`EncodeError`].
pub fn encode<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(value, &mut out, limit)?;
    Ok(out)
}

/// Reads a `T` that cannot nest without end and has no sequence of elements without bytes, as its schema shows.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(body).map_err(|e| DecodeError::Malformed(reason(&e)))?;
    nothing_left(value, rest)
}

/// Reads a `T` of any kind: to [`DEPTH_LIMIT`] levels, and with at most [`WEIGHTLESS`] elements that take no bytes.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_nested<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    read_nested(body).map_err(Unread::explain)
}

/// The same; an error is put into words only when somebody asks for them.
///
/// # Errors
/// [`Unread`].
#[inline(always)] // A number is then read in registers; what is counted meanwhile is not even in memory.
pub fn read_nested<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unread> {
    let weight = Weight::new(body);
    let mut deserializer = postcard::Deserializer::from_flavor(Weighed(&weight));
    let value =
        T::deserialize(DepthLimited::new(&mut deserializer, DEPTH_LIMIT, &weight)).map_err(|error| {
            if weight.is_exceeded() { Unread::Weightless } else { Unread::Malformed(error) }
        })?;
    let rest = deserializer.finalize().map_err(Unread::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(Unread::LeftOver(rest.len())) }
}

/// A [`DecodeError`] without words; to be explained by the thread that read, before it reads again.
#[derive(Debug)]
pub enum Unread {
    /// Not this type.
    Malformed(postcard::Error),
    /// This type, and then something else.
    LeftOver(usize),
    /// Too many elements that take no bytes.
    Weightless,
}

impl Unread {
    /// In words.
    #[cold]
    pub fn explain(self) -> DecodeError {
        match self {
            Unread::Malformed(error) => DecodeError::Malformed(reason(&error)),
            Unread::LeftOver(bytes) => DecodeError::LeftOver(bytes),
            Unread::Weightless => DecodeError::Weightless(WEIGHTLESS),
        }
    }
}

fn nothing_left<T>(value: T, rest: &[u8]) -> Result<T, DecodeError> {
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::LeftOver(rest.len())) }
}

/// Why, in words: postcard does not keep those of a type that refuses.
fn reason(error: &postcard::Error) -> String {
    match (error, passing::why()) {
        (postcard::Error::SerdeSerCustom | postcard::Error::SerdeDeCustom, Some(why)) => why,
        _ => error.to_string(),
    }
}

/// Of what is no longer than a number, a call to copy it would cost more than the copy.
const SHORT: usize = number::LONGEST;

/// Writes to the end of a buffer, up to a limit.
struct Tail<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
}

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.out.len() + bytes.len() > self.limit {
            return Err(postcard::Error::SerializeBufferFull);
        }
        if bytes.len() <= SHORT {
            for byte in bytes {
                self.out.push(*byte);
            }
        } else {
            self.out.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Writes to memory that is there already.
struct Within<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl Flavor for Within<'_> {
    type Output = usize;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        let place = self.room.get_mut(self.used).ok_or(postcard::Error::SerializeBufferFull)?;
        *place = byte;
        self.used += 1;
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() <= SHORT {
            // Byte by byte, as they were just written: a word cannot be read before all its bytes have reached the cache.
            return bytes.iter().try_for_each(|byte| self.try_push(*byte));
        }
        let room = self.room.get_mut(self.used..).and_then(|room| room.get_mut(..bytes.len()));
        room.ok_or(postcard::Error::SerializeBufferFull)?.copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.used)
    }
}

impl TakesNumbers for Within<'_> {
    #[inline]
    fn try_number(&mut self, number: u64) -> postcard::Result<()> {
        let room = self.room.get_mut(self.used..).unwrap_or_default();
        self.used += number::write(number, room).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }
}

/// Reads from a body whose weight is kept.
struct Weighed<'a>(&'a Weight<'a>);

impl<'a> Source<'a> for Weighed<'a> {
    type Remainder = &'a [u8];
    type Source = &'a [u8];

    #[inline]
    fn pop(&mut self) -> postcard::Result<u8> {
        self.0.pop().ok_or(postcard::Error::DeserializeUnexpectedEnd)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.rest().len())
    }

    #[inline]
    fn try_take_n(&mut self, bytes: usize) -> postcard::Result<&'a [u8]> {
        self.0.take(bytes).ok_or(postcard::Error::DeserializeUnexpectedEnd)
    }

    #[inline]
    fn finalize(self) -> postcard::Result<&'a [u8]> {
        Ok(self.0.rest())
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
