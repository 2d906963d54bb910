//! Plain functions in other processes: how a `fn(T) -> R` is named there, and how it is called.
//!
//! A function item or a closure that captures nothing has no size: its type is all that there is of it. So a constant
//! [`Entry`] for its type is enough to call it in a process that runs the same executable; nothing is registered.

use std::any::Any;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::pool::shift::Shift;
use crate::process::code_reference::{CodeError, CodeReference, Entry, conjure};
use crate::wire::codec::{self, DecodeError, EncodeError};
use crate::wire::frame::BODY_LIMIT;

/// What of a function is called in another process.
#[derive(Clone, Copy)]
pub(crate) struct TaskCode {
    /// Reads what all calls share.
    pub(crate) read_context: fn(&[u8]) -> Result<TaskContext, DecodeError>,
    /// Reads the input, calls the function, and appends its result.
    pub(crate) call: fn(&[u8], &mut Vec<u8>) -> Result<(), CallError>,
    /// The same for all tasks of a chunk.
    pub(crate) work: fn(&mut Shift<'_>),
}

/// What all calls of a job share, whatever its type.
pub(crate) type TaskContext = Box<dyn Any>;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the input does not decode: {0}")]
    Input(String),
    #[error("the result does not encode: {0}")]
    Output(String),
    #[error("the function's context is missing")]
    Context,
}

/// Names a function of one argument.
pub(crate) fn code<F, T, R>(_: F) -> Result<CodeReference, CodeError>
where
    F: Fn(T) -> R + Copy + Send + 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    CodeReference::to(Plain::<F, T, R>::ENTRY)
}

/// Names a function of what all calls share, and of an argument.
pub(crate) fn code_with<F, C, T, R>(_: F) -> Result<CodeReference, CodeError>
where
    F: Fn(&C, T) -> R + Copy + Send + 'static,
    C: DeserializeOwned + 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    CodeReference::to(With::<F, C, T, R>::ENTRY)
}

/// Names a function of as many arguments as the tuple has.
pub(crate) fn code_star<F, T, R>(_: F) -> Result<CodeReference, CodeError>
where
    F: Spread<T, R>,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    CodeReference::to(Star::<F, T, R>::ENTRY)
}

/// A function that takes the parts of the tuple `T` as its arguments: two to six of them.
#[diagnostic::on_unimplemented(
    message = "this function does not take the parts of `{T}` as its arguments",
    note = "starmap wants a function of two to six arguments that captures nothing, and items that are tuples of as many"
)]
pub trait Spread<T, R>: Copy + Send + 'static {
    /// Calls it.
    #[doc(hidden)]
    fn spread(self, arguments: T) -> R;
}

macro_rules! spread {
    ($($part:ident),*) => {
        impl<Function, R, $($part),*> Spread<($($part,)*), R> for Function
        where
            Function: Fn($($part),*) -> R + Copy + Send + 'static,
        {
            #[allow(non_snake_case)]
            fn spread(self, ($($part,)*): ($($part,)*)) -> R {
                self($($part),*)
            }
        }
    };
}

spread!(A, B);
spread!(A, B, C);
spread!(A, B, C, D);
spread!(A, B, C, D, E);
spread!(A, B, C, D, E, F);

/// Drawn at random once, one for each way of calling.
const PLAIN: u64 = 0x93d0_4e1b_77a2_c615;
const WITH: u64 = 0x5c2f_a908_13e6_bd47;
const STAR: u64 = 0xe871_36d4_fa0c_5b92;

struct Plain<F, T, R>(PhantomData<fn(F, T) -> R>);

impl<F, T, R> Plain<F, T, R>
where
    F: Fn(T) -> R + Copy + Send + 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    const ENTRY: &'static Entry<TaskCode> =
        &Entry::new(PLAIN, TaskCode { read_context: no_context, call: Self::call, work: Self::work });

    fn call(input: &[u8], output: &mut Vec<u8>) -> Result<(), CallError> {
        call(conjure::<F>(), input, output)
    }

    fn work(shift: &mut Shift<'_>) {
        shift.work(conjure::<F>());
    }
}

struct With<F, C, T, R>(PhantomData<fn(F, C, T) -> R>);

impl<F, C, T, R> With<F, C, T, R>
where
    F: Fn(&C, T) -> R + Copy + Send + 'static,
    C: DeserializeOwned + 'static,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    const ENTRY: &'static Entry<TaskCode> =
        &Entry::new(WITH, TaskCode { read_context: Self::read_context, call: Self::call, work: Self::work });

    fn read_context(bytes: &[u8]) -> Result<TaskContext, DecodeError> {
        codec::decode_nested::<C>(bytes).map(|context| Box::new(context) as TaskContext)
    }

    /// One call alone has no context.
    fn call(_: &[u8], _: &mut Vec<u8>) -> Result<(), CallError> {
        Err(CallError::Context)
    }

    fn work(shift: &mut Shift<'_>) {
        match shift.context().and_then(|context| context.downcast_ref::<C>()) {
            Some(context) => shift.work(|input| conjure::<F>()(context, input)),
            None => shift.refuse(&CallError::Context),
        }
    }
}

struct Star<F, T, R>(PhantomData<fn(F, T) -> R>);

impl<F, T, R> Star<F, T, R>
where
    F: Spread<T, R>,
    T: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    const ENTRY: &'static Entry<TaskCode> =
        &Entry::new(STAR, TaskCode { read_context: no_context, call: Self::call, work: Self::work });

    fn call(input: &[u8], output: &mut Vec<u8>) -> Result<(), CallError> {
        call(|arguments| conjure::<F>().spread(arguments), input, output)
    }

    fn work(shift: &mut Shift<'_>) {
        shift.work(|arguments| conjure::<F>().spread(arguments));
    }
}

fn no_context(_: &[u8]) -> Result<TaskContext, DecodeError> {
    Ok(Box::new(()))
}

fn call<T: DeserializeOwned, R: Serialize>(
    f: impl Fn(T) -> R,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CallError> {
    let input = codec::decode_nested(input).map_err(|error| CallError::Input(error.to_string()))?;
    codec::encode_into(&f(input), output, RESULT_LIMIT).map_err(|error| CallError::Output(error.to_string()))
}

/// Largest result, and largest input: what fits a frame, with room for what stands beside it.
pub(crate) const RESULT_LIMIT: usize = BODY_LIMIT - (64 << 10);

/// An input as it travels.
pub(crate) fn encode_input<T: Serialize>(input: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    codec::encode_into(input, out, RESULT_LIMIT)
}

/// Bytes that are written and read as one piece, not one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece(pub(crate) Vec<u8>);

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Piece;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Piece, E> {
                Ok(Piece(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
