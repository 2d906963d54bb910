//! Large bytes to several actors, each of which looks at every page: shared as a blob, or copied into messages.

use std::time::{Duration, Instant};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::prelude::*;

use crate::Effort;
use crate::subjects::{ROUND, start};
use crate::table::{Bound, Row, beside, row_of_times, turns};

/// So much to each.
const SIZE: usize = 64 << 20;
/// In pieces that fit a frame, with its header.
const PIECE: usize = (16 << 20) - 4096;
const RECEIVERS: usize = 4;

/// Answered with the sum of the first bytes of its pages.
#[message(reply = u64)]
struct Shared(Blob);

/// The same, of bytes in the message.
#[message(reply = u64, recursive)]
struct Copied(Bytes);

/// Bytes that are encoded as such, and not as a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copy;
        impl Visitor<'_> for Copy {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Copy)
    }
}

struct Reader;

impl Actor for Reader {
    type Args = ();
    type Messages = (Shared, Copied);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Reader)
    }
}

impl Handler<Shared> for Reader {
    async fn handle(&mut self, Shared(blob): Shared, _: &mut Context<Self>) -> Result<u64> {
        Ok(look(&blob))
    }
}

impl Handler<Copied> for Reader {
    async fn handle(&mut self, Copied(bytes): Copied, _: &mut Context<Self>) -> Result<u64> {
        Ok(look(&bytes.0))
    }
}

fn look(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum()
}

/// Measures.
pub async fn measure(sys: &System, effort: Effort) -> Result<Vec<Row>> {
    let mut readers = Vec::new();
    for _ in 0..RECEIVERS {
        readers.push(start::<Reader>(sys).await?);
    }
    let mut rows = Vec::new();
    for (size, rounds) in
        [(SIZE, effort.of(9, 3)), (1 << 20, effort.of(100, 30)), (64 << 10, effort.of(500, 100))]
    {
        rows.push(one(&readers, size, rounds).await?);
    }
    rows[0].bound = Some(Bound::RatioAtMost(0.25));
    for reader in &readers {
        sys.stop(reader).await?;
    }
    Ok(rows)
}

async fn one(readers: &[Address<Reader>], size: usize, rounds: usize) -> Result<Row> {
    let bytes: Vec<u8> = (1..=u8::MAX).cycle().take(size).collect();
    let mut times = [Vec::new(), Vec::new()];
    // The first round is for warming up.
    for round in 0..=rounds {
        for at in turns(round, &[0, 1]) {
            let begun = Instant::now();
            if at == 0 {
                share(readers, &bytes).await?
            } else {
                copy(readers, &bytes).await?
            };
            if round > 0 {
                times[at].push(milliseconds(begun.elapsed()));
            }
        }
    }
    let [shared, copied] = times;
    let what = format!("{} KiB to {RECEIVERS} actors, as a blob", size >> 10);
    Ok(Row {
        beside: Some(beside("copied into messages", &shared, &copied)),
        ..row_of_times(what, "ms", &shared)
    })
}

/// From bytes in this process until all have looked at them.
async fn share(readers: &[Address<Reader>], bytes: &[u8]) -> Result<()> {
    let blob = Blob::from_bytes(bytes)?;
    let asks = readers.iter().map(|reader| {
        let (reader, blob) = (reader.clone(), blob.clone());
        tokio::spawn(async move { reader.ask(Shared(blob)).deadline(ROUND).await })
    });
    let asks: Vec<_> = asks.collect();
    for ask in asks {
        ask.await??;
    }
    Ok(())
}

async fn copy(readers: &[Address<Reader>], bytes: &[u8]) -> Result<()> {
    let asks = readers.iter().map(|reader| {
        let reader = reader.clone();
        let pieces: Vec<_> = bytes.chunks(PIECE).map(|piece| Bytes(piece.to_vec())).collect();
        tokio::spawn(async move {
            for piece in pieces {
                reader.ask(Copied(piece)).deadline(ROUND).await?;
            }
            Ok::<_, watertight::AskError>(())
        })
    });
    let asks: Vec<_> = asks.collect();
    for ask in asks {
        ask.await??;
    }
    Ok(())
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
