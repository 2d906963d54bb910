//! The stack of an actor: before it is killed because it hangs, and when somebody asks for it.
//!
//! ```text
//!  found hung ──▶ Asked ── Stack heard ──▶ Taken ──▶ killed
//!                   └───── overdue ──────▶ Late ───▶ killed     what is heard before its exit still counts
//!  asked for  ──▶ asker waits ── Stack heard, or overdue, or its exit ──▶ answered
//! ```
//!
//! One that hangs is killed in any case, also if it has recovered meanwhile: that it hung is decided. The loop does not
//! wait; each look for hangs looks for what is overdue too. One that has said that it panicked is dying, and finds the
//! symbols of its own backtrace meanwhile: it has as long for that, and is never said to hang.

use std::time::{Duration, Instant};

use super::Supervisor;
use super::peer::PeerId;
use crate::error::{SystemError, Unreachable};
use crate::report::{Exit, Hang};
use crate::wire::control::{Answer, Refusal, STACK, ToPeer};
use crate::wire::ids::ActorId;

/// How long the process may take to say its stack: finding the symbols of an executable takes some hundred milliseconds
/// at most where that code is optimized, and nobody should wait much longer for the restart. Up to one period of
/// looking (250 ms) comes on top.
const LIMIT: Duration = Duration::from_secs(1);

/// Most who may wait for one process's stack; who comes later gets none.
const ASKERS: usize = 64;

/// Who wants to see a process's stack, whatever becomes of it.
#[derive(Debug, Default)]
pub(super) struct Askers {
    waiting: Vec<(PeerId, u64)>,
    /// When they get no for an answer.
    until: Option<Instant>,
}

/// What is known of a process's stack.
#[derive(Debug, Default)]
pub(super) enum LastLook {
    /// It was never found to hang.
    #[default]
    None,
    /// It was asked for it, or dies of a panic: it is to be killed then at the latest.
    Asked { kill_at: Instant },
    /// It was killed without having answered.
    Late,
    /// Its answer.
    Taken(Option<String>),
}

impl LastLook {
    /// The stack, if there is one.
    pub(super) fn take(&mut self) -> Option<String> {
        match std::mem::take(self) {
            LastLook::Taken(text) => text,
            LastLook::None | LastLook::Asked { .. } | LastLook::Late => None,
        }
    }
}

impl Supervisor {
    /// An actor hangs: it is killed as soon as its stack is known, and soon in any case.
    pub(super) fn found_hung(&mut self, actor: ActorId, hang: Hang, now: Instant) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        let peer = child.peer.and_then(|id| Some((id, self.peers.get_mut(&id)?)));
        let Some((id, peer)) = peer.filter(|(_, peer)| can_answer(hang) || peer.panic.is_some()) else {
            self.kill_for(actor, Exit::Hung(hang));
            return;
        };
        if peer.panic.is_some() {
            if matches!(peer.last_look, LastLook::None) {
                peer.last_look = LastLook::Asked { kill_at: now + LIMIT };
            }
            return;
        }
        // From here on it counts as hung, whatever else ends it.
        child.killed_for.get_or_insert(Exit::Hung(hang));
        peer.last_look = LastLook::Asked { kill_at: now + LIMIT };
        self.say(id, &ToPeer::DumpStack);
    }

    /// Somebody wants to know what an actor is doing. It is not ended for it.
    pub(super) fn ask_for_stack(&mut self, asker: PeerId, number: u64, actor: ActorId) {
        let Some(child) = self.actors.get(&actor).filter(|child| !child.ended) else {
            let unknown = Refusal::System(SystemError::Unreachable(Unreachable::NoSuchActor));
            self.answer(asker, number, Err(unknown));
            return;
        };
        let peer = child.peer.and_then(|id| Some((id, self.peers.get_mut(&id)?)));
        let Some((id, peer)) = peer.filter(|(_, peer)| peer.askers.waiting.len() < ASKERS) else {
            self.answer(asker, number, Ok(Answer::Stack(None)));
            return;
        };
        let is_first = peer.askers.waiting.is_empty();
        peer.askers.waiting.push((asker, number));
        if is_first {
            peer.askers.until = Some(Instant::now() + LIMIT);
            self.say(id, &ToPeer::DumpStack);
        }
    }

    /// Whoever has asked for the stack of this process learns it, or that it is not to be had.
    pub(super) fn answer_askers(&mut self, peer: PeerId, text: Option<&str>) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        for (asker, number) in std::mem::take(&mut peer.askers).waiting {
            self.answer(asker, number, Ok(Answer::Stack(text.map(str::to_owned))));
        }
    }

    /// A process has said its stack, or that there is none to be had.
    pub(super) fn looked(&mut self, peer: PeerId, text: Option<String>) {
        let text = text.filter(|text| text.len() <= STACK);
        self.answer_askers(peer, text.as_deref());
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        let taken = LastLook::Taken(text);
        match std::mem::replace(&mut peer.last_look, taken) {
            LastLook::Asked { .. } => peer.kill(),
            LastLook::Late => {}
            // Nobody has asked, or it has answered.
            before @ (LastLook::None | LastLook::Taken(_)) => peer.last_look = before,
        }
    }

    /// Kills what was asked and has not answered in time; whoever only wanted to know is told that it did not.
    pub(super) fn end_overdue_looks(&mut self, now: Instant) {
        let overdue = |peer: &super::Peer| peer.askers.until.is_some_and(|until| until <= now);
        let unseen: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| overdue(peer)).map(|(id, _)| *id).collect();
        for peer in unseen {
            self.answer_askers(peer, None);
        }
        for peer in self.peers.values_mut() {
            if matches!(peer.last_look, LastLook::Asked { kill_at } if kill_at <= now) {
                peer.last_look = LastLook::Late;
                peer.kill();
            }
        }
    }
}

/// A stopped process runs no thread at all.
fn can_answer(hang: Hang) -> bool {
    match hang {
        Hang::NoProgress | Hang::Waiting => true,
        Hang::StoppedBySignal(_) => false,
    }
}
