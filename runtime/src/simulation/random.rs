//! Random systems: a few groups of actors that tell each other things while everything that can break does.
//!
//! At every quiet point **the ledger law** is checked: accepted = processed + dead-lettered + in doubt + died with its
//! sender, by the runtime's counters and by what truly happened; nothing is handled twice that may not be, and each
//! receiver handles what one life of a sender sends in its order. Every step of the tree is checked against its
//! invariants as well.

use std::time::Duration;

use super::link::Fate;
use super::seeded::{Hunt, Random};
use super::system::{Death, System};
use crate::group::{AutoShutdown, Strategy};
use crate::spec::{Backoff, Intensity, Restart, Shutdown};
use crate::supervisor::tree::world::{Start, Stop, World, actor, group, rules};
use crate::supervisor::tree::{Flags, NodeId, Plan, ROOT, Rules};

#[derive(Clone, Debug)]
struct Setup {
    cap: usize,
    seed: u64,
    /// Groups, each with its children; one of one child without a strategy stands alone.
    groups: Vec<(Option<Flags>, Vec<Rules>)>,
}

#[derive(Clone, Debug)]
enum Op {
    Tell {
        from: usize,
        to: usize,
        many: u64,
        idempotent: bool,
    },
    Kill(usize, Death),
    LoseSocket(usize),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    SetFlags(usize, Flags),
    Spawn(usize, Rules),
    Behave(usize, Vec<Start>, Stop),
    Advance(Duration),
    /// The supervisor's clock jumps.
    Jump(Duration),
    Settle,
}

fn any_flags(random: &mut Random) -> Flags {
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let restarts = random.one_of(&[1, 3, 5, 20]);
    Flags {
        strategy: random.one_of(&strategies),
        intensity: Intensity { restarts, within: Duration::from_secs(10) },
        auto_shutdown: AutoShutdown::Never,
    }
}

fn any_rules(random: &mut Random) -> Rules {
    let restarts = [Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary];
    let grace = Shutdown::Grace(Duration::from_millis(5));
    Rules {
        restart: random.one_of(&restarts),
        shutdown: random.one_of(&[grace, grace, Shutdown::BrutalKill]),
        backoff: random.one_of(&[Backoff::NONE, Backoff::default()]),
        intensity: Intensity { restarts: random.one_of(&[1, 5]), within: Duration::from_secs(10) },
        outlives_parent: random.percent(30),
        ..rules()
    }
}

fn any_case(random: &mut Random) -> (Setup, Vec<Op>) {
    let groups = (0..1 + random.below(3))
        .map(|_| {
            let flags = random.percent(75).then(|| any_flags(random));
            let many = if flags.is_some() { 1 + random.below(4) } else { 1 };
            (flags, (0..many).map(|_| any_rules(random)).collect())
        })
        .collect();
    let setup = Setup { cap: random.one_of(&[1, 2, 8]), seed: random.next(), groups };
    let many = 10 + random.below(40);
    (setup, (0..many).map(|_| any_op(random)).collect())
}

fn any_death(random: &mut Random) -> Death {
    let often = [Death::Idle, Death::InHandler, Death::BeforeAck];
    if random.percent(5) { Death::Scribbling } else { random.one_of(&often) }
}

fn any_op(random: &mut Random) -> Op {
    let mut at = || usize::try_from(random.below(64)).unwrap_or(0);
    let (one, other) = (at(), at());
    match random.below(100) {
        0..45 => Op::Tell { from: one, to: other, many: 1 + random.below(8), idempotent: random.percent(40) },
        45..60 => Op::Kill(one, any_death(random)),
        60..66 => Op::LoseSocket(one),
        66..69 => Op::Terminate(one),
        69..73 => Op::Restart(one),
        73..74 => Op::Delete(one),
        74..76 => Op::SetFlags(one, any_flags(random)),
        76..79 => Op::Spawn(one, any_rules(random)),
        79..82 => {
            let starts = [Start::Ready, Start::Fails, Start::Declines, Start::Hangs];
            let starts = (0..random.below(3)).map(|_| random.one_of(&starts)).collect();
            Op::Behave(one, starts, random.one_of(&[Stop::Obeys, Stop::Obeys, Stop::Crashes, Stop::Ignores]))
        }
        82..94 => Op::Advance(Duration::from_micros(random.one_of(&[10, 300, 2000, 10_000, 2_000_000]))),
        94..95 => Op::Jump(Duration::from_secs(random.below(60))),
        _ => Op::Settle,
    }
}

fn run(setup: &Setup, ops: &[Op], prints: bool) -> u64 {
    let mut system = System::new(setup.cap, setup.seed, prints);
    // The program is one of them.
    let mut nodes = vec![ROOT];
    for (flags, children) in &setup.groups {
        let Some(plan) = plan(&mut system, &mut nodes, *flags, children) else { continue };
        system.with_tree(|world| world.start(ROOT, plan));
    }
    for op in ops {
        if prints {
            println!("{op:?}");
        }
        act(&mut system, &mut nodes, op);
    }
    system.settle();
    system.with_tree(World::shut_down);
    system.settle();
    let ends = [Fate::Processed, Fate::InDoubt, Fate::DeadLettered, Fate::DiedWithSender];
    let ended: u64 = ends.into_iter().map(|fate| system.count(fate)).sum();
    assert_eq!(system.accepted, ended, "the ledger law, at the end of all");
    system.world.hash() ^ system.count(Fate::Processed).rotate_left(32)
}

fn plan(
    system: &mut System,
    nodes: &mut Vec<NodeId>,
    flags: Option<Flags>,
    children: &[Rules],
) -> Option<Plan> {
    let id = flags.map(|_| system.world.number());
    let mut plans: Vec<Plan> = Vec::new();
    for &rules in children {
        let child = system.world.number();
        nodes.push(child);
        let outlives_parent = rules.outlives_parent && flags.is_none();
        plans.push(Plan { rules: Rules { outlives_parent, ..rules }, ..actor(child) });
    }
    match (id, flags) {
        (Some(id), Some(flags)) => {
            nodes.push(id);
            Some(group(id, flags, plans))
        }
        _ => plans.pop(),
    }
}

fn act(system: &mut System, nodes: &mut Vec<NodeId>, op: &Op) {
    let at = |place: usize| nodes[place % nodes.len()];
    match *op {
        Op::Tell { from, to, many, idempotent } => {
            let (from, to) = (at(from), at(to));
            for _ in 0..many {
                if from != to && !system.tell(from, to, idempotent) {
                    break;
                }
            }
        }
        Op::Kill(node, death) => system.kill(at(node), death),
        Op::LoseSocket(nth) => system.lose_socket(nth),
        Op::Terminate(node) => {
            let node = at(node);
            system.with_tree(|world| world.terminate(node));
        }
        Op::Restart(node) => {
            let node = at(node);
            system.with_tree(|world| world.restart(node));
        }
        Op::Delete(node) => {
            let node = at(node);
            system.with_tree(|world| world.delete(node));
        }
        Op::SetFlags(node, flags) => {
            let node = at(node);
            system.with_tree(|world| world.set_flags(node, flags));
        }
        Op::Spawn(parent, rules) => {
            let parent = at(parent);
            if let Some(plan) = plan(system, nodes, None, &[rules]) {
                let in_group = system.world.tree.flags(parent).is_some();
                let outlives_parent = plan.rules.outlives_parent && !in_group;
                let plan = Plan { rules: Rules { outlives_parent, ..plan.rules }, ..plan };
                system.with_tree(|world| world.start(parent, plan));
            }
        }
        Op::Behave(node, ref starts, stop) => system.behaves(at(node), starts, stop),
        Op::Advance(time) => system.advance(time),
        Op::Jump(by) => {
            let now = system.world.now + by;
            system.world.now = now;
            system.with_tree(|world| world.step(crate::supervisor::tree::Event::Tick));
        }
        Op::Settle => system.settle(),
    }
}

const SYSTEMS: Hunt<Setup, Op> =
    Hunt { test: "simulation::random::whatever_breaks_the_ledger_balances", case: any_case, run };

#[test]
fn whatever_breaks_the_ledger_balances() {
    SYSTEMS.hunt(10_000);
}

#[test]
fn the_same_seed_gives_the_same_system() {
    SYSTEMS.repeat(100);
}
