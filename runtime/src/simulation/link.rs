//! One link of the simulated system: everything that one life of a sender sends to one receiver.

use std::collections::VecDeque;
use std::convert::Infallible;

use crate::delivery::frame_buffer::FrameBuffer;
use crate::delivery::inbox::Inbox;
use crate::delivery::outbox::{InHand, Lost, Outbox, Window};
use crate::wire::frame::{self, ExtensionSet, Header, IDEMPOTENT, Kind};
use crate::wire::ids::{ActorId, MessageKey, Sequence};

/// Far more than these messages have.
const BODY_LIMIT: usize = 4096;
/// Small, so that it is often full.
const WINDOW: Window = Window { messages: 6, bytes: 400 };
/// So many lives a message may cost.
const DELIVERIES: u8 = 3;

/// What became of a message. Known here from what its handlers did, not from any counter of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waiting,
    Processed,
    InDoubt,
    DeadLettered,
    DiedWithSender,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) idempotent: bool,
    pub(super) starts: u8,
    pub(super) fate: Fate,
}

/// The socket between the two, and what the receiver's life keeps of the link.
pub(super) struct Joined {
    inbox: Inbox,
    heard: FrameBuffer,
    /// Bytes under way, and when they arrive.
    data: VecDeque<(u64, Vec<u8>)>,
    answers: VecDeque<(u64, Vec<u8>)>,
    /// The receiver's recorder: the last processed, how many, and the one in hand.
    cursor: Sequence,
    count: u64,
    in_hand: Option<Sequence>,
    acked: Sequence,
    /// What the sender had been told before this life.
    acked_before: Sequence,
}

pub(super) struct Link {
    pub(super) sender: ActorId,
    pub(super) receiver: ActorId,
    /// It dies with the sender.
    pub(super) outbox: Option<Outbox>,
    pub(super) joined: Option<Joined>,
    resume_after: Sequence,
    /// As the broker counts.
    processed: u64,
    in_doubt: u64,
    dead_lettered: u64,
    pub(super) messages: Vec<Message>,
    last_started: Sequence,
    /// No end is there any more.
    pub(super) settled: bool,
}

impl Link {
    pub(super) fn new(sender: ActorId, receiver: ActorId) -> Link {
        Link {
            sender,
            receiver,
            outbox: Some(Outbox::new(WINDOW, BODY_LIMIT)),
            joined: None,
            resume_after: Sequence::ZERO,
            processed: 0,
            in_doubt: 0,
            dead_lettered: 0,
            messages: Vec::new(),
            last_started: Sequence::ZERO,
            settled: false,
        }
    }

    /// `tell`; whether it was accepted.
    pub(super) fn tell(&mut self, idempotent: bool) -> bool {
        let Some(outbox) = self.outbox.as_mut().filter(|outbox| outbox.has_room()) else { return false };
        let number = self.messages.len() as u64 + 1;
        let flags = if idempotent { IDEMPOTENT } else { 0 };
        let sequence = outbox.append(Kind::Tell, flags, MessageKey(7), &ExtensionSet::default(), |log, _| {
            log.extend_from_slice(&number.to_le_bytes());
            Ok::<_, Infallible>(())
        });
        assert_eq!(sequence, Ok(Sequence(number)));
        self.messages.push(Message { idempotent, starts: 0, fate: Fate::Waiting });
        true
    }

    /// A new life of the receiver is there, or a new socket to the same.
    pub(super) fn join(&mut self) {
        assert!(self.joined.is_none(), "joined twice");
        let after = self.resume_after;
        let acked_before = self.outbox.as_ref().map_or(Sequence::ZERO, Outbox::acked);
        self.joined = Some(Joined {
            inbox: Inbox::new(after, BODY_LIMIT),
            heard: FrameBuffer::new(),
            data: VecDeque::new(),
            answers: VecDeque::new(),
            cursor: after,
            count: 0,
            in_hand: None,
            acked: after,
            acked_before,
        });
    }

    /// The socket takes at most so many bytes; they arrive at `due`.
    pub(super) fn write(&mut self, most: usize, due: u64) -> bool {
        let (Some(outbox), Some(joined)) = (&mut self.outbox, &mut self.joined) else { return false };
        let bytes = outbox.unsent();
        let bytes = bytes[..most.min(bytes.len())].to_vec();
        if bytes.is_empty() {
            return false;
        }
        outbox.wrote(bytes.len());
        let due = joined.data.back().map_or(due, |&(last, _)| due.max(last));
        joined.data.push_back((due, bytes));
        true
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.joined.is_some() && self.outbox.as_ref().is_some_and(|outbox| !outbox.unsent().is_empty())
    }

    /// Bytes that have arrived by now are read, at both ends.
    pub(super) fn arrive(&mut self, now: u64) {
        let Some(joined) = &mut self.joined else { return };
        while joined.data.front().is_some_and(|&(due, _)| due <= now) {
            let Some((_, bytes)) = joined.data.pop_front() else { return };
            joined.inbox.space()[..bytes.len()].copy_from_slice(&bytes);
            joined.inbox.filled(bytes.len());
        }
        self.hear(now);
    }

    fn hear(&mut self, now: u64) {
        let Some(joined) = &mut self.joined else { return };
        while joined.answers.front().is_some_and(|&(due, _)| due <= now) {
            let Some((_, bytes)) = joined.answers.pop_front() else { return };
            joined.heard.space()[..bytes.len()].copy_from_slice(&bytes);
            joined.heard.filled(bytes.len());
        }
        while let Ok(Some((frame, _))) = joined.heard.next_frame(BODY_LIMIT) {
            let upto = frame.header.sequence;
            if let Some(outbox) = &mut self.outbox {
                assert!(outbox.acknowledge(upto).is_ok(), "an acknowledgement beyond what was sent");
                let settled = &self.messages[..index(upto) + 1];
                assert!(settled.iter().all(|m| m.fate != Fate::Waiting), "acknowledged, not processed");
            }
        }
    }

    /// The receiver takes its next message in hand.
    pub(super) fn start(&mut self) -> bool {
        let Some(joined) = &mut self.joined else { return false };
        let Ok(next) = joined.inbox.next() else { panic!("not a sender's frame") };
        let Some((frame, _)) = next else { return false };
        let (sequence, attempt) = (frame.header.sequence, frame.header.attempt);
        let number = u64::from_le_bytes(frame.body.try_into().unwrap_or_default());
        assert_eq!(number, sequence.0, "another message's body");
        let message = &mut self.messages[index(sequence)];
        assert_eq!(message.fate, Fate::Waiting, "handled after its end was told: {sequence}");
        assert!(message.starts == 0 || message.idempotent, "handled twice: {sequence}");
        assert_eq!(message.starts + 1, attempt, "the attempt of {sequence}");
        assert!(attempt <= DELIVERIES);
        message.starts += 1;
        let in_order = sequence > self.last_started || attempt > 1;
        assert!(in_order, "not FIFO: {sequence} after {}", self.last_started);
        self.last_started = self.last_started.max(sequence);
        let before = &self.messages[..index(sequence)];
        assert!(before.iter().all(|m| m.fate != Fate::Waiting), "{sequence} overtakes");
        joined.in_hand = Some(sequence);
        true
    }

    /// Its handler has returned.
    pub(super) fn processed(&mut self) {
        let Some(joined) = &mut self.joined else { return };
        let Some(sequence) = joined.in_hand.take() else { return };
        joined.cursor = sequence;
        joined.count += 1;
        self.messages[index(sequence)].fate = Fate::Processed;
    }

    /// The receiver acknowledges what it has processed.
    pub(super) fn acknowledge(&mut self, due: u64) {
        let Some(joined) = self.joined.as_mut().filter(|joined| joined.acked < joined.cursor) else { return };
        joined.acked = joined.cursor;
        let sequence = joined.cursor;
        let header =
            Header { kind: Kind::Ack, flags: 0, attempt: 1, descriptors: 0, sequence, key: MessageKey(0) };
        let mut bytes = Vec::new();
        let appended =
            frame::append(&mut bytes, &header, &ExtensionSet::default(), |_| Ok::<_, Infallible>(()));
        assert!(appended.is_ok());
        let due = joined.answers.back().map_or(due, |&(last, _)| due.max(last));
        joined.answers.push_back((due, bytes));
    }

    /// Only the socket is lost; both ends live and get another. What is in hand stays there.
    pub(super) fn lose_socket(&mut self) {
        let (Some(outbox), Some(joined)) = (&mut self.outbox, &mut self.joined) else { return };
        outbox.link_lost();
        joined.inbox = Inbox::new(joined.inbox.last(), BODY_LIMIT);
        joined.heard = FrameBuffer::new();
        joined.data.clear();
        joined.answers.clear();
        // What was acknowledged on the old socket may not have been heard.
        joined.acked = outbox.acked();
    }

    /// The receiver's process has died: first what it had said is heard, then its recorder is read.
    pub(super) fn receiver_died(&mut self) {
        self.hear(u64::MAX);
        let Some(Joined { cursor, count, in_hand, .. }) = self.joined.take() else { return };
        self.processed += count;
        self.resume_after = cursor;
        let Some(outbox) = &mut self.outbox else { return self.settle() };
        let decided = outbox.receiver_died(cursor, in_hand, DELIVERIES);
        let told = |lost: Lost| Some(lost.sequence);
        match decided {
            InHand::Nothing => assert_eq!(in_hand, None, "nobody was told of the one in hand"),
            InHand::Redelivered(lost) => assert_eq!(told(lost), in_hand),
            InHand::InDoubt(lost) => {
                assert_eq!(told(lost), in_hand);
                self.in_doubt += 1;
                self.end(lost.sequence, Fate::InDoubt);
            }
            InHand::Quarantined(lost) => {
                assert_eq!(told(lost), in_hand);
                self.dead_lettered += 1;
                self.end(lost.sequence, Fate::DeadLettered);
            }
        }
    }

    /// The same, but its recorder cannot be believed: all that was sent and not acknowledged is in doubt. That some of it
    /// was processed, nobody can know.
    pub(super) fn receiver_died_untold(&mut self) {
        if self.outbox.is_none() {
            return self.receiver_died();
        }
        self.hear(u64::MAX);
        let (Some(outbox), Some(joined)) = (&mut self.outbox, self.joined.take()) else { return };
        // The sender's word counts for what the recorder does not show.
        self.processed += outbox.acked().0 - joined.acked_before.0;
        for lost in outbox.receiver_died_untold() {
            self.in_doubt += 1;
            let message = &mut self.messages[index(lost.sequence)];
            assert!(matches!(message.fate, Fate::Waiting | Fate::Processed), "{lost:?} ends twice");
            message.fate = Fate::InDoubt;
        }
        self.resume_after = outbox.sent();
    }

    fn end(&mut self, sequence: Sequence, fate: Fate) {
        let message = &mut self.messages[index(sequence)];
        assert_eq!(message.fate, Fate::Waiting, "{sequence} ends twice");
        message.fate = fate;
    }

    /// The sender's process has died with its outbox; the receiver handles what has left it.
    pub(super) fn sender_died(&mut self) {
        self.outbox = None;
        if self.joined.is_none() {
            self.settle();
        }
    }

    /// Whether the receiver has handled everything that a dead sender had sent.
    pub(super) fn is_drained(&mut self) -> bool {
        self.outbox.is_none()
            && self.joined.as_mut().is_some_and(|joined| {
                joined.data.is_empty() && joined.in_hand.is_none() && matches!(joined.inbox.scan(), Ok(None))
            })
    }

    pub(super) fn drained(&mut self) {
        if let Some(joined) = self.joined.take() {
            self.processed += joined.count;
        }
        self.settle();
    }

    /// The receiver has ended for good: what waits becomes dead letters.
    pub(super) fn receiver_ended(&mut self) {
        let Some(mut outbox) = self.outbox.take() else { return };
        for lost in outbox.discard() {
            self.dead_lettered += 1;
            self.end(lost.sequence, Fate::DeadLettered);
        }
        self.settle();
    }

    /// What is neither processed nor a dead letter nor in doubt now has died with its sender.
    fn settle(&mut self) {
        assert!(!self.settled, "settled twice");
        self.settled = true;
        let counted = self.processed + self.dead_lettered + self.in_doubt;
        let died = (self.messages.len() as u64).checked_sub(counted);
        for message in &mut self.messages {
            if message.fate == Fate::Waiting {
                message.fate = Fate::DiedWithSender;
            }
        }
        assert_eq!(died, Some(self.truly(Fate::DiedWithSender)), "the ledger law: died with their sender");
    }

    pub(super) fn truly(&self, fate: Fate) -> u64 {
        self.messages.iter().filter(|message| message.fate == fate).count() as u64
    }

    pub(super) fn waiting(&self) -> u64 {
        self.outbox.as_ref().map_or(0, Outbox::waiting)
    }

    /// **The ledger law**, by the counters of the recorders and of the outbox, and by what truly happened.
    pub(super) fn check(&self) {
        let processed = self.processed + self.joined.as_ref().map_or(0, |joined| joined.count);
        let died = self.truly(Fate::DiedWithSender);
        assert_eq!(processed, self.truly(Fate::Processed), "the ledger law: processed");
        assert_eq!(self.in_doubt, self.truly(Fate::InDoubt), "the ledger law: in doubt");
        assert_eq!(self.dead_lettered, self.truly(Fate::DeadLettered), "the ledger law: dead letters");
        let accepted = self.messages.len() as u64;
        let settled = processed + self.in_doubt + self.dead_lettered + died;
        assert_eq!(accepted, settled + self.waiting(), "the ledger law");
    }
}

fn index(sequence: Sequence) -> usize {
    usize::try_from(sequence.0).unwrap_or(0) - 1
}
