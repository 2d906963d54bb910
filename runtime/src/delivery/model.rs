//! A link as a plain list of messages, run beside an outbox and an inbox that are joined by a pipe.
//!
//! The pipe is cut at any byte and the receiver dies at any moment: before a delivery, in a handler, behind a reply,
//! before an acknowledgement. After every step the outbox must agree with the list.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::prelude::*;

use super::frame_buffer::FrameBuffer;
use super::inbox::Inbox;
use super::outbox::{InHand, Lost, Outbox, Window};
use crate::wire::frame::{self, ChainLink, ExtensionSet, HEADER, Header, IDEMPOTENT, Kind};
use crate::wire::ids::{ActorId, LinkId, MessageKey, Sequence};
use crate::wire::passing::{Arrived, Beside};

mod receiver;
mod steps;

use receiver::Receiver;
use steps::{Step, steps};

const BODY_LIMIT: usize = 4096;
const DELIVERIES: u8 = 3;

/// How many a message of that length has: two in three have none.
fn descriptors_of(body: usize) -> usize {
    [0, 0, 1, 0, 0, 3][body % 6]
}

fn some_descriptors(count: usize) -> Beside {
    (0..count).map(|_| Arc::new(descriptor())).collect()
}

fn arrived(count: usize) -> Arrived {
    Arrived { descriptors: (0..count).map(|_| descriptor()).collect(), cut: false }
}

fn descriptor() -> OwnedFd {
    rustix::io::dup(std::io::stderr()).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Waiting,
    Processed,
    InDoubt,
    Quarantined,
    DeadLetter,
}

#[derive(Debug)]
struct Message {
    key: MessageKey,
    ask: bool,
    idempotent: bool,
    body: Vec<u8>,
    frame: usize,
    attempt: u8,
    starts: u8,
    /// Its handler came to its end.
    returned: bool,
    fate: Fate,
}

struct World {
    outbox: Outbox,
    window: Window,
    messages: Vec<Message>,
    sent: Sequence,
    /// Everything written to this socket so far, as frames.
    shadow: FrameBuffer,
    shadow_last: Sequence,
    data: Vec<u8>,
    /// Where in it frames with descriptors begin, and how many those have.
    beside: VecDeque<(usize, usize)>,
    answers: Vec<u8>,
    heard: FrameBuffer,
    receiver: Receiver,
    last_started: Sequence,
    told_deaths: usize,
    told_in_doubt: usize,
}

impl World {
    fn new() -> Self {
        let window = Window { messages: 16, bytes: 2500 };
        World {
            outbox: Outbox::new(window, BODY_LIMIT),
            window,
            messages: Vec::new(),
            sent: Sequence::ZERO,
            shadow: FrameBuffer::new(),
            shadow_last: Sequence::ZERO,
            data: Vec::new(),
            beside: VecDeque::new(),
            answers: Vec::new(),
            heard: FrameBuffer::new(),
            receiver: Receiver::new(Sequence::ZERO),
            last_started: Sequence::ZERO,
            told_deaths: 0,
            told_in_doubt: 0,
        }
    }

    fn message(&mut self, sequence: Sequence) -> &mut Message {
        &mut self.messages[usize::try_from(sequence.0).unwrap() - 1]
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { body, chain, idempotent, ask, fails } => {
                self.append(body, chain, idempotent, ask, fails);
            }
            Step::Window(window) => {
                self.window = window;
                self.outbox.set_window(window);
            }
            Step::Write(bytes) => self.write(bytes),
            Step::Read(bytes) => {
                let mut left = bytes.min(self.data.len());
                while left > 0 {
                    left -= self.read_once(left.min(READ_CHUNK));
                }
            }
            Step::Scan => self.scan(),
            Step::Start => self.start(),
            Step::Reply => self.reply(),
            Step::Finish => self.finish(),
            Step::Acknowledge => {
                let processed = self.receiver.processed;
                self.receiver.answer(Kind::Ack, processed);
            }
            Step::Flush(bytes) => {
                let bytes = bytes.min(self.receiver.unflushed.len());
                self.answers.extend(self.receiver.unflushed.drain(..bytes));
            }
            Step::HearAnswers(bytes) => self.hear(bytes),
            Step::LoseLink { then_write, then_acknowledge } => {
                self.receiver.inbox = Inbox::new(self.receiver.inbox.last(), BODY_LIMIT);
                self.receiver.scanned = Sequence::ZERO;
                self.receiver.unflushed.clear();
                self.outbox.link_lost();
                self.new_socket();
                // What was processed before may be acknowledged while the new socket has half of it again.
                self.write(then_write);
                if then_acknowledge {
                    self.step(Step::Acknowledge);
                    self.step(Step::Flush(usize::MAX));
                    self.step(Step::HearAnswers(usize::MAX));
                }
            }
            Step::Die => self.die(),
            Step::DieUntold => self.die_untold(),
            Step::Gone => {
                self.die();
                let expected = self.take_waiting(|_, _| true, Fate::DeadLetter);
                assert_eq!(self.outbox.discard(), expected);
                self.sent = self.outbox.appended();
                self.receiver = Receiver::new(self.sent);
            }
        }
        self.check();
    }

    fn append(&mut self, body: usize, chain: usize, idempotent: bool, ask: bool, fails: bool) {
        if !self.outbox.has_room() {
            return;
        }
        let number = self.messages.len() + 1;
        let key = MessageKey(number as u64 * 7);
        let link = ChainLink { actor: ActorId(1), link: LinkId(2), sequence: Sequence(3) };
        let extensions = ExtensionSet { deadline: ask.then_some(5), chain: &[link; 3][..chain] };
        let kind = if ask { Kind::Ask } else { Kind::Tell };
        let body: Vec<u8> = (0..body).map(|i| u8::try_from((i + number) % 251).unwrap()).collect();
        let result =
            self.outbox.append(kind, u8::from(idempotent) * IDEMPOTENT, key, &extensions, |log, limit| {
                assert!(body.len() <= limit);
                log.extend_from_slice(&body);
                if fails { Err(()) } else { Ok(()) }
            });
        if fails {
            assert_eq!(result, Err(()));
            return;
        }
        assert_eq!(result, Ok(Sequence(number as u64)));
        if descriptors_of(body.len()) > 0 {
            self.outbox.attach(some_descriptors(descriptors_of(body.len())));
        }
        let extensions = if ask { 12 } else { 0 } + if chain > 0 { 4 + 24 * chain } else { 0 };
        let frame = HEADER + extensions + body.len();
        let (attempt, starts, returned, fate) = (1, 0, false, Fate::Waiting);
        self.messages.push(Message { key, ask, idempotent, body, frame, attempt, starts, returned, fate });
    }

    fn write(&mut self, bytes: usize) {
        let mut left = bytes.min(self.outbox.unsent().len());
        while left > 0 {
            let (next, beside) = self.outbox.next_write();
            let taken = next[..next.len().min(left)].to_vec();
            let count = beside.len();
            self.outbox.wrote(taken.len());
            left -= taken.len();
            if count > 0 {
                self.beside.push_back((self.data.len(), count));
            }
            self.data.extend_from_slice(&taken);
            self.shadow.space()[..taken.len()].copy_from_slice(&taken);
            self.shadow.filled(taken.len());
            if count > 0 {
                self.shadow.came_beside(taken.len(), arrived(count)).unwrap();
            }
        }
        while let Some((frame, _)) = self.shadow.next_frame(BODY_LIMIT).unwrap() {
            assert!(frame.header.sequence > self.shadow_last, "out of order on the wire");
            self.shadow_last = frame.header.sequence;
        }
        self.sent = self.sent.max(self.shadow_last);
    }

    /// Reads once, at most so much: never the descriptors of two frames.
    fn read_once(&mut self, most: usize) -> usize {
        let mut bytes = most.min(self.data.len());
        let own = self.beside.front().copied().filter(|(at, _)| *at < bytes);
        if own.is_some() {
            self.beside.pop_front();
            bytes = self.beside.front().map_or(bytes, |(next, _)| bytes.min(*next));
        }
        self.receiver.inbox.space()[..bytes].copy_from_slice(&self.data[..bytes]);
        self.receiver.inbox.filled(bytes);
        if let Some((_, count)) = own {
            self.receiver.inbox.came_beside(bytes, arrived(count)).unwrap();
        }
        self.data.drain(..bytes);
        self.beside.iter_mut().for_each(|(at, _)| *at -= bytes);
        bytes
    }

    fn scan(&mut self) {
        let receiver = &mut self.receiver;
        let last = receiver.inbox.last();
        while let Some(frame) = receiver.inbox.scan().unwrap() {
            let sequence = frame.header.sequence;
            assert!(
                sequence > receiver.scanned && sequence > last,
                "scanned twice, or after it was consumed"
            );
            receiver.scanned = sequence;
        }
    }

    fn start(&mut self) {
        if self.receiver.in_hand.is_some() {
            return;
        }
        let Some((frame, beside)) = self.receiver.inbox.next().unwrap() else { return };
        let Header { sequence, attempt, key, .. } = frame.header;
        let body = frame.body.to_vec();
        let message = &self.messages[usize::try_from(sequence.0).unwrap() - 1];
        assert_eq!((message.key, &message.body, message.fate), (key, &body, Fate::Waiting));
        assert_eq!(beside.descriptors.len(), descriptors_of(body.len()));
        assert_eq!(attempt, message.attempt);
        assert_eq!(message.starts, attempt - 1, "handled more often than it says");
        assert!(message.starts == 0 || message.idempotent, "handled twice");
        assert!(sequence > self.last_started || message.starts > 0, "out of order");
        let earlier = &self.messages[..usize::try_from(sequence.0).unwrap() - 1];
        assert!(earlier.iter().all(|m| m.fate != Fate::Waiting || m.returned), "overtook another message");
        self.last_started = sequence;
        self.receiver.in_hand = Some(sequence);
        self.receiver.replied = false;
        self.message(sequence).starts += 1;
    }

    fn reply(&mut self) {
        let Some(sequence) = self.receiver.in_hand else { return };
        if self.message(sequence).ask && !self.receiver.replied {
            self.message(sequence).returned = true;
            self.receiver.replied = true;
            self.receiver.answer(Kind::Reply, sequence);
        }
    }

    fn finish(&mut self) {
        let Some(sequence) = self.receiver.in_hand else { return };
        // The reply of an ask is in the kernel before the ask is called processed.
        let replied = self.receiver.replied && self.receiver.unflushed.is_empty();
        if !self.message(sequence).ask || replied {
            self.message(sequence).returned = true;
            self.receiver.processed = sequence;
            self.receiver.in_hand = None;
        }
    }

    fn hear(&mut self, bytes: usize) {
        let bytes = bytes.min(self.answers.len());
        for byte in self.answers.drain(..bytes).collect::<Vec<_>>() {
            self.heard.space()[0] = byte;
            self.heard.filled(1);
            while let Some((frame, _)) = self.heard.next_frame(BODY_LIMIT).unwrap() {
                let upto = frame.header.sequence;
                let news = upto > self.outbox.acked();
                assert_eq!(self.outbox.acknowledge(upto), Ok(news));
                self.settle(upto);
            }
        }
    }

    fn settle(&mut self, upto: Sequence) {
        for message in &mut self.messages[..usize::try_from(upto.0).unwrap()] {
            if message.fate == Fate::Waiting {
                assert!(message.returned, "called processed, but its handler never returned");
                message.fate = Fate::Processed;
            }
        }
    }

    fn die(&mut self) {
        self.hear(usize::MAX);
        self.told_deaths += 1;
        let Receiver { processed, in_hand, .. } = self.receiver;
        let result = self.outbox.receiver_died(processed, in_hand, DELIVERIES);
        self.settle(processed);
        let expected = match in_hand {
            Some(sequence) if self.message(sequence).fate == Fate::Waiting => {
                let message = self.message(sequence);
                assert!(message.starts == message.attempt, "in doubt, but never started");
                let mut lost = lost(sequence, message);
                if message.idempotent && message.attempt < DELIVERIES {
                    message.attempt += 1;
                    lost.attempt += 1;
                    // Its handler may have come to its end; it will do so again.
                    message.returned = false;
                    InHand::Redelivered(lost)
                } else if message.idempotent {
                    message.fate = Fate::Quarantined;
                    InHand::Quarantined(lost)
                } else {
                    message.fate = Fate::InDoubt;
                    self.told_in_doubt += 1;
                    InHand::InDoubt(lost)
                }
            }
            _ => InHand::Nothing,
        };
        assert_eq!(result, expected);
        self.receiver = Receiver::new(processed);
        self.new_socket();
    }

    fn die_untold(&mut self) {
        self.hear(usize::MAX);
        let sent = self.sent;
        let expected = self.take_waiting(|sequence, _| sequence <= sent, Fate::InDoubt);
        assert_eq!(self.outbox.receiver_died_untold(), expected);
        self.receiver = Receiver::new(self.outbox.acked());
        self.new_socket();
    }

    fn take_waiting(&mut self, which: impl Fn(Sequence, &Message) -> bool, fate: Fate) -> Vec<Lost> {
        let mut taken = Vec::new();
        for (index, message) in self.messages.iter_mut().enumerate() {
            let sequence = Sequence(index as u64 + 1);
            if message.fate == Fate::Waiting && which(sequence, message) {
                assert!(
                    fate != Fate::DeadLetter || message.starts == message.attempt - 1,
                    "a dead letter that may have been executed"
                );
                taken.push(lost(sequence, message));
                message.fate = fate;
            }
        }
        taken
    }

    fn new_socket(&mut self) {
        self.data.clear();
        self.beside.clear();
        self.answers.clear();
        self.heard = FrameBuffer::new();
        self.shadow = FrameBuffer::new();
        self.shadow_last = Sequence::ZERO;
    }

    fn count(&self, fate: Fate) -> u64 {
        self.messages.iter().filter(|m| m.fate == fate).count() as u64
    }

    fn check(&self) {
        let outbox = &self.outbox;
        let settled = [Fate::Processed, Fate::InDoubt, Fate::Quarantined, Fate::DeadLetter];
        let settled: u64 = settled.into_iter().map(|fate| self.count(fate)).sum();
        assert_eq!(outbox.appended().0, self.messages.len() as u64);
        assert_eq!(outbox.appended().0, settled + outbox.waiting(), "the ledger law");
        assert_eq!((outbox.acked().0, outbox.sent()), (settled, self.sent));
        assert!(outbox.acked() <= outbox.sent() && outbox.sent() <= outbox.appended());
        let waiting = self.messages.iter().filter(|m| m.fate == Fate::Waiting);
        let bytes = waiting.map(|m| m.frame).sum::<usize>();
        assert_eq!(outbox.waiting_bytes(), bytes);
        let messages_fit = outbox.waiting() < u64::from(self.window.messages);
        let bytes_fit = bytes == 0 || bytes < self.window.bytes as usize;
        assert_eq!(outbox.has_room(), messages_fit && bytes_fit);
        assert!(self.told_in_doubt <= self.told_deaths);
    }

    /// A receiver that lives long enough to handle everything.
    fn finish_in_peace(&mut self) {
        let round = [
            Step::Write(4096),
            Step::Read(4096),
            Step::Scan,
            Step::Start,
            Step::Reply,
            Step::Flush(4096),
            Step::Finish,
            Step::Acknowledge,
            Step::Flush(4096),
            Step::HearAnswers(4096),
        ];
        for _ in 0..2 * self.messages.len() + 2 {
            round.into_iter().for_each(|step| self.step(step));
        }
        assert_eq!(self.outbox.waiting(), 0);
        assert!(self.outbox.unsent().is_empty() && self.receiver.inbox.at_frame_boundary());
        assert_eq!(self.receiver.inbox.buffered(), 0);
        for message in &self.messages {
            assert!(message.starts <= if message.idempotent { DELIVERIES } else { 1 });
            assert!(message.fate != Fate::Quarantined || message.starts == DELIVERIES);
            assert!(message.fate != Fate::Processed || message.returned);
        }
    }
}

const READ_CHUNK: usize = 100;

fn lost(sequence: Sequence, message: &Message) -> Lost {
    let Message { key, ask, attempt, ref body, .. } = *message;
    Lost { sequence, key, ask, attempt, bytes: body.len() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_breaks_every_message_ends_exactly_once(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.finish_in_peace();
    }

    #[test]
    fn whatever_a_recorder_claims_the_cursors_stay_ordered(
        messages in 1..30_u64,
        written in 0..2000_usize,
        acked in 0..30_u64,
        claims in prop::collection::vec((0..40_u64, prop::option::of(0..40_u64), any::<u8>()), 1..5),
    ) {
        let mut outbox = Outbox::new(Window { messages: 100, bytes: 100_000 }, BODY_LIMIT);
        for n in 0..messages {
            let flags = u8::from(n % 2 == 0) * IDEMPOTENT;
            outbox.append(Kind::Tell, flags, MessageKey(n), &ExtensionSet::default(), |log, _| {
                log.extend_from_slice(&[7; 20]);
                Ok::<_, Infallible>(())
            }).unwrap();
        }
        let some = written.min(outbox.unsent().len());
        outbox.wrote(some);
        let _ = outbox.acknowledge(Sequence(acked));
        for (processed, in_hand, limit) in claims {
            let (acked, sent) = (outbox.acked(), outbox.sent());
            let result = outbox.receiver_died(Sequence(processed), in_hand.map(Sequence), limit);
            prop_assert!(acked <= outbox.acked() && outbox.acked() <= sent && outbox.sent() == sent);
            if let InHand::InDoubt(lost) | InHand::Quarantined(lost) = result {
                prop_assert_eq!((lost.sequence, lost.bytes), (outbox.acked(), 20));
            }
            let mut left = outbox.unsent();
            for sequence in outbox.acked().0 + 1..=messages {
                let frame = frame::parse(left, BODY_LIMIT).unwrap().unwrap();
                prop_assert_eq!(frame.header.sequence, Sequence(sequence));
                left = &left[frame.length..];
            }
            prop_assert!(left.is_empty());
        }
    }
}
