//! What always holds for the tree, whatever happens. Every step of every [`World`] is checked, so every scenario and
//! every random sequence is a test of all of these. Each is asserted by the name in its doc comment; `docs/supervision.md`
//! lists the names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::node::{Node, Process as Held};
use super::world::{Process, World};
use super::{Command, Event, Kind, NodeId, Outcome, ROOT, Reply, State, Tree, Why};
use crate::report::Verdict;

macro_rules! holds {
    ($name:literal, $condition:expr, $($about:tt)+) => {
        assert!($condition, "invariant `{}` is broken: {}", $name, format_args!($($about)+))
    };
}

/// What the checks remember from step to step.
#[derive(Default)]
pub(super) struct Invariants {
    /// Before this step, each with what it stands under.
    known: Vec<(NodeId, NodeId)>,
    starting: Vec<NodeId>,
    retired: BTreeSet<NodeId>,
    /// By whoever holds the budget: a group, or one that stands alone.
    restarts: BTreeMap<NodeId, Vec<Instant>>,
    /// Groups that must end because a restart was not borne.
    spent: BTreeSet<NodeId>,
    had_process: bool,
}

impl Invariants {
    pub(super) fn before(&mut self, event: &Event, tree: &Tree, processes: &BTreeMap<NodeId, Process>) {
        self.had_process = matches!(event, Event::Exited(node, _) if processes.contains_key(node));
        self.known = tree.nodes.iter().map(|(&id, node)| (id, node.parent)).collect();
        self.starting = tree.nodes.iter().filter(|(_, node)| is_starting(node)).map(|(&id, _)| id).collect();
    }

    /// One command, before it is carried out.
    pub(super) fn command(&mut self, command: &Command, world: &World) {
        match *command {
            Command::Launch(node) => {
                one_process(node, world);
                nothing_starts_under_what_stops(node, world);
            }
            Command::Ask(node) => {
                only_for_what_exists(node, world);
                stops_in_reverse(node, world);
            }
            Command::Kill(node, why) => {
                only_for_what_exists(node, world);
                if why == Why::Brutal {
                    stops_in_reverse(node, world);
                }
            }
            Command::Verdict(node, ref verdict) => self.within_its_budget(node, verdict, world),
            Command::Retired { node, .. } => self.retired_once(node),
            Command::GroupUp(group) => up_when_all_are(group, world),
            Command::GroupDown { group, ref verdict, .. } => {
                self.spent.remove(&group);
                self.restarts.remove(&group);
                down_when_all_are(group, world);
                self.within_its_budget(group, verdict, world);
            }
            Command::Escalate { group, .. } => {
                self.spent.remove(&group);
            }
            Command::Answer(ticket, reply) => {
                let about = world.open.get(&ticket).copied();
                holds!("every ticket is answered once", about.is_some(), "{ticket} again: {reply:?}");
                if let Some(about) = about {
                    self.retired_before_its_answer(about, reply, world);
                }
                if about == Some(ROOT) && reply == Reply::Done {
                    nothing_is_left(world);
                }
            }
        }
    }

    /// All commands of a step are carried out.
    pub(super) fn after(&self, event: &Event, commands: &[Command], world: &World) {
        self.one_verdict(event, commands);
        commands.iter().for_each(|command| a_verdict_is_kept(command, world));
        no_more_than_the_cap_boot(world);
        self.starts_in_order(world);
        nothing_runs_under_what_rests(world);
        for &(node, _) in &self.known {
            let is_forgotten = !world.tree.nodes.contains_key(&node);
            holds!(
                "what is forgotten has retired",
                !is_forgotten || self.retired.contains(&node),
                "{node} is gone and nobody was told"
            );
        }
    }

    /// Nothing happens any more, and nothing is due.
    pub(super) fn at_rest(&self, world: &World) {
        holds!(
            "every ticket is answered once",
            world.open.is_empty(),
            "nobody has answered {:?}",
            world.open
        );
        holds!("a spent budget ends the group", self.spent.is_empty(), "{:?} still there", self.spent);
        for (&id, node) in &world.tree.nodes {
            let is_settled = matches!(node.state, State::Rest | State::Up) || id == ROOT;
            holds!("all that is wanted is up in the end", is_settled, "{id} is {:?}", node.state);
            let is_served = !node.wanted || node.state == State::Up;
            holds!("all that is wanted is up in the end", is_served, "{id} is wanted and rests");
            let runs = world.processes.contains_key(&id);
            let should = node.is_actor() && node.state == State::Up;
            holds!("all that is wanted is up in the end", runs == should, "{id}: a process is {runs}");
            holds!("what is forgotten has retired", !node.retired, "{id} has retired and is kept");
            let is_clean = !node.must_stop && (!node.sweeping || id == ROOT);
            holds!("all that is wanted is up in the end", is_clean, "{id} is still to be stopped");
        }
    }

    /// **Within its budget**: never more than `restarts` restarts within `within`, of all children of a group together;
    /// and only when one more would be too many the group ends. Counted again here, from what was said.
    fn within_its_budget(&mut self, node: NodeId, verdict: &Verdict, world: &World) {
        let parent = world.tree.parent(node).unwrap_or(ROOT);
        let (holder, intensity) = match world.tree.flags(parent) {
            Some(flags) => (parent, flags.intensity),
            None => match world.tree.node(node) {
                Some(alone) => (node, alone.rules.intensity),
                None => return,
            },
        };
        let now = world.tree.now;
        let restarts = self.restarts.entry(holder).or_default();
        restarts.retain(|&at| now.duration_since(at) <= intensity.within);
        match *verdict {
            Verdict::Restart { nth, of, .. } => {
                restarts.push(now);
                let counted = restarts.len();
                let is_borne = counted <= intensity.restarts as usize;
                holds!(
                    "within its budget",
                    is_borne,
                    "{node} is the {counted}th of {holder}'s {intensity:?}"
                );
                holds!("within its budget", nth as usize == counted, "{nth} of {of}, but it is {counted}");
            }
            Verdict::GivenUp { .. } => {
                let is_spent = restarts.len() >= intensity.restarts as usize;
                holds!("within its budget", is_spent, "{node} is given up after {}", restarts.len());
                if holder == parent {
                    self.spent.insert(parent);
                }
            }
            Verdict::Ended | Verdict::WithGroup => {}
        }
    }

    /// **Retired once**: of each node it is said once that it has ended for good.
    fn retired_once(&mut self, node: NodeId) {
        holds!("retired once", self.retired.insert(node), "{node} again");
    }

    /// **What is forgotten has retired**: and that was said before anybody was answered about it.
    fn retired_before_its_answer(&self, about: NodeId, reply: Reply, world: &World) {
        // What stands above may have ended in the same step, after the answer.
        let above = self.known.iter().find(|&&(node, _)| node == about);
        let above_is_gone = above.is_some_and(|&(_, above)| !world.is_known(above));
        let is_forgotten = !matches!(reply, Reply::Refused(_)) && !world.is_known(about) && !above_is_gone;
        holds!(
            "what is forgotten has retired",
            !is_forgotten || self.retired.contains(&about),
            "the answer about {about} came first: {reply:?}"
        );
    }

    /// **One verdict for each exit**, and it is the first command.
    fn one_verdict(&self, event: &Event, commands: &[Command]) {
        let verdicts = commands.iter().filter(|command| matches!(command, Command::Verdict(..))).count();
        if let Event::Exited(node, _) = *event
            && self.had_process
        {
            let is_first = matches!(commands.first(), Some(&Command::Verdict(about, _)) if about == node);
            holds!("one verdict for each exit", is_first && verdicts == 1, "{commands:?}");
        } else {
            holds!("one verdict for each exit", verdicts == 0, "without an exit: {commands:?}");
        }
    }

    /// **Starts in order**: in a group that starts, or restarts several, one starts at a time, and only when all before
    /// it that are wanted are up.
    fn starts_in_order(&self, world: &World) {
        for (&id, node) in &world.tree.nodes {
            if !is_starting(node) || self.starting.contains(&id) {
                continue;
            }
            let stops = world.tree.is_winding_down(node.parent);
            holds!("nothing starts under what stops", !stops, "{id} under {}", node.parent);
            if !world.tree.is_in_order(node.parent) {
                continue;
            }
            for sibling in world.tree.children(node.parent).filter(|&sibling| sibling != id) {
                let Some(other) = world.tree.node(sibling) else { continue };
                holds!("starts in order", !is_starting(other), "{id} starts beside {sibling}");
                let is_late = sibling < id && other.wanted && other.state != State::Up;
                holds!("starts in order", !is_late, "{id} starts before {sibling} is up");
            }
        }
    }
}

/// **A verdict is kept**: what is told to be restarted waits for it.
fn a_verdict_is_kept(command: &Command, world: &World) {
    let (Command::Verdict(node, Verdict::Restart { .. })
    | Command::GroupDown { group: node, verdict: Verdict::Restart { .. }, .. }) = *command
    else {
        return;
    };
    let waits = world.tree.node(node).is_some_and(|node| node.wanted);
    holds!("a verdict is kept", waits, "{node} was to be restarted and is not");
}

fn is_starting(node: &Node) -> bool {
    matches!(node.state, State::Starting | State::Queued)
}

/// **One process**: a node never has two.
fn one_process(node: NodeId, world: &World) {
    holds!("one process", !world.processes.contains_key(&node), "{node} gets another");
}

/// **Only for what exists**: a process that is to be asked or killed is there.
fn only_for_what_exists(node: NodeId, world: &World) {
    let is_there = world.processes.contains_key(&node);
    holds!("only for what exists", is_there, "{node} has no process");
    let is_held = world.tree.node(node).is_some_and(|node| node.process != Held::None);
    holds!("only for what exists", is_held, "{node} is not known to have one");
}

/// **Nothing starts under what stops**: whatever stands above is up, starting, or an actor that will be back.
fn nothing_starts_under_what_stops(id: NodeId, world: &World) {
    let known = world.tree.node(id);
    holds!("only for what exists", known.is_some_and(Node::is_actor), "{id} is launched");
    let mut at = id;
    while let Some(node) = world.tree.node(at) {
        let stops = node.state == State::Stopping || (node.must_stop && at != id);
        holds!("nothing starts under what stops", !stops, "{id} under {at}");
        if at == ROOT {
            break;
        }
        at = node.parent;
    }
}

/// **Nothing runs under what rests**: every process belongs to a node of the tree, and nothing above it rests.
fn nothing_runs_under_what_rests(world: &World) {
    for &id in world.processes.keys() {
        let mut at = id;
        while at != ROOT {
            let node = world.tree.node(at);
            let rests = node.is_none_or(|node| node.state == State::Rest && !node.wanted && !node.must_stop);
            holds!("nothing runs under what rests", !rests, "{id} under {at}");
            at = node.map_or(ROOT, |node| node.parent);
        }
    }
}

/// **No more than the cap boot**: so many processes at most are being spawned.
fn no_more_than_the_cap_boot(world: &World) {
    let booting = world.processes.values().filter(|process| !process.booted).count();
    holds!("no more than the cap boot", booting <= world.tree.cap, "{booting} of {}", world.tree.cap);
}

/// **Stops in reverse**: what is stopped with others is asked when all that were started after it are down. Not so what
/// is stopped by itself, what a dynamic group holds, and what
/// an actor that has died has left behind.
fn stops_in_reverse(id: NodeId, world: &World) {
    let mut at = id;
    loop {
        let Some(node) = world.tree.node(at) else { return };
        let Some(parent) = world.tree.node(node.parent) else { return };
        // Its turn has not come, and it restarts several of its own, or it ends for a reason of its own.
        let ends_by_itself = node.state != State::Stopping
            || node.group().is_some_and(|group| group.ending != Outcome::Stopped);
        let is_faster = node.is_actor() && node.process == Held::None;
        let is_dynamic = parent.group().is_some_and(|group| group.dynamic);
        if !node.must_stop || !node.stoppers.is_empty() || is_dynamic || ends_by_itself || is_faster {
            return;
        }
        for &process in world.processes.keys() {
            let is_later = branch(process, node.parent, world).is_some_and(|branch| branch > at);
            let is_left_over = is_left_over(process, world);
            holds!("stops in reverse", !is_later || is_left_over, "{id} is asked while {process} runs");
        }
        at = node.parent;
    }
}

/// Killed with the actor above, or it outlives it.
fn is_left_over(id: NodeId, world: &World) -> bool {
    let mut at = world.tree.node(id);
    while let Some(node) = at.filter(|node| !node.retired) {
        at = world.tree.node(node.parent);
        if at.is_some_and(|above| above.is_actor() && above.process == Held::None) {
            return true;
        }
        if node.parent == ROOT {
            return false;
        }
    }
    true
}

/// The child of `above` under which a node stands.
fn branch(node: NodeId, above: NodeId, world: &World) -> Option<NodeId> {
    let mut at = node;
    while at != ROOT {
        let parent = world.tree.parent(at)?;
        if parent == above {
            return Some(at);
        }
        at = parent;
    }
    None
}

/// **A group is up when all in it are**, and down when all in it are.
fn up_when_all_are(group: NodeId, world: &World) {
    for child in world.tree.children(group) {
        let is_missing = world.tree.node(child).is_some_and(|node| node.wanted && node.state != State::Up);
        holds!("a group is up when all in it are", !is_missing, "{group} without {child}");
    }
}

fn down_when_all_are(group: NodeId, world: &World) {
    for &process in world.processes.keys() {
        let is_in_it = branch(process, group, world).is_some();
        holds!("a group is up when all in it are", !is_in_it, "{group} is down, and {process} runs");
    }
}

/// **Nothing is left** after a shutdown: no node but the root, no timer, no process.
fn nothing_is_left(world: &World) {
    let tree = &world.tree;
    let nodes = tree.nodes.len() == 1 && tree.nodes.values().all(|node| matches!(node.kind, Kind::Root));
    holds!("nothing is left", nodes, "nodes: {:?}", tree.nodes.keys());
    holds!("nothing is left", tree.timers.is_empty(), "timers");
    holds!("nothing is left", world.processes.is_empty(), "processes: {:?}", world.processes.keys());
    holds!("nothing is left", tree.booting.is_empty(), "booting: {:?}", tree.booting);
}
