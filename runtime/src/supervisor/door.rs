//! Programs from outside: they attach by the system's name, and then are senders like any other.
//!
//! They have neither a process of ours nor code: what is refused to them is starting actors and ending the system.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::peer::PeerId;
use super::{FIRST, Happening, Supervisor};
use crate::error::SystemError;
use crate::process::child::Limits;
use crate::process::recorder::Recorder;
use crate::profile::Profile;
use crate::wire::control::{Answer, Arguments, Refusal, Ticket, ToPeer};
use crate::wire::ids::ActorId;
use crate::wire::place::Place;
use crate::wire::transport::{ControlStream, Door};

/// Programs that may be attached at once; each has a control link and a page here.
const ATTACHED: usize = 256;
/// How long after a failed `accept` the next is tried: out of descriptors, trying at once would only burn a core.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Begins to listen as `name`.
    pub(super) fn listen_as(&mut self, asker: PeerId, number: u64, name: &str) {
        let listening = Place::take(name).map_err(|e| e.to_string()).and_then(|place| {
            let door = Door::open(place.socket())
                .map_err(|e| format!("failed to bind {}: {e}", place.socket().display()))?;
            Ok((place, door))
        });
        let answer = match listening {
            Ok((place, door)) => {
                tokio::spawn(admit_all(door, self.happenings.clone()));
                self.place = Some(place);
                Ok(Answer::Done)
            }
            Err(reason) => Err(Refusal::System(SystemError::Listen(reason))),
        };
        self.answer(asker, number, answer);
    }

    /// Somebody has attached: it becomes a peer, and gets a ticket without code.
    pub(super) fn attached(&mut self, control: ControlStream) {
        let outside = self.peers.values().filter(|peer| peer.is_outside).count();
        if outside >= ATTACHED || self.shutting_down {
            tracing::warn!(
                outside,
                "a program was turned away: too many are attached, or the system is ending"
            );
            return;
        }
        if let Err(error) = self.take_in(control) {
            tracing::warn!(%error, "a program was turned away");
        }
    }

    fn take_in(&mut self, control: ControlStream) -> io::Result<()> {
        let (page, descriptor) = Recorder::create()?;
        self.last_actor += 1;
        let actor = ActorId(self.last_actor);
        let ticket = Ticket {
            system: self.system,
            actor,
            incarnation: FIRST,
            capability: super::random_capability()?,
            name: format!("outside-{actor}"),
            parent_process: std::process::id(),
            image: self.image.clone(),
            heading: false,
            code: None,
            arguments: Arguments::default(),
            protocol: 0,
            limits: Limits::default(),
            faults: None,
            profile: Profile::Default,
        };
        let peer = self.add_outside(actor, control, Arc::new(page));
        self.say_with(peer, &ToPeer::Start(Box::new(ticket)), vec![descriptor])
    }
}

/// Parts of this process that attach as a program does, because the program itself cannot ask: it blocks its thread.
pub(super) async fn admit_from_within(
    mut attaching: mpsc::UnboundedReceiver<OwnedFd>,
    happenings: mpsc::Sender<Happening>,
) {
    while let Some(control) = attaching.recv().await {
        let attached = match ControlStream::new(control) {
            Ok(control) => happenings.send(Happening::Attached(control)).await,
            Err(error) => {
                tracing::warn!(%error, "a part of this process did not attach");
                continue;
            }
        };
        if attached.is_err() {
            return;
        }
    }
}

async fn admit_all(door: Door, happenings: mpsc::Sender<Happening>) {
    loop {
        match door.accept().await {
            Ok(control) => {
                if happenings.send(Happening::Attached(control)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a program did not attach");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
