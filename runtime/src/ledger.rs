//! The ledger law: everything accepted is accounted for.

use serde::{Deserialize, Serialize};

/// What became of the messages that were accepted for an actor, or for all actors.
///
/// At every quiet moment `accepted = processed + dead_lettered + in_doubt + died_with_sender`; before that, the
/// difference is `waiting`. Counted independently: acceptance by the senders' recorders, processing by the receiver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// `tell` or `ask` took it.
    pub accepted: u64,
    /// Its handler returned.
    pub processed: u64,
    /// It was not handled, and that was said: expired, refused, its receiver ended, or quarantined.
    pub dead_lettered: u64,
    /// Its handler was entered and the process died in it; its sender was told.
    pub in_doubt: u64,
    /// It died in the outbox of a sender that died.
    pub died_with_sender: u64,
    /// Of the accepted, how often one was given to a next incarnation. Not part of the law.
    pub redelivered: u64,
}

impl Ledger {
    /// Accepted and not accounted for yet. Negative would be a duplicate.
    pub fn waiting(&self) -> i64 {
        let settled = [self.processed, self.dead_lettered, self.in_doubt, self.died_with_sender];
        let settled = settled.into_iter().fold(0, u64::saturating_add);
        i64::try_from(self.accepted).unwrap_or(i64::MAX) - i64::try_from(settled).unwrap_or(i64::MAX)
    }

    /// For tests: that every message is accounted for.
    ///
    /// # Panics
    /// With all numbers, if it is not.
    #[track_caller]
    pub fn assert_even(&self) {
        assert!(self.is_balanced(), "{} messages are unaccounted for: {self}", self.waiting());
    }

    /// Whether the law holds and nothing waits.
    pub fn is_balanced(&self) -> bool {
        self.waiting() == 0
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accepted, processed, dead_lettered, in_doubt, died_with_sender, .. } = self;
        write!(
            f,
            "{accepted} accepted = {processed} processed + {dead_lettered} dead letters + {in_doubt} in doubt + \
             {died_with_sender} died with their sender"
        )?;
        if self.is_balanced() { Ok(()) } else { write!(f, " + {} UNACCOUNTED FOR", self.waiting()) }
    }
}

impl std::ops::AddAssign for Ledger {
    /// Saturating: a process that lies about its counts gets a sum that is wrong, and no more.
    fn add_assign(&mut self, other: Ledger) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.processed = self.processed.saturating_add(other.processed);
        self.dead_lettered = self.dead_lettered.saturating_add(other.dead_lettered);
        self.in_doubt = self.in_doubt.saturating_add(other.in_doubt);
        self.died_with_sender = self.died_with_sender.saturating_add(other.died_with_sender);
        self.redelivered = self.redelivered.saturating_add(other.redelivered);
    }
}
