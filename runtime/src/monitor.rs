//! A program's own monitors: it is told of an actor's end without being an actor.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use crate::address::IntoRaw;
use crate::error::{Result, SystemError};
use crate::event::Down;
use crate::node::Node;
use crate::system::system_error;
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
        let address: RawAddress = actor.raw();
        match node.monitor(address).await {
            Ok((number, down)) => Ok(Monitor { number, down, node: Arc::downgrade(node) }),
            Err(refusal) => Err(system_error(Err(refusal))),
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
