//! What control groups are asked for, and what is written into their files. Pure: texts in, decisions out.

use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::child::Limits;

/// Whether each actor, and all that it starts, stands in a control group (cgroup v2) of its own.
///
/// Then all of it is killed with the actor, whatever it did to leave, and limits hold for all of it together, where the
/// hierarchy has the controllers. It takes a part of the hierarchy that is the program's to write: root's, a container's
/// own, or one that systemd has delegated (`systemd-run --user --scope -p Delegate=yes PROGRAM`).
///
/// The variable `WATERTIGHT_CGROUP` of the program takes its place where it is set: `off`, `auto`, or a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// No groups are made, because making them changes something on the machine that others see.
    #[default]
    Off,
    /// Below the group in which the program itself is, if that can be had; else without, and a line of the log says why.
    Auto,
    /// Below this directory of a mounted hierarchy; where that cannot be had, the program does not start.
    At(PathBuf),
}

/// The program's variable that says it.
pub(crate) const VARIABLE: &str = "WATERTIGHT_CGROUP";

/// What was written into [`VARIABLE`] and means nothing.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{VARIABLE} is {0:?}, but has to be `auto`, `off`, or a directory from the root on")]
pub struct Meaningless(String);

impl Cgroup {
    /// What the variable says; `None` where it is not set.
    pub(crate) fn said(variable: Option<&str>) -> Result<Option<Cgroup>, Meaningless> {
        match variable {
            None | Some("") => Ok(None),
            Some("off") => Ok(Some(Cgroup::Off)),
            Some("auto") => Ok(Some(Cgroup::Auto)),
            Some(path) if path.starts_with('/') => Ok(Some(Cgroup::At(path.into()))),
            Some(other) => Err(Meaningless(other.to_owned())),
        }
    }
}

/// How the directories of programs begin; behind it stand the program's process and its system.
pub const PREFIX: &str = "watertight-";

/// The group into which a program moves itself where its own has to be divided.
///
/// A group that hands controllers down may hold no processes.
pub const OWN_LEAF: &str = "watertight-supervisor";

/// Whether this is the name of a directory that a program has made for its actors.
pub fn is_of_a_program(name: &str) -> bool {
    name != OWN_LEAF && name.starts_with(PREFIX)
}

/// The name of the group of one life of an actor, given as `SYSTEM.ACTOR.INCARNATION`.
pub fn name_of_life(life: &str) -> &str {
    life.split_once('.').map_or(life, |(_, rest)| rest)
}

/// A process's place in the hierarchy of version 2, from its `/proc/PID/cgroup`.
pub fn place(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Whether a process is in a group or below it, where `mark` is the end of the group's path and names no other.
///
/// Behind the place of a dead process may stand that its group was deleted.
pub fn is_within(cgroup: &str, mark: &str) -> bool {
    place(cgroup)
        .and_then(|place| place.split_once(mark))
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/') || rest.starts_with(" (deleted)"))
}

/// The directory of a place, from `/proc/self/mountinfo`: where a hierarchy of version 2 is mounted that has it.
///
/// One that may be written comes before one that may not.
pub fn directory(mountinfo: &str, place: &str) -> Option<PathBuf> {
    let mounts: Vec<_> = mountinfo.lines().filter_map(|line| mount(line, place)).collect();
    let writable = mounts.iter().find(|(_, may_write)| *may_write);
    writable.or(mounts.first()).map(|(directory, _)| directory.clone())
}

/// `ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS [OPTIONAL]... - TYPE SOURCE OPTIONS`
fn mount(line: &str, place: &str) -> Option<(PathBuf, bool)> {
    let (fields, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = fields.split(' ').skip(3);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    let below = Path::new(place).strip_prefix(unescaped(root)).ok()?;
    // What is outside of a namespace has a place that leads upwards.
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| {
        (
            Path::new(&unescaped(point)).join(below).components().collect(),
            options.split(',').all(|it| it != "ro"),
        )
    })
}

/// Blanks and such stand in a mount's paths as three octal digits.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
}

/// The group below which a program is whose own place is `own`: not the leaf into which one has moved before.
pub fn outside_own_leaf(own: &Path) -> &Path {
    match own.parent() {
        Some(parent) if own.file_name().is_some_and(|name| name == OWN_LEAF) => parent,
        _ => own,
    }
}

/// The deepest directory that both are in: who moves a process from one to the other must be allowed to write there.
pub fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(one, other)| one == other).map(|(part, _)| part).collect()
}

/// What can be limited in a group: one flag for each controller that is used here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    pub memory: bool,
    pub pids: bool,
    pub cpu: bool,
}

impl Controllers {
    /// Those in a `cgroup.controllers` or `cgroup.subtree_control`.
    pub fn of(text: &str) -> Controllers {
        let has = |name| text.split_ascii_whitespace().any(|it| it == name);
        Controllers { memory: has("memory"), pids: has("pids"), cpu: has("cpu") }
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [(self.memory, "memory"), (self.pids, "pids"), (self.cpu, "cpu")];
        all.into_iter().filter_map(|(is_there, name)| is_there.then_some(name))
    }

    /// The first limit that nothing but a group could keep, and that these cannot.
    pub fn lack(self, limits: &Limits) -> Option<&'static str> {
        if limits.processes.is_some() && !self.pids {
            Some("a number of processes")
        } else if limits.cpu_share.is_some() && !self.cpu {
            Some("a share of a processor")
        } else {
            None
        }
    }
}

/// One file of a group and what is written into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    pub file: &'static str,
    pub value: String,
    /// Some kernels do not have it, and the limit holds without.
    pub is_optional: bool,
}

/// What is written into a new group's files so that its processes together keep to these limits.
pub fn settings(limits: &Limits, have: Controllers) -> Vec<Setting> {
    let set = |file, value: String| Setting { file, value, is_optional: false };
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory.filter(|_| have.memory) {
        settings.push(set("memory.max", bytes.to_string()));
        // Without swap to count, or without swap at all.
        settings.push(Setting { is_optional: true, ..set("memory.swap.max", "0".to_owned()) });
        // All or none: an actor whose helper is gone is no better than a dead one, and is restarted.
        settings.push(set("memory.oom.group", "1".to_owned()));
    }
    if let Some(most) = limits.processes.filter(|_| have.pids) {
        settings.push(set("pids.max", most.to_string()));
    }
    if let Some(percent) = limits.cpu_share.filter(|_| have.cpu) {
        settings.push(set("cpu.max", format!("{} {PERIOD}", u64::from(percent) * (PERIOD / 100))));
    }
    settings
}

/// In which a share of a processor is counted, in microseconds; the kernel's own.
const PERIOD: u64 = 100_000;

/// How many processes of a group the kernel has killed for want of memory, from its `memory.events`.
pub fn killed_for_memory(events: &str) -> u64 {
    value(events, "oom_kill").unwrap_or(0)
}

/// Whether any process that is not dead is in a group or below it, from its `cgroup.events`.
pub fn is_populated(events: &str) -> bool {
    value(events, "populated") != Some(0)
}

fn value(events: &str, name: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
#[path = "cgroup_rules_tests.rs"]
mod tests;
