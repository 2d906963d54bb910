//! Random sequences: the tree beside OTP's supervisor, and the tree in any disorder.
//!
//! [`it_comes_to_what_otp_comes_to`]: after each event everything comes to rest; then the tree must have done exactly
//! what the [`reference`](super::reference) has: the same starts and stops in the same order under each parent, the same groups
//! ended for the same reason, the same answers, the same restarts counted, the same nodes kept.
//!
//! [`whatever_happens_the_invariants_hold`]: events come whenever they like: exits in the middle of a group's restart, requests
//! in the middle of a stop, clocks that jump. There is nothing to compare with then, but the
//! [invariants](super::invariants) hold at every step, and in the end everything that is wanted is up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::reference::{Reference, STOPS, Seen};
use super::world::{START_DEADLINE, Start, Stop, World};
use super::{Command, End, Event, Flags, NodeId, Plan, ROOT, Reply, Rules, What};
use crate::group::{AutoShutdown, Strategy};
use crate::simulation::seeded::{Hunt, Random};
use crate::spec::{Backoff, Intensity, Restart, Shutdown};

/// A node as it is made: numbers come when it is started.
#[derive(Clone)]
struct Shape {
    rules: Rules,
    what: Made,
}

#[derive(Clone)]
enum Made {
    Actor,
    Group(Flags, Vec<Shape>),
    Dynamic(Flags),
}

/// Something happens; nodes are meant by their place among all that there ever were.
#[derive(Clone, Debug)]
enum Op {
    Add(usize, Shape),
    /// How its next starts go, and how it stops.
    Behave(usize, Vec<Start>, Stop),
    Crash(usize),
    End(usize),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    SetFlags(usize, Flags),
    Advance(Duration),
    /// The n-th of all processes that have something to do does it.
    Act(usize),
    /// A process reports by a clock that is late or early.
    ActAt(usize, Duration, bool),
    Settle,
    ShutDown,
}

#[derive(Clone)]
struct Setup {
    cap: usize,
    top: Vec<Shape>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cap {}", self.cap)?;
        self.top.iter().try_for_each(|shape| write!(f, "\n    {shape:?}"))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { restart, significant, shutdown, intensity, outlives_parent, .. } = self.rules;
        write!(f, "{restart:?}")?;
        write!(f, "{}", if significant { " significant" } else { "" })?;
        write!(f, "{}", if outlives_parent { " outliving" } else { "" })?;
        match &self.what {
            Made::Actor => write!(f, " actor ({shutdown:?}, alone {})", intensity.restarts),
            Made::Dynamic(flags) => write!(f, " dynamic group ({})", flags.intensity.restarts),
            Made::Group(Flags { strategy, intensity, auto_shutdown }, children) => {
                write!(f, " {strategy:?} ({}, {auto_shutdown:?}) ", intensity.restarts)?;
                f.debug_list().entries(children).finish()
            }
        }
    }
}

const RESTARTS: [Restart; 5] =
    [Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Transient, Restart::Temporary];

fn any_flags(random: &mut Random, strategy: Option<Strategy>) -> Flags {
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::OneForAll, Strategy::RestForOne];
    let ends = [
        AutoShutdown::Never,
        AutoShutdown::Never,
        AutoShutdown::AnySignificant,
        AutoShutdown::AllSignificant,
    ];
    Flags {
        strategy: strategy.unwrap_or_else(|| random.one_of(&strategies)),
        intensity: Intensity { restarts: random.one_of(&[0, 1, 2, 2, 3]), within: Duration::from_secs(10) },
        auto_shutdown: random.one_of(&ends),
    }
}

fn any_rules(random: &mut Random, disorder: bool, above: Option<Flags>) -> Rules {
    let restart = random.one_of(&RESTARTS);
    let counts = above.is_some_and(|flags| flags.auto_shutdown != AutoShutdown::Never);
    let grace = Shutdown::Grace(Duration::from_secs(5));
    let backoff = Backoff {
        first: Duration::from_millis(100),
        most: Duration::from_secs(1),
        quiet: Duration::from_secs(5),
    };
    Rules {
        restart,
        significant: counts && restart != Restart::Permanent && random.percent(50),
        shutdown: random.one_of(&[grace, grace, Shutdown::BrutalKill, Shutdown::Infinity]),
        start_deadline: START_DEADLINE,
        backoff: if disorder && random.percent(50) { backoff } else { Backoff::NONE },
        intensity: Intensity { restarts: random.one_of(&[0, 1, 2]), within: Duration::from_secs(10) },
        outlives_parent: above.is_none() && random.percent(40),
    }
}

fn any_shape(random: &mut Random, disorder: bool, above: Option<Flags>, depth: u64) -> Shape {
    let rules = any_rules(random, disorder, above);
    if depth == 0 || random.percent(60) {
        return Shape { rules, what: Made::Actor };
    }
    let rules = Rules {
        shutdown: Shutdown::Infinity,
        start_deadline: Duration::MAX,
        outlives_parent: false,
        ..rules
    };
    if random.percent(15) {
        let flags = any_flags(random, Some(Strategy::OneForOne));
        return Shape { rules, what: Made::Dynamic(flags) };
    }
    let flags = any_flags(random, None);
    let many = random.below(5);
    let children = (0..many).map(|_| any_shape(random, disorder, Some(flags), depth - 1)).collect();
    Shape { rules, what: Made::Group(flags, children) }
}

fn any_behaviour(random: &mut Random, disorder: bool) -> (Vec<Start>, Stop) {
    let starts = [Start::Ready, Start::Fails, Start::Fails, Start::Declines];
    let more = [Start::Ready, Start::Fails, Start::Fails, Start::Declines, Start::Hangs];
    let many = random.below(4);
    let starts =
        (0..many).map(|_| if disorder { random.one_of(&more) } else { random.one_of(&starts) }).collect();
    let stops = [Stop::Obeys, Stop::Crashes, Stop::Ignores];
    (starts, if disorder { random.one_of(&stops) } else { random.one_of(&STOPS) })
}

fn any_op(random: &mut Random, disorder: bool) -> Op {
    let at = usize::try_from(random.below(64)).unwrap_or(0);
    match random.below(if disorder { 190 } else { 100 }) {
        0..10 => {
            // Whether it may be significant depends on where it comes to stand: see `World::add`.
            let flags = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..any_flags(random, None) };
            let above = random.percent(60).then_some(flags);
            Op::Add(at, any_shape(random, disorder, above, 1))
        }
        10..25 => {
            let (starts, stop) = any_behaviour(random, disorder);
            Op::Behave(at, starts, stop)
        }
        25..55 => Op::Crash(at),
        55..65 => Op::End(at),
        65..75 => Op::Terminate(at),
        75..83 => Op::Restart(at),
        83..86 => Op::Delete(at),
        86..93 => Op::SetFlags(at, any_flags(random, None)),
        93..100 => Op::Advance(Duration::from_millis(random.one_of(&[1, 60, 1000, 4000, 9_999, 10_001]))),
        100..165 => Op::Act(at),
        165..168 => Op::ActAt(at, Duration::from_secs(random.below(20)), random.percent(50)),
        168..189 => Op::Settle,
        _ => Op::ShutDown,
    }
}

fn any_setup(random: &mut Random, disorder: bool) -> Setup {
    let many = 1 + random.below(2);
    let mut top: Vec<Shape> = (0..many).map(|_| any_shape(random, disorder, None, 2)).collect();
    // A group at least: most of what is to be seen is there.
    let flags = any_flags(random, None);
    let children = (0..3).map(|_| any_shape(random, disorder, Some(flags), 1)).collect();
    let rules =
        Rules { outlives_parent: false, shutdown: Shutdown::Infinity, ..any_rules(random, disorder, None) };
    top.push(Shape { rules, what: Made::Group(flags, children) });
    let cap = if disorder { random.one_of(&[1, 2, 3, 100]) } else { 1 };
    Setup { cap, top }
}

fn any_case(random: &mut Random, disorder: bool) -> (Setup, Vec<Op>) {
    let setup = any_setup(random, disorder);
    let many = if disorder { 10 + random.below(30) } else { 5 + random.below(15) };
    (setup, (0..many).map(|_| any_op(random, disorder)).collect())
}

/// A world and the places of its nodes.
struct Field {
    world: World,
    nodes: Vec<NodeId>,
    parents: BTreeMap<NodeId, NodeId>,
}

impl Field {
    fn new(setup: &Setup, prints: bool) -> Field {
        Field { world: World::new(setup.cap, prints), nodes: vec![ROOT], parents: BTreeMap::new() }
    }

    fn at(&self, place: usize) -> NodeId {
        self.nodes[place % self.nodes.len()]
    }

    /// Gives numbers; `None` if such a thing cannot stand there by its spec.
    fn plan(&mut self, parent: NodeId, shape: &Shape) -> Option<Plan> {
        let above = self.world.tree.flags(parent);
        let is_dynamic = self.world.tree.node(parent)?.group().is_some_and(|group| group.dynamic);
        let misplaced =
            shape.rules.significant && above.is_none_or(|flags| flags.auto_shutdown == AutoShutdown::Never);
        let mut shape = shape.clone();
        shape.rules.significant &= !misplaced;
        shape.rules.outlives_parent &= above.is_none();
        if is_dynamic && !matches!(shape.what, Made::Actor) {
            return None;
        }
        Some(self.numbered(parent, &shape))
    }

    fn numbered(&mut self, parent: NodeId, shape: &Shape) -> Plan {
        let id = self.world.number();
        self.nodes.push(id);
        self.parents.insert(id, parent);
        let what = match &shape.what {
            Made::Actor => What::Actor,
            Made::Dynamic(flags) => What::Group { flags: *flags, dynamic: true, children: Vec::new() },
            Made::Group(flags, shapes) => {
                let children = shapes.iter().map(|shape| self.numbered(id, shape)).collect();
                What::Group { flags: *flags, dynamic: false, children }
            }
        };
        Plan { id, rules: shape.rules, what }
    }

    fn behave(&mut self, node: NodeId, starts: &[Start], stop: Stop) {
        let habits = self.world.habits.entry(node).or_default();
        habits.starts = starts.iter().copied().collect();
        habits.stop = stop;
    }
}

fn in_disorder(setup: &Setup, ops: &[Op], prints: bool) -> u64 {
    let mut field = Field::new(setup, prints);
    for shape in &setup.top {
        if let Some(plan) = field.plan(ROOT, shape) {
            field.world.start(ROOT, plan);
        }
    }
    for op in ops {
        if prints {
            println!("{op:?}");
        }
        disorder(&mut field, op);
    }
    let world = &mut field.world;
    world.finish();
    world.shut_down();
    world.finish();
    world.hash()
}

fn disorder(field: &mut Field, op: &Op) {
    match *op {
        Op::Add(at, ref shape) => {
            let parent = field.at(at);
            if let Some(plan) = field.plan(parent, shape) {
                field.world.start(parent, plan);
            }
        }
        Op::Behave(at, ref starts, stop) => field.behave(field.at(at), starts, stop),
        Op::Crash(at) => {
            let node = field.at(at);
            field.world.crash(node);
        }
        Op::End(at) => {
            let node = field.at(at);
            field.world.end(node);
        }
        Op::Terminate(at) => {
            let node = field.at(at);
            field.world.terminate(node);
        }
        Op::Restart(at) => {
            let node = field.at(at);
            field.world.restart(node);
        }
        Op::Delete(at) => {
            let node = field.at(at);
            field.world.delete(node);
        }
        Op::SetFlags(at, flags) => {
            let node = field.at(at);
            field.world.set_flags(node, flags);
        }
        Op::Advance(time) => {
            field.world.now += time;
            field.world.step(Event::Tick);
        }
        Op::Act(at) => {
            if let Some(event) = nth_of(&field.world, at) {
                field.world.act(event);
            }
        }
        Op::ActAt(at, by, forward) => {
            let now = field.world.now;
            let wrong = if forward { now + by } else { now.checked_sub(by).unwrap_or(now) };
            if let Some(event @ Event::Exited(..)) = nth_of(&field.world, at) {
                field.world.step_at(event, wrong);
            } else {
                field.world.step_at(Event::Tick, wrong);
            }
            field.world.now = now.max(wrong);
        }
        Op::Settle => field.world.settle(),
        Op::ShutDown => {
            field.world.shut_down();
        }
    }
}

fn nth_of(world: &World, nth: usize) -> Option<Event> {
    let able: Vec<Event> = world.processes.keys().filter_map(|&node| world.next_of(node)).collect();
    able.get(nth % able.len().max(1)).cloned()
}

fn beside_otp(setup: &Setup, ops: &[Op], prints: bool) -> u64 {
    let mut field = Field::new(setup, prints);
    let mut reference = Reference::new(field.world.now);
    let mut last = 0;
    for shape in &setup.top {
        compare(&mut field, &mut reference, &Op::Add(0, shape.clone()));
    }
    for op in ops {
        if prints {
            println!("{op:?}");
        }
        compare(&mut field, &mut reference, op);
        last = field.world.hash();
    }
    last
}

fn compare(field: &mut Field, reference: &mut Reference, op: &Op) {
    let (ticket, expected) = match *op {
        Op::Add(at, ref shape) => {
            let parent = field.at(at);
            let Some(plan) = field.plan(parent, shape) else { return };
            let ticket = field.world.start(parent, plan.clone());
            (Some(ticket), Some(reference.start_child(parent, plan)))
        }
        Op::Behave(at, ref starts, stop) => {
            let node = field.at(at);
            field.behave(node, starts, stop);
            reference.starts.insert(node, starts.iter().copied().collect());
            (None, None)
        }
        Op::Crash(at) | Op::End(at) => {
            let node = field.at(at);
            let normal = matches!(op, Op::End(_));
            if field.world.processes.contains_key(&node) {
                let end = if normal { End::Normal } else { End::Abnormal };
                field.world.step(Event::Exited(node, end));
            }
            reference.exit(node, normal);
            (None, None)
        }
        Op::Terminate(at) => {
            let node = field.at(at);
            (Some(field.world.terminate(node)), Some(reference.terminate_child(node)))
        }
        Op::Restart(at) => {
            let node = field.at(at);
            (Some(field.world.restart(node)), Some(reference.restart_child(node)))
        }
        Op::Delete(at) => {
            let node = field.at(at);
            (Some(field.world.delete(node)), Some(reference.delete_child(node)))
        }
        Op::SetFlags(at, flags) => {
            let node = field.at(at);
            (Some(field.world.set_flags(node, flags)), Some(reference.set_flags(node, flags)))
        }
        Op::Advance(time) => {
            field.world.advance(time);
            (None, None)
        }
        _ => (None, None),
    };
    field.world.settle();
    reference.now = field.world.now;
    agree(field, reference, op, ticket.and_then(|ticket| field.world.answer(ticket)), expected);
}

fn agree(field: &mut Field, reference: &mut Reference, op: &Op, got: Option<Reply>, expected: Option<Reply>) {
    assert_eq!(got, expected, "the answer to {op:?}");
    let mut ours = seen(field.world.hear(), &field.parents);
    let mut theirs = std::mem::take(&mut reference.seen);
    // What dies with an actor dies in any order, and what a dynamic group holds stops in any.
    for (&parent, seen) in ours.iter_mut().chain(theirs.iter_mut()) {
        if parent != ROOT && reference.children.get(&parent).is_none_or(|parent| !parent.is_static()) {
            seen.sort_unstable();
        }
    }
    assert_eq!(ours, theirs, "what is done after {op:?}");
    for &node in &field.nodes[1..] {
        let ours = field.world.is_known(node);
        let theirs = reference.children.get(&node);
        assert_eq!(ours, theirs.is_some(), "{node} is kept, after {op:?}");
        let Some(theirs) = theirs else { continue };
        assert_eq!(field.world.is_up(node), theirs.runs, "{node} runs, after {op:?}");
        assert_eq!(field.world.tree.restarts(node), theirs.restarts, "restarts of {node}, after {op:?}");
    }
}

/// What the commands come to, under each parent.
fn seen(commands: Vec<Command>, parents: &BTreeMap<NodeId, NodeId>) -> BTreeMap<NodeId, Vec<Seen>> {
    let mut all: BTreeMap<NodeId, Vec<Seen>> = BTreeMap::new();
    for (node, seen) in commands.iter().filter_map(Seen::of) {
        all.entry(parents[&node]).or_default().push(seen);
    }
    all
}

const IN_ORDER: Hunt<Setup, Op> = Hunt {
    test: "tree::model::it_comes_to_what_otp_comes_to",
    case: |random| any_case(random, false),
    run: beside_otp,
};

const IN_DISORDER: Hunt<Setup, Op> = Hunt {
    test: "tree::model::whatever_happens_the_invariants_hold",
    case: |random| any_case(random, true),
    run: in_disorder,
};

#[test]
fn it_comes_to_what_otp_comes_to() {
    IN_ORDER.hunt(50_000);
}

#[test]
fn whatever_happens_the_invariants_hold() {
    IN_DISORDER.hunt(50_000);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    IN_ORDER.repeat(1000);
    IN_DISORDER.repeat(1000);
}
