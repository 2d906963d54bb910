//! Gives up workers that do not start any more: otherwise what was sent to them would wait for ever.
//!
//! A worker that dies of its tasks is restarted for as long as it takes. One that dies in its start, because the
//! initializer fails now or memory has run out, never answers; that is seen by its restarts without any answer.
//!
//! Each look also gives out what has come to wait behind a task that takes long.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use super::crew::Crew;
use crate::address::IntoRaw;
use crate::sync::lock;
use crate::wire::control::{Answer, Request};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// So many restarts between two looks and not one answer: a worker that works dies of a task, and that is an answer.
const VAIN: u64 = 10;

/// What was seen of a worker: its restarts, and its answers.
type Seen = (u64, u64);

/// Looks as long as there is a pool with something to do.
pub(super) async fn watch(crew: Weak<Crew>) {
    let mut seen: HashMap<usize, Seen> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(crew) = crew.upgrade() else { return };
        if crew.is_over() {
            return;
        }
        // Time alone may have made something worth taking over: nothing else tells an idle worker so.
        crew.give_out(&mut lock(&crew.state));
        let busy: Vec<_> = lock(&crew.state)
            .members
            .iter()
            .filter(|member| !member.is_idle())
            .map(|member| (member.number, member.address.raw(), member.stats.chunks + member.stats.deaths))
            .collect();
        for (number, address, answers) in busy {
            let Ok(Answer::Info(info)) = crew.node.request(Request::Info { actor: address.actor }).await
            else {
                continue;
            };
            let last = seen.insert(number, (info.restarts, answers));
            if let Some((restarts, before)) = last
                && before == answers
                && info.restarts >= restarts + VAIN
            {
                tracing::warn!(worker = info.name, "a worker does not start any more and is given up");
                // What was sent to it comes back with its end.
                let _ = crew.node.request(Request::Stop { address }).await;
            }
        }
    }
}
