//! Every actor that the supervisor knows: its spec, its phase.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use super::hang::Watch;
use super::peer::PeerId;
use super::{FIRST, Supervisor, random_capability};
use crate::error::{SpawnError, Unreachable};
use crate::event::{ActorInfo, Phase};
use crate::harmless;
use crate::ledger::Ledger;
use crate::process::cgroup_rules::Controllers;
use crate::profile::Confinement;
use crate::report::{CrashReport, Exit};
use crate::spec::{Options, SpecError};
use crate::wire::control::SpawnRequest;
use crate::wire::ids::{ActorId, Capability, Incarnation, MessageKey, RawAddress, SystemId};

/// Most actors at once: each has a handful of descriptors here, and the table for those ends at a million.
const ACTORS: u32 = 100_000;
/// Actors that have ended and are still remembered, so that their addresses say so.
const REMEMBERED: usize = 1024;

/// One actor.
pub(super) struct Child {
    pub(super) id: ActorId,
    /// Its path, where it stands in a group.
    pub(super) name: String,
    /// The actor that started it, or the program.
    pub(super) parent: ActorId,
    pub(super) capability: Capability,
    pub(super) request: SpawnRequest,
    pub(super) incarnation: Incarnation,
    pub(super) peer: Option<PeerId>,
    pub(super) watch: Watch,
    pub(super) monitors: BTreeSet<(PeerId, u64)>,
    /// Those with whom it shares its fate, in this life.
    pub(super) linked: BTreeSet<ActorId>,
    pub(super) ordered_at: Instant,
    pub(super) ready_at: Option<Instant>,
    /// Why the supervisor has killed its process, if it has.
    pub(super) killed_for: Option<Exit>,
    /// Its process is to stop as soon as it can be told.
    pub(super) asked_to_stop: bool,
    pub(super) last_report: Option<Box<CrashReport>>,
    /// It will not run again; its name is free.
    pub(super) ended: bool,
    pub(super) given_up: bool,
    pub(super) start_info: Option<Vec<u8>>,
    pub(super) confinement: Option<Confinement>,
    /// Of links that are no more.
    pub(super) ledger: Ledger,
    pub(super) messages: HashMap<MessageKey, String>,
}

impl Child {
    pub(super) fn address(&self, system: SystemId) -> RawAddress {
        RawAddress {
            version: RawAddress::VERSION,
            system,
            actor: self.id,
            capability: self.capability,
            protocol: self.request.protocol,
        }
    }

    /// What a sender is told that cannot reach it any more.
    pub(super) fn unreachable(&self) -> Unreachable {
        if self.given_up {
            Unreachable::GivenUp(self.name.clone())
        } else {
            Unreachable::Ended(self.name.clone())
        }
    }

    pub(super) fn message_name(&self, key: MessageKey) -> String {
        self.messages.get(&key).cloned().unwrap_or_else(|| format!("message {:016x}", key.0))
    }
}

impl Supervisor {
    /// Refuses limits that only a control group could keep, where there is none that can.
    fn check_group_limits(&self, options: &Options) -> Result<(), SpecError> {
        let limits = &options.limits;
        let lack = match &self.cgroups {
            Ok(cgroups) => cgroups.lack(limits),
            Err(reason) => Controllers::default().lack(limits).map(|what| (what, reason.clone())),
        };
        lack.map_or(Ok(()), |(limit, reason)| {
            Err(SpecError::NoControlGroup { limit: limit.to_owned(), reason })
        })
    }

    /// Takes a new actor in, without starting it. `group` is the path of the one that it will stand in.
    pub(super) fn admit(
        &mut self,
        parent: ActorId,
        group: Option<&str>,
        mut request: SpawnRequest,
    ) -> Result<ActorId, SpawnError> {
        if self.shutting_down {
            return Err(SpawnError::ShuttingDown);
        }
        if !request.arguments.arrived_whole() {
            return Err(SpawnError::NoDescriptors);
        }
        request.options.check(request.name.as_deref())?;
        self.check_group_limits(&request.options)?;
        request.actor_type = harmless::name(&request.actor_type);
        if self.actors.len() >= ACTORS as usize {
            return Err(SpawnError::TooMany(ACTORS));
        }
        let id = ActorId(self.last_actor + 1);
        let own = request.name.clone().unwrap_or_else(|| default_name(&request.actor_type, id));
        let name = match group {
            Some(group) => format!("{group}/{own}"),
            None => own,
        };
        if self.names.holder(&name).is_some() {
            return Err(SpawnError::NameTaken(name));
        }
        let capability = random_capability()
            .map_err(|e| SpawnError::Process { name: name.clone(), error: e.to_string() })?;
        self.last_actor = id.0;
        // It is free, and a first name is no matter of bounds.
        let _ = self.names.give(&name, id);
        let child = Child {
            id,
            name,
            parent,
            capability,
            request,
            incarnation: Incarnation(FIRST.0 - 1),
            peer: None,
            watch: Watch::new(),
            monitors: BTreeSet::new(),
            linked: BTreeSet::new(),
            ordered_at: Instant::now(),
            ready_at: None,
            killed_for: None,
            asked_to_stop: false,
            last_report: None,
            ended: false,
            given_up: false,
            start_info: None,
            confinement: None,
            ledger: Ledger::default(),
            messages: HashMap::new(),
        };
        self.actors.insert(id, child);
        Ok(id)
    }

    /// The actor will not run again; its name is free from here on.
    pub(super) fn retire(&mut self, actor: ActorId, given_up: bool) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.ended = true;
        child.given_up = given_up;
        self.names.free(actor);
    }

    /// The oldest of those that have ended are forgotten.
    pub(super) fn remember(&mut self, ended: ActorId) {
        self.ended.push_back(ended);
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.actors.remove(&oldest);
        }
    }

    /// What an actor is doing.
    pub(super) fn phase(&self, child: &Child) -> Phase {
        if child.ended {
            return Phase::Ended;
        }
        self.tree.phase(child.id).unwrap_or(Phase::Ended)
    }

    pub(super) fn info(&self, child: &Child) -> ActorInfo {
        let group = self.tree.parent(child.id).and_then(|parent| self.groups.get(&parent));
        ActorInfo {
            actor: child.id,
            name: child.name.clone(),
            actor_type: child.request.actor_type.clone(),
            parent: child.parent,
            phase: self.phase(child),
            incarnation: child.incarnation,
            pid: self.pid_of(child),
            restarts: self.tree.restarts(child.id),
            group: group.map(|group| group.path.clone()),
            start_info: child.start_info.clone(),
            confinement: child.confinement,
            control_group: self.control_group_of(child),
            monitors: child.monitors.len(),
        }
    }

    fn control_group_of(&self, child: &Child) -> Option<PathBuf> {
        let group = self.peers.get(&child.peer?)?.group.as_ref()?;
        // What is no text does not travel in a message.
        group.path().to_str().map(PathBuf::from)
    }

    pub(super) fn pid_of(&self, child: &Child) -> Option<u32> {
        self.peers.get(&child.peer?)?.pid()
    }

    /// The name of an actor, or of the program.
    pub(super) fn name_of(&self, actor: ActorId) -> String {
        match self.actors.get(&actor) {
            Some(child) => child.name.clone(),
            None if self.groups.contains_key(&actor) => self.groups[&actor].path.clone(),
            None if actor == ActorId::PROGRAM => "program".into(),
            None => format!("actor {actor}"),
        }
    }
}

/// The type's own name without its path, and the actor's number.
fn default_name(actor_type: &str, id: ActorId) -> String {
    let short = actor_type.split('<').next().unwrap_or(actor_type).rsplit("::").next().unwrap_or("actor");
    let mut name = String::new();
    for (at, c) in short.chars().take(60).enumerate() {
        if c.is_uppercase() && at > 0 {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    format!("{name}-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_name_is_the_type_in_small_letters_and_a_number() {
        assert_eq!(default_name("my_app::shop::PriceBook", ActorId(7)), "price-book-7");
        assert_eq!(default_name("Counter<alloc::string::String>", ActorId(1)), "counter-1");
    }
}
