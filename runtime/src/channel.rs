//! Channels between processes, whose ends are values.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use postcard_schema::Schema;
use postcard_schema::schema::{DataModelType, NamedType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::process::shared_memory::Sealed;
use crate::schema::PLACE;
use crate::wire::codec::{self, DecodeError, EncodeError};
use crate::wire::frame::BODY_LIMIT;
use crate::wire::passing::{self, Beside};
use crate::wire::records::{RECORD_LIMIT, Record, Records, Wait};

/// The bytes of a value.
const VALUE: u8 = 0;
/// A value that is larger than a record: its bytes are in memory, whose descriptor comes last.
const LARGE: u8 = 1;

/// A channel: what is put into one end comes out of the other, in order. Python's `Pipe`, one way.
///
/// Both ends are values: as part of a message, a reply or an argument they reach another process, and work from there.
/// For what has no place among an actor's messages: results that come one by one, a conversation of two functions in
/// processes of their own, a reply of many parts.
///
/// A channel is a pipe that the kernel keeps, and no mailbox: no [ledger](crate::Ledger) counts what goes through it,
/// and what was sent but not received is gone when its last receiver is. Where that matters, tell an actor.
///
/// # Errors
/// When descriptors have run out; and off Linux, which alone has the sockets for it.
///
/// ```no_run
/// use watertight::prelude::*;
/// use watertight::{Sender, channel};
///
/// fn count(sender: Sender<u64>) {
///     for n in 1..=3 {
///         sender.blocking_send(n).expect("somebody receives");
///     }
/// }
///
/// # async fn example(sys: System) -> Result<()> {
/// let (sender, receiver) = channel::<u64>()?;
/// let counting = sys.process(count, sender).await?;
/// while let Some(n) = receiver.recv().await? {
///     println!("{n}");
/// }
/// counting.join().await?;
/// # Ok(()) }
/// ```
pub fn channel<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (one, other) = Records::pair()?;
    Ok((Sender::of(one), Receiver::of(other)))
}

/// The end of a [`channel`] that values are put into.
///
/// Clones, here and in other processes, put into the same one; the values of each come out in its order.
///
/// One that was part of a message stays open here too until the message has been acknowledged. One that is among the
/// arguments of an actor that may be restarted stays open with its supervisor; among those of a
/// [process](crate::System::process) or a temporary actor it ends with it.
pub struct Sender<T>(Arc<Records>, PhantomData<fn(T)>);

/// The end of a [`channel`] that values come out of.
///
/// Clones, here and in other processes, share the values: each value goes to one of them.
pub struct Receiver<T>(Arc<Records>, PhantomData<fn() -> T>);

/// Why a value did not get into a channel, or out of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// No process has a receiver of it any more.
    #[error("nobody receives from the channel any more")]
    Closed,
    /// Nothing came in the time that was given.
    #[error("nothing came through the channel in time")]
    TimedOut,
    /// It cannot be sent; the channel is as it was.
    #[error("the value cannot be sent through a channel: {0}")]
    Encode(#[from] EncodeError),
    /// What came is not a value of the channel's type. It is gone; what comes after it is not.
    #[error("what came through the channel is no value of its type: {0}")]
    Decode(#[from] DecodeError),
    /// The system refused: as a rule descriptors have run out.
    #[error("the channel's socket failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> ChannelError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ChannelError::Closed,
            io::ErrorKind::TimedOut => ChannelError::TimedOut,
            _ => ChannelError::Io(error),
        }
    }
}

impl<T: Serialize> Sender<T> {
    /// Puts a value in, as soon as there is room: the kernel keeps some 200 KiB.
    ///
    /// It waits for as long as somebody could make room; `tokio::time::timeout` bounds that. A future that is dropped
    /// has sent nothing. That it is in does not say that somebody received it.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when nobody can receive it; [`ChannelError::Encode`], as for a message.
    pub fn send(&self, value: T) -> impl Future<Output = Result<(), ChannelError>> + Send + use<T> {
        let records = Arc::clone(&self.0);
        let written = Written::of(&value);
        async move {
            let written = written?;
            Ok(records.until(Wait::Room, || written.send(&records)).await?)
        }
    }

    /// The same on a thread that may block: in a plain function, never in an actor's handler.
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    pub fn blocking_send(&self, value: T) -> Result<(), ChannelError> {
        let written = Written::of(&value)?;
        Ok(self.0.block(Wait::Room, None, || written.send(&self.0))?)
    }
}

impl<T> Sender<T> {
    /// Whether no process has a receiver any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until no process has a receiver any more, because it let go of it or died.
    ///
    /// # Errors
    /// [`ChannelError::Io`] when this runtime cannot wait for the socket.
    pub async fn closed(&self) -> Result<(), ChannelError> {
        let open = || if self.0.is_closed() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
        Ok(self.0.until(Wait::Readable, open).await?)
    }

    fn of(records: Records) -> Sender<T> {
        Sender(Arc::new(records), PhantomData)
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next value; `None` when there is none left and no process has a sender any more.
    ///
    /// Senders that died and senders that were done look the same: where that matters let a last value say it. A future
    /// that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`ChannelError::Decode`] for something that is no `T`; [`ChannelError::Io`].
    pub async fn recv(&self) -> Result<Option<T>, ChannelError> {
        let record = self.0.until(Wait::Readable, || self.0.receive_now()).await?;
        record.map(read).transpose()
    }

    /// The next value if it is there; `None` at the end as [`recv`](Receiver::recv).
    ///
    /// # Errors
    /// [`ChannelError::TimedOut`] when there is none yet; else as [`recv`](Receiver::recv).
    pub fn try_recv(&self) -> Result<Option<T>, ChannelError> {
        match self.0.receive_now() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ChannelError::TimedOut),
            record => record?.map(read).transpose(),
        }
    }

    /// As [`recv`](Receiver::recv), on a thread that may block: in a plain function, never in an actor's handler.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv).
    pub fn blocking_recv(&self) -> Result<Option<T>, ChannelError> {
        let record = self.0.block(Wait::Readable, None, || self.0.receive_now())?;
        record.map(read).transpose()
    }

    /// The same, for so long at most. Python's `poll(timeout)`, and `recv`.
    ///
    /// # Errors
    /// [`ChannelError::TimedOut`]; else as [`recv`](Receiver::recv).
    pub fn blocking_recv_within(&self, limit: Duration) -> Result<Option<T>, ChannelError> {
        let record = self.0.block(Wait::Readable, Some(limit), || self.0.receive_now())?;
        record.map(read).transpose()
    }

    /// What still comes, on a thread that may block; it ends after an error of the socket's.
    pub fn blocking_iter(&self) -> impl Iterator<Item = Result<T, ChannelError>> {
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let next = self.blocking_recv();
            failed = matches!(next, Err(ChannelError::Io(_)));
            next.transpose()
        })
    }
}

impl<T> Receiver<T> {
    fn of(records: Records) -> Receiver<T> {
        Receiver(Arc::new(records), PhantomData)
    }
}

/// A value as a record.
struct Written {
    kind: u8,
    bytes: Vec<u8>,
    beside: Beside,
}

impl Written {
    fn of<T: Serialize>(value: &T) -> Result<Written, ChannelError> {
        let (encoded, mut beside) = passing::collecting(|| codec::encode(value, BODY_LIMIT));
        let bytes = encoded?;
        if bytes.len() <= RECORD_LIMIT {
            return Ok(Written { kind: VALUE, bytes, beside });
        }
        let memory = Sealed::write(|memory| memory.write_all(&bytes))?;
        beside.push(Arc::clone(memory.file()));
        Ok(Written { kind: LARGE, bytes: Vec::new(), beside })
    }

    fn send(&self, records: &Records) -> io::Result<()> {
        records.send_now(self.kind, &self.bytes, &self.beside)
    }
}

fn read<T: DeserializeOwned>(record: Record) -> Result<T, ChannelError> {
    let Record { kind, bytes, mut beside } = record;
    if beside.cut {
        let reason =
            "a value came with descriptors for which this process has no room: raise its limit of open files";
        return Err(ChannelError::Io(io::Error::other(reason)));
    }
    let malformed = |reason: &str| DecodeError::Malformed(reason.into());
    let decode = |bytes: &[u8], beside| passing::with(beside, || codec::decode_nested(bytes));
    match kind {
        VALUE => Ok(decode(&bytes, beside.descriptors)?),
        LARGE => {
            let memory = beside.descriptors.pop().ok_or_else(|| malformed(passing::MISSING))?;
            let memory = Sealed::open(memory).map_err(|unfit| malformed(&unfit.to_string()))?;
            if memory.len() > BODY_LIMIT {
                return Err(malformed("larger than a value may be").into());
            }
            Ok(decode(memory.bytes(), beside.descriptors)?)
        }
        _ => Err(malformed("no value, but a part of a byte stream").into()),
    }
}

/// The place of one end in a body.
pub(crate) fn put<E: serde::ser::Error>(records: &Records) -> Result<u8, E> {
    passing::put(records.descriptor()).ok_or_else(|| E::custom(passing::because(passing::NOT_HERE)))
}

/// The end that stands in that place.
pub(crate) fn take<E: serde::de::Error>(place: u8) -> Result<Records, E> {
    let records = passing::take(place).ok_or(passing::MISSING).and_then(Records::open);
    records.map_err(|reason| E::custom(passing::because(reason)))
}

macro_rules! an_end {
    ($End:ident, $name:literal) => {
        impl<T> Clone for $End<T> {
            fn clone(&self) -> Self {
                $End(Arc::clone(&self.0), PhantomData)
            }
        }

        impl<T> fmt::Debug for $End<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($name, "<{}>"), std::any::type_name::<T>())
            }
        }

        impl<T> Serialize for $End<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                put::<S::Error>(&self.0)?.serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $End<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok($End::of(take::<D::Error>(u8::deserialize(deserializer)?)?))
            }
        }

        impl<T: Schema> Schema for $End<T> {
            const SCHEMA: &'static NamedType =
                &NamedType { name: $name, ty: &DataModelType::Tuple(&[PLACE, T::SCHEMA]) };
        }
    };
}

an_end!(Sender, "Sender");
an_end!(Receiver, "Receiver");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn something_else_than_the_channels_type_is_an_error_and_what_follows_still_comes() {
        let (sender, receiver) = channel::<String>().unwrap();
        let liar = Sender::<(u8, u8)>(Arc::clone(&sender.0), PhantomData);
        liar.send((200, 1)).await.unwrap();
        liar.0.send_now(9, b"", &Beside::new()).unwrap();
        liar.0.send_now(LARGE, b"", &Beside::new()).unwrap();
        let unsealed = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        liar.0.send_now(LARGE, b"", &vec![unsealed]).unwrap();
        for _ in 0..4 {
            let wrong = receiver.recv().await;
            assert!(matches!(wrong, Err(ChannelError::Decode(_))), "{wrong:?}");
        }
        liar.0.send_now(VALUE, &vec![0; RECORD_LIMIT + 1], &Beside::new()).unwrap();
        assert!(matches!(receiver.recv().await, Err(ChannelError::Io(_))));
        liar.send((1, b'a')).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap(), Some("a".to_string()));
        drop((sender, liar));
        assert_eq!(receiver.recv().await.unwrap(), None);
    }

    #[test]
    fn what_is_no_end_of_a_channel_is_refused() {
        let pipe = || rustix::pipe::pipe().unwrap().0;
        let read: Result<Sender<u8>, _> = passing::with(vec![pipe()], || codec::decode_nested(&[0]));
        let reason = read.unwrap_err().to_string();
        assert!(reason.contains("not the end of a channel"), "{reason}");
        assert!(codec::encode(&channel::<u8>().unwrap().0, 100).is_err(), "not within a message");
    }

    #[test]
    fn a_wait_that_may_block_ends_in_time_and_a_clone_takes_what_is_left() {
        let (sender, receiver) = channel::<u8>().unwrap();
        let waited = receiver.blocking_recv_within(Duration::from_millis(1));
        assert!(matches!(waited, Err(ChannelError::TimedOut)));
        sender.blocking_send(1).unwrap();
        sender.blocking_send(2).unwrap();
        assert_eq!(receiver.clone().blocking_recv().unwrap(), Some(1));
        assert_eq!(receiver.try_recv().unwrap(), Some(2));
        drop(sender);
        assert_eq!(receiver.blocking_iter().count(), 0);
    }
}
