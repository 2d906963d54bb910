//! The control thread: the sole reader of the control link. When the link ends, so does the process, at once and in
//! the middle of whatever it was doing; that path allocates nothing.
//!
//! What it hears is for the actor's own thread, except for one thing: it looks at that thread itself when the thread
//! hangs. The link's end is not seen meanwhile, for a second at most unless the hung thread keeps the allocator to
//! itself; the kernel's death signal ends such a process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::last_look::LookedAt;
use crate::process::child;
use crate::wire::control::ToPeer;
use crate::wire::conversation::Listener;
use crate::wire::transport::BlockingControl;

/// Exit code of a process whose supervisor has gone.
const ORPHANED: i32 = 71;
/// Exit code of a process that was told more than it could take, or was told nonsense.
const OVERWHELMED: i32 = 72;
/// Control messages that may wait for a busy actor: each of its links and monitors many times over. One that is
/// further behind will not catch up.
const BACKLOG: usize = 1 << 16;

/// Bytes of stack: reading and decoding flat messages needs little of it, finding the symbols of a stack more.
const STACK_SIZE: usize = 256 << 10;

/// A control message and its descriptors.
pub(super) type Heard = (ToPeer, Vec<OwnedFd>);

/// What the control thread has heard and the actor has not taken yet.
pub(super) struct Backlog {
    pub(super) heard: mpsc::UnboundedReceiver<Heard>,
    waiting: Arc<AtomicUsize>,
}

impl Backlog {
    /// The next one.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        let heard = self.heard.recv().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(heard)
    }
}

/// Starts the thread.
///
/// # Errors
/// When the system gives none.
pub(super) fn listen(
    control: BlockingControl,
    mut listener: Listener,
    actor: LookedAt,
) -> std::io::Result<Backlog> {
    let (sender, heard) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&waiting);
    std::thread::Builder::new().name("control".into()).stack_size(STACK_SIZE).spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        loop {
            loop {
                match listener.next::<ToPeer>() {
                    Ok(Some((ToPeer::DumpStack, _))) => actor.look(),
                    Ok(Some(heard)) => {
                        if count.fetch_add(1, Ordering::Relaxed) > BACKLOG || sender.send(heard).is_err() {
                            child::exit_now(OVERWHELMED);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        eprintln!("watertight: the supervisor said what is no control message: {error}");
                        child::exit_now(OVERWHELMED);
                    }
                }
            }
            match control.read(&mut buffer, &mut listener.descriptors) {
                Ok(read) if read > 0 => listener.heard(&buffer[..read]),
                _ => child::exit_with_group(ORPHANED),
            }
        }
    })?;
    Ok(Backlog { heard, waiting })
}
