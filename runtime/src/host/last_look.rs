//! What the actor's thread is doing when it hangs: asked for by the supervisor before it kills the process, and
//! answered by the control thread, since the other one cannot.

use std::sync::Weak;
use std::time::Duration;

use crate::node::Node;
use crate::process::stack::Watched;
use crate::wire::control::{STACK, ToSupervisor};

/// How long the hung thread may take to walk its stack. It takes less than a millisecond unless it does not get a
/// core, or blocks the signal.
const CAPTURE: Duration = Duration::from_millis(300);
/// How long the hung thread may keep the control link to itself. If it hangs there, nothing can be said.
const SPEAK: Duration = Duration::from_millis(100);

/// The actor's thread, as the control thread sees it.
pub(super) struct LookedAt {
    /// `None` if the kernel would not have it.
    thread: Option<Watched>,
    node: Weak<Node>,
}

impl LookedAt {
    /// The calling thread.
    pub(super) fn this_thread(node: Weak<Node>) -> LookedAt {
        let thread = Watched::this_thread()
            .inspect_err(|error| tracing::warn!(%error, "if this actor hangs, its stack will not be seen"));
        LookedAt { thread: thread.ok(), node }
    }

    /// Looks at the thread, and says what it does.
    pub(super) fn look(&self) {
        let Some(node) = self.node.upgrade() else { return };
        let stack = self.thread.and_then(|thread| thread.dump(CAPTURE));
        let text = stack.map(|stack| stack.describe(STACK));
        // If it cannot be said, the supervisor does without.
        node.say_within(&ToSupervisor::Stack { text }, SPEAK);
    }
}
