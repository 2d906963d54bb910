//! The process that ends what actors have started when this program is killed: that there is one, and knows whom.

use super::{Happening, Supervisor};
use crate::process::cgroup::Groups;
use crate::process::exit;
use crate::process::spawner::Spawned;
use crate::process::survivor::Survivor;

impl Supervisor {
    /// There may be something to end from now on.
    pub(super) fn ensure_survivor(&mut self) {
        if self.survivor.is_some() {
            return;
        }
        let spawned = self.spawned.clone();
        let (system, arguments) = (self.system_name(), self.launch.arguments.clone());
        let groups = self.cgroups.as_ref().ok().map(Groups::path);
        let begun = Survivor::begin(&system, arguments, groups, move |result| {
            // If the loop has ended, so does the survivor: with its pipe.
            let _ = spawned.send(Happening::Survivor(result));
        });
        match begun {
            Ok(mut survivor) => {
                for pid in self.peers.values().filter_map(super::Peer::pid) {
                    survivor.tell_started(pid);
                }
                self.survivor = Some(survivor);
            }
            // The next start tries again.
            Err(error) => without(&error),
        }
    }

    /// It was started, or was not.
    pub(super) fn survivor_spawned(&mut self, result: std::io::Result<Spawned>) {
        let Some(survivor) = &mut self.survivor else { return };
        let spawned = result.and_then(|spawned| {
            let (pid, happenings) = (spawned.pid, self.happenings.clone());
            let watch = spawned.pidfd.try_clone().and_then(exit::watch);
            survivor.started(spawned);
            let watch = watch?;
            tokio::spawn(async move {
                let ended = exit::wait(pid, &watch).await.and_then(|()| exit::finish(pid));
                // The loop may have ended; then so has everything else.
                let _ = happenings.send(Happening::SurvivorEnded(ended)).await;
            });
            Ok(())
        });
        if let Err(error) = spawned {
            without(&error);
            self.dismiss_survivor();
        }
    }

    /// Somebody has killed it: the next start of an actor starts another one.
    pub(super) fn survivor_ended(&mut self, ended: std::io::Result<exit::RawExit>) {
        match ended {
            Ok(exit) => {
                tracing::warn!(status = ?exit.status, "the program's survivor has ended; there will be another")
            }
            Err(error) => without(&error),
        }
        self.survivor = None;
    }

    /// Nothing is left for it to do.
    pub(super) fn dismiss_survivor(&mut self) {
        if let Some(survivor) = self.survivor.take() {
            survivor.dismiss();
        }
    }
}

fn without(error: &std::io::Error) {
    tracing::warn!(%error, "if this program is killed, what its actors have started may live on");
}
