//! The operating system: starting, limiting, watching and ending processes; and all `unsafe` of the project.
//!
//! Linux is what is tested. Each file says what it would lose elsewhere.

pub(crate) mod batch;
pub(crate) mod board;
pub(crate) mod capture;
pub(crate) mod capture_lines;
mod capture_printer;
pub(crate) mod cgroup;
pub(crate) mod cgroup_rules;
pub(crate) mod child;
pub(crate) mod code_reference;
pub(crate) mod descriptors;
pub(crate) mod exit;
mod file_rules;
pub(crate) mod misbehave;
pub(crate) mod orphans;
pub(crate) mod plain;
pub(crate) mod recorder;
pub(crate) mod sandbox;
mod seccomp;
mod seccomp_calls;
pub(crate) mod shared_memory;
pub(crate) mod spawner;
pub(crate) mod stack;
pub(crate) mod survivor;
mod table;
