//! What a process can say, as bytes: to begin fuzzing with, and for peers that say it wrongly.
//!
//! [`Reader`] reads along what such a peer writes; [`Outsider`] is one that attaches from outside.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

pub use super::outsider::Outsider;
pub use super::reader::{Read, Reader};
use crate::event::Down;
use crate::process::child::Limits;
use crate::profile::{Confinement, Profile};
use crate::report::{Exit, Panic};
use crate::spec::Window;
use crate::wire::codec;
use crate::wire::control::{
    Administration, Answer, Arguments, DeadLetterReason, Refusal, Request, Ticket, ToPeer, ToSupervisor,
};
use crate::wire::conversation;
use crate::wire::ids::{
    ActorId, Capability, Incarnation, LinkId, MessageKey, RawAddress, Sequence, SystemId,
};
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
        ("end-events", Request::EndEvents),
        ("see-stack", Request::Stack { actor: address.actor }),
        ("recent", Request::Recent),
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
        (
            "ready",
            ToSupervisor::Ready {
                protocol: vec![(key, text())],
                info: Some(vec![1, 2, 3]),
                confinement: Confinement::default(),
            },
        ),
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
        profile: Profile::Default,
        limits: Limits { memory: Some(1 << 30), ..Limits::default() },
        faults: None,
    };
    let outside = Ticket {
        code: None,
        arguments: Arguments::default(),
        name: name(),
        image: ticket.image.clone(),
        faults: None,
        profile: Profile::Default,
        ..ticket
    };
    let granted = Answer::Link { link, slot: 1, window, redelivery: 3 };
    let down = Down { monitor: 1, actor, name: name(), incarnation, exit: Exit::Stopped };
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
                window,
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

pub(super) fn said(message: &impl Serialize) -> Vec<u8> {
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

pub(super) fn again<T: DeserializeOwned>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// The boast that all messages that there can be were processed on this link.
pub fn boast(link: u64) -> Vec<u8> {
    said(&ToSupervisor::ProcessedUntold { link: LinkId(link), processed: u64::MAX })
}

/// A data frame as a sender writes it. The body stands behind the header, whose kind, flags, sequence and key are these.
pub fn frame(kind: u8, flags: u8, sequence: u64, key: MessageKey, body: &[u8]) -> Vec<u8> {
    use crate::wire::frame::{ExtensionSet, Header, Kind};
    let kinds = [Kind::Ask, Kind::Answer, Kind::Adopt, Kind::Ack, Kind::Reply, Kind::Forwarded];
    let kind = kinds.into_iter().find(|known| *known as u8 == kind).unwrap_or(Kind::Tell);
    let header = Header { kind, flags, attempt: 1, descriptors: 0, sequence: Sequence(sequence), key };
    super::frames::written(&header, &ExtensionSet { deadline: Some(u64::MAX), chain: &[] }, body)
}
