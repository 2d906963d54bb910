//! Links in memory: two nodes of one process, joined by hand where a supervisor would, in paused time.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::Instant;

use super::mailbox::{Mailbox, NewLink, Next};
use super::*;
use crate::address::Address;
use crate::error::{AskError, Executed};
use crate::process::descriptors::socket_pair;
use crate::process::exit::Usage;
use crate::report::{CrashReport, Exit, Verdict};
use crate::spec::Window;
use crate::wire::control::Told;
use crate::wire::conversation::Listener;
use crate::wire::frame::{Kind, Status};
use crate::wire::ids::{Capability, Incarnation, Sequence};
use crate::wire::transport::DataSocket;

#[path = "monitor_tests.rs"]
mod monitors;

struct Receiver;
#[derive(serde::Serialize, serde::Deserialize)]
struct Number(u64);
impl crate::Message for Number {
    type Reply = u64;
    const NAME: &'static str = "Number";
    const KEY: crate::MessageKey = crate::MessageKey::named("Number");
}
impl crate::Actor for Receiver {
    type Args = ();
    type Messages = (Number,);
    async fn start((): (), _: &mut crate::Context<Self>) -> crate::Result<Self> {
        Ok(Receiver)
    }
}
impl crate::Handler<Number> for Receiver {
    async fn handle(&mut self, Number(n): Number, _: &mut crate::Context<Self>) -> crate::Result<u64> {
        Ok(n)
    }
}

const LINK: LinkId = LinkId(5);
const WINDOW: Window = Window { messages: 8, bytes: 1 << 20 };

/// A sender and a receiver that the test joins, as often as it likes.
struct Pair {
    sender: Arc<Node>,
    receiver: Arc<Node>,
    mailbox: Mailbox,
    address: Address<Receiver>,
    /// The supervisor's ends of the control links: kept open, and read by nobody.
    _control: Vec<OwnedFd>,
}

fn node(actor: u64, system: SystemId) -> (Arc<Node>, mpsc::UnboundedReceiver<Arrival>, OwnedFd) {
    let (ours, theirs) = socket_pair().unwrap();
    let (page, _) = Recorder::create().unwrap();
    let (arrivals, arriving) = mpsc::unbounded_channel();
    let identity = Identity {
        system,
        actor: ActorId(actor),
        incarnation: Incarnation(1),
        name: format!("node {actor}"),
    };
    (Node::new(identity, Some(Role::Actor), ours, Arc::new(page), arrivals, None), arriving, theirs)
}

impl Pair {
    fn new() -> Pair {
        // Each test has a system of its own: nodes are found by it.
        static SYSTEMS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let system = SystemId(SYSTEMS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) << 32);
        let (receiver, arriving, one) = node(2, system);
        // Last, so that the address finds the sender's node.
        let (sender, _, other) = node(1, system);
        NODES.write().unwrap().retain(|(_, node)| !node.ptr_eq(&Arc::downgrade(&receiver)));
        let raw = RawAddress {
            version: RawAddress::VERSION,
            system,
            actor: ActorId(2),
            capability: Capability(7),
            protocol: 0,
        };
        let mailbox = Mailbox::new(Arc::clone(&receiver), arriving, true);
        Pair { sender, receiver, mailbox, address: Address::new(raw), _control: vec![one, other] }
    }

    /// Grants the link, as the supervisor does when the sender has asked for it.
    fn grant(&self) {
        let link = self.sender.link_to(self.address_raw()).unwrap();
        lock(&self.sender.links).by_id.insert(LINK, Arc::clone(&link));
        link.granted(LINK, 0, WINDOW, 3);
    }

    fn address_raw(&self) -> RawAddress {
        use crate::address::IntoRaw;
        self.address.raw()
    }

    /// Joins sender and receiver by a fresh socket.
    fn join(&mut self, resume_after: u64) {
        let (one, other) = socket_pair().unwrap();
        self.arrive_on(other, resume_after);
        self.sender.hear(ToPeer::LinkUp { link: LINK, incarnation: Incarnation(1) }, vec![one]);
    }

    /// The receiver's end of a link.
    fn arrive_on(&self, socket: OwnedFd, resume_after: u64) {
        let row = crate::process::recorder::IncomingRow::new(&self.receiver.recorder, 0).unwrap();
        row.prepare(Sequence(resume_after));
        self.receiver.arrive(Arrival::LinkUp(Box::new(NewLink {
            link: LINK,
            sender: ActorId(1),
            slot: 0,
            resume_after: Sequence(resume_after),
            window: WINDOW,
            reply_address: self.address_raw(),
            answers_only: false,
            socket,
        })));
    }

    /// Takes the next message out of the mailbox: its sequence and number.
    async fn take(&mut self) -> (u64, u64) {
        loop {
            let Next::Link(place) = std::future::poll_fn(|cx| self.mailbox.poll_next(cx)).await else {
                panic!("not a message")
            };
            let Some(link) = self.mailbox.link(place) else { continue };
            match link.inbox.next().unwrap() {
                Some((frame, _)) => {
                    assert!(matches!(frame.header.kind, Kind::Tell | Kind::Ask));
                    let Number(n) = crate::wire::codec::decode(frame.body).unwrap();
                    return (frame.header.sequence.0, n);
                }
                None => self.mailbox.exhausted(place),
            }
        }
    }

    /// Lets the mailbox look after its links once, which have no message.
    async fn look(&mut self) {
        let mailbox = &mut self.mailbox;
        let next = std::future::poll_fn(|cx| std::task::Poll::Ready(mailbox.poll_next(cx))).await;
        if let std::task::Poll::Ready(Next::Link(place)) = next {
            mailbox.exhausted(place);
        }
        tokio::task::yield_now().await;
    }

    /// Answers the ask of this sequence, and settles it.
    fn reply(&mut self, sequence: u64, with: u64) {
        let body = crate::wire::codec::encode(&with, 64).unwrap();
        self.mailbox.link(0).unwrap().reply(Sequence(sequence), Status::Ok, (&body, Vec::new()), true);
    }

    fn settle(&mut self, sequence: u64) {
        let link = self.mailbox.link(0).unwrap();
        link.settle(Sequence(sequence));
        link.acknowledge();
    }

    /// The receiver's process dies: its end closes, and the supervisor tells.
    fn die(&mut self, processed: u64, in_hand: Option<u64>) {
        self.mailbox = Mailbox::new(Arc::clone(&self.receiver), mpsc::unbounded_channel().1, true);
        let told = Told { processed: Sequence(processed), in_hand: in_hand.map(Sequence) };
        self.sender
            .hear(ToPeer::LinkDown { link: LINK, told: Some(told), report: Box::new(report()) }, vec![]);
    }

    /// The next incarnation of the receiver.
    fn live_again(&mut self) {
        let (receiver, arriving, control) = node(2, self.receiver.identity.system);
        NODES.write().unwrap().retain(|(_, node)| !node.ptr_eq(&Arc::downgrade(&receiver)));
        self.mailbox = Mailbox::new(Arc::clone(&receiver), arriving, true);
        self.receiver = receiver;
        self._control.push(control);
    }
}

/// Waits until a node has said something with these words in it to its supervisor.
async fn said(control: &OwnedFd, words: &str) {
    let mut heard = Vec::new();
    let wait = async {
        while !heard.windows(words.len()).any(|window| window == words.as_bytes()) {
            tokio::task::yield_now().await;
            let mut buffer = [0; 4096];
            if let Ok(read) = rustix::io::read(control, &mut buffer) {
                heard.extend_from_slice(&buffer[..read]);
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(in_time.is_ok(), "it was not said that {words:?}");
}

fn report() -> CrashReport {
    CrashReport {
        injected: None,
        actor: ActorId(2),
        name: "receiver".into(),
        actor_type: "Receiver".into(),
        incarnation: Incarnation(1),
        pid: 1,
        exit: Exit::Signal(9),
        panic: None,
        in_hand: None,
        stderr: Vec::new(),
        stack: None,
        usage: Usage::default(),
        uptime: Duration::ZERO,
        verdict: Verdict::Ended,
    }
}

#[tokio::test(start_paused = true)]
async fn an_ask_ends_at_its_deadline_to_the_millisecond_and_a_late_reply_is_dropped() {
    let mut pair = Pair::new();
    pair.grant();
    pair.join(0);
    let address = pair.address.clone();
    let started = Instant::now();
    let asking = tokio::spawn(async move { address.ask(Number(1)).deadline(Duration::from_secs(3)).await });
    let (sequence, _) = pair.take().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, AskError::Deadline { executed: Executed::Maybe }), "{error:?}");
    let waited = started.elapsed();
    assert!((3000..3010).contains(&waited.as_millis()), "waited {waited:?}");
    pair.reply(sequence, 1);
    // The next ask is answered rightly.
    let address = pair.address.clone();
    let asking = tokio::spawn(async move { address.ask(Number(2)).await });
    let (sequence, n) = pair.take().await;
    pair.reply(sequence, n);
    assert_eq!(asking.await.unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tell_waits_for_room_and_gives_the_message_back_at_its_deadline() {
    let mut pair = Pair::new();
    pair.grant();
    pair.join(0);
    for n in 0..u64::from(WINDOW.messages) {
        pair.address.tell(Number(n)).await.unwrap();
    }
    let error = pair.address.tell(Number(99)).deadline(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.into_message().0, 99);
    let (sequence, _) = pair.take().await;
    let address = pair.address.clone();
    let telling = tokio::spawn(async move { address.tell(Number(100)).await });
    pair.settle(sequence);
    telling.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again_to_the_next_incarnation_in_order() {
    let mut pair = Pair::new();
    pair.grant();
    pair.join(0);
    for n in 1..=5 {
        pair.address.tell(Number(n)).await.unwrap();
    }
    assert_eq!(pair.take().await, (1, 1));
    assert_eq!(pair.take().await, (2, 2));
    // One is processed and not acknowledged, two was in hand, three to five were not started.
    pair.die(1, Some(2));
    pair.live_again();
    pair.join(1);
    for n in 3..=5 {
        assert_eq!(pair.take().await, (n, n));
    }
}

#[tokio::test]
async fn a_reply_that_waits_in_the_socket_is_read_before_the_death_is_believed() {
    let mut pair = Pair::new();
    pair.grant();
    pair.join(0);
    let address = pair.address.clone();
    let asking = tokio::spawn(async move { address.ask(Number(1)).await });
    let (sequence, _) = pair.take().await;
    // Without a turn of the runtime between: the sender's driver cannot have read it.
    pair.reply(sequence, 41);
    pair.die(0, Some(sequence));
    assert_eq!(asking.await.unwrap().unwrap(), 41);
}

#[tokio::test]
async fn garbage_from_the_receiver_breaks_the_link_and_is_reported() {
    let mut pair = Pair::new();
    pair.grant();
    let (one, other) = socket_pair().unwrap();
    pair.sender.hear(ToPeer::LinkUp { link: LINK, incarnation: Incarnation(1) }, vec![one]);
    rustix::io::write(&other, &[0xff; 64]).unwrap();
    pair.address.tell(Number(1)).await.unwrap();
    said(&pair._control[1], "claims").await;
    // It is ended for it, and comes back.
    pair.die(0, None);
    pair.live_again();
    pair.join(0);
    assert_eq!(pair.take().await, (1, 1), "nothing is lost by it");
}

/// A bare frame, as a peer might write it that does not keep to what it announces.
fn bare_frame(kind: Kind, descriptors: u8) -> Vec<u8> {
    use crate::wire::frame::{self, ExtensionSet, Header};
    let (flags, attempt, sequence, key) = (0, 1, Sequence(1), crate::MessageKey(7));
    let header = Header { kind, flags, attempt, descriptors, sequence, key };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &header, &ExtensionSet::default(), |_| Ok::<_, ()>(())).unwrap();
    bytes
}

/// What a peer's socket is given: so many are announced, so many sent, and that is said of it.
const MISLEADING: [(u8, usize, &str); 4] = [
    (2, 0, "announces 2 descriptors, and 0 came"),
    (2, 1, "announces 2 descriptors, and 1 came"),
    (1, 2, "announces 1 descriptors, and 2 came"),
    (0, 1, "came that no frame announces"),
];

/// Writes as much of a frame as that, and these descriptors beside it.
fn send_beside(socket: OwnedFd, bytes: &[u8], count: usize) -> DataSocket {
    let socket = DataSocket::new(socket).unwrap();
    let beside: Vec<_> = (0..count).map(|_| Arc::new(rustix::io::dup(std::io::stderr()).unwrap())).collect();
    assert_eq!(socket.try_write(bytes, &beside).unwrap(), bytes.len());
    socket
}

#[tokio::test]
async fn a_sender_with_other_descriptors_than_it_announces_is_named_to_the_supervisor() {
    for (announced, sent, reason) in MISLEADING {
        let mut pair = Pair::new();
        let (one, other) = socket_pair().unwrap();
        pair.arrive_on(other, 0);
        let hello = Hello { role: Role::Link, system: pair.receiver.identity.system }.encode();
        rustix::io::write(&one, &hello).unwrap();
        let _socket = send_beside(one, &bare_frame(Kind::Tell, announced), sent);
        let Next::Link(place) = std::future::poll_fn(|cx| pair.mailbox.poll_next(cx)).await else {
            panic!("not a message")
        };
        let error = LinkError::from(pair.mailbox.link(place).unwrap().inbox.next().unwrap_err());
        pair.mailbox.refuse(place, &error);
        said(&pair._control[0], reason).await;
    }
}

/// Says it of a receiver to whom a message was sent that makes the link ready for descriptors, or one that does not.
async fn mislead_with_an_ack(asked: bool, announced: u8, sent: usize, reason: &str) {
    let pair = Pair::new();
    pair.grant();
    let (one, other) = socket_pair().unwrap();
    pair.sender.hear(ToPeer::LinkUp { link: LINK, incarnation: Incarnation(1) }, vec![one]);
    let mut ask = Box::pin(pair.address.ask(Number(1)).into_future());
    if asked {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(ask.as_mut().poll(cx).is_pending()));
        assert!(polled.await, "nobody answered yet");
    } else {
        pair.address.tell(Number(1)).await.unwrap();
    }
    let _socket = send_beside(other, &bare_frame(Kind::Ack, announced), sent);
    said(&pair._control[1], reason).await;
}

#[tokio::test]
async fn a_receiver_with_other_descriptors_than_it_announces_is_named_to_the_supervisor() {
    for (announced, sent, reason) in MISLEADING {
        mislead_with_an_ack(true, announced, sent, reason).await;
    }
    // Where no reply may own any, the kernel closes what comes, and the frame is short of it.
    mislead_with_an_ack(false, 1, 1, "announces 1 descriptors, and 0 came").await;
}

#[tokio::test]
async fn replies_that_wait_for_room_keep_each_its_own_descriptors() {
    use crate::delivery::frame_buffer::FrameBuffer;
    const REPLIES: u64 = 300;
    let mut pair = Pair::new();
    let (one, other) = socket_pair().unwrap();
    pair.arrive_on(other, 0);
    let hello = Hello { role: Role::Link, system: pair.receiver.identity.system }.encode();
    let socket = send_beside(one, &hello, 0);
    pair.look().await;
    let link = pair.mailbox.link(0).unwrap();
    let descriptor = Arc::new(rustix::io::dup(std::io::stderr()).unwrap());
    let descriptors_of = |reply: u64| usize::try_from(reply % 4).unwrap().saturating_sub(1);
    for reply in 1..=REPLIES {
        let beside = vec![Arc::clone(&descriptor); descriptors_of(reply)];
        link.reply(Sequence(reply), Status::Ok, (&[7; 2000], beside), false);
    }
    assert!(link.is_congested());
    let mut heard = FrameBuffer::new();
    for reply in 1..=REPLIES {
        let beside = loop {
            if let Some((frame, beside)) = heard.next_frame(1 << 20).unwrap() {
                assert_eq!(frame.header.sequence, Sequence(reply));
                break beside;
            }
            match socket.read_now(heard.space(), true) {
                Ok(read) => {
                    heard.filled(read.bytes);
                    if !read.beside.is_empty() {
                        heard.came_beside(read.bytes, read.beside).unwrap();
                    }
                }
                // Room wakes the link, which its mailbox looks after.
                Err(_) => pair.look().await,
            }
        };
        assert_eq!(beside.descriptors.len(), descriptors_of(reply));
    }
    assert_eq!(Arc::strong_count(&descriptor), 1, "what is with the kernel is kept no longer");
}

#[tokio::test]
async fn what_must_be_said_soon_is_not_said_while_a_hung_thread_keeps_the_control_link() {
    let (node, _arriving, _control) = node(1, SystemId(77));
    let stack = || ToSupervisor::Stack { text: None };
    let limit = Duration::from_millis(20);
    let hung = node.speaker.lock().unwrap();
    assert!(!node.say_within(&stack(), limit));
    drop(hung);
    assert!(node.say_within(&stack(), limit));
}

/// The requests that a node has made since it was looked at last.
fn requests(control: &OwnedFd, listener: &mut Listener) -> Vec<(u64, Request)> {
    let mut buffer = [0; 4096];
    while let Ok((read, _)) = rustix::net::recv(control, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
        listener.heard(&buffer[..read]);
    }
    let mut requests = Vec::new();
    while let Some((said, _)) = listener.next::<ToSupervisor>().unwrap() {
        if let ToSupervisor::Request { number, request } = said {
            requests.push((number, request));
        }
    }
    requests
}

#[tokio::test]
async fn the_supervisor_is_told_once_nobody_listens_any_more_and_not_before() {
    let system = SystemId(78);
    let (node, _arriving, control) = node(1, system);
    let mut listener = Listener::new(Role::Actor, system);
    let begin = async |listener: &mut Listener| {
        let events = tokio::spawn({
            let node = Arc::clone(&node);
            async move { crate::Events::begin(&node).await.unwrap() }
        });
        let asked = loop {
            tokio::task::yield_now().await;
            if let Some(asked) = requests(&control, listener).pop() {
                break asked;
            }
        };
        assert!(matches!(asked.1, Request::Events), "{asked:?}");
        node.hear(ToPeer::Answer { number: asked.0, answer: Ok(Answer::Done) }, Vec::new());
        events.await.unwrap()
    };
    let (first, second) = (begin(&mut listener).await, begin(&mut listener).await);
    drop(first);
    assert!(requests(&control, &mut listener).is_empty(), "the other still listens");
    drop(second);
    let said = requests(&control, &mut listener);
    assert!(matches!(said[..], [(_, Request::EndEvents)]), "{said:?}");
}
