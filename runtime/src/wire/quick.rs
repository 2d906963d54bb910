//! Postcard, but for numbers: those are written where they shall stand, see [`number`].
//!
//! Everything else is handed on to postcard's own serializer, which writes to the same place.

use postcard::Error;
use postcard::ser_flavors::Flavor;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::number;

/// Where numbers are written without being copied.
pub trait TakesNumbers: Flavor {
    /// Appends a number.
    ///
    /// # Errors
    /// There is no room.
    fn try_number(&mut self, number: u64) -> postcard::Result<()>;
}

/// Writes one value.
pub struct Quick<F: Flavor>(pub postcard::Serializer<F>);

impl<F: Flavor> Quick<F> {
    /// To this place.
    #[inline]
    pub fn new(output: F) -> Self {
        Quick(postcard::Serializer { output })
    }
}

macro_rules! numbers {
    ($($method:ident($type:ty) as $wide:ty, $number:expr;)*) => {$(
        #[inline]
        fn $method(self, number: $type) -> postcard::Result<()> {
            self.0.output.try_number($number(<$wide>::from(number)))
        }
    )*};
}

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> postcard::Result<()> {
            (&mut self.0).$method($($argument),*)
        }
    )*};
}

/// Postcard writes what stands in front of the elements; these come to [`Quick`] again.
macro_rules! begin {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> postcard::Result<Self> {
            (&mut self.0).$method($($argument),*)?;
            Ok(self)
        }
    )*};
}

impl<F: TakesNumbers> Serializer for &mut Quick<F> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_u16(u16) as u64, u64::from;
        serialize_u32(u32) as u64, u64::from;
        serialize_u64(u64) as u64, u64::from;
        serialize_i16(i16) as i64, number::without_sign;
        serialize_i32(i32) as i64, number::without_sign;
        serialize_i64(i64) as i64, number::without_sign;
    }

    hand_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_u8(value: u8);
        serialize_i128(value: i128);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    begin! {
        serialize_seq(length: Option<usize>);
        serialize_tuple(length: usize);
        serialize_tuple_struct(name: &'static str, length: usize);
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, length: usize);
        serialize_map(length: Option<usize>);
        serialize_struct(name: &'static str, length: usize);
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, length: usize);
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> postcard::Result<()> {
        // As postcard writes that there is something: the value itself comes here again.
        (&mut self.0).serialize_some(&())?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> postcard::Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> postcard::Result<()> {
        (&mut self.0).serialize_unit_variant(name, index, variant)?;
        value.serialize(self)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> postcard::Result<()> {
        (&mut self.0).collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! elements {
    ($($trait:ident: $($method:ident($($name:ident: $type:ty)?))+;)*) => {$(
        impl<F: TakesNumbers> $trait for &mut Quick<F> {
            type Ok = ();
            type Error = Error;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($name: $type,)?
                    value: &T,
                ) -> postcard::Result<()> {
                    value.serialize(&mut **self)
                }
            )+

            #[inline]
            fn end(self) -> postcard::Result<()> {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key() serialize_value();
    SerializeStruct: serialize_field(_name: &'static str);
    SerializeStructVariant: serialize_field(_name: &'static str);
}
