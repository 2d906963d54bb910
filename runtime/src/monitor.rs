//! A program's own monitors: it is told of an actor's end without being an actor.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use crate::address::IntoRaw;
use crate::error::{Result, SystemError};
use crate::event::Down;
use crate::node::Node;
use crate::system::system_error;
use crate::wire::control::{Answer, Refusal, Request};
use crate::wire::ids::RawAddress;

/// Tells a program when a life of an actor ends; from [`System::monitor`](crate::System::monitor). Dropping it ends it.
#[derive(Debug)]
#[must_use = "a monitor that is dropped tells nothing"]
pub struct Monitor {
    number: u64,
    down: oneshot::Receiver<Down>,
    node: Weak<Node>,
}

impl Monitor {
    pub(crate) async fn begin(node: &Arc<Node>, actor: &impl IntoRaw) -> Result<Monitor, SystemError> {
        let (number, down, answer) = node.begin_monitor(actor.raw());
        // From here on, so that whoever gives up before the answer leaves nothing behind.
        let monitor = Monitor { number, down, node: Arc::downgrade(node) };
        match answer.await.unwrap_or(Err(Refusal::System(SystemError::ShuttingDown))) {
            Ok(_) => Ok(monitor),
            Err(refusal) => {
                node.forget_monitor(number);
                Err(system_error(Err(refusal)))
            }
        }
    }

    /// Waits until that life has ended, and says how.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`] when the system is gone before.
    pub async fn down(mut self) -> Result<Down, SystemError> {
        (&mut self.down).await.map_err(|_| SystemError::ShuttingDown)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            node.end_monitor(self.number);
        }
    }
}

/// Monitors `address` for an actor, whose `Down` is a message; says the monitor's number.
pub(crate) async fn begin_for_actor(node: &Node, address: RawAddress) -> Result<u64, SystemError> {
    let (number, answer) = node.request_numbered(Request::Monitor { address });
    // Of a monitor that nobody waited for, nobody knows the number.
    let mut unknown = Unknown { node, number: Some(number) };
    let answered = answer.await;
    unknown.number = None;
    match answered {
        Ok(Ok(Answer::Done)) => Ok(number),
        Ok(Err(Refusal::Unreachable(reason))) => Err(SystemError::Unreachable(reason)),
        _ => Err(SystemError::ShuttingDown),
    }
}

/// A monitor whose number nobody has been told yet; dropped, it ends.
struct Unknown<'a> {
    node: &'a Node,
    number: Option<u64>,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.node.demonitor(number);
        }
    }
}
