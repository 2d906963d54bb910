//! One behaviour a test: what OTP's manual says of a supervisor, and what this one does beyond it.
//!
//! Every step of these worlds is checked against the [invariants](super::invariants) as well.

use std::time::Duration;

use super::reference::Seen::{self, Down, Escalate, Start as Starts, Stop as Stops, Up};
use super::world::{Start, Stop, World, actor, flags, group, group_rules, rules};
use super::{Command, End, Event, Flags, NodeId, Outcome, Plan, ROOT, Refused, Reply, Rules, Why};
use crate::event::Phase;
use crate::group::{AutoShutdown, Strategy};
use crate::report::Verdict;
use crate::spec::{Backoff, Intensity, Restart, Shutdown};
use crate::wire::ids::ActorId;

mod actors;
mod administration;
mod budgets;
mod groups;
mod order;
mod significant;
mod stopping;
mod strategies;

const PERMANENT: Restart = Restart::Permanent;
const TRANSIENT: Restart = Restart::Transient;
const TEMPORARY: Restart = Restart::Temporary;

fn ids<const N: usize>(first: u64) -> [NodeId; N] {
    std::array::from_fn(|nth| ActorId(first + nth as u64))
}

fn with(restart: Restart) -> Rules {
    Rules { restart, ..rules() }
}

fn child(id: NodeId, restart: Restart) -> Plan {
    Plan { rules: with(restart), ..actor(id) }
}

fn within(restarts: u32) -> Intensity {
    Intensity { restarts, within: Duration::from_secs(10) }
}

fn allowing(strategy: Strategy, restarts: u32) -> Flags {
    Flags { intensity: within(restarts), ..flags(strategy) }
}

fn empty() -> World {
    World::new(100, false)
}

/// A world in which this stands under the program, and everything is up.
fn with_all(plans: impl IntoIterator<Item = Plan>) -> World {
    let mut world = empty();
    for plan in plans {
        world.start(ROOT, plan);
        world.settle();
    }
    world.hear();
    world
}

/// A group of number 1 with these children, numbered from 2 on, and everything is up.
fn with_group<const N: usize>(flags: Flags, children: [Restart; N]) -> (World, NodeId, [NodeId; N]) {
    let (id, numbers) = (ActorId(1), ids(2));
    let plans = numbers.iter().zip(children).map(|(&id, restart)| child(id, restart)).collect();
    (with_all([group(id, flags, plans)]), id, numbers)
}

/// Starts, stops and ends since the last time, in their order.
fn seen(world: &mut World) -> Vec<Seen> {
    world.hear().iter().filter_map(Seen::of).map(|(_, seen)| seen).collect()
}

fn behaves<const N: usize>(world: &mut World, node: NodeId, starts: [Start; N]) {
    world.habits.entry(node).or_default().starts = starts.into();
}

fn stops(world: &mut World, node: NodeId, stop: Stop) {
    world.habits.entry(node).or_default().stop = stop;
}

fn crash(world: &mut World, node: NodeId) {
    world.crash(node);
    world.settle();
}

fn end(world: &mut World, node: NodeId) {
    world.end(node);
    world.settle();
}

fn verdict(commands: &[Command]) -> Option<&Verdict> {
    match commands.first() {
        Some(Command::Verdict(_, verdict)) => Some(verdict),
        _ => None,
    }
}

fn phase(world: &World, node: NodeId) -> Option<Phase> {
    world.tree.phase(node)
}
