//! The actor that counts the words of one chunk, and may die of it.

// The fault itself, committed when it is asked for.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::Output;
use watertight::prelude::*;

use crate::words;

/// Counts words. It has no state, so a crash costs nothing but the chunk in hand, which is idempotent.
pub struct Mapper;

/// Count these words. May be handled more than once: only an answer counts.
#[message(reply = Counts, idempotent, recursive)]
pub struct Chunk {
    /// Unique in a run.
    pub number: u64,
    /// Whether to fault on the first attempt.
    pub fault: bool,
    /// What to count; begins and ends between words.
    pub bytes: Bytes,
}

/// The words of one chunk.
#[data(recursive)]
pub struct Counts {
    /// Of which chunk.
    pub number: u64,
    /// Packed pairs; see [`words::unpack`].
    pub pairs: Bytes,
}

impl Actor for Mapper {
    type Args = ();
    type Messages = (Chunk,);

    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Mapper)
    }
}

impl Handler<Chunk> for Mapper {
    async fn handle(&mut self, chunk: Chunk, cx: &mut Context<Self>) -> Result<Counts> {
        let mut bytes = Arc::unwrap_or_clone(chunk.bytes.0);
        let pairs = Bytes(Arc::new(words::count(&mut bytes)));
        if chunk.fault && cx.attempt() == 1 {
            segfault();
        }
        Ok(Counts { number: chunk.number, pairs })
    }
}

/// At the worst moment: all is counted, nothing is answered.
fn segfault() {
    // SAFETY: not safe at all, that is the fault; nothing is mapped at address zero, so nothing is overwritten.
    unsafe { std::ptr::null_mut::<u64>().write_volatile(7) }
}

/// How mappers are started: they are expected to die often, so no number of deaths is too many.
pub fn spec(number: usize) -> Spec<Mapper> {
    Spec::new(())
        .name(format!("mapper-{number}"))
        .intensity(u32::MAX, Duration::from_secs(1))
        .backoff(Backoff::NONE)
        // The largest chunk takes a fraction of a second, even on a machine that is busy with other things.
        .hang_limit(Duration::from_secs(10))
        .output(Output::Silent)
}

/// Bytes that are encoded as one piece, not one by one, and shared by those who may have to send them again.
#[derive(Clone)]
pub struct Bytes(pub Arc<Vec<u8>>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(Arc::new(bytes.to_vec())))
            }
        }

        deserializer.deserialize_bytes(Whole)
    }
}
