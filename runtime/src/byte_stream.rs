//! Streams of bytes between processes, whose ends are values.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, NamedType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::{put, take};
use crate::schema::PLACE;
use crate::wire::passing::Beside;
use crate::wire::records::{RECORD_LIMIT, Record, Records, Wait};

/// The next bytes.
const BYTES: u8 = 2;
/// The writer is done: without it, whoever reads takes the end for a crash.
const END: u8 = 3;

/// A stream of bytes of any length, from one process to another.
///
/// Both ends are values: as part of a message, a reply or an argument they reach another process, and work from there.
/// For what is too large for a message, or not there yet in full: a file as it is read, a program's output. It holds
/// some 200 KiB; then the writer waits for the reader. Bytes that are all there are better off in a
/// [`Blob`](crate::Blob).
///
/// Each end works with `tokio::io`, and with `std::io` on threads that may block: in plain functions, never in an
/// actor's handler. A writer that is dropped, or dies, before it [finished](ByteWriter::finish) is an error for the
/// reader: what was cut off never passes for the whole.
///
/// A stream is a pipe that the kernel keeps, and no mailbox: what was written but not read is gone with its reader.
///
/// # Errors
/// When descriptors have run out; and off Linux, which alone has the sockets for it.
///
/// ```no_run
/// use std::io::Write;
/// use tokio::io::AsyncReadExt;
/// use watertight::prelude::*;
/// use watertight::{ByteWriter, byte_stream};
///
/// fn shout(mut to: ByteWriter) -> std::result::Result<(), String> {
///     let written = (0..100_000).try_for_each(|line| writeln!(to, "line {line}"));
///     written.and_then(|()| to.blocking_finish()).map_err(|error| error.to_string())
/// }
///
/// # async fn example(sys: System) -> Result<()> {
/// let (writer, mut reader) = byte_stream()?;
/// let shouting = sys.process(shout, writer).await?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text).await?;
/// shouting.join().await?;
/// # Ok(()) }
/// ```
pub fn byte_stream() -> io::Result<(ByteWriter, ByteReader)> {
    let (one, other) = Records::pair()?;
    Ok((
        ByteWriter { records: one, finished: false },
        ByteReader { records: other, rest: Vec::new(), at: 0, ended: false },
    ))
}

/// The end of a [`byte_stream`] that is written to.
///
/// Each write is a system call; a `BufWriter` around it gathers small ones.
pub struct ByteWriter {
    records: Records,
    finished: bool,
}

/// The end of a [`byte_stream`] that is read from.
///
/// Passed on in the middle it takes along what it has read ahead; the one that was passed on is then of no more use.
pub struct ByteReader {
    records: Records,
    /// What has been received and not read yet, from `at` on.
    rest: Vec<u8>,
    at: usize,
    ended: bool,
}

impl ByteWriter {
    /// Says that this was all, which the reader finds after the last byte. `AsyncWriteExt::shutdown` says it too.
    ///
    /// # Errors
    /// `BrokenPipe` when nobody holds the reader.
    pub async fn finish(mut self) -> io::Result<()> {
        if !self.finished {
            self.records.until(Wait::Room, || self.say_end()).await?;
            self.finished = true;
        }
        Ok(())
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// As [`finish`](ByteWriter::finish).
    pub fn blocking_finish(mut self) -> io::Result<()> {
        if !self.finished {
            self.records.block(Wait::Room, None, || self.say_end())?;
            self.finished = true;
        }
        Ok(())
    }

    fn say_end(&self) -> io::Result<()> {
        self.records.send_now(END, &[], &Beside::new())
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.finished {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the byte stream is finished"));
        }
        let bytes = &bytes[..bytes.len().min(RECORD_LIMIT)];
        if !bytes.is_empty() {
            self.records.send_now(BYTES, bytes, &Beside::new())?;
        }
        Ok(bytes.len())
    }

    fn poll_until<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl Fn() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let awaited = self.records.awaited()?;
        loop {
            let mut guard = ready!(awaited.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|_| attempt()) {
                return Poll::Ready(done);
            }
        }
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_until(cx, || self.write_now(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(self.poll_until(cx, || self.say_end()))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for ByteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.records.block(Wait::Room, None, || self.write_now(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ByteReader {
    /// Copies what is there already; `None` when more must be received first.
    fn read_ahead(&mut self, room: usize) -> Option<&[u8]> {
        if self.at == self.rest.len() && !self.ended && room > 0 {
            return None;
        }
        let from = self.at;
        self.at += room.min(self.rest.len() - from);
        Some(&self.rest[from..self.at])
    }

    fn received(&mut self, record: Option<Record>) -> io::Result<()> {
        let cut = "the byte stream's writer ended before it had finished";
        let record = record.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, cut))?;
        match record.kind {
            BYTES => (self.rest, self.at) = (record.bytes, 0),
            END => self.ended = true,
            _ => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no bytes, but a value of a channel"));
            }
        }
        Ok(())
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Record>>> {
        let awaited = self.records.awaited()?;
        loop {
            let mut guard = ready!(awaited.poll_read_ready(cx))?;
            if let Ok(record) = guard.try_io(|_| self.records.receive_now()) {
                return Poll::Ready(record);
            }
        }
    }
}

impl AsyncRead for ByteReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(bytes) = self.read_ahead(room.remaining()) {
                room.put_slice(bytes);
                return Poll::Ready(Ok(()));
            }
            let record = ready!(self.poll_receive(cx))?;
            self.received(record)?;
        }
    }
}

impl Read for ByteReader {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(bytes) = self.read_ahead(room.len()) {
                room[..bytes.len()].copy_from_slice(bytes);
                return Ok(bytes.len());
            }
            let record = self.records.block(Wait::Readable, None, || self.records.receive_now())?;
            self.received(record)?;
        }
    }
}

impl fmt::Debug for ByteWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteWriter")
    }
}

impl fmt::Debug for ByteReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteReader")
    }
}

impl Serialize for ByteWriter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (put::<S::Error>(&self.records)?, self.finished).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByteWriter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (place, finished) = Deserialize::deserialize(deserializer)?;
        Ok(ByteWriter { records: take::<D::Error>(place)?, finished })
    }
}

impl Serialize for ByteReader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (put::<S::Error>(&self.records)?, &self.rest[self.at..], self.ended).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByteReader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (place, rest, ended) = Deserialize::deserialize(deserializer)?;
        Ok(ByteReader { records: take::<D::Error>(place)?, rest, at: 0, ended })
    }
}

impl Schema for ByteWriter {
    const SCHEMA: &'static NamedType =
        &NamedType { name: "ByteWriter", ty: &DataModelType::Tuple(&[PLACE, bool::SCHEMA]) };
}

impl Schema for ByteReader {
    const SCHEMA: &'static NamedType = &NamedType {
        name: "ByteReader",
        ty: &DataModelType::Tuple(&[PLACE, <Vec<u8>>::SCHEMA, bool::SCHEMA]),
    };
}
