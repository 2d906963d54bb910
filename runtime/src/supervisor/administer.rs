//! Groups, and what people ask of the tree while it runs.

use super::Supervisor;
use super::decisions::{About, Asker};
use super::tree::{Event as Happened, Plan, ROOT, Rules, What};
use crate::administration::{NodeInfo, SpecInfo};
use crate::error::{AdministrationError, SpawnError};
use crate::event::Phase;
use crate::group::{Flags, check_child};
use crate::spec::{Restart, Shutdown, SpecError, check_name};
use crate::wire::control::{
    Administration, Answer, Arguments, GroupNode, GroupOptions, GroupRequest, NodeKind, Refusal, SpawnRequest,
};
use crate::wire::ids::{ActorId, Incarnation};

/// One group.
pub(super) struct Group {
    pub(super) path: String,
    options: GroupOptions,
    /// The actor under which it stands, or the program.
    owner: ActorId,
    /// What the children of a dynamic group are made from.
    template: Option<SpawnRequest>,
    /// Of a dynamic group, so far.
    instances: u64,
}

/// One more child of a dynamic group.
pub(super) struct Instance {
    pub(super) name: Option<String>,
    pub(super) actor_type: String,
    pub(super) protocol: u64,
    pub(super) arguments: Arguments,
}

/// Nodes of one group's spec: as many as there may be actors.
const NODES: usize = 100_000;

impl Supervisor {
    pub(super) fn start_group(&mut self, asker: Asker, request: GroupRequest) {
        match self.admit_group(asker, request) {
            Ok((parent, path, plan)) => {
                self.ask_tree(asker, About::Path(path), |ticket| Happened::Start { parent, plan, ticket });
            }
            Err(error) => self.refuse(asker, error),
        }
    }

    fn refuse(&self, (peer, number): Asker, error: AdministrationError) {
        self.answer(peer, number, Err(Refusal::Administration(Box::new(error))));
    }

    /// Takes a whole group in, or nothing of it.
    fn admit_group(
        &mut self,
        asker: Asker,
        request: GroupRequest,
    ) -> Result<(ActorId, String, Plan), AdministrationError> {
        if self.shutting_down {
            return Err(AdministrationError::ShuttingDown);
        }
        let owner = self.peers.get(&asker.0).map_or(ROOT, |peer| peer.actor);
        let (parent, above) = match &request.under {
            Some(path) => (self.static_group(path)?, Some(path.clone())),
            None => (owner, None),
        };
        if !self.tree.takes_children(parent) {
            return Err(AdministrationError::Stopping(self.name_of(parent)));
        }
        if request.nodes.len() > NODES {
            let path = request.nodes.into_iter().find_map(|node| node.name).unwrap_or_default();
            let error = Box::new(SpawnError::TooMany(100_000));
            return Err(AdministrationError::Start { path, error });
        }
        let owner = self.groups.get(&parent).map_or(owner, |group| group.owner);
        let mut taken = Taken { ids: Vec::new(), plans: Vec::new() };
        for node in request.nodes {
            if let Err(error) = self.admit_node(owner, parent, above.as_deref(), node, &mut taken) {
                for id in taken.ids {
                    self.forget_node(id);
                }
                return Err(error);
            }
        }
        let path = taken.ids.first().map(|&id| self.name_of(id)).unwrap_or_default();
        let plan = taken.into_plan().ok_or_else(|| AdministrationError::NotFound(path.clone()))?;
        Ok((parent, path, plan))
    }

    fn admit_node(
        &mut self,
        owner: ActorId,
        root_parent: ActorId,
        above: Option<&str>,
        node: GroupNode,
        taken: &mut Taken,
    ) -> Result<(), AdministrationError> {
        let at = node.parent.map(|parent| parent as usize);
        let group = at.and_then(|at| taken.ids.get(at)).and_then(|id| self.groups.get(id));
        let group_path = match (at, group) {
            (None, _) => above.map(str::to_owned),
            (Some(_), Some(group)) => Some(group.path.clone()),
            (Some(_), None) => return Err(AdministrationError::NotAGroup(node.name.unwrap_or_default())),
        };
        let flags = match group {
            Some(group) => Some(group.options.flags),
            None => self.tree.flags(root_parent),
        };
        match node.kind {
            NodeKind::Group(options) => {
                let name = node.name.unwrap_or_default();
                let path = join(group_path.as_deref(), &name);
                check_name(&name)
                    .and_then(|()| check_significant(options.significant, options.restart, flags))
                    .map_err(|error| AdministrationError::Spec { path: path.clone(), error })?;
                self.name_is_free(&path)?;
                self.last_actor += 1;
                let id = ActorId(self.last_actor);
                // It is free, and a first name is no matter of bounds.
                let _ = self.names.give(&path, id);
                let plan = Plan {
                    id,
                    rules: group_rules(&options),
                    what: What::Group {
                        flags: options.flags,
                        dynamic: options.template.is_some(),
                        children: Vec::new(),
                    },
                };
                self.groups.insert(id, Group { path, options, owner, template: None, instances: 0 });
                taken.add(id, at, Some(plan));
            }
            NodeKind::Actor(request) => {
                let Some(id) = at.and_then(|at| taken.ids.get(at)).copied() else {
                    return Err(AdministrationError::NotAGroup(node.name.unwrap_or_default()));
                };
                let path = join(group_path.as_deref(), node.name.as_deref().unwrap_or("?"));
                let is_template = self.groups.get(&id).is_some_and(|group| group.options.template.is_some());
                check_child(&request, flags.unwrap_or_default(), is_template)
                    .map_err(|error| AdministrationError::Spec { path: path.clone(), error })?;
                if is_template {
                    if let Some(group) = self.groups.get_mut(&id) {
                        group.template = Some(*request);
                    }
                    // It takes its place in the list, so that the numbers of the others stay right.
                    taken.add(id, None, None);
                    return Ok(());
                }
                let child = self
                    .admit(owner, group_path.as_deref(), *request)
                    .map_err(|error| AdministrationError::Start { path, error: Box::new(error) })?;
                let plan = self.plan_of(child);
                taken.add(child, at, plan);
            }
        }
        Ok(())
    }

    fn name_is_free(&self, path: &str) -> Result<(), AdministrationError> {
        let Some(holder) = self.names.holder(path) else { return Ok(()) };
        match self.tree.phase(holder) {
            Some(Phase::Stopped) => Err(AdministrationError::AlreadyPresent(path.to_owned())),
            _ => Err(AdministrationError::AlreadyStarted { path: path.to_owned(), holder }),
        }
    }

    fn forget_node(&mut self, id: ActorId) {
        self.names.free(id);
        self.groups.remove(&id);
        self.actors.remove(&id);
    }

    /// How an admitted actor is to be started.
    pub(super) fn plan_of(&self, actor: ActorId) -> Option<Plan> {
        let options = &self.actors.get(&actor)?.request.options;
        let rules = Rules {
            restart: options.restart,
            significant: options.significant,
            shutdown: options.shutdown,
            start_deadline: options.start_deadline,
            backoff: options.backoff,
            intensity: options.intensity.unwrap_or_default(),
            outlives_parent: options.outlives_parent,
        };
        Some(Plan { id: actor, rules, what: What::Actor })
    }

    fn group_at(&self, path: &str) -> Result<ActorId, AdministrationError> {
        match self.names.holder(path) {
            None => Err(AdministrationError::NotFound(path.to_owned())),
            Some(id) if self.groups.contains_key(&id) => Ok(id),
            Some(_) => Err(AdministrationError::NotAGroup(path.to_owned())),
        }
    }

    fn static_group(&self, path: &str) -> Result<ActorId, AdministrationError> {
        let id = self.group_at(path)?;
        if self.groups.get(&id).is_some_and(|group| group.template.is_some()) {
            return Err(AdministrationError::Dynamic(path.to_owned()));
        }
        Ok(id)
    }

    pub(super) fn start_child(&mut self, asker: Asker, path: &str, request: SpawnRequest) {
        match self.admit_child(path, request) {
            Ok((parent, child, plan)) => {
                self.ask_tree(asker, About::Child(child), |ticket| Happened::Start { parent, plan, ticket })
            }
            Err(error) => self.refuse(asker, error),
        }
    }

    fn admit_child(
        &mut self,
        path: &str,
        request: SpawnRequest,
    ) -> Result<(ActorId, ActorId, Plan), AdministrationError> {
        let group = self.static_group(path)?;
        let child_path = join(Some(path), request.name.as_deref().unwrap_or("?"));
        check_child(&request, self.tree.flags(group).unwrap_or_default(), false)
            .map_err(|error| AdministrationError::Spec { path: child_path.clone(), error })?;
        self.name_is_free(&child_path)?;
        self.admit_into(group, path, request)
    }

    fn admit_into(
        &mut self,
        group: ActorId,
        path: &str,
        request: SpawnRequest,
    ) -> Result<(ActorId, ActorId, Plan), AdministrationError> {
        if self.shutting_down {
            return Err(AdministrationError::ShuttingDown);
        }
        if !self.tree.takes_children(group) {
            return Err(AdministrationError::Stopping(path.to_owned()));
        }
        let owner = self.groups.get(&group).map_or(ROOT, |group| group.owner);
        let child_path = join(Some(path), request.name.as_deref().unwrap_or("?"));
        let child = self
            .admit(owner, Some(path), request)
            .map_err(|error| AdministrationError::Start { path: child_path, error: Box::new(error) })?;
        let plan = self.plan_of(child).ok_or(AdministrationError::ShuttingDown)?;
        Ok((group, child, plan))
    }

    pub(super) fn start_instance(&mut self, asker: Asker, path: &str, instance: Instance) {
        match self.admit_instance(path, instance) {
            Ok((parent, child, plan)) => {
                self.ask_tree(asker, About::Child(child), |ticket| Happened::Start { parent, plan, ticket })
            }
            Err(error) => self.refuse(asker, error),
        }
    }

    fn admit_instance(
        &mut self,
        path: &str,
        instance: Instance,
    ) -> Result<(ActorId, ActorId, Plan), AdministrationError> {
        let id = self.group_at(path)?;
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(AdministrationError::NotFound(path.to_owned()));
        };
        let Some(template) = &group.template else {
            return Err(AdministrationError::NotDynamic(path.to_owned()));
        };
        if template.actor_type != instance.actor_type || template.protocol != instance.protocol {
            return Err(AdministrationError::OtherType(path.to_owned()));
        }
        group.instances += 1;
        let name = instance.name.unwrap_or_else(|| group.instances.to_string());
        let request =
            SpawnRequest { name: Some(name.clone()), arguments: instance.arguments, ..template.clone() };
        let child_path = join(Some(path), &name);
        check_name(&name).map_err(|error| AdministrationError::Spec { path: child_path.clone(), error })?;
        self.name_is_free(&child_path)?;
        self.admit_into(id, path, request)
    }

    pub(super) fn administer(&mut self, asker: Asker, path: String, act: Administration) {
        let Some(id) = self.names.holder(&path) else {
            self.refuse(asker, AdministrationError::NotFound(path));
            return;
        };
        let about = About::Path(path.clone());
        match act {
            Administration::Terminate => {
                self.ask_tree(asker, about, |ticket| Happened::Terminate(id, ticket));
            }
            Administration::Restart => self.ask_tree(asker, about, |ticket| Happened::Restart(id, ticket)),
            Administration::Delete => self.ask_tree(asker, about, |ticket| Happened::Delete(id, ticket)),
            Administration::SetFlags(flags) if flags.intensity.within.is_zero() => {
                let error = SpecError::Zero("the intensity's period".into());
                self.refuse(asker, AdministrationError::Spec { path, error });
            }
            Administration::SetFlags(flags) => {
                self.ask_tree(asker, about, |ticket| Happened::SetFlags(id, flags, ticket));
            }
            Administration::Spec => {
                let spec = self.spec_of(id, path);
                self.answer(asker.0, asker.1, Ok(Answer::Spec(Box::new(spec))));
            }
        }
    }

    fn spec_of(&self, id: ActorId, path: String) -> SpecInfo {
        let group = self.groups.get(&id);
        let options = self.actors.get(&id).map(|child| &child.request.options);
        SpecInfo {
            path,
            actor_type: self.actors.get(&id).map(|child| child.request.actor_type.clone()),
            restart: options
                .map(|options| options.restart)
                .or(group.map(|group| group.options.restart))
                .unwrap_or(Restart::Temporary),
            significant: options.map_or_else(
                || group.is_some_and(|group| group.options.significant),
                |options| options.significant,
            ),
            shutdown: options.map(|options| options.shutdown),
            group: self.tree.flags(id),
            dynamic: group.is_some_and(|group| group.template.is_some()),
        }
    }

    /// The tree under a path, or all of it; each node before what stands under it.
    pub(super) fn tree_at(&self, path: Option<String>) -> Result<Vec<NodeInfo>, AdministrationError> {
        let from = match path {
            None => ROOT,
            Some(path) => self.names.holder(&path).ok_or(AdministrationError::NotFound(path))?,
        };
        let mut nodes = Vec::new();
        let mut left = vec![(from, 0)];
        while let Some((id, depth)) = left.pop() {
            let children: Vec<ActorId> = self.tree.children(id).collect();
            left.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
            if id != ROOT
                && let Some(info) = self.node_info(id, depth)
            {
                nodes.push(info);
            }
        }
        Ok(nodes)
    }

    fn node_info(&self, id: ActorId, depth: u32) -> Option<NodeInfo> {
        let child = self.actors.get(&id);
        let group = self.groups.get(&id);
        let (restart, significant) = match (child, group) {
            (Some(child), _) => (child.request.options.restart, child.request.options.significant),
            (None, Some(group)) => (group.options.restart, group.options.significant),
            (None, None) => return None,
        };
        Some(NodeInfo {
            id,
            path: self.name_of(id),
            depth,
            group: self.tree.flags(id),
            dynamic: group.is_some_and(|group| group.template.is_some()),
            phase: self.tree.phase(id)?,
            pid: child.and_then(|child| self.pid_of(child)),
            incarnation: child.map_or(Incarnation(0), |child| child.incarnation),
            restarts: self.tree.restarts(id),
            restart,
            significant,
        })
    }
}

/// What has been taken in of a group's spec, in the order of its list.
struct Taken {
    ids: Vec<ActorId>,
    plans: Vec<(Option<usize>, Option<Plan>)>,
}

impl Taken {
    fn add(&mut self, id: ActorId, parent: Option<usize>, plan: Option<Plan>) {
        self.ids.push(id);
        self.plans.push((parent, plan));
    }

    /// Puts every plan into its parent's, the last first: parents stand before their children.
    fn into_plan(mut self) -> Option<Plan> {
        while self.plans.len() > 1 {
            let (parent, plan) = self.plans.pop()?;
            let above =
                parent.and_then(|parent| self.plans.get_mut(parent)).and_then(|(_, plan)| plan.as_mut());
            if let (Some(plan), Some(Plan { what: What::Group { children, .. }, .. })) = (plan, above) {
                children.insert(0, plan);
            }
        }
        self.plans.pop()?.1
    }
}

fn join(group: Option<&str>, name: &str) -> String {
    group.map_or_else(|| name.to_owned(), |group| format!("{group}/{name}"))
}

fn check_significant(significant: bool, restart: Restart, flags: Option<Flags>) -> Result<(), SpecError> {
    let counts = flags.is_some_and(|flags| flags.auto_shutdown != crate::group::AutoShutdown::Never);
    if significant && (!counts || restart == Restart::Permanent) {
        return Err(SpecError::Significant);
    }
    Ok(())
}

fn group_rules(options: &GroupOptions) -> Rules {
    Rules {
        restart: options.restart,
        significant: options.significant,
        // A group has no process; its children have theirs.
        shutdown: Shutdown::Infinity,
        start_deadline: std::time::Duration::MAX,
        backoff: options.backoff,
        intensity: options.flags.intensity,
        outlives_parent: false,
    }
}
