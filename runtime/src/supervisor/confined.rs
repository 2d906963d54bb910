//! What a sandboxed actor may ask of the supervisor: nothing by which it would get out of its sandbox, or end others.
//!
//! The supervisor could be made to do what the actor's own process cannot: start one that is not shut in, pass on a
//! variable, kill. So what a sandboxed actor starts is shut in as it is itself.

use super::Supervisor;
use super::peer::PeerId;
use crate::error::{AdministrationError, SystemError};
use crate::process::child::Limits;
use crate::profile::Profile;
use crate::spec::Options;
use crate::wire::control::{Refusal, Request};
use crate::wire::ids::ActorId;

impl Supervisor {
    /// Refuses a question of a sandboxed actor, or takes from it what may not be asked for.
    pub(super) fn confine_question(&self, peer: PeerId, request: &mut Request) -> Result<(), Refusal> {
        let asker = self.peers.get(&peer).and_then(|peer| self.actors.get(&peer.actor));
        let Some(asker) = asker.filter(|asker| asker.request.options.profile != Profile::Default) else {
            return Ok(());
        };
        let own = |actor: ActorId| {
            actor == asker.id || self.actors.get(&actor).is_some_and(|child| child.parent == asker.id)
        };
        if let Some(refusal) = refusal(request, own) {
            return Err(refusal);
        }
        if let Request::Spawn(request) = request {
            inherit(&mut request.options, &asker.request.options);
        }
        Ok(())
    }
}

/// Why this is not for a sandboxed actor, if it is not. `own`: itself, and what it has started.
fn refusal(request: &Request, own: impl Fn(ActorId) -> bool) -> Option<Refusal> {
    match request {
        Request::StartGroup(_)
        | Request::StartChild { .. }
        | Request::StartInstance { .. }
        | Request::Administer { .. } => {
            Some(Refusal::Administration(Box::new(AdministrationError::NotAllowed)))
        }
        Request::Stop { address } | Request::Kill { address } | Request::FateLink { address }
            if !own(address.actor) =>
        {
            Some(Refusal::System(SystemError::NotAllowed))
        }
        Request::Stack { actor } if !own(*actor) => Some(Refusal::System(SystemError::NotAllowed)),
        // What others say as they die, and what they are told.
        Request::Events | Request::Recent => Some(Refusal::System(SystemError::NotAllowed)),
        _ => None,
    }
}

/// A child gets what its parent has, or less.
fn inherit(child: &mut Options, parent: &Options) {
    child.profile = parent.profile.clone();
    child.environment.retain(|name| parent.environment.contains(name));
    fn least<N: Ord>(child: Option<N>, parent: Option<N>) -> Option<N> {
        child.into_iter().chain(parent).min()
    }
    child.limits = Limits {
        memory: least(child.limits.memory, parent.limits.memory),
        descriptors: least(child.limits.descriptors, parent.limits.descriptors),
        cpu_seconds: least(child.limits.cpu_seconds, parent.limits.cpu_seconds),
        file_size: least(child.limits.file_size, parent.limits.file_size),
        no_processes: child.limits.no_processes || parent.limits.no_processes,
        processes: least(child.limits.processes, parent.limits.processes),
        cpu_share: least(child.limits.cpu_share, parent.limits.cpu_share),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Sandbox;
    use crate::wire::ids::{Capability, RawAddress, SystemId};

    #[test]
    fn others_are_neither_ended_nor_tied_to_nor_administered() {
        let address = |actor| RawAddress {
            version: RawAddress::VERSION,
            system: SystemId(1),
            actor: ActorId(actor),
            capability: Capability(7),
            protocol: 3,
        };
        let own = |actor: ActorId| actor.0 == 5;
        for (actor, refused) in [(5, false), (6, true)] {
            for request in [
                Request::Stop { address: address(actor) },
                Request::Kill { address: address(actor) },
                Request::FateLink { address: address(actor) },
                Request::Stack { actor: ActorId(actor) },
            ] {
                assert_eq!(refusal(&request, own).is_some(), refused, "{request:?}");
            }
        }
        let path = "shop".to_owned();
        let act = crate::wire::control::Administration::Terminate;
        for request in [Request::Administer { path, act }, Request::Events, Request::Recent] {
            assert!(refusal(&request, own).is_some(), "{request:?}");
        }
        for request in [Request::Link { address: address(6) }, Request::List] {
            assert!(refusal(&request, own).is_none(), "{request:?}");
        }
    }

    #[test]
    fn a_child_is_shut_in_as_its_parent_is_and_gets_no_more() {
        let mut parent = Options { environment: vec!["A".into()], ..Options::default() };
        parent.profile = Profile::Sandboxed(Sandbox::new().no_files());
        parent.limits = Limits { memory: Some(100), cpu_seconds: Some(5), ..Limits::default() };
        let mut child = Options { environment: vec!["*".into(), "A".into()], ..Options::default() };
        child.limits = Limits { memory: Some(200), descriptors: Some(50), ..Limits::default() };
        inherit(&mut child, &parent);
        assert_eq!((&child.profile, child.environment), (&parent.profile, vec!["A".to_owned()]));
        let expected = Limits { descriptors: Some(50), ..parent.limits };
        assert_eq!(child.limits, expected);
    }
}
