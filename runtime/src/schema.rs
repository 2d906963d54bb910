//! What the schema of a type says about its bodies, when the program is compiled.

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, DataModelVariant, NamedType, NamedValue};
use serde::de::DeserializeOwned;

use crate::wire::codec::{self, DecodeError};

/// Where a descriptor stands in a body: whatever owns one has it in its schema.
pub(crate) const PLACE: &NamedType = &NamedType { name: "watertight::Descriptor", ty: &DataModelType::U8 };

/// Whether values of type `T` may own descriptors.
pub const fn owns_descriptors<T: Schema + ?Sized>() -> bool {
    has(T::SCHEMA, Feature::Place)
}

/// What may be looked for in a schema.
#[derive(Clone, Copy)]
enum Feature {
    /// The [`PLACE`] of a descriptor.
    Place,
    /// A sequence whose elements, or a map whose keys, may take no bytes: then its length bounds it alone.
    WeightlessElements,
}

impl Feature {
    /// Whether it is of this type itself, whatever is within.
    const fn is_of(self, of: &NamedType) -> bool {
        match (self, of.ty) {
            (Feature::Place, _) => is_same(of.name, PLACE.name),
            (
                Feature::WeightlessElements,
                DataModelType::Seq(inner) | DataModelType::Map { key: inner, .. },
            ) => !takes_bytes(inner),
            (Feature::WeightlessElements, _) => false,
        }
    }
}

/// Whether the type, or one within it, has that.
const fn has(of: &NamedType, what: Feature) -> bool {
    if what.is_of(of) {
        return true;
    }
    match of.ty {
        DataModelType::Option(inner) | DataModelType::Seq(inner) | DataModelType::NewtypeStruct(inner) => {
            has(inner, what)
        }
        DataModelType::Map { key, val } => has(key, what) || has(val, what),
        DataModelType::Tuple(all) | DataModelType::TupleStruct(all) => one_has(all, what),
        DataModelType::Struct(fields) => a_field_has(fields, what),
        DataModelType::Enum(variants) => {
            let mut at = 0;
            while at < variants.len() {
                let found = match variants[at].ty {
                    DataModelVariant::UnitVariant => false,
                    DataModelVariant::NewtypeVariant(inner) => has(inner, what),
                    DataModelVariant::TupleVariant(all) => one_has(all, what),
                    DataModelVariant::StructVariant(fields) => a_field_has(fields, what),
                };
                if found {
                    return true;
                }
                at += 1;
            }
            false
        }
        // Numbers, texts, bytes: nothing is within them.
        _ => false,
    }
}

const fn one_has(all: &[&NamedType], what: Feature) -> bool {
    let mut at = 0;
    while at < all.len() {
        if has(all[at], what) {
            return true;
        }
        at += 1;
    }
    false
}

const fn a_field_has(fields: &[&NamedValue], what: Feature) -> bool {
    let mut at = 0;
    while at < fields.len() {
        if has(fields[at].ty, what) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    one.len() == other.len() && at == one.len()
}

/// Reads a `T` from a body, without counting where its finite schema shows that nothing has to be.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned + Schema>(body: &[u8]) -> Result<T, DecodeError> {
    if const { has(T::SCHEMA, Feature::WeightlessElements) } {
        codec::decode_nested(body)
    } else {
        codec::decode(body)
    }
}

/// Whether each value takes at least one byte.
const fn takes_bytes(of: &NamedType) -> bool {
    match of.ty {
        DataModelType::Unit | DataModelType::UnitStruct => false,
        DataModelType::NewtypeStruct(inner) => takes_bytes(inner),
        DataModelType::Tuple(all) | DataModelType::TupleStruct(all) => {
            let mut at = 0;
            while at < all.len() {
                if takes_bytes(all[at]) {
                    return true;
                }
                at += 1;
            }
            false
        }
        DataModelType::Struct(fields) => {
            let mut at = 0;
            while at < fields.len() {
                if takes_bytes(fields[at].ty) {
                    return true;
                }
                at += 1;
            }
            false
        }
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::wire::codec;

    #[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
    struct Nothing;

    #[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
    struct Little {
        nothing: Nothing,
        pair: ((), [u8; 0]),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
    enum Message {
        Plain(u8),
        Lists { before: u8, lists: Vec<Vec<Little>> },
    }

    #[test]
    fn what_has_a_sequence_of_nothings_is_seen_in_its_schema_and_nothing_else_is() {
        const fn has<T: Schema>() -> bool {
            super::has(T::SCHEMA, Feature::WeightlessElements)
        }
        assert!(has::<Vec<()>>() && has::<Option<Vec<[u8; 0]>>>() && has::<(u8, Vec<Little>)>());
        assert!(has::<Message>() && has::<BTreeMap<u8, Vec<()>>>() && has::<Vec<Vec<((), ())>>>());
        assert!(!has::<()>() && !has::<Little>() && !has::<Vec<Option<()>>>() && !has::<Vec<((), u8)>>());
        assert!(!has::<BTreeMap<u8, ()>>() && has::<BTreeMap<(), u8>>() && !has::<BTreeSet<String>>());
    }

    #[test]
    fn a_message_that_claims_nothings_without_end_is_refused_however_it_is_read() {
        let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let refused = DecodeError::Weightless(1 << 16);
        assert_eq!(decode::<Vec<()>>(&endless), Err(refused.clone()));
        let body = [&[1, 0, 2, 1][..], &endless].concat();
        assert_eq!(decode::<Message>(&body), Err(refused.clone()));
        assert_eq!(codec::decode_nested::<Message>(&body), Err(refused));
        let honest = Message::Lists {
            before: 7,
            lists: vec![vec![], vec![Little { nothing: Nothing, pair: ((), []) }]],
        };
        assert_eq!(decode::<Message>(&codec::encode(&honest, 100).unwrap()), Ok(honest));
    }
}
