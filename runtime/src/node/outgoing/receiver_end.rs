//! The receiver's end: what becomes of what was sent to it and is not settled, and who is told.

use super::{OutLink, Phase, State};
use crate::delivery::outbox::{InHand, Lost};
use crate::error::{AskError, Executed, Unreachable};
use crate::node::Outcome;
use crate::report::CrashReport;
use crate::sync::lock;
use crate::wire::control::{DeadLetterReason, ToSupervisor, Told};
use crate::wire::ids::MessageKey;

impl OutLink {
    /// The receiver has died: first everything that it had still sent, then its recorder's word.
    pub(in crate::node) fn receiver_died(&self, told: Option<Told>, report: &CrashReport) {
        let mut state = lock(&self.state);
        self.drain(&mut state);
        if !matches!(state.phase, Phase::Gone(_)) {
            state.phase = Phase::Waiting;
        }
        (state.blocked, state.broken) = (false, false);
        match told {
            Some(told) => {
                // Its reply had left before the death, and counts: the recorder only shows that it had not gone on yet.
                if told.in_hand.is_some_and(|in_hand| in_hand <= state.outbox.acked())
                    && let (Some(node), Some(link)) = (self.node.upgrade(), state.link)
                {
                    node.say(&ToSupervisor::AnsweredInHand { link });
                }
                let redelivery = state.redelivery;
                let fate = state.outbox.receiver_died(told.processed, told.in_hand, redelivery);
                state.pending.receiver_died(told.processed, report);
                match fate {
                    InHand::Nothing => {}
                    InHand::Redelivered(_) => {
                        if let Some(row) = &state.row {
                            row.add_redelivered(1);
                        }
                    }
                    InHand::InDoubt(lost) => self.lose(&mut state, &lost, DeadLetterReason::InDoubt, report),
                    InHand::Quarantined(lost) => {
                        self.lose(&mut state, &lost, DeadLetterReason::Quarantined, report)
                    }
                }
            }
            None => {
                if let (Some(node), Some(link)) = (self.node.upgrade(), state.link) {
                    let processed = state.outbox.acked().0.saturating_sub(state.base.0);
                    node.say(&ToSupervisor::ProcessedUntold { link, processed });
                }
                for lost in state.outbox.receiver_died_untold() {
                    self.lose(&mut state, &lost, DeadLetterReason::InDoubt, report);
                }
            }
        }
        state.base = state.outbox.acked();
        self.changed.notify_waiters();
    }

    /// The receiver will not come back: what waits for it is a dead letter, and every ask ends.
    pub(in crate::node) fn gone(&self, reason: Unreachable) {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Gone(_)) {
            return;
        }
        self.drain(&mut state);
        state.phase = Phase::Gone(reason.clone());
        let lost = state.outbox.discard();
        if let Some(row) = &state.row {
            row.add_dead_lettered(lost.len() as u64);
        }
        state.pending.receiver_gone(&reason);
        state.wake_driver();
        if let Some(first) = lost.first() {
            tracing::warn!(receiver = %self.receiver.actor, count = lost.len(), %reason, "dead letters");
            self.report_dead(&state, DeadLetterReason::ReceiverEnded, first.key, lost.len() as u64);
        }
        self.changed.notify_waiters();
    }

    /// One message was in hand and will not run again.
    fn lose(&self, state: &mut State, lost: &Lost, reason: DeadLetterReason, report: &CrashReport) {
        let mut report = Box::new(report.clone());
        if let Some(in_hand) = &mut report.in_hand {
            in_hand.bytes = Some(lost.bytes as u64);
        }
        let quarantined = reason == DeadLetterReason::Quarantined;
        if let Some(row) = &state.row {
            if quarantined { row.add_dead_lettered(1) } else { row.add_in_doubt(1) }
        }
        if lost.ask && !state.pending.is_forwarded(lost.sequence) {
            let error = if quarantined {
                AskError::Quarantined { attempts: lost.attempt, report }
            } else {
                AskError::Died { executed: Executed::Maybe, report }
            };
            state.pending.end(lost.sequence, Outcome::Failed(Box::new(error)));
        }
        if quarantined || !lost.ask {
            self.report_dead(state, reason, lost.key, 1);
        }
    }

    fn report_dead(&self, state: &State, reason: DeadLetterReason, key: MessageKey, count: u64) {
        if let (Some(node), Some(link)) = (self.node.upgrade(), state.link) {
            let receiver = self.receiver.actor;
            node.say(&ToSupervisor::DeadLetters { link, receiver, reason, key, count });
        }
    }
}
