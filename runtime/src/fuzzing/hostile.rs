//! What a process can say, as bytes: to begin fuzzing with, and for peers that say it wrongly.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::RecvFlags;
use serde::{Serialize, de::DeserializeOwned};

use crate::delivery::frame_buffer::FrameBuffer;
use crate::delivery::inbox::Inbox;
use crate::event::{Down, Membership};
use crate::process::child::Limits;
use crate::report::{Exit, Panic};
use crate::spec::Window;
use crate::wire::codec;
use crate::wire::control::{
    Administration, Answer, Arguments, DeadLetterReason, Refusal, Request, Ticket, ToPeer, ToSupervisor,
};
use crate::wire::conversation::{self, Listener};
use crate::wire::frame::BODY_LIMIT;
use crate::wire::hello::{self, Hello, Role};
use crate::wire::ids::{
    ActorId, Capability, Incarnation, LinkId, MessageKey, RawAddress, Sequence, SystemId,
};
use crate::wire::transport;
use crate::{SystemError, Unreachable};

/// Control frames, each under its name.
pub type Frames = Vec<(&'static str, Vec<u8>)>;

/// Every question that a program from outside may ask, or may not; those about an address are about this one, as it
/// stands in a message.
pub fn requests(address: Option<&[u8]>) -> Frames {
    let address = address.map_or(SOMEBODY, again);
    let name = || "somebody".to_owned();
    let wait = Duration::from_millis(1);
    let questions = [
        ("link", Request::Link { address }),
        ("monitor", Request::Monitor { address }),
        ("demonitor", Request::Demonitor { monitor: 1 }),
        ("find", Request::Find { name: name(), protocol: 7 }),
        ("wait-for", Request::WaitFor { name: name(), protocol: 7, wait }),
        ("stop-waiting", Request::StopWaiting { number: 1 }),
        ("register", Request::Register { name: name(), address }),
        ("unregister", Request::Unregister { name: name() }),
        ("join", Request::Join { group: name() }),
        ("leave", Request::Leave { group: name() }),
        ("watch", Request::Watch { group: name(), watch: 1, protocol: Some(7) }),
        ("unwatch", Request::Unwatch { watch: 1 }),
        ("info", Request::Info { actor: address.actor }),
        ("list", Request::List),
        ("ledger", Request::Ledger { actor: None }),
        ("events", Request::Events),
        ("listen", Request::Listen { name: name() }),
        ("shutdown", Request::Shutdown),
        ("administer", Request::Administer { path: name(), act: Administration::Spec }),
        ("tree", Request::Tree { path: None }),
        ("fate-link", Request::FateLink { address }),
        ("fate-unlink", Request::FateUnlink { address }),
        ("own-child", Request::OwnChild { name: name(), protocol: 7 }),
    ];
    let numbered = (1..).zip(questions);
    numbered
        .map(|(number, (name, request))| (name, said(&ToSupervisor::Request { number, request })))
        .collect()
}

/// Everything else that a process says to its supervisor.
pub fn words() -> Frames {
    let link = LinkId(1);
    let text = || "some text".to_owned();
    let panic = Panic { message: text(), location: text(), thread: text(), backtrace: None };
    let receiver = ActorId(1);
    let (key, reason) = (MessageKey(7), DeadLetterReason::InDoubt);
    [
        ("ready", ToSupervisor::Ready { protocol: vec![(key, text())], info: Some(vec![1, 2, 3]) }),
        ("start-failed", ToSupervisor::StartFailed { error: text() }),
        ("declined", ToSupervisor::Declined { reason: text() }),
        ("panicked", ToSupervisor::Panicked(panic)),
        ("goodbye", ToSupervisor::Goodbye { finished: true }),
        ("link-drained", ToSupervisor::LinkDrained { link }),
        ("answered-in-hand", ToSupervisor::AnsweredInHand { link }),
        ("processed-untold", ToSupervisor::ProcessedUntold { link, processed: u64::MAX }),
        ("link-forgotten", ToSupervisor::LinkForgotten { link }),
        ("bad-peer", ToSupervisor::BadPeer { link, reason: text() }),
        ("dead-letters", ToSupervisor::DeadLetters { link, receiver, reason, key, count: u64::MAX }),
        ("stack", ToSupervisor::Stack { text: Some(text()) }),
    ]
    .map(|(name, word)| (name, said(&word)))
    .into()
}

/// What a supervisor says.
pub fn tickets() -> Frames {
    let link = LinkId(1);
    let name = || "somebody".to_owned();
    let (actor, incarnation) = (ActorId(3), Incarnation(1));
    let window = Window { messages: 8, bytes: 1 << 20 };
    let ticket = Ticket {
        system: SystemId(7),
        actor,
        incarnation,
        capability: Capability(11),
        name: name(),
        parent_process: 1,
        image: remade(&(1_u64, 2_u64, 3_i64, 4_i64, Some(vec![5_u8; 20]))),
        heading: true,
        code: Some(remade(&(4096_i64, 7_u64))),
        arguments: remade(&(vec![1_u8, 2, 3], Vec::<u8>::new())),
        protocol: 7,
        limits: Limits { memory: Some(1 << 30), descriptors: None },
    };
    let outside = Ticket {
        code: None,
        arguments: Arguments::default(),
        name: name(),
        image: ticket.image.clone(),
        ..ticket
    };
    let granted = Answer::Link { link, slot: 1, window, redelivery: 3 };
    let down = Down { monitor: 1, actor, name: name(), incarnation, exit: Exit::Stopped };
    let _: Option<Membership> = None;
    [
        ("ticket", ToPeer::Start(Box::new(ticket))),
        ("ticket-for-outside", ToPeer::Start(Box::new(outside))),
        ("done", ToPeer::Answer { number: 1, answer: Ok(Answer::Done) }),
        ("address", ToPeer::Answer { number: 1, answer: Ok(Answer::Address(SOMEBODY)) }),
        ("granted", ToPeer::Answer { number: 1, answer: Ok(granted) }),
        (
            "refused",
            ToPeer::Answer { number: 1, answer: Err(Refusal::System(SystemError::NoSuchName(name()))) },
        ),
        ("link-up", ToPeer::LinkUp { link, incarnation }),
        ("link-gone", ToPeer::LinkGone { link, reason: Unreachable::ShuttingDown }),
        (
            "incoming-up",
            ToPeer::IncomingUp {
                link,
                sender: actor,
                slot: 1,
                resume_after: Sequence(4),
                window: crate::delivery::outbox::Window { messages: 8, bytes: 1 << 20 },
                reply_address: SOMEBODY,
                answers_only: true,
            },
        ),
        ("incoming-closed", ToPeer::IncomingClosed { link }),
        ("down", ToPeer::Down { down, after: Some(link) }),
        ("member", ToPeer::Member { watch: 1, address: SOMEBODY, incarnation, joined: true }),
        ("stop", ToPeer::Stop),
        ("dump-stack", ToPeer::DumpStack),
    ]
    .map(|(name, word)| (name, said(&word)))
    .into()
}

/// An address that leads nowhere.
const SOMEBODY: RawAddress = RawAddress {
    version: RawAddress::VERSION,
    system: SystemId(7),
    actor: ActorId(3),
    capability: Capability(0xfeed_f00d),
    protocol: 7,
};

fn said(message: &impl Serialize) -> Vec<u8> {
    let mut frame = Vec::new();
    match conversation::append(&mut frame, message, 0) {
        Ok(_) => frame,
        Err(error) => panic!("{error}"),
    }
}

/// A value whose fields are private, from what it looks like.
fn remade<T: DeserializeOwned>(looks: &impl Serialize) -> T {
    match codec::encode(looks, 1 << 10) {
        Ok(bytes) => again(&bytes),
        Err(error) => panic!("{error}"),
    }
}

fn again<T: DeserializeOwned>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// A data frame as a sender writes it. The body stands behind the header, whose kind, flags, sequence and key are these.
pub fn frame(kind: u8, flags: u8, sequence: u64, key: MessageKey, body: &[u8]) -> Vec<u8> {
    use crate::wire::frame::{ExtensionSet, Header, Kind};
    let kinds = [Kind::Ask, Kind::Answer, Kind::Adopt, Kind::Ack, Kind::Reply, Kind::Forwarded];
    let kind = kinds.into_iter().find(|known| *known as u8 == kind).unwrap_or(Kind::Tell);
    let header = Header { kind, flags, attempt: 1, descriptors: 0, sequence: Sequence(sequence), key };
    super::frames::written(&header, &ExtensionSet { deadline: Some(u64::MAX), chain: &[] }, body)
}

/// Reads along what a hostile peer writes, by the code that reads it at the other end, so that the peer knows how much of
/// it was read before it was refused.
pub struct Reader(Reading);

enum Reading {
    Control(Listener),
    Data { hello: Vec<u8>, inbox: Inbox },
    Answers { buffer: FrameBuffer, sent: Sequence },
}

/// What was read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// What was written ends with a whole frame.
    Whole,
    /// More has to come.
    Part,
    /// The reader will have no more.
    Refused,
}

impl Reader {
    /// Of a program's control link; with its hello, unless that was said.
    pub fn control(hello: bool) -> Reader {
        let mut listener = Listener::new(Role::Outside, SystemId(0));
        if !hello {
            listener.heard(&Hello { role: Role::Outside, system: SystemId(0) }.encode());
        }
        Reader(Reading::Control(listener))
    }

    /// Of a data link on which so many messages were sent; with its hello, if none were.
    pub fn data(sent: u64) -> Reader {
        let mut inbox = Inbox::new(Sequence::ZERO, BODY_LIMIT);
        let mut hello = Vec::new();
        if sent > 0 {
            hello = Hello { role: Role::Link, system: SystemId(0) }.encode().to_vec();
            feed(&mut inbox, &frame(1, 0, sent, MessageKey(0), &[]));
            assert!(matches!(inbox.next(), Ok(Some(_))));
        }
        Reader(Reading::Data { hello, inbox })
    }

    /// Of the answers on a data link on which so many messages were sent.
    pub fn answers(sent: u64) -> Reader {
        Reader(Reading::Answers { buffer: FrameBuffer::new(), sent: Sequence(sent) })
    }

    /// Reads these bytes too.
    pub fn read(&mut self, bytes: &[u8]) -> Read {
        match &mut self.0 {
            Reading::Control(listener) => {
                listener.heard(bytes);
                loop {
                    match listener.next::<ToSupervisor>() {
                        Ok(Some(_)) => {}
                        Ok(None) if listener.is_introduced() && listener.is_at_end() => return Read::Whole,
                        Ok(None) => return Read::Part,
                        Err(_) => return Read::Refused,
                    }
                }
            }
            Reading::Data { hello, inbox } => {
                feed(inbox, bytes);
                inbox.take_raw(hello::LENGTH - hello.len(), hello);
                let Some(said) = hello.first_chunk::<{ hello::LENGTH }>() else { return Read::Part };
                if Hello::check(said, Role::Link, SystemId(0)).is_err() {
                    return Read::Refused;
                }
                loop {
                    match inbox.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Read::Refused,
                    }
                }
                if inbox.buffered() == 0 { Read::Whole } else { Read::Part }
            }
            Reading::Answers { buffer, sent } => {
                feed_buffer(buffer, bytes);
                loop {
                    match buffer.next_frame(BODY_LIMIT) {
                        Ok(Some((frame, _))) if !is_answer(&frame.header, *sent) => return Read::Refused,
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Read::Refused,
                    }
                }
                if buffer.buffered() == 0 { Read::Whole } else { Read::Part }
            }
        }
    }
}

fn is_answer(header: &crate::wire::frame::Header, sent: Sequence) -> bool {
    use crate::wire::frame::{Kind, Status};
    let known = match header.kind {
        Kind::Ack | Kind::Forwarded => true,
        Kind::Reply => Status::from_byte(header.flags).is_some(),
        _ => false,
    };
    known && header.sequence <= sent
}

fn feed(inbox: &mut Inbox, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = inbox.space();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        inbox.filled(length);
        bytes = &bytes[length..];
    }
}

fn feed_buffer(buffer: &mut FrameBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = buffer.space();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        buffer.filled(length);
        bytes = &bytes[length..];
    }
}

/// A program from outside that has attached, and says what it is told to.
pub struct Outsider {
    control: UnixStream,
    listener: Listener,
    questions: u64,
}

impl Outsider {
    /// Connects to the socket of a system, and says nothing yet.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect(socket: &Path) -> io::Result<Outsider> {
        let control = UnixStream::connect(socket)?;
        let listener = Listener::new(Role::Supervisor, SystemId(0));
        Ok(Outsider { control, listener, questions: 0 })
    }

    /// What it should say first.
    pub fn hello() -> Vec<u8> {
        Hello { role: Role::Outside, system: SystemId(0) }.encode().to_vec()
    }

    /// What the sender of a data link should say first.
    pub fn link_hello() -> Vec<u8> {
        Hello { role: Role::Link, system: SystemId(0) }.encode().to_vec()
    }

    /// Says this, unless it was turned away before; whether all of it was said.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.control.write_all(bytes).is_ok()
    }

    /// Hears nothing of what has come.
    ///
    /// # Errors
    /// As `recv`, and when it was turned away.
    pub fn hear_nothing(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match rustix::net::recv(&self.control, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until it is turned away; an error if that takes longer than `limit`.
    ///
    /// # Errors
    /// `WouldBlock` when it was not.
    pub fn is_turned_away_within(&mut self, limit: Duration) -> io::Result<()> {
        self.control.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 16 << 10];
        loop {
            match io::Read::read(&mut self.control, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a link to the actor at this address, as it stands in a message; the sender's end of it.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn link(&mut self, address: &[u8]) -> io::Result<UnixStream> {
        self.questions += 1;
        let request = Request::Link { address: again(address) };
        let asked = said(&ToSupervisor::Request { number: self.questions, request });
        self.control.write_all(&asked)?;
        loop {
            match self.hear()? {
                (ToPeer::LinkUp { .. }, descriptors) => {
                    let socket = descriptors.into_iter().next().map(UnixStream::from);
                    let socket = socket.ok_or_else(|| io::Error::other("a link without a socket"))?;
                    socket.set_nonblocking(false)?;
                    return Ok(socket);
                }
                (ToPeer::Answer { answer: Err(refusal), .. }, _) => {
                    return Err(io::Error::other(format!("{refusal:?}")));
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self) -> io::Result<(ToPeer, Vec<OwnedFd>)> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.listener.next::<ToPeer>() {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
            let control = self.control.as_fd();
            let read = transport::read_control(control, &mut buffer, &mut self.listener.descriptors)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.listener.heard(&buffer[..read]);
        }
    }
}
