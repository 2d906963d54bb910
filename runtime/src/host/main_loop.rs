//! The loop in which an actor lives: one message after another, each recorded before it is decoded and settled after
//! its reply has reached the kernel.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io::Write;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use super::begin::Start;
use super::last_look::LookedAt;
use super::{control, last_words};
use crate::actor::{Actor, Context, Current, ReplyState};
use crate::clock;
use crate::error::Error;
use crate::event::DeadLetterReason;
use crate::fault::{self, Cut, Effect};
use crate::logging;
use crate::message::{AnyMessage, Message, Protocol};
use crate::node::mailbox::{Mailbox, Next, Notice};
use crate::node::turn::Turn;
use crate::node::{Identity, InLink, LinkError, Node, call};
use crate::process::child;
use crate::process::recorder::Recorder;
use crate::profile::Confinement;
use crate::wire::codec::{self, DecodeError};
use crate::wire::control::{Arguments, Ticket, ToSupervisor};
use crate::wire::conversation::Listener;
use crate::wire::frame::{BODY_LIMIT, ChainLink, FrameError, Header, Kind, Status, WITHDRAWN};
use crate::wire::hello::Role;
use crate::wire::ids::{ActorId, LinkId, MessageKey, RawAddress, Sequence};
use crate::wire::passing::{self, Beside};
use crate::wire::transport::BlockingControl;

/// Messages in a row before the drivers of the outgoing links get their turn: they write what handlers have sent. A look
/// at them costs about as much as a message of this row.
const ROW: u32 = 16;
/// How long a stopping actor waits until what it has sent is settled. The supervisor's grace bounds the whole.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs the actor `A` in this process until it ends.
pub(crate) fn run_actor<A: Actor>(start: Start) {
    logging::start();
    let recorder = Arc::new(start.recorder);
    let start = Ready {
        ticket: start.ticket,
        control: start.control,
        listener: start.listener,
        introduced: start.introduced,
        confinement: start.confinement,
    };
    let runtime = match runtime(&recorder) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("watertight: failed to build the runtime of an actor: {error}");
            return;
        }
    };
    let turn = Turn::new();
    runtime.block_on(turn.run(live::<A>(start, recorder, &turn)));
}

struct Ready {
    ticket: Ticket,
    control: BlockingControl,
    listener: Listener,
    introduced: bool,
    confinement: Confinement,
}

fn runtime(recorder: &Arc<Recorder>) -> std::io::Result<tokio::runtime::Runtime> {
    let (parking, unparking) = (Arc::clone(recorder), Arc::clone(recorder));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parking.set_parked(true))
        .on_thread_unpark(move || unparking.set_parked(false))
        .build()
}

async fn live<A: Actor>(start: Ready, recorder: Arc<Recorder>, turn: &Arc<Turn>) {
    let ticket = start.ticket;
    let own = RawAddress {
        version: RawAddress::VERSION,
        system: ticket.system,
        actor: ticket.actor,
        capability: ticket.capability,
        protocol: ticket.protocol,
    };
    let identity = Identity {
        system: ticket.system,
        actor: ticket.actor,
        incarnation: ticket.incarnation,
        name: ticket.name,
    };
    let (arrivals, arriving) = mpsc::unbounded_channel();
    let begun = start.control.writer().and_then(|writer| {
        let role = (!start.introduced).then_some(Role::Actor);
        let node = Node::new(identity, role, writer, recorder, arrivals, Some(Arc::clone(turn)));
        fault::here::tell_by(node.tell_of_faults());
        last_words::prepare(Arc::downgrade(&node));
        let looked_at = LookedAt::this_thread(Arc::downgrade(&node));
        control::listen(start.control, start.listener, looked_at).map(|backlog| (node, backlog))
    });
    let (node, mut backlog) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("watertight: failed to take up the control conversation: {error}");
            return;
        }
    };
    let hearing = Arc::clone(&node);
    tokio::spawn(async move {
        while let Some((message, descriptors)) = backlog.next().await {
            hearing.hear(message, descriptors);
        }
    });
    let mut cx = Context {
        node: Arc::clone(&node),
        own,
        current: nobody(own),
        reply: ReplyState::Open,
        body: Vec::new(),
        beside: Beside::new(),
        stopping: false,
        info: None,
        watched_senders: HashSet::new(),
        new_watch: None,
        actor: PhantomData,
    };
    wait(fault::at(Cut::Start)).await;
    let mut actor = match begin::<A>(ticket.arguments, &mut cx).await {
        Ok(actor) => actor,
        Err(error) if error.is_declined() => {
            node.say(&ToSupervisor::Declined { reason: error.to_string() });
            leave(0);
        }
        Err(error) => {
            node.say(&ToSupervisor::StartFailed { error: error.to_string() });
            leave(0);
        }
    };
    let protocol = A::Messages::names().into_iter().map(|(key, name)| (key, name.to_owned())).collect();
    node.say(&ToSupervisor::Ready { protocol, info: cx.info.take(), confinement: start.confinement });
    let mailbox = Mailbox::new(Arc::clone(&node), arriving, A::Messages::DESCRIPTORS);
    let finished = serve(&mut actor, &mut cx, mailbox).await;
    if !finished {
        wait(fault::at(Cut::Stop)).await;
    }
    actor.stopped(&mut cx).await;
    // What cannot be settled in time dies with its sender, and is counted so.
    let _ = tokio::time::timeout(SETTLE, node.settled()).await;
    node.say(&ToSupervisor::Goodbye { finished });
    leave(0);
}

async fn begin<A: Actor>(arguments: Arguments, cx: &mut Context<A>) -> Result<A, Error> {
    let arguments = arguments.read().map_err(|e| Error::from(e).context("the arguments do not decode"))?;
    A::start(arguments, cx).await
}

fn leave(code: i32) -> ! {
    // What cannot be written any more is lost with the pipe.
    let _ = std::io::stdout().flush();
    child::exit_now(code)
}

/// Handles messages until the actor stops. `true` if it did so of its own accord.
async fn serve<A: Actor>(actor: &mut A, cx: &mut Context<A>, mut mailbox: Mailbox) -> bool {
    let mut row = 0;
    loop {
        if cx.stopping {
            return true;
        }
        let next = poll_fn(|task| mailbox.poll_next(task)).await;
        // What is settled without a handler is progress too.
        cx.progress();
        match next {
            Next::Link(place) => one::<A>(actor, cx, &mut mailbox, place).await,
            Next::Notice(Notice::Down(down)) => own::<A, _>(actor, cx, &mut mailbox, &down).await,
            Next::Notice(Notice::Membership(membership)) => {
                own::<A, _>(actor, cx, &mut mailbox, &*membership).await;
            }
            Next::Notice(Notice::SenderEnded(ended)) => {
                cx.watched_senders.remove(&LinkId(ended.sender));
                own::<A, _>(actor, cx, &mut mailbox, &ended).await;
            }
            Next::Stop => return false,
            Next::Lost => leave(0),
        }
        row += 1;
        if row == ROW {
            row = 0;
            let_others().await;
        }
    }
}

/// Lets everything else in this turn go first, without leaving it.
async fn let_others() {
    let mut yielded = false;
    poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits, where a fault plan says so.
async fn wait(effect: Effect) {
    if let Effect::Wait(time) = effect {
        tokio::time::sleep(time).await;
    }
}

/// What a fault plan says of the message that is next on the link at `place`.
fn arrived(mailbox: &mut Mailbox, place: usize) -> Effect {
    if !fault::looks_at(&Cut::Arrived) {
        return Effect::Nothing;
    }
    let next = mailbox.link(place).and_then(|link| link.inbox.peek());
    next.map_or(Effect::Nothing, |header| fault::at_message(Cut::Arrived, header.key, header.sequence))
}

/// Handles the next message of the link at `place`, if a whole one is there.
async fn one<A: Actor>(actor: &mut A, cx: &mut Context<A>, mailbox: &mut Mailbox, place: usize) {
    let planned = arrived(mailbox, place);
    wait(planned).await;
    let Some(link) = mailbox.link(place) else {
        mailbox.exhausted(place);
        return;
    };
    let (message, key) = match take::<A>(link, cx, planned == Effect::Drop) {
        Ok(Taken::Message(message, key)) => (message, key),
        Ok(Taken::Settled) => return,
        Ok(Taken::Nothing) => {
            mailbox.exhausted(place);
            return;
        }
        Err(error) => {
            mailbox.refuse(place, &error);
            return;
        }
    };
    let current = cx.current;
    let sequence = current.sequence;
    wait(fault::at_message(Cut::Started, key, sequence)).await;
    handle(message, actor, cx, mailbox, Some((current.link, sequence, key))).await;
    wait(fault::at_message(Cut::Handled, key, sequence)).await;
    // The place is kept while its message is in hand, so it is still the same link.
    if let Some(ended) = cx.new_watch.take() {
        mailbox.tell_behind(place, Notice::SenderEnded(ended));
    }
    let Some(link) = mailbox.link(place) else { return };
    if let ReplyState::Made(status) = cx.reply {
        let beside = std::mem::take(&mut cx.beside);
        match fault::at_message(Cut::Answered, key, sequence) {
            Effect::Nothing => link.reply(sequence, status, (&cx.body, beside), true),
            effect => link.tampered_reply(sequence, status, (&cx.body, beside), true, effect),
        }
        wait(fault::at_message(Cut::Replied, key, sequence)).await;
    }
    // The place is kept, as above.
    let Some(link) = mailbox.link(place) else { return };
    link.row.finish(sequence);
    wait(fault::at_message(Cut::Processed, key, sequence)).await;
    let Some(link) = mailbox.link(place) else { return };
    if !matches!(cx.reply, ReplyState::Made(_)) {
        link.settle(sequence);
    }
}

/// Handles what the runtime itself tells the actor.
async fn own<A: Actor, M: Message>(actor: &mut A, cx: &mut Context<A>, mailbox: &mut Mailbox, notice: &M) {
    let Ok(body) = codec::encode(notice, BODY_LIMIT) else { return };
    if let Some(Ok(message)) = <A::Messages as Protocol<A>>::Any::decode(M::KEY, &body) {
        call::begin_own();
        cx.current = nobody(cx.own);
        cx.reply = ReplyState::Open;
        handle(message, actor, cx, mailbox, None).await;
    }
}

/// Runs one handler. While it is suspended, the mailbox reads on.
async fn handle<A: Actor>(
    message: <A::Messages as Protocol<A>>::Any,
    actor: &mut A,
    cx: &mut Context<A>,
    mailbox: &mut Mailbox,
    in_hand: Option<(LinkId, Sequence, MessageKey)>,
) {
    let mut suspended = false;
    let recorder = Arc::clone(&cx.node.recorder);
    recorder.add_progress();
    let mut handler = pin!(message.handle(actor, cx));
    poll_fn(|task| {
        let polled = call::polling(|| handler.as_mut().poll(task));
        // A step of a message is progress, whether it was the last or not.
        recorder.add_progress();
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let (false, Some((_, sequence, key))) = (std::mem::replace(&mut suspended, true), in_hand) {
            fault::at_message(Cut::Suspended, key, sequence);
        }
        mailbox.pump(task, in_hand.map(|(link, sequence, _)| (link, sequence)));
        if mailbox.is_lost() {
            leave(0);
        }
        Poll::Pending
    })
    .await;
}

enum Taken<M> {
    /// To be handled, and its type; recorded as started.
    Message(M, MessageKey),
    /// Settled without a handler.
    Settled,
    /// No whole frame has come.
    Nothing,
}

type Any<A> = <<A as Actor>::Messages as Protocol<A>>::Any;

/// Takes the next frame of a link, records it as started, then decodes it: what kills the decoder is known too.
fn take<A: Actor>(link: &mut InLink, cx: &mut Context<A>, drop: bool) -> Result<Taken<Any<A>>, LinkError> {
    let (id, sender, reply_address) = (link.id, link.sender, link.reply_address);
    let Some((frame, beside)) = link.inbox.next()? else { return Ok(Taken::Nothing) };
    let Header { kind, flags, sequence, key, attempt, .. } = frame.header;
    if !matches!(kind, Kind::Tell | Kind::Ask) {
        return Err(FrameError::Unexpected(kind).into());
    }
    let deadline = frame.extensions.deadline();
    let is_ask = kind == Kind::Ask;
    let refused_here = link.refused.front() == Some(&sequence);
    if refused_here || (is_ask && flags & WITHDRAWN != 0) {
        if refused_here {
            link.refused.pop_front();
        }
        link.row.skip(sequence);
        link.settle(sequence);
        return Ok(Taken::Settled);
    }
    if deadline.is_some_and(|deadline| deadline <= clock::now()) {
        return Ok(refuse(
            link,
            cx,
            Refused { sequence, is_ask, status: Status::Expired, text: String::new() },
        ));
    }
    if drop {
        let receiver = cx.own.actor;
        let reason = DeadLetterReason::Injected;
        cx.node.say(&ToSupervisor::DeadLetters { link: id, receiver, reason, key, count: 1 });
        link.row.skip(sequence);
        link.settle(sequence);
        return Ok(Taken::Settled);
    }
    if beside.cut {
        let text = String::new();
        return Ok(refuse(link, cx, Refused { sequence, is_ask, status: Status::NoDescriptors, text }));
    }
    link.row.start(sequence, key);
    let decoded = passing::with(beside.descriptors, || Any::<A>::decode(key, frame.body));
    call::begin(deadline, frame.extensions.chain(), ChainLink { actor: cx.own.actor, link: id, sequence });
    match decoded {
        Some(Ok(message)) => {
            cx.current =
                Current { link: id, sender, sequence, key, attempt, deadline, is_ask, reply_address };
            cx.reply = ReplyState::Open;
            Ok(Taken::Message(message, key))
        }
        Some(Err(error)) => Ok(refuse(link, cx, Refused::undecodable(sequence, is_ask, &error))),
        None => {
            Ok(refuse(link, cx, Refused { sequence, is_ask, status: Status::Unknown, text: String::new() }))
        }
    }
}

struct Refused {
    sequence: Sequence,
    is_ask: bool,
    status: Status,
    text: String,
}

impl Refused {
    fn undecodable(sequence: Sequence, is_ask: bool, error: &DecodeError) -> Refused {
        Refused { sequence, is_ask, status: Status::Undecodable, text: error.to_string() }
    }
}

/// Settles a message that no handler will see: its asker is told, a told one is a dead letter.
fn refuse<A: Actor, M>(link: &mut InLink, cx: &Context<A>, refused: Refused) -> Taken<M> {
    let Refused { sequence, is_ask, status, text } = refused;
    if is_ask {
        link.reply(sequence, status, (text.as_bytes(), Beside::new()), true);
    } else {
        tracing::warn!(sender = %link.sender, %sequence, ?status, "a told message was refused");
        let reason =
            if status == Status::Expired { DeadLetterReason::Expired } else { DeadLetterReason::Refused };
        let key = MessageKey(0);
        let receiver = cx.own.actor;
        cx.node.say(&ToSupervisor::DeadLetters { link: link.id, receiver, reason, key, count: 1 });
    }
    link.row.skip(sequence);
    if !is_ask {
        link.settle(sequence);
    }
    Taken::Settled
}

fn nobody(own: RawAddress) -> Current {
    Current {
        link: LinkId(0),
        sender: ActorId::PROGRAM,
        sequence: Sequence::ZERO,
        key: MessageKey(0),
        attempt: 1,
        deadline: None,
        is_ask: false,
        reply_address: own,
    }
}
