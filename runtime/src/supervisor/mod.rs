//! Runs only on the supervisor thread: one loop, which never waits for an actor.
//!
//! Everything that happens becomes one [`Happening`]; the loop takes one after another and acts on it at once. What may
//! take time happens elsewhere: spawning on the spawner thread, reading control links and waiting for exits in small
//! tasks beside the loop, printing what children say on threads of its own.
//!
//! - [`registry`]: every actor, its phase.
//! - [`peer`]: the process at the other end of one control link.
//! - [`tree`]: the supervision tree; decides, purely. [`decisions`] tells it what has happened and does what it says.
//! - [`lifecycle`]: the processes: launch, exit, kill. [`classify`] names what was seen. [`survival`]: what is ended when this
//!   process is killed.
//! - [`administer`]: groups, and what people ask of the tree. [`fate`]: monitors and links.
//! - [`broker`]: links between processes, and the ledger.
//! - [`directory`]: names and process groups; [`names`], [`waiters`] and [`process_groups`] keep the books.
//! - [`requests`]: answers. [`confined`]: what sandboxed actors may ask. [`door`]: programs that attach from outside.
//! - [`faults`]: the fault plan, if there is one. [`hang`]: whether an actor hangs. [`last_look`]: its stack, before it is
//!   killed for it, or because somebody asks. [`recent`]: what happened last, for tests that fail.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::fault::{self, Call, Injection};
use crate::process::cgroup::Groups;
use crate::process::cgroup_rules::Cgroup;
use crate::process::code_reference::Image;
use crate::process::exit;
use crate::process::orphans::{self, Orphans};
use crate::process::recorder::Recorder;
use crate::process::survivor::Survivor;
use crate::report::CrashReport;
use crate::wire::control::{ToPeer, ToSupervisor};
use crate::wire::ids::{ActorId, Capability, Incarnation, LinkId, SystemId};
use crate::wire::place::Place;
use crate::wire::transport::ControlStream;

mod administer;
mod broker;
mod classify;
mod confined;
mod decisions;
mod directory;
mod door;
mod fate;
mod faults;
mod hang;
mod last_look;
mod lifecycle;
mod mouth;
mod names;
mod peer;
mod process_groups;
mod recent;
mod registry;
mod requests;
mod strategy;
mod survival;
mod timers;
pub(crate) mod tree;
mod waiters;

use broker::Link;
use faults::Faults;
use names::Names;
use peer::{Peer, PeerId};
use process_groups::ProcessGroups;
use registry::Child;
use tree::Tree;
use waiters::Waiters;

/// How children of this program are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// After the executable's name.
    pub(crate) arguments: Vec<OsString>,
    /// Whether a test harness prints something before the child begins.
    pub(crate) heading: bool,
    /// Whether Ctrl-C and SIGTERM end the system; not in tests, where they end the tests.
    pub(crate) signals: bool,
    /// Whether what happens is kept for the output of a test that fails.
    pub(crate) keeps: bool,
    /// Whether actors get control groups, and where.
    pub(crate) cgroup: Cgroup,
}

/// What a supervisor begins with.
pub(crate) struct Begin {
    pub(crate) system: SystemId,
    pub(crate) launch: Launch,
    /// Where actors get their control groups, or why they have none.
    pub(crate) cgroups: Result<Groups, String>,
    pub(crate) program: OwnedFd,
    pub(crate) program_page: Recorder,
    /// Programs that attach from within this process come out here, each with its end of a control link.
    pub(crate) attaching: mpsc::UnboundedReceiver<OwnedFd>,
}

/// How a supervisor ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The signal that asked for it.
    pub(crate) interrupted: Option<i32>,
    /// A group that stands in no other was given up.
    pub(crate) escalated: Option<Escalation>,
}

/// A group has failed that stands in no other.
#[derive(Debug, Error)]
#[error("the group {group} was given up because of {child}{}", last_words(.report.as_deref()))]
pub(crate) struct Escalation {
    pub(crate) group: String,
    pub(crate) child: String,
    /// The child's last crash.
    pub(crate) report: Option<Box<CrashReport>>,
}

fn last_words(report: Option<&CrashReport>) -> String {
    report.map(|report| format!(": {report}")).unwrap_or_default()
}

/// Most happenings that wait for the loop: then those who bring them wait, and their peers with them.
const WAITING: usize = 4096;

/// Something that the loop acts on.
enum Happening {
    /// A process has said something.
    Heard(PeerId, ToSupervisor),
    /// A process has said what is no control message.
    Nonsense(PeerId, String),
    /// A process has introduced itself: it runs its own code.
    Booted(PeerId),
    /// The spawner has started a process, or has not.
    Spawned(PeerId, std::io::Result<crate::process::spawner::Spawned>),
    /// The same of the program's survivor.
    Survivor(std::io::Result<crate::process::spawner::Spawned>),
    /// The program's survivor has ended, and is reaped.
    SurvivorEnded(std::io::Result<exit::RawExit>),
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
    /// A fault was injected into the supervisor itself.
    Injected(Box<Injection>),
}

struct Supervisor {
    system: SystemId,
    launch: Launch,
    image: Image,
    actors: BTreeMap<ActorId, Child>,
    names: Names,
    waiters: Waiters,
    process_groups: ProcessGroups,
    last_actor: u64,
    ended: VecDeque<ActorId>,
    peers: HashMap<PeerId, Peer>,
    last_peer: u64,
    program: PeerId,
    links: HashMap<LinkId, Link>,
    last_link: u64,
    /// Links that wait for descriptors, and when they are tried again.
    unjoined: BTreeSet<LinkId>,
    join_again: Option<Instant>,
    listeners: Vec<PeerId>,
    /// Where programs attach, if this system listens.
    place: Option<Place>,
    /// Every group that there is.
    groups: HashMap<ActorId, administer::Group>,
    /// Where actors get their control groups, or why they have none.
    cgroups: Result<Groups, String>,
    /// What ended actors have left behind.
    orphans: Orphans,
    /// Who ends it when this process is killed; there is one as soon as an actor may start processes.
    survivor: Option<Survivor>,
    tree: Tree,
    decisions: decisions::Decisions,
    /// Of exits about which the tree has not decided yet.
    reports: HashMap<ActorId, Box<CrashReport>>,
    faults: Faults,
    kept: Option<recent::Kept>,
    shutting_down: bool,
    over: bool,
    end: End,
    happenings: mpsc::Sender<Happening>,
    /// The same, for what programs say.
    programs: mpsc::Sender<Happening>,
    spawned: mpsc::UnboundedSender<Happening>,
}

/// Runs a supervisor until its program has left and its last child has ended.
pub(crate) fn run(begin: Begin) -> std::io::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (happenings, mut incoming) = mpsc::channel(WAITING);
        let (spawned, mut spawn_results) = mpsc::unbounded_channel();
        let (programs, mut questions) = mpsc::channel(WAITING);
        if begin.launch.signals {
            watch_signals(&happenings)?;
        }
        if let Err(error) = orphans::adopt() {
            tracing::warn!(%error, "what leaves an actor's process group will not be found");
        }
        let mut supervisor = Supervisor::new(begin, happenings, programs, spawned)?;
        let mut look = tokio::time::interval(supervisor.look_period());
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !supervisor.over {
            // Before sleeping: the runtime's timers have steps of a millisecond, and a restart at once is due now.
            supervisor.act_on_timers();
            supervisor.end_overdue_waits(Instant::now());
            supervisor.join_overdue(Instant::now());
            let due = [supervisor.tree.due(), supervisor.waiters.next(), supervisor.join_again]
                .into_iter()
                .flatten()
                .min();
            let due = due.map(tokio::time::Instant::from_std);
            let far = tokio::time::Instant::now() + Duration::from_secs(3600);
            let due = due.map_or(far, |due| due.min(far));
            // Each has its turn: what programs ask does not wait behind a thousand exits.
            tokio::select! {
                Some(happening) = questions.recv() => supervisor.act(happening),
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
        supervisor.orphans.finish();
        if let Ok(cgroups) = &supervisor.cgroups {
            cgroups.finish();
        }
        while supervisor.survivor.as_ref().is_some_and(Survivor::is_starting) {
            let Some(happening) = spawn_results.recv().await else { break };
            supervisor.act(happening);
        }
        supervisor.dismiss_survivor();
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
        programs: mpsc::Sender<Happening>,
        spawned: mpsc::UnboundedSender<Happening>,
    ) -> std::io::Result<Self> {
        let kept = recent::Kept::begin(begin.launch.keeps);
        let mut supervisor = Supervisor {
            system: begin.system,
            launch: begin.launch,
            image: Image::of_this_process()?,
            actors: BTreeMap::new(),
            names: Names::default(),
            waiters: Waiters::default(),
            process_groups: ProcessGroups::default(),
            last_actor: ActorId::PROGRAM.0,
            ended: VecDeque::new(),
            peers: HashMap::new(),
            last_peer: 0,
            program: PeerId(0),
            links: HashMap::new(),
            last_link: 0,
            unjoined: BTreeSet::new(),
            join_again: None,
            listeners: Vec::new(),
            place: None,
            groups: HashMap::new(),
            cgroups: begin.cgroups,
            orphans: Orphans::default(),
            survivor: None,
            tree: Tree::new(spawn_cap(), random_seed(), Instant::now()),
            decisions: decisions::Decisions::default(),
            reports: HashMap::new(),
            faults: Faults::default(),
            kept,
            shutting_down: false,
            over: false,
            end: End::default(),
            happenings,
            programs,
            spawned,
        };
        supervisor.program = supervisor.add_program(begin.program, Arc::new(begin.program_page))?;
        tokio::spawn(door::admit_from_within(begin.attaching, supervisor.happenings.clone()));
        Ok(supervisor)
    }

    fn act(&mut self, happening: Happening) {
        match happening {
            Happening::Heard(peer, message) => self.hear(peer, message),
            Happening::Nonsense(peer, reason) => self.nonsense(peer, &reason),
            Happening::Booted(peer) => self.booted(peer),
            Happening::Spawned(peer, result) => self.spawned(peer, result),
            Happening::Survivor(result) => self.survivor_spawned(result),
            Happening::SurvivorEnded(ended) => self.survivor_ended(ended),
            Happening::Exited(peer, exit) => self.exited(peer, exit),
            Happening::Left(peer) => self.left(peer),
            Happening::Deaf(peer) => self.nonsense(peer, "it does not read what it is told"),
            Happening::Signal(number) => self.signalled(number),
            Happening::Attached(control) => self.attached(control),
            Happening::Injected(injection) => self.injected(None, injection),
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
        self.say(self.program, &ToPeer::Stop);
    }

    /// A control link has ended that belongs to no child. If it was the program's, nobody is left to serve.
    pub(super) fn left(&mut self, peer: PeerId) {
        if peer == self.program {
            for peer in self.peers.values() {
                peer.kill();
            }
            self.shut_down(None);
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
    // A second try: without one, whoever asks for a link would be refused it for good.
    draw_capability().or_else(|_| draw_capability())
}

fn draw_capability() -> std::io::Result<Capability> {
    fault::call(Call::Random)?;
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(Capability(u128::from_le_bytes(bytes)))
}

/// What spreads the restarts of this system otherwise than those of the next.
fn random_seed() -> u64 {
    // Without random bytes every system spreads its restarts in the same way: no harm.
    random_capability().map_or(0, |Capability(bits)| {
        #[allow(clippy::cast_possible_truncation)] // Its lower half.
        let seed = bits as u64;
        seed
    })
}

/// Most processes that are being spawned at once: enough to keep every core busy with them and with what they start,
/// few enough that each is soon through.
fn spawn_cap() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| 2 * cores.get())
}

const KILL: Signal = Signal::KILL;

/// The first life.
const FIRST: Incarnation = Incarnation(1);
