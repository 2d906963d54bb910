//! Before a hung actor is killed: its stack, if its process can still say it.
//!
//! ```text
//!  found hung ──▶ Asked ── Stack heard ──▶ Taken ──▶ killed
//!                   └───── overdue ──────▶ Late ───▶ killed     what is heard before its exit still counts
//! ```
//!
//! It is killed in any case, also if it has recovered meanwhile: that it hung is decided. The loop does not wait; each
//! look for hangs looks for what is overdue too.

use std::time::{Duration, Instant};

use super::Supervisor;
use super::peer::PeerId;
use crate::report::{Exit, Hang};
use crate::wire::control::{STACK, ToPeer};
use crate::wire::ids::ActorId;

/// How long the process may take to say its stack: finding the symbols of an executable takes some hundred milliseconds
/// at most where that code is optimized, and nobody should wait much longer for the restart. Up to one period of
/// looking (250 ms) comes on top.
const LIMIT: Duration = Duration::from_secs(1);

/// What is known of a process's stack.
#[derive(Debug, Default)]
pub(super) enum LastLook {
    /// It was never found to hang.
    #[default]
    None,
    /// It is to be killed then at the latest.
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
        let peer = child.peer.filter(|_| can_answer(hang));
        let Some((id, peer)) = peer.and_then(|id| Some((id, self.peers.get_mut(&id)?))) else {
            self.kill_for(actor, Exit::Hung(hang));
            return;
        };
        // From here on it counts as hung, whatever else ends it.
        child.killed_for.get_or_insert(Exit::Hung(hang));
        peer.last_look = LastLook::Asked { kill_at: now + LIMIT };
        self.say(id, &ToPeer::DumpStack);
    }

    /// A process has said its stack, or that there is none to be had.
    pub(super) fn looked(&mut self, peer: PeerId, text: Option<String>) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        let taken = LastLook::Taken(text.filter(|text| text.len() <= STACK));
        match std::mem::replace(&mut peer.last_look, taken) {
            LastLook::Asked { .. } => peer.kill(),
            LastLook::Late => {}
            // Nobody has asked, or it has answered.
            before @ (LastLook::None | LastLook::Taken(_)) => peer.last_look = before,
        }
    }

    /// Kills what was asked and has not answered in time.
    pub(super) fn end_overdue_looks(&mut self, now: Instant) {
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
