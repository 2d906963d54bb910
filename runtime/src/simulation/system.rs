//! The simulated system: the tree decides, pretend processes live and die, links carry messages between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::link::{Fate, Link};
use super::seeded::Random;
use crate::supervisor::tree::world::{Process, Start, Stop, World};
use crate::supervisor::tree::{Command, End, Event, NodeId, ROOT};

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Idle,
    InHandler,
    /// Its handler has returned, and nobody was told.
    BeforeAck,
    /// In a handler, and it has scribbled on its recorder.
    Scribbling,
}

/// Something that happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The process does its next step by itself: boots, is ready, ends.
    Step(NodeId, u64),
    /// Bytes arrive.
    Arrive(usize),
    Write(usize),
    Done(NodeId, u64),
    Acknowledge(usize),
    Exit(NodeId, u64),
}

/// What a process has in its memory.
struct Life {
    number: u64,
    outgoing: BTreeMap<NodeId, usize>,
    hand: Option<usize>,
    dies: Option<Death>,
}

pub(super) struct System {
    pub(super) world: World,
    random: Random,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    order: u64,
    last_life: u64,
    lives: BTreeMap<NodeId, Life>,
    links: Vec<Link>,
    ended: BTreeSet<NodeId>,
    prints: bool,
    /// Messages accepted, and messages processed, in all.
    pub(super) accepted: u64,
}

impl System {
    pub(super) fn new(cap: usize, seed: u64, prints: bool) -> System {
        let program = Life { number: 0, outgoing: BTreeMap::new(), hand: None, dies: None };
        System {
            world: World::new(cap, prints),
            random: Random::new(seed),
            queue: BinaryHeap::new(),
            order: 0,
            last_life: 0,
            lives: BTreeMap::from([(ROOT, program)]),
            links: Vec::new(),
            ended: BTreeSet::new(),
            prints,
            accepted: 0,
        }
    }

    fn now(&self) -> u64 {
        let since = self.world.now.saturating_duration_since(self.world.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Up to `most` microseconds from now.
    fn soon(&mut self, most: u64) -> u64 {
        self.now() + 1000 * self.random.below(most)
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((time, self.order, happening)));
    }

    /// Does something with the tree and then what it says.
    pub(super) fn with_tree<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.world);
        for command in self.world.hear() {
            self.carry_out(&command);
        }
        let gone: Vec<NodeId> =
            self.ended.iter().copied().filter(|node| !self.world.processes.contains_key(node)).collect();
        for node in gone {
            for link in self.links.iter_mut().filter(|link| link.receiver == node && !link.settled) {
                link.receiver_ended();
            }
        }
        result
    }

    fn carry_out(&mut self, command: &Command) {
        match *command {
            Command::Launch(node) => {
                self.last_life += 1;
                let life = Life { number: self.last_life, outgoing: BTreeMap::new(), hand: None, dies: None };
                self.lives.insert(node, life);
                self.step_soon(node);
            }
            Command::Ask(node) | Command::Kill(node, _) => self.step_soon(node),
            Command::Retired { node, .. } => {
                self.ended.insert(node);
            }
            _ => {}
        }
    }

    fn step_soon(&mut self, node: NodeId) {
        let Some(number) = self.lives.get(&node).map(|life| life.number) else { return };
        let time = self.soon(2000);
        self.at(time, Happening::Step(node, number));
    }

    fn step(&mut self, node: NodeId, number: u64) {
        if self.lives.get(&node).is_none_or(|life| life.number != number) {
            return;
        }
        // What has been asked to stop handles what has arrived first.
        let is_killed = self.world.processes.get(&node).is_some_and(|process| process.killed);
        match self.world.next_of(node) {
            Some(Event::Exited(_, end)) => {
                if !is_killed && end == End::Normal && self.is_busy(node) {
                    self.step_soon(node);
                } else {
                    self.exit(node, end);
                }
            }
            Some(event) => {
                let is_ready = matches!(event, Event::Ready(_));
                self.with_tree(|world| world.act(event));
                if is_ready {
                    self.join_waiting(node);
                }
                self.step_soon(node);
            }
            None => {}
        }
    }

    fn is_busy(&mut self, node: NodeId) -> bool {
        self.take_next(node);
        self.lives.get(&node).is_some_and(|life| life.hand.is_some())
    }

    /// As the supervisor does it: every peer drains and is told, then the tree decides.
    pub(super) fn exit(&mut self, node: NodeId, end: End) {
        let Some(life) = self.lives.remove(&node) else { return };
        for link in &mut self.links {
            if link.receiver != node || link.joined.is_none() {
                continue;
            }
            if life.dies == Some(Death::Scribbling) {
                link.receiver_died_untold();
            } else {
                link.receiver_died();
            }
        }
        // Whom it had sent to goes on with what has arrived, and with what is under way.
        let mut left = Vec::new();
        for (id, link) in self.links.iter_mut().enumerate() {
            if link.sender == node && link.outbox.is_some() {
                link.sender_died();
                left.push((id, link.receiver));
            }
        }
        self.with_tree(|world| world.step(Event::Exited(node, end)));
        for (id, receiver) in left {
            self.drain(id);
            self.take_next(receiver);
        }
    }

    fn drain(&mut self, id: usize) {
        let link = &mut self.links[id];
        if !link.settled && link.is_drained() {
            link.drained();
        }
    }

    fn join_waiting(&mut self, node: NodeId) {
        for id in 0..self.links.len() {
            let link = &self.links[id];
            if link.receiver == node && link.joined.is_none() && !link.settled {
                self.join(id);
            }
        }
    }

    fn join(&mut self, id: usize) {
        self.links[id].join();
        let time = self.soon(500);
        self.at(time, Happening::Write(id));
    }

    fn is_ready(&self, node: NodeId) -> bool {
        node == ROOT || self.world.processes.get(&node).is_some_and(|process| process.ready)
    }

    /// An actor, or the program, tells another something; whether it was accepted.
    pub(super) fn tell(&mut self, from: NodeId, to: NodeId, idempotent: bool) -> bool {
        if !self.is_ready(from) || to == ROOT || self.ended.contains(&to) || !self.world.is_known(to) {
            return false;
        }
        if self.world.tree.flags(to).is_some() {
            return false;
        }
        let fresh = self.links.len();
        let Some(life) = self.lives.get_mut(&from) else { return false };
        let id = *life.outgoing.entry(to).or_insert(fresh);
        if id == fresh {
            self.links.push(Link::new(from, to));
            if self.is_ready(to) {
                self.join(id);
            }
        }
        let accepted = self.links[id].tell(idempotent);
        self.accepted += u64::from(accepted);
        let time = self.soon(100);
        self.at(time, Happening::Write(id));
        accepted
    }

    fn write(&mut self, id: usize) {
        let most = usize::try_from(1 + self.random.below(200)).unwrap_or(1);
        let due = self.soon(3000);
        if self.links[id].write(most, due) {
            self.at(due, Happening::Arrive(id));
        }
        if self.links[id].has_unsent() {
            let time = self.soon(500);
            self.at(time, Happening::Write(id));
        }
    }

    fn arrive(&mut self, id: usize) {
        let now = self.now();
        self.links[id].arrive(now);
        let receiver = self.links[id].receiver;
        self.take_next(receiver);
        self.drain(id);
        if self.links[id].has_unsent() {
            self.write(id);
        }
    }

    /// An idle process takes a message of one of its links in hand.
    fn take_next(&mut self, node: NodeId) {
        if !self.is_ready(node) {
            return;
        }
        let first = usize::try_from(self.random.below(self.links.len() as u64)).unwrap_or(0);
        let many = self.links.len();
        let Some(life) = self.lives.get_mut(&node).filter(|life| life.hand.is_none()) else { return };
        for nth in 0..many {
            let id = (first + nth) % many;
            let link = &mut self.links[id];
            if link.receiver == node && link.start() {
                life.hand = Some(id);
                let (number, dies) = (life.number, life.dies);
                let time = self.soon(2000);
                let then = match dies {
                    Some(Death::InHandler | Death::Scribbling) => Happening::Exit(node, number),
                    _ => Happening::Done(node, number),
                };
                self.at(time, then);
                return;
            }
        }
    }

    fn done(&mut self, node: NodeId, number: u64) {
        let Some(life) = self.lives.get_mut(&node).filter(|life| life.number == number) else { return };
        let Some(id) = life.hand.take() else { return };
        self.links[id].processed();
        if life.dies == Some(Death::BeforeAck) {
            self.exit(node, End::Abnormal);
            return;
        }
        let time = self.soon(1500);
        self.at(time, Happening::Acknowledge(id));
        self.drain(id);
        self.take_next(node);
    }

    fn acknowledge(&mut self, id: usize) {
        let due = self.soon(3000);
        self.links[id].acknowledge(due);
        self.at(due, Happening::Arrive(id));
    }

    /// The process dies now, or with its next message.
    pub(super) fn kill(&mut self, node: NodeId, death: Death) {
        if node == ROOT || !self.is_ready(node) {
            return;
        }
        match death {
            Death::Idle => self.exit(node, End::Abnormal),
            Death::InHandler | Death::BeforeAck | Death::Scribbling => {
                if let Some(life) = self.lives.get_mut(&node) {
                    life.dies = Some(death);
                }
            }
        }
    }

    /// The socket of a link breaks, and the broker makes another.
    pub(super) fn lose_socket(&mut self, nth: usize) {
        let many = self.links.len().max(1);
        let Some(link) = self.links.get_mut(nth % many) else { return };
        if link.outbox.is_some() && link.joined.is_some() {
            link.lose_socket();
            let id = nth % many;
            for happening in [Happening::Acknowledge(id), Happening::Write(id)] {
                let time = self.soon(500);
                self.at(time, happening);
            }
        }
    }

    /// Time passes: whatever is due by then happens.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.happen(Some(end)) {}
        self.world.now = self.world.now.max(end);
    }

    /// Until nothing is under way and nothing is due. Whoever ignores that it is asked to stop is killed in the end.
    pub(super) fn settle(&mut self) {
        for _ in 0..STEPS {
            if self.happen(None) {
                continue;
            }
            let asked =
                |process: &Process| process.asked || (!process.ready && process.start == Start::Hangs);
            let stuck =
                self.world.processes.iter().find(|(_, process)| asked(process)).map(|(&node, _)| node);
            match stuck {
                Some(node) => self.exit(node, End::Abnormal),
                None => return self.check_at_rest(),
            }
        }
        panic!("it never settles");
    }

    /// The next thing that is due by `end`; `false` if there is none.
    fn happen(&mut self, end: Option<std::time::Instant>) -> bool {
        let began = self.world.began;
        let next = self.queue.peek().map(|&Reverse((time, ..))| began + Duration::from_nanos(time));
        let timer = self.world.tree.due();
        let Some(due) =
            [next, timer].into_iter().flatten().min().filter(|&due| end.is_none_or(|end| due <= end))
        else {
            return false;
        };
        self.world.now = self.world.now.max(due);
        if next.is_none_or(|next| timer.is_some_and(|timer| timer < next)) {
            self.with_tree(|world| world.step(Event::Tick));
            return true;
        }
        let Some(Reverse((_, _, happening))) = self.queue.pop() else { return false };
        if self.prints {
            println!("{:?} {happening:?}", self.world.now.saturating_duration_since(began));
        }
        match happening {
            Happening::Step(node, number) => self.step(node, number),
            Happening::Arrive(id) => self.arrive(id),
            Happening::Write(id) => self.write(id),
            Happening::Done(node, number) => self.done(node, number),
            Happening::Acknowledge(id) => self.acknowledge(id),
            Happening::Exit(node, number) => {
                if self.lives.get(&node).is_some_and(|life| life.number == number) {
                    self.exit(node, End::Abnormal);
                }
            }
        }
        true
    }

    /// The ledger law holds for every link, and nothing waits that could go on.
    fn check_at_rest(&mut self) {
        for link in &self.links {
            link.check();
            let (from, to) = (link.sender, link.receiver);
            assert!(
                link.outbox.is_some() || link.settled,
                "{from} has died, and nobody settles {from} to {to}"
            );
            assert!(!self.is_ready(to) || link.waiting() == 0, "{from} to {to} waits for nothing");
        }
        self.world.finish();
    }

    /// How many messages have come to this end.
    pub(super) fn count(&self, fate: Fate) -> u64 {
        self.links.iter().map(|link| link.truly(fate)).sum()
    }

    pub(super) fn behaves(&mut self, node: NodeId, starts: &[Start], stop: Stop) {
        let habits = self.world.habits.entry(node).or_default();
        habits.starts = starts.iter().copied().collect();
        habits.stop = stop;
    }
}

/// More than any of these systems needs to come to rest.
const STEPS: usize = 200_000;
