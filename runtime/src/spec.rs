//! The child spec: how one actor is started, limited, restarted and stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::actor::Actor;
pub use crate::delivery::outbox::Window;
use crate::process::capture_lines::is_harmless;
use crate::process::child::Limits;
pub use crate::profile::{Confinement, Profile, Sandbox};

/// When an actor that has ended is started again; OTP's words with OTP's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only when it did not end as it meant to.
    Transient,
    /// Never.
    Temporary,
}

/// How many restarts are borne: more than `restarts` within `within` and the actor is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intensity {
    /// So many are borne
    pub restarts: u32,
    /// in any period of this length.
    pub within: Duration,
}

impl Default for Intensity {
    /// 5 in 60 s: more than the quarantine limit of 3, so that a poison message is put aside before its actor is
    /// given up, and few enough that a broken actor is noticed.
    fn default() -> Self {
        Intensity { restarts: 5, within: Duration::from_secs(60) }
    }
}

/// The wait before a restart: none before the first, then from `first`, doubling, to `most`, each with jitter.
///
/// It starts over after the actor has lived for `quiet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Before the second restart.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
    /// A life of this length forgives what was before.
    pub quiet: Duration,
}

impl Default for Backoff {
    /// 10 ms, doubling to 1 s, forgiven after 10 s.
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(10),
            most: Duration::from_secs(1),
            quiet: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// No waiting at all: for tests and benchmarks.
    pub const NONE: Backoff =
        Backoff { first: Duration::ZERO, most: Duration::ZERO, quiet: Duration::from_secs(10) };
}

/// How an actor is stopped; OTP's words with OTP's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// It is killed without being asked.
    BrutalKill,
    /// It is asked, and killed if it has not stopped by then.
    Grace(Duration),
    /// It is asked, and may take as long as it wants: a stop that waits for it may wait for ever.
    Infinity,
}

impl Default for Shutdown {
    /// 5 s, OTP's.
    fn default() -> Self {
        Shutdown::Grace(Duration::from_secs(5))
    }
}

/// Where an actor's standard output and error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// To the program's, each line with the actor's name before it.
    Labelled,
    /// To the program's, as they are.
    Plain,
    /// Nowhere; the last lines of standard error still reach the crash report, and the report still reaches those who
    /// listen for events, but not the log.
    Silent,
}

/// Everything about a child but its type, name and arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Options {
    pub restart: Restart,
    /// `None`: the default if it stands alone, the group's if it stands in one.
    pub intensity: Option<Intensity>,
    pub backoff: Backoff,
    pub start_deadline: Duration,
    pub shutdown: Shutdown,
    pub significant: bool,
    pub outlives_parent: bool,
    pub hang_limit: Option<Duration>,
    pub await_limit: Option<Duration>,
    pub mailbox: Window,
    pub environment: Vec<String>,
    pub redelivery: u8,
    pub limits: Limits,
    pub profile: Profile,
    pub output: Output,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            restart: Restart::Permanent,
            intensity: None,
            backoff: Backoff::default(),
            start_deadline: Duration::from_secs(10),
            shutdown: Shutdown::default(),
            significant: false,
            outlives_parent: false,
            hang_limit: Some(Duration::from_secs(30)),
            await_limit: None,
            mailbox: Window { messages: 8192, bytes: 1 << 20 },
            environment: Vec::new(),
            redelivery: 3,
            limits: Limits::default(),
            profile: Profile::Default,
            output: Output::Labelled,
        }
    }
}

/// How to start one actor: its arguments, and whatever should differ from the defaults.
///
/// ```no_run
/// # use watertight::prelude::*;
/// # use std::time::Duration;
/// # struct Pricer; #[message] struct Quote;
/// # impl Actor for Pricer { type Args = u32; type Messages = (Quote,); async fn start(_: u32, _: &mut Context<Self>) -> Result<Self> { Ok(Pricer) } }
/// # impl Handler<Quote> for Pricer { async fn handle(&mut self, _: Quote, _: &mut Context<Self>) -> Result<()> { Ok(()) } }
/// # async fn f(sys: System) -> Result<()> {
/// let pricer = sys
///     .spawn_with(Spec::<Pricer>::new(7).name("pricer").memory(512 << 20).hang_limit(Duration::from_secs(10)))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a spec starts nothing until it is given to spawn_with"]
pub struct Spec<A: Actor> {
    pub(crate) arguments: A::Args,
    pub(crate) name: Option<String>,
    pub(crate) options: Options,
}

impl<A: Actor> Spec<A> {
    /// The defaults for an actor that is started with `arguments`, at every incarnation again.
    pub fn new(arguments: A::Args) -> Self {
        Spec { arguments, name: None, options: Options::default() }
    }

    /// Its name, unique in the system. Default: its type's name and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// When it is started again. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.options.restart = restart;
        self
    }

    /// How many restarts are borne in which period, if it stands alone; in a group the group's own intensity counts, and
    /// this is refused. Default: 5 in 60 s.
    pub fn intensity(mut self, restarts: u32, within: Duration) -> Self {
        self.options.intensity = Some(Intensity { restarts, within });
        self
    }

    /// The wait before a restart. Default: none, then 10 ms, doubling to 1 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// How long its `start` may take. Default: 10 s.
    pub fn start_deadline(mut self, deadline: Duration) -> Self {
        self.options.start_deadline = deadline;
        self
    }

    /// How long it may take to stop when asked to, before it is killed. Default: 5 s, OTP's.
    pub fn stop_grace(self, grace: Duration) -> Self {
        self.shutdown(Shutdown::Grace(grace))
    }

    /// How it is stopped. Default: asked, and killed after 5 s.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.options.shutdown = shutdown;
        self
    }

    /// Its end counts for the [`AutoShutdown`](crate::group::AutoShutdown) of its group. It must be transient or
    /// temporary.
    pub fn significant(mut self) -> Self {
        self.options.significant = true;
        self
    }

    /// It stays when the actor that spawned it dies and is restarted: the next incarnation gets its address back from
    /// [`Context::child`](crate::Context::child). Default: it is killed with the incarnation that spawned it.
    pub fn outlives_parent(mut self) -> Self {
        self.options.outlives_parent = true;
        self
    }

    /// How long its thread may go without finishing a message or a step of one, before it counts as hung and is
    /// killed. `None`: for ever. Default: 30 s. Long computations call `cx.progress()`.
    pub fn hang_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.hang_limit = limit.into();
        self
    }

    /// How long one handler may stay suspended at an `await`, before it counts as hung. Default: for ever, because
    /// what it awaits has a deadline of its own.
    pub fn await_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.await_limit = limit.into();
        self
    }

    /// How much each sender may have waiting here: messages, and bytes. Default: 8,192 and 1 MiB.
    ///
    /// A sender learns it with its first `tell` or `ask`. One that begins with `try_tell` may send up to 1,024 messages
    /// and 1 MiB before that, once.
    pub fn mailbox(mut self, messages: u32, bytes: u32) -> Self {
        self.options.mailbox = Window { messages, bytes };
        self
    }

    /// Passes these environment variables on too; `PREFIX*` passes all that begin so. Default: only those that every
    /// program needs (see `docs/supervision.md`).
    pub fn environment<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.options.environment.extend(names.into_iter().map(Into::into));
        self
    }

    /// How many times in all an idempotent message is tried before it is quarantined. Default: 3.
    pub fn redelivery(mut self, attempts: u8) -> Self {
        self.options.redelivery = attempts;
        self
    }

    /// The most private memory it may have, in bytes; beyond it, allocation fails and the process aborts. Default:
    /// no limit.
    ///
    /// In a control group with the controller `memory` ([`Cgroup`](crate::Cgroup)), it and all that it starts also use no
    /// more than this together, cached files and shared memory included, or all of it is killed. Either way the exit says
    /// [`Exit::OutOfMemory`](crate::Exit::OutOfMemory).
    pub fn memory(mut self, bytes: u64) -> Self {
        self.options.limits.memory = Some(bytes);
        self
    }

    /// The most processor time that one life of it may take, in whole seconds, of all its threads together; then it is
    /// ended, and the exit says [`Exit::CpuTime`](crate::Exit::CpuTime). Default: no limit.
    pub fn cpu_time(mut self, seconds: u64) -> Self {
        self.options.limits.cpu_seconds = Some(seconds);
        self
    }

    /// How many descriptors it may have open; what asks for more gets an error. Default: as many as the program.
    pub fn descriptors(mut self, most: u64) -> Self {
        self.options.limits.descriptors = Some(most);
        self
    }

    /// The largest file that it may make, in bytes, [blobs](crate::Blob) among them; what would be larger ends it, and the
    /// exit says [`Exit::FileSize`](crate::Exit::FileSize). Default: no limit.
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.options.limits.file_size = Some(bytes);
        self
    }

    /// It starts no processes; trying gets `EPERM`. Threads it may start. Where the kernel cannot refuse it, the actor does
    /// not start ([`Exit::Unconfined`](crate::Exit::Unconfined)). A sandboxed actor has none in any case. Default: as many
    /// as its user may have.
    ///
    /// ```
    /// # use watertight::prelude::*;
    /// # struct Decoder; #[message] struct Decode;
    /// # impl Actor for Decoder { type Args = (); type Messages = (Decode,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Decoder) } }
    /// # impl Handler<Decode> for Decoder { async fn handle(&mut self, _: Decode, _: &mut Context<Self>) -> Result<()> { Ok(()) } }
    /// let spec = Spec::<Decoder>::new(()).memory(256 << 20).no_processes();
    /// ```
    pub fn no_processes(mut self) -> Self {
        self.options.limits.no_processes = true;
        self
    }

    /// How many processes and threads it and all that it starts may be together, its own two included; starting one more
    /// fails with `EAGAIN`.
    ///
    /// Only a control group can keep this: without one that has the controller `pids` the spec is refused
    /// ([`SpecError::NoControlGroup`]). See [`Cgroup`](crate::Cgroup). Default: as many as its user may have.
    pub fn processes(mut self, most: u64) -> Self {
        self.options.limits.processes = Some(most);
        self
    }

    /// How much of a processor it and all that it starts get together, in hundredths: 50 is half of one, 200 are two. It
    /// waits when it has used that up.
    ///
    /// Only a control group can keep this: without one that has the controller `cpu` the spec is refused
    /// ([`SpecError::NoControlGroup`]). See [`Cgroup`](crate::Cgroup). Default: whatever the machine gives.
    pub fn cpu_share(mut self, hundredths: u32) -> Self {
        self.options.limits.cpu_share = Some(hundredths);
        self
    }

    /// How far its process is shut in. Default: [`Profile::Default`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.options.profile = profile;
        self
    }

    /// It runs code that may be hostile: [`Profile::Sandboxed`] with the defaults of [`Sandbox`].
    pub fn sandboxed(self) -> Self {
        self.profile(Profile::Sandboxed(Sandbox::new()))
    }

    /// Where its standard output and error go. Default: [`Output::Labelled`].
    pub fn output(mut self, output: Output) -> Self {
        self.options.output = output;
        self
    }
}

/// Why a spec is refused before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A name that is empty, too long, or has a slash or characters that do not print.
    #[error(
        "the name {0:?} is empty, longer than {NAME_LIMIT} bytes, or has a slash or characters that do not print"
    )]
    Name(String),
    /// A mailbox in which nothing fits.
    #[error("a mailbox of 0 messages or 0 bytes takes nothing")]
    Mailbox,
    /// Zero attempts.
    #[error("a message must be tried at least once")]
    Redelivery,
    /// A time of zero in which nothing can happen.
    #[error("{0} must be longer than zero")]
    Zero(String),
    /// It is significant, and permanent or in no group with automatic shutdown.
    #[error(
        "a significant child must be transient or temporary, and stand in a group with automatic shutdown"
    )]
    Significant,
    /// It stands in a group and has an intensity of its own.
    #[error("a child of a group has no intensity of its own: the group's counts for all its children")]
    IntensityInGroup,
    /// It stands in a group or under the program, and is to outlive the actor that spawned it.
    #[error("only what an actor has spawned can outlive it")]
    OutlivesNobody,
    /// Two of a group have one name.
    #[error("another child of the group has the name")]
    SameName,
    /// A dynamic group with children or with a strategy.
    #[error("a dynamic group has no children of its own in its spec, and always the strategy OneForOne")]
    Dynamic,
    /// Groups in groups in groups.
    #[error("groups are nested more than {GROUP_DEPTH} deep")]
    TooDeep,
    /// A memory limit in which no process starts.
    #[error("a memory limit of {0} bytes is less than a process needs to start ({MEMORY_LEAST})")]
    Memory(u64),
    /// A limit on descriptors in which no process starts.
    #[error("a limit of {0} descriptors is less than a process needs to start ({DESCRIPTORS_LEAST})")]
    Descriptors(u64),
    /// A limit on processes and threads in which no actor starts.
    #[error("a limit of {0} processes and threads is less than an actor has itself ({PROCESSES_LEAST})")]
    Processes(u64),
    /// A limit that only a control group could keep, and there is none that can.
    #[error(
        "{limit} cannot be limited: {reason}; ask for control groups with WATERTIGHT_CGROUP=auto or `Cgroup`, or leave this \
         limit out"
    )]
    NoControlGroup {
        /// Of what.
        limit: String,
        /// Why there is none.
        reason: String,
    },
    /// A file of a sandbox that is not named from the root on.
    #[error("the path {0:?} of a sandbox is not absolute")]
    RelativePath(String),
}

/// Longest name: what still fits a line of a listing.
pub(crate) const NAME_LIMIT: usize = 100;
/// Longest path: what the deepest nesting makes of the longest names.
const PATH_LIMIT: usize = (NAME_LIMIT + 1) * (GROUP_DEPTH + 1);
/// Deepest nesting of groups: far more than anybody can picture.
pub(crate) const GROUP_DEPTH: usize = 16;
/// Least memory limit: an empty actor process has about this much private memory mapped.
pub(crate) const MEMORY_LEAST: u64 = 8 << 20;

/// Least limit on descriptors: the standard streams, both ends of what wakes a runtime, the control link and its copy, the
/// page while it is mapped, the executable while it is looked at, and a link or two.
pub(crate) const DESCRIPTORS_LEAST: u64 = 16;

/// Least limit on processes: an actor's two threads.
pub(crate) const PROCESSES_LEAST: u64 = 2;

/// Whether this may be a path or the name of a process group.
pub(crate) fn is_path(path: &str) -> bool {
    let fits = path.len() <= PATH_LIMIT && path.split('/').all(|part| part.len() <= NAME_LIMIT);
    fits && !path.is_empty() && path.chars().all(is_harmless)
}

/// Whether this may be the name of an actor or a group. Slashes stand between a group's name and its children's.
pub(crate) fn check_name(name: &str) -> Result<(), SpecError> {
    if !is_path(name) || name.contains('/') {
        return Err(SpecError::Name(name.to_owned()));
    }
    Ok(())
}

impl Options {
    /// Whether its process may start others.
    pub(crate) fn may_start_processes(&self) -> bool {
        let is_filtered = match &self.profile {
            Profile::Default => false,
            // With best effort there may be no filter.
            Profile::Sandboxed(sandbox) => !sandbox.best_effort,
        };
        !is_filtered && !self.limits.no_processes
    }

    pub(crate) fn check(&self, name: Option<&str>) -> Result<(), SpecError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        if self.mailbox.messages == 0 || self.mailbox.bytes == 0 {
            return Err(SpecError::Mailbox);
        }
        if self.redelivery == 0 {
            return Err(SpecError::Redelivery);
        }
        let times = [
            ("the start deadline", Some(self.start_deadline)),
            ("the hang limit", self.hang_limit),
            ("the await limit", self.await_limit),
            ("the intensity's period", self.intensity.map(|intensity| intensity.within)),
        ];
        if let Some((what, _)) = times.iter().find(|(_, time)| *time == Some(Duration::ZERO)) {
            return Err(SpecError::Zero((*what).to_owned()));
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::Significant);
        }
        if self.limits.cpu_seconds == Some(0) {
            return Err(SpecError::Zero("the processor time".to_owned()));
        }
        if self.limits.cpu_share == Some(0) {
            return Err(SpecError::Zero("the share of a processor".to_owned()));
        }
        if let Some(most) = self.limits.processes.filter(|most| *most < PROCESSES_LEAST) {
            return Err(SpecError::Processes(most));
        }
        match (self.limits.memory, self.limits.descriptors) {
            (Some(bytes), _) if bytes < MEMORY_LEAST => return Err(SpecError::Memory(bytes)),
            (_, Some(most)) if most < DESCRIPTORS_LEAST => return Err(SpecError::Descriptors(most)),
            _ => {}
        }
        if let Profile::Sandboxed(sandbox) = &self.profile {
            let mut paths = sandbox.readable.iter().chain(&sandbox.writable);
            if let Some(path) = paths.find(|path| !path.starts_with('/')) {
                return Err(SpecError::RelativePath(path.clone()));
            }
        }
        Ok(())
    }
}
