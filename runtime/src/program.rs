//! The program's own end of its system: the closure given to `run` or `test`, beside the supervisor's thread.
//!
//! The closure and the program's links share one thread and one runtime, so a reply wakes the closure without a hop to
//! another thread. Only a program that blocks that thread delays its own replies; the supervisor is never delayed.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use crate::System;
use crate::error::{Result, SystemError};
use crate::fault;
use crate::node::mailbox::{Mailbox, Next, Notice};
use crate::node::turn::Turn;
use crate::node::{Identity, Node};
use crate::process::cgroup::Groups;
use crate::process::recorder::Recorder;
use crate::process::{capture, descriptors};
use crate::supervisor::{self, Begin, End, Launch};
use crate::sync::lock;
use crate::wire::control::{Refusal, Request, ToPeer, ToSupervisor};
use crate::wire::conversation::{ConversationError, Listener};
use crate::wire::frame::{FrameError, Kind};
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::{ActorId, Incarnation, SystemId};
use crate::wire::place::{self, PlaceError};
use crate::wire::transport::{ControlStream, write_all};

/// How long a program that has ended waits until what it has sent is handled.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the output of children may take to be written at the end.
const OUTPUT: Duration = Duration::from_secs(1);

/// How a program ended.
pub(crate) struct Ended<T> {
    /// What the closure returned; `None` if it was interrupted.
    pub(crate) result: Option<Result<T>>,
    pub(crate) supervisor: End,
}

/// The way into a system for other threads of its program's process: they attach with [`attach_within`].
pub(crate) type Within = mpsc::UnboundedSender<OwnedFd>;

/// Runs `main` in a new system, then shuts the system down.
///
/// # Errors
/// When the operating system gives no sockets, memory or thread to begin with.
pub(crate) fn run<T, F>(launch: Launch, main: F) -> std::io::Result<Ended<T>>
where
    F: AsyncFnOnce(System, Within) -> Result<T>,
{
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    // 0 means "unknown" in a hello.
    let system = SystemId(u64::from_le_bytes(bytes).max(1));
    let cgroups = Groups::begin(&launch.cgroup, &format!("{:x}", system.0)).map_err(std::io::Error::other)?;
    let (program, theirs) = descriptors::socket_pair()?;
    let (page, page_descriptor) = Recorder::create()?;
    let (within, attaching) = mpsc::unbounded_channel();
    let program_page = Recorder::open(page_descriptor)?;
    let begin = Begin { system, launch, cgroups, program: theirs, program_page, attaching };
    let supervisor =
        std::thread::Builder::new().name("supervisor".into()).spawn(move || supervisor::run(begin))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let turn = Turn::new();
    let result = runtime.block_on(turn.run(async {
        let (arrivals, arriving) = mpsc::unbounded_channel();
        let control = ControlStream::new(program)?;
        let identity =
            Identity { system, actor: ActorId::PROGRAM, incarnation: Incarnation(1), name: "program".into() };
        let node = Node::new(
            identity,
            Some(Role::Program),
            control.writer()?,
            Arc::new(page),
            arrivals,
            Some(Arc::clone(&turn)),
        );
        tokio::spawn(listen(Hearing(Arc::clone(&node)), control, Listener::new(Role::Supervisor, system)));
        let stop = Arc::new(Notify::new());
        let mailbox = Mailbox::new(Arc::clone(&node), arriving, false);
        tokio::spawn(take_answers(Arc::clone(&node), mailbox, Arc::clone(&stop)));
        let result = tokio::select! {
            biased;
            () = stop.notified() => None,
            result = main(System::new(Arc::clone(&node)), within) => Some(result),
        };
        shut_down(&node).await;
        Ok::<_, std::io::Error>(result)
    }))?;
    drop(runtime);
    fault::uninstall();
    let supervisor =
        supervisor.join().map_err(|_| std::io::Error::other("the supervisor's thread panicked"))??;
    capture::flush(OUTPUT);
    Ok(Ended { result, supervisor })
}

/// Why a program did not attach.
#[derive(Debug, Error)]
pub(crate) enum AttachError {
    #[error("{0}")]
    Place(#[from] PlaceError),
    #[error("failed to attach: {0}")]
    Socket(#[from] std::io::Error),
    #[error("failed to attach: {0}")]
    Conversation(#[from] ConversationError),
    #[error(
        "failed to attach: the system turned this program away, and its log says why: too many are attached, no descriptors \
         are left, or it is ending"
    )]
    TurnedAway,
}

/// What this process is attached to: by whose socket, and its end.
static ATTACHED: Mutex<Vec<(PathBuf, Weak<Node>)>> = Mutex::new(Vec::new());

/// Attaches to the system that listens as `name`; the ticket says who this program is to it. Again in the same tokio
/// runtime, it is the same.
pub(crate) async fn attach(name: &str) -> std::result::Result<Arc<Node>, AttachError> {
    let path = place::find(name)?;
    if let Some(node) = attached_before(&path).await {
        return Ok(node);
    }
    let control = match ControlStream::connect(&path).await {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Err(PlaceError::Nobody(name.to_owned()).into());
        }
        connected => connected?,
    };
    let node = introduce(control).await?;
    let mut attached = lock(&ATTACHED);
    attached.retain(|(_, node)| node.upgrade().is_some_and(|node| !node.is_closed()));
    attached.push((path, Arc::downgrade(&node)));
    Ok(node)
}

/// This runtime's end of the system behind this socket, if there is one and that system still answers: another may have
/// taken its place.
async fn attached_before(path: &Path) -> Option<Arc<Node>> {
    let node = lock(&ATTACHED)
        .iter()
        .filter(|(of, _)| of == path)
        .filter_map(|(_, node)| node.upgrade())
        .find(|node| !node.is_closed() && node.is_of_this_runtime())?;
    let answer = node.request(Request::Info { actor: node.identity.actor }).await;
    (!matches!(answer, Err(Refusal::System(SystemError::ShuttingDown)))).then_some(node)
}

/// The same, from another thread of the program's own process.
pub(crate) async fn attach_within(within: &Within) -> std::result::Result<Arc<Node>, AttachError> {
    let (ours, theirs) = descriptors::socket_pair()?;
    within.send(theirs).map_err(|_| AttachError::TurnedAway)?;
    introduce(ControlStream::new(ours)?).await
}

async fn introduce(control: ControlStream) -> std::result::Result<Arc<Node>, AttachError> {
    // Before the ticket comes, so that neither waits for the other.
    write_all(control.writer()?.as_fd(), &Hello { role: Role::Outside, system: SystemId(0) }.encode(), &[])?;
    let mut listener = Listener::new(Role::Supervisor, SystemId(0));
    let mut buffer = vec![0; 4096];
    let (ticket, page) = loop {
        if let Some((message, mut descriptors)) = listener.next::<ToPeer>()? {
            match (message, descriptors.pop()) {
                (ToPeer::Start(ticket), Some(page)) => break (ticket, page),
                _ => return Err(AttachError::TurnedAway),
            }
        }
        match control.read(&mut buffer, &mut listener.descriptors).await {
            Ok(read) if read > 0 => listener.heard(&buffer[..read]),
            _ => return Err(AttachError::TurnedAway),
        }
    };
    let identity = Identity {
        system: ticket.system,
        actor: ticket.actor,
        incarnation: ticket.incarnation,
        name: ticket.name,
    };
    let (arrivals, arriving) = mpsc::unbounded_channel();
    let node = Node::new(identity, None, control.writer()?, Arc::new(Recorder::open(page)?), arrivals, None);
    tokio::spawn(listen(Hearing(Arc::clone(&node)), control, listener));
    let mailbox = Mailbox::new(Arc::clone(&node), arriving, false);
    tokio::spawn(take_answers(Arc::clone(&node), mailbox, Arc::default()));
    Ok(node)
}

/// First everything that was accepted is handled, then every actor is stopped in reverse order.
async fn shut_down(node: &Arc<Node>) {
    if tokio::time::timeout(SETTLE, node.settled()).await.is_err() {
        tracing::warn!("the program ends although not everything that it sent is handled");
    }
    // An answer that is no answer means that the supervisor is gone: then so are the actors.
    let _ = node.request(Request::Shutdown).await;
    node.say(&ToSupervisor::Goodbye { finished: true });
    node.close();
}

/// Closes a node when nobody hears its supervisor any more: also when a runtime ends before its tasks have begun.
struct Hearing(Arc<Node>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Hears the supervisor.
async fn listen(hearing: Hearing, control: ControlStream, mut listener: Listener) {
    let Hearing(node) = &hearing;
    let mut buffer = vec![0; 16 << 10];
    loop {
        loop {
            match listener.next::<ToPeer>() {
                Ok(Some((message, descriptors))) => node.hear(message, descriptors),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the supervisor said what is no control message");
                    return;
                }
            }
        }
        match control.read(&mut buffer, &mut listener.descriptors).await {
            Ok(read) if read > 0 => listener.heard(&buffer[..read]),
            _ => return,
        }
    }
}

/// The program is no actor, but others may answer its asks, and it may monitor them: serves the links that carry such
/// answers, and takes its `Down`s in behind them.
async fn take_answers(node: Arc<Node>, mut mailbox: Mailbox, stop: Arc<Notify>) {
    loop {
        match poll_fn(|cx| mailbox.poll_next(cx)).await {
            // The mailbox takes answers in by itself, and nothing else may be sent to a program.
            Next::Link(place) => mailbox.refuse(place, &FrameError::Unexpected(Kind::Tell).into()),
            Next::Notice(Notice::Down(down)) => node.told_down(down),
            Next::Notice(_) => {}
            Next::Stop => {
                stop.notify_one();
                mailbox.went_on();
            }
            Next::Lost => return,
        }
    }
}
