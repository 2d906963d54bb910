//! The supervision tree while it runs: look at it, add to it, stop and start parts of it.
//!
//! Everything here is named by its path: the name of an actor or group that stands alone, or a group's path, a slash and
//! the child's name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::address::Address;
use crate::error::{AdministrationError, SpawnError};
use crate::event::Phase;
use crate::group::{Flags, Group};
use crate::message::Protocol;
use crate::spec::{Restart, Shutdown, Spec};
use crate::system::{System, request_of};

use crate::wire::control::{Administration, Answer, Arguments, Refusal, Request};

use crate::wire::ids::{ActorId, Incarnation};

/// One actor or group of the supervision tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its number; groups have one too.
    pub id: ActorId,
    /// Its path.
    pub path: String,
    /// How many nodes stand above it.
    pub depth: u32,
    /// Its flags if it is a group.
    pub group: Option<Flags>,
    /// Whether it is a group whose children are all made from one spec.
    pub dynamic: bool,
    /// What it is doing.
    pub phase: Phase,
    /// Its process, if it has one now.
    pub pid: Option<u32>,
    /// Which life of the actor this is; 0 for a group.
    pub incarnation: Incarnation,
    /// How often it was restarted because of its own end.
    pub restarts: u64,
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end counts for its group's automatic shutdown.
    pub significant: bool,
}

/// What is known of a child's spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecInfo {
    /// Its path.
    pub path: String,
    /// Its Rust type; `None` for a group.
    pub actor_type: Option<String>,
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end counts for its group's automatic shutdown.
    pub significant: bool,
    /// How it is stopped; a group stops its children by theirs.
    pub shutdown: Option<Shutdown>,
    /// Its flags if it is a group.
    pub group: Option<Flags>,
    /// Whether all its children are made from one spec.
    pub dynamic: bool,
}

/// How many children a group has; as OTP's `count_children`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCount {
    /// Children whose spec is kept, running or not.
    pub specs: usize,
    /// Of these, those that run.
    pub active: usize,
    /// Of all, groups.
    pub groups: usize,
    /// Of all, actors.
    pub actors: usize,
}

/// A part of the supervision tree as it was at one moment; printed, it is drawn as a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisionTree {
    /// Every node, in start order, each before what stands under it.
    pub nodes: Vec<NodeInfo>,
}

impl SupervisionTree {
    /// For tests: that exactly these stand in it, each before what stands under it, and are doing this.
    ///
    /// # Panics
    /// With the tree, if not.
    #[track_caller]
    pub fn assert_phases(&self, expected: &[(&str, Phase)]) {
        let phases: Vec<(&str, Phase)> = self.nodes.iter().map(|node| (&*node.path, node.phase)).collect();
        assert!(phases == expected, "expected: {expected:?}; the tree: {phases:?}:\n{self}");
    }
}

impl fmt::Display for SupervisionTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = self.nodes.iter().map(|node| node.depth).min().unwrap_or(0);
        // Whether a line goes on at each depth, seen from below.
        let mut goes_on: Vec<bool> = Vec::new();
        let mut lines = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.iter().rev() {
            let depth = (node.depth - top) as usize;
            let mut line = String::new();
            for above in 1..depth {
                line.push_str(if goes_on.get(above).copied().unwrap_or(false) { "│  " } else { "   " });
            }
            if depth > 0 {
                let more = goes_on.get(depth).copied().unwrap_or(false);
                line.push_str(if more { "├─ " } else { "└─ " });
            }
            let name = if depth == 0 { &node.path[..] } else { node.path.rsplit('/').next().unwrap_or("") };
            line.push_str(name);
            line.push_str(&describe(node));
            lines.push(line);
            goes_on.truncate(depth + 1);
            goes_on.resize(depth + 1, false);
            goes_on[depth] = true;
        }
        lines.iter().rev().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn describe(node: &NodeInfo) -> String {
    let mut words = String::new();
    if node.dynamic {
        words.push_str(" [dynamic]");
    } else if let Some(flags) = node.group {
        words.push_str(&format!(" [{:?}]", flags.strategy));
    } else if node.incarnation.0 > 0 {
        words.push_str(&format!("#{}", node.incarnation));
    }
    if let Some(pid) = node.pid {
        words.push_str(&format!(" pid {pid}"));
    }
    if node.phase != Phase::Running {
        words.push_str(&format!(" {:?}", node.phase).to_lowercase());
    }
    if node.restarts > 0 {
        let plural = if node.restarts == 1 { "" } else { "s" };
        words.push_str(&format!(", {} restart{plural}", node.restarts));
    }
    words
}

impl System {
    /// Starts a group: its children one after another in the order of the spec. If one does not start, those before it
    /// are stopped again in reverse order, and nothing is left.
    ///
    /// # Errors
    /// [`AdministrationError`], with the path of the child at fault.
    pub async fn start_group(&self, group: Group) -> Result<(), AdministrationError> {
        let request = group.into_request(None)?;
        self.administer(Request::StartGroup(Box::new(request))).await
    }

    /// Starts a group as the last child of another.
    ///
    /// # Errors
    /// [`AdministrationError`].
    pub async fn start_group_in(&self, parent: &str, group: Group) -> Result<(), AdministrationError> {
        let request = group.into_request(Some(parent.to_owned()))?;
        self.administer(Request::StartGroup(Box::new(request))).await
    }

    /// Starts an actor as the last child of a group, under the group's name, a slash and its own.
    ///
    /// # Errors
    /// [`AdministrationError`]: `AlreadyStarted` if a child of that name runs, `AlreadyPresent` if its spec is kept.
    pub async fn start_child<A: Actor>(
        &self,
        group: &str,
        spec: Spec<A>,
    ) -> Result<Address<A>, AdministrationError> {
        let request = request_of(spec)
            .map_err(|error| AdministrationError::Start { path: group.to_owned(), error: Box::new(error) })?;
        self.addressed(Request::StartChild { group: group.to_owned(), child: Box::new(request) }).await
    }

    /// Starts one more child of a dynamic group, with these arguments.
    ///
    /// # Errors
    /// [`AdministrationError::NotDynamic`], and those of any start.
    pub async fn start_instance<A: Actor>(
        &self,
        group: &str,
        arguments: A::Args,
    ) -> Result<Address<A>, AdministrationError> {
        self.instance(group, None, arguments).await
    }

    /// The same, with a name of its own instead of a number.
    ///
    /// # Errors
    /// [`AdministrationError::NotDynamic`], and those of any start.
    pub async fn start_named_instance<A: Actor>(
        &self,
        group: &str,
        name: &str,
        arguments: A::Args,
    ) -> Result<Address<A>, AdministrationError> {
        self.instance(group, Some(name.to_owned()), arguments).await
    }

    async fn instance<A: Actor>(
        &self,
        group: &str,
        name: Option<String>,
        arguments: A::Args,
    ) -> Result<Address<A>, AdministrationError> {
        let arguments = Arguments::write(&arguments).map_err(|e| AdministrationError::Start {
            path: group.to_owned(),
            error: Box::new(SpawnError::Arguments(e.to_string())),
        })?;
        self.addressed(Request::StartInstance {
            group: group.to_owned(),
            name,
            actor_type: std::any::type_name::<A>().to_owned(),
            protocol: <A::Messages as Protocol<A>>::FINGERPRINT,
            arguments,
        })
        .await
    }

    /// Stops an actor or a group, and waits until it has ended. In a group its spec is kept, unless it is temporary or
    /// the group is dynamic; what is sent to it waits for its restart.
    ///
    /// # Errors
    /// [`AdministrationError::NotFound`].
    pub async fn terminate_child(&self, path: &str) -> Result<(), AdministrationError> {
        self.act(path, Administration::Terminate).await
    }

    /// Starts a child again that was stopped, that declined to start, or that has ended as it meant to.
    ///
    /// # Errors
    /// [`AdministrationError`]: `Running`, `Restarting`, `NotFound`, `Dynamic`, or that it did not start.
    pub async fn restart_child(&self, path: &str) -> Result<(), AdministrationError> {
        self.act(path, Administration::Restart).await
    }

    /// Forgets the spec of a child that does not run. What waits for it becomes dead letters.
    ///
    /// # Errors
    /// [`AdministrationError`]: `Running`, `Restarting`, `NotFound`, `Dynamic`.
    pub async fn delete_child(&self, path: &str) -> Result<(), AdministrationError> {
        self.act(path, Administration::Delete).await
    }

    /// Changes the flags of a group, all at once. They count from the next decision on.
    ///
    /// # Errors
    /// [`AdministrationError`]: `NotFound`, `NotAGroup`, or a flag that does not fit its children.
    pub async fn set_flags(&self, path: &str, flags: Flags) -> Result<(), AdministrationError> {
        self.act(path, Administration::SetFlags(flags)).await
    }

    /// What is known of a child's spec.
    ///
    /// # Errors
    /// [`AdministrationError::NotFound`].
    pub async fn child_spec(&self, path: &str) -> Result<SpecInfo, AdministrationError> {
        let request = Request::Administer { path: path.to_owned(), act: Administration::Spec };
        match self.node().request(request).await {
            Ok(Answer::Spec(spec)) => Ok(*spec),
            other => Err(administration_error(other)),
        }
    }

    /// The supervision tree: everything, or what stands at `path`.
    ///
    /// # Errors
    /// [`AdministrationError::NotFound`].
    pub async fn tree(&self, path: Option<&str>) -> Result<SupervisionTree, AdministrationError> {
        match self.node().request(Request::Tree { path: path.map(str::to_owned) }).await {
            Ok(Answer::Tree(nodes)) => Ok(SupervisionTree { nodes }),
            other => Err(administration_error(other)),
        }
    }

    /// The children of a group, in start order; as OTP's `which_children`.
    ///
    /// # Errors
    /// [`AdministrationError::NotFound`].
    pub async fn children(&self, path: &str) -> Result<Vec<NodeInfo>, AdministrationError> {
        let mut nodes = self.tree(Some(path)).await?.nodes;
        let depth = nodes.first().map_or(0, |node| node.depth) + 1;
        nodes.retain(|node| node.depth == depth);
        Ok(nodes)
    }

    /// How many children a group has.
    ///
    /// # Errors
    /// [`AdministrationError::NotFound`].
    pub async fn count_children(&self, path: &str) -> Result<ChildCount, AdministrationError> {
        let mut count = ChildCount::default();
        for node in self.children(path).await? {
            count.specs += 1;
            if node.group.is_some() {
                count.groups += 1;
            } else {
                count.actors += 1;
            }
            if matches!(node.phase, Phase::Running | Phase::Starting) {
                count.active += 1;
            }
        }
        Ok(count)
    }

    async fn act(&self, path: &str, act: Administration) -> Result<(), AdministrationError> {
        self.administer(Request::Administer { path: path.to_owned(), act }).await
    }

    async fn administer(&self, request: Request) -> Result<(), AdministrationError> {
        match self.node().request(request).await {
            Ok(Answer::Done) => Ok(()),
            other => Err(administration_error(other)),
        }
    }

    async fn addressed<A: Actor>(&self, request: Request) -> Result<Address<A>, AdministrationError> {
        match self.node().request(request).await {
            Ok(Answer::Address(raw)) => Ok(Address::new(raw)),
            other => Err(administration_error(other)),
        }
    }
}

pub(crate) fn administration_error(answer: Result<Answer, Refusal>) -> AdministrationError {
    match answer {
        Err(Refusal::Administration(error)) => *error,
        // The supervisor is gone, or of another mind: nothing can be administered any more.
        _ => AdministrationError::ShuttingDown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, depth: u32, group: bool) -> NodeInfo {
        NodeInfo {
            id: ActorId(1),
            path: path.into(),
            depth,
            group: group.then(Flags::default),
            dynamic: false,
            phase: Phase::Running,
            pid: None,
            incarnation: Incarnation(u32::from(!group)),
            restarts: 0,
            restart: Restart::Permanent,
            significant: false,
        }
    }

    #[test]
    fn a_tree_of_others_or_in_another_phase_is_not_as_expected() {
        let tree = SupervisionTree { nodes: vec![node("shop", 1, true), node("shop/desk", 2, false)] };
        tree.assert_phases(&[("shop", Phase::Running), ("shop/desk", Phase::Running)]);
        let wrong = [
            &[("shop", Phase::Running)][..],
            &[("shop", Phase::Running), ("shop/desk", Phase::Stopped)],
            &[("shop", Phase::Running), ("shop/till", Phase::Running)],
        ];
        for expected in wrong {
            let said = std::panic::catch_unwind(|| tree.assert_phases(expected)).expect_err("it holds");
            let said = said.downcast::<String>().unwrap();
            assert!(said.contains("shop [OneForOne]\n└─ desk#1"), "{said}");
        }
    }

    #[test]
    fn a_tree_is_drawn_with_its_last_branches_closed() {
        let nodes = vec![
            node("shop", 1, true),
            node("shop/stores", 2, true),
            node("shop/stores/a", 3, false),
            node("shop/stores/b", 3, false),
            node("shop/desk", 2, false),
            node("alone", 1, false),
        ];
        let expected = "shop [OneForOne]\n├─ stores [OneForOne]\n│  ├─ a#1\n│  └─ b#1\n└─ desk#1\nalone#1\n";
        assert_eq!(SupervisionTree { nodes }.to_string(), expected);
    }
}
