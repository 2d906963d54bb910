//! Writing frames as a fault plan wants them: one after another, each looked at before it leaves.

use std::sync::Arc;
use std::time::Duration;

use super::outgoing::{Phase, State};
use crate::clock;
use crate::fault::{self, Cut, Effect, tamper};
use crate::wire::frame;

/// How long a frame that is to change places waits for the one behind it; then it leaves as it is.
const FOLLOWER: Duration = Duration::from_millis(10);

/// What has been taken from the outbox and is not with the kernel yet.
#[derive(Default)]
pub(super) struct Tampered {
    bytes: Vec<u8>,
    written: usize,
    /// A frame that lets the next one pass, and how long it waits for that.
    held: Option<(Vec<u8>, u64)>,
}

/// What can be written next.
enum Next {
    /// What the plan has made of a frame.
    Tampered,
    /// The outbox's own bytes, so many at most: a frame with descriptors, which must go with its first byte, or the
    /// rest of one of which half was written before there was a plan.
    Plain(usize),
    Nothing,
    Closed,
}

impl State {
    /// Writes as much as the socket takes.
    pub(super) fn flush_tampered(&mut self) {
        let Phase::Up(socket) = &self.phase else { return };
        let socket = Arc::clone(socket);
        let mut tampered = self.tampered.take().unwrap_or_default();
        loop {
            let next = if tampered.written < tampered.bytes.len() {
                Next::Tampered
            } else {
                tampered.bytes.clear();
                tampered.written = 0;
                self.fill(&mut tampered)
            };
            let wrote = match next {
                Next::Tampered => {
                    let wrote = socket.try_write(&tampered.bytes[tampered.written..], &[]);
                    wrote.map(|bytes| tampered.written += bytes)
                }
                Next::Plain(most) => {
                    let (bytes, beside) = self.outbox.next_write();
                    let wrote = socket.try_write(&bytes[..most.min(bytes.len())], beside);
                    wrote.map(|bytes| self.outbox.wrote(bytes))
                }
                Next::Nothing => break,
                Next::Closed => {
                    socket.shut();
                    break;
                }
            };
            match wrote {
                Ok(()) => {}
                Err(error) => {
                    self.held_up(&error);
                    break;
                }
            }
        }
        if let Some((_, until)) = &tampered.held {
            self.retry = self.retry.min(*until);
        }
        self.armed = self.armed.min(self.retry);
        if tampered.held.is_some() || !tampered.bytes.is_empty() {
            self.tampered = Some(tampered);
        }
        if let Some(row) = &self.row {
            row.sent(self.outbox.sent());
        }
        if self.blocked || self.tampered.is_some() {
            self.wake_driver();
        }
    }

    /// Takes the next frame from the outbox. What the plan makes of it counts as sent.
    fn fill(&mut self, tampered: &mut Tampered) -> Next {
        if self.outbox.unsent().is_empty() {
            return match tampered.held.take_if(|(_, until)| *until <= clock::now()) {
                Some((held, _)) => {
                    tampered.bytes = held;
                    Next::Tampered
                }
                None => Next::Nothing,
            };
        }
        let next = self.outbox.whole_frame().and_then(|bytes| Some((bytes, frame::peek(bytes)?.1)));
        let Some((bytes, header)) = next else { return Next::Plain(usize::MAX) };
        if header.descriptors > 0 {
            return Next::Plain(bytes.len());
        }
        let mut frame = bytes.to_vec();
        let effect = fault::at_message(Cut::Sent, header.key, header.sequence);
        if effect == Effect::Close {
            return Next::Closed;
        }
        self.outbox.wrote(frame.len());
        match (effect, tampered.held.take()) {
            (_, Some((held, _))) => frame.extend_from_slice(&held),
            (Effect::Reorder, None) => {
                tampered.held = Some((frame, clock::after(FOLLOWER)));
                return self.fill(tampered);
            }
            (effect, None) => tamper::tamper(&mut frame, 0, effect),
        }
        tampered.bytes = frame;
        Next::Tampered
    }
}
