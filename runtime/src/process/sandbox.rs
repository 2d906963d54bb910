//! A process shuts itself in, before it runs any of its user's code.

use super::child::Limits;
use super::{file_rules, seccomp};
use crate::profile::{Confinement, Files, Profile, Sandbox};

/// Gives up for good what `profile` asks for, and processes of its own where `limits` say so; tells what holds. It must have no new privileges already.
///
/// With `single` this process has one thread, and all of it is held. Otherwise Landlock holds only this thread and
/// those that it starts, and the filter of system calls holds all.
///
/// # Errors
///
/// What the kernel could not do, in words for the one who asked for it; not with best effort.
pub fn confine(profile: &Profile, limits: &Limits, single: bool) -> Result<Confinement, String> {
    if limits.no_processes {
        seccomp::refuse_processes()
            .map_err(|error| format!("it cannot be kept from starting processes: {error}"))?;
    }
    let Profile::Sandboxed(sandbox) = profile else { return Ok(Confinement::default()) };
    let landlock = rules(sandbox).or_else(|error| allowed(sandbox, error).map(|()| None))?;
    let files = sandbox.files == Files::Listed;
    let calls = match seccomp::apply(files) {
        Ok(()) => true,
        Err(error) => {
            allowed(sandbox, format!("its system calls cannot be filtered: {error}"))?;
            false
        }
    };
    Ok(Confinement { calls, landlock, whole_process: single })
}

fn rules(sandbox: &Sandbox) -> Result<Option<u8>, String> {
    match file_rules::apply(sandbox) {
        Ok(Some(version)) => Ok(Some(version)),
        Ok(None) => Err("this kernel has no Landlock, by which its files are limited".into()),
        Err(error) => Err(format!("its files cannot be limited: {error}")),
    }
}

fn allowed(sandbox: &Sandbox, error: String) -> Result<(), String> {
    if sandbox.best_effort { Ok(()) } else { Err(error) }
}
