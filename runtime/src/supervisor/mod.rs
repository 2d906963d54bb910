//! Runs only on the supervisor thread: one loop, which never waits for an actor.
//!
//! Everything that happens becomes one [`Happening`]; the loop takes one after another and acts on it at once. What may
//! take time happens elsewhere: spawning on the spawner thread, reading control links and waiting for exits in small
//! tasks beside the loop, printing what children say on threads of its own.
//!
//! - [`registry`]: every actor, its phase.
//! - [`peer`]: the process at the other end of one control link.
//! - [`lifecycle`]: start, exit, restart, stop. [`strategy`] decides, [`classify`] names what was seen.
//! - [`broker`]: links between processes, and the ledger.
//! - [`directory`]: names and process groups; [`names`], [`waiters`] and [`process_groups`] keep the books.
//! - [`requests`]: answers. [`door`]: programs that attach from outside.
//! - [`hang`]: whether an actor hangs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::mpsc;

use crate::process::code_reference::Image;
use crate::process::exit;
use crate::process::recorder::Recorder;
use crate::report::CrashReport;
use crate::wire::control::{ToPeer, ToSupervisor};
use crate::wire::ids::{ActorId, Capability, Incarnation, LinkId, SystemId};
use crate::wire::place::Place;
use crate::wire::transport::ControlStream;

mod broker;
mod classify;
mod directory;
mod door;
mod hang;
mod lifecycle;
mod names;
mod peer;
mod process_groups;
mod registry;
mod requests;
mod strategy;
mod timers;
mod waiters;

use broker::Link;
use lifecycle::StopJob;
use names::Names;
use peer::{Peer, PeerId};
use process_groups::ProcessGroups;
use registry::Child;
use timers::Timers;
use waiters::Waiters;

/// How children of this program are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// After the executable's name.
    pub(crate) arguments: Vec<OsString>,
    /// Whether a test harness prints something before the child begins.
    pub(crate) heading: bool,
    /// Whether Ctrl-C and SIGTERM end the system; not in tests, where they end the tests.
    pub(crate) signals: bool,
}

/// What a supervisor begins with.
pub(crate) struct Begin {
    pub(crate) system: SystemId,
    pub(crate) launch: Launch,
    pub(crate) program: OwnedFd,
    pub(crate) program_page: Recorder,
}

/// How a supervisor ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The signal that asked for it.
    pub(crate) interrupted: Option<i32>,
    /// The last actor that was given up, if one was.
    pub(crate) given_up: Option<Box<CrashReport>>,
}

/// Most happenings that wait for the loop: then those who bring them wait, and their peers with them.
const WAITING: usize = 4096;

/// Something that the loop acts on.
enum Happening {
    /// A process has said something.
    Heard(PeerId, ToSupervisor),
    /// A process has said what is no control message.
    Nonsense(PeerId, String),
    /// The spawner has started a process, or has not.
    Spawned(PeerId, std::io::Result<crate::process::spawner::Spawned>),
    /// A process has ended; everything that it had said has been heard before.
    Exited(PeerId, std::io::Result<exit::RawExit>),
    /// A control link without a process of its own has ended: the program's.
    Left(PeerId),
    /// A process does not read what it is told.
    Deaf(PeerId),
    /// Ctrl-C or SIGTERM.
    Signal(i32),
    /// A program has attached from outside.
    Attached(ControlStream),
}

struct Supervisor {
    system: SystemId,
    launch: Launch,
    image: Image,
    actors: BTreeMap<ActorId, Child>,
    names: Names,
    waiters: Waiters,
    groups: ProcessGroups,
    last_actor: u64,
    ended: VecDeque<ActorId>,
    peers: HashMap<PeerId, Peer>,
    last_peer: u64,
    program: PeerId,
    links: HashMap<LinkId, Link>,
    last_link: u64,
    listeners: Vec<PeerId>,
    /// Where programs attach, if this system listens.
    place: Option<Place>,
    timers: Timers,
    stops: Vec<StopJob>,
    shutting_down: bool,
    over: bool,
    end: End,
    happenings: mpsc::Sender<Happening>,
    spawned: mpsc::UnboundedSender<Happening>,
}

/// Runs a supervisor until its program has left and its last child has ended.
pub(crate) fn run(begin: Begin) -> std::io::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (happenings, mut incoming) = mpsc::channel(WAITING);
        let (spawned, mut spawn_results) = mpsc::unbounded_channel();
        if begin.launch.signals {
            watch_signals(&happenings)?;
        }
        let mut supervisor = Supervisor::new(begin, happenings, spawned)?;
        let mut look = tokio::time::interval(supervisor.look_period());
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !supervisor.over {
            // Before sleeping: the runtime's timers have steps of a millisecond, and a restart at once is due now.
            supervisor.act_on_timers(Instant::now());
            supervisor.end_overdue_waits(Instant::now());
            let due = [supervisor.timers.next(), supervisor.waiters.next()].into_iter().flatten().min();
            let due = due.map(tokio::time::Instant::from_std);
            let far = tokio::time::Instant::now() + Duration::from_secs(3600);
            let due = due.map_or(far, |due| due.min(far));
            tokio::select! {
                biased;
                Some(happening) = spawn_results.recv() => supervisor.act(happening),
                Some(happening) = incoming.recv() => supervisor.act(happening),
                () = tokio::time::sleep_until(due) => {}
                _ = look.tick() => {
                    supervisor.look_for_hangs(Instant::now());
                    if look.period() != supervisor.look_period() {
                        look = tokio::time::interval(supervisor.look_period());
                        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                    }
                }
            }
        }
        Ok(supervisor.end)
    })
}

fn watch_signals(happenings: &mpsc::Sender<Happening>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signals, happenings) = (signal(kind)?, happenings.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if happenings.send(Happening::Signal(kind.as_raw_value())).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

impl Supervisor {
    fn new(
        begin: Begin,
        happenings: mpsc::Sender<Happening>,
        spawned: mpsc::UnboundedSender<Happening>,
    ) -> std::io::Result<Self> {
        let mut supervisor = Supervisor {
            system: begin.system,
            launch: begin.launch,
            image: Image::of_this_process()?,
            actors: BTreeMap::new(),
            names: Names::default(),
            waiters: Waiters::default(),
            groups: ProcessGroups::default(),
            last_actor: ActorId::PROGRAM.0,
            ended: VecDeque::new(),
            peers: HashMap::new(),
            last_peer: 0,
            program: PeerId(0),
            links: HashMap::new(),
            last_link: 0,
            listeners: Vec::new(),
            place: None,
            timers: Timers::default(),
            stops: Vec::new(),
            shutting_down: false,
            over: false,
            end: End::default(),
            happenings,
            spawned,
        };
        supervisor.program = supervisor.add_program(begin.program, Arc::new(begin.program_page))?;
        Ok(supervisor)
    }

    fn act(&mut self, happening: Happening) {
        match happening {
            Happening::Heard(peer, message) => self.hear(peer, message),
            Happening::Nonsense(peer, reason) => self.nonsense(peer, &reason),
            Happening::Spawned(peer, result) => self.spawned(peer, result),
            Happening::Exited(peer, exit) => self.exited(peer, exit),
            Happening::Left(peer) => self.left(peer),
            Happening::Deaf(peer) => self.nonsense(peer, "it does not read what it is told"),
            Happening::Signal(number) => self.signalled(number),
            Happening::Attached(control) => self.attached(control),
        }
    }

    /// Ctrl-C drains; a second one kills.
    fn signalled(&mut self, number: i32) {
        if self.end.interrupted.replace(number).is_some() {
            eprintln!("watertight: interrupted again: killing every actor");
            for peer in self.peers.values() {
                peer.kill();
            }
            std::process::exit(128 + number);
        }
        eprintln!("watertight: interrupted: finishing what is accepted (again to kill)");
        self.say(self.program, &ToPeer::Stop, &[]);
    }

    /// A control link has ended that belongs to no child. If it was the program's, nobody is left to serve.
    pub(super) fn left(&mut self, peer: PeerId) {
        if peer == self.program {
            for peer in self.peers.values() {
                peer.kill();
            }
            self.shutting_down = true;
            self.over = self.peers.values().all(|peer| !peer.is_child());
        }
        self.bury_without_process(peer);
        self.peers.remove(&peer);
    }

    /// How often to look for hangs: by the shortest limit of all.
    fn look_period(&self) -> Duration {
        let limits = self.actors.values().filter(|child| child.peer.is_some());
        let shortest = limits.filter_map(|child| {
            let options = &child.request.options;
            [options.hang_limit, options.await_limit].into_iter().flatten().min()
        });
        shortest.min().map_or(Duration::from_millis(250), hang::period)
    }
}

/// A number that nobody can guess.
///
/// # Errors
/// When the kernel gives no random bytes.
fn random_capability() -> std::io::Result<Capability> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(Capability(u128::from_le_bytes(bytes)))
}

/// A number from 0 to 1, to spread restarts.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    // Without random bytes every restart waits its whole step: no harm but less spread.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

const KILL: Signal = Signal::KILL;

/// The first life.
const FIRST: Incarnation = Incarnation(1);
