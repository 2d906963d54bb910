//! How far an actor's process is shut in.

use serde::{Deserialize, Serialize};

/// What an actor's process may do beside talking to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Profile {
    /// Faults stay in the process; attacks need not. It gains no privileges, nobody of the same user reads its memory,
    /// it sees a short list of variables and no stray descriptors, and it writes no core files. It may do what its
    /// user may do.
    #[default]
    Default,
    /// It runs code that may be hostile: no sockets of its own, no other processes, no signals to others, and only
    /// the files that it is given. What each profile stops is measured in `docs/security.md`.
    Sandboxed(Sandbox),
}

/// What a sandboxed actor is given, beside the messages and what comes with them.
///
/// By default it may read the system's libraries and data and open nothing else; see [`Sandbox::READABLE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub(crate) files: Files,
    pub(crate) readable: Vec<String>,
    pub(crate) writable: Vec<String>,
    pub(crate) best_effort: bool,
}

/// Which files it may open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Files {
    /// Those of the lists.
    #[default]
    Listed,
    /// None: every call that opens or changes one is refused.
    None,
}

impl Sandbox {
    /// What every sandboxed actor may read, unless [`no_files`](Sandbox::no_files) says otherwise, where it is there.
    /// Beside these its own executable and what the kernel says of its own process.
    pub const READABLE: [&str; 12] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/ssl/certs",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/sys/devices/system/cpu",
    ];

    /// The defaults.
    pub fn new() -> Self {
        Sandbox::default()
    }

    /// It may read this file, or everything below this directory. It must be there when the actor is started.
    #[must_use]
    pub fn read(mut self, path: impl Into<String>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// It may read and write this file, or everything below this directory: also make and remove. It must be there when
    /// the actor is started.
    #[must_use]
    pub fn write(mut self, path: impl Into<String>) -> Self {
        self.writable.push(path.into());
        self
    }

    /// It opens no files at all, whatever the lists say: what it works on comes in messages. A report of a hang then
    /// names no functions.
    #[must_use]
    pub fn no_files(mut self) -> Self {
        self.files = Files::None;
        self
    }

    /// It is started also where the kernel cannot shut it in, or only in part; what holds is told by
    /// [`ActorInfo::confinement`](crate::ActorInfo::confinement). Default: it is refused
    /// ([`Exit::Unconfined`](crate::Exit::Unconfined)).
    #[must_use]
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }
}

/// How an actor's process is shut in, as it has found it; `Confinement::default()` is nothing beyond
/// [`Profile::Default`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Confinement {
    /// System calls are filtered, in all its threads.
    pub calls: bool,
    /// Landlock holds it, by the rules of this version of the kernel's interface; from 6 on, signals and abstract
    /// sockets are covered too.
    pub landlock: Option<u8>,
    /// All of the process is held: it had a single thread when it was shut in. Not so under a test harness, whose own
    /// threads Landlock does not reach: there a sandbox is for trying out, and no boundary.
    pub whole_process: bool,
}

impl Confinement {
    /// Whether it is a boundary: calls filtered, files ruled, and the whole process in it.
    pub fn is_boundary(&self) -> bool {
        self.calls && self.landlock.is_some() && self.whole_process
    }
}
