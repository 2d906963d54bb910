//! One link on which this process sends, shared by all its callers.
//!
//! A caller encodes into the outbox under the lock. If nothing was written since the driver last ran, it writes to the
//! socket itself: a message leaves without a second task. What follows in the same turn of the runtime is collected,
//! and leaves in one write with the driver's next run, or as soon as a good deal has collected.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::pending::Pending;
use super::tampered::Tampered;
use super::{Node, Outcome, call};
use crate::Message;
use crate::clock;
use crate::delivery::frame_buffer::FrameBuffer;
use crate::delivery::outbox::{Outbox, Window};
use crate::error::{AskError, Executed, Unreachable};
use crate::fault::{self, Cut};
use crate::process::recorder::OutgoingRow;
use crate::sync::lock;
use crate::wire::codec::{self, EncodeError};
use crate::wire::control::{ThirdPartyReply, ToSupervisor};
use crate::wire::frame::{BODY_LIMIT, ExtensionSet, FrameError, IDEMPOTENT, Kind, Status};
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::{ActorId, Incarnation, LinkId, MessageKey, RawAddress, Sequence};
use crate::wire::passing::{self, Arrived, Beside};
use crate::wire::transport::{self, DataSocket, Received};

mod outcome;
mod receiver_end;

pub(crate) use outcome::failure;
use outcome::outcome;

/// So much collected is written at once, without waiting for the driver: large enough that the system call costs
/// little beside encoding, small enough that a busy handler's messages do not wait long.
const COLLECT: usize = 16 << 10;

/// When as many descriptors are under way as may be, the next attempt comes so much later: soon for a message, and
/// nothing for a processor.
const RETRY: Duration = Duration::from_millis(10);

/// How long a link whose socket has ended waits for the word that its receiver has died, before it asks for another
/// socket, and asks again. A death is told within some milliseconds.
const BROKEN: Duration = Duration::from_millis(200);

/// What is taken before the receiver's own window is known: less than the usual mailbox, so that nothing is refused for
/// which there is room, and a bound on what a smaller one gets beyond its own, once.
const FIRST_WINDOW: Window = Window { messages: 1024, bytes: 1 << 20 };

/// A link to one receiver, for as long as this process lives or until the receiver has ended for good.
pub(crate) struct OutLink {
    pub(crate) receiver: RawAddress,
    /// To this very process: it must not wait for room that only it can make.
    pub(crate) to_self: bool,
    node: Weak<Node>,
    pub(super) state: Mutex<State>,
    /// Room, or another phase.
    pub(crate) changed: Notify,
}

pub(super) enum Phase {
    /// The supervisor has been asked.
    Asked,
    /// Granted; the receiver has no process now.
    Waiting,
    /// Joined to an incarnation of the receiver.
    Up(Arc<DataSocket>),
    /// The receiver has ended for good, or was never to be had.
    Gone(Unreachable),
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) outbox: Outbox,
    pub(super) pending: Pending,
    pub(super) answers: FrameBuffer,
    pub(super) row: Option<OutgoingRow>,
    pub(super) link: Option<LinkId>,
    redelivery: u8,
    /// Everything up to here was settled when this incarnation of the receiver began.
    base: Sequence,
    /// The driver runs soon and will write what has collected.
    pub(super) burst: bool,
    /// The socket is full; the driver waits for room.
    pub(super) blocked: bool,
    /// The socket has ended; what is known of the receiver will come from the supervisor.
    pub(super) broken: bool,
    pub(super) driver: Option<Waker>,
    /// When the driver's timer fires.
    pub(super) armed: u64,
    /// Whether replies may come with descriptors.
    pub(super) descriptors: bool,
    /// When to write again although nobody says that there is room.
    pub(super) retry: u64,
    /// What a fault plan has made of frames, and is not written yet.
    pub(super) tampered: Option<Box<Tampered>>,
}

/// What became of a message that was offered to a link.
pub(crate) enum Offer<T> {
    /// Accepted.
    Accepted(T),
    /// No room now.
    Full,
    /// The supervisor has not answered yet.
    NotYet,
    /// Nobody to send to.
    Gone(Unreachable),
    /// It does not encode.
    Encode(EncodeError),
}

impl OutLink {
    pub(super) fn new(receiver: RawAddress, node: &Arc<Node>) -> Arc<OutLink> {
        Arc::new(OutLink {
            receiver,
            to_self: receiver.actor == node.identity.actor,
            node: Arc::downgrade(node),
            state: Mutex::new(State::new()),
            changed: Notify::new(),
        })
    }

    /// Offers a message that wants no reply. With `early`, it is taken even before the supervisor has answered.
    pub(crate) fn offer_tell<M: Message>(&self, message: &M, early: bool) -> Offer<()> {
        let mut state = lock(&self.state);
        if let Some(refused) = state.refuses(early) {
            return refused;
        }
        match state.append::<M>(Kind::Tell, message, &ExtensionSet::default()) {
            Ok(_) => Offer::Accepted(()),
            Err(e) => Offer::Encode(e),
        }
    }

    /// Offers a message that wants a reply until `deadline`.
    pub(crate) fn offer_ask<M: Message>(
        &self,
        message: &M,
        deadline: u64,
    ) -> Offer<oneshot::Receiver<Outcome>> {
        let mut state = lock(&self.state);
        if let Some(refused) = state.refuses(false) {
            return refused;
        }
        // Before the ask can be answered: what comes with a plain read is gone.
        state.descriptors |= M::REPLY_DESCRIPTORS;
        let appended = call::with_chain(|chain| {
            state.append::<M>(Kind::Ask, message, &ExtensionSet { deadline: Some(deadline), chain })
        });
        match appended {
            Ok(sequence) => {
                let receiver = state.pending.add(sequence, deadline);
                if deadline < state.armed {
                    state.armed = deadline;
                    state.wake_driver();
                }
                Offer::Accepted(receiver)
            }
            Err(e) => Offer::Encode(e),
        }
    }

    /// Sends the answer to another process's ask, or takes over the right to give it. Waits for no room: there are at
    /// most as many of these as asks were passed on to this process.
    pub(crate) fn send_answer(&self, kind: Kind, head: ThirdPartyReply, body: &[u8], beside: Beside) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Gone(_)) {
            return;
        }
        let appended = state.outbox.append(kind, 0, MessageKey(0), &ExtensionSet::default(), |out, _| {
            head.write(out);
            out.extend_from_slice(body);
            Ok::<_, EncodeError>(())
        });
        if let Ok(sequence) = appended {
            state.appended(sequence, beside);
        }
    }

    /// The supervisor has granted the link.
    pub(super) fn granted(&self, link: LinkId, slot: u32, window: Window, redelivery: u8) {
        let mut state = lock(&self.state);
        state.link = Some(link);
        state.redelivery = redelivery;
        state.outbox.set_window(window);
        state.row = self.node.upgrade().and_then(|node| OutgoingRow::new(&node.recorder, slot));
        if let Some(row) = &state.row {
            row.appended(state.outbox.appended());
        }
        state.phase = Phase::Waiting;
        self.changed.notify_waiters();
    }

    /// An incarnation of the receiver is there: everything that waits is sent to it. There is no socket when this process
    /// had no descriptor left to take it.
    pub(super) fn up(&self, socket: Option<OwnedFd>, _incarnation: Incarnation) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Gone(_)) {
            return;
        }
        let taken =
            socket.ok_or_else(|| io::Error::other("no descriptor is left for it")).and_then(DataSocket::new);
        let introduced = taken.and_then(|socket| {
            let hello = Hello { role: Role::Link, system: self.receiver.system }.encode();
            // A fresh socket has room for these sixteen bytes.
            socket.try_write(&hello, &[]).map(|_| socket)
        });
        // Made again although both ends live: the replies in the old socket count, and what is not settled is sent again.
        if matches!(state.phase, Phase::Up(_)) {
            self.drain(&mut state);
            state.outbox.link_lost();
        }
        match introduced {
            Ok(socket) => {
                state.phase = Phase::Up(Arc::new(socket));
                state.answers = FrameBuffer::new();
                (state.blocked, state.broken, state.tampered) = (false, false, None);
                state.flush();
                state.wake_driver();
            }
            // Either it has died already, and the supervisor joins the two again at its next start; or another socket is
            // asked for.
            Err(error) => {
                tracing::debug!(%error, "a link could not be taken up");
                state.phase = Phase::Waiting;
                state.ended();
            }
        }
        self.changed.notify_waiters();
    }

    /// Asks for a fresh socket, if this one has ended and nobody has said why.
    pub(super) fn report_broken(&self, state: &mut State) {
        if let (true, false, Some(link)) = (state.broken, state.is_over(), state.link) {
            state.retry = clock::after(BROKEN);
            if let Some(node) = self.node.upgrade() {
                node.say(&ToSupervisor::LinkBroken { link });
            }
        }
    }

    /// Waits until nothing sent on this link is unsettled.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = lock(&self.state);
                if state.outbox.waiting() == 0 || matches!(state.phase, Phase::Gone(_)) {
                    return;
                }
            }
            changed.await;
        }
    }

    pub(super) fn holder_died(&self, holder: ActorId) {
        let error = || AskError::NoReply;
        lock(&self.state).pending.holder_died(holder, error);
    }

    /// A third party has answered an ask of this link.
    pub(super) fn answered(&self, sequence: Sequence, status: Status, body: &[u8], beside: Arrived) {
        lock(&self.state).pending.end(sequence, outcome(status, body, beside));
    }

    /// A third party says that it holds the right to answer.
    pub(super) fn adopted(&self, sequence: Sequence, holder: ActorId) {
        lock(&self.state).pending.adopted(sequence, holder);
    }

    /// Reads what the socket still holds, to its end or to where it would wait.
    fn drain(&self, state: &mut State) {
        let Phase::Up(socket) = &state.phase else { return };
        let socket = Arc::clone(socket);
        while let Ok(read) = socket.read_now(state.answers.space(), state.descriptors) {
            if read.bytes == 0 {
                break;
            }
            self.absorb(state, read);
        }
    }

    /// Takes in what has come from the receiver.
    pub(super) fn absorb(&self, state: &mut State, read: Received) {
        if let Err(error) = state.take_answers(read) {
            state.broken = true;
            if let (Some(node), Some(link)) = (self.node.upgrade(), state.link) {
                node.say(&ToSupervisor::BadPeer { link, reason: error.to_string() });
            }
        }
        self.changed.notify_waiters();
    }
}

impl State {
    pub(super) fn new() -> State {
        State {
            phase: Phase::Asked,
            outbox: Outbox::new(FIRST_WINDOW, BODY_LIMIT),
            pending: Pending::default(),
            answers: FrameBuffer::new(),
            row: None,
            link: None,
            redelivery: 1,
            base: Sequence::ZERO,
            burst: false,
            blocked: false,
            broken: false,
            driver: None,
            armed: u64::MAX,
            descriptors: false,
            retry: u64::MAX,
            tampered: None,
        }
    }

    fn refuses<T>(&self, early: bool) -> Option<Offer<T>> {
        match &self.phase {
            Phase::Gone(reason) => Some(Offer::Gone(reason.clone())),
            Phase::Asked if !early => Some(Offer::NotYet),
            _ if !self.outbox.has_room() => Some(Offer::Full),
            _ => None,
        }
    }

    fn append<M: Message>(
        &mut self,
        kind: Kind,
        message: &M,
        extensions: &ExtensionSet<'_>,
    ) -> Result<Sequence, EncodeError> {
        let flags = if M::IDEMPOTENT { IDEMPOTENT } else { 0 };
        let outbox = &mut self.outbox;
        let (sequence, beside) = passing::collecting_if(M::DESCRIPTORS, || {
            outbox
                .append(kind, flags, M::KEY, extensions, |out, limit| codec::encode_into(message, out, limit))
        });
        let sequence = sequence?;
        self.appended(sequence, beside);
        Ok(sequence)
    }

    fn appended(&mut self, sequence: Sequence, beside: Beside) {
        if !beside.is_empty() {
            self.outbox.attach(beside);
        }
        if let Some(row) = &self.row {
            row.appended(sequence);
        }
        if !self.burst {
            self.flush();
            self.burst = true;
            self.wake_driver();
        } else if self.outbox.unsent().len() >= COLLECT {
            self.flush();
        }
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) {
        let Phase::Up(socket) = &self.phase else { return };
        if self.blocked || self.broken {
            return;
        }
        if self.tampered.is_some() || fault::looks_at(&Cut::Sent) {
            self.flush_tampered();
            return;
        }
        if self.outbox.unsent().is_empty() {
            return;
        }
        while !self.outbox.unsent().is_empty() {
            let (bytes, beside) = self.outbox.next_write();
            match socket.try_write(bytes, beside) {
                Ok(written) => self.outbox.wrote(written),
                Err(error) => {
                    self.held_up(&error);
                    break;
                }
            }
        }
        if let Some(row) = &self.row {
            row.sent(self.outbox.sent());
        }
        if self.blocked {
            self.armed = self.armed.min(self.retry);
            self.wake_driver();
        }
    }

    /// A write went no further.
    pub(super) fn held_up(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.blocked = true;
        } else if transport::is_crowded(error) {
            // Others must read first, and none of them will say so here.
            self.blocked = true;
            self.retry = clock::after(RETRY);
        } else {
            // Nobody reads any more: the supervisor will say why.
            self.ended();
        }
    }

    /// The socket has ended. What is known of the receiver will come from the supervisor; if nothing comes soon, it
    /// lives, and the supervisor is told.
    pub(super) fn ended(&mut self) {
        if !std::mem::replace(&mut self.broken, true) {
            self.retry = clock::after(BROKEN);
            self.armed = self.armed.min(self.retry);
            self.wake_driver();
        }
    }

    pub(super) fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    pub(super) fn take_answers(&mut self, read: Received) -> Result<(), FrameError> {
        let State { answers, outbox, pending, .. } = self;
        answers.filled(read.bytes);
        if !read.beside.is_empty() {
            answers.came_beside(read.bytes, read.beside)?;
        }
        while let Some((frame, beside)) = answers.next_frame(BODY_LIMIT)? {
            let sequence = frame.header.sequence;
            match frame.header.kind {
                Kind::Ack => {
                    outbox.acknowledge(sequence)?;
                }
                Kind::Reply => {
                    let status = Status::from_byte(frame.header.flags).ok_or(FrameError::Reserved)?;
                    if status == Status::WouldDeadlock {
                        // Refused before its turn: what stands before it still waits, and it must not run later.
                        outbox.withdraw(sequence)?;
                    } else {
                        outbox.acknowledge(sequence)?;
                    }
                    pending.end(sequence, outcome(status, frame.body, beside));
                }
                Kind::Forwarded => {
                    outbox.acknowledge(sequence)?;
                    pending.forwarded(sequence);
                }
                kind => return Err(FrameError::Unexpected(kind)),
            }
        }
        Ok(())
    }

    /// Ends the asks whose time is up and sets when to look again.
    pub(super) fn expire(&mut self, now: u64) {
        let sent = self.outbox.sent();
        let next =
            self.pending.expire(now, |sequence| if sequence > sent { Executed::No } else { Executed::Maybe });
        self.armed = next.unwrap_or(u64::MAX).min(self.retry);
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Gone(_))
    }
}
