//! The fault plan of a system: who gets what of it, and what has been injected.

use std::collections::HashMap;
use std::rc::Rc;

use super::peer::PeerId;
use super::{Happening, Supervisor};
use crate::error::SystemError;
use crate::event::Event;
use crate::fault::here::Who;
use crate::fault::{self, Injection, Injector, Plan};
use crate::wire::control::{Answer, Refusal, ToPeer};
use crate::wire::ids::{ActorId, Incarnation};

/// Injections that are kept for whoever asks: a test looks at some hundreds, and an answer must fit a frame.
const KEPT: usize = 10_000;

/// The plan that is in force, and its report.
#[derive(Default)]
pub(super) struct Faults {
    plan: Option<Injector>,
    injected: Vec<Injection>,
    /// How often each rule has fired in what has which name.
    fired: HashMap<(usize, String), u32>,
}

impl Supervisor {
    /// A program gives the system a plan.
    pub(super) fn inject(&mut self, peer: PeerId, number: u64, plan: &Plan) {
        let refused = if peer != self.program {
            Some(Refusal::System(SystemError::NotAllowed))
        } else {
            plan.check().err().map(Refusal::Plan)
        };
        if let Some(refusal) = refused {
            self.answer(peer, number, Err(refusal));
            return;
        }
        let injector = Injector::new(plan);
        self.faults.plan = Some(injector.clone());
        self.faults.fired.clear();
        let who =
            Who { actor: ActorId::PROGRAM, name: fault::SUPERVISOR.into(), incarnation: Incarnation(1) };
        let happened = self.spawned.clone();
        let tell = Rc::new(move |injection| {
            // The loop may have ended; then nobody asks any more.
            let _ = happened.send(Happening::Injected(Box::new(injection)));
        });
        fault::install(injector, who, tell);
        let told: Vec<(PeerId, Box<Injector>)> = self
            .peers
            .iter()
            .filter(|(id, peer)| **id == self.program || peer.is_child())
            .filter_map(|(id, peer)| Some((*id, self.faults_of(peer.actor, peer.incarnation)?)))
            .collect();
        for (peer, faults) in told {
            self.say(peer, &ToPeer::Faults(faults));
        }
        self.answer(peer, number, Ok(Answer::Done));
    }

    /// What of the plan concerns this incarnation; `None` without a plan.
    pub(super) fn faults_of(&self, actor: ActorId, incarnation: Incarnation) -> Option<Box<Injector>> {
        let plan = self.faults.plan.as_ref()?;
        let name = if actor == ActorId::PROGRAM { fault::PROGRAM.to_owned() } else { self.name_of(actor) };
        let fired = |rule| self.faults.fired.get(&(rule, name.clone())).copied().unwrap_or(0);
        Some(Box::new(plan.of(&name, incarnation, fired)))
    }

    /// A fault is being injected, said by whom it concerns.
    pub(super) fn injected(&mut self, peer: Option<PeerId>, injection: Box<Injection>) {
        *self.faults.fired.entry((injection.rule, injection.name.clone())).or_default() += 1;
        if self.faults.injected.len() < KEPT {
            self.faults.injected.push((*injection).clone());
        }
        self.tell_listeners(&Event::Injected(injection.clone()));
        if let Some(peer) = peer.and_then(|peer| self.peers.get_mut(&peer))
            && injection.fault.is_of_process()
        {
            peer.injected = Some(injection);
        }
    }

    pub(super) fn answer_injections(&self, peer: PeerId, number: u64) {
        self.answer(peer, number, Ok(Answer::Injections(self.faults.injected.clone())));
    }
}
