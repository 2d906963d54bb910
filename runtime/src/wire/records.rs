//! Sockets of records, for what processes say to each other outside of the links: channels and byte streams.
//!
//! A record arrives whole or not at all, from however many processes that share an end, and the kernel keeps it until
//! somebody takes it. Such sockets are Linux's; elsewhere a pair of them cannot be made, and that is the error.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::passing::{Arrived, Beside};
use super::transport::{is_crowded, receive, register, send};
use crate::fault::{self, Call};
use crate::sync::lock;

/// Most bytes of a record behind its kind: half of what a socket's buffer has by default, so that one more always fits,
/// and few enough to copy.
pub const RECORD_LIMIT: usize = 64 << 10;

/// One end, and whoever shares it in this process.
#[derive(Debug)]
pub struct Records {
    socket: Arc<OwnedFd>,
    /// Made where it is first awaited: a value that is only passed on needs no runtime.
    awaited: OnceLock<AsyncFd<Socket>>,
    /// The reactor takes a descriptor once.
    registering: Mutex<()>,
}

/// What the reactor watches.
#[derive(Debug)]
pub struct Socket(Arc<OwnedFd>);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What came.
#[derive(Debug)]
pub struct Record {
    /// Says what the rest is.
    pub kind: u8,
    /// At most [`RECORD_LIMIT`].
    pub bytes: Vec<u8>,
    /// In the order in which they were sent.
    pub beside: Arrived,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A record, or the end.
    Readable,
    /// Room for one more, or the end.
    Room,
}

impl Records {
    /// Two ends of which each hears the other.
    ///
    /// # Errors
    /// When descriptors have run out, or the system has no such sockets.
    pub fn pair() -> io::Result<(Records, Records)> {
        fault::call(Call::OpenChannel)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Records::of(one), Records::of(other)))
    }

    /// Takes over what came in a message.
    ///
    /// # Errors
    /// The reason, when it is something else.
    pub fn open(socket: OwnedFd) -> Result<Records, &'static str> {
        match rustix::net::sockopt::socket_type(&socket) {
            Ok(SocketType::SEQPACKET) => Ok(Records::of(socket)),
            _ => Err("the descriptor is not the end of a channel"),
        }
    }

    fn of(socket: OwnedFd) -> Records {
        Records { socket: Arc::new(socket), awaited: OnceLock::new(), registering: Mutex::new(()) }
    }

    /// By this others get it.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Sends a record now; more than [`RECORD_LIMIT`] bytes nobody would receive.
    ///
    /// # Errors
    /// `WouldBlock` without room; `BrokenPipe` when nobody holds the other end; else as `sendmsg`.
    pub fn send_now(&self, kind: u8, bytes: &[u8], beside: &Beside) -> io::Result<()> {
        let descriptors = beside.iter().map(|one| one.as_fd());
        let kind = [kind];
        let record = [IoSlice::new(&kind), IoSlice::new(bytes)];
        match send(self.socket.as_fd(), &record, descriptors, SendFlags::DONTWAIT) {
            Ok(_) => Ok(()),
            Err(error) if is_crowded(&error) => {
                let reason =
                    "more descriptors are under way between processes than one user may have: receive some";
                Err(io::Error::other(reason))
            }
            Err(error) if is_end(&error) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(error),
        }
    }

    /// Takes a record, if there is one; `None` at the end, when nobody holds the other end.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet; `InvalidData` for one that is too long; else as `recvmsg`.
    pub fn receive_now(&self) -> io::Result<Option<Record>> {
        with_room(|room| {
            let received = receive(self.socket.as_fd(), room, RecvFlags::DONTWAIT)?;
            match room.get(..received.bytes) {
                Some([]) | None => Ok(None),
                Some(record) if record.len() == room.len() => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "a record longer than one may be"))
                }
                Some([kind, bytes @ ..]) => {
                    Ok(Some(Record { kind: *kind, bytes: bytes.to_vec(), beside: received.beside }))
                }
            }
        })
    }

    /// Whether nobody holds the other end any more.
    pub fn is_closed(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(rustix::net::recv(&*self.socket, &mut [0_u8; 1], flags), Ok((_, 0)) | Err(Errno::CONNRESET))
    }

    /// Runs `attempt` until it finds what it waits for.
    ///
    /// # Errors
    /// As `attempt`; or when this runtime cannot wait for the socket.
    pub async fn until<T>(&self, wait: Wait, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        let awaited = self.awaited()?;
        loop {
            let mut guard = match wait {
                Wait::Readable => awaited.readable().await?,
                Wait::Room => awaited.writable().await?,
            };
            if let Ok(done) = guard.try_io(|_| attempt()) {
                return done;
            }
        }
    }

    /// What this process waits by, for polling.
    ///
    /// # Errors
    /// When this runtime cannot wait for the socket.
    pub fn awaited(&self) -> io::Result<&AsyncFd<Socket>> {
        if let Some(awaited) = self.awaited.get() {
            return Ok(awaited);
        }
        let _registering = lock(&self.registering);
        if let Some(awaited) = self.awaited.get() {
            return Ok(awaited);
        }
        let socket = Socket(Arc::clone(&self.socket));
        let registered = register(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(self.awaited.get_or_init(|| registered))
    }

    /// The same on a thread that may block; `TimedOut` past `limit`.
    ///
    /// # Errors
    /// As `attempt`.
    pub fn block<T>(
        &self,
        wait: Wait,
        limit: Option<Duration>,
        attempt: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            poll(self.socket.as_fd(), wait, left)?;
        }
    }
}

fn poll(socket: BorrowedFd<'_>, wait: Wait, left: Option<Duration>) -> io::Result<()> {
    let flags = if wait == Wait::Readable { PollFlags::IN } else { PollFlags::OUT };
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(&mut [PollFd::new(&socket, flags)], left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// One room a thread, so that a record is copied into memory of its own size only.
fn with_room<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static ROOM: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
    }
    let mut room = ROOM.take();
    // A byte for the kind, and one that only a record that is too long fills.
    room.resize(RECORD_LIMIT + 2, 0);
    let result = read(&mut room);
    ROOM.set(room);
    result
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionRefused | NotConnected)
}
