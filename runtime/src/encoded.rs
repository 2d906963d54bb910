//! A value as bytes, for actors that keep what they need not understand.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Result;
use crate::wire::frame::BODY_LIMIT;
use crate::wire::{codec, passing};

/// A value of any type as its bytes, in the encoding of messages.
///
/// For an actor that keeps or passes on values of types that it does not know: nothing of them is decoded in its
/// process, so no value can harm it. Clones share the bytes. Equal bytes are equal values; equal values have equal bytes
/// unless the type leaves an order open, as a `HashMap` does.
///
/// ```
/// use watertight::Encoded;
///
/// let kept = Encoded::of(&("a", 1_u64))?;
/// assert_eq!(kept.read::<(String, u64)>()?, ("a".to_string(), 1));
/// # Ok::<(), watertight::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoded(Arc<[u8]>);

impl Encoded {
    /// The bytes of `value`.
    ///
    /// # Errors
    /// When it does not encode, or takes more than 16 MiB: then no message could carry it. What owns a descriptor, as a
    /// [`Blob`](crate::Blob), has none in bytes that are kept, and is refused; a message of your own carries it.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
        match passing::refusing(|| codec::encode(value, BODY_LIMIT)) {
            Ok(bytes) => Ok(Encoded(bytes.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// The value, if these are the bytes of a `T`.
    ///
    /// # Errors
    /// When they are not. Bytes say little of their type: that they are those of a `T` is for their keeper to know.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        codec::decode_nested(&self.0)
            .map_err(|error| crate::Error::from(error).context(format!("no {}", type_name::<T>())))
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is not one byte: the value had nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.len())
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Encoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a value")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
        Ok(Encoded(bytes.into()))
    }

    /// For formats without bytes of their own.
    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Encoded, S::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element::<u8>()? {
            if bytes.len() == BODY_LIMIT {
                return Err(S::Error::custom("the value takes more bytes than a message may"));
            }
            bytes.push(byte);
        }
        Ok(Encoded(bytes.into()))
    }
}

impl postcard_schema::Schema for Encoded {
    const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
        name: "Encoded",
        ty: &postcard_schema::schema::DataModelType::ByteArray,
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_from_its_bytes_and_from_bytes_within_bytes() {
        let value = vec![Some("a".to_string()), None];
        let encoded = Encoded::of(&value).unwrap();
        let within = Encoded::of(&encoded).unwrap();
        assert_eq!(within.len(), encoded.len() + 1, "a length, and the bytes as they are");
        assert_eq!(within.read::<Encoded>().unwrap(), encoded);
        assert_eq!(encoded.read::<Vec<Option<String>>>().unwrap(), value);
    }

    #[test]
    fn bytes_of_another_type_are_an_error_that_names_the_type() {
        let error = Encoded::of("abc").unwrap().read::<u8>().unwrap_err();
        assert!(error.to_string().contains("no u8"), "{error}");
    }

    #[test]
    fn a_value_that_owns_a_descriptor_is_refused_and_says_why() {
        let blob = crate::Blob::from_bytes(&[7; 100_000]).unwrap();
        let error = Encoded::of(&blob).unwrap_err();
        assert!(error.to_string().contains(passing::NOT_HERE), "{error:#}");
    }

    #[test]
    fn a_value_larger_than_a_message_is_refused() {
        assert!(Encoded::of(&vec![0_u8; BODY_LIMIT + 1]).is_err());
    }
}
