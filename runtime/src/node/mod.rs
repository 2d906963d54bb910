//! One process's end of the system, the same in the program and in every actor process: its control link, the links
//! on which it sends, and the links on which it is sent to.
//!
//! - [`Node`]: who this process is, and its conversation with the supervisor.
//! - [`outgoing`]: one link on which this process sends; [`driver`] moves its bytes; [`pending`] keeps its asks.
//! - [`tampered`]: the same bytes as a fault plan wants them.
//! - [`mailbox`]: all links on which this process is sent to; [`incoming`] is one of them.
//! - [`watched`]: the groups whose members this process watches. [`listeners`]: who listens to the system's events.
//! - [`turn`]: polls the drivers beside the future that the process lives in.
//! - [`call`]: the message in whose handling this thread is.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::error::{SystemError, Unreachable};
use crate::event::Down;
use crate::fault::here::{Tell, Who};
use crate::fault::{self, Injector};
use crate::process::recorder::Recorder;
use crate::sync::lock;
use crate::wire::control::{Answer, Refusal, Request, ToPeer, ToSupervisor};
use crate::wire::conversation;
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::{ActorId, Incarnation, LinkId, RawAddress, SystemId};
use crate::wire::transport;

pub(crate) mod call;
mod driver;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod incoming;
mod listeners;
pub(crate) mod mailbox;
pub(crate) mod outgoing;
mod pending;
mod tampered;
pub(crate) mod turn;
pub(crate) mod watched;

use listeners::{Listener, Listeners};
use mailbox::{Arrival, Notice};
use outgoing::OutLink;
use turn::Turn;
use watched::{Watched, Watches};

pub(crate) use incoming::{InLink, LinkError};
pub(crate) use pending::Outcome;

/// Who a process is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) system: SystemId,
    pub(crate) actor: ActorId,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
}

/// This process's end of one system.
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) runtime: Handle,
    speaker: Mutex<Speaker>,
    requests: Mutex<Requests>,
    links: Mutex<Links>,
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// What polls the drivers of outgoing links; without one they are tasks.
    turn: Option<Arc<Turn>>,
    listeners: Mutex<Listeners>,
    watches: Mutex<Watches>,
    /// Of the program itself, by their numbers: an actor's `Down`s are messages.
    monitors: Mutex<HashMap<u64, oneshot::Sender<Down>>>,
}

#[derive(Default)]
struct Requests {
    last: u64,
    waiting: HashMap<u64, Waiting>,
    closed: bool,
}

/// Where the supervisor's answer comes out; without one when it is gone.
pub(crate) type Answered = oneshot::Receiver<Result<Answer, Refusal>>;

enum Waiting {
    Answer(oneshot::Sender<Result<Answer, Refusal>>),
    Link(Arc<OutLink>),
    Events(Listener, oneshot::Sender<Result<Answer, Refusal>>),
}

#[derive(Default)]
struct Links {
    by_address: HashMap<RawAddress, Arc<OutLink>>,
    by_id: HashMap<LinkId, Arc<OutLink>>,
}

/// Every node of this process: an address that arrives in a message finds its way through here. A test process may
/// hold several.
static NODES: RwLock<Vec<(SystemId, Weak<Node>)>> = RwLock::new(Vec::new());

/// Most links on which one process sends: below the recorder's rows, and far below what a descriptor table holds.
const LINK_LIMIT: usize = 8192;

impl Node {
    /// Takes up the conversation: introduces itself on `control`, unless that is done. Arrivals for the mailbox go into `arrivals`.
    pub(crate) fn new(
        identity: Identity,
        role: Option<Role>,
        control: OwnedFd,
        recorder: Arc<Recorder>,
        arrivals: mpsc::UnboundedSender<Arrival>,
        turn: Option<Arc<Turn>>,
    ) -> Arc<Node> {
        let node = Arc::new(Node {
            speaker: Mutex::new(Speaker { control, scratch: Vec::new() }),
            recorder,
            runtime: Handle::current(),
            requests: Mutex::default(),
            links: Mutex::default(),
            arrivals,
            turn,
            listeners: Mutex::default(),
            watches: Mutex::default(),
            monitors: Mutex::default(),
            identity,
        });
        if let Some(role) = role {
            lock(&node.speaker).introduce(Hello { role, system: node.identity.system });
        }
        let mut nodes = NODES.write().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|(_, node)| node.strong_count() > 0);
        nodes.push((node.identity.system, Arc::downgrade(&node)));
        node
    }

    /// This process's node in `system`, if it has one: of several, the first that is not closed, or better the one whose
    /// tasks run in the caller's tokio runtime.
    pub(crate) fn of(system: SystemId) -> Option<Arc<Node>> {
        let nodes = NODES.read().unwrap_or_else(PoisonError::into_inner);
        let nodes = nodes.iter().filter(|(id, _)| *id == system).filter_map(|(_, node)| node.upgrade());
        nodes.min_by_key(|node| (node.is_closed(), !node.is_of_this_runtime()))
    }

    /// Whether its tasks run in the tokio runtime from which this is called.
    pub(crate) fn is_of_this_runtime(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime.id())
    }

    /// Whether its supervisor is gone, or the runtime in which it heard that.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.requests).closed
    }

    /// Says something to the supervisor. If it is gone there is nobody to tell, and this process ends soon.
    pub(crate) fn say(&self, message: &ToSupervisor) {
        lock(&self.speaker).say(message);
    }

    /// Says something in a panic: not if this thread may be in the middle of saying something else.
    pub(crate) fn try_say(&self, message: &ToSupervisor) {
        if let Ok(mut speaker) = self.speaker.try_lock() {
            speaker.say(message);
        }
    }

    /// Says something although another thread may be in the middle of saying something else, for ever. Whether it was
    /// said within `limit`.
    pub(crate) fn say_within(&self, message: &ToSupervisor, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.speaker.try_lock() {
                Ok(mut speaker) => {
                    speaker.say(message);
                    return true;
                }
                Err(TryLockError::Poisoned(_)) => return false,
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return false,
                // Nobody wakes whoever waits with an end. A frame takes microseconds.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Asks the supervisor and waits for its answer.
    pub(crate) async fn request(&self, request: Request) -> Result<Answer, Refusal> {
        self.request_numbered(request).1.await.unwrap_or(Err(Refusal::System(SystemError::ShuttingDown)))
    }

    /// The same, with the request's number at once: a monitor is known by it.
    pub(crate) fn request_numbered(&self, request: Request) -> (u64, Answered) {
        let (waiter, answer) = oneshot::channel();
        (self.ask_supervisor(request, Waiting::Answer(waiter)), answer)
    }

    fn ask_supervisor(&self, request: Request, waiting: Waiting) -> u64 {
        let number = {
            let mut requests = lock(&self.requests);
            requests.last += 1;
            let number = requests.last;
            if requests.closed {
                drop(requests);
                match waiting {
                    Waiting::Link(link) => link.gone(Unreachable::ShuttingDown),
                    Waiting::Events(..) => lock(&self.listeners).answered(None),
                    Waiting::Answer(_) => {}
                }
                return number;
            }
            requests.waiting.insert(number, waiting);
            number
        };
        self.say(&ToSupervisor::Request { number, request });
        number
    }

    /// The link to `address`: the one there is, or a new one that is being asked for.
    pub(crate) fn link_to(self: &Arc<Self>, address: RawAddress) -> Result<Arc<OutLink>, Unreachable> {
        if address.system != self.identity.system || address.version != RawAddress::VERSION {
            return Err(Unreachable::OtherSystem);
        }
        let link = {
            let mut links = lock(&self.links);
            if let Some(link) = links.by_address.get(&address) {
                return Ok(Arc::clone(link));
            }
            if links.by_address.len() >= LINK_LIMIT {
                return Err(Unreachable::TooManyLinks);
            }
            let link = OutLink::new(address, self);
            links.by_address.insert(address, Arc::clone(&link));
            link
        };
        let driver = driver::drive(Arc::clone(&link));
        match &self.turn {
            Some(turn) => turn.add(driver),
            None => drop(self.runtime.spawn(driver)),
        }
        self.ask_supervisor(Request::Link { address }, Waiting::Link(Arc::clone(&link)));
        Ok(link)
    }

    /// Hears what the supervisor said, with the descriptors for which there was room. Runs on the runtime's thread.
    pub(crate) fn hear(self: &Arc<Self>, message: ToPeer, descriptors: Vec<OwnedFd>) {
        let socket = descriptors.into_iter().next();
        match message {
            ToPeer::Answer { number, answer } => self.answered(number, answer),
            ToPeer::LinkUp { link, incarnation } => {
                if let Some(link) = self.by_id(link) {
                    link.up(socket, incarnation);
                }
            }
            ToPeer::LinkDown { link, told, report } => {
                if let Some(link) = self.by_id(link) {
                    link.receiver_died(told, &report);
                }
            }
            ToPeer::LinkGone { link, reason } => {
                if let Some(out) = self.by_id(link) {
                    out.gone(reason);
                    self.forget(&out);
                    self.say(&ToSupervisor::LinkForgotten { link });
                }
            }
            ToPeer::IncomingUp { link, sender, slot, resume_after, window, reply_address, answers_only } => {
                // Without a descriptor left to take it, its sender sees the end of its own socket, and asks for another.
                if let Some(socket) = socket {
                    self.arrive(Arrival::LinkUp(Box::new(mailbox::NewLink {
                        link,
                        sender,
                        slot,
                        resume_after,
                        window,
                        reply_address,
                        answers_only,
                        socket,
                    })));
                }
            }
            ToPeer::IncomingClosed { link } => self.arrive(Arrival::LinkClosed(link)),
            ToPeer::Down { down, after } => self.arrive(Arrival::Notice(Notice::Down(down), after)),
            ToPeer::Membership { membership, after } => {
                self.arrive(Arrival::Notice(Notice::Membership(membership), after));
            }
            ToPeer::Member { watch, address, incarnation, joined } => {
                let watched = lock(&self.watches).get(watch);
                if let Some(watched) = watched {
                    watched.take_in((address, incarnation), joined);
                }
            }
            ToPeer::Stop => self.arrive(Arrival::Stop),
            ToPeer::Event { at, event } => {
                let mut listeners = lock(&self.listeners);
                if !listeners.tell(at, &event) {
                    self.nobody_listens();
                }
            }
            ToPeer::Faults(injector) => self.take_faults(*injector),
            // An actor's control thread has answered it, and the program is not asked.
            ToPeer::DumpStack => {}
            // A ticket is for a process that does not have one yet.
            ToPeer::Start(_) => tracing::warn!("the supervisor sent a second ticket; it is ignored"),
        }
    }

    /// Takes up a fault plan for this thread.
    fn take_faults(self: &Arc<Self>, injector: Injector) {
        let Identity { actor, name, incarnation, .. } = self.identity.clone();
        fault::install(injector, Who { actor, name, incarnation }, self.tell_of_faults());
    }

    /// How a fault that is injected here is told.
    pub(crate) fn tell_of_faults(self: &Arc<Self>) -> Tell {
        let node = Arc::downgrade(self);
        Rc::new(move |injection| {
            if let Some(node) = node.upgrade() {
                node.say(&ToSupervisor::Injected(Box::new(injection)));
            }
        })
    }

    fn answered(&self, number: u64, answer: Result<Answer, Refusal>) {
        let waiting = lock(&self.requests).waiting.remove(&number);
        match waiting {
            Some(Waiting::Answer(waiter)) => {
                // Whoever asked may have gone.
                let _ = waiter.send(answer);
            }
            Some(Waiting::Link(out)) => match answer {
                Ok(Answer::Link { link, slot, window, redelivery }) => {
                    lock(&self.links).by_id.insert(link, Arc::clone(&out));
                    out.granted(link, slot, window, redelivery);
                }
                Err(Refusal::Unreachable(reason)) => {
                    out.gone(reason);
                    self.forget(&out);
                }
                Ok(_) | Err(_) => {
                    out.gone(Unreachable::ShuttingDown);
                    self.forget(&out);
                }
            },
            Some(Waiting::Events(listener, waiter)) => {
                let listener = matches!(answer, Ok(Answer::Done)).then_some(listener);
                lock(&self.listeners).answered(listener);
                // Whoever asked may have gone; the next event finds that out.
                let _ = waiter.send(answer);
            }
            None => {}
        }
    }

    /// Something for the mailbox.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        // A mailbox that has gone takes nothing more.
        let _ = self.arrivals.send(arrival);
    }

    /// Asks for a monitor of the program itself: its number, where its `Down` comes out, and where the answer does.
    pub(crate) fn begin_monitor(&self, address: RawAddress) -> (u64, oneshot::Receiver<Down>, Answered) {
        let (sender, receiver) = oneshot::channel();
        // Its `Down` may come at once.
        let mut monitors = lock(&self.monitors);
        let (number, answer) = self.request_numbered(Request::Monitor { address });
        monitors.insert(number, sender);
        (number, receiver, answer)
    }

    /// A monitor of the program that the supervisor has refused: there is nothing to end.
    pub(crate) fn forget_monitor(&self, number: u64) {
        lock(&self.monitors).remove(&number);
    }

    /// Ends a monitor of the program, unless it has told all that it had to.
    pub(crate) fn end_monitor(&self, number: u64) {
        let stands = lock(&self.monitors).remove(&number).is_some();
        if stands {
            self.demonitor(number);
        }
    }

    /// Asks the supervisor to end a monitor, the program's or an actor's. The answer is not waited for.
    pub(crate) fn demonitor(&self, number: u64) {
        drop(self.request_numbered(Request::Demonitor { monitor: number }));
    }

    /// An actor has ended that the program monitors.
    pub(crate) fn told_down(&self, down: Down) {
        if let Some(monitor) = lock(&self.monitors).remove(&down.monitor) {
            // Whoever asked may have gone.
            let _ = monitor.send(down);
        }
    }

    /// A place for the members of a group that is about to be watched, and the watch's number.
    pub(crate) fn begin_watch(&self) -> (u64, Arc<Watched>) {
        lock(&self.watches).add()
    }

    /// The number of a watch that is told of by messages.
    pub(crate) fn watch_number(&self) -> u64 {
        lock(&self.watches).number()
    }

    /// Nobody looks any more. The supervisor's answer is not waited for.
    pub(crate) fn end_watch(&self, watch: u64) {
        lock(&self.watches).remove(watch);
        drop(self.request_numbered(Request::Unwatch { watch }));
    }

    /// An ask that was sent on `link` ends, by the word of a third party.
    pub(crate) fn end_ask(&self, link: LinkId, end: impl FnOnce(&OutLink)) {
        if let Some(link) = self.by_id(link) {
            end(&link);
        }
    }

    /// An actor that holds rights to answer this process's asks has died.
    pub(crate) fn holder_died(&self, holder: ActorId) {
        for link in self.all_links() {
            link.holder_died(holder);
        }
    }

    /// Waits until every message that this process has sent is processed or otherwise settled.
    pub(crate) async fn settled(&self) {
        for link in self.all_links() {
            link.settled().await;
        }
    }

    /// The supervisor is gone, or this end of the system is closed: nothing waits any longer.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut requests = lock(&self.requests);
            requests.closed = true;
            std::mem::take(&mut requests.waiting)
        };
        drop(waiting);
        lock(&self.listeners).close();
        lock(&self.monitors).clear();
        lock(&self.watches).close();
        for link in self.all_links() {
            link.gone(Unreachable::ShuttingDown);
        }
    }

    fn all_links(&self) -> Vec<Arc<OutLink>> {
        lock(&self.links).by_address.values().cloned().collect()
    }

    fn by_id(&self, link: LinkId) -> Option<Arc<OutLink>> {
        lock(&self.links).by_id.get(&link).cloned()
    }

    fn forget(&self, link: &Arc<OutLink>) {
        let mut links = lock(&self.links);
        links.by_address.remove(&link.receiver);
        links.by_id.retain(|_, other| !Arc::ptr_eq(other, link));
    }
}

/// The writing half of the control link. Whole frames under one lock, so that no two ever mix.
struct Speaker {
    control: OwnedFd,
    scratch: Vec<u8>,
}

impl Speaker {
    fn introduce(&mut self, hello: Hello) {
        self.write(&hello.encode(), &[]);
    }

    fn say(&mut self, message: &ToSupervisor) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        match conversation::append(&mut scratch, message, 0) {
            Ok(beside) => self.write(&scratch, &beside),
            Err(error) => tracing::error!(%error, "a message to the supervisor was not sent"),
        }
        self.scratch = scratch;
    }

    fn write(&self, bytes: &[u8], descriptors: &[Arc<OwnedFd>]) {
        use std::os::fd::AsFd;
        if let Err(error) = transport::write_all(self.control.as_fd(), bytes, descriptors) {
            // The reading half sees the same end and acts on it.
            tracing::debug!(%error, "the supervisor does not read any more");
        }
    }
}

#[cfg(test)]
mod tests;
