//! A limit on how deeply a decoded value may nest, and on how much of it may stand for no bytes.
//!
//! Postcard recurses as its types do, so that a short body of a recursive type can overflow the stack, which ends the
//! process without a panic. [`DepthLimited`] stands between a type's `Deserialize` and the real deserializer. Recursion
//! can only pass through five methods of a visitor (option, newtype, sequence, map, enum): those are counted, and
//! everything else is handed on. Elements of a sequence and keys of a map are counted by its [`Weight`] when they took no
//! bytes: a length alone would make as many of them as it says.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::number;
use super::weight::Weight;

/// A deserializer, and whatever it meets on its way, that refuses to nest more deeply than its limit.
///
/// An enum and the fields of its variant are one level; so is a struct, a tuple, a sequence, a map, a newtype and a
/// filled option. Numbers, strings, units and empty options are none.
pub struct DepthLimited<'w, T> {
    inner: T,
    level: Level<'w>,
}

impl<'w, T> DepthLimited<'w, T> {
    /// Lets `inner` nest `limit` levels and no more. `weight` is what `inner` reads from.
    pub fn new(inner: T, limit: u16, weight: &'w Weight<'w>) -> Self {
        DepthLimited { inner, level: Level { left: limit, limit, of_any_length: false, weight } }
    }
}

/// Most entries of a map that are believed before they are read: so many small ones fill some pages.
const ENTRIES: usize = 4096;

#[derive(Clone, Copy)]
struct Level<'w> {
    // Small: one of these stands on the stack for every level.
    left: u16,
    limit: u16,
    /// Whether the body says how many elements there are; those of a tuple are in its type.
    of_any_length: bool,
    weight: &'w Weight<'w>,
}

impl<'w> Level<'w> {
    fn deeper<E: Error>(self) -> Result<Level<'w>, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Level { left, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {} levels", self.limit))),
        }
    }

    /// How much to set aside for what claims to be so many: half as many every eight levels. Else each of 128 levels could
    /// claim all of the body, and a short one would take a hundred times the memory of what it holds.
    fn believed(self, claimed: Option<usize>) -> Option<usize> {
        let halvings = u32::from((self.limit - self.left.min(self.limit)) / 8);
        claimed.map(|claimed| claimed.checked_shr(halvings).unwrap_or_default())
    }

    /// The level of what is around this one.
    fn around(self) -> Level<'w> {
        Level { left: self.left.saturating_add(1), ..self }
    }

    fn of<T>(self, inner: T) -> DepthLimited<'w, T> {
        DepthLimited { inner, level: self }
    }

    /// For what is within: a length that is none of its own is forgotten.
    fn within<T>(self, inner: T) -> DepthLimited<'w, T> {
        Level { of_any_length: false, ..self }.of(inner)
    }
}

macro_rules! hand_on_deserialize {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method($($argument,)* self.level.within(visitor))
        }
    )*};
}

/// Keeps what is usual small, so that it becomes a part of whatever reads a number.
#[cold]
#[inline(never)]
fn rarely<T>(read: impl FnOnce() -> T) -> T {
    read()
}

/// Numbers are read where they stand. What is longer than nearly all numbers of its type, or wrong, is for `inner` to read.
macro_rules! read_numbers {
    ($($method:ident: $visit:ident($type:ty), at most $most:literal bytes, as $number:expr;)*) => {$(
        #[inline]
        #[allow(clippy::cast_possible_truncation)] // So many bytes hold no larger ones.
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.level.weight.number($most) {
                Some(number) => visitor.$visit($number(number) as $type),
                None => rarely(|| self.inner.$method(self.level.within(visitor))),
            }
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for DepthLimited<'_, D> {
    type Error = D::Error;

    hand_on_deserialize! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i128();
        deserialize_u8();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    read_numbers! {
        deserialize_u16: visit_u16(u16), at most 2 bytes, as u64::from;
        deserialize_u32: visit_u32(u32), at most 4 bytes, as u64::from;
        deserialize_u64: visit_u64(u64), at most 9 bytes, as u64::from;
        deserialize_i16: visit_i16(i16), at most 2 bytes, as number::with_sign;
        deserialize_i32: visit_i32(i32), at most 4 bytes, as number::with_sign;
        deserialize_i64: visit_i64(i64), at most 9 bytes, as number::with_sign;
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_seq(Level { of_any_length: true, ..self.level }.of(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! hand_on_visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for DepthLimited<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    hand_on_visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.level.deeper::<D::Error>()?.of(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.level.deeper::<D::Error>()?.of(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.level.deeper::<A::Error>()?.of(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.level.deeper::<A::Error>()?.of(access))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.level.deeper::<A::Error>()?.of(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for DepthLimited<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.level.of(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for DepthLimited<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Level { of_any_length, weight, .. } = self.level;
        let before = weight.rest().len();
        let element = self.inner.next_element_seed(self.level.within(seed))?;
        if of_any_length && element.is_some() {
            weight.count(before)?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.level.believed(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for DepthLimited<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let before = self.level.weight.rest().len();
        let key = self.inner.next_key_seed(self.level.within(seed))?;
        if key.is_some() {
            self.level.weight.count(before)?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.level.within(seed))
    }

    /// Postcard bounds the claim of a sequence by the bytes that are left, and not that of a map.
    fn size_hint(&self) -> Option<usize> {
        self.level.believed(self.inner.size_hint().map(|claimed| claimed.min(ENTRIES)))
    }
}

impl<'de, 'w, A: EnumAccess<'de>> EnumAccess<'de> for DepthLimited<'w, A> {
    type Error = A::Error;
    type Variant = DepthLimited<'w, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.level.of(seed))?;
        Ok((value, self.level.of(variant)))
    }
}

// The enum has been counted; the sequence or map of its fields gets that level again, so as not to count twice.
impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for DepthLimited<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.level.of(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(length, self.level.around().of(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.level.around().of(visitor))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IntoDeserializer;
    use serde::de::value::Error as ValueError;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum E {
        Leaf,
        Node(Box<E>),
        Pair(Box<E>, Box<E>),
        Named { inner: Box<E> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct List {
        next: Option<Box<List>>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Box<Wrapper>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Wrapper {
        End,
        More(Wrapped),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tree {
        children: Vec<Tree>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Mapped {
        inside: BTreeMap<u8, Mapped>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        flag: bool,
        small: (i8, u8, i16, u16),
        large: (i32, u32, i64, u64, i128, u128),
        real: (f32, f64),
        text: (char, String),
        unit: (),
        nothing: Option<u8>,
        something: Option<Option<u8>>,
        map: BTreeMap<String, Vec<E>>,
        list: List,
    }

    fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], limit: u16) -> Result<T, postcard::Error> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        T::deserialize(DepthLimited::new(&mut deserializer, limit, &Weight::new(&[])))
    }

    /// Far less than any thread of ours has.
    fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(384 << 10).spawn(test).unwrap().join().unwrap();
    }

    #[test]
    fn fifty_kilobytes_of_nested_enums_are_an_error_and_not_a_stack_overflow() {
        on_a_small_stack(|| {
            assert!(read::<E>(&[1; 50_000], 128).is_err());
            assert!(read::<E>(&[2; 50_000], 128).is_err());
            assert!(read::<E>(&[3; 50_000], 128).is_err());
        });
    }

    #[test]
    fn every_way_to_recurse_is_counted() {
        on_a_small_stack(|| {
            assert!(read::<List>(&[1; 50_000], 128).is_err());
            assert!(read::<Wrapped>(&[1; 50_000], 128).is_err());
            assert!(read::<Tree>(&[1; 50_000], 128).is_err());
            assert!(read::<Mapped>(&[1; 50_000], 128).is_err());
        });
    }

    #[test]
    fn nesting_is_taken_to_the_limit_and_no_further() {
        let nested = |nodes: usize| (0..nodes).fold(E::Leaf, |e, _| E::Node(Box::new(e)));
        let bytes = postcard::to_stdvec(&nested(7)).unwrap();
        assert_eq!(read::<E>(&bytes, 8).unwrap(), nested(7));
        assert!(read::<E>(&bytes, 7).is_err());
    }

    #[test]
    fn each_way_to_nest_is_one_level_and_a_leaf_is_none() {
        fn takes<T: for<'de> Deserialize<'de>>(bytes: &[u8], levels: u16) {
            assert!(read::<T>(bytes, levels).is_ok(), "{levels} levels");
            assert!(
                levels == 0 || read::<T>(bytes, levels - 1).is_err(),
                "{levels} levels, but one less did"
            );
        }
        #[derive(Deserialize)]
        struct Newtype(#[allow(dead_code)] u8);
        takes::<String>(b"\x02hi", 0);
        takes::<Option<u8>>(&[0], 0);
        takes::<Option<u8>>(&[1, 7], 1);
        takes::<Option<Option<u8>>>(&[1, 1, 7], 2);
        takes::<Newtype>(&[7], 1);
        takes::<Vec<u8>>(&[1, 7], 1);
        takes::<(u8, u8)>(&[7, 7], 1);
        takes::<BTreeMap<u8, u8>>(&[1, 7, 7], 1);
        takes::<List>(&[0], 1);
        takes::<E>(&[0], 1);
    }

    #[test]
    fn an_enum_and_the_fields_of_its_variant_are_one_level() {
        let named = E::Named { inner: Box::new(E::Pair(Box::new(E::Leaf), Box::new(E::Leaf))) };
        let bytes = postcard::to_stdvec(&named).unwrap();
        assert_eq!(read::<E>(&bytes, 3).unwrap(), named);
        assert!(read::<E>(&bytes, 2).is_err());
    }

    #[test]
    fn width_is_not_depth() {
        let wide: Vec<Option<(u8, u8)>> = vec![Some((1, 2)); 10_000];
        let bytes = postcard::to_stdvec(&wide).unwrap();
        assert_eq!(read::<Vec<Option<(u8, u8)>>>(&bytes, 3).unwrap(), wide);
    }

    #[test]
    fn ordinary_nested_data_makes_the_round_trip() {
        let leaves = vec![E::Leaf, E::Pair(Box::new(E::Leaf), Box::new(E::Node(Box::new(E::Leaf))))];
        let value = Everything {
            flag: true,
            small: (-1, 2, -3, 4),
            large: (-5, 6, -7, 8, i128::MIN, u128::MAX),
            real: (0.5, -0.25),
            text: ('ß', "text".into()),
            unit: (),
            nothing: None,
            something: Some(None),
            map: BTreeMap::from([("a".into(), leaves)]),
            list: List { next: Some(Box::new(List { next: None })) },
        };
        let bytes = postcard::to_stdvec(&value).unwrap();
        assert_eq!(read::<Everything>(&bytes, 16).unwrap(), value);
        assert_eq!(read::<&str>(b"\x02hi", 0).unwrap(), "hi", "what is borrowed stays borrowed");
    }

    #[test]
    fn the_error_names_the_limit() {
        let deserializer = || IntoDeserializer::<ValueError>::into_deserializer(vec![vec![vec![1_u8]]]);
        let nested =
            Vec::<Vec<Vec<u8>>>::deserialize(DepthLimited::new(deserializer(), 3, &Weight::new(&[])));
        assert_eq!(nested.unwrap(), [[[1]]]);
        let error = Vec::<Vec<Vec<u8>>>::deserialize(DepthLimited::new(deserializer(), 2, &Weight::new(&[])))
            .unwrap_err();
        assert_eq!(error.to_string(), "nested deeper than 2 levels");
    }

    #[test]
    fn the_form_of_the_inner_deserializer_is_handed_on() {
        let mut postcard = postcard::Deserializer::from_bytes(&[]);
        assert!(!DepthLimited::new(&mut postcard, 1, &Weight::new(&[])).is_human_readable());
        let text = IntoDeserializer::<ValueError>::into_deserializer("text");
        assert!(DepthLimited::new(text, 1, &Weight::new(&[])).is_human_readable());
    }
}
