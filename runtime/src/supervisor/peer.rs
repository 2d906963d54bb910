//! The process at the other end of one control link.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::Serialize;
use tokio::sync::mpsc;

use super::last_look::{Askers, LastLook};
use super::mouth::{Mouth, Said};
use super::{Happening, KILL, Supervisor};
use crate::fault::{self, Call, Injection};
use crate::process::capture::Captured;
use crate::process::cgroup::Group;
use crate::process::exit;
use crate::process::recorder::Recorder;
use crate::report::{Exit, Panic};
use crate::wire::control::{Ticket, ToPeer, ToSupervisor};
use crate::wire::conversation::{self, Listener};
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::{ActorId, Incarnation, LinkId};
use crate::wire::transport::ControlStream;

/// One control link, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PeerId(pub(super) u64);

/// A process that talks with the supervisor.
pub(super) struct Peer {
    pub(super) actor: ActorId,
    pub(super) incarnation: Incarnation,
    pub(super) page: Arc<Recorder>,
    pub(super) mouth: Arc<Mouth>,
    slots: Slots,
    /// Links on which it is sent to, and on which it sends.
    pub(super) incoming: HashSet<LinkId>,
    pub(super) outgoing: HashSet<LinkId>,
    process: Option<Process>,
    /// Its control group, if it has one.
    pub(super) group: Option<Arc<Group>>,
    pub(super) captured: Option<Arc<Captured>>,
    pub(super) began: Instant,
    /// Attached from outside: it may neither start actors nor end the system.
    pub(super) is_outside: bool,
    /// Its last words.
    pub(super) panic: Option<Panic>,
    pub(super) goodbye: Option<bool>,
    pub(super) start_failed: Option<String>,
    pub(super) declined: Option<String>,
    pub(super) unconfined: Option<String>,
    pub(super) last_look: LastLook,
    /// Who wants to see its stack.
    pub(super) askers: Askers,
    /// The last fault of the plan that ends or hangs a process, injected into this one.
    pub(super) injected: Option<Box<Injection>>,
}

struct Process {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Peer {
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|p| p.pid.as_raw_pid().unsigned_abs())
    }

    /// Kills its process and everything in its group. What follows is seen as its exit.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process
            && let Err(error) = exit::kill_group(process.pid, KILL)
        {
            // Before the child has made its group, or after the last of it has gone.
            tracing::debug!(%error, "the group was not killed; killing the process alone");
            let _ = exit::kill_process(process.pidfd.as_fd(), KILL);
        }
    }

    /// The signal that has stopped it, if one has.
    pub(super) fn stopped_by(&self) -> Option<i32> {
        exit::is_stopped(self.process.as_ref()?.pidfd.as_fd()).ok().flatten()
    }

    /// Whether it is a process that this supervisor has started, or is about to.
    pub(super) fn is_child(&self) -> bool {
        self.captured.is_some()
    }

    pub(super) fn take_slot(&mut self) -> Option<u32> {
        self.slots.take()
    }

    pub(super) fn free_slot(&mut self, slot: u32) {
        self.slots.free.push(slot);
    }
}

/// Which rows of a recorder are in use.
#[derive(Debug, Default)]
struct Slots {
    free: Vec<u32>,
    next: u32,
}

impl Slots {
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            (self.next < Recorder::SLOTS).then(|| {
                self.next += 1;
                self.next - 1
            })
        })
    }
}

impl Supervisor {
    /// Says something to a peer: at once if its control link has room, else as soon as it has.
    pub(super) fn say(&self, peer: PeerId, message: &impl Serialize) {
        if let Err(error) = self.say_with(peer, message, Vec::new()) {
            tracing::error!(%error, "a control message was not sent");
        }
    }

    /// The same, with descriptors of the message itself.
    ///
    /// # Errors
    /// When it does not encode, or those beside a value in it cannot be copied; nothing has been said then.
    pub(super) fn say_with(
        &self,
        peer: PeerId,
        message: &impl Serialize,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let Some(to) = self.peers.get(&peer) else { return Ok(()) };
        let mut frame = Vec::new();
        let beside =
            conversation::append(&mut frame, message, descriptors.len()).map_err(io::Error::other)?;
        let copy = |one: &Arc<OwnedFd>| fault::call(Call::CopyDescriptor).and_then(|()| one.try_clone());
        let copies: io::Result<Vec<OwnedFd>> = beside.iter().map(copy).collect();
        let mut all = copies?;
        all.extend(descriptors);
        self.send_frame(peer, to, frame, all);
        Ok(())
    }

    fn send_frame(&self, peer: PeerId, to: &Peer, frame: Vec<u8>, descriptors: Vec<OwnedFd>) {
        match to.mouth.say(frame, descriptors) {
            Said::Now | Said::Behind => {}
            // Whoever does not read is ended; the exit is seen like any other.
            Said::TooMuch => to.kill(),
            Said::Waits => {
                let (mouth, happenings) = (Arc::clone(&to.mouth), self.happenings.clone());
                tokio::spawn(async move {
                    if !mouth.write_all(ControlStream::writable).await {
                        // The loop may have ended; then so has everything else.
                        let _ = happenings.send(Happening::Deaf(peer)).await;
                    }
                });
            }
        }
    }

    /// The program's own end of the system.
    pub(super) fn add_program(&mut self, control: OwnedFd, page: Arc<Recorder>) -> io::Result<PeerId> {
        let control = Arc::new(ControlStream::new(control)?);
        let peer = self.add_peer(ActorId::PROGRAM, Incarnation(1), Arc::clone(&control), page);
        tokio::spawn(attend_program(
            peer,
            control,
            Listener::new(Role::Program, self.system),
            self.programs.clone(),
        ));
        Ok(peer)
    }

    /// A program that has attached.
    pub(super) fn add_outside(
        &mut self,
        actor: ActorId,
        control: ControlStream,
        page: Arc<Recorder>,
    ) -> PeerId {
        let control = Arc::new(control);
        let id = self.add_peer(actor, Incarnation(1), Arc::clone(&control), page);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.is_outside = true;
        }
        let listener = Listener::new(Role::Outside, self.system);
        tokio::spawn(attend_program(id, control, listener, self.programs.clone()));
        id
    }

    /// A peer for a process that is about to be started. Its hello and its ticket are said at once.
    pub(super) fn add_child_peer(
        &mut self,
        control: OwnedFd,
        ticket: Box<Ticket>,
        page: Arc<Recorder>,
        descriptors: Vec<OwnedFd>,
        captured: Captured,
    ) -> io::Result<PeerId> {
        let control = Arc::new(ControlStream::new(control)?);
        let (actor, incarnation) = (ticket.actor, ticket.incarnation);
        let id = self.add_peer(actor, incarnation, control, page);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.captured = Some(Arc::new(captured));
        }
        if let Err(error) = self.say_with(id, &ToPeer::Start(ticket), descriptors) {
            self.peers.remove(&id);
            return Err(error);
        }
        Ok(id)
    }

    fn add_peer(
        &mut self,
        actor: ActorId,
        incarnation: Incarnation,
        control: Arc<ControlStream>,
        page: Arc<Recorder>,
    ) -> PeerId {
        self.last_peer += 1;
        let id = PeerId(self.last_peer);
        let mouth = Mouth::new(control);
        mouth.prepare(Hello { role: Role::Supervisor, system: self.system }.encode().to_vec());
        let peer = Peer {
            actor,
            incarnation,
            page,
            mouth,
            slots: Slots::default(),
            incoming: HashSet::new(),
            outgoing: HashSet::new(),
            process: None,
            group: None,
            captured: None,
            began: Instant::now(),
            is_outside: false,
            panic: None,
            goodbye: None,
            start_failed: None,
            declined: None,
            injected: None,
            unconfined: None,
            last_look: LastLook::default(),
            askers: Askers::default(),
        };
        // The hello of a child goes out with its ticket; the program's now.
        if actor == ActorId::PROGRAM {
            // It has room for sixteen bytes.
            peer.mouth.flush();
        }
        self.peers.insert(id, peer);
        id
    }

    /// The spawner has started the peer's process: from now on its words and its exit are awaited.
    pub(super) fn attach_process(&mut self, id: PeerId, pid: Pid, pidfd: OwnedFd) -> io::Result<()> {
        fault::call(Call::WatchExit)?;
        let watch = exit::watch(pidfd.try_clone()?)?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.process = Some(Process { pid, pidfd });
        let attendance = Attendance {
            peer: id,
            control: Arc::clone(&peer.mouth.control),
            listener: Listener::new(Role::Actor, self.system),
            happenings: self.happenings.clone(),
        };
        let group = peer.group.clone();
        tokio::spawn(attend_child(attendance, pid, watch, group, peer.captured.clone()));
        Ok(())
    }

    /// What a peer said is no control message, or it does not listen: it is ended.
    pub(super) fn nonsense(&mut self, peer: PeerId, reason: &str) {
        let Some(to) = self.peers.get(&peer) else { return };
        let actor = to.actor;
        tracing::error!(actor = %self.name_of(actor), reason, "a process is ended for what it said");
        to.kill();
        if to.is_outside {
            // It is no process of ours to kill. Whoever attends to it still holds its socket: that ends now.
            to.mouth.control.end();
            self.left(peer);
            return;
        }
        if let Some(child) = self.actors.get_mut(&actor).filter(|child| child.peer == Some(peer)) {
            child.killed_for.get_or_insert(Exit::BadPeer(reason.to_owned()));
        }
    }
}

/// Hears a peer for the loop.
struct Attendance {
    peer: PeerId,
    control: Arc<ControlStream>,
    listener: Listener,
    happenings: mpsc::Sender<Happening>,
}

/// The conversation is over, well or not.
struct Over;

impl Attendance {
    async fn hear(&mut self, buffer: &mut [u8]) -> Result<(), Over> {
        let read = self.control.read(buffer, &mut self.listener.descriptors).await.map_err(|_| Over)?;
        self.take(&buffer[..read]).await
    }

    /// Hears at least the introduction.
    async fn hear_hello(&mut self, buffer: &mut [u8]) -> Result<(), Over> {
        while !self.listener.is_introduced() {
            self.hear(buffer).await?;
        }
        Ok(())
    }

    /// What was said before an exit and not heard yet.
    async fn hear_rest(&mut self, buffer: &mut [u8]) {
        while let Ok(read) = self.control.try_read(buffer, &mut self.listener.descriptors) {
            if self.take(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Over> {
        if bytes.is_empty() {
            return Err(Over);
        }
        self.listener.heard(bytes);
        loop {
            let happening = match self.listener.next::<ToSupervisor>() {
                Ok(None) => return Ok(()),
                Ok(Some((message, _))) => Happening::Heard(self.peer, message),
                Err(error) => {
                    let nonsense = Happening::Nonsense(self.peer, error.to_string());
                    // The loop may have ended; then so has everything else.
                    let _ = self.happenings.send(nonsense).await;
                    return Err(Over);
                }
            };
            self.happenings.send(happening).await.map_err(|_| Over)?;
        }
    }
}

async fn attend_program(
    peer: PeerId,
    control: Arc<ControlStream>,
    listener: Listener,
    happenings: mpsc::Sender<Happening>,
) {
    let mut attendance = Attendance { peer, control, listener, happenings };
    let mut buffer = vec![0; 16 << 10];
    // Whoever connects and says nothing does not keep its place.
    let first = tokio::time::timeout(INTRODUCTION, attendance.hear_hello(&mut buffer)).await;
    if matches!(first, Ok(Ok(()))) {
        while attendance.hear(&mut buffer).await.is_ok() {}
    }
    // The loop may have ended; then so has everything else.
    let _ = attendance.happenings.send(Happening::Left(peer)).await;
}

/// How long a program that connects may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(1);

/// How long the last lines of a dead child may take to come through its pipes.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Hears a child until its process has ended, then everything that it had still said, then tells its exit: never the
/// other way round.
async fn attend_child(
    mut attendance: Attendance,
    pid: Pid,
    watch: tokio::io::unix::AsyncFd<OwnedFd>,
    group: Option<Arc<Group>>,
    captured: Option<Arc<Captured>>,
) {
    let mut buffer = vec![0; 16 << 10];
    let (mut heard, mut booted) = (Ok(()), false);
    let waited = loop {
        tokio::select! {
            waited = exit::wait(pid, &watch) => break waited,
            ended = attendance.hear(&mut buffer), if heard.is_ok() => heard = ended,
        }
        if !booted && attendance.listener.is_introduced() {
            booted = true;
            // The loop may have ended; then so has everything else.
            let _ = attendance.happenings.send(Happening::Booted(attendance.peer)).await;
        }
    };
    if heard.is_ok() {
        attendance.hear_rest(&mut buffer).await;
    }
    // All that it has started, wherever that has gone. It is removed, and killed again, with its orphans.
    if let Some(Err(error)) = group.map(|group| group.kill()) {
        tracing::warn!(pid = pid.as_raw_pid(), %error, "failed to kill the control group of an exited actor");
    }
    let exit = match waited {
        Ok(()) => exit::finish(pid),
        Err(error) => Err(error),
    };
    if let Some(captured) = &captured {
        // Whatever is not through by then is missing in the report, not in the output.
        let _ = tokio::time::timeout(LAST_LINES, captured.drained()).await;
    }
    // The loop may have ended; then so has everything else.
    let _ = attendance.happenings.send(Happening::Exited(attendance.peer, exit)).await;
}
