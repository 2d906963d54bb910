//! All links on which this process is sent to, served in turn by the one task that handles messages.
//!
//! There is no queue of decoded messages: a message waits, encoded, in its sender's outbox, in the kernel, or in the
//! buffer of its link. While a handler is suspended, [`Mailbox::pump`] goes on reading, so that a call that would wait
//! for that very handler is refused at once.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::mpsc;

use super::Node;
use super::incoming::{InLink, LinkError, Parts};
use crate::fault::{self, Cut, Effect};
use crate::process::recorder::IncomingRow;
use crate::sync::lock;
use crate::wire::control::{ThirdPartyReply, ToSupervisor};
use crate::wire::frame::{Frame, FrameError, Header, Kind, Status};
use crate::wire::ids::{ActorId, LinkId, Sequence};
use crate::wire::passing::Beside;

mod arrival;
mod hearing_out;

pub(crate) use arrival::{Arrival, NewLink, Notice};

/// Bytes read from all links together and not handled yet; beyond it the rest waits in the kernel and at the senders.
const BUDGET: usize = 64 << 20;
/// Descriptors that came with those messages: a quarter of what a process usually may have open. What is still read
/// beyond it loses no message silently: its sender is told that the receiver has no descriptors left.
const DESCRIPTORS: usize = 256;
/// Messages of one link before the others get their turn.
const TURN: u32 = 256;
/// Reads in one run before the rest of the process gets its turn.
const READS: u32 = 64;

/// What there is to do next.
pub(crate) enum Next {
    /// There may be messages at this place.
    Link(usize),
    /// The supervisor has something to say.
    Notice(Notice),
    /// Everything that has arrived is handled, and the process has been asked to stop.
    Stop,
    /// The supervisor is gone.
    Lost,
}

/// All incoming links of a process.
pub(crate) struct Mailbox {
    node: Arc<Node>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// Whether the messages that are handled here may own descriptors.
    descriptors: bool,
    links: Vec<Option<Place>>,
    by_id: HashMap<LinkId, usize>,
    /// Places with bytes that are not handled yet.
    loaded: VecDeque<usize>,
    /// Places that were ready when the budget was used up.
    starved: Vec<usize>,
    ready: Arc<Ready>,
    notices: VecDeque<Notice>,
    /// What this process is handling, if its handler is suspended.
    in_hand: Option<(LinkId, Sequence)>,
    turn: u32,
    stopping: bool,
    lost: bool,
}

struct Place {
    link: InLink,
    waker: Waker,
    signal: Arc<Signal>,
    loaded: bool,
    /// Seen behind everything that this link carries.
    notices: Vec<Notice>,
}

/// Which links have something to read; filled by their wakers.
#[derive(Default)]
struct Ready {
    places: Mutex<VecDeque<usize>>,
    parent: Mutex<Option<Waker>>,
}

struct Signal {
    place: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Signal {
    fn queue(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            lock(&self.ready.places).push_back(self.place);
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue();
        if let Some(parent) = &*lock(&self.ready.parent) {
            parent.wake_by_ref();
        }
    }
}

impl Mailbox {
    pub(crate) fn new(
        node: Arc<Node>,
        arrivals: mpsc::UnboundedReceiver<Arrival>,
        descriptors: bool,
    ) -> Self {
        Mailbox {
            node,
            arrivals,
            descriptors,
            links: Vec::new(),
            by_id: HashMap::new(),
            loaded: VecDeque::new(),
            starved: Vec::new(),
            ready: Arc::default(),
            notices: VecDeque::new(),
            in_hand: None,
            turn: 0,
            stopping: false,
            lost: false,
        }
    }

    /// What there is to do next. Links take turns; a stop comes behind everything that has arrived.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.in_hand = None;
        for place in std::mem::take(&mut self.starved) {
            if let Some(Some(entry)) = self.links.get(place) {
                entry.signal.queue();
            }
        }
        // Due now: everything that the dead one had sent here has been handled.
        if let Some(notice) = self.notices.pop_front() {
            return Poll::Ready(Next::Notice(notice));
        }
        if self.turn < TURN
            && let Some(&place) = self.loaded.front()
        {
            self.turn += 1;
            return Poll::Ready(Next::Link(place));
        }
        if self.turn >= TURN {
            self.turn = 0;
            // What a dead sender had sent comes before anything of its next life, so its link keeps the front.
            if let Some(&place) = self.loaded.front()
                && !self.link(place).is_some_and(|link| link.closing)
            {
                self.loaded.rotate_left(1);
            }
        }
        self.read_all(cx);
        if let Some(notice) = self.notices.pop_front() {
            return Poll::Ready(Next::Notice(notice));
        }
        if self.lost {
            return Poll::Ready(Next::Lost);
        }
        match self.loaded.front() {
            Some(&place) => Poll::Ready(Next::Link(place)),
            None if self.stopping => Poll::Ready(Next::Stop),
            None => Poll::Pending,
        }
    }

    /// Reads on while a handler is suspended in the message `in_hand`: refuses calls that would wait for it, keeps the
    /// control conversation going.
    pub(crate) fn pump(&mut self, cx: &mut Context<'_>, in_hand: Option<(LinkId, Sequence)>) {
        self.in_hand = in_hand;
        self.read_all(cx);
    }

    /// Whether the supervisor has gone; then nothing makes sense any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The link at a place that [`Next::Link`] named.
    pub(crate) fn link(&mut self, place: usize) -> Option<&mut InLink> {
        self.links.get_mut(place)?.as_mut().map(|place| &mut place.link)
    }

    /// Something to be told behind everything that the link at that place carries, when it has ended.
    pub(crate) fn tell_behind(&mut self, place: usize, notice: Notice) {
        if let Some(Some(place)) = self.links.get_mut(place) {
            place.notices.push(notice);
        }
    }

    /// There is no whole message at that place now.
    pub(crate) fn exhausted(&mut self, place: usize) {
        self.turn = 0;
        self.loaded.retain(|&other| other != place);
        if let Some(Some(entry)) = self.links.get_mut(place) {
            entry.loaded = false;
            entry.link.acknowledge();
            if entry.link.closing && entry.link.ended {
                self.release(place);
            }
        }
    }

    /// The peer at that place sent what is no frame: it is named to the supervisor, who ends it.
    pub(crate) fn refuse(&mut self, place: usize, error: &LinkError) {
        if let Some(link) = self.link(place) {
            let (id, sender) = (link.id, link.sender);
            link.ended = true;
            tracing::warn!(%sender, %error, "a bad frame; its sender is ended");
            self.node.say(&ToSupervisor::BadPeer { link: id, reason: error.to_string() });
            if let Some(link) = self.link(place) {
                link.inbox.forget();
            }
            self.exhausted(place);
        }
    }

    /// A stop was noted and is not obeyed: for the program, which ends when its closure has.
    pub(crate) fn went_on(&mut self) {
        self.stopping = false;
    }

    fn read_all(&mut self, cx: &mut Context<'_>) {
        {
            let mut parent = lock(&self.ready.parent);
            if !parent.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *parent = Some(cx.waker().clone());
            }
        }
        while let Poll::Ready(arrival) = self.arrivals.poll_recv(cx) {
            match arrival {
                Some(arrival) => self.arrive(arrival),
                None => {
                    self.lost = true;
                    break;
                }
            }
        }
        for _ in 0..READS {
            let Some(place) = lock(&self.ready.places).pop_front() else { return };
            self.read(place);
        }
        cx.waker().wake_by_ref();
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::LinkUp(new) => self.add(*new),
            Arrival::LinkClosed(link) => self.close(link),
            Arrival::Notice(notice, after) => match after.and_then(|link| self.by_id.get(&link).copied()) {
                Some(place) => {
                    if let Some(Some(place)) = self.links.get_mut(place) {
                        place.notices.push(notice);
                    }
                }
                None => self.notices.push_back(notice),
            },
            Arrival::Stop => self.stopping = true,
            Arrival::Reply { link, sequence, key, status, body, beside } => {
                if let Some(link) = self.by_id.get(&link).copied().and_then(|place| self.link(place)) {
                    match fault::at_message(Cut::Answered, key, sequence) {
                        Effect::Nothing => link.reply(sequence, status, (&body, beside), false),
                        effect => link.tampered_reply(sequence, status, (&body, beside), false, effect),
                    }
                }
            }
            Arrival::Forwarded { link, sequence } => {
                if let Some(link) = self.by_id.get(&link).copied().and_then(|place| self.link(place)) {
                    link.forwarded(sequence);
                }
            }
        }
    }

    fn add(&mut self, new: NewLink) {
        if fault::at(Cut::LinkSetup) == Effect::Close {
            // As if it could not be had: the sender sees the end of its own, and asks for another.
            return;
        }
        if let Some(&place) = self.by_id.get(&new.link) {
            self.rejoin(place, new.socket);
            return;
        }
        let Some(row) = IncomingRow::new(&self.node.recorder, new.slot) else {
            tracing::error!(slot = new.slot, "the supervisor named a row that the recorder does not have");
            return;
        };
        let place = self.links.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let signal =
            Arc::new(Signal { place, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        let waker = Waker::from(Arc::clone(&signal));
        let link = InLink::new(Parts {
            id: new.link,
            sender: new.sender,
            reply_address: new.reply_address,
            answers_only: new.answers_only,
            // Which answers those are, only the askers know.
            descriptors: self.descriptors || new.answers_only,
            resume_after: new.resume_after,
            window_messages: new.window.messages,
            row,
            socket: new.socket,
            waker: waker.clone(),
        });
        let link = match link {
            Ok(link) => link,
            Err(error) => {
                tracing::error!(%error, "an incoming link could not be taken up");
                return;
            }
        };
        self.by_id.insert(link.id, place);
        self.links[place] = Some(Place { link, waker, signal, loaded: false, notices: Vec::new() });
        // The first read also registers for the next.
        self.read(place);
    }

    /// A link has got a fresh socket, although both ends live.
    fn rejoin(&mut self, place: usize, socket: OwnedFd) {
        let Some(link) = self.link(place) else { return };
        if let Err(error) = link.rejoin(socket) {
            // Its sender sees the end of its own, and asks for another.
            tracing::error!(%error, "an incoming link could not be taken up again");
            link.ended = true;
            return;
        }
        self.read(place);
    }

    fn read(&mut self, place: usize) {
        let (mut bytes, mut descriptors) = (0, 0);
        if !self.loaded.is_empty() {
            for Place { link, .. } in self.links.iter().flatten() {
                bytes += link.inbox.buffered();
                descriptors += link.inbox.descriptors();
            }
        }
        let system = self.node.identity.system;
        let Some(Some(entry)) = self.links.get_mut(place) else { return };
        // Before the read: what arrives after it sets the signal again.
        entry.signal.queued.store(false, Ordering::Release);
        if entry.link.is_congested() {
            entry.link.wait_for_room();
        }
        // Answers do not wait here, and perhaps the handler in hand waits for one.
        if !entry.link.answers_only && (bytes > BUDGET || descriptors > DESCRIPTORS) {
            self.starved.push(place);
            return;
        }
        let mut cx = Context::from_waker(&entry.waker);
        match entry.link.poll_read(&mut cx, system) {
            Poll::Pending => {}
            Poll::Ready(Ok(more)) => {
                // It was ready at once, so it is not registered for the next readiness yet: look again.
                entry.signal.queue();
                if entry.link.answers_only {
                    self.take_answers(place);
                    return;
                }
                if more && !entry.loaded {
                    entry.loaded = true;
                    self.loaded.push_back(place);
                }
                if entry.link.ended && entry.link.closing && !entry.loaded {
                    self.release(place);
                    return;
                }
                if self.in_hand.is_some() {
                    self.refuse_cycles(place);
                }
            }
            Poll::Ready(Err(error)) => self.refuse(place, &error),
        }
    }

    /// Takes in the answers of third parties to this process's asks, at once: perhaps the handler in hand waits for one.
    fn take_answers(&mut self, place: usize) {
        let node = Arc::clone(&self.node);
        let Some(link) = self.link(place) else { return };
        let refused = loop {
            match take_answer(&node, link) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        let is_over = link.ended && link.closing;
        match refused {
            Some(error) => self.refuse(place, &error),
            None if is_over => self.release(place),
            None => self.exhausted(place),
        }
    }

    /// Answers, without waiting for their turn, the asks that come from within the handling of what is in hand here.
    fn refuse_cycles(&mut self, place: usize) {
        let Some((in_link, in_sequence)) = self.in_hand else { return };
        let me = self.node.identity.actor;
        let Some(link) = self.link(place) else { return };
        let mut cyclic = Vec::new();
        // A malformed frame is found again, and named, when its turn comes.
        while let Ok(Some(frame)) = link.inbox.scan() {
            if is_cyclic(&frame, me, in_link, in_sequence) {
                cyclic.push(frame.header.sequence);
            }
        }
        for sequence in cyclic {
            link.refused.push_back(sequence);
            link.reply(sequence, Status::WouldDeadlock, (&[], Beside::new()), false);
        }
    }
}

/// Takes in one answer to an ask of this process, or the word that somebody holds the right to one; `false` if no whole
/// frame is there.
fn take_answer(node: &Node, link: &mut InLink) -> Result<bool, LinkError> {
    let Some((frame, beside)) = link.inbox.next()? else { return Ok(false) };
    let Header { kind, sequence, key, .. } = frame.header;
    let (Kind::Answer | Kind::Adopt, Some((head, body))) = (kind, ThirdPartyReply::read(frame.body)) else {
        return Err(FrameError::Unexpected(kind).into());
    };
    let from = link.sender;
    link.row.start(sequence, key);
    node.end_ask(head.link, |asked| match kind {
        Kind::Adopt => asked.adopted(head.sequence, from),
        _ => asked.answered(head.sequence, head.status, body, beside),
    });
    link.row.finish(sequence);
    link.settle(sequence);
    Ok(true)
}

fn is_cyclic(frame: &Frame<'_>, me: ActorId, link: LinkId, sequence: Sequence) -> bool {
    frame.header.kind == Kind::Ask
        && frame.extensions.chain().any(|c| c.actor == me && c.link == link && c.sequence == sequence)
}
