//! Every actor that the supervisor knows: its spec, its phase.

use std::collections::HashMap;
use std::time::Instant;

use super::hang::Watch;
use super::peer::PeerId;
use super::strategy::Restarts;
use super::{FIRST, Supervisor, random_capability};
use crate::error::{SpawnError, Unreachable};
use crate::event::{ActorInfo, Phase};
use crate::ledger::Ledger;
use crate::report::{CrashReport, Exit};
use crate::wire::control::SpawnRequest;
use crate::wire::ids::{ActorId, Capability, Incarnation, MessageKey, RawAddress, SystemId};

/// Most actors at once: each has a handful of descriptors here, and the table for those ends at a million.
const ACTORS: u32 = 100_000;
/// Actors that have ended and are still remembered, so that their addresses say so.
const REMEMBERED: usize = 1024;

/// One actor.
pub(super) struct Child {
    pub(super) id: ActorId,
    pub(super) name: String,
    pub(super) parent: ActorId,
    pub(super) capability: Capability,
    pub(super) request: SpawnRequest,
    pub(super) phase: Phase,
    pub(super) incarnation: Incarnation,
    pub(super) peer: Option<PeerId>,
    pub(super) restarts: u64,
    pub(super) history: Restarts,
    pub(super) watch: Watch,
    /// Whoever waits for the first start.
    pub(super) asked_by: Option<(PeerId, u64)>,
    pub(super) monitors: Vec<(PeerId, u64)>,
    /// Whoever waits for the restart that is under way to be a whole one.
    pub(super) ordered_at: Instant,
    pub(super) ready_at: Option<Instant>,
    /// Why the supervisor has killed its process, if it has.
    pub(super) killed_for: Option<Exit>,
    pub(super) last_report: Option<Box<CrashReport>>,
    pub(super) given_up: bool,
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

    pub(super) fn info(&self, pid: Option<u32>) -> ActorInfo {
        ActorInfo {
            actor: self.id,
            name: self.name.clone(),
            actor_type: self.request.actor_type.clone(),
            parent: self.parent,
            phase: self.phase,
            incarnation: self.incarnation,
            pid,
            restarts: self.restarts,
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
    /// Takes a new actor in, without starting it.
    pub(super) fn admit(&mut self, parent: ActorId, request: SpawnRequest) -> Result<ActorId, SpawnError> {
        if self.shutting_down {
            return Err(SpawnError::ShuttingDown);
        }
        request.options.check(request.name.as_deref())?;
        if self.actors.len() >= ACTORS as usize {
            return Err(SpawnError::TooMany(ACTORS));
        }
        let id = ActorId(self.last_actor + 1);
        let name = request.name.clone().unwrap_or_else(|| default_name(&request.actor_type, id));
        if self.names.holder(&name).is_some() {
            return Err(SpawnError::NameTaken(name));
        }
        let capability = random_capability()
            .map_err(|e| SpawnError::Process { name: name.clone(), error: e.to_string() })?;
        self.last_actor = id.0;
        // It is free, and a first name is no matter of bounds.
        let _ = self.names.give(&name, id);
        let options = &request.options;
        let history = Restarts::new(options.restart, options.intensity, options.backoff);
        let child = Child {
            id,
            name,
            parent,
            capability,
            request,
            phase: Phase::Starting,
            incarnation: Incarnation(FIRST.0 - 1),
            peer: None,
            restarts: 0,
            history,
            watch: Watch::new(),
            asked_by: None,
            monitors: Vec::new(),
            ordered_at: Instant::now(),
            ready_at: None,
            killed_for: None,
            last_report: None,
            given_up: false,
            ledger: Ledger::default(),
            messages: HashMap::new(),
        };
        self.actors.insert(id, child);
        Ok(id)
    }

    /// The actor ends for good; its name is free from here on.
    pub(super) fn retire(&mut self, actor: ActorId, given_up: bool) {
        let Some(child) = self.actors.get_mut(&actor) else { return };
        child.phase = Phase::Ended;
        child.given_up = given_up;
        child.peer = None;
        child.killed_for = None;
        self.names.free(actor);
        self.timers.clear(actor);
        self.ended.push_back(actor);
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.actors.remove(&oldest);
        }
    }

    /// The actors that stand under `actor`, at any depth, and itself; in the order in which they were started.
    pub(super) fn subtree(&self, actor: ActorId) -> Vec<ActorId> {
        // A child is always younger than its parent, so one pass in order of age finds all.
        let mut found = vec![actor];
        for child in self.actors.values() {
            if child.phase != Phase::Ended && child.id != actor && found.contains(&child.parent) {
                found.push(child.id);
            }
        }
        found
    }

    /// The name of an actor, or of the program.
    pub(super) fn name_of(&self, actor: ActorId) -> String {
        match self.actors.get(&actor) {
            Some(child) => child.name.clone(),
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
