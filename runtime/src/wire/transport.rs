//! Sockets: the only file that names interprocess.
//!
//! Control links are interprocess streams over an inherited socketpair: asynchronous in the supervisor and in the
//! program ([`ControlStream`]), blocking in an actor process, where one thread does nothing but read
//! ([`BlockingControl`]). Descriptors travel on them, so every read is a `recvmsg`: a plain read would discard them.
//!
//! Data links carry descriptors too. They are bare sockets ([`DataSocket`]) registered for both directions. The kernel then wakes the sender each time
//! the receiver takes something from the socket; that is wanted: it brings the sender's core out of its sleep while the
//! receiver still works, so that the reply finds it awake (an ask on two cores: 1.1 instead of 1.4 of a bare ping-pong).
//! Control links are registered for reading only: nobody waits there by the microsecond.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::traits::StreamCommon;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::{
    Stream as BlockingStream,
    tokio::{Listener as AsyncListener, Stream as AsyncStream},
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::control::DESCRIPTORS;
use super::passing::{Arrived, InOrder};
use crate::fault::{self, Call};

/// A control link's end in the supervisor or the program.
///
/// Registered for reading only, as a data link is: room is watched for only while there is none.
#[derive(Debug)]
pub struct ControlStream(AsyncFd<Registered>);

/// The reactor asks for a number, and interprocess gives a borrowed descriptor.
#[derive(Debug)]
struct Registered(BlockingStream);

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl ControlStream {
    /// Attaches to a system that listens.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let name = path.to_fs_name::<GenericFilePath>()?;
        ControlStream::from_stream(AsyncStream::connect(name).await?)
    }

    fn from_stream(stream: AsyncStream) -> io::Result<Self> {
        ControlStream::new(OwnedFd::try_from(stream)?)
    }

    /// Takes over a connected socket and makes it non-blocking.
    ///
    /// # Errors
    /// When it cannot be registered with the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        fault::call(Call::WatchControl)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(ControlStream(register(Registered(BlockingStream::from(socket)), Interest::READABLE)?))
    }

    /// Reads into `buffer`, and descriptors into `descriptors`; 0 at the end. A peer that left unread data behind
    /// ends with a reset: that is an end too.
    ///
    /// # Errors
    /// As `recvmsg`.
    pub async fn read(&self, buffer: &mut [u8], descriptors: &mut InOrder) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.try_read(buffer, descriptors) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // Even if it did not fill the buffer: a read stops where descriptors begin or end, with more behind it.
                read => return read,
            }
        }
    }

    /// Reads what is there now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is; else as `recvmsg`.
    pub fn try_read(&self, buffer: &mut [u8], descriptors: &mut InOrder) -> io::Result<usize> {
        Ok(control(receive(self.0.get_ref().0.as_fd(), buffer, RecvFlags::empty())?, descriptors))
    }

    /// Writes what fits now; the descriptors go with the first byte.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; else as `sendmsg`.
    pub fn try_write(&self, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
        send(
            self.0.get_ref().0.as_fd(),
            &[IoSlice::new(bytes)],
            descriptors.iter().map(AsFd::as_fd),
            SendFlags::empty(),
        )
    }

    /// Ends the conversation: both sides see that nothing more will come.
    pub fn end(&self) {
        // It may have ended already.
        let _ = rustix::net::shutdown(self.0.get_ref().0.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Waits until something fits, perhaps a little less than could be written.
    ///
    /// # Errors
    /// When no descriptor is to be had for the watch.
    pub async fn writable(&self) -> io::Result<()> {
        let room = Room::watch(self.0.get_ref().0.as_fd())?;
        std::future::poll_fn(|cx| room.poll(cx)).await
    }

    /// A second descriptor, for writing from other threads.
    ///
    /// # Errors
    /// As `dup`.
    pub fn writer(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(self.0.get_ref().0.as_fd(), 3)?)
    }
}

/// Listens for programs that attach from outside.
#[derive(Debug)]
pub struct Door(AsyncListener);

impl Door {
    /// Binds the socket, for this user only. The path must be free.
    ///
    /// # Errors
    /// As `bind`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.to_fs_name::<GenericFilePath>()?;
        // Never `try_overwrite`: it would displace a live listener.
        ListenerOptions::new().name(name).mode(0o600).reclaim_name(false).create_tokio_as().map(Door)
    }

    /// Waits for the next one and checks that it runs as this user.
    ///
    /// # Errors
    /// `PermissionDenied` for another user; else as `accept`.
    pub async fn accept(&self) -> io::Result<ControlStream> {
        fault::call(Call::Accept)?;
        let stream = self.0.accept().await?;
        let creds = stream.peer_creds()?;
        if creds.euid() != Some(rustix::process::geteuid().as_raw()) {
            let who = format!("a program of user {:?} was turned away", creds.euid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, who));
        }
        ControlStream::from_stream(stream)
    }
}

/// A control link's end in an actor process.
#[derive(Debug)]
pub struct BlockingControl(BlockingStream);

impl BlockingControl {
    /// Takes over a connected socket and makes it blocking.
    ///
    /// # Errors
    /// As `fcntl`.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, false)?;
        Ok(BlockingControl(BlockingStream::from(socket)))
    }

    /// Waits for bytes; 0 at the end.
    ///
    /// # Errors
    /// As `recvmsg`.
    pub fn read(&self, buffer: &mut [u8], descriptors: &mut InOrder) -> io::Result<usize> {
        Ok(control(receive(self.0.as_fd(), buffer, RecvFlags::empty())?, descriptors))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As `sendmsg`.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        write_all(self.0.as_fd(), bytes, &[])
    }

    /// A second descriptor, for writing from other threads.
    ///
    /// # Errors
    /// As `dup`.
    pub fn writer(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.0, 3)?)
    }
}

/// Writes all of `bytes` to a socket, blocking or not, waiting for room where it is full; the descriptors go with the
/// first byte.
///
/// # Errors
/// As `sendmsg`.
pub fn write_all(
    socket: BorrowedFd<'_>,
    mut bytes: &[u8],
    mut descriptors: &[Arc<OwnedFd>],
) -> io::Result<()> {
    while !bytes.is_empty() {
        let beside = descriptors.iter().map(|descriptor| descriptor.as_fd());
        match send(socket, &[IoSlice::new(bytes)], beside, SendFlags::empty()) {
            Ok(written) => (bytes, descriptors) = (&bytes[written..], &[]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let mut wait =
                    [rustix::event::PollFd::from_borrowed_fd(socket, rustix::event::PollFlags::OUT)];
                match rustix::event::poll(&mut wait, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What one read brought.
#[derive(Debug)]
pub struct Received {
    /// How many bytes; 0 at the end.
    pub bytes: usize,
    /// What came with them, or with the last of them.
    pub beside: Arrived,
}

impl Received {
    fn bytes(bytes: usize) -> Received {
        Received { bytes, beside: Arrived::default() }
    }
}

/// Reads once. The kernel writes nothing where descriptors would go unless some come, so that space needs no zeroes.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut slices, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => {
                return Ok(Received { bytes: 0, beside: Arrived::default() });
            }
            other => break other?,
        }
    };
    let mut beside = Arrived::default();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            beside.descriptors.extend(descriptors);
        }
    }
    beside.cut = received.flags.contains(rustix::net::ReturnFlags::CTRUNC);
    Ok(Received { bytes: received.bytes, beside })
}

/// Reads a control link by its descriptor.
#[cfg(feature = "fuzzing")]
pub fn read_control(socket: BorrowedFd<'_>, buffer: &mut [u8], into: &mut InOrder) -> io::Result<usize> {
    Ok(control(receive(socket, buffer, RecvFlags::empty())?, into))
}

/// On a control link each write has the descriptors of one frame, so that a mark is enough to know which have gone.
fn control(received: Received, into: &mut InOrder) -> usize {
    into.extend(received.beside.descriptors.into_iter().map(Some));
    if received.beside.cut {
        into.push_back(None);
    }
    received.bytes
}

pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    descriptors: impl Iterator<Item = BorrowedFd<'a>>,
    flags: SendFlags,
) -> io::Result<usize> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one frame"));
    }
    loop {
        match rustix::net::sendmsg(socket, slices, &mut ancillary, flags | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

// Deprecated in favour of an unsafe constructor, for types that may lie about their descriptor; these do not.
#[allow(deprecated)]
pub(super) fn register<S: AsRawFd>(socket: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(socket, interest)
}

/// One end of a data link.
#[derive(Debug)]
pub struct DataSocket(AsyncFd<OwnedFd>);

impl DataSocket {
    /// Takes over a connected, non-blocking socket; must be called within the runtime that will read it.
    ///
    /// # Errors
    /// When it cannot be registered with the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        fault::call(Call::WatchLink)?;
        Ok(DataSocket(register(socket, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Reads into `space` as soon as something is there; 0 bytes at the end. A read that does not fill `space` has
    /// emptied the socket, so the next one waits without trying first; but one that brings descriptors stops there.
    ///
    /// # Errors
    /// As [`read_now`](Self::read_now).
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        space: &mut [u8],
        descriptors: bool,
    ) -> Poll<io::Result<Received>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match self.read_now(space, descriptors) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Ok(read) => {
                    if read.bytes > 0 && read.bytes < space.len() && read.beside.is_empty() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Reads what is there now, past the reactor. Without `descriptors` the kernel closes those that come; then it is a
    /// fifth of a microsecond faster, of some thirty that an ask takes with two reads.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else as `recvmsg`.
    pub fn read_now(&self, space: &mut [u8], descriptors: bool) -> io::Result<Received> {
        fault::call(Call::ReadLink)?;
        if descriptors {
            return receive(self.0.as_fd(), space, RecvFlags::DONTWAIT);
        }
        loop {
            match rustix::net::recv(&self.0, &mut *space, RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(Received::bytes(0)),
                other => return Ok(Received::bytes(other?.0)),
            }
        }
    }

    /// Closes the connection for both ends, while the descriptor stays. It is what a fault plan may want.
    pub fn shut(&self) {
        // It is connected, and more than ended it cannot be.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Writes what fits now; the descriptors go with the first byte.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; `BrokenPipe` when nobody reads; else as `sendmsg`: see [`is_crowded`].
    pub fn try_write(&self, bytes: &[u8], beside: &[Arc<OwnedFd>]) -> io::Result<usize> {
        fault::call(Call::WriteLink)?;
        if !beside.is_empty() {
            return send(
                self.0.as_fd(),
                &[IoSlice::new(bytes)],
                beside.iter().map(|one| one.as_fd()),
                SendFlags::DONTWAIT,
            );
        }
        loop {
            match rustix::net::send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// A watch for room, for as long as the socket is full.
    ///
    /// # Errors
    /// When no descriptor is to be had.
    pub fn watch_room(&self) -> io::Result<Room> {
        fault::call(Call::WatchRoom)?;
        Room::watch(self.0.as_fd())
    }
}

/// Whether a write failed because this user has as many descriptors under way between processes as may be.
pub fn is_crowded(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::TOOMANYREFS)
}

/// Waits until a full [`DataSocket`] has room again.
#[derive(Debug)]
pub struct Room(AsyncFd<OwnedFd>);

impl Room {
    fn watch(socket: BorrowedFd<'_>) -> io::Result<Room> {
        let twin = rustix::io::fcntl_dupfd_cloexec(socket, 3)?;
        Ok(Room(register(twin, Interest::WRITABLE)?))
    }

    /// Ready when there is room.
    ///
    /// # Errors
    /// As the runtime's reactor.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.0.poll_write_ready(cx))?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}
