//! One link on which this process is sent to: bytes in, acknowledgements and replies out.
//!
//! It does not decide what is handled when; the mailbox does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker};

use crate::delivery::inbox::Inbox;
use crate::fault::{Effect, tamper};
use crate::process::recorder::IncomingRow;
use crate::wire::codec::EncodeError;
use crate::wire::frame::{self, BODY_LIMIT, ExtensionSet, FrameError, Header, Kind, Status};
use crate::wire::hello::{self, Hello, HelloError, Role};
use crate::wire::ids::{ActorId, LinkId, MessageKey, RawAddress, Sequence, SystemId};
use crate::wire::passing::Beside;
use crate::wire::transport::{self, DataSocket, Received, Room};

/// Replies and acknowledgements that one sender may leave unread. Beyond it, its messages wait: a sender that does not
/// read its replies must not fill the receiver's memory.
const REPLY_BUDGET: usize = 4 << 20;

/// An incoming link.
pub(crate) struct InLink {
    pub(crate) id: LinkId,
    pub(crate) sender: ActorId,
    pub(crate) reply_address: RawAddress,
    pub(crate) answers_only: bool,
    /// Whether messages may come with descriptors.
    descriptors: bool,
    pub(crate) inbox: Inbox,
    pub(crate) row: IncomingRow,
    socket: DataSocket,
    /// Bytes of the sender's hello that are still to come.
    hello: Vec<u8>,
    introduced: bool,
    out: Vec<u8>,
    /// Of `out`.
    written: usize,
    /// Where in `out` the replies begin that have descriptors.
    beside: VecDeque<(usize, Beside)>,
    room: Option<Room>,
    /// Wakes the place of this link in the mailbox.
    waker: Waker,
    /// Processed, and not acknowledged yet.
    unacknowledged: u32,
    acknowledge_every: u32,
    settled: Sequence,
    /// Asks that were refused before their turn came, in order.
    pub(crate) refused: VecDeque<Sequence>,
    /// The socket has ended.
    pub(crate) ended: bool,
    /// The sender has died: once everything is handled, the link is drained.
    pub(crate) closing: bool,
}

/// What an [`InLink`] is made of.
pub(crate) struct Parts {
    pub(crate) id: LinkId,
    pub(crate) sender: ActorId,
    pub(crate) reply_address: RawAddress,
    pub(crate) answers_only: bool,
    pub(crate) descriptors: bool,
    pub(crate) resume_after: Sequence,
    pub(crate) window_messages: u32,
    pub(crate) row: IncomingRow,
    pub(crate) socket: OwnedFd,
    pub(crate) waker: Waker,
}

/// Why a link's bytes are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

impl InLink {
    pub(crate) fn new(parts: Parts) -> io::Result<InLink> {
        Ok(InLink {
            id: parts.id,
            sender: parts.sender,
            reply_address: parts.reply_address,
            answers_only: parts.answers_only,
            descriptors: parts.descriptors,
            inbox: Inbox::new(parts.resume_after, BODY_LIMIT),
            row: parts.row,
            socket: DataSocket::new(parts.socket)?,
            hello: Vec::new(),
            introduced: false,
            out: Vec::new(),
            written: 0,
            beside: VecDeque::new(),
            waker: parts.waker,
            room: None,
            unacknowledged: 0,
            // A sender never has to wait for an acknowledgement before half its window is free.
            acknowledge_every: (parts.window_messages / 2).max(1),
            settled: parts.resume_after,
            refused: VecDeque::new(),
            ended: false,
            closing: false,
        })
    }

    /// Goes on with a fresh socket to the same life of the sender. What has not been handled is sent again; replies that
    /// are not out yet go on it from the beginning of the first that is not out to its end.
    pub(crate) fn rejoin(&mut self, socket: OwnedFd) -> io::Result<()> {
        self.socket = DataSocket::new(socket)?;
        self.inbox = Inbox::new(self.inbox.last(), BODY_LIMIT);
        self.hello.clear();
        (self.introduced, self.ended, self.room) = (false, false, None);
        let begun = frame::boundary_before(&self.out, self.written);
        if begun < self.written
            && frame::peek(&self.out[begun..]).is_some_and(|(_, header)| header.descriptors > 0)
        {
            // Its descriptors went with its first byte, and nobody has them now.
            frame::cut_reply(&mut self.out[begun..]);
        }
        self.out.drain(..begun);
        self.beside.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(begun));
        self.written = 0;
        // What was acknowledged on the old socket may not have arrived.
        self.unacknowledged += u32::from(self.settled > Sequence::ZERO);
        self.acknowledge();
        Ok(())
    }

    /// Reads once. `Ready(true)` if something came.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        system: SystemId,
    ) -> Poll<Result<bool, LinkError>> {
        if self.ended || self.out.len() - self.written > REPLY_BUDGET {
            return Poll::Pending;
        }
        match self.socket.poll_read(cx, self.inbox.space(), self.descriptors) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => Poll::Ready(self.took(read, system)),
        }
    }

    /// Reads what is there now, to the end or to where it would wait; for a link whose sender has died.
    pub(crate) fn read_rest(&mut self, system: SystemId) -> Result<(), LinkError> {
        while !self.ended {
            match self.socket.read_now(self.inbox.space(), self.descriptors) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.ended = true,
                read => {
                    self.took(read, system)?;
                }
            }
        }
        Ok(())
    }

    fn took(&mut self, read: io::Result<Received>, system: SystemId) -> Result<bool, LinkError> {
        match read {
            Ok(read) if read.bytes > 0 => {
                self.inbox.filled(read.bytes);
                if !read.beside.is_empty() {
                    self.inbox.came_beside(read.bytes, read.beside)?;
                }
                if !self.introduced {
                    self.introduce(system)?;
                }
                Ok(self.introduced)
            }
            // The end, or an error that ends it as well; the supervisor says what it means.
            _ => {
                self.end();
                Ok(false)
            }
        }
    }

    fn introduce(&mut self, system: SystemId) -> Result<(), LinkError> {
        self.inbox.take_raw(hello::LENGTH - self.hello.len(), &mut self.hello);
        if let Some(bytes) = self.hello.first_chunk::<{ hello::LENGTH }>() {
            Hello::check(bytes, Role::Link, system)?;
            self.introduced = true;
        }
        Ok(())
    }

    /// The message of this sequence is settled: acknowledged now if many are, else with the next reply or at the end
    /// of the batch.
    pub(crate) fn settle(&mut self, sequence: Sequence) {
        self.settled = sequence;
        self.unacknowledged += 1;
        if self.unacknowledged >= self.acknowledge_every {
            self.acknowledge();
        }
    }

    /// Acknowledges what is settled and not acknowledged yet.
    pub(crate) fn acknowledge(&mut self) {
        if self.unacknowledged == 0 {
            return;
        }
        self.unacknowledged = 0;
        let sequence = self.settled;
        self.put(Kind::Ack, 0, sequence, &[], Beside::new());
        self.flush();
    }

    /// Sends a reply. It reaches the kernel before this returns, unless the sender has stopped reading its replies.
    pub(crate) fn reply(
        &mut self,
        sequence: Sequence,
        status: Status,
        (body, beside): (&[u8], Beside),
        settles: bool,
    ) {
        if settles {
            // The reply acknowledges its ask and everything before it.
            self.settled = sequence;
            self.unacknowledged = 0;
        }
        self.put(Kind::Reply, status as u8, sequence, body, beside);
        self.flush();
    }

    /// Sends a reply as a fault plan wants it.
    pub(crate) fn tampered_reply(
        &mut self,
        sequence: Sequence,
        status: Status,
        (body, beside): (&[u8], Beside),
        settles: bool,
        effect: Effect,
    ) {
        let start = self.out.len();
        self.put(Kind::Reply, status as u8, sequence, body, beside);
        match effect {
            Effect::Drop => {
                self.out.truncate(start);
                self.beside.retain(|(at, _)| *at < start);
                if settles {
                    self.settle(sequence);
                }
                self.flush();
                return;
            }
            Effect::Close => self.socket.shut(),
            effect => tamper::tamper(&mut self.out, start, effect),
        }
        if settles {
            (self.settled, self.unacknowledged) = (sequence, 0);
        }
        self.flush();
    }

    /// Tells the sender that somebody else will answer.
    pub(crate) fn forwarded(&mut self, sequence: Sequence) {
        self.put(Kind::Forwarded, 0, sequence, &[], Beside::new());
        self.flush();
    }

    fn put(&mut self, kind: Kind, flags: u8, sequence: Sequence, body: &[u8], beside: Beside) {
        // There are at most as many as fit in one body.
        let descriptors = u8::try_from(beside.len()).unwrap_or(u8::MAX);
        let header = Header { kind, flags, attempt: 0, descriptors, sequence, key: MessageKey(0) };
        if !beside.is_empty() {
            self.beside.push_back((self.out.len(), beside));
        }
        // Appending bytes cannot fail.
        let _ = frame::append(&mut self.out, &header, &ExtensionSet::default(), |out| {
            out.extend_from_slice(body);
            Ok::<_, EncodeError>(())
        });
    }

    fn flush(&mut self) {
        self.write_out();
        if self.is_congested() {
            self.wait_for_room();
        }
    }

    fn write_out(&mut self) {
        while self.written < self.out.len() {
            // A write begins with a reply that has descriptors, and ends before one.
            let (stop, beside): (usize, &[_]) = match (self.beside.front(), self.beside.get(1)) {
                (Some((at, beside)), next) if *at == self.written => {
                    (next.map_or(self.out.len(), |(at, _)| *at), beside)
                }
                (next, _) => (next.map_or(self.out.len(), |(at, _)| *at), &[]),
            };
            match self.socket.try_write(&self.out[self.written..stop], beside) {
                Ok(n) => {
                    if !beside.is_empty() {
                        self.beside.pop_front();
                    }
                    self.written += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Its asker is told at once: others must read first, and none of them will say so here.
                Err(e) if transport::is_crowded(&e) => {
                    frame::cut_reply(&mut self.out[self.written..]);
                    self.beside.pop_front();
                }
                // Nobody reads: the asks end by their sender's death, or the replies go on its next socket.
                Err(_) => {
                    self.end();
                    return;
                }
            }
        }
        self.nothing_waits();
    }

    /// The socket is of no more use. If the sender lives it sees that, and asks for another.
    fn end(&mut self) {
        self.ended = true;
        self.room = None;
        if !self.closing {
            self.socket.shut();
        }
    }

    fn nothing_waits(&mut self) {
        self.out.clear();
        self.beside.clear();
        self.written = 0;
    }

    /// Whether replies wait for room in the socket.
    pub(crate) fn is_congested(&self) -> bool {
        !self.out.is_empty()
    }

    /// Writes waiting replies as room comes; until all are out, room wakes the link.
    pub(crate) fn wait_for_room(&mut self) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while self.is_congested() && !self.ended {
            if self.room.is_none() {
                match self.socket.watch_room() {
                    Ok(room) => self.room = Some(room),
                    Err(error) => {
                        tracing::warn!(%error, "cannot wait for room on a link; its replies are dropped");
                        self.nothing_waits();
                        return;
                    }
                }
            }
            match self.room.as_ref().map(|room| room.poll(&mut cx)) {
                Some(Poll::Ready(_)) => self.write_out(),
                _ => return,
            }
        }
        self.room = None;
    }
}
